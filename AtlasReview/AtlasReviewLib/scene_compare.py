"""Two readings side by side: A outlined in the left slice view, B in the right one, both at the same slice. Never Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from AtlasReviewLib.scene import TaskNodes, remove_with_display
from AtlasReviewLib.scene_outline import Outline, show_outline
from AtlasSegmentLib.sparse import SparseVolume

READING = "reading"
"""Role of the nodes that show a reading."""
COLORS = {"A": (1.0, 0.6, 0.0), "B": (0.25, 0.65, 1.0)}
"""Orange and blue: apart for every kind of color vision."""
VIEWS = {"A": "Red", "B": "Yellow"}
"""The left and the right view of Slicer's layout with two slice views."""
_THICKNESS = 2


class SideBySide(VTKObservationMixin):
    """Shows two readings, and gives layout and views back as they were."""

    def __init__(self) -> None:
        VTKObservationMixin.__init__(self)
        self._nodes: list[Any] = []
        self._before: _Before | None = None
        self._busy = False

    @property
    def shown(self) -> bool:
        """Whether the two views are shown."""
        return self._before is not None

    def show(self, nodes: TaskNodes, masks: Mapping[str, SparseVolume]) -> None:
        """Show readings over a task; the mask in the editor is hidden until `uncover`.

        Args:
            nodes: The open task.
            masks: "A" and "B" to a mask, 0/1 on the grid of the case.
        """
        self.hide()
        left, right = (_slice_node(view) for view in VIEWS.values())
        self._before = _Before.of(left, right)
        _layout_node().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
        set_organ_shown(nodes, False)  # it is one of both readings; which one, is not to be seen
        for name, view in (("A", left), ("B", right)):
            view.SetLayoutLabel(name)
            self._nodes.append(_reading_node(nodes, name, masks[name], view))
        self._follow(left, right)
        self.addObserver(left, vtk.vtkCommand.ModifiedEvent, self._on_left)
        self.addObserver(right, vtk.vtkCommand.ModifiedEvent, self._on_right)

    def _on_left(self, *_arguments: Any) -> None:
        self._follow(*(_slice_node(view) for view in VIEWS.values()))

    def _on_right(self, *_arguments: Any) -> None:
        right, left = (_slice_node(view) for view in reversed(VIEWS.values()))
        self._follow(right, left)

    def _follow(self, node: Any, other: Any) -> None:
        """Bring a view to where the other one is, at the same size of a mm."""
        if self._busy:
            return
        self._busy = True
        try:
            with slicer.util.NodeModify(other):
                other.GetSliceToRAS().DeepCopy(node.GetSliceToRAS())
                other.SetXYZOrigin(*node.GetXYZOrigin())
                pixel = node.GetFieldOfView()[0] / max(node.GetDimensions()[0], 1)
                across, down = other.GetDimensions()[:2]
                other.SetFieldOfView(pixel * max(across, 1), pixel * max(down, 1), node.GetFieldOfView()[2])
                other.UpdateMatrices()
        finally:
            self._busy = False

    def hide(self) -> None:
        """Take the readings away and give layout and views back; again does nothing. The mask in the editor stays as it is."""
        self.removeObservers()
        for node in self._nodes:
            if slicer.mrmlScene.IsNodePresent(node):
                remove_with_display(node)
        self._nodes = []
        before, self._before = self._before, None
        if before is not None:
            before.give_back()


@dataclass(frozen=True)
class _Before:
    """How layout and views were."""

    layout: int
    labels: tuple[str, str]
    to_ras: Any
    field_of_view: tuple[float, float, float]

    @classmethod
    def of(cls, left: Any, right: Any) -> _Before:
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(right.GetSliceToRAS())
        labels = (str(left.GetLayoutLabel() or ""), str(right.GetLayoutLabel() or ""))
        return cls(int(_layout_node().GetViewArrangement()), labels, matrix, tuple(right.GetFieldOfView()))

    def give_back(self) -> None:
        """Restore them where they are still there; the right view goes to the place that the left one shows."""
        left, right = (_slice_node(view) for view in VIEWS.values())
        if left is None or right is None or _layout_node() is None:
            return
        for node, label in zip((left, right), self.labels, strict=True):
            node.SetLayoutLabel(label)
        place = [left.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)]
        right.GetSliceToRAS().DeepCopy(self.to_ras)
        right.SetFieldOfView(*self.field_of_view)
        right.UpdateMatrices()
        right.JumpSliceByCentering(*place)
        if _layout_node().GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView:
            _layout_node().SetViewArrangement(self.layout)


def _layout_node() -> Any:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def set_organ_shown(nodes: TaskNodes, shown: bool) -> None:
    """Show or hide the organ in the editor, its neighbors stay."""
    if nodes.whole:
        nodes.segmentation.GetDisplayNode().SetSegmentVisibility(nodes.segment, shown)


def _slice_node(view: str) -> Any:
    return slicer.mrmlScene.GetSingletonNode(view, "vtkMRMLSliceNode")


def _reading_node(nodes: TaskNodes, name: str, mask: SparseVolume, view: Any) -> Any:
    """Show a mask as an outline in one slice view, and nowhere else."""
    node, segment = show_outline(nodes, mask, Outline(READING, f"Reading {name}", COLORS[name], _THICKNESS), view)
    segment.SetName(f"Reading {name}")
    return node
