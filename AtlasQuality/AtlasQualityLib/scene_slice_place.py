"""Where a segment lies in one axial slice, so that the views can be brought there. Never Qt."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from vtk.util.numpy_support import vtk_to_numpy

from AtlasQualityLib.scene_masks import binary_labelmap, image_affine
from AtlasQualityLib.slice_scores import slice_centers
from AtlasSegmentLib import geometry
from AtlasSegmentLib.scene import grid_of_node
from AtlasSegmentLib.volume import Array, Grid

Point = tuple[float, float, float]


def place_in_slice(node: Any, segment_id: str, index: int, grid: Grid | None = None) -> Point | None:
    """Return the middle of a segment in an axial slice: its voxel there that is nearest to their mean, so never beside the mask.

    In a slice without mask it is the place above or below the middle of the nearest slice that has some.

    Args:
        node: Segmentation node.
        segment_id: Of the segment.
        index: Of the axial slice of `grid`, counted from the feet.
        grid: On which the slices were counted, in world RAS mm; the reference geometry of the segmentation when None.

    Returns:
        World RAS mm; None when the segment is gone or empty.

    Raises:
        GeometryError: The segmentation has no geometry, or is under a transform that is not linear.
    """
    inner = node.GetSegmentation()
    segment = inner.GetSegment(segment_id)
    image = None if segment is None else segment.GetRepresentation(binary_labelmap(inner))
    if image is None or image.IsEmpty() or image.GetPointData().GetScalars() is None:
        return None
    affine = image_affine(image, node)
    first, last = np.array(image.GetExtent()[::2]), np.array(image.GetExtent()[1::2])
    array: Array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(last - first + 1, order="F")
    axis = geometry.reorientation(geometry.orientation_of(affine), "LPS")[0][2]
    center = slice_centers(grid or grid_of_node(node), [index])
    to_image = np.asarray(np.linalg.inv(affine), np.float64)
    plane = round(float(geometry.apply_affine(to_image, center)[0, axis])) - int(first[axis])
    voxel = _middle(array, segment.GetLabelValue(), axis, plane)
    if voxel is None:
        return None
    x, y, z = geometry.apply_affine(affine, first + voxel)
    return (float(x), float(y), float(z))


def _middle(array: Array, value: int, axis: int, plane: int) -> Any:
    """Return a voxel in a plane, found in the plane itself or in the nearest one with the value."""
    count = array.shape[axis]
    beside = chain.from_iterable((plane - distance, plane + distance) for distance in range(1, count + abs(plane)))
    for number in chain([plane], beside):
        if not 0 <= number < count:
            continue
        found = np.argwhere(np.take(array, number, axis) == value)
        if len(found):
            nearest = found[np.abs(found - found.mean(axis=0)).sum(axis=1).argmin()]
            return np.insert(nearest, axis, plane)
    return None
