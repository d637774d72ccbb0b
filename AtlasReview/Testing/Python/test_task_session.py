"""An open task: what is saved when, what stays when saving fails, and what other readers see."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from AtlasReviewLib.autosave import find_autosaves
from AtlasReviewLib.review_case import load_review_case, sparse_of
from AtlasReviewLib.revisions import history, save_revision
from AtlasReviewLib.task_session import TaskSession, voxels_of
from AtlasReviewLib.task_states import ACCEPTED, FLAGGED, REJECTED, REVISED, TAKEN, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_rows import TaskTakenError
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, InputError, StorageError
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.sparse import SparseVolume
from review_data import make_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def worklist(dataset: Path) -> Worklist:
    return open_worklist(dataset)[0]


@pytest.fixture
def session(worklist: Worklist, dataset: Path) -> TaskSession:
    return opened(worklist, dataset)


def opened(worklist: Worklist, dataset: Path, organ: str = "liver", reader: str = "Ada") -> TaskSession:
    task = worklist.take("first", organ, reader)
    return TaskSession(worklist, load_review_case(dataset / "first", organ), task, reader, dataset.parent / "user")


def edited(session: TaskSession) -> SparseVolume:
    """Return the saved mask with one voxel more."""
    mask = session.saved.dense()
    mask[0, 0, 0] = 1
    return sparse_of(mask, session.loaded.grid)


def empty(session: TaskSession) -> SparseVolume:
    return sparse_of(np.zeros(session.loaded.grid.shape, np.uint8, order="F"), session.loaded.grid)


def on_disk(session: TaskSession) -> int:
    return int(read_nifti(session.loaded.case.average.revised_mask(session.task.organ)).array.sum())


def test_saving_writes_a_revision_and_says_so_in_the_list(session: TaskSession, worklist: Worklist) -> None:
    mask = edited(session)
    assert session.is_changed(mask)
    task = session.save(mask, "rim added")
    assert not session.is_changed(mask)
    revision = history(session.loaded.case, "liver")[-1]
    assert (revision.reader, revision.comment, revision.is_current) == ("Ada", "rim added", True)
    assert (task.state, task.revision) == (REVISED, revision.id)
    assert worklist.events("first", "liver")[-1].revision == revision.id
    assert on_disk(session) == voxels_of(mask)


def test_nothing_is_saved_when_nothing_changed(session: TaskSession) -> None:
    assert session.save(session.saved).state == TAKEN
    assert history(session.loaded.case, "liver") == []
    session.save(edited(session))
    session.save(session.saved)
    assert len(history(session.loaded.case, "liver")) == 1


def test_accepting_saves_first_what_is_not_saved(session: TaskSession) -> None:
    mask = edited(session)
    assert session.decide(ACCEPTED, mask).state == ACCEPTED
    assert on_disk(session) == voxels_of(mask)
    assert not session.editable


def test_accepting_a_right_prediction_writes_no_mask(session: TaskSession, worklist: Worklist) -> None:
    session.decide(ACCEPTED, session.saved)
    assert history(session.loaded.case, "liver") == []
    assert worklist.task("first", "liver").state == ACCEPTED


def test_emptying_an_organ_needs_a_yes(session: TaskSession) -> None:
    with pytest.raises(InputError, match="is empty"):
        session.decide(ACCEPTED, empty(session))
    assert session.task.state == TAKEN
    assert session.decide(ACCEPTED, empty(session), allow_empty=True).state == ACCEPTED
    assert on_disk(session) == 0


def test_an_organ_that_nobody_predicted_starts_empty_and_can_be_drawn(worklist: Worklist, dataset: Path) -> None:
    worklist.add("first", "pancreas", "Ada")
    session = opened(worklist, dataset, "pancreas")
    assert voxels_of(session.saved) == 0
    assert session.save(session.saved).state == TAKEN
    assert session.decide(ACCEPTED, edited(session)).state == ACCEPTED
    assert on_disk(session) == 1


def test_edits_are_on_the_disk_until_they_are_a_revision(session: TaskSession, dataset: Path) -> None:
    user = dataset.parent / "user"
    path = session.autosave(edited(session))
    assert path
    assert session.autosave(edited(session)) is None  # they are there already
    assert [a.file for a in find_autosaves(dataset, "Ada", user)] == [path]
    session.save(edited(session))
    assert find_autosaves(dataset, "Ada", user) == []


def test_edits_that_were_undone_leave_nothing_behind(session: TaskSession, dataset: Path) -> None:
    session.autosave(edited(session))
    session.autosave(session.saved)
    assert find_autosaves(dataset, "Ada", dataset.parent / "user") == []
    session.leave(session.saved)
    assert session.worklist.task("first", "liver").state == WAITING


def test_leaving_keeps_edits_and_the_task(session: TaskSession, worklist: Worklist, dataset: Path) -> None:
    session.leave(edited(session))
    assert (worklist.task("first", "liver").state, worklist.task("first", "liver").reader) == (TAKEN, "Ada")
    again = opened(worklist, dataset)
    found = again.unsaved()
    assert [a.organ for a in found] == ["liver"]
    again.recovered(found[0])
    again.save(edited(again))
    assert again.unsaved() == []


@pytest.mark.parametrize(("state", "comment"), [(REJECTED, "wrong patient"), (FLAGGED, "")])
def test_a_verdict_other_than_accept_keeps_edits_as_unsaved_ones(session: TaskSession, dataset: Path, state: str, comment: str) -> None:
    session.decide(state, edited(session), comment)  # type: ignore[arg-type]
    assert len(find_autosaves(dataset, "Ada", dataset.parent / "user")) == 1
    assert history(session.loaded.case, "liver") == []


def test_a_rejection_without_a_comment_changes_nothing(session: TaskSession, dataset: Path) -> None:
    with pytest.raises(InputError, match="comment"):
        session.decide(REJECTED, edited(session))
    assert session.task.state == TAKEN
    assert find_autosaves(dataset, "Ada", dataset.parent / "user") == []


def test_a_task_that_another_reader_took_over_is_not_saved_and_edits_stay(session: TaskSession, worklist: Worklist, dataset: Path) -> None:
    worklist.take("first", "liver", "Bob", take_over=True)
    for act in (lambda: session.save(edited(session)), lambda: session.decide(ACCEPTED, edited(session))):
        with pytest.raises(TaskTakenError, match="Bob"):
            act()
    assert history(session.loaded.case, "liver") == []
    assert session.autosave(edited(session))
    session.leave(edited(session))
    assert worklist.task("first", "liver").reader == "Bob"
    assert len(find_autosaves(dataset, "Ada", dataset.parent / "user")) == 1


def test_a_task_opened_for_looking_writes_nothing(worklist: Worklist, dataset: Path) -> None:
    worklist.take("first", "liver", "Bob")
    looking = TaskSession(
        worklist, load_review_case(dataset / "first", "liver"), worklist.task("first", "liver"), "Ada", dataset.parent / "user"
    )
    assert not looking.editable
    assert looking.autosave(edited(looking)) is None
    with pytest.raises(TaskTakenError):
        looking.save(edited(looking))
    looking.leave(edited(looking))
    assert worklist.task("first", "liver").reader == "Bob"


def test_a_list_for_looking_saves_nothing(dataset: Path, worklist: Worklist) -> None:
    task = worklist.take("first", "liver", "Ada")
    looking = Worklist(dataset, read_only=True)
    session = TaskSession(looking, load_review_case(dataset / "first", "liver"), task, "Ada", dataset.parent / "user")
    assert not session.editable
    with pytest.raises(StorageError, match="cannot be written"):
        session.save(edited(session))
    looking.close()


def test_a_case_that_was_taken_away_is_said_and_the_edits_go_to_the_user(session: TaskSession, dataset: Path) -> None:
    (dataset / "first").rename(dataset.parent / "away")
    with pytest.raises(DatasetError, match="not there any more"):
        session.save(edited(session))
    path = session.autosave(edited(session))
    assert path
    assert path.is_relative_to(dataset.parent / "user")


def test_a_disk_that_is_full_keeps_the_mask_in_the_editor(session: TaskSession) -> None:
    revisions = session.loaded.case.average.folder / "revisions"
    revisions.write_text("in the way of every revision")
    with pytest.raises(StorageError, match="revisions"):
        session.save(edited(session))
    assert session.is_changed(edited(session))
    assert session.task.state == TAKEN
    path = session.autosave(edited(session))
    assert path
    assert "user" in path.parts


def test_a_mask_that_another_program_put_in_place_is_kept_before_it_is_replaced(worklist: Worklist, dataset: Path) -> None:
    case = CaseFolder(dataset / "first")
    case.average.revised_mask("liver").write_bytes(case.average.mask("spleen").read_bytes())
    session = opened(worklist, dataset)
    assert session.loaded.baseline.revised
    session.save(edited(session))
    assert [revision.action for revision in history(case, "liver")] == ["import", "save"]


def test_a_mask_that_changed_on_the_disk_is_neither_superseded_nor_accepted(session: TaskSession) -> None:
    mask, case = edited(session), session.loaded.case
    predicted = read_nifti(case.average.mask("liver"))
    other = predicted.array.copy()
    other[-1, -1, -1] = 1
    save_revision(case, "liver", predicted.with_array(other), "Bob")
    for act in (lambda: session.save(mask), lambda: session.decide(ACCEPTED, session.saved), lambda: session.decide(REJECTED, mask, "no")):
        with pytest.raises(InputError, match="mask of liver was changed on disk meanwhile by Bob"):
            act()
    assert session.outdated
    assert [revision.reader for revision in history(case, "liver")] == ["Bob"]
    assert session.decide(FLAGGED, mask).state == FLAGGED


def test_the_same_mask_with_another_time_is_no_change(session: TaskSession) -> None:
    file = session.loaded.case.average.mask("liver")
    os.utime(file, (1, 1))
    assert session.decide(ACCEPTED, session.saved).state == ACCEPTED


def test_a_revision_that_could_not_be_listed_is_listed_by_the_next_save_and_not_written_again(
    session: TaskSession, worklist: Worklist, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = edited(session)
    with monkeypatch.context() as patch:
        patch.setattr(worklist, "set_state", _locked)
        with pytest.raises(StorageError, match="locked"):
            session.save(mask, "rim added")
    task = session.save(mask)
    revisions = history(session.loaded.case, "liver")
    assert len(revisions) == 1
    assert (task.state, task.revision, task.comment) == (REVISED, revisions[0].id, "rim added")


def test_a_task_whose_revision_could_not_be_listed_does_not_wait_again(
    session: TaskSession, worklist: Worklist, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worklist, "set_state", _locked)
        with pytest.raises(StorageError):
            session.save(edited(session))
        session.leave(None)
    left = worklist.task("first", "liver")
    assert (left.state, left.reader) == (TAKEN, "Ada")


def _locked(*_arguments: object, **_keywords: object) -> None:
    message = "the list is locked"
    raise StorageError(message, "Wait.")
