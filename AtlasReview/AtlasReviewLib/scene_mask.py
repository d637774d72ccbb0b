"""The mask of the organ between editor and array, in the box that it fills: a segment of a large CT is read in milliseconds. Never Qt."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from AtlasReviewLib.review_case import ReviewCase
from AtlasReviewLib.scene import TaskNodes, image_of
from AtlasSegmentLib import geometry
from AtlasSegmentLib.components import Box
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.scene import grid_of_node, matrix_of, world_of
from AtlasSegmentLib.scene_segmentation import mask_of_segment
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, from_dense, is_empty
from AtlasSegmentLib.volume import Grid, Volume


def edited_mask(nodes: TaskNodes, loaded: ReviewCase) -> SparseVolume:
    """Return the mask of the organ as it lies over the CT in the views, uint8 0/1 on the grid of the case.

    Raises:
        InputError: The segment is gone.
        GeometryError: CT or segmentation was put under a transform that is not linear.
    """
    grid = grid_in_scene(nodes, loaded.grid)
    box = _box_of_segment(nodes, grid)
    if is_empty(box):
        return SparseVolume(loaded.grid, EMPTY_BOX, np.zeros((0, 0, 0), np.uint8))
    shift = np.eye(4)
    shift[:3, 3] = start = [side.start for side in box]
    part = Grid(tuple(side.stop - side.start for side in box), grid.affine @ shift)
    found = from_dense(mask_of_segment(nodes.segmentation, nodes.segment, part).array, loaded.grid, (start[0], start[1], start[2]))
    return SparseVolume(loaded.grid, found.box, found.crop.astype(np.uint8, order="F", copy=True))


def _box_of_segment(nodes: TaskNodes, grid: Grid) -> Box:
    """Return the voxels of a grid that the segment's own box can reach."""
    inner, name = nodes.segmentation.GetSegmentation(), slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segment = inner.GetSegment(nodes.segment)
    if segment is None:
        message = f"{nodes.segmentation.GetName()} has no segment {nodes.segment!r}."
        raise InputError(message, "Choose one of its segments.")
    if not inner.ContainsRepresentation(name):
        inner.CreateRepresentation(name)
    image = segment.GetRepresentation(name)
    if image is None or image.IsEmpty():
        return EMPTY_BOX
    matrix, extent = vtk.vtkMatrix4x4(), np.array(image.GetExtent(), np.float64).reshape(3, 2)
    image.GetImageToWorldMatrix(matrix)
    corners = np.stack(np.meshgrid(*(extent + np.array([-0.5, 0.5])), indexing="ij"), axis=-1).reshape(-1, 3)
    to_grid = np.linalg.inv(grid.affine) @ world_of(nodes.segmentation) @ matrix_of(matrix)
    reach = geometry.apply_affine(to_grid, corners)
    low = np.maximum(np.floor(reach.min(axis=0)).astype(int), 0)
    stop = np.minimum(np.ceil(reach.max(axis=0)).astype(int) + 1, grid.shape)
    x, y, z = (slice(int(a), max(int(a), int(b))) for a, b in zip(low, stop, strict=True))
    return (x, y, z)


def put_mask(nodes: TaskNodes, mask: SparseVolume) -> None:
    """Replace the organ's voxels in the editor, such as by edits that were recovered. Raises as `edited_mask`."""
    if not nodes.whole:
        message = f"{nodes.segment}: is not in the scene any more."
        raise InputError(message, "Open the task again.")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if is_empty(mask.box):
        logic.ClearSegment(nodes.segmentation, nodes.segment)
        return
    affine = np.linalg.inv(world_of(nodes.segmentation)) @ grid_in_scene(nodes, mask.grid).affine
    image = image_of(SparseVolume(Grid(mask.grid.shape, affine), mask.box, mask.crop))
    logic.SetBinaryLabelmapToSegment(image, nodes.segmentation, nodes.segment, logic.MODE_REPLACE)


def grid_in_scene(nodes: TaskNodes, grid: Grid) -> Grid:
    """Return where the voxels of the case lie in the scene now: the reader may have moved the CT."""
    if not nodes.has_background:
        return grid
    moved = grid_of_node(nodes.background)
    return moved if moved.shape == grid.shape else grid  # else it was cropped or resampled in place


def kept_mask(nodes: TaskNodes, loaded: ReviewCase) -> Volume | None:
    """Return the organ in the segmentation's own coordinates, whatever transform it is under and also when it was removed."""
    segment = segment_now(nodes)
    if segment is None:
        return None
    copy = slicer.vtkSegment()
    copy.DeepCopy(segment)
    apart = slicer.vtkMRMLSegmentationNode()  # never in the scene
    apart.SetAndObserveSegmentation(slicer.vtkSegmentation())
    apart.GetSegmentation().SetSourceRepresentationName(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName())
    apart.GetSegmentation().AddSegment(copy, nodes.segment)
    return mask_of_segment(apart, nodes.segment, loaded.grid)


def segment_now(nodes: TaskNodes) -> Any:
    """Return the organ's segment, the one that was last seen when it is not in the scene any more."""
    if nodes.whole:
        nodes.kept = nodes.segmentation.GetSegmentation().GetSegment(nodes.segment)
    return nodes.kept


def segment_stamp(nodes: TaskNodes) -> int:
    """Return a number that differs after every change of the organ (undo too), without looking at a voxel."""
    name = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segment = segment_now(nodes)
    image = None if segment is None else segment.GetRepresentation(name)
    return 0 if image is None else int(image.GetMTime())
