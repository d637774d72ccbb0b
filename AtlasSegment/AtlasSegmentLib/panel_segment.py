"""The panel of Atlas Segment: joins its sections with the parameter node, the scene and the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from AtlasSegmentLib.panel_errors import shownErrors
from AtlasSegmentLib.panel_export import ExportSection
from AtlasSegmentLib.panel_job import ApplyCancel, JobState, PanelJob
from AtlasSegmentLib.panel_parameters import connectWidgets
from AtlasSegmentLib.panel_segment_checks import CtJudge, folderReason, modelReason, regionReason
from AtlasSegmentLib.panel_segment_folder import FolderSection
from AtlasSegmentLib.panel_segment_input import InputSection
from AtlasSegmentLib.panel_segment_models import ModelSection, cautions
from AtlasSegmentLib.panel_segment_results import ResultSection
from AtlasSegmentLib.panel_segment_run import RunRequest, SegmentRun, runNote
from AtlasSegmentLib.panel_segment_state import parametersIn, settingsIn
from AtlasSegmentLib.scene_display import WINDOWS, set_window

REQUESTER = "Atlas Segment"


class SegmentPanel(VTKObservationMixin):
    """Everything on the panel.

    Args:
        ui: The widgets of AtlasSegment.ui.
        makeParameterNode: Returns the module's vtkMRMLScriptedModuleNode.
    """

    def __init__(self, ui: Any, makeParameterNode: Any) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self._makeParameterNode = ui, makeParameterNode
        self._parameters: Any = None
        self._guiTag: Any = None
        self._style: tuple[float, bool] | None = None
        self._isOpen = False
        self._isNewScene = True
        self._watched: list[Any] = []
        self._exported: str | None = None
        self._shown: Any = None
        self._cautions: list[str] = []
        self._confirmedDoubt = ""
        self._judge = CtJudge()
        self.job = PanelJob(ui.progressBar, ui.statusLabel, ui.logText, self._onJobState)
        self.run = SegmentRun(self.job, self._onImported, self._onRunEnded)
        self.models = ModelSection(ui, self._onModelsChanged)
        self.input = InputSection(ui, self._setCt, lambda: self._node("ct"), self._setRoi)
        self.folder = FolderSection(ui)
        self.results = ResultSection(ui, lambda: self._node("result"), lambda: self._node("ct"))
        self.apply = ApplyCancel(ui.applyButton, self.job, self._onApply, ui.reasonLabel)
        self.export = ExportSection(ui, lambda: self._node("result"))
        scene = slicer.mrmlScene
        self.addObserver(scene, slicer.vtkMRMLScene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, slicer.vtkMRMLScene.EndCloseEvent, self._onSceneEndClose)
        self.addObserver(scene, slicer.vtkMRMLScene.EndImportEvent, self._onSceneEndImport)
        self.addObserver(scene, slicer.vtkMRMLScene.NodeRemovedEvent, self._onNodeRemoved)

    @property
    def parameters(self) -> Any:
        """The parameter node; None before the panel is first opened and while the scene is closed."""
        return self._parameters

    def open(self) -> None:
        """Take up the parameter node and the keys: the module was entered, or the scene is a new one while it is open."""
        self._isOpen = True
        if self._parameters is None:
            self._parameters = parametersIn(self._makeParameterNode())
            if self._isNewScene and not self._parameters.models:
                self._parameters.models = self.models.firstChoice()
            self._isNewScene = False
        self._connect()
        self.models.refresh()
        self.results.shortcuts.install()
        self._update()

    def close(self) -> None:
        """Let go of the parameter node's widgets and the keys; a run goes on."""
        self._isOpen = False
        self.results.shortcuts.remove()
        self._disconnect()

    def cleanup(self) -> None:
        """Let go of everything; a run is stopped."""
        self.close()
        self.removeObservers()
        self.run.cleanup()
        self.job.cleanup()
        for section in (self.apply, self.models, self.input, self.folder, self.results, self.export):
            section.cleanup()

    # Parameter node

    def _connect(self) -> None:
        if self._guiTag is not None:
            return
        parameters = self._parameters
        self._style = (parameters.opacity, parameters.outline)
        self._guiTag = connectWidgets(parameters, self.ui)
        self.models.setChecked(list(parameters.models))
        self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)

    def _disconnect(self) -> None:
        if self._guiTag is None:
            return
        self.removeObserver(self._parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self._parameters.disconnectGui(self._guiTag)
        self._guiTag = None
        self._watch(None, None)

    def _node(self, name: str) -> Any | None:
        return None if self._parameters is None else getattr(self._parameters, name)

    def _setCt(self, node: Any) -> None:
        if self._parameters is not None:
            self._parameters.ct = node

    def _setRoi(self, node: Any) -> None:
        if self._parameters is not None:
            self._parameters.roi = node

    def _onModelsChanged(self) -> None:
        if self._parameters is not None:
            self._parameters.models = self.models.checked
        self._update()

    def _onParametersModified(self, _caller: Any = None, _event: Any = None) -> None:
        parameters = self._parameters
        if parameters is None:
            return
        self.models.setChecked(list(parameters.models))
        style = (parameters.opacity, parameters.outline)
        if style != self._style:  # not for each segmentation that is chosen: it may have a look of its own
            self._style = style
            self.results.applyStyle(*style)
        self._update()

    # What can be done now

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        if self._guiTag is None:
            return
        ct, roi = self._parameters.ct, self._parameters.roi
        self._watch(ct, roi)
        verdict = self._judge.judge(ct)
        self.input.showDoubt(verdict.doubt)
        self.input.setUsable(ct is not None and not verdict.reason)
        self.folder.show(self._parameters.resultsFolder)
        self._showResult(self._parameters.result, ct)
        self.apply.setReason(self._reason(verdict.reason, ct, roi))

    def _showResult(self, segmentation: Any | None, ct: Any | None) -> None:
        self.results.update(segmentation, ct)
        identifier = "" if segmentation is None else segmentation.GetID()
        if identifier != self._exported:  # it looks at all voxels, so not more often than needed
            self._exported = identifier
            self.export.update()

    def _reason(self, ctReason: str, ct: Any, roi: Any) -> str:
        if self.run.importing:
            return _("Loading the results…")
        facts = self.models.checkedFacts()
        return (
            ctReason
            or modelReason(facts, self.models.isEmpty)
            or regionReason(ct, roi, facts)
            or folderReason(self._parameters.resultsFolder)
        )

    def _watch(self, ct: Any | None, roi: Any | None) -> None:
        """Hear of changes of these nodes alone."""
        wanted = [node for node in (ct, roi) if node is not None]
        if wanted == self._watched:
            return
        events = (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent)
        for event in events:
            for node in self._watched:
                self.removeObserver(node, event, self._update)
            for node in wanted:
                self.addObserver(node, event, self._update)
        self._watched = wanted

    # Scene

    def _onSceneStartClose(self, _caller: Any, _event: Any) -> None:
        self.run.abandon()
        self.export.cancel()
        self._disconnect()
        self._parameters = None

    def _onSceneEndClose(self, _caller: Any, _event: Any) -> None:
        self.ui.resultNoteLabel.setText("")
        self._isNewScene = True
        if self._isOpen:
            self.open()

    def _onSceneEndImport(self, _caller: Any, _event: Any) -> None:
        """Show what a loaded scene says: its nodes come one after another, so a reference may have had no node before."""
        self._disconnect()
        self._parameters = None
        if self._isOpen:
            self.open()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _caller: Any, _event: Any, node: Any) -> None:
        if not slicer.mrmlScene.IsClosing() and node.IsA("vtkMRMLTransformableNode"):
            self._update()

    # Run

    def _onApply(self) -> None:
        with shownErrors():
            self.models.refresh()  # one may have vanished since it was listed
            self._update()
            if self.ui.applyButton.enabled and self._doubtConfirmed():
                self._start()

    def _doubtConfirmed(self) -> bool:
        doubt = self._judge.judge(self._parameters.ct).doubt
        if not doubt or doubt == self._confirmedDoubt:
            return True
        question = _("{doubt} Segment it anyway?").format(doubt=doubt)
        confirmed = bool(slicer.util.confirmYesNoDisplay(question))
        self._confirmedDoubt = doubt if confirmed else ""
        return confirmed

    def _start(self) -> None:
        from AtlasSegmentLib.panel_packages import ensureNeeds

        parameters, facts = self._parameters, self.models.checkedFacts()
        ensureNeeds({need for one in facts for need in one.needs}, parameters.device, REQUESTER, self.job.release)
        self._shown = None
        self._cautions = cautions(facts)
        self.ui.resultNoteLabel.setText("")
        request = RunRequest(
            parameters.ct,
            parameters.roi,
            tuple(one.path for one in facts),
            parameters.device,
            settingsIn(parameters),
            self.folder.results(parameters.resultsFolder),
            self.folder.session(),
        )
        with slicer.util.WaitCursor():
            self.run.start(request)

    def _onJobState(self, state: JobState) -> None:
        if state is JobState.IDLE:
            self.run.removeScratch()

    def _onImported(self, imported: Any) -> None:
        if self._parameters is None:
            return
        if self._shown is None:
            self._shown = imported
            self._parameters.result = imported.node
            self._showCt()
        self.results.applyStyleTo(imported.node, self._parameters.opacity, self._parameters.outline)

    def _showCt(self) -> None:
        """Put the CT into the slice views when they show something else; a window that nobody chose becomes the abdomen's."""
        ct = self._parameters.ct
        display = None if ct is None else ct.GetDisplayNode()
        if display is not None and display.GetAutoWindowLevel():
            set_window(ct, WINDOWS["abdomen"])
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        if ct is not None and not any(composite.GetBackgroundVolumeID() == ct.GetID() for composite in composites):
            slicer.util.setSliceViewerLayers(background=ct, fit=True)

    def _onRunEnded(self, case: Path | None) -> None:
        if case is not None and self._shown is not None:
            note = runNote(self.run.result, self._shown.missing)
            self.ui.resultNoteLabel.setText("\n".join([note, *self._cautions, self.folder.where(case)]))
        self._shown = None
        self.export.update()
        self._update()
