"""Where MRML segmentation nodes and arrays meet: label maps and masks become segments and back, in world RAS mm.

The published value of a segment is kept in a tag: Slicer renumbers label values when it moves a segment to a layer of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from AtlasSegmentLib.errors import InputError, LabelError
from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.scene import matrix_of, scalars_of, vtk_matrix, world_of
from AtlasSegmentLib.terminology import terminology_of
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, Volume
from AtlasSegmentLib.volume_io import label_values

VALUE_TAG = "AtlasAnnotator.LabelValue"
"""Segment tag: the published value of the organ in its label map."""
_WHOLE_TOLERANCE = 1e-3  # in voxels, over the whole grid


def segmentation_from_labels(labels: LabelVolume, name: str) -> Any:
    """Add a segmentation node with one segment for each value that a label map holds.

    Segment id and name are the canonical organ name; color and SNOMED terminology come from the catalog; all segments
    share one label map, with the values of `labels`. The grid becomes the reference geometry.

    Args:
        labels: Whole numbers 0..65535, (X, Y, Z), with its table.
        name: Name of the node.

    Raises:
        LabelError: A value that the table does not have, or there is no table.
    """
    if labels.table is None:
        message = f"{labels.source or name}: the label map has no table that names its values."
        raise LabelError(message, "Choose the table that belongs to this label map.")
    values = [value for value in label_values(_cropped(labels.array)[0]) if value]
    labels.table.require_values(values, labels.source or name)
    node = _empty_segmentation(labels.grid, name)
    image = _oriented_image(Volume(labels.array.astype(np.min_scalar_type(max(values, default=0)), copy=False), labels.affine))
    for value in values:
        _append(node, labels.table.name_of(value), image, value, value)
    node.CreateDefaultDisplayNodes()
    return node


def _empty_segmentation(grid: Grid, name: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    set_reference_geometry(node, grid)
    return node


def set_reference_geometry(segmentation: Any, grid: Grid) -> None:
    """Make `grid` the voxels that new segments of a segmentation node are drawn on."""
    converter = slicer.vtkSegmentationConverter
    extent = [0, grid.shape[0] - 1, 0, grid.shape[1] - 1, 0, grid.shape[2] - 1]
    text = converter.SerializeImageGeometry(vtk_matrix(np.linalg.inv(world_of(segmentation)) @ grid.affine), extent)
    segmentation.GetSegmentation().SetSourceRepresentationName(converter.GetBinaryLabelmapRepresentationName())
    segmentation.GetSegmentation().SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), text)


def add_segment(segmentation: Any, organ: str, mask: Volume, value: int | None = None) -> str:
    """Add an organ as one more segment in a layer of its own, so that it may overlap others.

    Args:
        segmentation: The segmentation node.
        organ: Any name; the canonical one becomes the id, made unique.
        mask: 0 is outside; affine in world RAS mm.
        value: Published value to remember, or None.

    Returns:
        The id of the segment.
    """
    binary = (mask.array != 0).astype(np.uint8)
    local = np.linalg.inv(world_of(segmentation)) @ mask.affine
    return _append(segmentation, organ, _oriented_image(Volume(binary, local)), 1, value)


def _append(segmentation: Any, organ: str, image: Any, label: int, value: int | None) -> str:
    structure = structure_for(organ)
    segment = slicer.vtkSegment()
    segment.SetName(structure.name)
    segment.SetColor(*(channel / 255 for channel in structure.color))
    segment.SetTerminology(terminology_of(structure))
    segment.SetLabelValue(label)
    if value is not None:
        segment.SetTag(VALUE_TAG, str(value))
    segment.AddRepresentation(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName(), image)
    inner = segmentation.GetSegmentation()
    identifier: str = inner.GenerateUniqueSegmentID(structure.name)
    inner.AddSegment(segment, identifier)
    return identifier


def _oriented_image(volume: Volume) -> Any:
    """Return voxels (copied) as a vtkOrientedImageData in the box that they fill: Slicer keeps segments cropped."""
    array, first = _cropped(volume.array)
    image = slicer.vtkOrientedImageData()
    last = [a + n - 1 for a, n in zip(first, array.shape, strict=True)]
    image.SetExtent(first[0], last[0], first[1], last[1], first[2], last[2])
    image.GetPointData().SetScalars(scalars_of(array))
    image.SetGeometryFromImageToWorldMatrix(vtk_matrix(volume.affine))
    return image


def _cropped(array: Array) -> tuple[Array, list[int]]:
    first, crop = [], array
    for axis in range(3):
        used = np.flatnonzero(crop.any(axis=tuple(other for other in range(3) if other != axis)))
        low, high = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 1)
        crop = crop[(slice(None),) * axis + (slice(low, high),)]
        first.append(low)
    return crop, first


def mask_of_segment(segmentation: Any, segment_id: str, grid: Grid) -> Volume:
    """Return a segment on a grid, uint8 0/1, parent transforms applied.

    When the segment's voxels are those of the grid, also in another array order, they are copied; otherwise the nearest
    voxel decides. What lies outside the grid is cut off.

    Raises:
        InputError: There is no such segment.
        GeometryError: The segmentation is under a transform that is not linear.
    """
    array = np.zeros(grid.shape, np.uint8, order="F")
    found = _voxels(segmentation, segment_id)
    if found is not None:
        _place(found[0], found[1], array, grid)
    return Volume(array, grid.affine, segment_id, grid.header)


def _voxels(segmentation: Any, segment_id: str) -> tuple[Array, Matrix] | None:
    """Return (mask, affine to world) of a segment in its own box; None when it is empty."""
    inner = segmentation.GetSegmentation()
    segment = inner.GetSegment(segment_id)
    if segment is None:
        message = f"{segmentation.GetName()} has no segment {segment_id!r}."
        raise InputError(message, "Choose one of its segments.")
    representation = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    if not inner.ContainsRepresentation(representation):
        inner.CreateRepresentation(representation)
    image = segment.GetRepresentation(representation)
    if image is None or image.IsEmpty() or image.GetPointData().GetScalars() is None:
        return None
    extent = image.GetExtent()
    shape = [b - a + 1 for a, b in zip(extent[::2], extent[1::2], strict=True)]
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape, order="F") == segment.GetLabelValue()
    shift = np.eye(4)
    shift[:3, 3] = extent[::2]
    matrix = vtk_matrix(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    return array, world_of(segmentation) @ matrix_of(matrix) @ shift


def _place(mask: Array, affine: Matrix, target: Array, grid: Grid) -> None:
    """Write the voxels of `mask` into `target`, exactly where both share a lattice, by the nearest voxel elsewhere."""
    crop, first = _cropped(mask)
    if not crop.any():
        return
    relation = np.linalg.inv(grid.affine) @ affine @ _translation(first)
    lattice = _lattice_step(relation, crop.shape)
    if lattice is None:
        _place_nearest(crop, relation, target)
        return
    order, sign, start = lattice
    turned = crop.transpose(order)[tuple(slice(None, None, s) for s in sign)]
    low = [s if d > 0 else s - n + 1 for s, d, n in zip(start, sign, turned.shape, strict=True)]
    kept = [(max(0, a), min(size, a + n)) for a, n, size in zip(low, turned.shape, target.shape, strict=True)]
    if all(b > a for a, b in kept):
        inner = tuple(slice(a - origin, b - origin) for (a, b), origin in zip(kept, low, strict=True))
        target[tuple(slice(a, b) for a, b in kept)] |= turned[inner]


def _translation(first: list[int]) -> Matrix:
    shift = np.eye(4)
    shift[:3, 3] = first
    return shift


def _lattice_step(relation: Matrix, shape: tuple[int, ...]) -> tuple[list[int], list[int], list[int]] | None:
    """Return (axis order, signs, start index) when `relation` maps voxel centers onto voxel centers, else None."""
    whole = np.rint(relation[:3])
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])]).T
    steps = whole[:, :3].astype(int)
    signed_permutation = (np.abs(steps).sum(axis=0) == 1).all() and (np.abs(steps).sum(axis=1) == 1).all()
    if not signed_permutation or np.abs((relation[:3] - whole) @ corners).max() > _WHOLE_TOLERANCE:
        return None
    order = [int(np.flatnonzero(steps[axis])[0]) for axis in range(3)]
    sign = [int(steps[axis, order[axis]]) for axis in range(3)]
    return order, sign, [int(value) for value in whole[:, 3]]


def _place_nearest(mask: Array, relation: Matrix, target: Array) -> None:
    """For each voxel of `target` near the mask, take the mask's nearest voxel."""
    corners = np.array([[x, y, z, 1] for x in (-1, mask.shape[0]) for y in (-1, mask.shape[1]) for z in (-1, mask.shape[2])]).T
    reach = relation[:3] @ corners
    low = [max(0, int(np.floor(value))) for value in reach.min(axis=1)]
    high = [min(size, int(np.ceil(value)) + 1) for value, size in zip(reach.max(axis=1), target.shape, strict=True)]
    if any(b <= a for a, b in zip(low, high, strict=True)):
        return
    back = np.linalg.inv(relation)
    for z in range(low[2], high[2]):
        x, y = np.mgrid[low[0] : high[0], low[1] : high[1]]
        index = np.rint(np.tensordot(back[:3, :3], np.stack([x, y, np.full_like(x, z)]), axes=1) + back[:3, 3, None, None]).astype(int)
        inside = np.logical_and.reduce([(index[axis] >= 0) & (index[axis] < mask.shape[axis]) for axis in range(3)])
        plane = target[low[0] : high[0], low[1] : high[1], z]
        plane[inside] |= mask[tuple(index[:, inside])]


def set_mask_of_segment(segmentation: Any, segment_id: str, mask: Volume) -> None:
    """Replace the voxels of a segment; other segments keep theirs, and it may overlap them.

    Args:
        segmentation: The segmentation node.
        segment_id: An existing segment.
        mask: 0 is outside; affine in world RAS mm.

    Raises:
        InputError: There is no such segment.
    """
    if segmentation.GetSegmentation().GetSegment(segment_id) is None:
        message = f"{segmentation.GetName()} has no segment {segment_id!r}."
        raise InputError(message, "Choose one of its segments.")
    local = np.linalg.inv(world_of(segmentation)) @ mask.affine
    image = _oriented_image(Volume((mask.array != 0).astype(np.uint8), local))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if mask.array.any():
        logic.SetBinaryLabelmapToSegment(image, segmentation, segment_id, logic.MODE_REPLACE)
    else:
        logic.ClearSegment(segmentation, segment_id)


def value_of_segment(segmentation: Any, segment_id: str) -> int:
    """Return the published value of a segment: what was remembered, else Slicer's own label value."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    text = vtk.reference("")
    segment.GetTag(VALUE_TAG, text)
    return int(text.get()) if text.get().isdecimal() else int(segment.GetLabelValue())
