"""How far a review is: whose work, on which organ and day, how long it took and how much it changed; nothing is written beside it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from AtlasReviewLib import commands_progress
from AtlasReviewLib.commands_progress import csv_text, progress_command
from AtlasReviewLib.progress_page import Progress, progress_page
from AtlasReviewLib.remaining_error import remaining_error
from AtlasReviewLib.review_statistics import Work, summed, works_of
from AtlasReviewLib.revision_changes import MEMORY, changes_of, organs_with_revisions
from AtlasReviewLib.revisions import save_revision
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.nifti import read_nifti
from review_data import make_dataset

MONDAY = datetime(2026, 11, 16, 9, tzinfo=timezone.utc)
APP = typer.Typer(pretty_exceptions_enable=False)
APP.callback()(lambda: None)
APP.command("progress")(progress_command)


class Clock:
    """A clock that is set."""

    time = MONDAY

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Path]:
    """Return a dataset that Ada revised and accepted an organ of on Monday; Grace sent it back on Wednesday and accepted another."""
    folder, clock = make_dataset(tmp_path / "hospital"), Clock()
    open_worklist(folder)[0].close()
    worklist = Worklist(folder, now=clock)
    case = open_case(folder / "first")
    task = worklist.take("first", "liver", "Ada")
    worklist.add_seconds(task, "Ada", 120)
    mask = read_nifti(case.average.mask("liver"))
    grown = mask.with_array(mask.array | np.roll(mask.array, -1, axis=0))
    saved = save_revision(case, "liver", grown, "Ada", now=clock)
    worklist.set_state(task, "revised", "Ada", revision=saved.id, sha256=saved.sha256)
    worklist.set_state(task, "accepted", "Ada")
    clock.time = MONDAY + timedelta(days=2)
    task = worklist.reopen(task, "Grace")
    worklist.set_state(task, "rejected", "Grace", "the dome is missing")
    task = worklist.take("first", "spleen", "Grace")
    worklist.add_seconds(task, "Grace", 60)
    worklist.set_state(task, "accepted", "Grace")
    yield folder
    worklist.close()


def said(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(APP, ["progress", *map(str, arguments), "--json"], catch_exceptions=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_work_is_told_by_reader_with_what_was_sent_back(dataset: Path) -> None:
    found = said(dataset)
    assert (found["finished"], found["total"]) == (2, 8)
    ada, grace = found["rows"]
    assert (ada["reader"], ada["tasks"], ada["minutes"], ada["accepted"], ada["sent_back"]) == ("Ada", 1, 2, 1, 1)
    assert (grace["reader"], grace["tasks"], grace["accepted"], grace["rejected"], grace["reopened"]) == ("Grace", 2, 1, 1, 1)
    assert grace["minutes_each"] == 0.5


def test_what_a_revision_changed_is_counted_against_the_mask_it_was_made_from(dataset: Path) -> None:
    case = open_case(dataset / "first")
    ((revision, change),) = changes_of(case, "liver", {})
    before = read_nifti(case.average.mask("liver")).array != 0
    after = read_nifti(revision.file).array != 0
    assert change.voxels == np.count_nonzero(before ^ after) > 0
    assert change.dice == pytest.approx(2 * np.count_nonzero(before & after) / (before.sum() + after.sum()))
    row = said(dataset, "--by", "day", "--by", "organ")["rows"][0]
    assert (row["day"], row["organ"], row["voxels"]) == ("2026-11-16", "liver", change.voxels)
    assert said(dataset, "--no-masks")["rows"][0]["measured"] == 0


def test_masks_are_read_once_and_a_broken_memory_of_them_is_passed_over(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = said(dataset)
    from AtlasReviewLib import revision_changes

    def fail(*_: Any) -> Any:
        message = "read again"
        raise AssertionError(message)

    with monkeypatch.context() as patch:
        patch.setattr(revision_changes, "read_mask", fail)
        assert said(dataset) == first
    for broken in ("{", "[]", '{"a": [1]}', '{"a": "b"}'):
        (dataset / MEMORY).write_text(broken)
        assert said(dataset) == first


def test_the_mask_before_that_is_not_there_any_more_is_not_guessed(dataset: Path) -> None:
    case = open_case(dataset / "first")
    mask = read_nifti(case.average.mask("liver"))
    from AtlasSegmentLib.nifti import write_nifti

    write_nifti(case.average.mask("liver"), mask.with_array(np.roll(mask.array, 2, axis=1)))
    ((_, change),) = changes_of(case, "liver", {})
    assert change.voxels is None
    assert list(organs_with_revisions(case)) == ["liver"]


def test_sums_keep_every_number(dataset: Path) -> None:
    worklist = Worklist(dataset, read_only=True)
    works = works_of("hospital", worklist.events())
    assert [work.day for work in works] == sorted(work.day for work in works)
    whole = summed(works, ())[0]
    for by in (("reader",), ("organ",), ("day",), ("reader", "organ", "day")):
        again = summed(summed(works, by), ())[0]  # type: ignore[arg-type]
        assert vars(again) == vars(whole)


def test_days_and_keys_that_are_none_are_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="moon"):
        said(dataset, "--by", "moon")
    with pytest.raises(InputError, match="2026-13-01"):
        said(dataset, "--since", "2026-13-01")
    with pytest.raises(DatasetError, match="no worklist"):
        said(tmp_path)
    rows = said(dataset, "--since", "2026-11-17")["rows"]
    assert [(row["reader"], row["accepted"], row["sent_back"]) for row in rows] == [("Ada", 0, 1), ("Grace", 1, 0)]


def test_the_end_is_told_at_the_pace_of_the_last_days() -> None:
    works = [Work("d", f"2026-11-{day}", "Ada", "liver", accepted=5) for day in (16, 18)]
    progress = Progress.of([], works, date(2026, 11, 19))
    progress.states.update({"accepted": 10, "waiting": 31})
    assert progress.decided_by_day() == [(date(2026, 11, 16), 5), (date(2026, 11, 17), 0), (date(2026, 11, 18), 5)]
    assert progress.expected_end() == date(2026, 11, 19) + timedelta(days=10)  # 10 in 3 days, 31 left
    assert Progress.of([], [], date(2026, 11, 19)).expected_end() is None


def test_the_program_says_when_it_is_enough(dataset: Path) -> None:
    worklist = Worklist(dataset, read_only=True)
    left = [task for task in worklist.tasks() if task.state not in {"accepted", "rejected"}]
    unknown = [task for task in left if task.expected_error_mm3 != task.expected_error_mm3]
    assert said(dataset)["remaining"]["unknown"] == len(unknown) > 0
    known = [task for task in worklist.tasks() if task not in unknown]
    now = remaining_error(known)
    assert now.left_ml == pytest.approx(sum(task.expected_error_mm3 for task in left if task not in unknown) / 1000)
    worst = max(task.expected_error_mm3 for task in left if task not in unknown) / 1000
    assert remaining_error(known, now.left_ml).may_stop
    assert (remaining_error(known, now.left_ml - worst).tasks, remaining_error(known, 0).may_stop) == (1, False)
    assert "you can stop" in remaining_error(known, 1e6).told()
    assert "1 more task" in remaining_error(known, now.left_ml - worst).told()
    assert remaining_error(worklist.tasks(), 1e6).tasks is None  # nobody knows what is in the others


def test_the_page_is_whole_and_escapes_every_name(dataset: Path, tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script>'
    work = Work(hostile, "2026-11-16", hostile, hostile, accepted=1)
    page = progress_page(hostile, Progress.of([], [work], date(2026, 11, 19))).decode()
    assert hostile not in page
    assert "<script" not in page
    said(dataset, "--html", tmp_path / "progress.html", "--csv", tmp_path / "progress.csv")
    page = (tmp_path / "progress.html").read_text()
    for expected in ("2 of 8 tasks decided", "Ada", "Grace", "liver", "<svg", "Decisions over time"):
        assert expected in page
    assert "http" not in page.replace("http-equiv", "")
    first = next(csv.DictReader((tmp_path / "progress.csv").read_text().splitlines()))
    assert (first["reader"], first["organ"], first["day"]) == ("Ada", "liver", "2026-11-16")
    assert float(first["voxels changed"]) > 0


def test_no_cell_of_the_table_is_a_formula() -> None:
    text = csv_text([Work("d", "2026-11-16", "=HYPERLINK(1)", "+liver", accepted=1)])
    cells = next(csv.reader([text.splitlines()[1]]))
    assert cells[2:4] == ["'=HYPERLINK(1)", "'+liver"]


def test_nothing_but_the_memory_is_written_into_the_dataset(dataset: Path) -> None:
    before = {path for path in dataset.rglob("*") if "worklist" not in path.name}
    said(dataset)
    assert {path for path in dataset.rglob("*") if "worklist" not in path.name} - before == {dataset / MEMORY}
    assert commands_progress.KEYS == ("dataset", "day", "reader", "organ")
