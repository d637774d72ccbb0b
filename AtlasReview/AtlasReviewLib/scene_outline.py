"""A mask that is looked at and never edited: an outline of its own over the task, never saved with the scene. Never Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from AtlasReviewLib.scene import TaskNodes
from AtlasReviewLib.scene_mask import grid_in_scene
from AtlasSegmentLib.scene import ROLE
from AtlasSegmentLib.scene_segmentation import add_segment
from AtlasSegmentLib.sparse import SparseVolume, is_empty
from AtlasSegmentLib.volume import Volume


@dataclass(frozen=True)
class Outline:
    """How an outline looks.

    Attributes:
        role: Role of its node.
        name: Name of its node.
        color: Red, green, blue, each 0..1.
        thickness: In pixels.
    """

    role: str
    name: str
    color: tuple[float, float, float]
    thickness: int


def show_outline(nodes: TaskNodes, mask: SparseVolume, look: Outline, view: Any = None) -> tuple[Any, Any]:
    """Show the outline of a mask and return its node and segment.

    Args:
        nodes: The open task.
        mask: 0/1 on the grid of the case.
        look: Its look.
        view: The only slice node to show it in; all views without.
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", look.name)
    node.SetAttribute(ROLE, look.role)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node.SetSelectable(False)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetVisibility3D(False)
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetSliceIntersectionThickness(look.thickness)
        if view is not None:
            display.AddViewNodeID(view.GetID())
    volume = _boxed(mask, grid_in_scene(nodes, mask.grid).affine)
    segment = node.GetSegmentation().GetSegment(add_segment(node, nodes.segment, volume))
    segment.SetColor(*look.color)
    return node, segment


def _boxed(mask: SparseVolume, affine: np.ndarray) -> Volume:
    """Return the box of a mask as a volume; an empty one as a voxel of nothing."""
    if is_empty(mask.box):
        return Volume(np.zeros((1, 1, 1), np.uint8), affine)
    shift = np.eye(4)
    shift[:3, 3] = [side.start for side in mask.box]
    return Volume(mask.crop, affine @ shift)
