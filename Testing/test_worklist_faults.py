"""Readers who are killed all the time: a small run of Testing/Faults/worklist_readers.py, and that its checks can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from AtlasReviewLib.worklist import Worklist
from Faults import worklist_checks, worklist_reader, worklist_readers, worklist_team_checks, worklist_team_reader

pytest_plugins = ("postgres_server",)


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_nothing_is_taken_twice_or_lost_while_readers_are_killed(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres").empty_worklist() if backend == "postgres" else ""
    report = worklist_readers.run(tmp_path, url, tasks=30, readers=2, kills=2, every=0.2, lease_seconds=3.0)
    assert report.problems == []
    assert report.figures["kills"] == 2
    assert report.figures["events take"] >= 30


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_the_rules_of_a_team_hold_while_its_readers_are_killed(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres").empty_worklist() if backend == "postgres" else ""
    report = worklist_readers.run(tmp_path, url, tasks=8, readers=4, kills=2, every=0.2, lease_seconds=1.5, team=0.4)
    assert report.problems == []
    assert report.figures["pairs"] > 1
    assert report.figures["events verified"] > 0


def test_the_checks_of_a_team_see_what_is_wrong(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    worklist_readers.make_dataset(tmp_path / "d", 12)
    worklist = Worklist(tmp_path / "d")
    worklist_readers.fill(worklist, 12)
    tasks = 12 + worklist_readers.make_team(worklist, 4, seniors=2)
    for name in ("Reader 2", "Reader 3", "Reader 0", "Reader 1"):  # each does what it may, and none waits for the others
        reader = worklist_team_reader.TeamReader(worklist, name, worklist_reader.Notes(notes / f"{name}.txt"))
        reader.dice.seed(name)
        while (task := worklist.take_next(name)) is not None:
            reader.notes.add("take", task.id, 0.1)
            reader._do(task)

    def problems() -> str:
        report = worklist_checks.check(worklist, notes, tasks, team=True)
        worklist_team_checks.check_team(worklist, notes, report)
        return " | ".join(problem for problem in report.problems if " is waiting" not in problem)

    first, second = worklist.pairs()[0]
    case, organ = str(first["case_name"]), str(first["organ"])
    before = problems()
    with worklist.store.writing() as db:
        rows = [db.row(case, organ, reading) for reading in (1, 2)]
        db.set(rows[1], {"readers": rows[1]["readers"] + rows[0]["readers"].lstrip("\n")})
    assert "had both readings" not in before
    assert "had both readings" in problems()
    with worklist.store.writing() as db:
        db.set(rows[1], {"readers": rows[1]["readers"]})
        db.append("atlas", case, organ, "agree", state_before=rows[0]["state"], state_after=rows[0]["state"])
        db.append(str(second["reader"]), case, organ, "adjudicated", state_before=rows[0]["state"], state_after=rows[0]["state"])
    assert "were compared 2 times" in problems()
    assert "who had read it" in problems()
    (moved,) = (tmp_path / "d" / case / "reading_2" / "revisions" / organ).glob(f"{second['revision']}*")
    wrong = tmp_path / "d" / case / "average" / "revisions" / organ
    wrong.mkdir(parents=True, exist_ok=True)
    moved.rename(wrong / moved.name)
    assert "of the second reading lies with the first" in problems()
    (notes / "x.txt").write_text("1.5 refused 0 deadlock\n")
    assert "waited for each other" in problems()


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
