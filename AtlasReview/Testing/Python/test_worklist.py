"""The worklist: the order of looking, one reader a task, and no state lost."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from AtlasReviewLib import reader_session
from AtlasReviewLib.task_states import ACCEPTED, FLAGGED, REJECTED, REVISED, SKIPPED, TAKEN, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import merge, open_worklist
from AtlasReviewLib.worklist_rows import TaskTakenError
from AtlasReviewLib.worklist_scan import NO_ATTENTION, NO_SCORE, scan_dataset
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError
from AtlasSegmentLib.nifti import read_nifti
from review_data import make_dataset, make_review_case, scores, write_scores

ELSEWHERE = "far-host/00000000/1"


pytest_plugins = ("postgres_server",)


@pytest.fixture(params=["sqlite", "postgres"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test against both databases."""
    if request.param == "postgres":
        monkeypatch.setenv("ATLAS_WORKLIST", request.getfixturevalue("postgres").empty_worklist())
    return str(request.param)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset that is copied for each test, as making one takes longer."""
    return make_dataset(tmp_path_factory.mktemp("made") / "hospital")


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "hospital"))


@pytest.fixture
def worklist(dataset: Path) -> Worklist:
    return open_worklist(dataset)[0]


def names(worklist: Worklist) -> list[str]:
    return [f"{task.case} {task.organ}" for task in worklist.tasks()]


def in_session(worklist: Worklist, session: str, case: str, organ: str) -> None:
    """Say in the file that another program holds a task."""
    with worklist.store.writing() as db:
        db.set(db.row(case, organ), {"session": session})


def test_cases_come_by_their_score_and_organs_by_theirs_and_what_nobody_scored_comes_last(worklist: Worklist) -> None:
    assert names(worklist) == [
        "first liver", "first kidney_left", "first spleen",
        "second spleen", "second liver", "second kidney_left",
        "zlast liver", "zlast spleen",
    ]  # fmt: skip
    tasks = worklist.tasks()
    assert [task.rank for task in tasks] == [1, 2, 3, 4, 5, None, None, None]
    assert tasks[0].attention_mm3 == 4000
    assert tasks[0].minutes == 0.5
    assert math.isnan(tasks[0].predicted_dice)
    assert tasks[5].reason == NO_ATTENTION
    assert tasks[6].reason == "there is no attention yet."
    assert {task.state for task in tasks} == {WAITING}


def test_without_expected_errors_the_order_is_the_one_of_abdomenatlas(dataset: Path) -> None:
    assert scan_dataset(dataset).order == "gain"
    organs = {
        "spleen": {"attention_voxels": 9, "attention_mm3": 9.0, "heat_sum": 1},
        "liver": {"attention_voxels": 1, "attention_mm3": 1.0, "heat_sum": 5},
    }
    write_scores(CaseFolder(dataset / "second"), organs)
    scan = scan_dataset(dataset)
    assert scan.order == "abdomenatlas"
    second = [task.organ for task in scan.tasks if task.case == "second"]
    assert second == ["liver", "spleen", "kidney_left"]
    assert next(task for task in scan.tasks if (task.case, task.organ) == ("second", "kidney_left")).reason == NO_SCORE


def test_a_case_that_one_model_predicted_is_listed_without_an_average(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "d" / "one", organs=("liver",))
    case.backbone("unet").mask("liver").parent.mkdir(parents=True)
    case.average.mask("liver").rename(case.backbone("unet").mask("liver"))
    assert [(task.case, task.organ) for task in scan_dataset(tmp_path / "d").tasks] == [("one", "liver")]


def test_next_gives_every_task_once_and_then_nothing(worklist: Worklist) -> None:
    given = []
    while (task := worklist.take_next("Ada")) is not None:
        assert task.state == TAKEN
        assert task.is_mine("Ada")
        given.append(f"{task.case} {task.organ}")
        worklist.set_state(task, ACCEPTED, "Ada")
    assert given == names(worklist)
    assert {task.state for task in worklist.tasks()} == {ACCEPTED}


def test_two_readers_get_different_tasks(worklist: Worklist, dataset: Path) -> None:
    ada, bob = worklist.take_next("Ada"), Worklist(dataset).take_next("Bob")
    assert ada
    assert bob
    assert (ada.organ, bob.organ) == ("liver", "kidney_left")
    with pytest.raises(TaskTakenError, match="first, liver: is taken by Ada since 20") as refused:
        worklist.take("first", "liver", "Bob")
    assert refused.value.task
    assert refused.value.task.reader == "Ada"
    taken = worklist.take("first", "liver", "Bob", take_over=True)
    assert taken.reader == "Bob"
    with pytest.raises(TaskTakenError, match="in the hands of Bob by now"):
        worklist.set_state(ada, ACCEPTED, "Ada")
    assert [(e.kind, e.reader) for e in worklist.events("first", "liver")] == [("add", "atlas"), ("take", "Ada"), ("take over", "Bob")]


def test_begun_tasks_come_after_those_that_wait_and_skipped_ones_at_the_end(worklist: Worklist) -> None:
    tasks = worklist.tasks()
    begun = worklist.take(tasks[0].case, tasks[0].organ, "Ada")
    begun = worklist.set_state(begun, REVISED, "Ada", revision="r1", sha256="0" * 64)
    skipped = worklist.take_next("Ada")
    assert skipped
    worklist.set_state(skipped, SKIPPED, "Ada")
    for task in tasks[2:]:
        worklist.set_state(worklist.take(task.case, task.organ, "Bob"), FLAGGED, "Bob")
    current = worklist.take_next("Ada")
    assert current
    assert current.id == begun.id
    assert current.state == REVISED
    again = worklist.take_next("Ada", exclude=current)
    assert again
    assert again.id == skipped.id
    worklist.leave(again, "Ada", keep=False)
    assert worklist.task(skipped.case, skipped.organ).state == SKIPPED
    assert worklist.take_next("Bob", exclude=again) is None  # flagged ones wait for whoever was asked, and the rest is Ada's


def test_a_task_that_was_only_looked_at_goes_back_to_what_it_was(worklist: Worklist) -> None:
    task = worklist.take("first", "liver", "Ada")
    worklist.leave(task, "Ada", keep=False)
    assert (worklist.task("first", "liver").state, worklist.task("first", "liver").reader) == (WAITING, "")
    flagged = worklist.set_state(worklist.take("first", "liver", "Ada"), FLAGGED, "Ada", "which vessel?")
    worklist.leave(worklist.take("first", "liver", "Bob"), "Bob", keep=False)
    after = worklist.task("first", "liver")
    assert (after.state, after.reader, after.comment) == (FLAGGED, "Ada", flagged.comment)


def test_a_task_with_unsaved_work_stays_with_its_reader_and_can_be_opened_from_another_program(worklist: Worklist) -> None:
    task = worklist.take("first", "liver", "Ada")
    worklist.leave(task, "Ada", keep=True)
    kept = worklist.task("first", "liver")
    assert (kept.state, kept.reader, kept.session) == (TAKEN, "Ada", "")
    worklist.leave(kept, "Ada", keep=False)  # not in hand: nothing happens
    assert worklist.task("first", "liver").state == TAKEN
    assert worklist.take("first", "liver", "Ada").is_mine("Ada")


def test_the_same_reader_in_a_second_slicer_is_told(worklist: Worklist) -> None:
    worklist.take("first", "liver", "Ada")
    in_session(worklist, ELSEWHERE, "first", "liver")
    with pytest.raises(TaskTakenError, match="open in another program on far-host"):
        worklist.take("first", "liver", "Ada")
    assert worklist.take("first", "liver", "Ada", take_over=True).is_mine("Ada")


@pytest.mark.skipif(os.name == "nt", reason="processes cannot be asked there")
def test_a_task_of_a_program_that_crashed_is_its_readers_again(worklist: Worklist) -> None:
    worklist.take("first", "liver", "Ada")
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    in_session(worklist, reader_session.this_session().rpartition("/")[0] + f"/{ended.pid}", "first", "liver")
    assert worklist.take("first", "liver", "Ada").is_mine("Ada")


def test_a_rejection_needs_a_comment_and_finished_tasks_are_locked_until_reopened(worklist: Worklist) -> None:
    task = worklist.take("first", "liver", "Ada")
    with pytest.raises(InputError, match="needs a comment"):
        worklist.set_state(task, REJECTED, "Ada", "  ")
    worklist.set_state(task, REJECTED, "Ada", " wrong patient ")
    assert worklist.task("first", "liver").comment == "wrong patient"
    with pytest.raises(InputError, match="rejected by Ada"):
        worklist.take("first", "liver", "Bob")
    with pytest.raises(InputError, match="Reopen"):
        worklist.set_state(task, ACCEPTED, "Ada")
    reopened = worklist.reopen(task, "Bob", "second look")
    assert (reopened.state, reopened.reader) == (TAKEN, "Bob")
    worklist.leave(reopened, "Bob", keep=False)
    assert worklist.task("first", "liver").state == REJECTED  # opened and closed again: still rejected by Ada
    assert worklist.task("first", "liver").reader == "Ada"
    with pytest.raises(InputError, match="not finished"):
        worklist.reopen(worklist.task("second", "liver"), "Bob")


def test_a_reopened_task_with_a_revision_stays_revised(worklist: Worklist) -> None:
    task = worklist.set_state(worklist.take("first", "liver", "Ada"), REVISED, "Ada", revision="r1")
    worklist.set_state(task, ACCEPTED, "Ada")
    assert worklist.reopen(task, "Ada").state == REVISED
    assert worklist.task("first", "liver").revision == "r1"


def test_verdicts_need_the_task_in_hand(worklist: Worklist) -> None:
    task = worklist.task("first", "liver")
    with pytest.raises(InputError, match="Take it first"):
        worklist.set_state(task, ACCEPTED, "Ada")
    with pytest.raises(InputError, match="cannot be set to"):
        worklist.set_state(worklist.take("first", "liver", "Ada"), WAITING, "Ada")


def test_active_seconds_add_up_over_readers_and_times(worklist: Worklist) -> None:
    task = worklist.take("first", "liver", "Ada")
    worklist.add_seconds(task, "Ada", 30.5)
    worklist.add_seconds(task, "Bob", 10)
    for nothing in (0.0, 0.01, -5.0, math.nan, math.inf):
        worklist.add_seconds(task, "Ada", nothing)
    assert worklist.task("first", "liver").active_seconds == 40.5
    assert [e.seconds for e in worklist.events("first", "liver") if e.kind == "seconds"] == [30.5, 10]


def test_new_cases_and_new_scores_are_merged_in_and_states_stay(worklist: Worklist, dataset: Path) -> None:
    worklist.set_state(worklist.take("first", "liver", "Ada"), ACCEPTED, "Ada")
    make_review_case(dataset / "third", organs=("liver",), attention=scores(liver=99999.0))
    again, _ = open_worklist(dataset)
    assert names(again)[:2] == ["third liver", "first liver"]
    assert again.task("first", "liver").state == ACCEPTED
    assert again.task("first", "liver").rank == 2


def test_opening_again_writes_nothing(worklist: Worklist, dataset: Path) -> None:
    before = worklist.last_event()
    assert merge(worklist, scan_dataset(dataset)) == 0
    assert open_worklist(dataset)[0].last_event() == before


def test_a_case_that_was_taken_away_is_hidden_and_comes_back_with_its_states(worklist: Worklist, dataset: Path, tmp_path: Path) -> None:
    worklist.set_state(worklist.take("first", "liver", "Ada"), ACCEPTED, "Ada")
    (dataset / "first").rename(tmp_path / "away")
    hidden, _ = open_worklist(dataset)
    assert all(not name.startswith("first") for name in names(hidden))
    assert not hidden.task("first", "liver").present
    (tmp_path / "away").rename(dataset / "first")
    back, _ = open_worklist(dataset)
    assert back.task("first", "liver").state == ACCEPTED
    assert names(back)[0] == "first liver"


def test_an_organ_that_nobody_predicted_can_be_added_and_stays(worklist: Worklist, dataset: Path) -> None:
    added = worklist.add("first", "pancreas", "Ada")
    assert (added.state, added.reason) == (WAITING, "added by Ada")
    assert worklist.add("first", "pancreas", "Bob").id == added.id
    assert "first pancreas" in names(open_worklist(dataset)[0])
    (dataset / "first").rename(dataset.parent / "away")
    assert "first pancreas" not in names(open_worklist(dataset)[0])


def test_masks_that_were_revised_elsewhere_come_in_as_revised_by_their_reader(tmp_path: Path) -> None:
    from AtlasReviewLib.revisions import save_revision

    case = make_review_case(tmp_path / "d" / "a", organs=("liver", "spleen"))
    mask = read_nifti(case.average.mask("liver"))
    save_revision(case, "liver", mask, "Ada")
    case.average.revised_mask("spleen").write_bytes(case.average.mask("spleen").read_bytes())
    worklist, _ = open_worklist(tmp_path / "d")
    assert [(task.organ, task.state, task.reader) for task in worklist.tasks()] == [
        ("liver", REVISED, "Ada"), ("spleen", REVISED, "unknown"),
    ]  # fmt: skip


def test_times_are_utc_and_in_order(dataset: Path, backend: str) -> None:
    moments = iter(datetime(2026, 11, 21, 9, 0, tzinfo=timezone(timedelta(hours=2))) + timedelta(seconds=n) for n in range(1000))
    worklist = Worklist(dataset, now=lambda: next(moments))
    merge(worklist, scan_dataset(dataset))
    worklist.take("first", "liver", "Ada")
    times = [event.time for event in worklist.events()]
    assert times == sorted(times)
    assert times == [datetime.fromisoformat(time).astimezone(timezone.utc).isoformat(timespec="microseconds") for time in times]
    assert times[0].startswith("2026-11-21T07:00:0") == (backend == "sqlite")  # a server has a clock of its own


@pytest.mark.parametrize("reader", ["", " ", "../x", "a/b", ".hidden", "x" * 300, "a\nb", "a\x00b"])
def test_a_readers_name_that_could_leave_its_folder_is_refused(worklist: Worklist, reader: str) -> None:
    with pytest.raises(DatasetError, match="reader name"):
        worklist.take_next(reader)
    assert all(task.state == WAITING for task in worklist.tasks())


def test_quotes_and_formulas_in_names_and_comments_are_only_text(tmp_path: Path) -> None:
    case = "x'; DROP TABLE task; --"
    make_review_case(tmp_path / "d" / case, organs=("liver",), attention=scores(liver=10.0))
    worklist, _ = open_worklist(tmp_path / "d")
    reader = "Robert'); DELETE FROM event;--"
    task = worklist.take_next(reader)
    assert task
    worklist.set_state(task, REJECTED, reader, '=1+1\'; "DROP" \N{SNOWMAN}')
    found = worklist.task(case, "liver")
    assert (found.reader, found.comment) == (reader, '=1+1\'; "DROP" \N{SNOWMAN}')
    assert len(worklist.events(case)) == 3


def test_one_case_that_cannot_be_used_keeps_no_other_from_the_list(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d")
    worklist, _ = open_worklist(dataset)
    worklist.take("second", "liver", "Ada")
    outside = tmp_path / "outside"
    outside.mkdir()
    (dataset / "second" / "average" / "overlap").symlink_to(outside, target_is_directory=True)
    again, scan = open_worklist(dataset)
    assert scan.unread == ("second",)
    assert "leads outside" in scan.problems[0]
    assert again.task("second", "liver").present
    assert again.task("second", "liver").reader == "Ada"


def test_what_is_no_dataset_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        open_worklist(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no case found"):
        open_worklist(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []
    case = make_review_case(tmp_path / "d" / "one", organs=("liver",))
    with pytest.raises(DatasetError, match="is one case") as refused:
        open_worklist(case.folder)
    assert str(tmp_path / "d") in refused.value.remedy
    assert not (tmp_path / "d" / "worklist.sqlite").exists()


def test_a_damaged_record_of_attention_is_a_reason_and_no_obstacle(dataset: Path) -> None:
    from AtlasQualityLib.attention import attention_folder

    attention_folder(CaseFolder(dataset / "first")).run_record.write_text("{half")
    _, scan = open_worklist(dataset)
    assert all(task.rank is None for task in scan.tasks if task.case == "first")
    assert any("not valid JSON" in task.reason for task in scan.tasks if task.case == "first")


def test_a_predicted_dice_is_shown_where_a_quality_model_left_one(dataset: Path) -> None:

    (dataset / "first" / "average" / "predicted_dice.json").write_text('{"organs": {"liver": 0.875}}')
    worklist, _ = open_worklist(dataset)
    assert worklist.task("first", "liver").predicted_dice == 0.875
    assert math.isnan(worklist.task("first", "spleen").predicted_dice)
    (dataset / "first" / "average" / "predicted_dice.json").write_text("{half")
    worklist, _ = open_worklist(dataset)
    assert math.isnan(worklist.task("first", "liver").predicted_dice)


def test_reading_can_be_stopped(dataset: Path) -> None:
    with pytest.raises(AtlasError, match="stopped"):
        scan_dataset(dataset, cancelled=lambda: True)
