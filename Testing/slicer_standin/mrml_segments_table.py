"""qMRMLSegmentsTableView: the segments of a segmentation with visibility, color, opacity and name."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import Property, QItemSelection, QItemSelectionModel, Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from .mrml_widget import SceneWidget
from .qt_loader import register
from .stored_property import stored

COLUMNS = ("visibilityColumnVisible", "colorColumnVisible", "opacityColumnVisible")
VISIBILITY, COLOR, OPACITY, NAME = range(4)
EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")


@register
class qMRMLSegmentsTableView(SceneWidget):
    selectionChanged = Signal(object, object)
    segmentAboutToBeModified = Signal(str)

    selectionMode, setSelectionMode = stored("selectionMode", int, 3, after="_mode_changed")
    headerVisible, setHeaderVisible = stored("headerVisible", bool, True)
    visibilityColumnVisible, setVisibilityColumnVisible = stored("visibilityColumnVisible", bool, True, after="_show_columns")
    colorColumnVisible, setColorColumnVisible = stored("colorColumnVisible", bool, True, after="_show_columns")
    opacityColumnVisible, setOpacityColumnVisible = stored("opacityColumnVisible", bool, True, after="_show_columns")
    statusColumnVisible, setStatusColumnVisible = stored("statusColumnVisible", bool, False)
    layerColumnVisible, setLayerColumnVisible = stored("layerColumnVisible", bool, False)
    readOnly, setReadOnly = stored("readOnly", bool, False, after="_refill")
    filterBarVisible, setFilterBarVisible = stored("filterBarVisible", bool, False)
    textFilter, setTextFilter = stored("textFilter", str, "", after="_refill")
    jumpToSelectedSegmentEnabled, setJumpToSelectedSegmentEnabled = stored("jumpToSelectedSegmentEnabled", bool, False)
    useTerminologySelector, setUseTerminologySelector = stored("useTerminologySelector", bool, True)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._segmentation_id: str | None = None
        self._ids: list[str] = []
        self._hidden: list[str] = []
        self._filling = False
        self._table = QTableWidget(0, 4, self)
        self._table.setHorizontalHeaderLabels(["", "", "Opacity", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().hide()
        self._table.setSelectionBehavior(QAbstractItemView.SelectRows)
        for column, width in enumerate((28, 28, 60)):
            self._table.setColumnWidth(column, width)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._table.selectionModel().selectionChanged.connect(self._selection_changed)
        self._table.itemChanged.connect(self._edited)

    def tableWidget(self) -> QTableWidget:
        return self._table

    def segmentationNode(self) -> Any:
        return slicer.mrmlScene.GetNodeByID(self._segmentation_id) if self._segmentation_id else None

    def setSegmentationNode(self, node: Any) -> None:
        self._observers.clear()
        self._segmentation_id = node.GetID() if node is not None else None
        if node is not None:
            for event in EVENTS:
                self._observers.add(node, getattr(slicer.vtkSegmentation, event), "_refill")
            self._observers.add(node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, "_refill")
        self._refill()

    def _scene_set(self, scene: Any) -> None:
        if scene is None:
            self.setSegmentationNode(None)

    def _refill(self, *_: object) -> None:
        if not hasattr(self, "_table"):
            return
        node = self.segmentationNode()
        selected = self.selectedSegmentIDs()
        self._filling = True
        self._ids = [segment_id for segment_id in _segment_ids(node) if self._is_listed(node, segment_id)]
        self._table.setRowCount(len(self._ids))
        for row, segment_id in enumerate(self._ids):
            for column, item in enumerate(_row(node, segment_id)):
                if self.readOnly:
                    item.setFlags(Qt.ItemIsSelectable | Qt.ItemIsEnabled)
                self._table.setItem(row, column, item)
        self._select([segment_id for segment_id in selected if segment_id in self._ids])
        self._filling = False

    def _is_listed(self, node: Any, segment_id: str) -> bool:
        name = node.GetSegmentation().GetSegment(segment_id).GetName()
        return segment_id not in self._hidden and self.textFilter.lower() in name.lower()

    def _edited(self, item: QTableWidgetItem) -> None:
        node = self.segmentationNode()
        if self._filling or node is None:
            return
        segment_id = self._ids[item.row()]
        self.segmentAboutToBeModified.emit(segment_id)
        if item.column() == NAME:
            node.GetSegmentation().GetSegment(segment_id).SetName(item.text())
        elif item.column() == VISIBILITY:
            node.GetDisplayNode().SetSegmentVisibility(segment_id, item.checkState() == Qt.Checked)
        elif item.column() == OPACITY:
            node.GetDisplayNode().SetSegmentOpacity(segment_id, float(item.text()))

    def _selection_changed(self, selected: object, deselected: object) -> None:
        if not self._filling:
            self.selectionChanged.emit(selected, deselected)

    def _mode_changed(self, mode: int) -> None:
        self._table.setSelectionMode(QAbstractItemView.SelectionMode(mode))

    def _show_columns(self, _visible: bool) -> None:
        for column, name in enumerate(COLUMNS):
            self._table.setColumnHidden(column, not getattr(self, name))

    segmentCount = Property(int, lambda self: len(self._ids))

    def displayedSegmentIDs(self) -> list[str]:
        return list(self._ids)

    def hideSegments(self) -> list[str]:
        return list(self._hidden)

    def setHideSegments(self, segmentIDs: list[str]) -> None:
        self._hidden = list(segmentIDs)
        self._refill()

    def segmentIDForRow(self, row: int) -> str:
        return self._ids[row]

    def rowForSegmentID(self, segmentID: str) -> int:
        return self._ids.index(segmentID) if segmentID in self._ids else -1

    def selectedSegmentIDs(self) -> list[str]:
        rows = sorted(index.row() for index in self._table.selectionModel().selectedRows())
        return [self._ids[row] for row in rows if row < len(self._ids)]

    def setSelectedSegmentIDs(self, segmentIDs: list[str]) -> None:
        if sorted(segmentIDs) != sorted(self.selectedSegmentIDs()):
            self._select(segmentIDs)

    def _select(self, segment_ids: list[str]) -> None:
        selection = QItemSelection()
        for segment_id in segment_ids:
            if segment_id in self._ids:
                index = self._table.model().index(self._ids.index(segment_id), 0)
                selection.select(index, index)
        self._table.selectionModel().select(selection, QItemSelectionModel.ClearAndSelect | QItemSelectionModel.Rows)

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def jumpSlices(self) -> None:
        """Show the middle of the selected segment in the slice views."""
        node, selected = self.segmentationNode(), self.selectedSegmentIDs()
        center = node.GetSegmentCenterRAS(selected[0]) if node is not None and selected else None
        if center is not None:
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *center)


def _segment_ids(node: Any) -> list[str]:
    return list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []


def _row(node: Any, segment_id: str) -> list[QTableWidgetItem]:
    segment, display = node.GetSegmentation().GetSegment(segment_id), node.GetDisplayNode()
    visible, color = QTableWidgetItem(), QTableWidgetItem()
    visible.setCheckState(Qt.Checked if display is None or display.GetSegmentVisibility(segment_id) else Qt.Unchecked)
    color.setBackground(QColor.fromRgbF(*segment.GetColor()))
    opacity = display.GetSegmentOpacity3D(segment_id) if display is not None else 1.0
    return [visible, color, QTableWidgetItem(f"{opacity:.2f}"), QTableWidgetItem(segment.GetName())]
