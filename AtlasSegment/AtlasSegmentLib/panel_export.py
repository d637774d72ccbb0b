"""The Export section of the Atlas Segment panel: format, values, file, and one button that is also Cancel while it works.

Masks are taken from the scene one at a time between events of the panel and handed to a child process, which writes; only Slicer's own
format is written at once. Nothing is replaced or left out before the user was asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib import export_job, scene_export
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.export_formats import (
    DICOM_OBJECTS,
    ENDINGS,
    LABEL_MAPS,
    ORGANS,
    SEG_NRRD,
    ExportRequest,
    planned_files,
    with_ending,
)
from AtlasSegmentLib.files import storage_errors
from AtlasSegmentLib.panel_errors import displayable
from AtlasSegmentLib.panel_export_texts import existsText, formatNames, lossText, outsideText, tableNames, writtenText
from AtlasSegmentLib.panel_job import PanelJob
from AtlasSegmentLib.scene import world_of


class ExportSection:
    """Wires exportFormatCombo, exportTableCombo, exportPathEdit (ctkPathLineEdit), exportButton and exportStatusLabel.

    The owner calls `update` when the segmentation or its CT changes, `cancel` when the scene closes and `cleanup` at the end.
    A button for the folder of the CT's DICOM files and a progress bar are added to the layout of exportStatusLabel.

    Args:
        ui: What `slicer.util.childWidgetVariables` returned.
        segmentation: Returns the segmentation node to export, or None.
        ct: Returns the CT to take for a segmentation that belongs to none, or None.
    """

    def __init__(self, ui: Any, segmentation: Callable[[], Any], ct: Callable[[], Any] = lambda: None) -> None:
        self._ui, self._segmentation, self._ct = ui, segmentation, ct
        self._dicomFolder: tuple[str, Path] | None = None  # of which segmentation: another one may be of another patient
        self._message = self._sceneReason = ""
        self._packing: Iterator[tuple[float, str]] | None = None
        self._packed: tempfile.TemporaryDirectory[str] | None = None
        self._request: ExportRequest | None = None
        self._folderButton, self._bar = qt.QPushButton(_("Folder of the CT's DICOM files...")), qt.QProgressBar()
        for widget in (self._folderButton, self._bar):
            ui.exportStatusLabel.parentWidget().layout().addWidget(widget)
            widget.setVisible(False)
        ui.exportStatusLabel.setWordWrap(True)
        self._fill(ui.exportFormatCombo, formatNames())
        self._fill(ui.exportTableCombo, tableNames())
        self._job = PanelJob(self._bar, ui.exportStatusLabel)
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._connections = (
            (self._timer, "timeout()", self._packNext),
            (ui.exportFormatCombo, "currentIndexChanged(int)", self._onFormatChanged),
            (ui.exportPathEdit, "currentPathChanged(QString)", self._onPathChanged),
            (ui.exportButton, "clicked(bool)", self._onButton),
            (self._folderButton, "clicked(bool)", self._onFolderButton),
        )
        for widget, signal, slot in self._connections:
            widget.connect(signal, slot)
        self._onFormatChanged()

    @staticmethod
    def _fill(combo: Any, names: dict[str, str]) -> None:
        combo.clear()
        for key, name in names.items():
            combo.addItem(name, key)

    @property
    def running(self) -> bool:
        """Whether an export is under way."""
        return self._packing is not None or self._job.running

    @property
    def format(self) -> str:
        """The chosen format, a key of `formatNames`."""
        return str(self._ui.exportFormatCombo.itemData(self._ui.exportFormatCombo.currentIndex))

    @property
    def path(self) -> str:
        """What the user wrote as file or folder."""
        return str(self._ui.exportPathEdit.currentPath).strip()

    def cleanup(self) -> None:
        """Stop, and let go of the widgets."""
        self.cancel()
        for widget, signal, slot in self._connections:
            widget.disconnect(signal, slot)
        self._job.cleanup()

    def cancel(self) -> None:
        """Stop the export that is under way; files that are not finished are not left behind."""
        if self.running:
            self._job.cancel()
            self._finish(_("Export cancelled."))

    def update(self) -> None:
        """Look at the scene again: enable the button, or disable it with the reason as tool tip and in the label."""
        self._sceneReason = "" if self.running else self._reasonOfScene()
        self._updateButton()

    def _updateButton(self) -> None:
        reason = "" if self.running else self._sceneReason or self._reasonOfPath()
        self._ui.exportButton.setText(_("Cancel") if self.running else _("Export"))
        self._ui.exportButton.setEnabled(not reason)
        self._ui.exportButton.setToolTip(reason or (_("Stop the export.") if self.running else _("Write the segmentation to files.")))
        if not self.running:
            self._show(reason or self._message)

    def _show(self, text: str) -> None:
        self._ui.exportStatusLabel.setText(displayable(text))

    def _reasonOfScene(self) -> str:
        """Return why the segmentation cannot be exported now; "" when it can."""
        node = self._segmentation()
        self._folderButton.setVisible(False)
        if node is None:
            return str(_("Choose or make a segmentation first."))
        if node.GetSegmentation().GetNumberOfSegments() == 0:
            return str(_("The segmentation has no segments."))
        try:
            world_of(node)
            scene_export.export_grid(node, self._ct())
            if self.format in DICOM_OBJECTS:
                self._sourceFiles(node)
        except AtlasError as error:
            return str(error)
        return ""

    def _reasonOfPath(self) -> str:
        if self.path:
            return ""
        return str(_("Choose the folder to write to.") if self.format == ORGANS else _("Choose the file to write."))

    def _sourceFiles(self, node: Any) -> list[Path]:
        """Return the DICOM files of the CT: Slicer's own record, else those of the folder that the user chose. Raises InputError."""
        from AtlasSegmentLib.export_source import dicom_slices_of

        try:
            return scene_export.dicom_files_of(node, self._ct())
        except AtlasError:
            self._folderButton.setVisible(True)
            if self._dicomFolder is None or self._dicomFolder[0] != node.GetID():
                raise
            return dicom_slices_of(self._dicomFolder[1])

    def _onFormatChanged(self, _index: int = 0) -> None:
        kind, edit = self.format, self._ui.exportPathEdit
        isLabelMap = kind in LABEL_MAPS
        self._ui.exportTableCombo.setEnabled(isLabelMap)
        explained = (
            _("Which number each organ has in the label map.") if isLabelMap else _("Only label maps have values; this format has names.")
        )
        self._ui.exportTableCombo.setToolTip(explained)
        edit.filters = (ctk.ctkPathLineEdit.Dirs if kind == ORGANS else ctk.ctkPathLineEdit.Files) | ctk.ctkPathLineEdit.Writable
        edit.nameFilters = [] if kind == ORGANS else [f"{formatNames()[kind]} (*{ENDINGS[kind]})"]
        if self.path:
            edit.currentPath = str(with_ending(Path(self.path), kind))
        self._message = ""
        self.update()

    def _onPathChanged(self, _path: str = "") -> None:
        self._message = ""
        self._updateButton()

    def _onFolderButton(self, _checked: bool = False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of the CT's DICOM files"))
        node = self._segmentation()
        if folder and node is not None:
            self._dicomFolder = (node.GetID(), Path(str(folder)))
            self.update()

    def _onButton(self, _checked: bool = False) -> None:
        if self.running:
            self.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The export failed.")):
            self.export()

    def export(self) -> None:
        """Start the export, after the questions that can be asked now."""
        self._message = ""
        self.update()
        try:
            if not self._sceneReason and self.path:
                self._start(self._segmentation())
        except AtlasError as error:
            self._fail(error)

    def _start(self, node: Any) -> None:
        kind = self.format
        path = with_ending(Path(self.path).expanduser().absolute(), kind)
        isDicom = kind in DICOM_OBJECTS
        if isDicom and not self._havePackages():
            return
        files = self._sourceFiles(node) if isDicom else []
        ct = self._ct()
        grid, stored = scene_export.dicom_grids(node, files, ct) if isDicom else (scene_export.export_grid(node, ct),) * 2
        organs = scene_export.organs_of_segmentation(node, grid)
        with storage_errors(path):  # a name that is too long
            existing = [file for file in planned_files(kind, path, organs) if file.exists()]
        if existing and not slicer.util.confirmYesNoDisplay(existsText(existing)):
            return
        if kind == SEG_NRRD:
            self._writeNow(node, path, bool(existing))
            return
        lost = scene_export.voxels_outside(node, grid)
        if lost and not slicer.util.confirmYesNoDisplay(outsideText(lost)):
            return
        table = str(self._ui.exportTableCombo.itemData(self._ui.exportTableCombo.currentIndex))
        details = scene_export.details_of(node)
        self._request = ExportRequest(kind, path, table, bool(existing), False, str(node.GetName()), tuple(files), details)
        self._packed = tempfile.TemporaryDirectory(prefix="atlas-export-")
        self._packing = export_job.pack_organs(Path(self._packed.name), organs, stored)
        self._timer.start()
        self.update()

    def _havePackages(self) -> bool:
        from AtlasSegmentLib.packages import DICOM_SEG, requirements
        from AtlasSegmentLib.panel_packages import PackagesDeclined, ensurePackages

        try:
            ensurePackages(requirements(DICOM_SEG), _("Atlas Segment"), release=self._job.release)
        except PackagesDeclined as error:
            self._message = str(error)
            self.update()
            return False
        return True

    def _writeNow(self, node: Any, path: Path, overwrite: bool) -> None:
        self._show(_("Writing..."))
        slicer.app.processEvents()
        with slicer.util.WaitCursor():
            files = scene_export.write_seg_nrrd(path, node, overwrite=overwrite)
        self._finish(writtenText([str(file) for file in files], sum(file.stat().st_size for file in files)))

    def _packNext(self) -> None:
        if self._packing is None:
            return
        try:
            share, organ = next(self._packing)
            self._bar.setVisible(True)
            self._bar.setRange(0, 100)
            self._bar.setValue(round(100 * share))
            self._show(_("Reading {organ}...").format(organ=organ))
        except StopIteration:
            self._timer.stop()
            self._packing = None
            self._write()
        except AtlasError as error:
            self._fail(error)
        except Exception as error:  # the edge of the panel: shown once, and the panel stays usable
            self._fail(AtlasError(_("The export failed: {error}").format(error=error)))

    def _write(self) -> None:
        if self._packed is None or self._request is None:
            return
        arguments = {"folder": self._packed.name, "request": export_job.as_arguments(self._request)}
        self._job.start(export_job.CALL, arguments, self._onWritten, self._onFailed)
        self.update()

    def _onWritten(self, result: dict[str, Any]) -> None:
        if result["files"]:
            self._finish(writtenText(result["files"], result["bytes"], result["remarks"]))
            return
        if self._request is not None and slicer.util.confirmYesNoDisplay(lossText(result["remarks"])):
            self._request = replace(self._request, accept_losses=True)
            self._write()
        else:
            self._finish(_("Nothing was written."))

    def _onFailed(self, event: Any) -> None:
        self._finish(str(AtlasError(event.text, event.remedy)))

    def _fail(self, error: AtlasError) -> None:
        self._finish(str(error))
        slicer.util.errorDisplay(displayable(f"{error.message}\n\n{error.remedy}".strip()))

    def _finish(self, message: str) -> None:
        self._timer.stop()
        self._packing = self._request = None
        if self._packed is not None:
            self._packed.cleanup()
            self._packed = None
        self._job.release()
        self._bar.setVisible(False)
        self._message = message
        self.update()
