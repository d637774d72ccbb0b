"""slicer.app.layoutManager(): Slicer's real layout logic decides which views there are; the views are drawn when asked for."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from PySide6.QtCore import Property, Signal

from .plot_view import PlotWidget
from .slice_view import SliceWidget
from .table_view import TableWidget
from .threed_view import ThreeDWidget


class qSlicerLayoutManager(qt.QObject):
    layoutChanged = Signal(int)

    def __init__(self, application_logic: Any) -> None:
        super().__init__()
        self._application_logic, self._widgets = application_logic, {}
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._shown = -1
        self._node().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        for name in ("Red", "Green", "Yellow"):
            self._widget(slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode"))
        self._widget(slicer.mrmlScene.GetSingletonNode("1", "vtkMRMLViewNode"))
        self._update()
        self._node().AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update())
        slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, lambda *_: self._map_views())

    def _node(self) -> Any:
        return self._logic.GetLayoutNode()

    def _update(self) -> None:
        arrangement = self._node().GetViewArrangement()
        if arrangement == self._shown:
            return
        self._shown = arrangement
        self._map_views()
        self.layoutChanged.emit(arrangement)

    def _map_views(self) -> None:
        shown = self._view_nodes()
        for node in slicer.util.getNodesByClass("vtkMRMLAbstractViewNode"):
            node.SetMappedInLayout(int(node in shown))
        for node in shown:
            self._widget(node)

    def _view_nodes(self) -> list[Any]:
        views = self._logic.GetViewNodes()
        return [views.GetItemAsObject(index) for index in range(views.GetNumberOfItems())]

    def _widget(self, node: Any) -> Any:
        kinds = (("vtkMRMLSliceNode", SliceWidget), ("vtkMRMLViewNode", ThreeDWidget))
        kinds += (("vtkMRMLPlotViewNode", PlotWidget), ("vtkMRMLTableViewNode", TableWidget))
        known, widget = self._widgets.get(node.GetID(), (None, None))
        if known is not node:  # a new view, or a node that took the place of a removed one
            make = next(kind for class_name, kind in kinds if node.IsA(class_name))
            widget = make(self._application_logic, node)
            self._widgets[node.GetID()] = (node, widget)
        return widget

    def _shown_widgets(self, class_name: str) -> list[Any]:
        return [self._widget(node) for node in self._view_nodes() if node.IsA(class_name)]

    def _at(self, class_name: str, index: int) -> Any:
        widgets = self._shown_widgets(class_name)
        return widgets[index] if 0 <= index < len(widgets) else None

    layout = Property(int, lambda self: self._node().GetViewArrangement())
    threeDViewCount = Property(int, lambda self: len(self._shown_widgets("vtkMRMLViewNode")))
    plotViewCount = Property(int, lambda self: len(self._shown_widgets("vtkMRMLPlotViewNode")))
    tableViewCount = Property(int, lambda self: len(self._shown_widgets("vtkMRMLTableViewNode")))

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def layoutLogic(self) -> Any:
        return self._logic

    def setLayout(self, newLayout: int) -> None:
        self._node().SetViewArrangement(int(newLayout))

    def mrmlSliceLogics(self) -> Any:
        return self._application_logic.GetSliceLogics()

    def mrmlViewLogics(self) -> Any:
        return self._application_logic.GetViewLogics()

    def sliceViewNames(self) -> list[str]:
        return [node.GetLayoutName() for node, widget in self._widgets.values() if isinstance(widget, SliceWidget)]

    def sliceWidget(self, name: str) -> SliceWidget | None:
        node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        return self._widget(node) if node is not None else None

    def threeDWidget(self, index: int) -> ThreeDWidget | None:
        return self._at("vtkMRMLViewNode", index)

    def plotWidget(self, index: int) -> PlotWidget | None:
        return self._at("vtkMRMLPlotViewNode", index)

    def tableWidget(self, index: int) -> TableWidget | None:
        return self._at("vtkMRMLTableViewNode", index)

    def shownWidgets(self) -> list[Any]:
        """Return the widgets of the layout in its order (of the stand-in, not of Slicer)."""
        return [self._widget(node) for node in self._view_nodes()]

    def viewWidget(self, node: Any) -> Any:
        return self._widget(node)

    def activeMRMLPlotViewNode(self) -> Any:
        widgets = self._shown_widgets("vtkMRMLPlotViewNode")
        return widgets[0].mrmlPlotViewNode() if widgets else None

    def resetSliceViews(self) -> None:
        for name in self.sliceViewNames():
            self.sliceWidget(name).fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        for widget in self._shown_widgets("vtkMRMLViewNode"):
            widget.threeDView().resetFocalPoint()
            widget.threeDView().resetCamera()
