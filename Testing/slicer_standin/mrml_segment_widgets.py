"""qMRMLSegmentSelectorWidget and qMRMLSegmentationShow3DButton."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QFormLayout, QPushButton, QWidget

from .mrml_node_combo_box import qMRMLNodeComboBox
from .mrml_widget import SceneAware, SceneWidget
from .observers import Observers
from .qt_loader import register
from .stored_property import stored

SURFACE = "Closed surface"


@register
class qMRMLSegmentSelectorWidget(SceneWidget):
    """Choose a segmentation and one of its segments."""

    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    segmentSelectionChanged = Signal(list)

    noneEnabled, setNoneEnabled = stored("noneEnabled", bool, False, after="_none_changed")
    segmentationNodeSelectorVisible, setSegmentationNodeSelectorVisible = stored(
        "segmentationNodeSelectorVisible", bool, True, after="_visibility_changed"
    )
    editEnabled, setEditEnabled = stored("editEnabled", bool, False)
    horizontalLayout, setHorizontalLayout = stored("horizontalLayout", bool, False)
    selectNodeUponCreation, setSelectNodeUponCreation = stored("selectNodeUponCreation", bool, True)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._nodes, self._segments = qMRMLNodeComboBox(self), QComboBox(self)
        self._nodes.setNodeTypes(["vtkMRMLSegmentationNode"])
        self._nodes.setAddEnabled(False)
        self._nodes.setRemoveEnabled(False)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addRow("Segmentation:", self._nodes)
        layout.addRow("Segment:", self._segments)
        self._nodes.currentNodeChanged.connect(self._node_changed)
        self._segments.currentIndexChanged.connect(lambda _row: self.currentSegmentChanged.emit(self.currentSegmentID()))

    def _scene_set(self, scene: Any) -> None:
        self._nodes.setMRMLScene(scene)

    def _none_changed(self, enabled: bool) -> None:
        self._nodes.setNoneEnabled(enabled)

    def _visibility_changed(self, visible: bool) -> None:
        self._nodes.setVisible(visible)

    def _node_changed(self, node: Any) -> None:
        self._observers.clear()
        if node is not None:
            for event in ("SegmentAdded", "SegmentRemoved", "SegmentModified"):
                self._observers.add(node, getattr(slicer.vtkSegmentation, event), "_refill")
        self._refill()
        self.currentNodeChanged.emit(node)

    def _refill(self, *_: object) -> None:
        current = self.currentSegmentID()
        node = self.currentNode()
        segments = node.GetSegmentation() if node is not None else None
        self._segments.blockSignals(True)
        self._segments.clear()
        for segment_id in segments.GetSegmentIDs() if segments is not None else ():
            self._segments.addItem(segments.GetSegment(segment_id).GetName(), segment_id)
        self._segments.setCurrentIndex(max(self._segments.findData(current), 0) if self._segments.count else -1)
        self._segments.blockSignals(False)
        if self.currentSegmentID() != current:
            self.currentSegmentChanged.emit(self.currentSegmentID())

    def currentNode(self) -> Any:
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:
        return str(self._nodes.currentNodeID)

    def setCurrentNode(self, node: Any) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, nodeID: str) -> None:
        self._nodes.setCurrentNodeID(nodeID)

    def currentSegmentID(self) -> str:
        return self._segments.currentData or ""

    def setCurrentSegmentID(self, segmentID: str) -> None:
        self._segments.setCurrentIndex(self._segments.findData(segmentID))

    def segmentIDs(self) -> list[str]:
        return [self._segments.itemData(row) for row in range(self._segments.count)]


@register
class qMRMLSegmentationShow3DButton(SceneAware, QPushButton):
    """Makes or takes away the closed surfaces of a segmentation."""

    mrmlSceneChanged = Signal(object)
    locked, setLocked = stored("locked", bool, False)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Show 3D", parent)
        self._observers = Observers(self)
        self._segmentation_id: str | None = None
        self.setCheckable(True)
        self.setEnabled(False)
        self.toggled.connect(self._toggled)

    def segmentationNode(self) -> Any:
        return slicer.mrmlScene.GetNodeByID(self._segmentation_id) if self._segmentation_id else None

    def setSegmentationNode(self, node: Any) -> None:
        self._observers.clear()
        self._segmentation_id = node.GetID() if node is not None else None
        if node is not None:
            self._observers.add(node, slicer.vtkSegmentation.ContainedRepresentationNamesModified, "_update")
        self.setEnabled(node is not None)
        self._update()

    def _update(self, *_: object) -> None:
        node = self.segmentationNode()
        self.blockSignals(True)
        self.setChecked(node is not None and node.GetSegmentation().ContainsRepresentation(SURFACE))
        self.blockSignals(False)

    def _toggled(self, shown: bool) -> None:
        node = self.segmentationNode()
        if node is None or self.locked:
            return
        if shown:
            node.CreateClosedSurfaceRepresentation()
        else:
            node.RemoveClosedSurfaceRepresentation()
