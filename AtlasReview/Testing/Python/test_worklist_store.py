"""worklist.sqlite: two readers, read-only folders, full disks, damaged files, history that cannot be altered."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from AtlasReviewLib import network_folders, reader_session, worklist_sqlite
from AtlasReviewLib.task_states import ACCEPTED, REVISED, TAKEN, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_migrate import VERSION
from AtlasReviewLib.worklist_rebuild import rebuild_worklist
from AtlasReviewLib.worklist_store import NAME, WorklistDamagedError
from AtlasSegmentLib.errors import DatasetError, StorageError
from review_data import make_dataset

_TAKER = """
import json, os, sys
from pathlib import Path
from AtlasReviewLib.worklist import Worklist
folder, reader, user = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if user:
    os.setgroups([]); os.setgid(user); os.setuid(user)
worklist, taken = Worklist(folder), []
print("ready", flush=True)
sys.stdin.readline()
previous = None
while (task := worklist.take_next(reader, previous)) is not None and task.state == "taken":
    taken.append(task.id)
    worklist.add_seconds(task, reader, 1.0)
    worklist.set_state(task, "accepted", reader)
    previous = task
print(json.dumps(taken))
"""


def run_takers(folder: Path, readers: list[str]) -> list[list[int]]:
    """Let several processes take tasks at the same time; return what each of them got."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    runs = [subprocess.Popen([sys.executable, "-c", _TAKER, str(folder), reader, "0"], **pipes) for reader in readers]  # type: ignore[call-overload]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("go\n")
        run.stdin.flush()
    results = [json.loads(run.communicate()[0]) for run in runs]
    assert [run.returncode for run in runs] == [0] * len(runs)
    return results


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset that is copied for each test, as making one takes longer."""
    return make_dataset(tmp_path_factory.mktemp("made") / "hospital")


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "hospital"))


def fill(folder: Path, count: int) -> Worklist:
    """Return a worklist with many tasks and no case behind them."""
    folder.mkdir(exist_ok=True)
    worklist = Worklist(folder)
    with worklist.store.writing() as db:
        db.add_many([{"case_name": f"case{number:05}", "organ": "liver", "rank": number, "changed": ""} for number in range(count)])
    return worklist


def test_three_processes_at_once_get_every_task_exactly_once(tmp_path: Path) -> None:
    worklist = fill(tmp_path / "d", 120)
    taken = run_takers(tmp_path / "d", ["Ada", "Bob", "Cleo"])
    assert sorted(number for numbers in taken for number in numbers) == [task.id for task in worklist.tasks()]
    assert sum(task.active_seconds for task in worklist.tasks()) == 120
    events = worklist.events()
    assert [sum(event.kind == kind for event in events) for kind in ("take", "seconds", "state")] == [120, 120, 120]


def test_two_programs_that_make_the_list_at_the_same_time_make_one(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert run_takers(tmp_path / "d", ["Ada", "Bob", "Cleo"]) == [[], [], []]
    with closing(sqlite3.connect(tmp_path / "d" / NAME)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_events_can_be_appended_and_nothing_else(dataset: Path) -> None:
    worklist, _ = open_worklist(dataset)
    before = worklist.events()
    for sql in ("UPDATE event SET reader = 'Eve'", "DELETE FROM event", "INSERT OR REPLACE INTO event SELECT * FROM event WHERE id = 1"):
        with pytest.raises(IntegrityError, match="events are never"), worklist.store.writing() as db:
            db.connection.execute(text(sql))
    assert worklist.events() == before


def test_a_state_that_does_not_exist_cannot_be_written(dataset: Path) -> None:
    worklist, _ = open_worklist(dataset)
    with pytest.raises(IntegrityError) as refused, worklist.store.writing() as db:
        db.set(db.row("first", "liver"), {"state": "done", "comment": "Jane Doe"})
    assert "Jane Doe" not in str(refused.value)  # what people wrote does not get into logs
    assert {task.state for task in worklist.tasks()} == {WAITING}


def test_what_fails_in_the_middle_of_a_change_changes_nothing(dataset: Path) -> None:
    worklist, _ = open_worklist(dataset)

    def fail() -> None:
        with worklist.store.writing() as db:
            db.connection.execute(text("UPDATE task SET state = 'accepted'"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert {task.state for task in worklist.tasks()} == {WAITING}


def test_nothing_stays_open_after_a_change(dataset: Path) -> None:
    worklist, _ = open_worklist(dataset)
    worklist.take_next("Ada")
    assert sorted(path.name for path in dataset.iterdir() if path.is_file()) == [NAME]  # the -wal and -shm files are gone
    moved = dataset.rename(dataset.with_name("moved"))
    assert Worklist(moved).task("first", "liver").state == TAKEN


def test_a_list_on_a_disk_of_this_machine_uses_wal_and_one_on_the_network_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def journal(folder: Path) -> str:
        with closing(sqlite3.connect(folder / NAME)) as db:
            return str(db.execute("PRAGMA journal_mode").fetchone()[0])

    monkeypatch.setattr(worklist_sqlite, "is_local", lambda _folder: True)
    fill(tmp_path / "d", 3)
    assert journal(tmp_path / "d") == "wal"
    monkeypatch.setattr(worklist_sqlite, "is_local", lambda _folder: False)
    worklist = Worklist(tmp_path / "d")  # from now on it is reached over the network
    assert journal(tmp_path / "d") == "delete"
    assert worklist.take_next("Ada")
    fill(tmp_path / "e", 3)
    assert journal(tmp_path / "e") == "delete"


def test_the_file_system_of_a_folder_is_read_from_the_list_of_mounts(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    place = tmp_path.resolve()
    escaped = str(place).replace(" ", "\\040")
    (place / "with space").mkdir()
    lines = [f"server:/x {escaped} nfs4 rw 0 0", "/dev/sda / ext4 rw 0 0", f"/dev/sdb {escaped}/with\\040space xfs rw 0 0", "bad"]
    mounts.write_text("\n".join(lines))
    assert network_folders.file_system_of(place / "below", mounts) == "nfs4"
    assert network_folders.file_system_of(place / "with space" / "x", mounts) == "xfs"
    assert network_folders.file_system_of(Path("/elsewhere"), mounts) == "ext4"
    assert network_folders.file_system_of(place, tmp_path / "none") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only there the list of mounts is read")
@pytest.mark.parametrize(
    ("kind", "local"), [("ext4", True), ("nfs4", False), ("cifs", False), ("fuse.sshfs", False), ("9p", False), ("", False)]
)
def test_what_is_not_known_to_be_a_local_disk_counts_as_remote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, local: bool
) -> None:
    monkeypatch.setattr(network_folders, "file_system_of", lambda _folder: kind)
    assert network_folders.is_local(tmp_path) is local


def test_another_program_that_writes_for_long_is_said(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worklist, _ = open_worklist(dataset)
    monkeypatch.setattr(worklist_sqlite, "WAIT_SECONDS", 0.1)
    with closing(sqlite3.connect(dataset / NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another program has been writing"):
            worklist.take_next("Ada")
        other.execute("ROLLBACK")
    assert worklist.take_next("Ada")


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be one" * 30, b"x", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_list_is_said_and_not_a_byte_of_it_is_changed(dataset: Path, content: bytes) -> None:
    (dataset / NAME).write_bytes(content)
    with pytest.raises(WorklistDamagedError, match="damaged"):
        open_worklist(dataset)
    assert (dataset / NAME).read_bytes() == content


def test_a_list_cut_short_is_said_when_it_is_read(dataset: Path) -> None:
    worklist, _ = open_worklist(dataset)
    data = (dataset / NAME).read_bytes()
    (dataset / NAME).write_bytes(data[: len(data) // 2])
    with pytest.raises(WorklistDamagedError):
        worklist.tasks()
    with pytest.raises(WorklistDamagedError):
        open_worklist(dataset)
    assert (dataset / NAME).read_bytes() == data[: len(data) // 2]


def test_a_database_of_another_program_is_left_alone(dataset: Path) -> None:
    with closing(sqlite3.connect(dataset / NAME)) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
        db.commit()
    content = (dataset / NAME).read_bytes()
    with pytest.raises(WorklistDamagedError, match="holds other tables"):
        open_worklist(dataset)
    assert (dataset / NAME).read_bytes() == content


def test_a_list_of_a_newer_program_is_refused(dataset: Path) -> None:
    open_worklist(dataset)
    with closing(sqlite3.connect(dataset / NAME)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(DatasetError, match="version 99"):
        Worklist(dataset)


def test_a_damaged_list_is_built_anew_and_kept_beside_with_what_can_still_be_read(dataset: Path) -> None:
    worklist, _ = open_worklist(dataset)
    worklist.set_state(worklist.take("first", "liver", "Ada"), ACCEPTED, "Ada", "good")
    worklist.add_seconds(worklist.task("first", "liver"), "Ada", 12.0)
    with closing(sqlite3.connect(dataset / NAME)) as db:
        db.execute("PRAGMA application_id=7")
    content = (dataset / NAME).read_bytes()
    with pytest.raises(WorklistDamagedError):
        open_worklist(dataset)
    rebuilt, kept = rebuild_worklist(dataset)
    assert kept.name.startswith("worklist-damaged-2")
    assert kept.read_bytes() == content
    task = rebuilt.task("first", "liver")
    assert (task.state, task.reader, task.comment, task.active_seconds) == (ACCEPTED, "Ada", "good", 12.0)
    assert "state" in [event.kind for event in rebuilt.events("first", "liver")]


def test_a_list_of_which_nothing_can_be_read_is_built_from_the_cases(dataset: Path) -> None:
    from AtlasReviewLib.revisions import save_revision
    from AtlasSegmentLib.case_folder import CaseFolder
    from AtlasSegmentLib.nifti import read_nifti

    case = CaseFolder(dataset / "first")
    save_revision(case, "liver", read_nifti(case.average.mask("liver")), "Ada")
    (dataset / NAME).write_bytes(b"\0" * 4096)
    rebuilt, kept = rebuild_worklist(dataset)
    assert kept.read_bytes() == b"\0" * 4096
    assert (rebuilt.task("first", "liver").state, rebuilt.task("first", "liver").reader) == (REVISED, "Ada")
    assert rebuilt.task("second", "liver").state == WAITING


@pytest.fixture
def read_only_disk() -> Iterator[Path]:
    """Mount a file system with a dataset and a worklist with one taken task, then make it read-only; or skip."""
    with tempfile.TemporaryDirectory() as place:
        disk = Path(place).resolve() / "disk"
        disk.mkdir()
        if (
            sys.platform != "linux"
            or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False).returncode
        ):
            pytest.skip("a file system cannot be mounted here (needs root on Linux)")
        try:
            yield disk
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


@pytest.mark.parametrize("local", [True, False])
def test_a_dataset_that_cannot_be_written_opens_for_looking(read_only_disk: Path, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist_sqlite, "is_local", lambda _folder: local)
    dataset = make_dataset(read_only_disk / "hospital")
    worklist, _ = open_worklist(dataset)
    worklist.take("first", "liver", "Ada")
    remount(read_only_disk, "ro")
    looking, _ = open_worklist(dataset)
    assert looking.read_only
    assert (looking.task("first", "liver").state, looking.task("first", "liver").reader) == (TAKEN, "Ada")
    assert len(looking.tasks()) == 8
    for change in (lambda: looking.take_next("Bob"), lambda: looking.add("first", "pancreas", "Bob")):
        with pytest.raises(StorageError, match="for looking only"):
            change()
    looking.close()


def test_a_dataset_without_a_list_that_cannot_be_written_opens_for_looking(read_only_disk: Path) -> None:
    dataset = make_dataset(read_only_disk / "hospital")
    remount(read_only_disk, "ro")
    looking, _ = open_worklist(dataset)
    assert looking.read_only
    assert len(looking.tasks()) == 8
    looking.close()


def test_a_full_disk_is_said_and_the_list_stays_whole(read_only_disk: Path) -> None:
    worklist = fill(read_only_disk / "d", 50)
    remount(read_only_disk, "size=512k")
    filler = read_only_disk / "filler"
    with pytest.raises(OSError, match="space"):
        filler.write_bytes(b"\0" * 1_000_000)
    with pytest.raises(StorageError, match="Free space"):
        list(iter(lambda: worklist.take_next("x" * 190), None))
    filler.unlink()
    with closing(sqlite3.connect(worklist.store.place.file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert worklist.take_next("Ada")


def test_sessions_of_this_machine_can_be_asked_and_others_may_be_alive() -> None:
    mine = reader_session.this_session()
    assert reader_session.may_be_alive(mine)
    assert reader_session.host_of(mine)
    assert reader_session.may_be_alive("far/00000000/1")
    assert not reader_session.may_be_alive("")
    assert not reader_session.may_be_alive("nonsense")
    assert reader_session.host_of("nonsense") == ""
    assert not reader_session.may_be_alive(mine.rpartition("/")[0] + "/4194304999")


def test_a_list_for_looking_only_makes_no_file(dataset: Path) -> None:
    looking = Worklist(dataset, read_only=True)
    assert looking.tasks() == []
    looking.close()
    assert not (dataset / NAME).exists()
