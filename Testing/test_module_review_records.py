"""The review panel: a comment stays with its task, and unsaved edits are offered until they are a revision, and never take a task away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasReviewLib.autosave import AutosaveFile, find_autosaves, read_autosave
from AtlasReviewLib.review_case import sparse_of
from AtlasReviewLib.revisions import save_revision
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_grid, read_nifti
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path) -> Desk:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset)
    return desk


def leave_edits(dataset: Path, fallback: Path, size: int) -> np.ndarray:
    """Leave unsaved edits of the liver on the disk, as a program of Ada that crashed, and return them."""
    case = CaseFolder(dataset / "first")
    mask = read_nifti(case.average.mask("liver")).array.copy()
    mask[:size, :size, :size] = 1
    AutosaveFile(case, "liver", "Ada", fallback).write(sparse_of(mask, read_grid(case.ct)))
    return mask


# The comment


@pytest.mark.parametrize("way", ["next", "row", "take"])
def test_a_comment_does_not_move_to_the_next_task(desk: Desk, dataset: Path, way: str) -> None:
    desk.take_next()
    first = desk.name.split()[:2]
    desk.ui.commentEdit.setText("motion artefact")
    if way == "row":
        desk.go_to("first", "kidney_left")
    else:
        desk.click(desk.ui.nextButton if way == "next" else desk.ui.takeNextButton)
    case, organ = desk.name.split()[:2]
    assert [case, organ] != first
    assert desk.ui.commentEdit.text == ""
    desk.ui.goOnCheckBox.setChecked(False)
    desk.click(desk.ui.acceptButton)
    assert Worklist(dataset).task(case, organ).comment == ""


def test_a_comment_does_not_move_to_another_dataset(desk: Desk, tmp_path: Path) -> None:
    other = make_dataset(tmp_path / "other")
    desk.take_next()
    desk.ui.commentEdit.setText("patient of the first dataset")
    desk.open(other)
    assert desk.ui.commentEdit.text == ""
    desk.take_next()
    assert desk.ui.commentEdit.text == ""


def test_a_comment_stays_while_its_task_stays(desk: Desk) -> None:
    desk.take_next()
    case, organ = desk.name.split()[:2]
    desk.stroke()
    desk.ui.commentEdit.setText("motion artefact")
    desk.click(desk.ui.saveButton)
    desk.go_to(case, organ)
    assert desk.ui.commentEdit.text == "motion artefact"


# Unsaved edits


@pytest.fixture
def accepted(desk: Desk, dataset: Path) -> Desk:
    """Return a desk whose reader left edits of a task that Bob revised and accepted since."""
    desk.panel.closeDataset()
    desk.panel.dataset.close()
    leave_edits(dataset, desk.panel.context.fallback, 3)
    (edits,) = find_autosaves(dataset, "Ada", desk.panel.context.fallback)
    note = edits.file.with_name(".autosave_Ada.json")
    note.write_text(note.read_text().replace(edits.time, "2020-01-01T00:00:00+00:00"))
    worklist, case = Worklist(dataset), CaseFolder(dataset / "first")
    task = worklist.take("first", "liver", "Bob", take_over=True)
    mask = read_nifti(case.average.mask("liver"))
    edited = mask.array.copy()
    edited[-2:, -2:, -2:] = 1
    revision = save_revision(case, "liver", mask.with_array(edited), "Bob")
    worklist.set_state(task, "accepted", "Bob", "", revision.id, revision.sha256)
    worklist.close()
    desk.open(dataset)
    return desk


def test_the_banner_says_that_another_reader_saved_a_newer_revision(accepted: Desk) -> None:
    assert "Bob saved a newer revision at 20" in accepted.ui.bannerLabel.text


def test_recovering_a_finished_task_asks_first_and_a_no_changes_nothing(accepted: Desk, dataset: Path, answers: Any) -> None:
    answers.no()
    accepted.click(accepted.ui.bannerYesButton)
    assert "accepted by Bob" in answers.shown[-1][1]
    task = Worklist(dataset).task("first", "liver")
    assert (task.state, task.reader) == ("accepted", "Bob")
    assert len(accepted.panel.recovery.offered) == 1  # as before
    answers.yes()
    accepted.click(accepted.ui.bannerYesButton)
    task = Worklist(dataset).task("first", "liver")
    assert (task.state, task.reader) == ("revised", "Ada")
    assert accepted.mask()[:3, :3, :3].all()
    assert accepted.panel.recovery.offered == []


def test_edits_that_were_put_aside_are_offered_until_they_are_a_revision(desk: Desk, dataset: Path) -> None:
    fallback = desk.panel.context.fallback
    old = leave_edits(dataset, fallback, 3)
    new = leave_edits(dataset, fallback, 5)
    desk.open(dataset)
    assert len(desk.panel.recovery.offered) == 2
    while "~" not in desk.panel.recovery.offered[0].file.name:
        desk.ui.bannerLaterButton.click()
    desk.click(desk.ui.bannerYesButton)
    while desk.panel.recovery.offered:
        desk.ui.bannerLaterButton.click()
    assert np.array_equal(desk.mask(), old)
    desk.click(desk.ui.saveButton)
    desk.open(dataset)
    (left,) = find_autosaves(dataset, "Ada", fallback)
    assert np.array_equal(read_autosave(left, read_grid(CaseFolder(dataset / "first").ct)).dense(), new)
