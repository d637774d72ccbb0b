"""The preview of a proposal in the slice views: a segmentation of its own, outlines only, never saved with the scene. Never Qt."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from AtlasReviewLib.scene import TaskNodes, remove_with_display
from AtlasReviewLib.scene_mask import grid_in_scene
from AtlasSegmentLib.scene import ROLE
from AtlasSegmentLib.scene_segmentation import add_segment
from AtlasSegmentLib.sparse import SparseVolume, is_empty
from AtlasSegmentLib.volume import Volume

PREVIEW = "preview"
"""Role of the preview's node."""
COLOR = (0.0, 0.9, 1.0)
"""Cyan: no organ of the catalog has it, and it stands out from the gray of a CT and from the heat colors of the overlay."""
_THICKNESS = 3


def show_preview(nodes: TaskNodes, shown: SparseVolume, name: str) -> Any:
    """Show the outlines of a mask over the task in all slice views; return the node.

    Args:
        nodes: The open task.
        shown: The mask, 0/1 on the grid of the case.
        name: Name of the node.
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetAttribute(ROLE, PREVIEW)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node.SetSelectable(False)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetVisibility3D(False)
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetSliceIntersectionThickness(_THICKNESS)
    segment = add_segment(node, nodes.segment, _volume(shown, grid_in_scene(nodes, shown.grid).affine))
    node.GetSegmentation().GetSegment(segment).SetColor(*COLOR)
    node.SetAndObserveTransformNodeID(None)
    return node


def _volume(mask: SparseVolume, affine: np.ndarray) -> Volume:
    """Return the box of a mask as a volume; an empty one as a voxel of nothing."""
    if is_empty(mask.box):
        return Volume(np.zeros((1, 1, 1), np.uint8), affine)
    shift = np.eye(4)
    shift[:3, 3] = [side.start for side in mask.box]
    return Volume(mask.crop, affine @ shift)


def remove_preview(node: Any) -> None:
    """Remove the preview, where it is still in the scene."""
    if node is not None and slicer.mrmlScene.IsNodePresent(node):
        remove_with_display(node)
