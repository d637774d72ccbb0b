"""Readers who are killed all the time: a small run of Testing/Faults/worklist_readers.py, and that its checks can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from AtlasReviewLib.worklist import Worklist
from Faults import worklist_checks, worklist_reader, worklist_readers

pytest_plugins = ("postgres_server",)


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_nothing_is_taken_twice_or_lost_while_readers_are_killed(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres").empty_worklist() if backend == "postgres" else ""
    report = worklist_readers.run(tmp_path, url, tasks=30, readers=2, kills=2, every=0.2, lease_seconds=3.0)
    assert report.problems == []
    assert report.figures["kills"] == 2
    assert report.figures["events take"] >= 30


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Worklist, Path]:
    """Return a list of three tasks that one reader accepted in this process, and the folder of the notes."""
    notes = tmp_path / "notes"
    notes.mkdir()
    worklist_readers.make_dataset(tmp_path / "d", 3)
    worklist = Worklist(tmp_path / "d")
    worklist_readers.fill(worklist, 3)
    worklist_reader.read(tmp_path / "d", "", "Ada", worklist_reader.Notes(notes / "ada.txt"))
    return worklist, notes


def test_the_checks_see_what_is_wrong(finished: tuple[Worklist, Path]) -> None:
    worklist, notes = finished
    assert worklist_checks.check(worklist, notes, 3).problems == []
    assert "4 tasks were made, 3 are there" in worklist_checks.check(worklist, notes, 4).problems
    task = worklist.tasks()[0]

    def problems() -> str:
        return " | ".join(worklist_checks.check(worklist, notes, 3).problems)

    with worklist.store.writing() as db:
        row = db.row(task.case, task.organ)
        db.set(row, {"sha256": "0" * 64})
    assert "the list says" in problems()
    with worklist.store.writing() as db:
        db.set(row, {"sha256": row["sha256"], "state": "taken"})
    assert f"{task.case} {task.organ} is taken" in problems()
    assert "was accepted and is not" in problems()
    with worklist.store.writing() as db:
        db.set(row, {"state": "accepted"})
        db.append("Eve", task.case, task.organ, "take", state_before="waiting", state_after="taken")
    assert "comes from waiting, but it was accepted" in problems()
    taken = (notes / "ada.txt").read_text().splitlines()[0].split()
    (notes / "eve.txt").write_text(f"{float(taken[0]) + 0.001} take {taken[2]} 0.1\n")
    assert f"task {taken[2]} was given at" in problems()
    mask = worklist.folder / task.case / "average" / "segmentations" / f"{task.organ}_revised.nii.gz"
    mask.write_bytes(b"")
    assert "the list says" in problems()
