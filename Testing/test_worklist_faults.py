"""Readers who are killed all the time: a small run of Testing/Faults/worklist_readers.py, and that its checks can fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from AtlasReviewLib.worklist import Worklist

pytest_plugins = ("postgres_server",)


@pytest.fixture(scope="module")
def faults(repository: Path) -> Any:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("worklist_readers", repository / "Testing" / "Faults" / "worklist_readers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_nothing_is_taken_twice_or_lost_while_readers_are_killed(
    faults: Any, tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres").empty_worklist() if backend == "postgres" else ""
    report = faults.run(tmp_path, url, tasks=30, readers=2, kills=2, every=0.2, lease_seconds=3.0)
    assert report.problems == []
    assert report.figures["kills"] == 2
    assert report.figures["events take"] >= 30


@pytest.fixture
def finished(faults: Any, tmp_path: Path) -> tuple[Worklist, Path]:
    """Return a list of three tasks that one reader accepted in this process, and the folder of the notes."""
    notes = tmp_path / "notes"
    notes.mkdir()
    faults.make_dataset(tmp_path / "d", 3)
    worklist = Worklist(tmp_path / "d")
    faults.fill(worklist, 3)
    faults.read(tmp_path / "d", "", "Ada", faults.Notes(notes / "ada.txt"))
    return worklist, notes


def test_the_checks_see_what_is_wrong(faults: Any, finished: tuple[Worklist, Path]) -> None:
    worklist, notes = finished
    assert faults.check(worklist, notes, 3).problems == []
    assert "4 tasks were made, 3 are there" in faults.check(worklist, notes, 4).problems
    task = worklist.tasks()[0]

    def problems() -> str:
        return " | ".join(faults.check(worklist, notes, 3).problems)

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
