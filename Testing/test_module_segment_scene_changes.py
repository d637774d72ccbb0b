"""Atlas Segment while the scene, the module or its nodes go away under it; and state that is kept with the scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas_phantoms import ct, roi
from segment_panel import SegmentPanelUser, open_panel

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
Wait = Callable[..., None]


@pytest.fixture
def user(open_module: Any, wait_until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentPanelUser:
    """Return a user with the panel open and an empty list of models."""
    return open_panel(open_module, wait_until, tmp_path, monkeypatch)


def child_pid(user: SegmentPanelUser) -> int:
    """Return the number of the running child."""
    return int(user.panel.job._child.pid)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    import psutil

    return bool(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def scratch_files() -> list[Path]:
    """Return what the panel has left in its temporary folder beside results."""
    return list(Path(slicer.app.temporaryPath).glob("AtlasAnnotator-*/ct.nii"))


def test_cancel_stops_everything_and_the_next_run_works(user: SegmentPanelUser) -> None:
    user.load_ct()
    user.add_slow_model()
    user.start_and_wait_for_progress()
    pid = child_pid(user)
    assert is_alive(pid)
    user.ui.applyButton.click()
    assert not is_alive(pid)
    assert user.ui.applyButton.text == "Apply"
    assert user.ui.statusLabel.text == "Cancelled"
    assert (user.segmentations(), scratch_files()) == ([], [])
    user.take_fast_models_instead(2)
    assert len(user.run()) == 3


def test_the_ct_is_deleted_while_it_is_segmented(user: SegmentPanelUser) -> None:
    node = user.load_ct()
    user.add_models(1)
    user.apply()
    slicer.mrmlScene.RemoveNode(node)
    assert user.panel.job.running
    user.wait()
    assert [one.GetName() for one in user.segmentations()] == ["Abdomen phantom-1"]
    assert "Load a CT first" in user.reason()


def test_the_scene_is_closed_while_a_run_is_under_way(user: SegmentPanelUser, wait_until: Wait) -> None:
    user.load_ct()
    user.add_slow_model()
    user.start_and_wait_for_progress()
    pid = child_pid(user)
    slicer.mrmlScene.Clear(False)
    assert not user.panel.job.running
    assert not is_alive(pid)
    wait_until(lambda: True)
    assert (user.segmentations(), scratch_files()) == ([], [])
    assert "Load a CT first" in user.reason()
    user.load_ct()
    user.add_models(1)
    assert len(user.run()) == 1


def test_the_scene_is_closed_between_two_results(user: SegmentPanelUser, wait_until: Wait) -> None:
    user.load_ct()
    user.add_models(2)
    user.apply()
    wait_until(lambda: user.panel.run.importing, 60)
    slicer.mrmlScene.Clear(False)
    for _turn in range(20):
        wait_until(lambda: True)
    assert not user.panel.run.importing
    assert user.segmentations() == []


def test_the_module_is_reloaded_while_a_run_is_under_way(user: SegmentPanelUser) -> None:
    node = user.load_ct()
    user.add_slow_model()
    user.start_and_wait_for_progress()
    pid = child_pid(user)
    user.widget.onReload()
    assert not is_alive(pid)
    assert scratch_files() == []
    user.widget = slicer.modules.AtlasSegmentWidget
    assert user.parameters.ct is node
    user.take_fast_models_instead(2)
    assert len(user.run()) == 3


def test_the_module_is_left_while_a_run_is_under_way_and_the_result_is_shown_on_return(user: SegmentPanelUser) -> None:
    user.load_ct()
    user.add_models(2)
    user.apply()
    slicer.util.moduleSelector().selectModule("")
    user.wait()
    assert len(user.segmentations()) == 3
    slicer.util.selectModule("AtlasSegment")
    assert user.ui.resultSelector.currentNode() is user.segmentations()[0]


def test_results_are_taken_away_by_the_user(user: SegmentPanelUser) -> None:
    user.load_ct()
    user.add_models(1)
    slicer.mrmlScene.RemoveNode(user.run()[0])
    assert not user.ui.showHideButton.enabled
    assert not user.ui.show3DButton.enabled
    assert [node.GetName() for node in user.run()] == ["Abdomen phantom-1"]


def test_choices_come_back_with_the_scene(user: SegmentPanelUser, tmp_path: Path) -> None:
    from AtlasSegmentLib.scene_roi import node_from_roi

    user.load_ct()
    paths = user.add_models(2)
    user.check("phantom-1", False)
    user.parameters.roi = node_from_roi(roi(), "box")
    user.ui.deviceCombo.setCurrentIndex(2)
    user.ui.resultsFolderEdit.setText(str(tmp_path / "data"))
    user.ui.opacitySlider.value = 0.35
    user.run()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert (user.parameters.ct, list(user.parameters.models), user.parameters.device) == (None, [], "auto")
    assert user.ui.resultsFolderEdit.text == ""
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert user.ui.ctSelector.currentNode().GetName() == "Abdomen"
    assert user.ui.roiSelector.currentNode().GetName() == "box"
    assert user.panel.models.checked == [str(paths[1].resolve())]
    assert (user.ui.deviceCombo.currentText, user.ui.resultsFolderEdit.text) == ("cpu", str(tmp_path / "data"))
    assert user.ui.opacitySlider.value == pytest.approx(0.35)
    assert user.ui.resultSelector.currentNode().GetName() == "Abdomen phantom-2"
    assert user.reason() == ""
    names = [node.GetName() for node in user.run()]
    assert names == ["Abdomen phantom-2"], "the loaded result was not edited, so it is replaced"


def test_a_scene_from_elsewhere_names_models_that_are_not_here(user: SegmentPanelUser) -> None:
    user.load_ct()
    user.parameters.models = ["/of/another/computer/liver-model"]
    assert user.rows() == ["liver-model"]
    assert "no longer there" in user.reason()
    user.check("liver-model", False)
    assert "Check at least one" in user.reason()


def test_nothing_is_left_behind_by_a_run_a_reload_and_leaving(user: SegmentPanelUser, wait_until: Wait) -> None:
    from slicer_standin import leaks

    user.load_ct()
    user.add_models(2)
    user.run()
    before = leaks.snapshot()
    for _round in range(2):
        user.run()
        slicer.util.moduleSelector().selectModule("")
        slicer.util.selectModule("AtlasSegment")
        user.widget.onReload()
        user.widget = slicer.modules.AtlasSegmentWidget
        user.run()
    grown = leaks.snapshot().grown(before)
    assert grown == {}
    wait_until(lambda: True)


def test_a_closed_module_leaves_no_process_no_key_and_no_observer(user: SegmentPanelUser, slicer_app: Any) -> None:  # noqa: ARG001
    from slicer_standin import leaks, session

    processes = leaks.snapshot().processes  # another test's may still be there
    user.load_ct()
    user.add_models(1)
    user.run()
    pid = child_pid(user)
    assert is_alive(pid), "it stays warm for the next run"
    user.widget = None
    session.close_modules()
    assert not is_alive(pid)
    left = leaks.snapshot()
    panels = {name: count for name, count in left.panels.items() if name != "JobState"}  # an enumeration
    assert (left.shortcuts, left.processes, panels) == (0, processes, {})


def test_switching_modules_without_a_run_changes_nothing(user: SegmentPanelUser) -> None:
    user.load_ct(ct())
    user.add_models(1)
    for _round in range(3):
        slicer.util.moduleSelector().selectModule("")
        slicer.util.selectModule("AtlasSegment")
    assert user.reason() == ""
    assert user.rows() == ["phantom-1"]
