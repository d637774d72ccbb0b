"""Notices when somebody removes the nodes of the open task from the scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from AtlasReviewLib.scene import TaskNodes


class NodeWatch(VTKObservationMixin):
    """Watches the nodes of one task at a time.

    Args:
        onRemoving: Called while the segmentation is still whole, just before it is removed.
        onRemoved: Called when a node of the task or its segment was removed.
    """

    def __init__(self, onRemoving: Callable[[], Any], onRemoved: Callable[[], Any]) -> None:
        VTKObservationMixin.__init__(self)
        self._onRemoving, self._onRemoved = onRemoving, onRemoved
        self._nodes: TaskNodes | None = None

    def watch(self, nodes: TaskNodes) -> None:
        """Watch the nodes of a task instead of those before."""
        self.stop()
        self._nodes = nodes
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeRemoving)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self.addObserver(nodes.segmentation, slicer.vtkSegmentation.SegmentRemoved, self._onSegmentRemoved)

    def stop(self) -> None:
        """Watch nothing."""
        self.removeObservers()
        self._nodes = None

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoving(self, _caller: Any, _event: Any, node: Any) -> None:
        if self._nodes is not None and node is self._nodes.segmentation:
            self._onRemoving()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _caller: Any, _event: Any, node: Any) -> None:
        if self._nodes is not None and node in (self._nodes.segmentation, self._nodes.background):
            self._onRemoved()

    def _onSegmentRemoved(self, *_arguments: Any) -> None:
        if self._nodes is not None and not self._nodes.whole:
            self._onRemoved()
