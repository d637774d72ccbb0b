"""Atlas Quality on the stand-in for Slicer: what cannot be used gives one clear message, and the panel stays usable."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.scene import CASE_FOLDER
from AtlasSegmentLib.volume import Volume
from quality_panel import Wait, attended_case, column, foregrounds, open_case, predicted_case, true_labels


@pytest.fixture
def attended(tmp_path: Path) -> CaseFolder:
    return attended_case(tmp_path)


def segmentation_of(case: CaseFolder | None, name: str = "mine") -> Any:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    node = segmentation_from_labels(true_labels(), name)
    if case is not None:
        node.SetAttribute(CASE_FOLDER, str(case.folder))
    return node


def choose(panel: Any, node: Any, wait_until: Wait) -> None:
    panel.ui.segmentationSelector.setCurrentNode(node)
    wait_until(lambda: not panel._case.job.running)


def test_nothing_chosen_says_what_to_do(open_module: Any) -> None:
    panel = open_module("AtlasQuality")
    assert not panel.ui.findErrorsButton.enabled
    assert "open a case folder" in panel.ui.reasonLabel.text
    assert not panel.ui.openCaseButton.enabled
    assert panel.ui.openCaseButton.toolTip == "Choose a case folder."


def test_a_folder_that_is_no_case_gives_one_message_and_another_one_can_be_opened(
    open_module: Any, attended: CaseFolder, wait_until: Wait, answers: Any
) -> None:
    panel = open_module("AtlasQuality")
    panel.ui.caseFolderEdit.currentPath = str(attended.folder.parent / "none")
    assert not panel.ui.openCaseButton.enabled
    assert "There is no folder" in panel.ui.openCaseButton.toolTip
    panel.ui.caseFolderEdit.currentPath = str(attended.folder.parent)
    panel.ui.openCaseButton.click()
    wait_until(lambda: not panel._case.job.running)
    assert len(answers.shown) == 1
    assert "is not a case folder" in answers.shown[0][1]
    open_case(panel, attended, wait_until)
    assert panel.ui.organsTable.rowCount == 3


def test_a_damaged_attention_map_is_named_and_can_be_made_again(
    open_module: Any, attended: CaseFolder, wait_until: Wait, answers: Any
) -> None:
    path = attended.average.map("attention", "liver")
    path.write_bytes(path.read_bytes()[:150])
    panel = open_module("AtlasQuality")
    choose(panel, segmentation_of(attended), wait_until)
    assert len(answers.shown) == 1
    assert "liver.nii.gz" in answers.shown[0][1]
    path.unlink()
    panel.ui.findErrorsButton.click()
    wait_until(lambda: not panel._case.job.running)
    assert len(answers.shown) == 1
    assert foregrounds() == {panel._parameterNode.overlay.GetID()}


def test_a_case_folder_that_vanished_is_said_and_volumes_work(open_module: Any, attended: CaseFolder, wait_until: Wait) -> None:
    node = segmentation_of(attended)
    shutil.rmtree(attended.folder)
    panel = open_module("AtlasQuality")
    choose(panel, node, wait_until)
    assert not panel.ui.findErrorsButton.enabled
    assert "not there any more" in panel.ui.reasonLabel.text
    wait_until(lambda: all(column(panel.ui.organsTable, 1)))


def test_a_case_folder_that_vanishes_before_the_button_is_pressed_gives_one_message(
    open_module: Any, tmp_path: Path, wait_until: Wait, answers: Any
) -> None:
    case = predicted_case(tmp_path)
    panel = open_module("AtlasQuality")
    choose(panel, segmentation_of(case), wait_until)
    shutil.rmtree(case.folder)
    panel.ui.findErrorsButton.click()
    wait_until(lambda: not panel._case.job.running)
    assert len(answers.shown) == 1
    assert "is not a case folder" in answers.shown[0][1]


def test_a_case_that_cannot_be_written_gives_one_message(open_module: Any, tmp_path: Path, wait_until: Wait, answers: Any) -> None:
    case = predicted_case(tmp_path)
    (case.folder / "average").write_text("a file where the folder should be")
    panel = open_module("AtlasQuality")
    choose(panel, segmentation_of(case), wait_until)
    panel.ui.findErrorsButton.click()
    wait_until(lambda: not panel._case.job.running)
    assert len(answers.shown) == 1
    assert "average" in answers.shown[0][1]
    assert panel.ui.findErrorsButton.enabled


def test_a_segmentation_on_another_grid_than_its_case_shows_no_overlay_and_says_why(
    open_module: Any, attended: CaseFolder, wait_until: Wait
) -> None:
    from AtlasSegmentLib.scene_segmentation import set_reference_geometry
    from AtlasSegmentLib.volume import Grid

    node = segmentation_of(attended)
    affine = true_labels().affine.copy()
    affine[0, 3] += 7
    set_reference_geometry(node, Grid((64, 56, 40), affine))
    panel = open_module("AtlasQuality")
    choose(panel, node, wait_until)
    assert "does not lie where its case folder says" in panel.ui.overlayLabel.text
    assert foregrounds() == {None}
    assert column(panel.ui.organsTable, 0) == ["liver", "spleen", "kidney left"]


def test_a_segmentation_without_geometry_says_so(open_module: Any, attended: CaseFolder, wait_until: Wait) -> None:
    import slicer

    from AtlasSegmentLib.scene_segmentation import add_segment

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loose")
    node.SetAttribute(CASE_FOLDER, str(attended.folder))
    add_segment(node, "liver", Volume((true_labels().array == 5).astype(np.uint8), true_labels().affine))
    panel = open_module("AtlasQuality")
    choose(panel, node, wait_until)
    assert "no reference geometry" in panel.ui.overlayLabel.text


def test_a_bent_segmentation_says_to_harden_its_transform(open_module: Any, attended: CaseFolder, wait_until: Wait) -> None:
    import slicer
    import vtk

    node = segmentation_of(attended)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    transform.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(transform.GetID())
    panel = open_module("AtlasQuality")
    choose(panel, node, wait_until)
    assert "Harden the transform" in panel.ui.overlayLabel.text


def test_a_moved_segmentation_takes_overlay_and_hot_spots_along(open_module: Any, attended: CaseFolder, wait_until: Wait) -> None:
    import slicer
    import vtk

    from AtlasSegmentLib.scene import volume_from_node
    from quality_panel import center_of_views

    node = segmentation_of(attended)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 25.0)
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    panel = open_module("AtlasQuality")
    choose(panel, node, wait_until)
    overlay = volume_from_node(panel._parameterNode.overlay)
    points = np.argwhere(overlay.array) @ overlay.affine[:3, :3].T + overlay.affine[:3, 3]
    spot = np.add(panel._case.result.spots[0].center, (25, 0, 0))
    assert np.linalg.norm(points - spot, axis=1).min() < 0.01
    panel.ui.nextSpotButton.click()
    assert center_of_views() == pytest.approx(list(spot), abs=0.01)


def test_a_child_process_that_dies_gives_one_message(open_module: Any, tmp_path: Path, wait_until: Wait, answers: Any) -> None:
    import os
    import signal

    panel = open_module("AtlasQuality")
    choose(panel, segmentation_of(predicted_case(tmp_path)), wait_until)
    panel.ui.findErrorsButton.click()
    os.kill(panel._case.job._child.pid, signal.SIGKILL)
    wait_until(lambda: not panel._case.job.running)
    assert len(answers.shown) == 1
    panel.ui.findErrorsButton.click()
    wait_until(lambda: not panel._case.job.running)
    assert len(answers.shown) == 1
    assert foregrounds() == {panel._parameterNode.overlay.GetID()}
