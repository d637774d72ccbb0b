"""A worklist that people share on a server: roles, several datasets, several programs, interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from AtlasReviewLib.review_verdicts import verdicts_of
from AtlasReviewLib.task_states import ACCEPTED
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import merge, open_worklist
from AtlasReviewLib.worklist_postgres import grants, initialize
from AtlasReviewLib.worklist_rows import TaskTakenError
from AtlasReviewLib.worklist_scan import scan_dataset
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import DatasetError, StorageError
from review_data import make_dataset

pytest_plugins = ("postgres_server",)
_TAKER = """
import json, sys
from pathlib import Path
from AtlasReviewLib.worklist import Worklist
worklist, reader, taken = Worklist(Path(sys.argv[1]), url=sys.argv[2]), sys.argv[3], []
print("ready", flush=True)
sys.stdin.readline()
while (task := worklist.take_next(reader)) is not None:
    taken.append(task.id)
    worklist.set_state(task, "accepted", reader)
print(json.dumps(taken))
worklist.close()
"""


@pytest.fixture
def url(postgres: Any) -> str:
    return str(postgres.empty_worklist())


def filled(folder: Path, url: str, count: int = 1) -> Worklist:
    folder.mkdir(exist_ok=True)
    worklist = Worklist(folder, url=url)
    with worklist.store.writing() as db:
        db.add_many([{"case_name": f"case{n:04}", "organ": "liver", "rank": n, "changed": ""} for n in range(count)])
    return worklist


def test_three_programs_at_once_get_every_task_exactly_once(tmp_path: Path, url: str) -> None:
    worklist = filled(tmp_path / "d", url, 90)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    names = ("Ada", "Bob", "Cleo")
    runs = [subprocess.Popen([sys.executable, "-c", _TAKER, str(tmp_path / "d"), url, name], **pipes) for name in names]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    taken = [json.loads(run.communicate(timeout=60)[0]) for run in runs]
    assert sorted(number for numbers in taken for number in numbers) == [task.id for task in worklist.tasks()]
    events = worklist.events()
    assert [sum(event.kind == kind for event in events) for kind in ("take", "state")] == [90, 90]
    assert [event.id for event in events] == sorted(event.id for event in events)
    assert [event.time for event in events] == sorted(event.time for event in events)


def test_datasets_in_one_database_know_nothing_of_each_other(tmp_path: Path, url: str) -> None:
    one, other = filled(tmp_path / "one", url, 2), filled(tmp_path / "other", url, 1)
    task = one.take("case0000", "liver", "Ada")
    assert other.task("case0000", "liver").state == "waiting"
    assert (len(one.tasks()), len(other.tasks())) == (2, 1)
    assert [event.kind for event in one.events()] == ["take"]
    assert (other.events(), other.last_event()) == ([], 0)
    mine = other.take_next("Ada")
    assert mine is not None
    assert mine.id != task.id
    assert other.take_next("Bob") is None


def test_a_dataset_that_names_its_server_is_opened_there_and_its_verdicts_are_found(tmp_path: Path, url: str) -> None:
    dataset = make_dataset(tmp_path / "hospital")
    (dataset / "worklist.json").write_text(json.dumps({"url": url}))
    assert verdicts_of(open_case(dataset / "first")) == {}
    worklist, _ = open_worklist(dataset)
    worklist.set_state(worklist.take("first", "liver", "Ada"), ACCEPTED, "Ada")
    assert {organ: verdict.reader for organ, verdict in verdicts_of(open_case(dataset / "first")).items()} == {"liver": "Ada"}
    assert not (dataset / "worklist.sqlite").exists()


def test_the_server_says_when_and_under_which_account(tmp_path: Path, url: str, postgres: Any) -> None:
    worklist = filled(tmp_path / "d", url)
    task = worklist.take("case0000", "liver", "Ada")
    event = worklist.events()[-1]
    (now,) = postgres.run("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI')")[0]
    assert event.account == "owner"
    assert event.time[:13] == now[:13]
    assert task.lease_until > event.time


def test_not_even_the_owner_changes_the_history_by_mistake(tmp_path: Path, url: str) -> None:
    worklist = filled(tmp_path / "d", url)
    worklist.take_next("Ada")
    for sql in ("UPDATE event SET reader = 'Eve'", "DELETE FROM event", "TRUNCATE event"):
        with pytest.raises(IntegrityError, match="events are never"), worklist.store.writing() as db:
            db.connection.execute(text(sql))
    assert [event.reader for event in worklist.events()] == ["Ada"]


FORBIDDEN = (
    "UPDATE event SET reader = 'Eve'", "DELETE FROM event", "TRUNCATE event", "DROP TABLE event", "DROP TABLE task", "DELETE FROM task",
    "ALTER TABLE event DISABLE TRIGGER ALL", "DROP TRIGGER event_is_never_changed ON event", "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION event_is_never_changed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
    "UPDATE task SET dataset = 'elsewhere'", "UPDATE task SET case_name = 'other'", "UPDATE worklist_version SET version_num = '1'",
    "INSERT INTO event (time, reader, session, case_name, organ, kind) VALUES ('1999', 'Ada', '', '', '', 'take')",
    "INSERT INTO event (account, reader, session, case_name, organ, kind) VALUES ('ada', 'Ada', '', '', '', 'take')",
    "INSERT INTO event (id, reader, session, case_name, organ, kind) VALUES (1, 'Ada', '', '', '', 'take')",
    "CREATE TABLE mine (x int)", "ALTER TABLE event OWNER TO ada", "DROP OWNED BY owner", "DROP SCHEMA public CASCADE",
)  # fmt: skip


def test_a_readers_role_can_review_and_can_neither_alter_the_past_nor_remove_anything(tmp_path: Path, url: str, postgres: Any) -> None:
    import psycopg

    name = url.rpartition("/")[2]
    role = 'readers "x"; --'
    quoted = role.replace('"', '""')
    if not postgres.run("SELECT 1 FROM pg_roles WHERE rolname = 'ada'"):
        postgres.run(f'CREATE ROLE "{quoted}"', f'CREATE ROLE ada LOGIN IN ROLE "{quoted}"')
    postgres.run(*grants(url, role), database=name)
    filled(tmp_path / "hospital", url).take_next("Owner")
    worklist, _ = open_worklist(make_dataset(tmp_path / "hospital"), url=postgres.url(name, "ada"))
    task = worklist.take_next("Ada")
    assert task is not None
    worklist.add_seconds(task, "Ada", 5.0)
    worklist.set_state(worklist.heartbeat(task, "Ada"), ACCEPTED, "Ada")
    worklist.hand_over(worklist.add("first", "pancreas", "Ada"), "Ada", "Bob")
    before = worklist.events()
    assert {event.account for event in before if event.reader == "Ada"} == {"ada"}
    for sql in FORBIDDEN:
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType)):
            postgres.run(sql, database=name, user="ada")
    assert worklist.events() == before


def test_a_role_without_rights_is_told_so_and_may_look_if_it_can(tmp_path: Path, url: str, postgres: Any) -> None:
    name = url.rpartition("/")[2]
    if not postgres.run("SELECT 1 FROM pg_roles WHERE rolname = 'guest'"):
        postgres.run("CREATE ROLE guest LOGIN")
    filled(tmp_path / "d", url)
    guest = postgres.url(name, "guest")
    with pytest.raises(StorageError, match="does not allow") as refused:
        Worklist(tmp_path / "d", url=guest)
    assert "atlas worklist init" in refused.value.remedy
    with pytest.raises(StorageError, match="does not allow"):
        initialize(postgres.url(postgres.new_database().rpartition("/")[2], "guest"))
    postgres.run("GRANT SELECT ON task, event, worklist_version TO guest", database=name)
    dataset = make_dataset(tmp_path / "hospital")
    merge(Worklist(dataset, url=url), scan_dataset(dataset))
    (dataset / "first").rename(tmp_path / "away")
    looking, _ = open_worklist(dataset, url=guest)
    assert looking.read_only
    assert len(looking.tasks()) == 8  # what it could not note is as it was
    with pytest.raises(StorageError, match="looking only"):
        looking.take_next("Eve")


def test_a_password_comes_from_the_password_file(tmp_path: Path, url: str, postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = url.rpartition("/")[2]
    if not postgres.run("SELECT 1 FROM pg_roles WHERE rolname = 'guarded'"):
        postgres.run("CREATE ROLE guarded SUPERUSER LOGIN PASSWORD 'open sesame'")
    with pytest.raises(StorageError, match="password") as refused:
        Worklist(tmp_path, url=postgres.url(name, "guarded"))
    assert "pgpass" in refused.value.remedy
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:{postgres.port}:*:guarded:open sesame\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert Worklist(tmp_path, url=postgres.url(name, "guarded")).tasks() == []


def test_connections_that_the_server_cut_are_made_again(tmp_path: Path, url: str, postgres: Any) -> None:
    worklist = filled(tmp_path / "d", url)
    assert worklist.last_event() == 0
    postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'atlas'")
    assert worklist.take_next("Ada") is not None


def test_a_task_that_somebody_changes_right_now_is_passed_over(tmp_path: Path, url: str) -> None:
    worklist, other = filled(tmp_path / "d", url, 2), Worklist(tmp_path / "d", url=url)
    with worklist.store.writing() as db:
        db.row("case0000", "liver")
        task = other.take_next("Bob")
        assert task is not None
        assert task.case == "case0001"


def test_events_have_numbers_in_the_order_in_which_they_can_be_seen(tmp_path: Path, url: str) -> None:
    worklist, other = filled(tmp_path / "d", url, 2), Worklist(tmp_path / "d", url=url)
    bob = threading.Thread(target=other.take, args=("case0001", "liver", "Bob"))
    with worklist.store.writing() as db:
        db.append("Ada", "case0000", "liver", "note")
        db.flush()
        bob.start()
        bob.join(0.4)
        assert bob.is_alive()  # a number that he got now could be seen before an earlier one
    bob.join(10)
    assert [event.reader for event in worklist.events()] == ["Ada", "Bob"]


def test_a_change_that_waits_too_long_is_given_up(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("AtlasReviewLib.worklist_postgres.WAIT_SECONDS", 1)
    worklist, other = filled(tmp_path / "d", url), Worklist(tmp_path / "d", url=url)
    with worklist.store.writing() as db:
        db.row("case0000", "liver")
        with pytest.raises(StorageError, match="another program has been writing"):
            other.take("case0000", "liver", "Bob")
    assert other.take("case0000", "liver", "Bob").is_mine("Bob")
    with pytest.raises(TaskTakenError):
        worklist.take("case0000", "liver", "Ada")


def test_what_was_removed_on_the_server_is_said(tmp_path: Path, postgres: Any) -> None:
    url = postgres.new_database()
    initialize(url)
    worklist = filled(tmp_path / "d", url)
    postgres.run("DROP TABLE event", database=url.rpartition("/")[2])
    with pytest.raises(DatasetError, match="not those of this program"):
        worklist.events()
