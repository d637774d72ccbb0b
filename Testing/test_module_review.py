"""The review panel on the stand-in for Slicer: a reader's day from opening a dataset to the end of the list."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasReviewLib.revisions import history
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_nifti
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None]) -> Desk:
    return Desk(open_module("AtlasReview"), wait_until)


def test_a_task_is_taken_edited_undone_redone_saved_and_accepted(desk: Desk, dataset: Path, screenshot: Callable[[str], Path]) -> None:
    desk.open(dataset)
    assert desk.rows[0] == ("1", "first", "liver", "waiting", "")
    desk.take_next()
    assert desk.name == "first liver taken"
    assert desk.rows[0] == ("1", "first", "liver", "taken", "Ada")
    before = desk.voxels()
    desk.stroke()
    painted = desk.voxels()
    assert painted > before
    desk.ui.segmentEditor.undo()
    assert desk.voxels() == before
    desk.ui.segmentEditor.redo()
    assert desk.voxels() == painted
    assert screenshot("review").stat().st_size > 10_000
    desk.click(desk.ui.saveButton)
    assert desk.name == "first liver revised"
    case = CaseFolder(dataset / "first")
    assert int(read_nifti(case.average.revised_mask("liver")).array.sum()) == painted
    desk.ui.goOnCheckBox.setChecked(False)
    desk.click(desk.ui.acceptButton)
    assert desk.name == "first liver accepted"
    assert [(r.reader, r.is_current) for r in history(case, "liver")] == [("Ada", True)]


def test_ct_masks_overlay_and_editor_are_ready_when_a_task_opens(desk: Desk, dataset: Path) -> None:
    import slicer

    desk.open(dataset)
    desk.take_next()
    nodes = desk.panel.task.nodes
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {composite.GetBackgroundVolumeID() for composite in composites} == {nodes.background.GetID()}
    assert {composite.GetForegroundVolumeID() for composite in composites} == {nodes.overlay.GetID()}
    assert list(nodes.segmentation.GetSegmentation().GetSegmentIDs()) == ["liver", "spleen", "kidney_left"]
    editor = desk.ui.segmentEditor.mrmlSegmentEditorNode()
    assert editor.GetSingletonTag() == "AtlasReview"
    assert editor.GetSelectedSegmentID() == "liver"
    assert editor.GetSegmentationNode() is nodes.segmentation
    assert editor.GetSourceVolumeNode() is nodes.background
    assert editor.GetOverwriteMode() == editor.OverwriteNone
    spot = desk.panel.task.session.loaded.hot_spots[0].center
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        to_ras = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        offset = np.linalg.inv(to_ras) @ [*spot, 1]
        assert abs(offset[2]) < 1e-3
    assert "Hot spot 1 of" in desk.ui.spotLabel.text


def test_accepting_saves_first_and_goes_on_until_nothing_is_left(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.stroke()
    seen = []
    for _ in range(8):
        seen.append(desk.name)
        desk.click(desk.ui.acceptButton)
    first = ["first liver", "first kidney_left", "first spleen"]
    rest = ["second spleen", "second liver", "second kidney_left", "zlast liver", "zlast spleen"]
    assert seen == [f"{task} taken" for task in (*first, *rest)]
    assert "Nothing is left for you." in desk.status
    assert desk.rows == []
    desk.show("all")
    assert {row[3] for row in desk.rows} == {"accepted"}
    assert len(history(CaseFolder(dataset / "first"), "liver")) == 1
    assert history(CaseFolder(dataset / "first"), "spleen") == []
    desk.take_next()
    assert "Nothing is left for you." in desk.status
    assert desk.name == ""


def test_flagged_and_skipped_tasks_are_counted_at_the_end(desk: Desk, dataset: Path) -> None:
    Worklist(dataset)
    desk.open(dataset)
    desk.take_next()
    for button in (desk.ui.flagButton, desk.ui.skipButton, *[desk.ui.acceptButton] * 6):
        desk.click(button)
    assert "2 tasks are flagged or skipped" in desk.status
    assert sorted(row[3] for row in desk.rows) == ["flagged", "skipped"]
    desk.take_next()
    assert desk.name == "first kidney_left taken"  # what was skipped comes at last


def test_a_rejection_asks_for_a_comment(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.ui.goOnCheckBox.setChecked(False)
    answers.text(None)
    desk.click(desk.ui.rejectButton)
    assert desk.name == "first liver taken"
    answers.text("motion in the CT")
    desk.click(desk.ui.rejectButton)
    assert desk.name == "first liver rejected"
    assert Worklist(dataset).task("first", "liver").comment == "motion in the CT"
    assert desk.ui.commentEdit.text == ""


def test_a_comment_that_was_typed_is_taken(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.ui.commentEdit.setText("which vessel is this?")
    desk.click(desk.ui.flagButton)
    assert Worklist(dataset).task("first", "liver").comment == "which vessel is this?"
    assert desk.name == "first kidney_left taken"


def test_saving_without_a_change_makes_no_revision(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.click(desk.ui.saveButton)
    assert "Nothing was changed" in desk.status
    assert history(CaseFolder(dataset / "first"), "liver") == []


def test_emptying_an_organ_is_asked(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.ui.goOnCheckBox.setChecked(False)
    desk.stroke("Erase", radius=500)
    assert desk.voxels() == 0
    answers.no()
    desk.click(desk.ui.acceptButton)
    assert desk.name == "first liver taken"
    answers.yes()
    desk.click(desk.ui.acceptButton)
    assert desk.name == "first liver accepted"
    assert any("really absent" in text for _, text in answers.shown)
    assert not read_nifti(CaseFolder(dataset / "first").average.revised_mask("liver")).array.any()


def test_tasks_are_filtered_searched_and_sorted(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.ui.searchEdit.setText("KIDNEY first")
    assert [row[1:3] for row in desk.rows] == [("first", "kidney_left")]
    desk.ui.searchEdit.setText("")
    header = desk.ui.taskTable.horizontalHeader()
    header.sectionClicked.emit(2)
    assert [row[2] for row in desk.rows] == ["kidney_left"] * 2 + ["liver"] * 3 + ["spleen"] * 3
    header.sectionClicked.emit(2)
    assert [row[2] for row in desk.rows] == ["spleen"] * 3 + ["liver"] * 3 + ["kidney_left"] * 2
    header.sectionClicked.emit(0)
    assert [row[0] for row in desk.rows] == ["1", "2", "3", "4", "5", "", "", ""]
    assert "No priority: there is no attention yet." in desk.ui.taskTable.item(7, 0).toolTip()
    assert desk.ui.countsLabel.text == "8 waiting"
    desk.show("accepted")
    assert desk.rows == []


def test_next_and_previous_walk_through_the_table(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.click(desk.ui.nextButton)
    assert desk.name == "first liver taken"
    desk.click(desk.ui.nextButton)
    assert desk.name == "first kidney_left taken"
    assert desk.rows[0][3:] == ("waiting", "")  # only looked at: back in the list
    desk.click(desk.ui.previousButton)
    desk.click(desk.ui.previousButton)
    assert desk.name == "first liver taken"
    assert "beginning of the list" in desk.status
    desk.click(desk.ui.previousUnfinishedButton)
    assert "No unfinished task lies before this one." in desk.status
    assert desk.name == "first liver taken"
    desk.go_to("zlast", "spleen")
    desk.click(desk.ui.nextButton)
    assert "end of the list" in desk.status
    desk.click(desk.ui.nextUnfinishedButton)
    assert desk.name == "first liver taken"  # once around


def test_the_next_task_is_read_ahead_and_the_ct_of_the_same_case_is_not_loaded_again(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.take_next()
    ahead, background = desk.panel.task._ahead, desk.panel.task.nodes.background
    assert ahead.key[:2] == (dataset / "first", "kidney_left")
    desk.wait(lambda: not ahead.reading)
    desk.click(desk.ui.acceptButton)
    assert desk.name == "first kidney_left taken"
    assert desk.panel.task.nodes.background is background


def test_hot_spots_are_visited_in_turn(desk: Desk, dataset: Path) -> None:
    import slicer

    desk.open(dataset)
    desk.take_next()
    spots = desk.panel.task.session.loaded.hot_spots
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    for number in [*range(1, len(spots)), 0]:
        desk.ui.nextSpotButton.click()
        assert np.allclose(crosshair.GetCrosshairRAS(), spots[number].center)
        assert desk.ui.spotLabel.text.startswith(f"Hot spot {number + 1} of {len(spots)}")
    desk.ui.previousSpotButton.click()
    assert np.allclose(crosshair.GetCrosshairRAS(), spots[-1].center)


def test_overlay_and_masks_are_shown_and_hidden_and_stay_so_for_the_next_task(desk: Desk, dataset: Path) -> None:
    import slicer

    def foregrounds() -> set[Any]:
        return {node.GetForegroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}

    desk.open(dataset)
    desk.take_next()
    desk.ui.overlayButton.setChecked(False)
    desk.ui.maskButton.setChecked(False)
    assert foregrounds() == {None}
    assert not desk.panel.task.nodes.segmentation.GetDisplayNode().GetVisibility()
    desk.click(desk.ui.nextButton)
    assert foregrounds() == {None}
    assert not desk.panel.task.nodes.segmentation.GetDisplayNode().GetVisibility()
    desk.ui.overlayButton.setChecked(True)
    desk.ui.maskButton.setChecked(True)
    assert foregrounds() == {desk.panel.task.nodes.overlay.GetID()}
    assert desk.panel.task.nodes.segmentation.GetDisplayNode().GetVisibility()


KEYS = (
    ("N", "nextSpotButton"), ("Shift+N", "previousSpotButton"), ("H", "overlayButton"), ("M", "maskButton"), ("Alt+S", "saveButton"),
    ("PgDown", "nextButton"), ("PgUp", "previousButton"), ("Alt+PgDown", "nextUnfinishedButton"), ("Alt+PgUp", "previousUnfinishedButton"),
    ("Ctrl+Shift+R", "rejectButton"), ("Ctrl+Shift+F", "flagButton"), ("Ctrl+Shift+K", "skipButton"), ("Ctrl+Shift+A", "acceptButton"),
)  # fmt: skip


def test_every_key_is_printed_on_its_button_and_presses_it(desk: Desk, dataset: Path, press: Callable[..., str], answers: Any) -> None:
    desk.open(dataset)
    desk.take_next()
    pressed: list[str] = []
    for key, name in KEYS:
        button = getattr(desk.ui, name)
        assert button.text.endswith(f"({key})")
        button.connect("clicked(bool)", lambda *_arguments, name=name: pressed.append(name))
    for key, name in KEYS:
        if name == "rejectButton":
            answers.text(None)
        desk.go_to(*desk.rows[0][1:3])
        assert press(key) == "shortcut"
        assert pressed[-1] == name
        desk.ready()
    assert pressed == [name for _, name in KEYS]


def test_keys_are_gone_when_the_module_is_left_and_letters_go_into_fields(desk: Desk, dataset: Path, press: Callable[..., str]) -> None:
    import slicer

    desk.open(dataset)
    desk.take_next()
    desk.ui.searchEdit.setFocus()
    for key in ("n", "h", "m"):
        assert press(key, desk.ui.searchEdit) == "widget"
    assert desk.ui.searchEdit.text == "nhm"
    desk.ui.searchEdit.setText("")
    slicer.util.moduleSelector().selectModule("")
    for key, _name in KEYS:
        assert press(key, slicer.util.mainWindow()) == ""
    assert desk.name == "first liver taken"


def test_events_are_watched_only_while_the_module_is_open(desk: Desk, press: Callable[..., str]) -> None:
    import slicer

    seen: list[int] = []
    desk.panel.activity._onActivity = lambda: seen.append(1)
    press("X", slicer.util.mainWindow())
    assert seen
    slicer.util.moduleSelector().selectModule("")
    seen.clear()
    press("X", slicer.util.mainWindow())
    assert seen == []
    slicer.util.selectModule("AtlasReview")
    press("X", slicer.util.mainWindow())
    assert seen


def test_active_time_is_counted_with_the_readers_events_and_written_to_the_task(
    desk: Desk, dataset: Path, press: Callable[..., str]
) -> None:
    now = [1000.0]
    desk.panel.task.activeTime._clock = lambda: now[0]
    desk.open(dataset)
    desk.take_next()
    for _ in range(3):
        now[0] += 50
        press("H")
    now[0] += 3600  # away
    press("H")
    desk.click(desk.ui.acceptButton)
    assert Worklist(dataset).task("first", "liver").active_seconds == pytest.approx(150 + 120)


def test_an_organ_that_nobody_predicted_is_added_and_drawn(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.ui.taskTable.setCurrentCell(0, 0)
    answers.item("pancreas")
    desk.click(desk.ui.addOrganButton)
    assert desk.name == "first pancreas taken"
    assert desk.voxels() == 0
    assert "No hot spot is known" in desk.ui.spotLabel.text
    desk.ui.keepOutCheckBox.setChecked(False)
    desk.stroke(center=(0.0, 60.0, -60.0))
    drawn = desk.voxels()
    assert drawn > 0
    desk.click(desk.ui.acceptButton)
    assert int(read_nifti(CaseFolder(dataset / "first").average.revised_mask("pancreas")).array.sum()) == drawn


def test_a_misspelled_organ_is_refused_with_the_right_name(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.ui.taskTable.setCurrentCell(0, 0)
    answers.item("pancreaz")
    desk.ui.addOrganButton.click()
    assert any("pancreas" in text for kind, text in answers.shown if kind == "error")
    assert desk.name == ""


def test_the_dataset_is_assembled_in_the_child_process_and_shown(desk: Desk, dataset: Path, tmp_path: Path) -> None:
    import slicer

    desk.open(dataset)
    assert not desk.ui.applyButton.enabled
    assert desk.ui.applyButton.toolTip == "Choose a folder for the assembled dataset."
    desk.take_next()
    desk.stroke()
    desk.click(desk.ui.acceptButton)
    desk.go_to("first", "spleen")
    CaseFolder(dataset / "second").average.mask("liver").write_bytes(b"junk")
    desk.ui.outputPath.setCurrentPath(str(dataset / "inside"))
    assert "outside of the dataset folder" in desk.ui.applyButton.toolTip
    desk.ui.outputPath.setCurrentPath(str(tmp_path / "release"))
    desk.ui.applyButton.click()
    desk.wait(lambda: not desk.panel.assemble.job.running, 120)
    status = desk.ui.assembleStatusLabel.text
    assert "2 cases assembled in" in status
    assert str(tmp_path / "release") in status
    assert "Failed: second" in status
    manifest = json.loads((tmp_path / "release" / "first" / "manifest.json").read_text())
    assert manifest["organs"]["liver"]["readers"] == ["Ada"]
    shown = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if n.GetAttribute("AtlasAnnotator.Role") == "assembled"]
    assert [node.GetName() for node in shown] == ["first assembled"]
    assert sorted(shown[0].GetSegmentation().GetSegmentIDs()) == ["kidney_left", "liver", "spleen"]
    assert not desk.ui.maskButton.checked
    desk.ui.maskButton.setChecked(True)
    desk.click(desk.ui.nextButton)
    assert not shown[0].GetDisplayNode().GetVisibility()
    desk.panel.closeDataset()
    assert shown[0].GetDisplayNode().GetVisibility()


def test_other_segmentations_are_hidden_while_a_task_is_open_and_given_back(desk: Desk, dataset: Path) -> None:
    import slicer

    mine, hidden = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name) for name in ("mine", "hidden"))
    for node in (mine, hidden):
        node.CreateDefaultDisplayNodes()
    hidden.GetDisplayNode().SetVisibility(False)

    def shown() -> list[bool]:
        return [bool(node.GetDisplayNode().GetVisibility()) for node in (mine, hidden)]

    desk.open(dataset)
    desk.take_next()
    assert shown() == [False, False]
    desk.click(desk.ui.nextButton)
    assert shown() == [False, False]
    slicer.util.moduleSelector().selectModule("")
    assert shown() == [True, False]
    slicer.util.selectModule("AtlasReview")
    assert shown() == [False, False]
    desk.panel.closeDataset()
    assert shown() == [True, False]


def test_threads_move_on_in_slicer_where_the_event_loop_keeps_the_interpreter_lock(desk: Desk, dataset: Path) -> None:
    import sys

    desk.open(dataset)
    desk.take_next()
    desk.wait(lambda: not desk.panel.task._ahead.reading)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # a thread gets the lock only when the main thread gives it up
    try:
        ahead = desk.panel.task._ahead
        ahead.cancel()
        desk.panel.task.readAhead(Worklist(dataset).task("second", "liver"))
        for _ in range(400):
            desk.panel.task._letReadAhead()
        assert not ahead.reading
        assert ahead.take().organ == "liver"
    finally:
        sys.setswitchinterval(interval)
