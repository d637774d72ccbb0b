"""qMRMLSegmentEditorWidget: Slicer's own segment editor logic behind selectors, a segment table and effect buttons."""

from __future__ import annotations

from typing import Any

import shiboken6
import slicer
import slicer.util
import vtk
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QWidget

from .qt_loader import register
from .segment_editor_effects import SegmentEditorEffects
from .segment_editor_keys import make_shortcuts
from .segment_editor_sections import SegmentEditorSections
from .stored_property import stored

Logic = slicer.vtkSlicerSegmentEditorLogic
VIEW_EVENTS = ("LeftButtonPressEvent", "LeftButtonReleaseEvent", "MouseMoveEvent", "KeyPressEvent")


@register
class qMRMLSegmentEditorWidget(SegmentEditorEffects, SegmentEditorSections):
    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)

    readOnly, setReadOnly = stored("readOnly", bool, False, after="_update_enabled")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node: Any = None
        self._updating = False
        self._shown_source = self._shown_segmentation = None
        self._shortcuts: list[Any] = []
        self._view_tags: list[tuple[Any, int]] = []
        self._make_effects()
        self._segmentations.currentNodeChanged.connect(self._segmentation_picked)
        self._volumes.currentNodeChanged.connect(self._volume_picked)
        self._table.selectionChanged.connect(self._segment_picked)
        self._undo.clicked.connect(self.undo)
        self._redo.clicked.connect(self.redo)

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(int(count))

    maximumNumberOfUndoStates = Property(int, lambda self: self._logic.GetMaximumNumberOfUndoStates(), setMaximumNumberOfUndoStates)

    # Scene and parameter node

    def _scene_set(self, scene: Any) -> None:
        self._observers.clear()
        for widget in (self._segmentations, self._volumes):
            widget.blockSignals(True)
            widget.setMRMLScene(scene)
            widget.blockSignals(False)
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(scene)
        if scene is not None:
            self._observers.add(scene, slicer.vtkMRMLScene.EndCloseEvent, "_scene_closed")
        self._observe_node()
        self.updateWidgetFromMRML()

    def _scene_closed(self, *_: object) -> None:
        self._logic.ClearUndoState()
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def setMRMLSegmentEditorNode(self, newSegmentEditorNode: Any) -> None:
        if newSegmentEditorNode is self._node:
            return
        self._node = newSegmentEditorNode
        self._logic.SetSegmentEditorNode(newSegmentEditorNode)
        self._observe_node()
        self.updateWidgetFromMRML()

    def _observe_node(self) -> None:
        if self._node is not None:
            self._observers.add(self._node, vtk.vtkCommand.ModifiedEvent, "updateWidgetFromMRML")
        self._observers.add(self._logic, Logic.SegmentationHistoryChangedEvent, "_history_changed")

    def updateWidgetFromMRML(self, *_: object) -> None:
        """Show what the parameter node says."""
        if self._updating or self._node is None or self._scene is None:
            return
        self._updating = True
        try:
            self._show_segmentation(self._node.GetSegmentationNode())
            self._show_source(self._node.GetSourceVolumeNode())
            self._show_segment(self._node.GetSelectedSegmentID() or "")
            self._update_enabled()
        finally:
            self._updating = False

    def _show_segmentation(self, node: Any) -> None:
        self._segmentations.setCurrentNode(node)
        if node is self._shown_segmentation:
            return
        self._shown_segmentation = node
        self._table.setSegmentationNode(node)
        self._show3d.setSegmentationNode(node)
        if node is not None:
            node.CreateDefaultDisplayNodes()
            reference = node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
            self._node.SetAndObserveSourceVolumeNode(reference)
            self._logic.SelectFirstSegment(False)  # even when the parameter node named another one
        self.segmentationNodeChanged.emit(node)

    def _show_source(self, node: Any) -> None:
        self._volumes.setCurrentNode(node)
        if node is self._shown_source:
            return
        self._shown_source = node
        if node is not None and self.autoShowSourceVolumeNode:
            slicer.util.setSliceViewerLayers(background=node)
        self.sourceVolumeNodeChanged.emit(node)

    def _show_segment(self, segment_id: str) -> None:
        node = self._node.GetSegmentationNode()
        known = node is not None and segment_id in node.GetSegmentation().GetSegmentIDs()
        self._table.setSelectedSegmentIDs([segment_id] if known else [])

    def _update_enabled(self, *_: object) -> None:
        if self._node is None:
            return
        self._show_effects(self._node.GetSourceVolumeNode() is not None and not self.readOnly)
        self._undo.setEnabled(bool(self._logic.CanUndo()))
        self._redo.setEnabled(bool(self._logic.CanRedo()))

    def _history_changed(self, *_: object) -> None:
        self._update_enabled()

    # What the user picks

    def _segmentation_picked(self, node: Any) -> None:
        if not self._updating and self._scene is not None and not self._scene.IsBatchProcessing():
            self.setSegmentationNode(node)

    def _volume_picked(self, node: Any) -> None:
        if not self._updating and self._scene is not None and not self._scene.IsBatchProcessing():
            self.setSourceVolumeNode(node)

    def _segment_picked(self, _selected: object, _deselected: object) -> None:
        selected = (self._table.selectedSegmentIDs() or [""])[0]
        if self._updating or self._node is None or selected == (self._node.GetSelectedSegmentID() or ""):
            return
        self._node.SetSelectedSegmentID(selected or None)
        if not selected:
            self.setActiveEffect(None)
        self.currentSegmentIDChanged.emit(selected)  # as in Slicer only for a choice in the table

    # What a module calls

    def segmentationNode(self) -> Any:
        return self._segmentations.currentNode()

    def segmentationNodeID(self) -> str:
        return str(self._segmentations.currentNodeID)

    def setSegmentationNode(self, node: Any) -> None:
        if self._needed_node().GetSegmentationNode() is node:
            return
        self._logic.SetSegmentationNode(node)
        self.setActiveEffect(None)

    def setSegmentationNodeID(self, nodeID: str) -> None:
        self.setSegmentationNode(slicer.mrmlScene.GetNodeByID(nodeID))

    def sourceVolumeNode(self) -> Any:
        return self._volumes.currentNode()

    def sourceVolumeNodeID(self) -> str:
        return str(self._volumes.currentNodeID)

    def setSourceVolumeNode(self, node: Any) -> None:
        self._needed_node()
        self._logic.SetSourceVolumeNode(node)

    def setSourceVolumeNodeID(self, nodeID: str) -> None:
        self.setSourceVolumeNode(slicer.mrmlScene.GetNodeByID(nodeID))

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def setCurrentSegmentID(self, segmentID: str) -> None:
        self._needed_node().SetSelectedSegmentID(segmentID)

    def selectPreviousSegment(self) -> None:
        self._logic.SelectPreviousSegment(True)

    def selectNextSegment(self) -> None:
        self._logic.SelectNextSegment(True)

    def jumpSlices(self) -> None:
        self._table.jumpSlices()

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self, *_: object) -> None:
        self._logic.Undo()

    def redo(self, *_: object) -> None:
        self._logic.Redo()

    def toggleSourceVolumeIntensityMaskEnabled(self) -> None:
        self._logic.ToggleSourceVolumeIntensityMask()

    def _needed_node(self) -> Any:
        if self._node is None:
            message = "Invalid segment editor parameter set node: call setMRMLSegmentEditorNode first"
            raise RuntimeError(message)
        return self._node

    # While the editor's module is open

    def installKeyboardShortcuts(self, parent: QWidget | None = None) -> None:
        """Make the editor's shortcuts; the keys belong to the whole main window."""
        self.uninstallKeyboardShortcuts()
        self._shortcuts = make_shortcuts(self, parent if parent is not None else slicer.util.mainWindow())

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shiboken6.delete(shortcut)
        self._shortcuts = []

    def setupViewObservations(self) -> None:
        """Listen to the mouse and keys of the views; without it no effect does anything there."""
        self.removeViewObservations()
        layout = slicer.app.layoutManager()
        views = [layout.sliceWidget(name).sliceView() for name in layout.sliceViewNames()]
        views += [layout.threeDWidget(index).threeDView() for index in range(layout.threeDViewCount)]
        for interactor in [view.interactor() for view in views]:
            for name in VIEW_EVENTS:
                tag = interactor.AddObserver(getattr(vtk.vtkCommand, name), _view_event, 1.0)
                self._view_tags.append((interactor, tag))

    def removeViewObservations(self) -> None:
        for interactor, tag in self._view_tags:
            interactor.RemoveObserver(tag)
        self._view_tags = []


def _view_event(_interactor: Any, _event: str) -> None:
    """Mouse strokes in the views are made by a test through segment_editor_effects.stroke."""
