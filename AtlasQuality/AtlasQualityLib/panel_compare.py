"""The part of the panel that compares the segmentation with a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasQualityLib import scene_masks, scene_plot
from AtlasQualityLib.comparison import NOT_HERE, NOT_IN_REFERENCE, write_comparison
from AtlasQualityLib.panel_tables import Cell, SortableTable, rounded
from AtlasSegmentLib.labels import load_table, table_names
from AtlasSegmentLib.panel_errors import shownErrors
from AtlasSegmentLib.panel_job import ApplyCancel, PanelJob

OWN_NAMES = ""
"""In place of a label table: the names in the color table of the node."""
_TASK = "AtlasQualityLib.tasks:compare_files"
_INFINITE = 1e9


class ComparePanel:
    """Reference, table, plot and CSV.

    Args:
        ui: The widgets of the module.
        makeFolder: Makes an empty folder for what the child process is told.
    """

    def __init__(self, ui: Any, makeFolder: Callable[[str], Path]) -> None:
        self._ui, self._makeFolder = ui, makeFolder
        self._parameters: Any = None
        self._rows: list[dict[str, Any]] = []
        self._title, self._updating = "", False
        self.job = PanelJob(ui.compareProgressBar, ui.compareStatusLabel)
        self._apply = ApplyCancel(ui.compareButton, self.job, self.start, ui.compareReasonLabel)
        self._table = SortableTable(ui.compareTable, _columns())
        ui.tableComboBox.addItem(_("names in its color table"), OWN_NAMES)
        for name in table_names():
            ui.tableComboBox.addItem(load_table(name).title, name)
        ui.referenceFileEdit.connect("currentPathChanged(QString)", self._onReferenceChosen)
        ui.tableComboBox.connect("currentIndexChanged(int)", self._onReferenceChosen)
        ui.plotButton.connect("clicked()", self._onPlot)
        ui.exportButton.connect("clicked()", self._onExport)
        self.show([])

    def setParameterNode(self, parameters: Any) -> None:
        """Show what these parameters say from now on, and the comparison that was saved with the scene; None when the scene closes."""
        self.job.cancel()
        self._parameters = parameters
        table = parameters.comparison if parameters is not None else None
        self._title = table.GetName() if table is not None else ""
        self.show(scene_plot.rows_of_table_node(table) if table is not None else [])
        self.update()

    def update(self) -> None:
        """Make the widgets say what the parameters say."""
        parameters, ui = self._parameters, self._ui
        if parameters is None:
            return
        self._updating = True
        if ui.referenceFileEdit.currentPath != parameters.referenceFile:
            ui.referenceFileEdit.currentPath = parameters.referenceFile
        ui.tableComboBox.currentIndex = max(0, ui.tableComboBox.findData(parameters.referenceTable))
        ui.referenceFileEdit.enabled = parameters.reference is None
        ui.tableComboBox.enabled = parameters.reference is None or parameters.reference.IsA("vtkMRMLLabelMapVolumeNode")
        self._updating = False
        self._apply.setReason(self._reason())

    def _reason(self) -> str:
        """Return why there is nothing to compare, "" when there is."""
        parameters = self._parameters
        reason = ""
        if parameters.segmentation is None:
            reason = _("Choose a segmentation at the top.")
        elif parameters.reference is None and not parameters.referenceFile:
            reason = _("Choose a reference: a node of the scene or a file.")
        elif parameters.reference is None and not Path(parameters.referenceFile).is_file():
            reason = _("There is no such file.")
        elif parameters.reference is None and not parameters.referenceTable:
            reason = _("Choose what the values of the file mean.")
        elif parameters.reference is not None and parameters.reference.GetID() == parameters.segmentation.GetID():
            reason = _("The reference is the segmentation itself.")
        return str(reason)

    def start(self) -> None:
        """Compare in the child process; what an earlier comparison gave is not of these any more."""
        with shownErrors():
            self.show([])
            self._send(self._sources(), resample=False)

    def _sources(self) -> dict[str, Any]:
        parameters = self._parameters
        folder = self._makeFolder("compare")
        segmentation = scene_masks.write_segmentation(parameters.segmentation, folder / "segmentation")
        node = parameters.reference
        if node is None:
            reference = {"file": parameters.referenceFile, "table": parameters.referenceTable}
        elif node.IsA("vtkMRMLSegmentationNode"):
            reference = {"scene": str(scene_masks.write_segmentation(node, folder / "reference"))}
        else:
            table = load_table(parameters.referenceTable) if parameters.referenceTable else None
            reference = {"scene": str(scene_masks.write_label_map(node, table, folder / "reference"))}
        name = node.GetName() if node is not None else Path(parameters.referenceFile).name
        self._title = _("{segmentation} against {reference}").format(segmentation=parameters.segmentation.GetName(), reference=name)
        return {"segmentation": {"scene": str(segmentation)}, "reference": reference}

    def _send(self, sources: Mapping[str, Any], *, resample: bool) -> None:
        self.job.start(_TASK, {**sources, "resample": resample}, lambda answer: self._onAnswer(answer, sources))

    def _onAnswer(self, answer: Mapping[str, Any], sources: Mapping[str, Any]) -> None:
        if "grids" in answer:
            question = _("{reason}\n\nBring the reference onto the voxels of the segmentation? The nearest voxel decides.")
            if slicer.util.confirmYesNoDisplay(question.format(reason=answer["grids"])):
                self._send(sources, resample=True)
            else:
                self._ui.compareStatusLabel.text = _("Not compared: the grids differ.")
            return
        parameters = self._parameters
        if parameters is None:
            return
        parameters.comparison = scene_plot.write_table_node(parameters.comparison, answer["rows"], self._title)
        self.show(answer["rows"])
        self._ui.compareStatusLabel.text = _summary(self._title, answer["rows"], answer["resampled"])

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Show rows of a comparison."""
        self._rows = rows
        self._table.fill([(row["organ"], _cells(row)) for row in rows], {row["organ"]: _note(row) for row in rows})
        self._ui.compareTable.setVisible(bool(rows))
        self._ui.plotButton.enabled = any(row["dice"] is not None for row in rows)
        self._ui.exportButton.enabled = bool(rows)

    def _onPlot(self) -> None:
        with shownErrors():
            parameters = self._parameters
            parameters.chart = scene_plot.show_plot(parameters.chart, parameters.comparison, self._title)

    def _onExport(self) -> None:
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Save table"), "comparison.csv", _("Tables (*.csv)"))
        if path:
            with shownErrors():
                write_comparison(Path(path), self._rows)
                self._ui.compareStatusLabel.text = _("Saved {path}").format(path=path)

    def _onReferenceChosen(self, _value: object) -> None:
        if not self._updating and self._parameters is not None:
            self._parameters.referenceFile = self._ui.referenceFileEdit.currentPath
            self._parameters.referenceTable = str(self._ui.tableComboBox.currentData or "")

    def cleanup(self) -> None:
        """Kill the child process and let go of the widgets."""
        self._apply.cleanup()
        self.job.cleanup()


def _columns() -> tuple[tuple[str, str], ...]:
    return (
        (_("Organ"), _("Name of the structure")),
        (_("Dice"), _("Overlap of the volumes, 1 is perfect")),
        (_("NSD1"), _("Share of the surfaces within 1 mm of each other")),
        (_("NSD2"), _("Share of the surfaces within 2 mm of each other")),
        (_("HD95"), _("95 % of each surface lies within this distance of the other, mm")),
        (_("ASSD"), _("Mean distance of the surfaces, mm")),
        (_("\N{GREEK CAPITAL LETTER DELTA} ml"), _("Volume minus that of the reference, ml")),
    )


def _cells(row: Mapping[str, Any]) -> list[Cell]:
    digits = {"dice": 2, "nsd_1mm": 2, "nsd_2mm": 2, "hd95_mm": 1, "assd_mm": 1, "difference_ml": 1}
    return [str(row["organ"]).replace("_", " "), *(_number(row[name], count) for name, count in digits.items())]


def _note(row: Mapping[str, Any]) -> str:
    """Return why a row has no numbers, else the volumes behind them."""
    if row["note"]:
        reasons = {NOT_HERE: _("only in the reference"), NOT_IN_REFERENCE: _("not in the reference")}
        return _("{organ}: {reason}").format(organ=row["organ"], reason=reasons.get(row["note"], row["note"]))
    volumes = _("{organ}: {ours:.1f} ml, reference {theirs:.1f} ml")
    return str(volumes.format(organ=row["organ"], ours=row["volume_ml"], theirs=row["reference_ml"]))


def _number(value: float | None, digits: int) -> Cell:
    return "\N{INFINITY}" if value is not None and abs(value) > _INFINITE else rounded(value, digits)


def _summary(title: str, rows: Sequence[Mapping[str, Any]], resampled: bool) -> str:
    """Return what was compared, how well it agrees on average, and what could not be compared."""
    compared = [row for row in rows if not row["note"]]
    parts = [_("{title}: {count} organs").format(title=title, count=len(compared))]
    known = [row["dice"] for row in compared if row["dice"] is not None]
    if known:
        parts.append(_("mean Dice {dice:.2f}").format(dice=sum(known) / len(known)))
    if known and not any(known):
        parts.append(_("they overlap nowhere: is this the same scan?"))
    lacking = [str(row["organ"]) for row in rows if row["note"] == NOT_IN_REFERENCE]
    if lacking:
        parts.append(_("not in the reference: {organs}").format(organs=", ".join(lacking)))
    extra = sum(row["note"] == NOT_HERE for row in rows)
    if extra:
        parts.append(_("only in the reference: {count} (end of the table)").format(count=extra))
    if resampled:
        parts.append(_("the reference was resampled"))
    return "; ".join(parts)
