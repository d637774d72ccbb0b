"""Atlas Segment's panel, driven as a radiologist drives it, with tiny networks in the real child process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import ORGANS, ct, roi
from AtlasQualityLib.average import average_case
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.nifti import read_nifti
from segment_panel import SegmentPanelUser, open_panel

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
Press = Callable[..., str]


@pytest.fixture
def user(open_module: Any, wait_until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentPanelUser:
    """Return a user with the panel open and an empty list of models."""
    return open_panel(open_module, wait_until, tmp_path, monkeypatch)


def shown_masks(node: Any) -> dict[str, np.ndarray]:
    """Return each segment of a node on the phantom's grid."""
    from AtlasSegmentLib.scene_segmentation import mask_of_segment

    return {name: mask_of_segment(node, name, ct().grid).array != 0 for name in node.GetSegmentation().GetSegmentIDs()}


def test_a_ct_becomes_an_average_and_a_segmentation_of_each_model(user: SegmentPanelUser) -> None:
    user.load_ct()
    user.add_models(2)
    folder = user.use_folder()
    nodes = user.run()
    assert [node.GetName() for node in nodes] == ["Abdomen average", "Abdomen phantom-1", "Abdomen phantom-2"]
    case = open_case(folder / "Abdomen")
    assert average_case(case) is None, "the average is finished: Atlas Quality need not make it again"
    for node, labels in zip(nodes, (case.average, case.backbone("phantom-1"), case.backbone("phantom-2")), strict=True):
        shown = shown_masks(node)
        assert {*shown} == {*ORGANS}
        for organ, mask in shown.items():
            np.testing.assert_array_equal(mask, read_nifti(labels.mask(organ)).array != 0)
    assert all(case.backbone("phantom-1").map(kind, organ).is_file() for kind in ("soft_pred", "entropy") for organ in ORGANS)
    assert user.parameters.result is nodes[0]
    assert user.ui.resultSelector.currentNode() is nodes[0]
    assert str(folder) in user.ui.resultNoteLabel.text
    assert "Ran on the CPU" in user.ui.resultNoteLabel.text
    assert "CPUExecutionProvider" in user.ui.logText.plainText


def test_progress_is_shown_and_the_panel_answers_meanwhile(user: SegmentPanelUser) -> None:
    user.load_ct()
    user.add_slow_model()
    user.add_models(2)
    user.start_and_wait_for_progress()
    assert user.ui.applyButton.text == "Cancel"
    assert "%" in user.ui.statusLabel.text
    assert not user.ui.progressBar.isHidden()
    user.ui.modelSearchEdit.setText("phantom-2")
    assert user.rows() == ["phantom-2"]
    user.ui.applyButton.click()
    assert user.ui.applyButton.text == "Apply"
    assert user.ui.progressBar.isHidden()


def test_the_same_ct_again_uses_what_is_there_and_replaces_its_segmentations(user: SegmentPanelUser) -> None:
    user.load_ct()
    user.add_models(1)
    folder = user.use_folder()
    first = [node.GetID() for node in user.run()]
    record = (folder / "Abdomen" / "backbones" / "phantom-1" / "run.json").read_bytes()
    assert [node.GetID() for node in user.run()] == first
    assert (folder / "Abdomen" / "backbones" / "phantom-1" / "run.json").read_bytes() == record
    assert "earlier run" in user.ui.resultNoteLabel.text


def test_another_ct_of_the_same_name_gets_a_case_of_its_own(user: SegmentPanelUser) -> None:
    user.add_models(1)
    folder = user.use_folder()
    user.load_ct()
    user.run()
    user.load_ct(ct().with_array(ct().array[::-1].copy()))
    nodes = user.run()
    assert sorted(path.name for path in folder.iterdir()) == ["Abdomen", "Abdomen 2"]
    assert [node.GetName() for node in nodes] == ["Abdomen phantom-1", "Abdomen phantom-1 2"]


def test_a_name_that_is_no_file_name_is_made_one_and_shown_as_it_was(user: SegmentPanelUser) -> None:
    user.load_ct(name="5: Abd/Pelvis  1.0")
    user.add_models(1)
    folder = user.use_folder()
    assert [node.GetName() for node in user.run()] == ["5: Abd/Pelvis  1.0 phantom-1"]
    assert [path.name for path in folder.iterdir()] == ["5_ Abd_Pelvis 1.0"]


def test_an_edited_result_is_kept_beside_the_new_one(user: SegmentPanelUser) -> None:
    user.load_ct()
    user.add_models(1)
    first = user.run()[0]
    first.GetSegmentation().RemoveSegment("liver")
    nodes = user.run()
    assert [node.GetName() for node in nodes] == ["Abdomen phantom-1", "Abdomen phantom-1 2"]
    assert first.GetSegmentation().GetSegment("liver") is None
    assert user.parameters.result is nodes[1]


def test_without_a_folder_results_are_temporary_and_the_panel_says_so(user: SegmentPanelUser) -> None:
    assert "Temporary" in user.ui.resultsFolderLabel.text
    user.load_ct()
    user.add_models(1)
    node = user.run()[0]
    case = Path(node.GetAttribute("AtlasAnnotator.CaseFolder"))
    assert case.is_relative_to(slicer.app.temporaryPath)
    assert "temporary" in user.ui.resultNoteLabel.text
    assert [path.name for path in case.parent.parent.iterdir()] == ["results"], "the file that the CT went through is gone"
    user.use_folder()
    assert "Temporary" not in user.ui.resultsFolderLabel.text


def test_a_region_is_given_to_the_models(user: SegmentPanelUser) -> None:
    from AtlasSegmentLib.scene_roi import node_from_roi

    user.load_ct()
    user.add_models(1, input={"orientation": "LAI", "fit_shape": [26, 24, 20]})
    assert "needs a region" in user.reason()
    user.ui.createRoiButton.click()
    assert user.reason() == ""
    assert user.ui.roiSelector.currentNode().GetName() == "Abdomen region"
    user.parameters.roi = node_from_roi(roi(), "box")
    folder = user.use_folder()
    user.run()
    record = json.loads((folder / "Abdomen" / "backbones" / "phantom-1" / "run.json").read_text())
    np.testing.assert_allclose(record["parameters"]["roi"]["center"], roi().center)
    np.testing.assert_allclose(record["parameters"]["roi"]["size"], roi().size)


def test_a_ct_under_a_linear_transform_gets_its_result_where_it_is_seen(user: SegmentPanelUser) -> None:
    import vtk

    from AtlasSegmentLib.scene import grid_of_node

    node = user.load_ct()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 55.0)
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    user.add_models(1)
    result = user.run()[0]
    np.testing.assert_allclose(grid_of_node(result).affine, grid_of_node(node).affine)
    assert grid_of_node(result).affine[0, 3] == pytest.approx(ct().affine[0, 3] + 55)
    assert result.GetParentTransformNode() is None


def test_a_sample_is_one_of_slicers_own(user: SegmentPanelUser, answers: Any) -> None:
    from slicer_standin import sample_data

    answers.menu("CT of a liver, from Slicer's samples")
    user.ui.sampleButton.click()
    assert sample_data.requested == ["AtlasCTLiver"]
    assert user.ui.ctSelector.currentNode().GetName() == user.parameters.ct.GetName()
    user.add_models(1)
    assert user.reason() == ""


def test_show_hide_outline_and_windows_act_on_the_chosen_segmentation_by_button_and_by_key(
    user: SegmentPanelUser,
    press: Press,
) -> None:
    node = user.load_ct()
    user.add_models(1)
    display = user.run()[0].GetDisplayNode()
    assert (display.GetVisibility(), display.GetVisibility2DFill()) == (1, 1)
    user.ui.showHideButton.click()
    assert display.GetVisibility() == 0
    assert press("M") == "shortcut"
    assert display.GetVisibility() == 1
    assert press("O") == "shortcut"
    assert (display.GetVisibility2DFill(), display.GetVisibility2DOutline(), user.parameters.outline) == (0, 1, True)
    press("O")
    assert (display.GetVisibility2DFill(), user.parameters.outline) == (1, False)
    user.ui.opacitySlider.value = 0.25
    assert display.GetOpacity2DFill() == pytest.approx(0.25)
    for button, window, level in (
        ("lungButton", 1500, -600),
        ("abdomenButton", 400, 40),
        ("boneButton", 1800, 400),
        ("liverButton", 160, 60),
    ):
        getattr(user.ui, button).click()
        assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == (window, level)
        assert getattr(user.ui, button).toolTip == f"Window W {window}, L {level}"


def test_choosing_a_segmentation_does_not_change_how_it_looks(user: SegmentPanelUser) -> None:
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    own.CreateDefaultDisplayNodes()
    own.GetDisplayNode().SetOpacity2DFill(0.11)
    user.parameters.result = own
    assert own.GetDisplayNode().GetOpacity2DFill() == pytest.approx(0.11)


def test_letters_typed_into_the_search_go_there_and_the_keys_go_with_the_module(user: SegmentPanelUser, press: Press) -> None:
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    own.CreateDefaultDisplayNodes()
    user.parameters.result = own
    for letter in "MO":
        press(letter, user.ui.modelSearchEdit)
    assert user.ui.modelSearchEdit.text.upper() == "MO"
    assert own.GetDisplayNode().GetVisibility() == 1
    slicer.util.moduleSelector().selectModule("")
    assert press("M", slicer.util.mainWindow()) == ""
    slicer.util.selectModule("AtlasSegment")
    assert press("M", slicer.util.mainWindow()) == "shortcut"


def test_packages_are_asked_for_in_apply_once_and_declining_leaves_the_panel_as_it_was(user: SegmentPanelUser, answers: Any) -> None:
    from slicer_standin.installer import recorder

    user.load_ct()
    user.add_models(1)
    assert recorder.installed == []
    recorder.pretend_missing("onnxruntime")
    answers.no()
    user.apply()
    assert not user.panel.job.running
    assert recorder.installed == []
    assert user.reason() == ""
    assert any("onnxruntime" in text for _kind, text in answers.shown) or answers.details


def test_the_panel_looks_right(user: SegmentPanelUser, screenshot: Callable[[str], Path]) -> None:
    user.load_ct()
    user.add_models(2)
    user.run()
    user.ui.abdomenButton.click()
    assert screenshot("AtlasSegment").stat().st_size > 10_000
