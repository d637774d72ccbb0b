"""Predicted quality in the panel of Atlas Quality: the button, the numbers in the table, the colors of the slices, the worst slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasQualityLib.slice_scores import color_of
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.files import read_json
from quality_panel import Wait, attended_case, center_of_views, column, open_case, true_labels
from quality_random_model import add_prediction, random_model

pytestmark = pytest.mark.usefixtures("slicer_app")
DICE = 5


@pytest.fixture
def model() -> Iterator[Path]:
    """Let the random model be the one that the settings name."""
    import slicer

    from AtlasQualityLib.panel_quality_model import COLORS_KEY, EMBEDDINGS_KEY, MODEL_KEY

    folder = random_model()
    settings = slicer.app.userSettings()
    settings.setValue(MODEL_KEY, str(folder))
    yield folder
    for key in (MODEL_KEY, EMBEDDINGS_KEY, COLORS_KEY):
        settings.remove(key)


@pytest.fixture
def case(tmp_path: Path) -> CaseFolder:
    return attended_case(tmp_path)


@pytest.fixture
def panel(open_module: Any, model: Path, case: CaseFolder, wait_until: Wait) -> Any:
    assert model
    opened = open_module("AtlasQuality")
    open_case(opened, case, wait_until)
    return opened


def predict(panel: Any, wait_until: Wait) -> None:
    assert panel.ui.predictButton.enabled, panel.ui.predictReasonLabel.text
    panel.ui.predictButton.click()
    wait_until(lambda: not panel._quality.job.running)


@pytest.fixture
def predicted(open_module: Any, model: Path, case: CaseFolder, wait_until: Wait) -> Any:
    """The panel with a case that was predicted before."""
    assert model
    add_prediction(case)
    opened = open_module("AtlasQuality")
    open_case(opened, case, wait_until)
    return opened


def crosshair() -> list[float]:
    import slicer

    node = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    return [float(x) for x in node.GetCrosshairRAS()]


def choose(panel: Any, organ: str) -> None:
    panel.ui.organsTable.selectRow(column(panel.ui.organsTable, 0).index(organ))


def pixels(label: Any) -> np.ndarray:
    """Return the pixels of a strip, uint8 (height, width, 3)."""
    import qt

    image = label.pixmap.toImage().convertToFormat(qt.QImage.Format_RGB888)
    found = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return found[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def test_predicting_fills_the_table_keeps_the_result_in_the_case_and_shows_the_worst_organ(
    panel: Any, case: CaseFolder, wait_until: Wait, screenshot: Callable[[str], Path]
) -> None:
    ui = panel.ui
    assert ui.organsTable.isColumnHidden(DICE)
    assert ui.scoresLabel.isHidden()
    assert ui.predictStatusLabel.isHidden()  # no gap under the button
    assert not ui.worstSliceButton.enabled
    predict(panel, wait_until)
    assert not ui.predictStatusLabel.isHidden()
    stored = read_json(case.average.predicted_dice)["details"]
    shown = dict(zip(column(ui.organsTable, 0), column(ui.organsTable, DICE), strict=True))
    assert {organ.replace("_", " "): f"{one['dice']:.2f} \u00b1 {one['spread']:.2f}" for organ, one in stored.items()} == shown
    assert not ui.organsTable.isColumnHidden(DICE)
    worst = min(stored, key=lambda organ: stored[organ]["dice"])
    assert ui.scoresNoteLabel.text.startswith(worst.replace("_", " "))
    assert "3 organs scored by random" in ui.predictStatusLabel.text
    assert not ui.scoresLabel.isHidden()
    ui.worstSliceButton.click()
    screenshot("quality_predicted")


def test_the_table_sorts_by_predicted_dice(predicted: Any) -> None:
    import qt

    for order, reverse in ((qt.Qt.AscendingOrder, False), (qt.Qt.DescendingOrder, True)):
        predicted.ui.organsTable.sortByColumn(DICE, order)
        found = [float(text.split()[0]) for text in column(predicted.ui.organsTable, DICE)]
        assert found == sorted(found, reverse=reverse)


def test_a_case_that_was_predicted_before_shows_it_when_it_is_opened(predicted: Any, case: CaseFolder, wait_until: Wait) -> None:
    import slicer

    before = sorted(column(predicted.ui.organsTable, DICE))
    slicer.mrmlScene.Clear()
    assert predicted.ui.scoresLabel.isHidden()
    open_case(predicted, case, wait_until)
    assert sorted(column(predicted.ui.organsTable, DICE)) == before
    assert predicted.ui.worstSliceButton.enabled


def test_each_press_goes_to_the_next_worst_slice_with_the_crosshair_in_the_mask(predicted: Any, case: CaseFolder) -> None:
    import slicer

    from AtlasSegmentLib.nifti import read_nifti

    choose(predicted, "liver")
    stored = read_json(case.average.predicted_dice)["details"]["liver"]["slices"]
    order = sorted(stored, key=lambda one: (one["score"], one["index"]))
    mask = read_nifti(case.average.mask("liver"))
    for number, one in enumerate([*order, order[0]]):
        predicted.ui.worstSliceButton.click()
        place = crosshair()
        assert place[2] == pytest.approx(one["position_mm"], abs=0.01)
        assert center_of_views() == pytest.approx(place, abs=0.01)
        index = np.rint(np.linalg.inv(mask.affine) @ [*place, 1])[:3].astype(int)
        assert bool(mask.array[tuple(index)]) == one["has_mask"]
        assert f"Worst {number % len(order) + 1} of {len(order)}" in predicted.ui.worstSliceLabel.text
    assert slicer.mrmlScene is not None


def test_keys_and_context_menu_go_to_the_worst_slice(predicted: Any, press: Callable[..., str], answers: Any) -> None:
    import qt

    def number() -> str:
        return str(predicted.ui.worstSliceLabel.text).split()[1]

    assert press("J") == "shortcut"
    assert press("J") == "shortcut"
    assert number() == "2"
    assert press("Shift+J") == "shortcut"
    assert number() == "1"
    for widget in (predicted.ui.scoresLabel, predicted.ui.organsTable):
        press("J")
        answers.menu("Jump to worst slice")
        widget.customContextMenuRequested.emit(qt.QPoint(3, 3))
        assert number() == "1"


def test_the_strip_has_the_color_of_each_score_and_its_tool_tip_the_number(
    predicted: Any, answers: Any, screenshot: Callable[[str], Path]
) -> None:
    import qt

    from AtlasQualityLib.panel_strip_picture import column_of

    choose(predicted, "liver")
    strip = predicted._quality.slices.strip
    strip.node.SetSliceOffset(1000.0)
    for palette, title in (("red-green", ""), ("orange-blue", "Orange (bad) to blue (good), color-blind safe")):
        if title:
            answers.menu(title)
            strip.label.customContextMenuRequested.emit(qt.QPoint(3, 3))
            assert predicted.ui.sliceColorsComboBox.currentData == palette
        found = pixels(strip.label)
        for band in strip.marks.bands[:-1]:
            at = column_of(strip.profile, (band.low + band.high) / 2, strip.label.width)
            assert tuple(found[-2, at]) == color_of(band.slice.score, palette)
            assert (tuple(found[-18, at]) == color_of(band.slice.score, palette)) == band.slice.has_mask
            strip.tell(at)
            assert f"Axial slice {band.slice.index} " in strip.label.toolTip
            assert f"{band.slice.score:.2f}" in strip.label.toolTip
    predicted.ui.qualityAdvancedGroupBox.collapsed = False
    predicted.ui.worstSliceButton.click()
    screenshot("quality_color_blind")


def test_the_strip_follows_the_view_leads_it_and_is_hidden_where_the_view_cuts_across(predicted: Any) -> None:
    choose(predicted, "liver")
    strip = predicted._quality.slices.strip
    middle = strip.marks.bands[len(strip.marks.bands) // 2]
    strip.node.SetSliceOffset(middle.slice.position_mm)
    assert predicted.ui.scoresText.text == f"score {middle.slice.score:.2f}"
    strip.go(0)
    assert strip.node.GetSliceOffset() == pytest.approx(strip.profile.offset_of(0))
    strip.node.SetOrientation("Coronal")
    assert predicted.ui.scoresLabel.isHidden()
    strip.node.SetOrientation("Axial")
    assert not predicted.ui.scoresLabel.isHidden()


def test_masks_of_the_scene_are_scored_as_they_are_and_nothing_is_written(panel: Any, case: CaseFolder, wait_until: Wait) -> None:
    segmentation = panel._parameterNode.segmentation
    files = {path: path.stat().st_mtime_ns for path in case.folder.rglob("*")}
    panel.ui.scoredComboBox.setCurrentIndex(panel.ui.scoredComboBox.findData("scene"))
    predict(panel, wait_until)
    before = dict(zip(column(panel.ui.organsTable, 0), column(panel.ui.organsTable, DICE), strict=True))
    from AtlasSegmentLib.scene import grid_of_node
    from AtlasSegmentLib.scene_segmentation import mask_of_segment, set_mask_of_segment

    mask = mask_of_segment(segmentation, "liver", grid_of_node(segmentation))
    half = mask.array.copy(order="F")
    half[half.shape[0] * 2 // 3 :] = 0
    assert "changed since" not in panel.ui.scoresNoteLabel.text
    set_mask_of_segment(segmentation, "liver", mask.with_array(half))
    assert "changed since" in panel.ui.scoresNoteLabel.text
    predict(panel, wait_until)
    assert "changed since" not in panel.ui.scoresNoteLabel.text
    after = dict(zip(column(panel.ui.organsTable, 0), column(panel.ui.organsTable, DICE), strict=True))
    assert after["liver"] != before["liver"]
    assert after["spleen"] == before["spleen"]
    assert {path: path.stat().st_mtime_ns for path in case.folder.rglob("*")} == files


def test_a_segmentation_without_a_case_is_scored_on_the_ct_that_it_was_drawn_on(
    open_module: Any, model: Path, case: CaseFolder, wait_until: Wait
) -> None:
    import slicer

    from AtlasSegmentLib.nifti import read_nifti
    from AtlasSegmentLib.scene import node_from_volume
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    assert model
    panel = open_module("AtlasQuality")
    segmentation = segmentation_from_labels(true_labels(), "drawn by hand")
    panel.ui.segmentationSelector.setCurrentNode(segmentation)
    assert not panel.ui.predictButton.enabled
    assert "no CT" in panel.ui.predictReasonLabel.text
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node_from_volume(read_nifti(case.ct), "ct"))
    panel._onParametersChanged()
    predict(panel, wait_until)
    assert all("\u00b1" in text for text in column(panel.ui.organsTable, DICE))
    panel.ui.worstSliceButton.click()
    assert crosshair() != [0.0, 0.0, 0.0]
    assert slicer.mrmlScene is not None


def test_what_is_missing_is_the_reason_on_the_button(panel: Any, case: CaseFolder, tmp_path: Path) -> None:
    import slicer

    from AtlasQualityLib.panel_quality_model import MODEL_KEY

    ui = panel.ui
    ui.qualityModelEdit.currentPath = str(tmp_path)
    assert "is no label-quality model" in ui.predictReasonLabel.text
    assert ui.predictButton.toolTip == ui.predictReasonLabel.text
    checkpoint = tmp_path / "segae.pth"
    checkpoint.write_bytes(b"")
    ui.qualityModelEdit.currentPath = str(checkpoint)
    assert "text embeddings" in ui.predictReasonLabel.text
    assert slicer.app.userSettings().value(MODEL_KEY) == str(checkpoint)
    ui.qualityModelEdit.currentPath = str(random_model() / "quality.json")
    assert ui.predictButton.enabled
    case.ct.unlink()
    panel._onParametersChanged()
    assert "holds no CT" in ui.predictReasonLabel.text
    for path in case.average.mask("liver").parent.iterdir():
        path.unlink()
    panel._onParametersChanged()
    assert "holds no masks" in ui.predictReasonLabel.text
    panel._parameterNode.segmentation = None
    assert "Choose a segmentation" in ui.predictReasonLabel.text


def test_cancel_kills_the_child_and_the_case_stays_as_it_was(panel: Any, case: CaseFolder) -> None:
    panel.ui.predictButton.click()
    assert panel.ui.predictButton.text == "Cancel"
    panel.ui.predictButton.click()
    assert panel._quality.job._child.pid is None
    assert panel.ui.predictButton.enabled
    assert not case.average.predicted_dice.exists()
    assert panel.ui.organsTable.isColumnHidden(DICE)


def test_an_answer_for_another_segmentation_is_not_shown(panel: Any, wait_until: Wait) -> None:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    panel.ui.predictButton.click()
    panel.ui.segmentationSelector.setCurrentNode(segmentation_from_labels(true_labels(), "another"))
    wait_until(lambda: not panel._quality.job.running)
    assert panel.ui.organsTable.isColumnHidden(DICE)
    assert not panel.ui.worstSliceButton.enabled


def test_the_shipped_model_is_the_one_that_the_program_ships() -> None:
    from AtlasQualityLib import panel_quality_model, quality_model
    from AtlasQualityLib.slice_scores import PALETTES

    assert panel_quality_model.SHIPPED == quality_model.SHIPPED
    assert {*panel_quality_model.paletteNames()} == {*PALETTES}
