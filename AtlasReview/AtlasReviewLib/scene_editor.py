"""The Segment Editor's parameter node of this module, set so that only the organ of the task can change. Never Qt."""

from __future__ import annotations

from typing import Any

import slicer

from AtlasReviewLib.scene import TaskNodes

SINGLETON_TAG = "AtlasReview"
ERASE = "Erase"


def editor_node() -> Any:
    """Return this module's own parameter node, made when there is none: the Segment Editor module keeps its own."""
    scene = slicer.mrmlScene
    node = scene.GetSingletonNode(SINGLETON_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(SINGLETON_TAG)
        node = scene.AddNode(node)
    return node


def protect_neighbors(node: Any, keep_out: bool) -> None:
    """Let only the selected segment change, and with `keep_out` only where no other segment is.

    Slicer leaves the selected segment itself out of the mask, so that it can be drawn and erased everywhere but in its
    neighbors. Erasing can only make the organ smaller, so that it is allowed in its neighbors too: that is how an overlap
    is taken back.
    """
    segmentation_node = slicer.vtkMRMLSegmentationNode
    outside = keep_out and node.GetActiveEffectName() != ERASE
    mode = segmentation_node.EditAllowedOutsideAllSegments if outside else segmentation_node.EditAllowedEverywhere
    with slicer.util.NodeModify(node):
        if node.GetOverwriteMode() != node.OverwriteNone:
            node.SetOverwriteMode(node.OverwriteNone)
        if node.GetMaskMode() != mode:
            node.SetMaskMode(mode)


def select_organ(node: Any, nodes: TaskNodes) -> bool:
    """Select the organ of the task; return whether another segment was selected."""
    if node.GetSelectedSegmentID() == nodes.segment:
        return False
    node.SetSelectedSegmentID(nodes.segment)
    return True


def attach(node: Any, nodes: TaskNodes, keep_out: bool) -> None:
    """Point the parameter node at a task."""
    node.SetAndObserveSegmentationNode(nodes.segmentation)
    node.SetAndObserveSourceVolumeNode(nodes.background)
    select_organ(node, nodes)
    node.SetSourceVolumeIntensityMask(False)
    protect_neighbors(node, keep_out)


def detach(node: Any) -> None:
    """Point the parameter node at nothing."""
    node.SetActiveEffectName("")
    node.SetAndObserveSegmentationNode(None)
    node.SetAndObserveSourceVolumeNode(None)
