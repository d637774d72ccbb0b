"""qMRMLTableView and qMRMLPlotView inside a panel."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6.QtCore import QRect, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QTableWidget, QTableWidgetItem, QWidget

from .mrml_widget import SceneAware, SceneWidget
from .observers import Observers
from .plot_view import PlotView
from .qt_loader import register
from .render_view import picture
from .stored_property import stored


@register
class qMRMLTableView(SceneAware, QTableWidget):
    """Shows a table node. Slicer's class is a QTableView; of QTableWidget only what both have may be used."""

    mrmlSceneChanged = Signal(object)
    transposed, setTransposed = stored("transposed", bool, False)
    firstRowLocked, setFirstRowLocked = stored("firstRowLocked", bool, False)
    firstColumnLocked, setFirstColumnLocked = stored("firstColumnLocked", bool, False)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 0, parent)
        self._observers = Observers(self)
        self._node_id: str | None = None

    def mrmlTableNode(self) -> Any:
        return slicer.mrmlScene.GetNodeByID(self._node_id) if self._node_id else None

    def setMRMLTableNode(self, node: Any) -> None:
        self._observers.clear()
        self._node_id = node.GetID() if node is not None else None
        if node is not None:
            self._observers.add(node, vtk.vtkCommand.ModifiedEvent, "_refill")
        self._refill()

    def _refill(self, *_: object) -> None:
        node = self.mrmlTableNode()
        columns = node.GetNumberOfColumns() if node is not None else 0
        self.setColumnCount(columns)
        self.setRowCount(node.GetNumberOfRows() if node is not None else 0)
        self.setHorizontalHeaderLabels([node.GetColumnName(column) for column in range(columns)])
        for row in range(node.GetNumberOfRows() if node is not None else 0):
            for column in range(columns):
                self.setItem(row, column, QTableWidgetItem(node.GetCellText(row, column)))


@register
class qMRMLPlotView(SceneWidget):
    """Shows the chart of a plot view node."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self.setMinimumHeight(200)

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._observers.clear()
        self._node = node
        if node is not None:
            self._observers.add(node, vtk.vtkCommand.ModifiedEvent, "_redraw")
        self.update()

    def fitToContent(self) -> None:
        """The whole chart is always shown."""

    def _redraw(self, *_: object) -> None:
        self.update()

    def paintEvent(self, _event: object) -> None:
        painter = QPainter(self)
        if self._node is not None:
            painter.drawImage(QRect(0, 0, self.width, self.height), picture(PlotView(self._node).renderWindow()))
        painter.end()
