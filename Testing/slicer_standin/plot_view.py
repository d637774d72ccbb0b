"""A plot view of the layout, drawn with VTK's charts from the real chart, series and table nodes."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .render_view import SIZE


class PlotWidget:
    """What `layoutManager().plotWidget(0)` gives."""

    __slots__ = ("_node", "_view")

    def __init__(self, _application_logic: Any, node: slicer.vtkMRMLPlotViewNode) -> None:
        self._node = node
        self._view = PlotView(node)

    def plotView(self) -> PlotView:
        return self._view

    def mrmlPlotViewNode(self) -> Any:
        return self._node


class PlotView:
    """The chart that a plot view node shows."""

    def __init__(self, node: slicer.vtkMRMLPlotViewNode) -> None:
        self._node = node
        self._side = SIZE[0]
        self._window: Any = None

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    def resize(self, side: int) -> None:
        """Make the view a square of so many pixels."""
        self._side = side

    def repaint(self) -> None:
        """Drawn when a picture is asked for."""

    def fitToContent(self) -> None:
        """A picture always shows all of the chart."""

    def renderWindow(self) -> Any:
        """Return a window with the chart as it is now."""
        view = vtk.vtkContextView()
        view.SetRenderWindow(_offscreen_window(self._side))
        view.GetRenderer().SetBackground(1, 1, 1)
        chart_node = self._node.GetPlotChartNode()
        if chart_node is not None:
            view.GetScene().AddItem(_chart(chart_node))
        self._window = view
        return view.GetRenderWindow()


def _offscreen_window(side: int) -> Any:
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.ShowWindowOff()
    window.SetSize(side, side)
    return window


def _chart(node: slicer.vtkMRMLPlotChartNode) -> Any:
    chart = vtk.vtkChartXY()
    chart.SetTitle(node.GetTitle() or "")
    chart.GetAxis(vtk.vtkAxis.BOTTOM).SetTitle(node.GetXAxisTitle() or "")
    chart.GetAxis(vtk.vtkAxis.LEFT).SetTitle(node.GetYAxisTitle() or "")
    chart.SetShowLegend(bool(node.GetLegendVisibility()))
    for index in range(node.GetNumberOfPlotSeriesNodes()):
        _add_series(chart, node.GetNthPlotSeriesNode(index))
    return chart


def _add_series(chart: Any, series: slicer.vtkMRMLPlotSeriesNode) -> None:
    table_node = series.GetTableNode()
    table = table_node.GetTable() if table_node is not None else None
    if table is None or table.GetColumnByName(series.GetYColumnName() or "") is None:
        return
    kind = vtk.vtkChart.BAR if series.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeBar else vtk.vtkChart.LINE
    plot = chart.AddPlot(kind)
    plot.SetColorF(*series.GetColor())
    plot.SetLabel(series.GetName() or "")
    y = table.GetColumnByName(series.GetYColumnName())
    plot.SetInputData(_numbered(y))
    plot.SetInputArray(0, "row")
    plot.SetInputArray(1, y.GetName())
    labels = table.GetColumnByName(series.GetLabelColumnName() or "")
    if labels is not None:
        _label_axis(chart.GetAxis(vtk.vtkAxis.BOTTOM), labels)


def _numbered(column: Any) -> Any:
    rows = vtk.vtkDoubleArray()
    rows.SetName("row")
    for row in range(column.GetNumberOfValues()):
        rows.InsertNextValue(row)
    table = vtk.vtkTable()
    table.AddColumn(rows)
    table.AddColumn(column)
    return table


def _label_axis(axis: Any, labels: Any) -> None:
    positions, texts = vtk.vtkDoubleArray(), vtk.vtkStringArray()
    for row in range(labels.GetNumberOfValues()):
        positions.InsertNextValue(row)
        texts.InsertNextValue(str(labels.GetValue(row)))
    axis.SetCustomTickPositions(positions, texts)
