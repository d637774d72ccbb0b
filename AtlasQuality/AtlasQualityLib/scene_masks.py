"""Segmentation and label map nodes as sets of organs: names, volumes, and copies on the disk for the child process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from AtlasQualityLib.mask_set import SceneLayer, write_scene_masks
from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError, InputError, LabelError
from AtlasSegmentLib.labels import LabelTable, catalog, resolve, structure_for
from AtlasSegmentLib.scene import grid_of_node, matrix_of, volume_from_node, world_of
from AtlasSegmentLib.scene_segmentation import mask_of_segment
from AtlasSegmentLib.volume import Array, Grid
from AtlasSegmentLib.volume_io import label_values

_WHOLE_TOLERANCE = 1e-3  # of a voxel


@dataclass(frozen=True)
class SegmentOrgan:
    """A segment and the structure it is."""

    segment_id: str
    name: str
    structure: str


def segment_organs(node: Any) -> list[SegmentOrgan]:
    """Return the segments of a segmentation node with their structures, found by name or alias, else by terminology."""
    inner = node.GetSegmentation()
    found = []
    for identifier in inner.GetSegmentIDs():
        segment = inner.GetSegment(identifier)
        found.append(SegmentOrgan(identifier, str(segment.GetName()), _structure_of(segment)))
    return found


def _structure_of(segment: Any) -> str:
    name = str(segment.GetName())
    try:
        return resolve(name).name
    except LabelError:
        tag = vtk.reference("")
        text = str(tag) if segment.GetTag(segment.GetTerminologyEntryTagName(), tag) else ""
        return structure_by_terminology(text) or structure_for(name).name


def structure_by_terminology(entry: str) -> str:
    """Return the canonical name of the structure that a terminology entry of a segment means; "" when the catalog lacks its code."""
    parts = [part.split("^") for part in entry.split("~")]
    if len(parts) < 4 or any(len(part) < 2 for part in parts[2:4]):
        return ""
    return _by_code().get((parts[2][1], parts[3][1]), "")


@cache
def _by_code() -> Mapping[tuple[str, str], str]:
    """Return (SNOMED CT type, modifier or "") to canonical name; the first structure of a code wins."""
    found: dict[tuple[str, str], str] = {}
    for structure in catalog().values():
        if structure.snomed is not None:
            found.setdefault((structure.snomed.code, structure.snomed.modifier or ""), structure.name)
    return found


def volume_ml(node: Any, segment_id: str) -> float:
    """Return the volume of a segment in ml, parent transforms included; 0.0 when it is empty.

    Raises:
        GeometryError: The segmentation is under a transform that is not linear.
    """
    inner = node.GetSegmentation()
    representation = binary_labelmap(inner)
    segment = inner.GetSegment(segment_id)
    image = segment.GetRepresentation(representation)
    if image is None or image.IsEmpty() or image.GetPointData().GetScalars() is None:
        return 0.0
    count = int(np.count_nonzero(vtk_to_numpy(image.GetPointData().GetScalars()) == segment.GetLabelValue()))
    return count * geometry.voxel_volume_mm3(image_affine(image, node)) / 1000


def binary_labelmap(inner: Any) -> str:
    """Return the name of the representation as label maps, which is made when it is not there."""
    representation = str(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName())
    if not inner.ContainsRepresentation(representation):
        inner.CreateRepresentation(representation)
    return representation


def image_affine(image: Any, node: Any) -> geometry.Matrix:
    """Return index [i, j, k] (of the whole extent) to world RAS of a segment's image."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return np.asarray(world_of(node) @ matrix_of(matrix))


def write_segmentation(node: Any, folder: Path) -> Path:
    """Leave a segmentation on the disk for `tasks.compare_files`; its layers are copied as they are.

    Raises:
        GeometryError: It has no reference geometry, or is under a transform that is not linear.
        InputError: It has no segment.
    """
    grid, name = grid_of_node(node), str(node.GetName())
    organs = {organ.segment_id: organ.structure for organ in segment_organs(node)}
    if not organs:
        message = f"{name} has no segment."
        raise InputError(message, "Choose a segmentation with organs.")
    inner = node.GetSegmentation()
    binary_labelmap(inner)
    layers: list[SceneLayer] = []
    for number in range(inner.GetNumberOfLayers()):
        segments = list(inner.GetSegmentIDsForLayer(number))
        layer = _layer(node, inner.GetLayerDataObject(number), {inner.GetSegment(s).GetLabelValue(): organs[s] for s in segments}, grid)
        layers.extend([layer] if layer is not None else _resampled(node, segments, organs, grid))
    return write_scene_masks(folder, name, grid, layers)


def segment_layer(node: Any, segment_id: str, organ: str, grid: Grid) -> SceneLayer | None:
    """Return one segment as Slicer keeps it, its voxels not copied; None when it is gone or empty, or its voxels are not those of the grid.

    Args:
        node: Segmentation node.
        segment_id: Of the segment.
        organ: Canonical name that it gets in the layer.
        grid: In world RAS mm.

    Raises:
        GeometryError: The segmentation is under a transform that is not linear.
    """
    inner = node.GetSegmentation()
    segment = inner.GetSegment(segment_id)
    image = None if segment is None else segment.GetRepresentation(binary_labelmap(inner))
    layer = None if image is None else _layer(node, image, {segment.GetLabelValue(): organ}, grid)
    return layer if layer is not None and layer.organs else None


def _layer(node: Any, image: Any, organs: dict[int, str], grid: Grid) -> SceneLayer | None:
    """Return a layer as it is, or None when its voxels are not those of the grid."""
    first, last = image.GetExtent()[::2], image.GetExtent()[1::2]
    shape = [max(0, b - a + 1) for a, b in zip(first, last, strict=True)]
    if min(shape) == 0 or image.GetPointData().GetScalars() is None:
        return SceneLayer(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), {})
    relation = np.linalg.inv(grid.affine) @ image_affine(image, node)
    offset = np.rint(relation[:3, 3]).astype(int)
    start = offset + first
    moved = np.eye(4)
    moved[:3, 3] = offset
    off = np.abs((relation - moved)[:3] @ np.append(np.max(np.abs([first, last]), axis=0), 1.0)).max()
    inside = (start >= 0).all() and (start + shape <= grid.shape).all()
    if off > _WHOLE_TOLERANCE or not inside:
        return None
    array: Array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape, order="F")
    return SceneLayer(array, (int(start[0]), int(start[1]), int(start[2])), organs)


def _resampled(node: Any, segments: list[str], organs: Mapping[str, str], grid: Grid) -> list[SceneLayer]:
    return [SceneLayer(mask_of_segment(node, segment, grid).array, (0, 0, 0), {1: organs[segment]}) for segment in segments]


def write_label_map(node: Any, table: LabelTable | None, folder: Path) -> Path:
    """Leave a label map node on the disk for `tasks.compare_files`.

    Args:
        node: A label map volume node.
        table: What its values mean; None takes the names of its color table.
        folder: Where to.

    Raises:
        LabelError: A value that the table lacks.
        InputError: The node has no voxels.
    """
    volume, name = volume_from_node(node), str(node.GetName())
    values = [value for value in label_values(volume.array) if value]
    if table is not None:
        table.require_values(values, name)
        organs = {value: table.structure_of(value).name for value in table.labels}
    else:
        organs = names_of_colors(node, values)
    array = volume.array.astype(np.min_scalar_type(max(values, default=0)), copy=False)
    return write_scene_masks(folder, name, volume.grid, [SceneLayer(array, (0, 0, 0), organs)])


def names_of_colors(node: Any, values: list[int]) -> dict[int, str]:
    """Return value to structure by the color table of a label map node. Raises LabelError when no value has a name there."""
    display = node.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    names = {}
    if colors is not None and colors.GetID() not in ("vtkMRMLColorTableNodeLabels", "vtkMRMLColorTableNodeFileGenericColors.txt"):
        names = {value: str(colors.GetColorName(value)) for value in values if value < colors.GetNumberOfColors()}
    organs = {value: structure_for(name).name for value, name in names.items() if name and not name.startswith("(none)")}
    if values and not organs:
        message = f"{node.GetName()}: its color table names none of its values {', '.join(map(str, values[:10]))}."
        raise LabelError(message, "Choose the label table that belongs to it.")
    return organs


def require_same_place(node: Any, grid: Grid) -> None:
    """Check that a segmentation lies on the grid of its case folder, in any array order; a linear parent transform is left aside.

    Raises:
        GeometryError: It does not; or it has no geometry.
    """
    own = grid_of_node(node)
    affine = np.linalg.inv(world_of(node)) @ own.affine
    order, sign = geometry.reorientation(geometry.orientation_of(affine), grid.orientation)
    shape = [own.shape[axis] for axis in order]
    turned = geometry.reorient_affine(affine, own.shape, order, sign)
    if not geometry.same_grid(shape, turned, grid.shape, grid.affine):
        message = f"{node.GetName()} does not lie where its case folder says: it was moved or resampled, or belongs to another CT."
        raise GeometryError(message, "Open the case folder to see its attention in place.")


def to_world(node: Any, point: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return a position of the case (RAS mm) where the segmentation stands now, under its parent transform."""
    x, y, z = geometry.apply_affine(world_of(node), point)
    return (float(x), float(y), float(z))
