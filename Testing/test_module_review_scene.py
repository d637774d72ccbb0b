"""The review panel and the scene: saved, cleared, loaded, closed; and what the module leaves behind, which is nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasReviewLib.worklist import Worklist
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None]) -> Desk:
    return Desk(open_module("AtlasReview"), wait_until)


def test_a_saved_scene_brings_back_dataset_task_edits_and_filter(desk: Desk, dataset: Path, tmp_path: Path) -> None:
    import slicer

    desk.open(dataset)
    desk.take_next()
    desk.stroke()
    desk.ui.searchEdit.setText("first")
    desk.ui.keepOutCheckBox.setChecked(False)
    mask = desk.mask()
    assert slicer.util.saveScene(str(tmp_path / "work.mrb"))
    slicer.mrmlScene.Clear()
    assert desk.name == ""
    desk.panel.recovery.clear()
    slicer.util.loadScene(str(tmp_path / "work.mrb"))
    desk.wait(lambda: desk.name == "first liver taken" and desk.panel.task.opening is None)
    assert np.array_equal(desk.mask(), mask)
    assert desk.ui.searchEdit.text == "first"
    assert not desk.ui.keepOutCheckBox.checked
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert [node.GetName() for node in segmentations] == ["first liver"]
    desk.click(desk.ui.saveButton)
    assert desk.name == "first liver revised"


def test_a_scene_whose_dataset_is_gone_loads_and_says_so_once(desk: Desk, dataset: Path, tmp_path: Path, answers: Any) -> None:
    import slicer

    desk.open(dataset)
    desk.take_next()
    assert slicer.util.saveScene(str(tmp_path / "work.mrb"))
    slicer.mrmlScene.Clear()
    desk.ui.folderPath.setCurrentPath("")
    desk.panel.closeDataset()
    desk.panel.dataset.close()
    dataset.rename(tmp_path / "elsewhere")
    slicer.util.loadScene(str(tmp_path / "work.mrb"))
    desk.ready()
    assert desk.name == ""
    assert [str(dataset) in text for _kind, text in answers.shown] == [True]


def test_closing_the_scene_again_and_again_with_work_open_is_fine(desk: Desk, dataset: Path) -> None:
    import slicer

    desk.open(dataset)
    for _ in range(3):
        desk.take_next()
        desk.stroke()
        slicer.mrmlScene.Clear()
        assert desk.name == ""
        assert desk.rows
    desk.take_next()
    assert desk.ui.segmentEditor.mrmlSegmentEditorNode().GetSelectedSegmentID() == desk.panel.task.nodes.segment


def test_removing_the_nodes_by_hand_is_said_and_the_task_opens_again(desk: Desk, dataset: Path) -> None:
    import slicer

    desk.open(dataset)
    desk.take_next()
    slicer.mrmlScene.RemoveNode(desk.panel.task.nodes.segmentation)
    desk.panel.update()
    assert "removed from the scene" in desk.notice
    assert not desk.ui.saveButton.enabled
    desk.go_to("first", "liver")
    assert desk.ui.saveButton.enabled
    assert desk.voxels() > 0


def test_going_to_another_module_and_back_keeps_the_work(desk: Desk, dataset: Path) -> None:
    import slicer

    desk.open(dataset)
    desk.take_next()
    desk.stroke()
    mask = desk.mask()
    slicer.util.moduleSelector().selectModule("")
    slicer.util.selectModule("AtlasReview")
    assert desk.name == "first liver taken"
    assert np.array_equal(desk.mask(), mask)
    desk.stroke(radius=14.0)
    assert desk.voxels() > np.count_nonzero(mask)


def test_nothing_is_left_behind_when_tasks_are_opened_and_the_dataset_is_closed(desk: Desk, dataset: Path) -> None:
    from slicer_standin import leaks

    desk.open(dataset)
    desk.take_next()
    desk.panel.closeDataset()
    before = leaks.snapshot()
    for _ in range(3):
        desk.take_next()
        desk.stroke()
        desk.click(desk.ui.nextButton)
        desk.click(desk.ui.acceptButton)
    desk.panel.closeDataset()
    assert leaks.snapshot().grown(before) == {}


def test_nothing_is_left_behind_when_the_module_is_reloaded_and_left(
    open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path
) -> None:
    import slicer

    from slicer_standin import leaks

    def work() -> None:
        desk = Desk(slicer.modules.atlasreview.widgetRepresentation().self(), wait_until)
        desk.open(dataset)
        desk.take_next()
        desk.stroke()

    open_module("AtlasReview")
    work()
    slicer.util.reloadScriptedModule("AtlasReview")
    before = leaks.snapshot()
    for _ in range(2):
        work()
        slicer.util.reloadScriptedModule("AtlasReview")
    assert leaks.snapshot().grown(before) == {}
    slicer.util.moduleSelector().selectModule("")
    assert leaks.snapshot().shortcuts == 0


def test_leaving_the_module_takes_keys_and_view_observers_away(
    open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path
) -> None:
    import slicer

    from slicer_standin import leaks

    before = leaks.snapshot()
    desk = Desk(open_module("AtlasReview"), wait_until)
    assert leaks.snapshot().grown(before)["view_observers"] > 0
    desk.open(dataset)
    desk.take_next()
    slicer.util.moduleSelector().selectModule("")
    grown = leaks.snapshot().grown(before)
    assert "shortcuts" not in grown
    assert "view_observers" not in grown
    assert "processes" not in grown
    assert Worklist(dataset).task("first", "liver").reader == "Ada"


def test_threads_end_when_the_panel_does(desk: Desk, dataset: Path) -> None:
    import threading

    desk.open(dataset)
    desk.take_next()
    desk.widget.cleanup()
    desk.wait(lambda: not any(thread.name == "AtlasReview reader" for thread in threading.enumerate()))


def test_the_modules_own_test_passes_here_too(desk: Desk) -> None:
    import unittest

    import slicer

    module = sys.modules[type(desk.widget).__module__]
    slicer.mrmlScene.Clear()
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(module.AtlasReviewTest).run(result)
    assert result.testsRun == 2
    assert result.wasSuccessful(), result.errors + result.failures


def test_review_needs_nothing_that_slicer_does_not_ship(repository: Path) -> None:
    """The libraries of the panel, those that need no Qt, import where every package that Slicer lacks is missing."""
    lacking = ["nibabel", "pydantic", "typer", "rich", "isal", "cc3d", "psutil", "matplotlib", "torch", "onnxruntime", "monai", "dask"]
    names = ["tasks", "task_session", "read_ahead", "worklist_merge", "worklist_rebuild", "worklist_view", "autosave", "review_case"]
    folders = [str(repository / name) for name in ("AtlasSegment", "AtlasQuality", "AtlasReview")]
    lines = ["import sys", f"sys.path[:0] = {folders}", f"sys.modules.update(dict.fromkeys({lacking}))"]
    program = "\n".join([*lines, *(f"import AtlasReviewLib.{name}" for name in names)])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
