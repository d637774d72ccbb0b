"""Atlas Quality on the stand-in for Slicer: comparison with a reference in the scene or in a file, plot and CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import LabelVolume, Volume
from quality_panel import TABLE, Wait, attended_case, column, open_case, true_labels, write_truth


@pytest.fixture
def panel(open_module: Any, tmp_path: Path, wait_until: Wait) -> Any:
    opened = open_module("AtlasQuality")
    open_case(opened, attended_case(tmp_path), wait_until)
    opened.ui.compareCollapsibleButton.collapsed = False
    return opened


def compare(panel: Any, wait_until: Wait) -> None:
    assert panel.ui.compareButton.enabled, panel.ui.compareReasonLabel.text
    panel.ui.compareButton.click()
    wait_until(lambda: not panel._compare.job.running)


def choose_file(panel: Any, path: Path, table: str = TABLE) -> None:
    panel.ui.referenceFileEdit.currentPath = str(path)
    panel.ui.tableComboBox.currentIndex = panel.ui.tableComboBox.findData(table)


def test_a_file_is_compared_with_its_label_table_plotted_and_saved(
    panel: Any, tmp_path: Path, wait_until: Wait, answers: Any, screenshot: Any
) -> None:
    import slicer

    choose_file(panel, write_truth(tmp_path / "truth.nii.gz"))
    compare(panel, wait_until)
    rows = {row["organ"]: row for row in panel._compare._rows}
    assert {"liver", "spleen", "kidney_left"} <= set(rows)
    assert 0.8 < rows["liver"]["dice"] < rows["kidney_left"]["dice"] <= 1
    assert "liver" in column(panel.ui.compareTable, 0)
    panel.ui.plotButton.click()
    chart = panel._parameterNode.chart
    assert chart.GetNumberOfPlotSeriesNodes() == 3
    series = chart.GetNthPlotSeriesNode(0)
    assert series.GetTableNode().GetTable().GetNumberOfRows() == 3
    assert {series.GetYColumnName(), series.GetLabelColumnName()} == {"dice", "organ"}
    screenshot("quality_compare")
    out = tmp_path / "scores.csv"
    answers.save(out)
    panel.ui.exportButton.click()
    written = {row["organ"]: row for row in csv.DictReader(io.StringIO(out.read_text()))}
    assert float(written["liver"]["hd95_mm"]) == pytest.approx(rows["liver"]["hd95_mm"], abs=1e-3)
    panel.ui.plotButton.click()
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")) == 3


def test_a_segmentation_of_the_scene_is_compared_whatever_its_segments_are_called(panel: Any, wait_until: Wait) -> None:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    truth = segmentation_from_labels(true_labels(), "truth")
    inner = truth.GetSegmentation()
    inner.GetSegment("kidney_left").SetName("Left Kidney")  # an alias
    inner.GetSegment("liver").SetName("Segment_1")  # found by its terminology
    panel.ui.referenceSelector.setCurrentNode(truth)
    compare(panel, wait_until)
    assert [row["note"] for row in panel._compare._rows] == ["", "", ""]
    assert {row["organ"] for row in panel._compare._rows} == {"liver", "spleen", "kidney_left"}


def test_a_label_map_node_needs_its_table_and_is_compared_with_it(panel: Any, wait_until: Wait, answers: Any) -> None:
    from AtlasSegmentLib.scene import node_from_volume

    node = node_from_volume(true_labels(), "labels", "vtkMRMLLabelMapVolumeNode")
    panel.ui.referenceSelector.setCurrentNode(node)
    panel.ui.tableComboBox.currentIndex = 0
    panel.ui.compareButton.click()
    assert "label table" in answers.shown[-1][1]
    panel.ui.tableComboBox.currentIndex = panel.ui.tableComboBox.findData(TABLE)
    compare(panel, wait_until)
    assert {row["organ"] for row in panel._compare._rows} == {"liver", "spleen", "kidney_left"}


def test_missing_organs_are_said(panel: Any, wait_until: Wait) -> None:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    labels = true_labels()
    table = LabelTable.from_labels("own", {1: "liver", 2: "pancreas"})
    array = np.where(labels.array == 5, 1, 0).astype(np.uint8)
    array[30:34, 5:9, 20:24] = 2
    panel.ui.referenceSelector.setCurrentNode(segmentation_from_labels(LabelVolume(array, labels.affine, "part", None, table), "part"))
    compare(panel, wait_until)
    table = panel.ui.compareTable
    assert column(table, 0) == ["liver", "kidney left", "pancreas", "spleen"]
    tips = [table.item(row, 0).toolTip() for row in range(table.rowCount)]
    assert tips[2] == "pancreas: only in the reference"
    assert tips[3] == "spleen: not in the reference"
    assert "not in the reference: kidney_left, spleen; only in the reference: 1" in panel.ui.compareStatusLabel.text


@pytest.mark.parametrize("agree", [True, False])
def test_a_reference_on_another_grid_is_resampled_when_the_user_agrees(
    panel: Any, tmp_path: Path, wait_until: Wait, answers: Any, agree: bool
) -> None:
    labels = true_labels()
    path = tmp_path / "cut.nii.gz"
    write_nifti(path, Volume(np.asfortranarray(labels.array[:-3]), labels.affine))
    choose_file(panel, path)
    answers.yes() if agree else answers.no()
    panel.ui.compareButton.click()
    wait_until(lambda: not panel._compare.job.running)
    wait_until(lambda: not panel._compare.job.running)
    assert "Bring the reference onto" in answers.shown[-1][1]
    assert bool(panel._compare._rows) == agree
    assert ("resampled" in panel.ui.compareStatusLabel.text) == agree
    assert ("grids differ" in panel.ui.compareStatusLabel.text) != agree


def test_no_common_organ_gives_one_message_and_the_panel_stays_usable(panel: Any, wait_until: Wait, answers: Any) -> None:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    labels = true_labels()
    table = LabelTable.from_labels("own", {5: "heart"})
    other = LabelVolume(np.where(labels.array == 5, 5, 0).astype(np.uint8), labels.affine, "heart", None, table)
    panel.ui.referenceSelector.setCurrentNode(segmentation_from_labels(other, "heart"))
    panel.ui.compareButton.click()
    wait_until(lambda: not panel._compare.job.running)
    assert len(answers.shown) == 1
    assert "share no organ" in answers.shown[0][1]
    panel.ui.referenceSelector.setCurrentNode(segmentation_from_labels(true_labels(), "truth"))
    compare(panel, wait_until)
    assert panel._compare._rows


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda _panel: None, "Choose a reference"),
        (lambda panel: choose_file(panel, Path("/gone.nii.gz")), "no such file"),
        (lambda panel: panel.ui.referenceSelector.setCurrentNode(panel._parameterNode.segmentation), "itself"),
        (lambda panel: panel.ui.segmentationSelector.setCurrentNode(None), "Choose a segmentation"),
    ],
)
def test_compare_says_what_is_missing(panel: Any, prepare: Any, reason: str) -> None:
    prepare(panel)
    assert not panel.ui.compareButton.enabled
    assert reason in panel.ui.compareReasonLabel.text
    assert panel.ui.compareButton.toolTip == panel.ui.compareReasonLabel.text


def test_a_table_that_cannot_be_saved_is_said(panel: Any, tmp_path: Path, wait_until: Wait, answers: Any) -> None:
    choose_file(panel, write_truth(tmp_path / "truth.nii.gz"))
    compare(panel, wait_until)
    (tmp_path / "file").write_text("no folder")
    answers.save(tmp_path / "file" / "scores.csv")
    panel.ui.exportButton.click()
    assert "cannot be written" in answers.shown[-1][1]


def test_the_comparison_comes_back_with_the_scene(panel: Any, tmp_path: Path, wait_until: Wait) -> None:
    import slicer

    choose_file(panel, write_truth(tmp_path / "truth.nii.gz"))
    compare(panel, wait_until)
    before = panel._compare._rows
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    assert panel._compare._rows == []
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    wait_until(lambda: not panel._case.job.running)
    for row, same in zip(panel._compare._rows, before, strict=True):
        assert row == pytest.approx(same, nan_ok=True) or row["organ"] == same["organ"]
    assert panel._parameterNode.referenceTable == TABLE
    assert panel.ui.referenceFileEdit.currentPath == str(tmp_path / "truth.nii.gz")
