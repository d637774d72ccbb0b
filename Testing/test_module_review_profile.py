"""The slice profile of the review panel: strips that follow the views, lead them, and mark hot spots and corrected slices."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasQualityLib.slice_scores import SliceProfile
from AtlasReviewLib.slice_profile import AXIAL, read_weights, slice_profile
from AtlasSegmentLib.case_folder import CaseFolder
from review_data import make_dataset, make_review_case, scores
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path) -> Desk:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset)
    desk.take_next()
    return desk


def strip(desk: Desk, view: str = "Red") -> Any:
    return next(one for one in desk.panel.profile.strips if one.view == view)


def picture(desk: Desk, view: str = "Red") -> Any:
    """Return the pixels of a strip, uint8 (height, width, 3)."""
    import qt

    image = strip(desk, view).label.pixmap.toImage().convertToFormat(qt.QImage.Format_RGB888)
    pixels = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return pixels[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def line(desk: Desk, view: str = "Red") -> int:
    """Return the pixel column of the line that says where the view is."""
    from AtlasQualityLib.panel_strip import VIEWS

    columns = np.flatnonzero((picture(desk, view) == VIEWS[view]).all(axis=(0, 2)))
    assert len(columns) == 1
    return int(columns[0])


def press_at(label: Any, column: int, moved: bool = False) -> None:
    """Press the left button in a label, or drag it there."""
    import slicer
    from PySide6.QtCore import QEvent, QPointF, Qt
    from PySide6.QtGui import QMouseEvent

    kind = QEvent.MouseMove if moved else QEvent.MouseButtonPress
    point = QPointF(column, 5)
    button = Qt.NoButton if moved else Qt.LeftButton
    slicer.app.sendEvent(label, QMouseEvent(kind, point, label.mapToGlobal(point), button, Qt.LeftButton, Qt.NoModifier))


def test_the_numbers_are_those_of_the_stored_maps(desk: Desk, dataset: Path) -> None:
    weights = read_weights(CaseFolder(dataset / "first"), "liver")
    assert weights is not None
    expected = slice_profile(weights, AXIAL, desk.panel.task.session.loaded.hot_spots, desk.panel.task.session.saved, tails=0.01)
    shown: SliceProfile = strip(desk).profile
    assert np.array_equal(shown.values, expected.values)
    assert shown.hot == expected.hot
    assert shown.start == pytest.approx(expected.start)
    assert not desk.ui.profileFrame.isHidden()
    assert desk.ui.profileNoteLabel.text == "Attention of each slice"


def test_the_line_follows_each_view_and_the_text_says_how_much_its_slice_holds(desk: Desk) -> None:
    for view, axis in (("Red", 2), ("Yellow", 0), ("Green", 1)):
        one = strip(desk, view)
        assert np.allclose(np.abs(one.profile.direction), np.eye(3)[axis])
        best = int(one.profile.values.argmax())
        one.node.SetSliceOffset(one.profile.offset_of(best))
        after = line(desk, view)
        assert abs(after - (best + 0.5) / len(one.profile.values) * one.label.width) <= 1
        text = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}[view]
        field = getattr(desk.ui, f"profile{view}Text")
        assert field.text == f"{text}: {one.profile.values[best] / 100:.1f} cm\u00b2"
        one.node.SetSliceOffset(one.profile.offset_of(0))
        assert line(desk, view) < after


def test_a_view_beyond_the_profile_is_shown_at_its_end(desk: Desk) -> None:
    one = strip(desk)
    one.node.SetSliceOffset(1000.0)
    assert line(desk) == one.label.width - 1
    assert "0.0 cm\u00b2" in desk.ui.profileRedText.text


def test_a_click_and_a_drag_bring_the_view_to_the_slice_under_the_mouse(desk: Desk) -> None:
    one = strip(desk)
    for column, moved in ((one.label.width // 4, False), (3 * one.label.width // 4, True), (-20, True), (5000, True)):
        press_at(one.label, column, moved)
        index = one.profile.index_at(one.node.GetSliceOffset())
        assert index == min(max(int(column / one.label.width * len(one.profile.values)), 0), len(one.profile.values) - 1)
        assert one.node.GetSliceOffset() == pytest.approx(one.profile.offset_of(index))


def test_bars_are_high_where_attention_is_and_hot_spots_have_a_mark(desk: Desk) -> None:
    from AtlasQualityLib.panel_strip_picture import column_of

    one = strip(desk)
    one.node.SetSliceOffset(1000.0)
    pixels = picture(desk).astype(int)
    width = one.label.width
    colored = (np.ptp(pixels[6:26], axis=2) > 40).sum(axis=0)
    best, none = int(one.profile.values.argmax()), int(np.flatnonzero(one.profile.values == 0)[0])
    middle = {index: column_of(one.profile, one.profile.offset_of(index), width) for index in (best, none)}
    assert colored[middle[best]] >= 19
    assert colored[middle[none]] == 0
    for index in one.profile.hot:
        column = column_of(one.profile, one.profile.offset_of(index), width)
        assert (pixels[0, column] == (150, 0, 90)).all()


def green(desk: Desk, view: str) -> int:
    """Return how many pixels of the foot of a strip mark corrected slices."""
    return int((picture(desk, view)[27:] == (30, 150, 60)).all(axis=2).any(axis=0).sum())


def test_corrected_slices_are_marked_in_the_view_that_cuts_along_them_once_the_stroke_is_done(desk: Desk) -> None:
    import slicer

    from review_drawing import SLICES, correct

    for one in desk.panel.profile.strips:
        one.node.SetSliceOffset(1000.0)
    correct(desk, SLICES)
    desk.panel.profile.tick()
    assert green(desk, "Red") == 0
    desk.panel.profile.tick()
    assert green(desk, "Red") > 0
    assert (green(desk, "Yellow"), green(desk, "Green")) == (0, 0)
    grid = desk.panel.task.session.loaded.grid
    wanted = [(grid.affine @ [0, 0, index, 1])[2] for index in SLICES]
    assert strip(desk).marks.corrected == pytest.approx(wanted)
    for _ in SLICES:
        desk.ui.segmentEditor.undo()
    desk.panel.profile.tick()
    desk.panel.profile.tick()
    assert green(desk, "Red") == 0
    assert slicer.mrmlScene is not None


def test_a_turned_view_gets_the_profile_of_its_own_slices(desk: Desk) -> None:
    one = strip(desk)
    before = one.profile
    one.node.SetOrientation("Coronal")
    assert np.allclose(np.abs(one.profile.direction), (0, 1, 0))
    assert desk.ui.profileRedText.text.startswith("Coronal")
    one.node.SetOrientation("Axial")
    assert np.array_equal(one.profile.values, before.values)


def test_a_task_without_attention_shows_no_strip_and_the_next_one_its_own(desk: Desk) -> None:
    desk.go_to("zlast", "liver")
    assert desk.ui.profileFrame.isHidden()
    assert strip(desk).profile is None
    desk.go_to("second", "spleen")
    assert not desk.ui.profileFrame.isHidden()
    assert strip(desk).profile is not None


def test_the_picture_of_the_panel(desk: Desk, screenshot: Callable[[str], Path]) -> None:
    from review_drawing import SLICES, correct

    correct(desk, SLICES)
    for _ in range(2):
        desk.panel.profile.tick()
    assert screenshot("profile").stat().st_size > 10_000


def test_nothing_is_drawn_or_led_after_the_task_is_gone(desk: Desk) -> None:
    import slicer

    label, node = strip(desk).label, strip(desk).node
    slicer.mrmlScene.Clear()
    assert desk.ui.profileFrame.isHidden()
    press_at(label, 3)
    node.SetSliceOffset(7.0)
    assert strip(desk).profile is None


def test_an_oblique_case_is_summed_in_slabs_of_the_views(
    open_module: Callable[[str], Any], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    from atlas_phantoms import turn
    from AtlasSegmentLib.nifti import read_nifti, write_nifti
    from AtlasSegmentLib.volume import Volume

    case = make_review_case(tmp_path / "oblique" / "case", attention=scores(liver=4000.0))
    for path in (tmp_path / "oblique").rglob("*.nii.gz"):
        volume = read_nifti(path)
        write_nifti(path, Volume(volume.array, turn(20) @ volume.affine))
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(case.folder.parent)
    desk.take_next()
    one = strip(desk)
    weights = desk.panel.task.session.loaded.weights
    volume = weights.map.crop.sum() / weights.steps * weights.map.grid.voxel_volume_mm3
    assert one.profile.values.sum() * one.profile.step == pytest.approx(volume)
    best = one.profile.offset_of(int(one.profile.values.argmax()))
    assert abs(best - desk.panel.task.session.loaded.hot_spots[0].center[2]) < 40


def test_the_strip_is_drawn_while_the_reader_scrolls(desk: Desk) -> None:
    one = strip(desk)
    start = time.perf_counter()
    for step in range(100):
        one.node.SetSliceOffset(one.profile.offset_of(step % len(one.profile.values)))
    print(f"\none step of a view with its strip: {(time.perf_counter() - start) * 10:.2f} ms", end="")
    start = time.perf_counter()
    one.repaint()
    print(f"; bars drawn anew: {(time.perf_counter() - start) * 1000:.2f} ms")
    assert line(desk) >= 0
