"""The preview of a proposal in the slice views: a segmentation of its own, outlines only, never saved with the scene. Never Qt."""

from __future__ import annotations

from typing import Any

import slicer

from AtlasReviewLib.scene import TaskNodes, remove_with_display
from AtlasReviewLib.scene_outline import Outline, show_outline
from AtlasSegmentLib.sparse import SparseVolume

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
    node, _ = show_outline(nodes, shown, Outline(PREVIEW, name, COLOR, _THICKNESS))
    node.SetAndObserveTransformNodeID(None)
    return node


def remove_preview(node: Any) -> None:
    """Remove the preview, where it is still in the scene."""
    if node is not None and slicer.mrmlScene.IsNodePresent(node):
        remove_with_display(node)
