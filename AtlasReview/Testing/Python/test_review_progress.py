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
from AtlasReviewLib.progress_page import COLUMNS, Progress, cells, curve, progress_page, work_table
from AtlasReviewLib.remaining_error import remaining_error
from AtlasReviewLib.review_statistics import Work, decided_days, summed, works_of
from AtlasReviewLib.revision_changes import MEMORY, changes_of, organs_with_revisions
from AtlasReviewLib.revisions import save_revision
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.html_page import NOTHING
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


def test_a_mask_that_was_saved_outside_of_the_list_counts_for_the_reader_who_drew_it(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "hospital")
    worklist = open_worklist(folder)[0]
    task = worklist.take("first", "liver", "Ada")
    worklist.set_state(task, "accepted", "Ada", revision="20261114T070502.123456Z_Grace", sha256="0" * 64)
    worklist.set_state(worklist.reopen(task, "Bob"), "rejected", "Bob", "too small")
    task = worklist.take("first", "spleen", "Ada")
    for state in ("revised", "accepted"):  # the same one twice
        worklist.set_state(task, state, "Ada", revision="20261114T070502.123456Z_Ada", sha256="0" * 64)
    works = {work.reader: work for work in summed(works_of("hospital", worklist.events()), ("reader",))}
    counts = {reader: (work.tasks, work.revisions, work.accepted, work.sent_back) for reader, work in works.items()}
    assert counts == {"Grace": (1, 1, 0, 1), "Ada": (2, 1, 2, 0), "Bob": (1, 0, 0, 0)}
    assert next(work.day for work in works_of("hospital", worklist.events()) if work.reader == "Grace") == "2026-11-14"
    worklist.close()


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
    progress = Progress.of([], [], date(2026, 11, 19))
    progress.decided.update({"2026-11-16": 5, "2026-11-18": 5})
    progress.states.update({"accepted": 10, "waiting": 31})
    assert progress.decided_by_day() == [(date(2026, 11, 16), 5), (date(2026, 11, 17), 0), (date(2026, 11, 18), 5)]
    assert progress.expected_end() == date(2026, 11, 19) + timedelta(days=10)  # 10 in 3 days, 31 left
    assert Progress.of([], [], date(2026, 11, 19)).expected_end() is None


def test_a_task_that_was_decided_again_counts_once_on_the_day_it_was_decided_last(dataset: Path) -> None:
    worklist = Worklist(dataset)
    tasks, events = worklist.tasks(), worklist.events()
    assert decided_days(tasks, events) == {"2026-11-18": 2}  # the liver was accepted on the 16th, taken up again and rejected
    spleen = next(task for task in tasks if (task.case, task.organ) == ("first", "spleen"))
    worklist.revisit(spleen, "Ada", "a question is open")
    assert decided_days(worklist.tasks(), worklist.events()) == {"2026-11-18": 1}
    worklist.close()
    (reopened,) = (row["reopened"] for row in said(dataset)["rows"] if row["reader"] == "Ada")
    assert reopened == 1


def test_nobody_is_said_to_have_worked_no_time() -> None:
    shown = dict(zip(COLUMNS, map(str, cells(Work("d", "2026-11-16", "Ada", "liver", accepted=1))), strict=True))
    assert shown["active minutes"] == shown["minutes per decision"] == NOTHING
    assert Work(accepted=1).minutes_each is None


def test_the_table_of_work_has_no_empty_columns_and_breaks_no_word(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(width: int) -> str:
        monkeypatch.setattr(console, "_FILE_WIDTH", width)
        return CliRunner().invoke(APP, ["progress", str(dataset)], catch_exceptions=False).stdout

    table = shown(160)
    assert "accepted" in table
    assert not {"skipped", "adjudicated", "verified"} & set(table.split())
    narrow = shown(50)
    assert "  Grace: tasks 2, active minutes 1.0, minutes per decision 0.5, accepted 1, rejected 1, reopened 1" in narrow


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


def test_tasks_of_which_nothing_is_known_do_not_keep_the_stop_rule_from_speaking(dataset: Path) -> None:
    worklist = Worklist(dataset, read_only=True)
    found = remaining_error(worklist.tasks(), 1e6)
    worklist.close()
    assert (found.tasks, found.may_stop, found.unknown_organs) == (0, False, ("liver", "spleen"))
    for expected in ("below 1e+06 ml, without", "Of 2 tasks (liver, spleen) it is not known", "atlas attention --all-organs"):
        assert expected in found.told()
    said_now = said(dataset, "--stop-at", 0)["remaining"]
    assert (said_now["tasks"], said_now["unknown_organs"]) == (3, ["liver", "spleen"])  # the error of a kidney is 0


def test_the_page_is_whole_and_escapes_every_name(dataset: Path, tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script>'
    work = Work(hostile, "2026-11-16", hostile, hostile, accepted=1)
    page = progress_page(hostile, Progress.of([], [work], date(2026, 11, 19))).decode()
    assert hostile not in page
    assert "<script" not in page
    said(dataset, "--html", tmp_path / "progress.html", "--csv", tmp_path / "progress.csv")
    page = (tmp_path / "progress.html").read_text()
    for expected in ("2 of 8 tasks decided", "Ada", "Grace", "liver", "2 tasks became decided, all on 2026-11-18", "Decisions over time"):
        assert expected in page
    assert "http" not in page.replace("http-equiv", "")
    first = next(csv.DictReader((tmp_path / "progress.csv").read_text().splitlines()))
    assert (first["reader"], first["organ"], first["day"]) == ("Ada", "liver", "2026-11-16")
    assert float(first["voxels changed"]) > 0


def test_the_tables_of_the_page_have_no_empty_columns_and_break_no_name() -> None:
    shown = work_table([Work("d", "2026-11-16", "Ada", "adrenal_gland_left", tasks=1, accepted=1)], ("organ",))
    assert shown.count('<th class="n">') == 2
    assert '<td class="o">adrenal_gland_left</td>' in shown
    assert '<td class="o">' not in work_table([Work(organ="x" * 60, tasks=1)], ("organ",))


def test_decisions_of_several_days_are_drawn_as_a_curve() -> None:
    progress = Progress.of([], [], date(2026, 11, 19))
    progress.decided.update({"2026-11-16": 5, "2026-11-18": 5})
    assert 'aria-label="10 tasks decided from 2026-11-16 to 2026-11-18, of 0"' in curve(progress)


def test_no_cell_of_the_table_is_a_formula() -> None:
    text = csv_text([Work("d", "2026-11-16", "=HYPERLINK(1)", "+liver", accepted=1)])
    cells = next(csv.reader([text.splitlines()[1]]))
    assert cells[2:4] == ["'=HYPERLINK(1)", "'+liver"]


def test_nothing_but_the_memory_is_written_into_the_dataset(dataset: Path) -> None:
    before = {path for path in dataset.rglob("*") if "worklist" not in path.name}
    said(dataset)
    assert {path for path in dataset.rglob("*") if "worklist" not in path.name} - before == {dataset / MEMORY}
    assert commands_progress.KEYS == ("dataset", "day", "reader", "organ")
