"""MRML nodes and arrays: every voxel keeps its world position and its value, whatever the array order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError, InputError, LabelError
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.volume import Grid, LabelVolume, Volume

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
TABLE = load_table("abdomenatlas")
relaxed = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _scene(slicer_app: Any) -> None:
    """Run on the real scene."""


@pytest.fixture
def scene() -> Any:
    """Return the module under test; it needs the scene to be there before it is imported."""
    from AtlasSegmentLib import scene

    return scene


@pytest.fixture
def segments() -> Any:
    """Return the other module under test."""
    from AtlasSegmentLib import scene_segmentation

    return scene_segmentation


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Draw an affine: any axis order and direction, oblique by any angle, anisotropic, anywhere."""
    order = draw(st.permutations(range(3)))
    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3))
    spacing = draw(st.lists(st.floats(0.5, 5), min_size=3, max_size=3))
    angle = draw(st.floats(-0.6, 0.6))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.eye(3)[:, order] * np.array(signs) * np.array(spacing)
    affine[:3, 3] = draw(st.lists(st.floats(-300, 300), min_size=3, max_size=3))
    return affine


def labels(affine: np.ndarray, shape: tuple[int, int, int] = (7, 6, 5)) -> LabelVolume:
    """Return a label map with the liver (6), the left kidney (3) and one lone voxel of the aorta (8) at a corner."""
    array = np.zeros(shape, np.uint8)
    array[1:4, 1:3, 1:4] = TABLE.value_of("liver")
    array[4:6, 3:5, 2:4] = TABLE.value_of("kidney_left")
    array[-1, 0, -1] = TABLE.value_of("aorta")
    return LabelVolume(array, affine, "phantom", None, TABLE)


def values_and_voxels(segments: Any, node: Any, grid: Grid) -> np.ndarray:
    """Return all segments in one array with their published values."""
    array = np.zeros(grid.shape, np.uint8)
    for identifier in node.GetSegmentation().GetSegmentIDs():
        array[segments.mask_of_segment(node, identifier, grid).array != 0] = segments.value_of_segment(node, identifier)
    return array


@relaxed
@given(affine=affines())
def test_a_volume_comes_back_from_its_node_with_the_same_affine_and_voxels(scene: Any, affine: np.ndarray) -> None:
    volume = Volume(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), affine)
    back = scene.volume_from_node(scene.node_from_volume(volume, "CT"))
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, affine, atol=1e-6)


def test_slicer_itself_sees_the_voxels_in_its_own_order(scene: Any) -> None:
    volume = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2.0, 3.0, 4.0, 1.0]))
    node = scene.node_from_volume(volume, "CT")
    assert slicer.util.arrayFromVolume(node).shape == (4, 3, 2)
    assert slicer.util.arrayFromVolume(node)[3, 1, 0] == volume.array[0, 1, 3]


@pytest.mark.parametrize("dtype", [np.bool_, np.float16, np.uint8, np.int16, np.float32, ">i2"])
def test_every_voxel_type_of_ours_has_a_node(scene: Any, dtype: Any) -> None:
    array = np.array([0, 1] * 4).reshape(2, 2, 2).astype(dtype)
    np.testing.assert_array_equal(scene.volume_from_node(scene.node_from_volume(Volume(array, np.eye(4)), "x")).array, array.astype(float))


def moved(scene: Any, node: Any, matrix: np.ndarray) -> None:
    """Put a node under a linear transform."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    transform.SetMatrixTransformToParent(scene.vtk_matrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())


def test_a_linear_transform_moves_the_volume_in_the_world(scene: Any) -> None:
    node = scene.node_from_volume(Volume(np.ones((2, 2, 2)), np.eye(4)), "CT")
    moved(scene, node, np.array([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]]))
    np.testing.assert_allclose(scene.volume_from_node(node).affine @ [1, 0, 0, 1], [10, 21, 30, 1])


def test_a_nonlinear_transform_is_refused_with_the_way_out(scene: Any) -> None:
    node = scene.node_from_volume(Volume(np.ones((2, 2, 2)), np.eye(4)), "CT")
    node.SetAndObserveTransformNodeID(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp").GetID())
    with pytest.raises(GeometryError, match="CT is under the transform warp") as caught:
        scene.volume_from_node(node)
    assert "Harden" in caught.value.remedy


def test_a_node_without_voxels_or_with_colors_is_refused(scene: Any) -> None:
    with pytest.raises(InputError, match="no voxels"):
        scene.volume_from_node(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    node = scene.node_from_volume(Volume(np.ones((2, 2, 2), np.uint8), np.eye(4)), "photo")
    node.GetImageData().AllocateScalars(3, 3)
    with pytest.raises(InputError, match="3 numbers a voxel"):
        scene.volume_from_node(node)


@relaxed
@given(affine=affines())
def test_labels_come_back_with_their_published_values_and_places(segments: Any, affine: np.ndarray) -> None:
    given_labels = labels(affine)
    node = segments.segmentation_from_labels(given_labels, "organs")
    np.testing.assert_array_equal(values_and_voxels(segments, node, given_labels.grid), given_labels.array)


@relaxed
@given(affine=affines(), code=st.sampled_from(["RAS", "LPS", "SAR", "ILP"]))
def test_a_segment_lands_on_the_same_world_positions_of_a_grid_in_another_order(segments: Any, affine: np.ndarray, code: str) -> None:
    given_labels = labels(affine)
    node = segments.segmentation_from_labels(given_labels, "organs")
    turned = given_labels.reoriented(code)
    mask = segments.mask_of_segment(node, "liver", turned.grid)
    np.testing.assert_array_equal(mask.array, turned.array == TABLE.value_of("liver"))


def test_segments_have_canonical_names_colors_and_codes(segments: Any) -> None:
    node = segments.segmentation_from_labels(labels(np.eye(4)), "organs")
    inner = node.GetSegmentation()
    assert inner.GetSegmentIDs() == ("kidney_left", "liver", "aorta")
    segment = inner.GetSegment("kidney_left")
    assert segment.GetName() == "kidney_left"
    np.testing.assert_allclose(segment.GetColor(), np.array([222, 128, 78]) / 255)
    assert "SCT^64033007^Kidney~SCT^7771000^Left" in segment.GetTerminology()
    assert inner.GetNumberOfLayers() == 1


def test_the_grid_becomes_the_reference_geometry(scene: Any, segments: Any) -> None:
    affine = np.array([[0.0, -2, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    grid = scene.grid_of_node(segments.segmentation_from_labels(labels(affine), "organs"))
    assert grid.shape == (7, 6, 5)
    np.testing.assert_allclose(grid.affine, affine)


def test_a_segmentation_without_geometry_is_refused(scene: Any) -> None:
    with pytest.raises(GeometryError, match="no reference geometry"):
        scene.grid_of_node(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bare"))


def test_a_label_map_without_a_table_or_with_a_foreign_value_is_refused(segments: Any) -> None:
    plain = labels(np.eye(4))
    with pytest.raises(LabelError, match="no table"):
        segments.segmentation_from_labels(LabelVolume(plain.array, plain.affine), "x")
    with pytest.raises(LabelError, match="value"):
        segments.segmentation_from_labels(LabelVolume(plain.array, plain.affine, "x", None, LabelTable("t", "t", {6: "liver"})), "x")


def test_an_added_segment_may_overlap_and_keeps_its_value(segments: Any) -> None:
    given_labels = labels(np.eye(4))
    node = segments.segmentation_from_labels(given_labels, "organs")
    overlapping = given_labels.with_array((given_labels.array == 6).astype(np.uint8))
    identifier = segments.add_segment(node, "liver tumour", overlapping, value=27)
    assert identifier == "liver_tumor"
    assert segments.value_of_segment(node, identifier) == 27
    np.testing.assert_array_equal(segments.mask_of_segment(node, "liver", given_labels.grid).array, given_labels.array == 6)
    assert (values_and_voxels(segments, node, given_labels.grid) == 27).sum() == overlapping.array.sum()


@relaxed
@given(affine=affines(), data=st.data())
def test_a_replaced_mask_is_exact_and_leaves_the_neighbors_alone(segments: Any, affine: np.ndarray, data: st.DataObject) -> None:
    given_labels = labels(affine)
    node = segments.segmentation_from_labels(given_labels, "organs")
    flags = data.draw(st.lists(st.booleans(), min_size=7 * 6 * 5, max_size=7 * 6 * 5))
    mask = given_labels.with_array(np.array(flags, np.uint8).reshape(7, 6, 5))
    segments.set_mask_of_segment(node, "liver", mask)
    np.testing.assert_array_equal(segments.mask_of_segment(node, "liver", mask.grid).array, mask.array)
    for organ in ("kidney_left", "aorta"):
        wanted = given_labels.array == TABLE.value_of(organ)
        np.testing.assert_array_equal(segments.mask_of_segment(node, organ, mask.grid).array, wanted)


def test_published_values_survive_layers_of_their_own_and_the_file(segments: Any, tmp_path: Path) -> None:
    given_labels = labels(np.diag([-1.0, -1.0, 2.0, 1.0]))
    node = segments.segmentation_from_labels(given_labels, "organs")
    everything = given_labels.with_array(np.ones((7, 6, 5), np.uint8))
    segments.set_mask_of_segment(node, "aorta", everything)  # overlaps the others: Slicer moves it to a new layer
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "organs.seg.nrrd"))
    assert storage.WriteData(node)
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "again")
    assert storage.ReadData(again)
    values = {i: segments.value_of_segment(again, i) for i in again.GetSegmentation().GetSegmentIDs()}
    assert values == {"kidney_left": 3, "liver": 6, "aorta": 8}
    np.testing.assert_array_equal(segments.mask_of_segment(again, "liver", given_labels.grid).array, given_labels.array == 6)


def test_a_segment_is_brought_to_a_coarser_grid_by_the_nearest_voxel(segments: Any) -> None:
    fine = LabelVolume(np.zeros((12, 12, 12), np.uint8), np.eye(4), "fine", None, TABLE)
    fine.array[3:9, 3:9, 3:9] = 6
    node = segments.segmentation_from_labels(fine, "organs")
    coarse = Grid((4, 4, 4), np.array([[3.0, 0, 0, 1], [0, 3, 0, 1], [0, 0, 3, 1], [0, 0, 0, 1]]))
    wanted = np.zeros((4, 4, 4), np.uint8)
    wanted[1:3, 1:3, 1:3] = 1
    np.testing.assert_array_equal(segments.mask_of_segment(node, "liver", coarse).array, wanted)


def test_what_lies_outside_the_grid_is_cut_off_and_an_empty_segment_is_empty(segments: Any) -> None:
    given_labels = labels(np.eye(4))
    node = segments.segmentation_from_labels(given_labels, "organs")
    beside = np.eye(4)
    beside[:3, 3] = [2, 0, 0]
    mask = segments.mask_of_segment(node, "liver", Grid((7, 6, 5), beside))
    np.testing.assert_array_equal(mask.array[:5], given_labels.array[2:] == 6)
    node.GetSegmentation().AddEmptySegment("ghost", "ghost")
    assert not segments.mask_of_segment(node, "ghost", given_labels.grid).array.any()
    with pytest.raises(InputError, match="no segment 'spleen'"):
        segments.mask_of_segment(node, "spleen", given_labels.grid)


def test_a_segmentation_under_a_transform_lands_where_the_viewer_shows_it(scene: Any, segments: Any) -> None:
    given_labels = labels(np.eye(4))
    node = segments.segmentation_from_labels(given_labels, "organs")
    shift = np.eye(4)
    shift[:3, 3] = [1, 0, 0]
    moved(scene, node, shift)
    mask = segments.mask_of_segment(node, "liver", given_labels.grid)
    np.testing.assert_array_equal(mask.array[1:], given_labels.array[:-1] == 6)
    segments.set_mask_of_segment(node, "liver", mask)
    np.testing.assert_array_equal(segments.mask_of_segment(node, "liver", given_labels.grid).array, mask.array)


def test_jumping_centers_the_slice_views_on_the_place(scene: Any) -> None:
    scene.jump_to((11.0, -22.0, 33.0))
    slices = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    assert slices
    for node in slices:
        np.testing.assert_allclose(scene.matrix_of(node.GetSliceToRAS())[:3, 3], [11, -22, 33], atol=1e-6)


def test_the_orientation_of_a_left_handed_grid_is_kept(scene: Any) -> None:
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    node = scene.node_from_volume(Volume(np.ones((2, 3, 4)), affine), "mirrored")
    assert geometry.orientation_of(scene.grid_of_node(node).affine) == "LAS"
