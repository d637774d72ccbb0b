"""Where the views go for a slice of a segment: in the mask, in any array order, under a transform, in shared layers and beyond the mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.volume import LabelVolume, Volume

pytestmark = pytest.mark.usefixtures("slicer_app")
SHAPE = (20, 18, 12)
SLICES = (3, 4, 8)


def labels(code: str) -> LabelVolume:
    """Return a curved liver (a ring with a gap) in three axial slices beside a spleen, stored in an array order."""
    x, y, z = np.indices(SHAPE)
    ring = np.abs(np.hypot(x - 9, y - 8) - 5) < 1.2
    array = np.zeros(SHAPE, np.uint8)
    table = load_table("abdomenatlas")
    array[ring & (x < 11) & np.isin(z, SLICES)] = table.value_of("liver")
    array[(x > 15) & (z == 4)] = table.value_of("spleen")
    affine = np.diag([-1.0, -1.5, 2.5, 1.0])
    affine[:3, 3] = (30.0, 20.0, -70.0)
    turned = Volume(np.asfortranarray(array), affine).reoriented(code)
    return LabelVolume(np.asfortranarray(turned.array), turned.affine, "ring", None, table)


def node(code: str) -> Any:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    return segmentation_from_labels(labels(code), "ring")


def voxel_of(code: str, place: Any) -> tuple[int, ...]:
    index = np.linalg.inv(labels(code).affine) @ [*place, 1.0]
    assert np.abs(index - np.rint(index)).max() < 1e-6
    return tuple(np.rint(index[:3]).astype(int))


@pytest.mark.parametrize("code", ["LPS", "RAS", "SAR", "PIR", "ILA"])
def test_the_place_is_a_voxel_of_the_mask_in_that_slice_the_same_in_every_array_order(code: str) -> None:
    from AtlasQualityLib.scene_slice_place import place_in_slice

    value = load_table("abdomenatlas").value_of("liver")
    for index in SLICES:
        place = place_in_slice(node(code), "liver", index)
        assert place is not None
        assert labels(code).array[voxel_of(code, place)] == value
        assert place[2] == pytest.approx(-70 + 2.5 * index)
        x, y = np.argwhere(labels("LPS").array[:, :, index] == value).mean(axis=0)
        assert np.hypot(*(np.array(place[:2]) - [30 - x, 20 - 1.5 * y])) < 8


@pytest.mark.parametrize(("index", "nearest"), [(0, 3), (6, 4), (11, 8), (7, 8)])
def test_in_a_slice_without_mask_it_is_beside_the_nearest_slice_that_has_some(index: int, nearest: int) -> None:
    from AtlasQualityLib.scene_slice_place import place_in_slice

    segmentation = node("RAS")
    found, there = place_in_slice(segmentation, "liver", index), place_in_slice(segmentation, "liver", nearest)
    assert found is not None
    assert there is not None
    assert found[:2] == pytest.approx(there[:2])
    assert found[2] == pytest.approx(-70 + 2.5 * index)


def test_a_moved_segmentation_gives_a_moved_place() -> None:
    import slicer
    import vtk

    from AtlasQualityLib.scene_slice_place import place_in_slice

    segmentation = node("LPS")
    before = place_in_slice(segmentation, "liver", 4)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 7.0)
    matrix.SetElement(2, 3, -11.0)
    transform.SetMatrixTransformToParent(matrix)
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    after = place_in_slice(segmentation, "liver", 4)
    assert before is not None
    assert after is not None
    assert np.subtract(after, before) == pytest.approx([7, 0, -11])


def test_a_segment_that_is_gone_or_empty_has_no_place() -> None:
    import slicer

    from AtlasQualityLib.scene_slice_place import place_in_slice

    segmentation = node("LPS")
    assert place_in_slice(segmentation, "brain", 4) is None
    slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(segmentation, "liver")
    assert place_in_slice(segmentation, "liver", 4) is None
    assert place_in_slice(segmentation, "spleen", 4) is not None
