"""Atlas Quality on the stand-in for Slicer: scenes saved, closed and loaded, nodes deleted, modules switched; nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from AtlasSegmentLib.case_folder import CaseFolder
from quality_panel import Wait, attended_case, column, foregrounds, open_case, predicted_case


@pytest.fixture
def attended(tmp_path: Path) -> CaseFolder:
    return attended_case(tmp_path)


@pytest.fixture
def opened(open_module: Any, attended: CaseFolder, wait_until: Wait) -> Any:
    panel = open_module("AtlasQuality")
    open_case(panel, attended, wait_until)
    return panel


def opacities() -> set[float]:
    from AtlasQualityLib.scene_overlay import composites

    return {composite.GetForegroundOpacity() for composite in composites()}


def test_another_module_gets_the_views_and_keys_back_and_the_overlay_returns(opened: Any, press: Any) -> None:
    import slicer

    slicer.util.selectModule("")
    assert (foregrounds(), opacities()) == ({None}, {0.0})
    assert opened._parameterNode.segmentation.GetDisplayNode().GetVisibility2DFill()
    assert not opened._shortcuts.installed
    press("N")
    assert opened.ui.spotsTable.currentRow() == -1
    slicer.util.selectModule("AtlasQuality")
    assert foregrounds() == {opened._parameterNode.overlay.GetID()}
    assert opened._shortcuts.installed


def test_the_scene_can_be_closed_while_the_overlay_is_shown(opened: Any, attended: CaseFolder, wait_until: Wait) -> None:
    import slicer

    slicer.mrmlScene.Clear()
    assert (foregrounds(), opacities()) == ({None}, {0.0})
    assert opened.ui.organsTable.rowCount == opened.ui.spotsTable.rowCount == 0
    assert not opened.ui.findErrorsButton.enabled
    assert not opened.ui.showOverlayButton.enabled
    open_case(opened, attended, wait_until)
    assert foregrounds() == {opened._parameterNode.overlay.GetID()}


def test_the_scene_can_be_closed_while_a_job_runs(open_module: Any, tmp_path: Path, wait_until: Wait) -> None:
    import slicer

    panel = open_module("AtlasQuality")
    open_case(panel, predicted_case(tmp_path), wait_until)
    panel.ui.findErrorsButton.click()
    slicer.mrmlScene.Clear()
    assert not panel._case.job.running
    assert panel._case.job._child.pid is None
    assert panel._parameterNode.segmentation is None


def test_a_saved_scene_comes_back_with_its_parameters_and_overlay(
    opened: Any, attended: CaseFolder, tmp_path: Path, wait_until: Wait
) -> None:
    import slicer

    parameters = opened._parameterNode
    parameters.threshold, parameters.opacity, parameters.colors, parameters.organ = 35.0, 0.45, "rainbow", "liver"
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    wait_until(lambda: not opened._case.job.running)
    parameters = opened._parameterNode
    assert (parameters.threshold, parameters.opacity, parameters.colors, parameters.organ) == (35.0, 0.45, "rainbow", "liver")
    assert opened.ui.thresholdSlider.value == 35
    assert foregrounds() == {parameters.overlay.GetID()}
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2
    assert opened._case.result.case == str(attended.folder)
    assert opened.ui.organComboBox.currentText == "liver"
    opened.ui.showOverlayButton.click()
    assert foregrounds() == {None}


def test_a_saved_scene_comes_back_without_its_case_folder_and_the_overlay_can_be_hidden(
    opened: Any, attended: CaseFolder, tmp_path: Path, wait_until: Wait
) -> None:
    import shutil

    import slicer

    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    shutil.rmtree(attended.folder)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert foregrounds() == {opened._parameterNode.overlay.GetID()}
    assert "not there any more" in opened.ui.reasonLabel.text
    opened.ui.showOverlayButton.click()
    assert foregrounds() == {None}
    wait_until(lambda: all(column(opened.ui.organsTable, 1)))


def test_deleting_the_overlay_node_hides_it_and_the_button_makes_it_again(opened: Any) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(opened._parameterNode.overlay)
    assert not opened.ui.showOverlayButton.checked
    assert (foregrounds(), opacities()) == ({None}, {0.0})
    opened.ui.showOverlayButton.click()
    assert foregrounds() == {opened._parameterNode.overlay.GetID()}


def test_deleting_the_segmentation_takes_the_overlay_along(opened: Any) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(opened._parameterNode.segmentation)
    assert opened._parameterNode.overlay is None
    assert (foregrounds(), opacities()) == ({None}, {0.0})
    assert opened.ui.organsTable.rowCount == 0
    assert not opened.ui.findErrorsButton.enabled


def test_choosing_a_segmentation_of_no_case_takes_the_overlay_away(opened: Any, wait_until: Wait) -> None:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels
    from quality_panel import true_labels

    opened.ui.segmentationSelector.setCurrentNode(segmentation_from_labels(true_labels(), "mine"))
    wait_until(lambda: not opened._case.job.running)
    assert foregrounds() == {None}
    assert opened.ui.spotsTable.rowCount == 0


def test_a_panel_that_is_destroyed_leaves_no_observer_process_key_node_or_file(
    open_module: Any, attended: CaseFolder, wait_until: Wait, slicer_app: Any
) -> None:
    import slicer

    from slicer_standin import leaks, session

    def story() -> None:
        panel = open_module("AtlasQuality")
        open_case(panel, attended, wait_until)
        panel.ui.nextSpotButton.click()
        panel.ui.compareCollapsibleButton.collapsed = False
        session.close_modules()
        slicer.mrmlScene.Clear()

    def files() -> list[str]:
        return sorted(path.name for path in Path(slicer_app.temporaryPath).glob("AtlasQuality*"))

    story()
    before = leaks.snapshot()
    story()
    assert leaks.snapshot().grown(before) == {}
    assert files() == []


def test_the_module_can_be_reloaded_with_work_open(opened: Any, wait_until: Wait) -> None:
    import slicer

    from slicer_standin import session

    overlay = opened._parameterNode.overlay.GetID()
    session.close_modules()
    assert foregrounds() == {None}
    panel = session.open_module(Path(__file__).resolve().parent.parent / "AtlasQuality")
    wait_until(lambda: not panel._case.job.running)
    assert foregrounds() == {overlay}
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2
    assert panel.ui.spotsTable.rowCount >= 2


def test_the_self_test_of_the_module_passes(open_module: Any) -> None:
    import sys
    import unittest

    open_module("AtlasQuality")
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(sys.modules["AtlasQuality"].AtlasQualityTest)
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == 3
    assert result.errors == result.failures == []
