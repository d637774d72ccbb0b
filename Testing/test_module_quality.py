"""Atlas Quality on the stand-in for Slicer: opening a case, finding errors, overlay, tables, hot spots and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.scene import CASE_FOLDER
from AtlasSegmentLib.volume import Volume
from quality_panel import Wait, attended_case, center_of_views, column, foregrounds, open_case, predicted_case, true_labels


@pytest.fixture
def attended(tmp_path: Path) -> CaseFolder:
    return attended_case(tmp_path)


@pytest.fixture
def opened(open_module: Any, attended: CaseFolder, wait_until: Wait) -> Any:
    panel = open_module("AtlasQuality")
    open_case(panel, attended, wait_until)
    return panel


def overlay_array(panel: Any) -> np.ndarray:
    from AtlasSegmentLib.scene import volume_from_node

    return volume_from_node(panel._parameterNode.overlay).array


def test_a_case_folder_opens_with_ct_masks_overlay_table_and_hot_spots(opened: Any, wait_until: Wait, screenshot: Any) -> None:
    import slicer

    parameters, ui = opened._parameterNode, opened.ui
    assert parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert foregrounds() == {parameters.overlay.GetID()}
    assert {c.GetBackgroundVolumeID() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")} != {None}
    wait_until(lambda: all(column(ui.organsTable, 1)))
    assert column(ui.organsTable, 0) == ["liver", "spleen", "kidney left"]
    assert float(column(ui.organsTable, 1)[0]) == pytest.approx(112.8, abs=20)
    assert ui.segmentationSelector.currentNode() is not None
    assert column(ui.spotsTable, 1)[0] == "liver"
    ui.nextSpotButton.click()
    screenshot("quality")


def test_errors_are_found_in_the_child_process_and_shown(open_module: Any, tmp_path: Path, wait_until: Wait) -> None:
    case = predicted_case(tmp_path)
    panel = open_module("AtlasQuality")
    open_case(panel, case, wait_until)
    assert "Find errors" in panel.ui.overlayLabel.text
    assert panel.ui.findErrorsButton.enabled
    panel.ui.findErrorsButton.click()
    assert panel.ui.findErrorsButton.text == "Cancel"
    wait_until(lambda: not panel._case.job.running)
    assert case.average.organs("attention") == ["kidney_left", "liver", "spleen"]
    assert foregrounds() == {panel._parameterNode.overlay.GetID()}
    assert panel.ui.spotsTable.rowCount >= 2


def test_cancel_stops_the_child_process(open_module: Any, tmp_path: Path, wait_until: Wait) -> None:
    panel = open_module("AtlasQuality")
    open_case(panel, predicted_case(tmp_path), wait_until)
    panel.ui.findErrorsButton.click()
    child = panel._case.job._child.pid
    panel.ui.findErrorsButton.click()
    assert not panel._case.job.running
    assert panel._case.job._child.pid is None
    assert child is not None
    assert panel.ui.findErrorsButton.enabled


def test_a_segmentation_that_was_made_from_a_case_shows_its_attention_at_once(
    open_module: Any, attended: CaseFolder, wait_until: Wait
) -> None:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    panel = open_module("AtlasQuality")
    segmentation = segmentation_from_labels(true_labels(), "from Atlas Segment")
    segmentation.SetAttribute(CASE_FOLDER, str(attended.folder))
    panel.ui.segmentationSelector.setCurrentNode(segmentation)
    wait_until(lambda: not panel._case.job.running)
    assert foregrounds() == {panel._parameterNode.overlay.GetID()}
    wait_until(lambda: all(column(panel.ui.organsTable, 1)))
    liver = float(column(panel.ui.organsTable, 1)[0])
    assert liver == pytest.approx(true_labels().array[true_labels().array == 5].size * 12 / 1000, abs=0.1)


def test_a_segmentation_of_its_own_has_volumes_and_is_told_what_attention_needs(open_module: Any, wait_until: Wait) -> None:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    segmentation_from_labels(true_labels(), "drawn by hand")
    panel = open_module("AtlasQuality")
    wait_until(lambda: all(column(panel.ui.organsTable, 1)))
    assert sorted(column(panel.ui.organsTable, 0)) == ["kidney left", "liver", "spleen"]
    assert not panel.ui.findErrorsButton.enabled
    assert "predictions of the models" in panel.ui.reasonLabel.text
    assert panel.ui.findErrorsButton.toolTip == panel.ui.reasonLabel.text
    assert panel.ui.organsTable.isColumnHidden(2)


def test_choosing_an_organ_shows_its_map_and_brings_its_outline_forward(opened: Any) -> None:
    ui, parameters = opened.ui, opened._parameterNode
    everything = np.count_nonzero(overlay_array(opened))
    ui.organsTable.selectRow(column(ui.organsTable, 0).index("spleen"))
    assert (parameters.organ, ui.organComboBox.currentText) == ("spleen", "spleen")
    assert 0 < np.count_nonzero(overlay_array(opened)) < everything
    display = parameters.segmentation.GetDisplayNode()
    assert not display.GetVisibility2DFill()
    assert display.GetSegmentOpacity2DOutline("spleen") > display.GetSegmentOpacity2DOutline("liver")
    ui.organComboBox.currentIndex = ui.organComboBox.findData("liver")
    assert ui.organsTable.item(ui.organsTable.currentRow(), 0).text() == "liver"
    ui.organComboBox.currentIndex = 0
    assert display.GetSegmentOpacity2DOutline("spleen") == display.GetSegmentOpacity2DOutline("liver")


def test_kind_colors_threshold_and_opacity_change_the_view(opened: Any) -> None:
    import slicer

    ui, parameters = opened.ui, opened._parameterNode
    attention = overlay_array(opened).copy()
    ui.kindComboBox.currentIndex = ui.kindComboBox.findData("expected_error")
    assert overlay_array(opened).shape != attention.shape or not np.array_equal(overlay_array(opened), attention)
    ui.colorsComboBox.currentIndex = ui.colorsComboBox.findData("rainbow")
    ui.thresholdSlider.value = 40
    ui.opacitySlider.value = 0.25
    display = parameters.overlay.GetDisplayNode()
    assert display.GetColorNodeID() == "vtkMRMLColorTableNodeRainbow"
    assert (display.GetApplyThreshold(), display.GetLowerThreshold()) == (1, 40)
    assert {c.GetForegroundOpacity() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")} == {0.25}


def test_an_organ_without_a_mark_says_so(opened: Any) -> None:
    opened.ui.organComboBox.currentIndex = opened.ui.organComboBox.findData("kidney_left")
    assert "Nothing is marked" in opened.ui.overlayLabel.text


def test_hot_spots_bring_all_views_there_and_go_round(opened: Any) -> None:
    ui = opened.ui
    for number, button in ((0, ui.nextSpotButton), (1, ui.nextSpotButton), (0, ui.nextSpotButton), (1, ui.previousSpotButton)):
        button.click()
        assert ui.spotsTable.currentRow() == number
        assert center_of_views() == pytest.approx(opened._case.result.spots[number].center, abs=0.01)
    assert "mm" in ui.spotLabel.text


def test_a_click_on_a_hot_spot_goes_there_and_shows_its_organ(opened: Any) -> None:
    opened.ui.organComboBox.currentIndex = opened.ui.organComboBox.findData("liver")
    row = column(opened.ui.spotsTable, 1).index("spleen")
    opened.ui.spotsTable.selectRow(row)
    assert opened._parameterNode.organ == "spleen"
    assert center_of_views() == pytest.approx(opened._case.result.spots[row].center, abs=0.01)


def test_tables_sort_by_number_and_keep_their_keys(opened: Any, wait_until: Wait) -> None:
    import qt

    table = opened.ui.organsTable
    wait_until(lambda: all(column(table, 1)))
    wait_until(lambda: table.sortingEnabled)
    table.sortItems(1, qt.Qt.AscendingOrder)
    volumes = [float(text) for text in column(table, 1)]
    assert volumes == sorted(volumes)
    table.selectRow(column(table, 0).index("liver"))
    assert opened._parameterNode.organ == "liver"


def test_keys_hide_and_show_move_the_threshold_and_step_through_hot_spots(opened: Any, press: Any) -> None:
    parameters = opened._parameterNode
    press("H")
    assert foregrounds() == {None}
    press("H")
    assert foregrounds() == {parameters.overlay.GetID()}
    assert parameters.threshold == 10
    press(".")
    press(".")
    assert parameters.threshold == 30
    for _ in range(5):
        press(",")
    assert parameters.threshold == 1
    press("N")
    assert opened.ui.spotsTable.currentRow() == 0
    press("Shift+N")
    assert opened.ui.spotsTable.currentRow() == opened.ui.spotsTable.rowCount - 1
    assert "(H)" in opened.ui.showOverlayButton.text
    assert "(N)" in opened.ui.nextSpotButton.text


def test_the_users_own_foreground_comes_back(opened: Any, press: Any) -> None:
    import slicer

    from AtlasSegmentLib.scene import node_from_volume

    press("H")
    own = node_from_volume(Volume(np.ones((8, 8, 8), np.int16), np.eye(4)), "PET")
    slicer.util.setSliceViewerLayers(foreground=own, foregroundOpacity=0.3)
    press("H")
    assert foregrounds() == {opened._parameterNode.overlay.GetID()}
    press("H")
    assert foregrounds() == {own.GetID()}
    assert {c.GetForegroundOpacity() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")} == {0.3}
    assert opened._parameterNode.segmentation.GetDisplayNode().GetVisibility2DFill()


def test_the_overlay_lies_on_the_ct_grid_where_the_stored_map_is(opened: Any, attended: CaseFolder) -> None:
    from AtlasSegmentLib.nifti import read_nifti
    from AtlasSegmentLib.scene import volume_from_node

    opened.ui.organComboBox.currentIndex = opened.ui.organComboBox.findData("liver")
    shown, stored = volume_from_node(opened._parameterNode.overlay), read_nifti(attended.average.map("attention", "liver"))
    points = np.argwhere(shown.array > 0) @ shown.affine[:3, :3].T + shown.affine[:3, 3]
    index = np.rint((points - stored.affine[:3, 3]) @ np.linalg.inv(stored.affine[:3, :3]).T).astype(int)
    assert len(index) == np.count_nonzero(stored.array)
    assert (stored.array[tuple(index.T)] > 0).all()
