"""Scene functions of Atlas Quality on real MRML: segments as organs, masks handed to the child process, overlay and plot nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasQualityLib.mask_set import read_scene_masks
from AtlasSegmentLib.errors import GeometryError, InputError, LabelError
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.volume import Grid, LabelVolume, Volume

pytestmark = pytest.mark.usefixtures("slicer_app")

SHAPE = (16, 14, 12)
AFFINE = np.array([[-1.5, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1]])
GRID = Grid(SHAPE, AFFINE, "ct")
TABLE = load_table("abdomenatlas")


def block(x: int, y: int, z: int, size: int = 5) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[x : x + size, y : y + size, z : z + size] = 1
    return array


def labels(**organs: np.ndarray) -> LabelVolume:
    array = np.zeros(SHAPE, np.uint8, order="F")
    for organ, mask in organs.items():
        array[mask > 0] = TABLE.value_of(organ)
    return LabelVolume(array, AFFINE, "labels", None, TABLE)


def make_segmentation(**organs: np.ndarray) -> Any:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    return segmentation_from_labels(labels(**organs), "mine")


def under(node: Any, matrix: np.ndarray) -> Any:
    import slicer

    from AtlasSegmentLib.scene import vtk_matrix

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(vtk_matrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def bend(node: Any) -> None:
    import slicer
    import vtk

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    spline = vtk.vtkThinPlateSplineTransform()
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())


def test_segments_are_known_by_name_alias_and_terminology_and_else_by_their_own_name() -> None:
    from AtlasQualityLib.scene_masks import segment_organs

    node = make_segmentation(liver=block(1, 1, 1), spleen=block(8, 1, 1), kidney_left=block(1, 8, 1))
    inner = node.GetSegmentation()
    inner.GetSegment("kidney_left").SetName("Left Kidney")
    inner.GetSegment("liver").SetName("Segment_1")
    inner.AddEmptySegment("x", "My structure")
    found = {organ.segment_id: organ.structure for organ in segment_organs(node)}
    assert found == {"liver": "liver", "spleen": "spleen", "kidney_left": "kidney_left", "x": "my_structure"}


def test_a_terminology_entry_that_is_no_anatomy_names_nothing() -> None:
    from AtlasQualityLib.scene_masks import structure_by_terminology

    assert structure_by_terminology("") == ""
    assert structure_by_terminology("a~b") == ""
    assert structure_by_terminology("c~SCT^1^x~SCT^85756007^Tissue~^^~c~^^~^^") == ""
    assert structure_by_terminology("c~SCT^1^x~SCT^64033007^Kidney~SCT^7771000^Left~c~^^~^^") == "kidney_left"


def test_written_segments_are_the_same_masks_also_where_they_overlap(tmp_path: Path) -> None:
    from AtlasQualityLib.scene_masks import write_segmentation
    from AtlasSegmentLib.scene_segmentation import add_segment

    node = make_segmentation(liver=block(1, 1, 1), spleen=block(8, 1, 1))
    add_segment(node, "liver_tumor", Volume(block(3, 3, 3, 2), AFFINE))
    read = read_scene_masks(write_segmentation(node, tmp_path))
    assert np.array_equal(read.masks["liver"].dense(), block(1, 1, 1) > 0)
    assert np.array_equal(read.masks["spleen"].dense(), block(8, 1, 1) > 0)
    assert np.array_equal(read.masks["liver_tumor"].dense() > 0, block(3, 3, 3, 2) > 0)
    np.testing.assert_allclose(read.grid.affine, AFFINE)


def test_a_linear_transform_moves_the_written_grid_and_keeps_the_voxels(tmp_path: Path) -> None:
    from AtlasQualityLib.scene_masks import volume_ml, write_segmentation

    node = make_segmentation(liver=block(1, 1, 1))
    turn = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 2.0, 7], [0, 0, 0, 1]])
    before = volume_ml(node, "liver")
    under(node, turn)
    read = read_scene_masks(write_segmentation(node, tmp_path))
    np.testing.assert_allclose(read.grid.affine, turn @ AFFINE)
    assert np.array_equal(read.masks["liver"].dense(), block(1, 1, 1) > 0)
    assert before == pytest.approx(125 * 1.5 * 1.5 * 2.5 / 1000)
    assert volume_ml(node, "liver") == pytest.approx(2 * before)


def test_a_segment_on_voxels_of_its_own_is_brought_onto_the_reference_geometry(tmp_path: Path) -> None:
    from AtlasQualityLib.scene_masks import write_segmentation
    from AtlasSegmentLib.scene_segmentation import add_segment

    node = make_segmentation(liver=block(1, 1, 1))
    fine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    fine[:3, 3] = AFFINE[:3, 3] + (AFFINE[:3, :3] @ [-0.25, -0.25, -0.25])
    mask = np.zeros([2 * n for n in SHAPE], np.uint8)
    mask[16:26, 4:14, 6:16] = 1
    add_segment(node, "spleen", Volume(mask, fine))
    read = read_scene_masks(write_segmentation(node, tmp_path))
    assert np.array_equal(read.masks["spleen"].dense() > 0, block(8, 2, 3) > 0)


def test_a_segmentation_without_geometry_is_refused_but_has_volumes(tmp_path: Path) -> None:
    import slicer

    from AtlasQualityLib.scene_masks import volume_ml, write_segmentation
    from AtlasSegmentLib.scene_segmentation import add_segment

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loose")
    add_segment(node, "liver", Volume(block(1, 1, 1), AFFINE))
    assert volume_ml(node, "liver") > 0
    with pytest.raises(GeometryError, match="loose has no reference geometry"):
        write_segmentation(node, tmp_path)


def test_a_transform_that_is_not_linear_and_an_empty_segmentation_are_refused(tmp_path: Path) -> None:
    from AtlasQualityLib.scene_masks import write_segmentation

    node = make_segmentation(liver=block(1, 1, 1))
    bend(node)
    with pytest.raises(GeometryError, match="not linear"):
        write_segmentation(node, tmp_path)
    node.SetAndObserveTransformNodeID(None)
    node.GetSegmentation().RemoveAllSegments()
    with pytest.raises(InputError, match="no segment"):
        write_segmentation(node, tmp_path)


def test_a_label_map_node_is_read_by_table_or_by_the_names_of_its_colors(tmp_path: Path) -> None:
    import slicer

    from AtlasQualityLib.scene_masks import write_label_map
    from AtlasSegmentLib.scene import node_from_volume

    node = node_from_volume(labels(liver=block(1, 1, 1)), "labels", "vtkMRMLLabelMapVolumeNode")
    read = read_scene_masks(write_label_map(node, TABLE, tmp_path / "a"))
    assert np.array_equal(read.masks["liver"].dense(), block(1, 1, 1) > 0)
    with pytest.raises(LabelError, match="color table names none"):
        write_label_map(node, None, tmp_path / "b")
    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "organs")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(40)
    colors.SetColor(TABLE.value_of("liver"), "Liver", 1, 0, 0, 1)
    node.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
    assert "liver" in read_scene_masks(write_label_map(node, None, tmp_path / "c")).masks
    with pytest.raises(LabelError, match="not in the table"):
        write_label_map(node, LabelTable.from_labels("other", {1: "aorta"}), tmp_path / "d")


def test_a_segmentation_that_left_the_place_of_its_case_is_noticed_and_a_transform_is_not_leaving() -> None:
    from AtlasQualityLib.scene_masks import require_same_place, to_world

    node = make_segmentation(liver=block(1, 1, 1))
    require_same_place(node, GRID)
    turned = Volume(np.zeros(SHAPE, np.uint8), AFFINE).reoriented("RAS")
    require_same_place(node, turned.grid)
    shift = np.eye(4)
    shift[:3, 3] = (10, 0, 0)
    under(node, shift)
    require_same_place(node, GRID)
    assert to_world(node, (1, 2, 3)) == (11, 2, 3)
    with pytest.raises(GeometryError, match="does not lie where its case folder says"):
        require_same_place(node, Grid(SHAPE, shift @ AFFINE))


def overlay() -> Any:
    from AtlasQualityLib.scene_overlay import show_map

    return show_map(None, Volume(block(2, 2, 2) * 50, AFFINE), "overlay")


def test_the_overlay_takes_each_view_and_gives_each_back_what_it_had() -> None:
    from AtlasQualityLib.scene_overlay import composites, lay_over, take_away
    from AtlasSegmentLib.scene import node_from_volume

    own = node_from_volume(Volume(block(1, 1, 1), AFFINE), "PET")
    views = list(composites())
    views[0].SetForegroundVolumeID(own.GetID())
    views[0].SetForegroundOpacity(0.4)
    node = overlay()
    lay_over(node, 0.7)
    lay_over(node, 0.8)
    assert {view.GetForegroundVolumeID() for view in views} == {node.GetID()}
    assert {view.GetForegroundOpacity() for view in views} == {0.8}
    take_away(node)
    assert [view.GetForegroundVolumeID() for view in views] == [own.GetID(), None, None][: len(views)]
    assert views[0].GetForegroundOpacity() == 0.4


def test_a_view_that_the_user_changed_meanwhile_is_left_alone() -> None:
    from AtlasQualityLib.scene_overlay import composites, lay_over, take_away
    from AtlasSegmentLib.scene import node_from_volume

    node, own = overlay(), node_from_volume(Volume(block(1, 1, 1), AFFINE), "PET")
    lay_over(node, 0.7)
    view = next(composites())
    view.SetForegroundVolumeID(own.GetID())
    take_away(node)
    assert view.GetForegroundVolumeID() == own.GetID()


def test_only_values_from_the_threshold_on_are_shown_and_never_zero() -> None:
    from AtlasQualityLib.scene_overlay import COLORS, set_style

    node = overlay()
    for threshold, lowest in ((30.0, 30.0), (0.0, 1.0)):
        set_style(node, "rainbow", threshold)
        display = node.GetDisplayNode()
        assert (display.GetLowerThreshold(), display.GetApplyThreshold()) == (lowest, 1)
    assert display.GetColorNodeID() == COLORS["rainbow"]
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 100)


def test_a_map_that_marks_nothing_shows_nothing() -> None:
    from AtlasQualityLib.scene_overlay import show_map
    from AtlasSegmentLib.scene import volume_from_node

    node = show_map(overlay(), None, "nothing")
    assert not volume_from_node(node).array.any()


def test_the_focus_changes_outlines_and_gives_them_back() -> None:
    from AtlasQualityLib.scene_focus import SegmentFocus

    node = make_segmentation(liver=block(1, 1, 1), spleen=block(8, 1, 1))
    display = node.GetDisplayNode()
    display.SetSegmentOpacity2DOutline("liver", 0.8)
    focus = SegmentFocus()
    focus.focus(node, "spleen")
    assert display.GetSegmentOpacity2DOutline("liver") < 0.4
    focus.focus(node)
    assert display.GetSegmentOpacity2DOutline("liver") == 0.8
    assert not display.GetVisibility2DFill()
    focus.restore()
    assert display.GetVisibility2DFill()
    assert display.GetSegmentOpacity2DOutline("liver") == 0.8


def test_the_rows_of_a_comparison_survive_the_table_node_and_its_bars_have_numbers() -> None:
    from AtlasQualityLib.comparison import COLUMNS
    from AtlasQualityLib.scene_plot import rows_of_table_node, show_plot, write_table_node

    rows = [dict.fromkeys(COLUMNS, 0.5) | {"organ": "liver", "note": ""}, dict.fromkeys(COLUMNS) | {"organ": "heart", "note": "not here"}]
    table = write_table_node(None, rows, "comparison")
    assert rows_of_table_node(table) == rows
    chart = show_plot(None, table, "comparison")
    assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable().GetNumberOfRows() == 1
    assert show_plot(chart, table, "again") is chart


def test_another_table_node_is_no_comparison() -> None:
    import slicer

    from AtlasQualityLib.scene_plot import rows_of_table_node

    assert rows_of_table_node(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")) == []
