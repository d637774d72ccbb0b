"""A child process with everything it started: found wherever it went, killed, and nothing else touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import child_steps
from AtlasSegmentLib import process_tree
from AtlasSegmentLib.child_process import ChildProcess, Event
from AtlasSegmentLib.process_tree import MARK_VARIABLE, ProcessRow, new_mark, tree_members
from child_tools import collect, make_launcher, running

CALL = child_steps.CALL
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks at /proc")


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return child_steps.make_library(tmp_path / "library")


@pytest.fixture
def child(folders: list[Path]) -> Iterator[ChildProcess]:
    made = ChildProcess(folders=folders)
    yield made
    made.kill()


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    return make_launcher(tmp_path / "home")


def ask(child: ChildProcess, function: str, **arguments: Any) -> list[Event]:
    child.send(CALL + function, arguments)
    return collect(child)


def members(mark_of: ChildProcess) -> list[int]:
    """Return every process that inherited the mark of a child."""
    assert mark_of._pipes is not None
    mark = mark_of._pipes._mark.encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return running(found)


@needs_proc
@pytest.mark.parametrize("how", ["kill", "close", "die"])
@pytest.mark.parametrize("launched", [False, True], ids=["python", "launcher"])
def test_nothing_of_the_tree_stays(tmp_path: Path, folders: list[Path], launcher: Path, how: str, launched: bool) -> None:
    child = ChildProcess(launcher if launched else None, folders=folders)
    note = tmp_path / "numbers"
    child.send(CALL + "leave_grandchildren", {"note": str(note)})
    collect(child, until=lambda event: event.kind == "progress")
    started = {int(number) for number in note.read_text().split()}
    assert len(started) == 4
    assert set(running(sorted(started))) == started
    assert set(members(child)) == started | {child.pid}
    assert (child.pid in started) != launched
    if how == "die":
        os.kill(int(note.read_text().split()[-1]), signal.SIGKILL)
        assert collect(child)[-1].value == "Ended"
    else:
        getattr(child, how)()
    assert running(sorted(started)) == []
    assert child.pid is None
    child.kill()


@needs_proc
@pytest.mark.skipif(shutil.which("ps") is None, reason="needs the program ps")
def test_the_tree_is_found_without_proc_too(tmp_path: Path, folders: list[Path], launcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tree, "_PROC", tmp_path / "no such folder")  # as on macOS
    child = ChildProcess(launcher, folders=folders)
    note = tmp_path / "numbers"
    child.send(CALL + "leave_grandchildren", {"note": str(note)})
    collect(child, until=lambda event: event.kind == "progress")
    plain, own_session, orphan, worker = (int(number) for number in note.read_text().split())
    child.kill()
    left = running([plain, own_session, orphan, worker])
    os.kill(orphan, signal.SIGKILL)  # in a session of its own and without a parent: only /proc tells where it came from
    assert left == [orphan]


@needs_proc
def test_a_killed_launcher_takes_the_interpreter_with_it(folders: list[Path], launcher: Path) -> None:
    child = ChildProcess(launcher, folders=folders)
    worker = ask(child, "who")[-1].value["pid"]
    child.send(CALL + "work", {})
    collect(child, until=lambda event: event.kind == "progress")
    os.kill(child.pid or 0, signal.SIGKILL)
    assert "SIGKILL" in collect(child)[-1].text
    assert running([worker]) == []


PARENT = """
import sys, time
sys.path[:0] = {folders!r}
from pathlib import Path
from AtlasSegmentLib.child_process import ChildProcess
child = ChildProcess({program!r}, folders=[Path(folder) for folder in {folders!r}])
child.send("AtlasReviewLib.child_steps:leave_grandchildren", {{"note": {note!r}}})
while not any(event.kind == "progress" for event in child.events()):
    time.sleep(0.01)
print("runs", flush=True)
time.sleep(600)
"""


@needs_proc
@pytest.mark.parametrize("launched", [False, True], ids=["python", "launcher"])
def test_the_child_ends_when_its_parent_is_killed(tmp_path: Path, folders: list[Path], launcher: Path, launched: bool) -> None:
    note = tmp_path / "numbers"
    program = str(launcher) if launched else None
    source = PARENT.format(folders=[str(folder) for folder in folders], note=str(note), program=program)
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"runs\n"
        parent.kill()
    started = [int(number) for number in note.read_text().split()]
    deadline = time.monotonic() + 30
    while running(started) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = running(started)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


@needs_proc
def test_other_processes_are_never_taken_for_the_tree(child: ChildProcess) -> None:
    ask(child, "who")
    names = {**os.environ, MARK_VARIABLE: new_mark(), "OTHER": f"x {child._pipes._mark if child._pipes else ''}"}
    other = subprocess.Popen([sys.executable, "-c", child_steps.IGNORE_AND_SLEEP], env=names, start_new_session=True)
    child.kill()
    assert running([other.pid]) == [other.pid]
    other.kill()
    other.wait()


def test_a_tree_is_the_group_the_marked_and_all_their_descendants() -> None:
    rows = [
        ProcessRow(1, 0, 1, False),
        ProcessRow(10, 1, 10, False),  # the root
        ProcessRow(11, 10, 11, False),  # a child in its own session
        ProcessRow(12, 11, 12, False),
        ProcessRow(20, 1, 10, False),  # of the group, its parent is dead
        ProcessRow(30, 1, 30, True),  # marked, its parent is dead
        ProcessRow(31, 30, 31, False),
        ProcessRow(40, 1, 40, False),
    ]
    assert tree_members(rows, 10) == {10, 11, 12, 20, 30, 31}
    assert tree_members(rows, None) == {30, 31}
