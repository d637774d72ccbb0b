"""Worklists of earlier versions open, with all that they hold, in SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import IntegrityError

from AtlasReviewLib import worklist_migrate
from AtlasReviewLib.task_states import ACCEPTED, TAKEN
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_migrate import VERSION, migrate
from AtlasReviewLib.worklist_place import NAME
from AtlasReviewLib.worklist_postgres import initialize
from AtlasReviewLib.worklist_schema import metadata
from AtlasReviewLib.worklist_store import WorklistDamagedError
from AtlasSegmentLib.errors import DatasetError, StorageError

pytest_plugins = ("postgres_server",)
_STATES = "'waiting', 'taken', 'revised', 'accepted', 'rejected', 'flagged', 'skipped'"
# What the first released program made, word for word.
VERSION_1 = f"""
    CREATE TABLE task (
        id INTEGER PRIMARY KEY,
        case_name TEXT NOT NULL,
        organ TEXT NOT NULL,
        present INTEGER NOT NULL DEFAULT 1,
        rank INTEGER,
        priority REAL,
        attention_mm3 REAL,
        expected_error_mm3 REAL,
        minutes REAL,
        predicted_dice REAL,
        reason TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ({_STATES})),
        reader TEXT NOT NULL DEFAULT '',
        session TEXT NOT NULL DEFAULT '',
        previous_state TEXT NOT NULL DEFAULT 'waiting' CHECK (previous_state IN ({_STATES})),
        previous_reader TEXT NOT NULL DEFAULT '',
        active_seconds REAL NOT NULL DEFAULT 0,
        comment TEXT NOT NULL DEFAULT '',
        revision TEXT NOT NULL DEFAULT '',
        sha256 TEXT NOT NULL DEFAULT '',
        changed TEXT NOT NULL,
        UNIQUE (case_name, organ)
    );
    CREATE INDEX task_order ON task (state, present, rank);
    CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time TEXT NOT NULL,
        reader TEXT NOT NULL,
        session TEXT NOT NULL,
        case_name TEXT NOT NULL,
        organ TEXT NOT NULL,
        kind TEXT NOT NULL,
        state_before TEXT NOT NULL DEFAULT '',
        state_after TEXT NOT NULL DEFAULT '',
        seconds REAL NOT NULL DEFAULT 0,
        revision TEXT NOT NULL DEFAULT '',
        sha256 TEXT NOT NULL DEFAULT '',
        comment TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX event_task ON event (case_name, organ);
    CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
        BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
    CREATE TRIGGER event_is_never_removed BEFORE DELETE ON event
        BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
    CREATE TRIGGER event_is_never_replaced BEFORE INSERT ON event
        WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'events are never replaced'); END;
"""
ROWS = (
    "INSERT INTO task (case_name, organ, rank, priority, state, reader, active_seconds, comment, revision, sha256, changed) VALUES"
    " ('a', 'liver', 1, 4.25, 'accepted', 'Ada', 30.5, 'good; \"really\"', 'r1', 'ff', '2026-01-02T03:04:05.000006+00:00')",
    "INSERT INTO task (case_name, organ, state, reader, session, changed) VALUES ('a', 'spleen', 'taken', 'Bob', 'far/00000000/1', 't')",
    "INSERT INTO event (time, reader, session, case_name, organ, kind) VALUES ('2026-01-01', 'Ada', 's', 'a', 'liver', 'take')",
    "INSERT INTO event (time, reader, session, case_name, organ, kind) VALUES ('2026-01-02', 'Ada', 's', 'a', 'liver', 'state')",
)


def old_file(folder: Path) -> Path:
    """Write a worklist as the first program left it; its newest event has the number 40."""
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / NAME)) as db:
        db.executescript(VERSION_1)
        for row in ROWS:
            db.execute(row)
        db.execute("UPDATE sqlite_sequence SET seq = 40 WHERE name = 'event'")
        db.execute("PRAGMA application_id=0x41544C53")
        db.execute("PRAGMA user_version=1")
        db.commit()
    return folder


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """Return a dataset folder, and an address or "", with a worklist of version 1."""
    if request.param == "sqlite":
        return old_file(tmp_path / "d"), ""
    url = request.getfixturevalue("postgres").new_database()
    with connected(url) as connection:
        migrate(connection, 0, to=1)
        for row in ROWS:
            connection.execute(text(row))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "worklist.json").write_text('{"dataset": "hospital"}')
    with pytest.raises(DatasetError, match=f"has version 1, and this program needs version {VERSION}"):
        Worklist(tmp_path / "d", url=url)
    assert initialize(url) == 1
    assert initialize(url) == VERSION  # again changes nothing
    with connected(url) as connection:  # tasks of version 1 had no dataset
        connection.execute(text("UPDATE task SET dataset = 'hospital'"))
        connection.execute(text("SET session_replication_role = replica"))
        connection.execute(text("UPDATE event SET dataset = 'hospital'"))
    return tmp_path / "d", url


def test_everything_of_version_1_is_there_and_can_be_worked_on(old: tuple[Path, str]) -> None:
    worklist = Worklist(old[0], url=old[1])
    first, second = worklist.tasks()
    assert (first.state, first.reader, first.rank, first.priority) == (ACCEPTED, "Ada", 1, 4.25)
    assert (first.comment, first.revision, first.active_seconds) == ('good; "really"', "r1", 30.5)
    assert (first.assignee, first.lease_until, first.level, first.round) == ("", "", 1, 1)
    assert (second.state, second.reader, second.session) == (TAKEN, "Bob", "far/00000000/1")
    assert [(event.time, event.kind) for event in worklist.events("a", "liver")] == [("2026-01-01", "take"), ("2026-01-02", "state")]
    worklist.take("a", "spleen", "Cleo", take_over=True)
    assert worklist.events()[-1].kind == "take over"


VERSION_2_ROWS = (
    "INSERT INTO task (dataset, case_name, organ, rank, state, reader, level, round, assignee, changed) VALUES"
    " ('hospital', 'a', 'liver', 1, 'accepted', 'Ada', 1, 2, '', 't'), ('hospital', 'a', 'spleen', 2, 'waiting', '', 1, 1, 'Bob', 't'),"
    " ('hospital', 'a', 'colon', NULL, 'revised', 'Cleo', 1, 1, '', 't'), ('other', 'a', 'liver', 1, 'waiting', '', 1, 1, '', 't')",
    "INSERT INTO event (dataset, time, reader, session, case_name, organ, kind) VALUES"
    " ('hospital', '1', 'Bob', 's', 'a', 'liver', 'take'), ('hospital', '2', 'Ada', 's', 'a', 'liver', 'take over'),"
    " ('hospital', '3', 'Ada', 's', 'a', 'liver', 'state'), ('hospital', '4', 'Eve', 's', 'a', 'spleen', 'hand over'),"
    " ('other', '5', 'Zoe', 's', 'a', 'liver', 'take')",
)


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_version_2_becomes_version_3_with_all_its_data_and_who_had_what_in_hand(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres").new_database() if backend == "postgres" else f"sqlite:///{tmp_path / NAME}"
    with connected(url) as connection:
        migrate(connection, 0, to=2)
        for row in VERSION_2_ROWS:
            connection.execute(text(row))
        migrate(connection, 2)
        assert schema_differences(connection) == []
        wanted = "SELECT organ, readers, author, reading, round FROM task WHERE dataset = 'hospital' ORDER BY id"
        found = connection.execute(text(wanted)).all()
    assert [sorted(readers.split()) for _, readers, *_ in found] == [["Ada", "Bob"], [], ["Cleo"]]
    assert [(organ, author, reading, number) for organ, _, author, reading, number in found] == [
        ("liver", "Ada", 1, 2), ("spleen", "", 1, 1), ("colon", "", 1, 1),
    ]  # fmt: skip
    insert = "INSERT INTO task (dataset, case_name, organ, reading, changed) VALUES ('hospital', 'a', 'liver', {}, 't')"
    for reading in (1, 3):  # it is there, and there is no third reading
        with pytest.raises(IntegrityError), connected(url) as connection:
            connection.execute(text(insert.format(reading)))
    with connected(url) as connection:
        connection.execute(text(insert.format(2)))


def test_numbers_of_events_go_on_and_never_come_again(tmp_path: Path) -> None:
    worklist = Worklist(old_file(tmp_path / "d"))
    worklist.add("a", "pancreas", "Ada")
    assert worklist.last_event() == 41


def schema_differences(connection: Connection) -> list[Any]:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    options = {"version_table": worklist_migrate.VERSION_TABLE, "compare_server_default": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="autoincrement and existing_autoincrement")
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    return [difference for difference in found if "modify_default" not in str(difference)]  # alembic before 1.14, of keys in SQLite


def test_old_and_new_lists_have_the_tables_that_the_program_expects(old: tuple[Path, str], request: pytest.FixtureRequest) -> None:
    folder, url = old
    Worklist(folder, url=url)
    places = [url or f"sqlite:///{folder / NAME}"]
    if url:
        places.append(request.getfixturevalue("postgres").empty_worklist())
    else:
        (folder / "new").mkdir()
        Worklist(folder / "new")
        places.append(f"sqlite:///{folder / 'new' / NAME}")
    for place in places:
        with connected(place) as connection:
            assert schema_differences(connection) == []
            connection.execute(text("DROP INDEX task_lease"))
            assert schema_differences(connection)  # so the comparison looks


def test_the_history_of_an_old_list_is_as_closed_as_that_of_a_new_one(tmp_path: Path) -> None:
    Worklist(old_file(tmp_path / "d"))
    with closing(sqlite3.connect(tmp_path / "d" / NAME)) as db:
        for sql in ("UPDATE event SET reader = 'Eve'", "DELETE FROM event", "REPLACE INTO event SELECT * FROM event WHERE id = 1"):
            with pytest.raises(sqlite3.IntegrityError, match="events are never"):
                db.execute(sql)


def test_a_change_of_version_that_fails_leaves_the_old_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_file(tmp_path / "d")
    with closing(sqlite3.connect(folder / NAME)) as db:
        before = list(db.iterdump())

    def fail(connection: Connection, version: int) -> None:
        migrate(connection, version)
        message = "disk I/O error"
        raise sqlite3.OperationalError(message)

    monkeypatch.setattr("AtlasReviewLib.worklist_sqlite.migrate", fail)
    with pytest.raises(StorageError, match="disk I/O error"):
        Worklist(folder)
    with closing(sqlite3.connect(folder / NAME)) as db:
        assert list(db.iterdump()) == before
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    monkeypatch.undo()
    assert len(Worklist(folder).tasks()) == 2


def test_an_old_list_that_is_only_looked_at_stays_old(tmp_path: Path) -> None:
    folder = old_file(tmp_path / "d")
    content = (folder / NAME).read_bytes()
    looking = Worklist(folder, read_only=True)
    assert [task.organ for task in looking.tasks()] == ["liver", "spleen"]
    looking.close()
    assert (folder / NAME).read_bytes() == content


def test_an_old_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    folder = old_file(tmp_path / "d")
    with closing(sqlite3.connect(folder / NAME)) as db:
        db.execute("PRAGMA application_id=7")
    with pytest.raises(WorklistDamagedError, match="another program"):
        Worklist(folder)


def test_a_database_of_another_program_or_a_newer_one_is_left_alone(postgres: Any, tmp_path: Path) -> None:
    url = postgres.new_database()
    name = url.rpartition("/")[2]
    with pytest.raises(DatasetError, match="there is none"):
        Worklist(tmp_path, url=url)
    postgres.run("CREATE TABLE task (name text)", database=name)
    with pytest.raises(DatasetError, match="other tables"):
        initialize(url)
    postgres.run("DROP TABLE task", database=name)
    assert initialize(url) == 0
    for version, words in (("99", "version 99"), ("f3a9", "of another program")):
        postgres.run(f"UPDATE worklist_version SET version_num = '{version}'", database=name)
        with pytest.raises(DatasetError, match=words):
            Worklist(tmp_path, url=url)
        with pytest.raises(DatasetError, match=words):
            initialize(url)
