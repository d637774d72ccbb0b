"""The review panel with bad input: one clear message, and it stays usable."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasReviewLib.autosave import find_autosaves
from AtlasReviewLib.revisions import history
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_store import NAME
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from review_data import make_dataset, make_review_case, scores
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None]) -> Desk:
    return Desk(open_module("AtlasReview"), wait_until)


def errors(answers: Any) -> list[str]:
    return [text for kind, text in answers.shown if kind == "error"]


def test_nothing_can_be_opened_without_a_folder_and_a_name(desk: Desk, dataset: Path) -> None:
    assert not desk.ui.openButton.enabled
    assert desk.ui.openButton.toolTip == "Choose a dataset folder."
    assert desk.ui.openReasonLabel.text == "Choose a dataset folder."
    desk.ui.folderPath.setCurrentPath(str(dataset))
    assert "Enter your name" in desk.ui.openButton.toolTip
    for name in ("../Ada", "a/b", ".x", "x" * 300):
        desk.ui.readerEdit.setText(name)
        assert "cannot be used as a file name" in desk.ui.openReasonLabel.text
        assert not desk.ui.openButton.enabled
    desk.ui.readerEdit.setText("Ada Löv")
    assert desk.ui.openButton.enabled
    assert desk.ui.openReasonLabel.isHidden()


def test_before_anything_is_open_every_button_says_why_it_cannot_be_pressed(desk: Desk) -> None:
    for button in (desk.ui.saveButton, desk.ui.acceptButton, desk.ui.rejectButton, desk.ui.flagButton, desk.ui.skipButton):
        assert not button.enabled
        assert button.toolTip == "Open a task first."
    for button in (desk.ui.takeNextButton, desk.ui.nextButton, desk.ui.openTaskButton, desk.ui.addOrganButton, desk.ui.maskButton):
        assert not button.enabled
    assert not desk.ui.segmentEditor.enabled


@pytest.mark.parametrize(("make", "message"), [(False, "no such folder"), (True, "no case found")])
def test_a_folder_without_cases_is_said(desk: Desk, tmp_path: Path, answers: Any, make: bool, message: str) -> None:
    if make:
        (tmp_path / "empty").mkdir()
    desk.open(tmp_path / "empty")
    assert len(errors(answers)) == 1
    assert message in errors(answers)[0]
    assert desk.rows == []


def test_a_damaged_list_is_rebuilt_only_after_a_yes(desk: Desk, dataset: Path, answers: Any) -> None:
    (dataset / NAME).write_bytes(b"junk, not a database" * 100)
    answers.no()
    desk.open(dataset)
    assert desk.rows == []
    assert (dataset / NAME).read_bytes().startswith(b"junk")
    answers.yes()
    desk.open(dataset)
    desk.wait(lambda: not desk.panel.dataset.opening)
    assert len(desk.rows) == 8
    (kept,) = dataset.glob("worklist-damaged-*")
    assert kept.read_bytes().startswith(b"junk")
    assert kept.name in desk.ui.datasetNoticeLabel.text


def test_a_list_that_gets_damaged_while_it_is_open_is_said(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    (dataset / NAME).write_bytes(b"junk" * 1000)
    desk.ui.takeNextButton.click()
    assert "damaged" in errors(answers)[0]
    desk.panel.refresh()
    assert "The worklist cannot be reached since" in desk.ui.datasetNoticeLabel.text
    assert desk.name == ""


def test_a_task_whose_mask_is_damaged_says_so_and_the_next_one_opens(desk: Desk, dataset: Path) -> None:
    CaseFolder(dataset / "first").average.mask("liver").write_bytes(b"junk")
    desk.open(dataset)
    desk.take_next()
    assert desk.name == ""
    assert "liver.nii.gz" in desk.notice
    assert Worklist(dataset).task("first", "liver").state == "waiting"
    desk.go_to("second", "liver")
    assert desk.name == "second liver taken"
    assert desk.notice == ""


def test_a_damaged_neighbor_or_attention_map_is_said_and_the_task_is_edited(desk: Desk, dataset: Path) -> None:
    case = CaseFolder(dataset / "first")
    case.average.mask("spleen").write_bytes(b"junk")
    case.average.map("attention", "liver").write_bytes(b"junk")
    desk.open(dataset)
    desk.take_next()
    assert "spleen.nii.gz" in desk.notice
    assert "attention" in desk.notice
    assert not desk.ui.overlayButton.enabled
    desk.stroke(center=(0.0, 60.0, -60.0))
    desk.click(desk.ui.acceptButton)
    assert history(case, "liver")


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_case_without_a_ct_that_can_be_read_is_reviewed_by_its_masks(desk: Desk, dataset: Path, damage: str) -> None:
    case = CaseFolder(dataset / "first")
    if damage == "missing":
        (case.folder / "backbones").mkdir()
        write_nifti(case.average.pseudo_label, read_nifti(case.average.mask("liver")))
        case.ct.unlink()
    else:
        case.ct.write_bytes(case.ct.read_bytes()[:400])
    desk.open(dataset)
    desk.take_next()
    assert desk.name == "first liver taken"
    assert "ct.nii.gz" in desk.notice
    assert desk.voxels() > 0
    desk.stroke()
    if damage == "missing":  # with a truncated one nobody knows on which voxels a mask must lie
        desk.click(desk.ui.saveButton)
        assert desk.name == "first liver revised"


def test_a_case_that_vanished_before_it_is_opened_is_said(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    (dataset / "first").rename(dataset.parent / "away")
    desk.take_next()
    assert "not there any more" in desk.notice
    assert desk.name == ""
    desk.go_to("second", "liver")
    assert desk.name == "second liver taken"


def test_a_case_that_vanishes_while_it_is_edited_keeps_the_edits(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.stroke()
    mask = desk.mask()
    (dataset / "first").rename(dataset.parent / "away")
    desk.ui.saveButton.click()
    assert "not there any more" in errors(answers)[0]
    assert np.array_equal(desk.mask(), mask)
    (found,) = find_autosaves(dataset, "Ada", desk.panel.context.fallback)
    assert found.file.is_relative_to(desk.panel.context.fallback)


def test_a_disk_that_cannot_take_the_revision_keeps_the_mask_in_the_editor_and_a_copy_elsewhere(
    desk: Desk, dataset: Path, answers: Any
) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.stroke()
    mask = desk.mask()
    revisions = CaseFolder(dataset / "first").average.folder / "revisions"
    revisions.write_text("in the way, as a full disk would be")
    desk.ui.acceptButton.click()
    (message,) = errors(answers)
    assert "cannot be written" in message
    assert desk.name == "first liver taken"
    assert np.array_equal(desk.mask(), mask)
    assert len(find_autosaves(dataset, "Ada", desk.panel.context.fallback)) == 1
    revisions.unlink()
    desk.click(desk.ui.acceptButton)
    assert len(history(CaseFolder(dataset / "first"), "liver")) == 1
    assert find_autosaves(dataset, "Ada", desk.panel.context.fallback) == []


def test_edits_that_cannot_be_kept_anywhere_keep_the_task_open(desk: Desk, dataset: Path, answers: Any, tmp_path: Path) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.stroke()
    blocked = tmp_path / "blocked"
    blocked.write_text("x")
    desk.panel.task.session._autosave._files = (blocked / "a" / "b.nii.gz", blocked / "c.nii.gz")
    desk.ui.nextButton.click()
    desk.ready()
    assert "Nor could the edits be kept" in errors(answers)[0]
    assert desk.name == "first liver taken"


def test_a_task_of_another_reader_is_for_looking_and_can_be_taken_over(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    Worklist(dataset).take("first", "liver", "Bob")
    desk.panel.refresh()
    assert desk.rows[0] == ("1", "first", "liver", "taken", "Bob")
    desk.go_to("first", "liver")
    assert "Bob has this task" in desk.notice
    assert not desk.ui.segmentEditor.enabled
    assert "Bob has this task" in desk.ui.saveButton.toolTip
    assert desk.voxels() > 0
    answers.no()
    desk.click(desk.ui.takeOverButton)
    assert Worklist(dataset).task("first", "liver").reader == "Bob"
    answers.yes()
    desk.click(desk.ui.takeOverButton)
    assert desk.ui.saveButton.enabled
    assert desk.ui.takeOverButton.isHidden()
    assert Worklist(dataset).task("first", "liver").reader == "Ada"


def test_a_task_that_another_reader_took_over_meanwhile_is_not_saved(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.stroke()
    mask = desk.mask()
    Worklist(dataset).take("first", "liver", "Bob", take_over=True)
    desk.ui.acceptButton.click()
    assert "in the hands of Bob by now" in errors(answers)[0]
    assert history(CaseFolder(dataset / "first"), "liver") == []
    assert np.array_equal(desk.mask(), mask)
    assert len(find_autosaves(dataset, "Ada", desk.panel.context.fallback)) == 1


def test_a_finished_task_is_locked_until_it_is_reopened(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.click(desk.ui.acceptButton)
    desk.show("all")
    desk.go_to("first", "liver")
    assert "accepted by Ada" in desk.notice
    assert not desk.ui.segmentEditor.enabled
    assert not desk.ui.acceptButton.enabled
    answers.text("the dome is cut off")
    desk.click(desk.ui.reopenButton)
    assert desk.name == "first liver taken"
    assert desk.ui.segmentEditor.enabled
    desk.stroke()
    desk.click(desk.ui.acceptButton)
    assert [event.kind for event in Worklist(dataset).events("first", "liver") if event.kind in ("reopen", "state")] == [
        "state", "reopen", "state", "state",
    ]  # fmt: skip


def test_what_another_reader_does_is_seen_without_a_click(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    other = Worklist(dataset)
    other.set_state(other.take("first", "liver", "Bob"), "accepted", "Bob")
    desk.panel._nextRefresh = 0.0
    desk.panel.tick()
    desk.wait(lambda: not desk.panel.sync.running)
    assert desk.rows[0][1:3] == ("first", "kidney_left")


def test_a_mask_that_another_program_revised_is_what_counts(desk: Desk, dataset: Path) -> None:
    case = CaseFolder(dataset / "first")
    write_nifti(case.average.revised_mask("liver"), read_nifti(case.average.mask("kidney_left")).reoriented("LPS"))
    desk.open(dataset)
    desk.go_to("first", "liver")
    assert desk.voxels() == int(read_nifti(case.average.mask("kidney_left")).array.sum())


def test_hostile_names_are_shown_and_never_run(desk: Desk, tmp_path: Path) -> None:
    case = "x'; DROP TABLE task;-- <b>bold</b>"[:40].replace("<", "(").replace(">", ")").replace("/", "")
    make_review_case(tmp_path / "d" / case, organs=("liver",), attention=scores(liver=10.0))
    reader = "Robert'); DELETE FROM event;--"
    desk.open(tmp_path / "d", reader)
    desk.take_next()
    assert desk.rows[0][1] == case
    desk.click(desk.ui.acceptButton)
    assert [(e.reader, e.kind) for e in Worklist(tmp_path / "d").events() if e.kind != "seconds"][-1] == (reader, "state")


def test_what_fails_while_a_task_is_shown_leaves_no_node_behind(desk: Desk, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from AtlasReviewLib import scene

    def nodes() -> list[str]:
        return sorted(node.GetClassName() for node in slicer.util.getNodesByClass("vtkMRMLNode"))

    desk.open(dataset)
    before = nodes()
    with monkeypatch.context() as patch:
        patch.setattr(scene, "style_segmentation", lambda *_arguments: 1 / 0)
        desk.take_next()
    assert "division by zero" in desk.notice
    assert nodes() == before
    assert Worklist(dataset).task("first", "liver").state == "waiting"
    desk.take_next()
    assert desk.name == "first liver taken"


@pytest.fixture
def read_only_dataset(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system with a dataset and make it read-only; or skip."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = sys.platform == "linux" and subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False)
    if not mounted or mounted.returncode:
        pytest.skip("a file system cannot be mounted here (needs root on Linux)")
    try:
        dataset = make_dataset(disk / "hospital")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        yield dataset
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_dataset_that_cannot_be_written_can_be_looked_at(desk: Desk, read_only_dataset: Path) -> None:
    desk.open(read_only_dataset)
    assert "cannot be written" in desk.ui.datasetNoticeLabel.text
    assert not desk.ui.datasetNoticeLabel.isHidden()
    desk.click(desk.ui.takeNextButton)
    assert desk.name == "first liver waiting"
    assert "you can only look" in desk.notice
    assert not desk.ui.saveButton.enabled
    assert not desk.ui.segmentEditor.enabled
    desk.click(desk.ui.nextUnfinishedButton)
    assert desk.name == "first kidney_left waiting"
    desk.widget.cleanup()
