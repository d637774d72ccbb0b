"""The parts of the Segment Editor's panel: selectors, segment table, effect buttons, undo; which of them are shown."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property
from PySide6.QtWidgets import QFormLayout, QHBoxLayout, QPushButton, QWidget

from .mrml_node_combo_box import qMRMLNodeComboBox
from .mrml_segment_widgets import qMRMLSegmentationShow3DButton
from .mrml_segments_table import qMRMLSegmentsTableView
from .mrml_widget import SceneWidget
from .stored_property import stored


def _shown(part: str) -> Any:
    """Return a property that says whether a part is shown, and its setter."""

    def write(self: Any, visible: bool) -> None:
        self.layout().setRowVisible(getattr(self, part), bool(visible))  # the label, too

    return Property(bool, lambda self: not getattr(self, part).isHidden(), write), write


class SegmentEditorSections(SceneWidget):
    """The child widgets; what they do is in segment_editor.py."""

    effectColumnCount, setEffectColumnCount = stored("effectColumnCount", int, 2)
    effectButtonStyle, setEffectButtonStyle = stored("effectButtonStyle", int, 0)
    jumpToSelectedSegmentEnabled, setJumpToSelectedSegmentEnabled = stored("jumpToSelectedSegmentEnabled", bool, False)
    autoShowSourceVolumeNode, setAutoShowSourceVolumeNode = stored("autoShowSourceVolumeNode", bool, True)
    defaultTerminologyEntrySettingsKey, setDefaultTerminologyEntrySettingsKey = stored("defaultTerminologyEntrySettingsKey", str, "")
    # The stand-in has no such part, but keeps whether it shall be shown.
    maskingSectionVisible, setMaskingSectionVisible = stored("maskingSectionVisible", bool, True)
    specifyGeometryButtonVisible, setSpecifyGeometryButtonVisible = stored("specifyGeometryButtonVisible", bool, True)
    addRemoveSegmentButtonsVisible, setAddRemoveSegmentButtonsVisible = stored("addRemoveSegmentButtonsVisible", bool, True)
    switchToSegmentationsButtonVisible, setSwitchToSegmentationsButtonVisible = stored("switchToSegmentationsButtonVisible", bool, True)

    segmentationNodeSelectorVisible, setSegmentationNodeSelectorVisible = _shown("_segmentations")
    sourceVolumeNodeSelectorVisible, setSourceVolumeNodeSelectorVisible = _shown("_volumes")
    show3DButtonVisible, setShow3DButtonVisible = _shown("_show3d")
    undoEnabled, setUndoEnabled = _shown("_undo_bar")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._segmentations, self._volumes = qMRMLNodeComboBox(self), qMRMLNodeComboBox(self)
        self._segmentations.setNodeTypes(["vtkMRMLSegmentationNode"])
        self._volumes.setNodeTypes(["vtkMRMLScalarVolumeNode"])
        self._volumes.setNoneEnabled(True)
        self._volumes.setAddEnabled(False)
        self._table, self._show3d = qMRMLSegmentsTableView(self), qMRMLSegmentationShow3DButton(self)
        self._effect_bar, self._undo_bar = QWidget(self), QWidget(self)
        self._undo, self._redo = QPushButton("Undo"), QPushButton("Redo")
        QHBoxLayout(self._effect_bar)
        undo_layout = QHBoxLayout(self._undo_bar)
        undo_layout.addWidget(self._undo)
        undo_layout.addWidget(self._redo)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addRow("Segmentation:", self._segmentations)
        layout.addRow("Source volume:", self._volumes)
        for widget in (self._show3d, self._table, self._effect_bar, self._undo_bar):
            layout.addRow(widget)
