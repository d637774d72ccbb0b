"""The comparison with a reference in the scene: a table node, and a bar plot of Dice and surface Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk

from AtlasQualityLib.comparison import COLUMNS

SERIES = {"dice": ("Dice", (0.22, 0.45, 0.72)), "nsd_1mm": ("NSD 1 mm", (0.95, 0.60, 0.20)), "nsd_2mm": ("NSD 2 mm", (0.40, 0.70, 0.35))}
"""Column to (name, color) of what the plot shows."""
_TABLE, _ROLE = "AtlasAnnotator.ComparisonTable", "AtlasAnnotator.Series."
_PLOTTED = "organ_plotted"


def write_table_node(node: Any | None, rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """Put the rows of a comparison into a table node (made when there is none) and return it; unknown numbers are NaN."""
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    table = vtk.vtkTable()
    for column in COLUMNS:
        array = vtk.vtkStringArray() if column in ("organ", "note") else vtk.vtkDoubleArray()
        array.SetName(column)
        for row in rows:
            value = row.get(column)
            array.InsertNextValue(
                str(value or "") if isinstance(array, vtk.vtkStringArray) else float("nan") if value is None else float(value)
            )
        table.AddColumn(array)
    with slicer.util.NodeModify(node):
        node.SetName(name)
        node.SetAndObserveTable(table)
        node.SetLocked(True)
    return node


def rows_of_table_node(node: Any) -> list[dict[str, Any]]:
    """Return the rows that `write_table_node` wrote, numbers that are NaN as None; [] when the table is another one."""
    table = node.GetTable()
    if table is None or any(table.GetColumnByName(column) is None for column in COLUMNS):
        return []
    rows = []
    for index in range(table.GetNumberOfRows()):
        row = {column: table.GetColumnByName(column).GetValue(index) for column in COLUMNS}
        rows.append({name: None if value != value else value for name, value in row.items()})  # noqa: PLR0124 - NaN
    return rows


def show_plot(chart: Any | None, table: Any, title: str) -> Any:
    """Show Dice and surface Dice of a comparison as bars in Slicer's plot view; returns the chart node, made when there is none."""
    if chart is None:
        chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", title)
    plotted = _plotted_table(chart, table)
    chart.RemoveAllPlotSeriesNodeIDs()
    for column, (name, color) in SERIES.items():
        series = chart.GetNodeReference(_ROLE + column) or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        chart.SetNodeReferenceID(_ROLE + column, series.GetID())
        series.SetAndObserveTableNodeID(plotted.GetID())
        series.SetYColumnName(column)
        series.SetLabelColumnName("organ")
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
        series.SetColor(*color)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetName(title)
    chart.SetTitle(title)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    return chart


def _plotted_table(chart: Any, table: Any) -> Any:
    """Return a hidden table of the organs that have numbers: a bar cannot be NaN."""
    plotted = chart.GetNodeReference(_TABLE)
    if plotted is None:
        plotted = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{chart.GetName()} bars")
        plotted.SetHideFromEditors(True)
        chart.SetNodeReferenceID(_TABLE, plotted.GetID())
    rows = [row for row in rows_of_table_node(table) if all(row[column] is not None for column in SERIES)]
    return write_table_node(plotted, rows, plotted.GetName())
