"""Predicted quality in the panel of Atlas Review: what is known of the task's mask, and what an edit made of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasQualityLib.quality_case import quality_case
from AtlasQualityLib.quality_model import open_quality_model
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.child_process import ChildProcess
from AtlasSegmentLib.files import read_json
from quality_random_model import random_model
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")
Wait = Callable[..., None]


@pytest.fixture
def model() -> Iterator[Path]:
    import slicer

    from AtlasQualityLib.panel_quality_model import COLORS_KEY, MODEL_KEY

    folder = random_model()
    settings = slicer.app.userSettings()
    settings.setValue(MODEL_KEY, str(folder))
    yield folder
    for key in (MODEL_KEY, COLORS_KEY):
        settings.remove(key)


class WarmChild(ChildProcess):
    """A child process that outlives the panels of several tests, as it outlives the tasks of a reader."""

    def kill(self) -> None:
        """Take in what is left; a child that is at work is killed."""
        self.events()
        if self.busy:
            super().kill()


@pytest.fixture(scope="module")
def warm_child() -> Iterator[WarmChild]:
    child = WarmChild()
    yield child
    ChildProcess.kill(child)


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch, warm_child: WarmChild) -> None:
    from AtlasReviewLib import panel_quality

    monkeypatch.setattr(panel_quality, "ChildProcess", lambda _python: warm_child)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Wait, dataset: Path, warm: None) -> Desk:  # noqa: ARG001
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset)
    return desk


@pytest.fixture
def scored(model: Path, desk: Desk) -> Desk:
    """The desk with a task whose mask was scored as it was opened."""
    assert model
    desk.take_next()
    desk.wait(lambda: desk.panel.quality.before is not None)
    return desk


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "worklist" not in path.name}


def text(desk: Desk) -> str:
    return str(desk.ui.qualityLabel.text)


def test_an_edit_is_scored_anew_and_nothing_is_written_into_the_case(
    scored: Desk, dataset: Path, screenshot: Callable[[str], Path]
) -> None:
    quality = scored.panel.quality
    files, before = snapshot(dataset / "first"), quality.before
    assert text(scored) == f"Predicted Dice {before.text}"
    scored.stroke(radius=14.0)
    scored.wait(lambda: quality.after is not None)
    assert text(scored) == f"Predicted Dice {before.dice:.2f} \u2192 {quality.after.text}"
    assert quality.after != before
    assert snapshot(dataset / "first") == files
    scored.ui.worstSliceButton.click()
    screenshot("review_quality")
    scored.ui.segmentEditor.undo()
    changed = quality.after
    scored.wait(lambda: quality.after is not changed)
    assert quality.after.dice == pytest.approx(before.dice, abs=1e-6)


def test_the_scores_are_those_of_the_command(scored: Desk, dataset: Path) -> None:
    case = CaseFolder(dataset / "first")
    quality_case(case, open_quality_model(random_model()))
    stored = read_json(case.average.predicted_dice)["details"]["liver"]
    assert scored.panel.quality.before.dice == pytest.approx(stored["dice"], abs=1e-5)
    assert [one.score for one in scored.panel.quality.before.slices] == pytest.approx([one["score"] for one in stored["slices"]], abs=1e-5)


def test_a_mask_that_is_taken_out_of_the_editor_scores_as_one_that_is_left_as_slicer_keeps_it(
    scored: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AtlasReviewLib import panel_quality

    quality = scored.panel.quality
    layer = quality._layer()
    assert layer.array.nbytes > 0
    assert layer.organs == {scored.panel.task.nodes.segmentation.GetSegmentation().GetSegment("liver").GetLabelValue(): "liver"}
    scored.stroke(radius=14.0)
    scored.wait(lambda: quality.after is not None)
    fast = quality.after
    monkeypatch.setattr(panel_quality, "_LARGEST_BYTES", 0)
    assert list(quality._layer().organs) == [1]
    quality._scored = None
    scored.wait(lambda: quality.after is not fast)
    assert quality.after == fast


def test_a_stored_prediction_is_shown_at_once_and_without_a_model_says_once_why_edits_are_not_scored(
    desk: Desk, dataset: Path, tmp_path: Path, wait_until: Wait
) -> None:
    import slicer

    from AtlasQualityLib.panel_quality_model import MODEL_KEY

    quality_case(CaseFolder(dataset / "first"), open_quality_model(random_model()))
    stored = read_json(dataset / "first" / "average" / "predicted_dice.json")["details"]["liver"]
    slicer.app.userSettings().setValue(MODEL_KEY, str(tmp_path / "gone"))
    try:
        desk.go_to("first", "liver")
        shown = f"Predicted Dice {stored['dice']:.2f} \u00b1 {stored['spread']:.2f}"
        assert text(desk) == shown
        wait_until(lambda: "not scored" in text(desk))
        assert text(desk).startswith(shown)
        assert desk.panel.quality._folder is None
        desk.go_to("first", "spleen")
        desk.stroke()
        end = time.monotonic() + 1.0
        wait_until(lambda: time.monotonic() > end)
        assert "not scored" not in text(desk)
    finally:
        slicer.app.userSettings().remove(MODEL_KEY)


def test_a_model_that_cannot_be_run_is_asked_once(desk: Desk, tmp_path: Path, wait_until: Wait) -> None:
    import slicer

    from AtlasQualityLib.panel_quality_model import MODEL_KEY

    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "quality.json").write_text((random_model() / "quality.json").read_text())
    (broken / "model.onnx").write_bytes(b"no network")
    slicer.app.userSettings().setValue(MODEL_KEY, str(broken))
    try:
        desk.take_next()
        wait_until(lambda: "not scored" in text(desk))
        sent = desk.panel.quality._child._calls
        desk.stroke()
        end = time.monotonic() + 0.6
        wait_until(lambda: time.monotonic() > end)
        assert desk.panel.quality._child._calls == sent
        slicer.app.userSettings().setValue(MODEL_KEY, str(random_model()))
        desk.stroke(radius=5.0)
        wait_until(lambda: desk.panel.quality.before is not None)
    finally:
        slicer.app.userSettings().remove(MODEL_KEY)


def test_an_answer_for_a_task_that_was_left_is_not_shown(scored: Desk) -> None:
    quality = scored.panel.quality
    scored.stroke(radius=14.0)
    scored.wait(lambda: quality._sent is not None)
    os.kill(quality._child.pid, signal.SIGSTOP)
    scored.go_to("zlast", "spleen")
    os.kill(quality._child.pid, signal.SIGCONT)

    def scored_anew() -> bool:
        assert quality.after is None
        assert quality.before is not None or text(scored) == ""
        return quality.before is not None

    scored.wait(scored_anew)
    assert scored.name.startswith("zlast spleen")
    assert not scored.ui.profileFrame.isHidden()
    assert scored.ui.profileYellowLabel.isHidden()
    assert scored.ui.profileNoteLabel.text == "Score of each slice of the mask"


def test_a_child_that_is_busy_with_a_task_that_was_left_is_not_waited_for_long(scored: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from AtlasReviewLib import panel_quality

    quality = scored.panel.quality
    old = quality._child.pid
    os.kill(old, signal.SIGSTOP)  # before it is asked: it answers within milliseconds
    scored.stroke(radius=14.0)
    scored.wait(lambda: quality._sent is not None)
    monkeypatch.setattr(panel_quality, "OTHER_TASK_SECONDS", 0.1)
    scored.go_to("second", "spleen")
    scored.wait(lambda: quality.before is not None)
    assert quality._child.pid != old
    assert "not scored" not in text(scored)


def test_the_strip_of_the_axial_view_has_colors_below_its_bars(scored: Desk) -> None:
    import slicer

    from AtlasQualityLib.panel_strip_picture import HEIGHT, SCORES

    red, yellow, green = scored.panel.profile.strips
    assert red.label.pixmap.height() == HEIGHT + SCORES
    assert yellow.label.pixmap.height() == green.label.pixmap.height() == HEIGHT
    assert len(red.marks.bands) == len(scored.panel.quality.before.slices)
    one = red.marks.bands[3].slice
    red.node.SetSliceOffset(one.position_mm)
    assert f"score {one.score:.2f}" in scored.ui.profileRedText.text
    assert "cm\u00b2" in scored.ui.profileRedText.text
    red.node.SetOrientation("Coronal")
    assert not red.marks.bands
    red.node.SetOrientation("Axial")
    assert red.marks.bands
    slicer.mrmlScene.Clear()
    assert red.profile is None


def test_each_press_of_j_goes_to_the_next_worst_slice(scored: Desk, press: Callable[..., str]) -> None:
    import slicer

    order = scored.panel.quality.before.worst_first()
    for number in (0, 1, 2):
        assert press("J") == "shortcut"
        node = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode")
        assert node.GetSliceOffset() == pytest.approx(order[number].position_mm, abs=0.01)
        assert f"Worst {number + 1} of {len(order)}" in scored.ui.worstSliceLabel.text
    press("Shift+J")
    assert "Worst 2" in scored.ui.worstSliceLabel.text
    place = np.array(slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode").GetCrosshairRAS())
    grid = scored.panel.task.session.loaded.grid
    index = np.rint(np.linalg.inv(grid.affine) @ [*place, 1])[:3].astype(int)
    assert bool(scored.mask()[tuple(index)]) == order[1].has_mask


def test_an_emptied_mask_says_so_and_has_no_slices(scored: Desk) -> None:
    import slicer

    nodes = scored.panel.task.nodes
    slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(nodes.segmentation, nodes.segment)
    scored.wait(lambda: scored.panel.quality.after is not None)
    assert text(scored).endswith("the mask is empty")
    assert not scored.ui.worstSliceButton.enabled
    assert not scored.panel.profile.strips[0].marks.bands


def test_closing_the_panel_ends_the_child_and_leaves_no_file(
    model: Path, open_module: Callable[[str], Any], wait_until: Wait, dataset: Path
) -> None:
    assert model
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset)
    desk.take_next()
    quality = desk.panel.quality
    wait_until(lambda: quality._sent is not None)
    folder, child = quality._folder, quality._child
    assert folder is not None
    assert folder.is_dir()
    desk.widget.cleanup()
    assert child.pid is None
    assert not folder.exists()


@pytest.mark.shipped_quality_model
def test_the_model_that_comes_along_scores_edits_without_being_chosen(desk: Desk) -> None:
    desk.take_next()
    desk.wait(lambda: desk.panel.quality.before is not None)
    assert "Predicted Dice" in text(desk)
    desk.stroke()
    desk.wait(lambda: desk.panel.quality.after is not None)
    assert "\u2192" in text(desk)
