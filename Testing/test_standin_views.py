"""The views of the stand-in show what Slicer would show, pixel for pixel where that can be said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
RED = (255, 0, 0)


@pytest.fixture
def layout(slicer_app: Any) -> Any:
    return slicer_app.layoutManager()


@pytest.fixture
def ct(slicer_app: Any) -> Any:  # noqa: ARG001
    """Return a black cube of 60 mm around the origin with a white block at right (R > 10), anterior (A > 10), superior (S > 10)."""
    import slicer

    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = -29
    array = np.zeros((30, 30, 30), np.int16)
    array[20:, 20:, 20:] = 100
    node = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="CT")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevelMinMax(0, 100)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def shown(layout: Any, name: str = "Red") -> np.ndarray:
    from slicer_standin.render_view import pixels

    return pixels(layout.sliceWidget(name).sliceView().renderWindow())


def color_at(layout: Any, ras: tuple[float, float, float], name: str = "Red") -> tuple[int, ...]:
    """Return the color that a view shows at a place in RAS mm."""
    image = shown(layout, name)
    x, y, _ = layout.sliceWidget(name).sliceView().convertRASToXYZ(list(ras))
    return tuple(int(value) for value in image[image.shape[0] - 1 - round(y), round(x)])


def jump(place: tuple[float, float, float]) -> None:
    import slicer

    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *place, slicer.vtkMRMLSliceNode.OffsetJumpSlice)


def test_a_place_is_shown_where_the_patient_has_it(layout: Any, ct: Any) -> None:  # noqa: ARG001
    jump((20, 20, 20))
    for name in ("Red", "Green", "Yellow"):
        assert color_at(layout, (20, 20, 20), name) == WHITE, name
    assert color_at(layout, (-20, 20, 20)) == BLACK
    assert color_at(layout, (20, -20, 20)) == BLACK
    jump((20, 20, -20))
    assert color_at(layout, (20, 20, -20)) == BLACK


def test_the_patients_right_is_at_the_left_of_the_axial_view(layout: Any, ct: Any) -> None:  # noqa: ARG001
    jump((20, 20, 20))
    image = shown(layout)
    rows, columns = np.nonzero(image[..., 0] > 128)
    assert columns.max() < image.shape[1] / 2
    assert rows.max() < image.shape[0] / 2


def test_window_and_level_change_the_gray(layout: Any, ct: Any) -> None:
    jump((20, 20, 20))
    ct.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    assert abs(color_at(layout, (20, 20, 20))[0] - 127) <= 1


@pytest.fixture
def overlay(ct: Any) -> Any:
    """Return a map over the CT, 0.5 where S > 10 and 0 elsewhere, in pure red above its threshold of 0.25."""
    import slicer
    import vtk

    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "Reds")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(2)
    colors.SetColor(0, "low", 1, 0, 0, 1)
    colors.SetColor(1, "high", 1, 0, 0, 1)
    colors.GetLookupTable().SetTableRange(0, 1)
    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    array = np.zeros((30, 30, 30), np.float32)
    array[20:] = 0.5
    node = slicer.util.addVolumeFromArray(array, ijkToRAS=slicer.util.arrayFromVTKMatrix(matrix), name="Attention")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetInterpolate(False)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 1)
    display.SetThreshold(0.25, 1)
    display.ApplyThresholdOn()
    slicer.util.setSliceViewerLayers(background=ct, foreground=node, foregroundOpacity=1)
    return node


def test_the_overlay_covers_the_image_only_above_its_threshold(layout: Any, overlay: Any) -> None:
    jump((0, 0, 20))
    assert color_at(layout, (-20, -20, 20)) == RED
    jump((0, 0, -20))
    assert color_at(layout, (-20, -20, -20)) == BLACK
    overlay.GetDisplayNode().SetThreshold(0.6, 1)
    jump((0, 0, 20))
    assert color_at(layout, (-20, -20, 20)) == BLACK


@pytest.mark.usefixtures("overlay")
def test_the_opacity_of_the_overlay_mixes_it_with_the_image(layout: Any) -> None:
    import slicer

    slicer.util.setSliceViewerLayers(foregroundOpacity=0.5)
    jump((0, 0, 20))
    red, green, blue = color_at(layout, (20, 20, 20))
    assert red == 255
    assert abs(green - 127) <= 2
    assert green == blue
    slicer.util.setSliceViewerLayers(foreground=None)
    assert color_at(layout, (20, 20, 20)) == WHITE


@pytest.fixture
def segmentation(ct: Any) -> Any:
    """Return a segmentation with one green segment where R > 0."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    node.GetSegmentation().AddEmptySegment("liver", "liver", [0, 1, 0])
    mask = np.zeros((30, 30, 30), np.uint8)
    mask[10:20, 10:20, 15:25] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "liver", ct)
    return node


INSIDE = (10.0, 0.0, 0.0)


def is_green(color: tuple[int, ...]) -> bool:
    return color[1] > 60 and color[0] == color[2] == 0


def test_a_segment_is_filled_outlined_or_hidden(layout: Any, segmentation: Any) -> None:
    jump(INSIDE)
    display = segmentation.GetDisplayNode()
    assert is_green(color_at(layout, INSIDE))
    filled = int((shown(layout)[..., 1] > 60).sum())
    display.SetVisibility2DFill(False)
    assert color_at(layout, INSIDE) == BLACK
    outlined = int((shown(layout)[..., 1] > 60).sum())
    assert 0 < outlined < filled / 4
    display.SetVisibility(False)
    assert not (shown(layout)[..., 1] > 0).any()


def test_a_changed_segment_is_drawn_anew(layout: Any, segmentation: Any, ct: Any) -> None:
    import slicer

    jump(INSIDE)
    assert is_green(color_at(layout, INSIDE))
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.zeros((30, 30, 30), np.uint8), segmentation, "liver", ct)
    assert not is_green(color_at(layout, INSIDE))


def test_the_surface_of_a_segment_is_drawn_in_3d(layout: Any, segmentation: Any) -> None:
    import slicer

    from slicer_standin.render_view import pixels

    view = layout.threeDWidget(0).threeDView()
    view.mrmlViewNode().SetBoxVisible(False)
    view.mrmlViewNode().SetAxisLabelsVisible(False)
    segmentation.CreateClosedSurfaceRepresentation()
    slicer.util.resetThreeDViews()
    image = pixels(view.renderWindow()).astype(int)
    green = (image[..., 1] > 100) & (image[..., 0] < 80) & (image[..., 2] < 80)
    assert green.mean() > 0.05
    center = np.argwhere(green).mean(axis=0) / image.shape[:2]
    assert np.abs(center - 0.5).max() < 0.1
    segmentation.GetDisplayNode().SetVisibility3D(False)
    after = pixels(view.renderWindow()).astype(int)
    assert not ((after[..., 1] > 100) & (after[..., 0] < 80) & (after[..., 2] < 80)).any()


def test_the_camera_looks_at_what_is_shown(layout: Any, segmentation: Any) -> None:
    segmentation.CreateClosedSurfaceRepresentation()
    view = layout.threeDWidget(0).threeDView()
    view.resetFocalPoint()
    assert np.abs(np.asarray(view.cameraNode().GetFocalPoint()) - [10, 0, 0]).max() < 2
    view.rotateToViewAxis(5)
    position, focal = (np.asarray(point) for point in (view.cameraNode().GetPosition(), view.cameraNode().GetFocalPoint()))
    direction = (position - focal) / np.linalg.norm(position - focal)
    np.testing.assert_allclose(direction, [0, 0, 1], atol=1e-6)


def test_points_are_drawn_in_the_slice_they_lie_in(layout: Any, ct: Any) -> None:  # noqa: ARG001
    import slicer

    jump((0, 0, -20))
    plain = shown(layout)
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Spots")
    points.CreateDefaultDisplayNodes()
    points.AddControlPoint([0, 0, -20], "here")
    assert (shown(layout) != plain).any()
    jump((0, 0, 20))
    points.GetDisplayNode().SetVisibility(False)
    hidden = shown(layout)
    points.GetDisplayNode().SetVisibility(True)
    np.testing.assert_array_equal(shown(layout), hidden)


def test_the_layout_decides_which_views_there_are(layout: Any) -> None:
    import slicer

    seen: list[int] = []
    layout.connect("layoutChanged(int)", seen.append)
    assert (layout.layout, layout.threeDViewCount, layout.plotViewCount) == (slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView, 1, 0)
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
    assert (layout.threeDViewCount, layout.plotViewCount) == (0, 1)
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    assert layout.tableViewCount == 1
    assert seen == [slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView, slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView]
    assert {"Red", "Green", "Yellow"} <= {*layout.sliceViewNames()}
    assert layout.sliceWidget("Pink") is None


def test_a_bar_chart_is_drawn_in_the_plot_view(layout: Any) -> None:
    import slicer

    from slicer_standin.render_view import pixels

    scene = slicer.mrmlScene
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Dice")
    slicer.util.updateTableFromArray(table, [np.array([0.5, 1.0])], ["dice"])
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "dice")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetYColumnName("dice")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
    series.SetColor(1, 0, 0)
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Dice")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    view = layout.plotWidget(0).plotView()
    assert view.mrmlPlotViewNode().GetPlotChartNode() is chart
    image = pixels(view.renderWindow())
    red = (image[..., 0] > 200) & (image[..., 1] < 60)
    heights = [int(red[:, half].any(axis=1).sum()) for half in (slice(0, 200), slice(200, 400))]
    assert heights[1] > 1.5 * heights[0] > 0


@pytest.mark.usefixtures("ct")
def test_a_screenshot_shows_the_views_in_the_height_of_the_panel(layout: Any, screenshot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from PySide6.QtGui import QImage

    monkeypatch.delenv("ATLAS_SCREENSHOTS", raising=False)
    image = QImage(str(screenshot("one")))
    side = (image.height() - 4) // 2
    assert side >= 400
    assert image.width() == 520 + 2 * (side + 4)
    assert shown(layout).shape == (400, 400, 3)  # the views themselves are as before
