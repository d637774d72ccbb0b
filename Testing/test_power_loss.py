"""Power losses and kills while a revision is saved and accepted: Testing/Faults/power_loss.py in small, and that its checks can fail."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib import files

if not sys.platform.startswith("linux"):
    pytest.skip("what a process does to files is recorded on Linux", allow_module_level=True)

from Faults import power_acts, power_kills, power_loss, power_states, power_worklist
from Faults.file_recorder import MODES, Step, Trace, left_by_power_loss

ACTS = {act.name: act for act in power_acts.acts()}


@pytest.fixture
def room() -> Iterator[Path]:
    """Return a folder in memory where there is one: the losses are simulated, so that nothing has to reach a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def test_no_power_loss_takes_a_revision_that_was_reported_and_the_list_agrees_with_the_files(room: Path) -> None:
    tally = power_loss.fail_power(30, 1, room, [ACTS["first revision"], ACTS["mask of another program"]])
    assert tally.faults == []
    assert sum(tally.points.values()) == 30
    assert tally.kinds["task of a dead program"] > 10


def test_no_kill_does_either(room: Path) -> None:
    killed, found = power_kills.kill_often(2, 1, room)
    assert [fault for one in found for fault in one.faults] == []
    assert killed >= 1


def test_a_commit_of_the_list_that_was_cut_off_anywhere_is_there_or_not(room: Path) -> None:
    assert {*power_worklist.tear_commits(12, 1, room)} == {"before", "after"}


def flush_nothing(_path: Path) -> None:
    """Take the place of a flush."""


def make_folder_plainly(folder: Path) -> None:
    """Make a folder as `mkdir` does."""
    folder.mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize(
    ("name", "without", "fault"),
    [
        ("sync_file", flush_nothing, "not whole"),
        ("sync_folder", flush_nothing, "is lost"),
        ("make_folder", make_folder_plainly, "is lost"),
    ],
)
def test_a_flush_that_is_forgotten_is_found_out(room: Path, monkeypatch: pytest.MonkeyPatch, name: str, without: Any, fault: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, name, without)
        if name == "make_folder":
            patch.setattr("AtlasSegmentLib.locks.make_folder", without)
        recorded = power_acts.record(ACTS["first revision"], room)
    dice, found = random.Random(1), list[str]()
    for number in range(15):
        crash = power_states.crash(recorded, len(recorded.trace.steps), "any", dice)
        power_states.lay_out(crash, room / f"{number}")
        found += power_states.check_masks(power_acts.CaseFolder(room / f"{number}" / power_acts.CASE), crash)
    assert any(fault in problem for problem in found)


def test_every_commit_of_the_worklist_is_flushed_before_it_is_reported(tmp_path: Path) -> None:
    power_acts.make_dataset(tmp_path / "data")
    with Worklist(tmp_path / "data").store.writing() as db:
        assert db.connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


TRACE = Trace(
    {"a": -1, "a/old": 0},
    {0: b"old"},
    [
        Step("data", 1, b"new bytes"),
        Step("names", names=(("a/.tmp", 1),)),
        Step("sync", 1),
        Step("names", names=(("a/.tmp", None), ("a/old", 1))),
        Step("sync folder", folder="a"),
        Step("data", 1, b"new bytes, more"),
    ],
)


def states(moment: int) -> set[tuple[tuple[str, bytes | None], ...]]:
    dice = random.Random(3)
    return {tuple(left_by_power_loss(TRACE, moment, mode, dice).items()) for mode in MODES for _ in range(200)}


def test_what_was_flushed_is_kept_and_all_else_may_be_lost_cut_or_zero() -> None:
    before, whole = (("a", None), ("a/old", b"old")), (("a", None), ("a/old", b"new bytes"))
    assert states(0) == {before}
    unsynced = {dict(state).get("a/.tmp") for state in states(2)}
    assert {None, b"", b"new bytes", bytes(9), b"new b"} <= unsynced
    assert states(4) == {before, whole, (("a", None), ("a/.tmp", b"new bytes"), ("a/old", b"old"))}
    assert states(5) == {whole}
    appended = {dict(state)["a/old"] for state in states(6)}
    assert {b"new bytes", b"new bytes, more", b"new bytes" + bytes(6), b"new bytes, m"} <= appended
    assert all(content is not None and content.startswith(b"new bytes") for content in appended)


def test_a_flushed_file_in_a_folder_whose_name_was_not_flushed_may_be_lost() -> None:
    steps = [Step("names", names=(("new", -1),)), Step("data", 1, b"x"), Step("names", names=(("new/file", 1),))]
    trace = Trace({}, {}, [*steps, Step("sync", 1), Step("sync folder", folder="new")])
    found = [left_by_power_loss(trace, 5, "any", random.Random(seed)) for seed in range(20)]
    assert {} in found
    assert {"new": None, "new/file": b"x"} in found
