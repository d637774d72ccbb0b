"""The embedded Segment Editor: its own parameter node, ready on the task's organ, and nothing else can change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from AtlasReviewLib import scene_editor
from AtlasReviewLib.scene import TaskNodes

_UNDO_STATES = 10


class EditorPanel(VTKObservationMixin):
    """The Segment Editor widget of the panel.

    Args:
        ui: The widgets of the panel.
        onOtherSegment: Called when the reader selected another organ than the one of the task.
    """

    def __init__(self, ui: Any, onOtherSegment: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self._onOtherSegment = ui, onOtherSegment
        self._node: Any = None
        self._nodes: TaskNodes | None = None
        self._entered = self._protecting = False
        widget = ui.segmentEditor
        widget.setMaximumNumberOfUndoStates(_UNDO_STATES)
        widget.setSegmentationNodeSelectorVisible(False)
        widget.setSourceVolumeNodeSelectorVisible(False)
        widget.setMaskingSectionVisible(False)
        widget.setAddRemoveSegmentButtonsVisible(False)
        widget.setSwitchToSegmentationsButtonVisible(False)
        widget.setAutoShowSourceVolumeNode(False)
        self._selectNode()
        widget.setMRMLScene(slicer.mrmlScene)
        ui.keepOutCheckBox.connect("toggled(bool)", self._protect)
        self.setEditable(False)

    def _selectNode(self) -> None:
        """Use this module's parameter node, made anew when a closed scene took it away."""
        node = scene_editor.editor_node()
        if node is self._node:
            return
        self._forgetNode()
        self._node = node
        self.ui.segmentEditor.setMRMLSegmentEditorNode(node)
        self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onNodeModified)

    def _forgetNode(self) -> None:
        if self._node is not None:
            self.removeObserver(self._node, vtk.vtkCommand.ModifiedEvent, self._onNodeModified)
            self._node = None

    def enter(self) -> None:
        """Put the editor's keys in force."""
        self._entered = True
        self._selectNode()
        self.ui.segmentEditor.installKeyboardShortcuts()
        self.ui.segmentEditor.setupViewObservations()
        self.ui.segmentEditor.updateWidgetFromMRML()

    def exit(self) -> None:
        """Take the editor's keys out of force and stop drawing."""
        self._entered = False
        self.ui.segmentEditor.setActiveEffect(None)
        self.ui.segmentEditor.uninstallKeyboardShortcuts()
        self.ui.segmentEditor.removeViewObservations()

    def attach(self, nodes: TaskNodes, editable: bool) -> None:
        """Make the editor ready on the organ of a task."""
        self._selectNode()
        self._nodes = None  # until all is set, other segments are selected on the way
        widget = self.ui.segmentEditor
        widget.setActiveEffect(None)
        widget.setSegmentationNode(nodes.segmentation)
        widget.setSourceVolumeNode(nodes.background)
        scene_editor.attach(self._node, nodes, self.ui.keepOutCheckBox.checked)
        widget.setCurrentSegmentID(nodes.segment)
        self._nodes = nodes
        if self._entered:
            widget.setupViewObservations()
        self.setEditable(editable)

    def detach(self) -> None:
        """Let go of the task's nodes."""
        self._nodes = None
        self.ui.segmentEditor.setActiveEffect(None)
        if self._node is not None:
            scene_editor.detach(self._node)
        self.setEditable(False)

    def sceneClosing(self) -> None:
        """Let go of all nodes before they vanish."""
        self.detach()
        self.ui.segmentEditor.removeViewObservations()
        self._forgetNode()

    def sceneClosed(self) -> None:
        """Begin anew after the scene was closed or loaded."""
        self._selectNode()
        self.ui.segmentEditor.updateWidgetFromMRML()
        if self._entered:
            self.ui.segmentEditor.setupViewObservations()

    def setEditable(self, editable: bool) -> None:
        """Allow or forbid drawing."""
        self.ui.segmentEditor.setReadOnly(not editable)
        self.ui.segmentEditor.setEnabled(editable)
        self.ui.keepOutCheckBox.setEnabled(editable)

    def saveStateForUndo(self) -> None:
        """Make the next change one that can be undone."""
        self.ui.segmentEditor.saveStateForUndo()

    def cleanup(self) -> None:
        """Let go of everything, at the end of the panel."""
        self.exit()
        self.ui.keepOutCheckBox.disconnect("toggled(bool)", self._protect)
        self.detach()
        self.ui.segmentEditor.setMRMLSegmentEditorNode(None)
        self.ui.segmentEditor.setMRMLScene(None)
        self.removeObservers()
        self._node = None

    def _onNodeModified(self, *_arguments: Any) -> None:
        if self._nodes is None or self._protecting or not self._nodes.whole:
            return
        self._protect()
        if scene_editor.select_organ(self._node, self._nodes):
            self._onOtherSegment()

    def _protect(self, *_arguments: Any) -> None:
        if self._node is None or self._nodes is None:
            return
        self._protecting = True
        try:
            scene_editor.protect_neighbors(self._node, self.ui.keepOutCheckBox.checked)
        finally:
            self._protecting = False
