"""The part of the panel that predicts how good the masks are, in the child process, without a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AtlasQualityLib import panel_quality_model, scene_masks, tasks_quality
from AtlasQualityLib.panel_organs import OrgansPanel
from AtlasQualityLib.panel_quality_model import QualityModelChoice
from AtlasQualityLib.panel_slices import SlicesPanel
from AtlasQualityLib.review_result import ReviewResult
from AtlasQualityLib.slice_scores import OrganQuality
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.panel_errors import shownErrors
from AtlasSegmentLib.panel_job import ApplyCancel, PanelJob
from AtlasSegmentLib.panel_packages import PackagesDeclined, ensureNeeds
from AtlasSegmentLib.scene import CASE_FOLDER, volume_from_node

STORED, IN_SCENE = "case", "scene"
Found = Mapping[str, OrganQuality]


class _StatusLine:
    """A label that takes no room while it says nothing."""

    def __init__(self, label: Any) -> None:
        self._label = label
        self.setText("")

    def setText(self, text: str) -> None:
        """Show a text."""
        self._label.setText(text)
        self._label.setVisible(bool(text))


class QualityPanel:
    """Button, choice of the model, numbers of the organs and scores of their slices.

    Args:
        ui: The widgets of the module.
        makeFolder: Makes an empty folder for what the child process is told.
        organs: The table that shows the numbers.
    """

    def __init__(self, ui: Any, makeFolder: Callable[[str], Path], organs: OrgansPanel) -> None:
        self._ui, self._makeFolder, self._organs = ui, makeFolder, organs
        self._parameters: Any = None
        self._found: Found = {}
        self._structure, self._updating = "", False
        self.choice = QualityModelChoice()
        self._status = _StatusLine(ui.predictStatusLabel)
        self.job = PanelJob(ui.predictProgressBar, self._status)
        self._apply = ApplyCancel(ui.predictButton, self.job, self.predict, ui.predictReasonLabel)
        self.slices = SlicesPanel(ui)
        for key, title in ((STORED, _("of the case folder, kept there")), (IN_SCENE, _("as they are in the scene, not kept"))):
            ui.scoredComboBox.addItem(title, key)
        for key, title in panel_quality_model.paletteNames().items():
            ui.sliceColorsComboBox.addItem(title, key)
        self._showChoice()
        ui.qualityModelEdit.connect("currentPathChanged(QString)", self._onModel)
        ui.qualityEmbeddingsEdit.connect("currentPathChanged(QString)", self._onModel)
        ui.sliceColorsComboBox.connect("currentIndexChanged(int)", self._onColors)
        ui.scoredComboBox.connect("currentIndexChanged(int)", self._onScored)

    def setParameterNode(self, parameters: Any) -> None:
        """Work with these parameters from now on; None when the scene closes, which stops the job."""
        self.job.cancel()
        self._parameters = parameters
        self._found, self._structure = {}, ""
        self.slices.show(None, "", "", None)

    def update(self) -> None:
        """Say what is missing, and make the widgets say what the parameters say."""
        if self._parameters is None:
            return
        self._updating = True
        box = self._ui.scoredComboBox
        box.setCurrentIndex(max(0, box.findData(self._parameters.scored)))
        self._updating = False
        self._apply.setReason(self._reason())

    def show(self, segmentation: Any | None, result: ReviewResult | None) -> None:
        """Show what the case of another segmentation, or the case as it is now, says of its masks."""
        rows = result.rows if result is not None else []
        self._show({row.structure: row.quality for row in rows if row.quality is not None}, segmentation)

    def choose(self, structure: str) -> None:
        """Show the slices of an organ."""
        self._structure = structure
        self._showSlices()

    def _show(self, found: Found, segmentation: Any | None) -> None:
        self._found = found
        self._organs.showQuality(found)
        if self._structure not in found:
            scored = [(quality.dice, structure) for structure, quality in found.items() if quality.dice is not None]
            self._structure = min(scored)[1] if scored else ""  # the worst one
        self._showSlices(segmentation)

    def _showSlices(self, segmentation: Any | None = None) -> None:
        node = segmentation if segmentation is not None or self._parameters is None else self._parameters.segmentation
        quality = self._found.get(self._structure)
        organs = scene_masks.segment_organs(node) if node is not None and quality is not None else []
        segment = next((organ.segment_id for organ in organs if organ.structure == self._structure), "")
        self.slices.show(node, segment, self._structure.replace("_", " "), quality)

    # What is scored

    def _folder(self) -> CaseFolder | None:
        """Return the case folder of the segmentation, None when it has none."""
        segmentation = self._parameters.segmentation
        text = "" if segmentation is None else str(segmentation.GetAttribute(CASE_FOLDER) or "")
        return CaseFolder(Path(text)) if text else None

    def _inScene(self) -> bool:
        return self._folder() is None or self._parameters.scored == IN_SCENE

    def _volume(self) -> Any | None:
        """Return the CT node that the segmentation was drawn on, None when it knows none."""
        segmentation = self._parameters.segmentation
        node = segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())
        return node if node is not None and node.IsA("vtkMRMLScalarVolumeNode") and node.GetImageData() is not None else None

    def _reason(self) -> str:
        """Return why nothing can be predicted, "" when it can."""
        segmentation, case = self._parameters.segmentation, self._folder()
        self._ui.scoredComboBox.setEnabled(case is not None)
        if segmentation is None:
            return str(_("Choose a segmentation, or open a case folder."))
        if self._inScene():
            if segmentation.GetSegmentation().GetNumberOfSegments() == 0:
                return str(_("The segmentation has no masks."))
            if self._volume() is None and (case is None or not case.ct.is_file()):
                return str(_("There is no CT: choose it as the source volume of the segmentation in the Segment Editor."))
        elif case is not None and not case.average.organs():
            return str(_("The case folder {folder} holds no masks.").format(folder=case.folder))
        elif case is not None and not case.ct.is_file():
            return str(_("The case folder {folder} holds no CT.").format(folder=case.folder))
        return self.choice.reason()

    # The job

    def predict(self) -> None:
        """Score all masks in the child process."""
        with shownErrors():
            try:
                ensureNeeds(self.choice.needs(), "auto", _("Atlas Quality"), self.job.release)
            except PackagesDeclined as declined:
                self._status.setText(str(declined))
                return
            case = self._folder()
            if case is not None and not self._inScene():
                call, arguments = "predict_quality_files", {"case": str(case.folder)}
            else:
                call, arguments = "score_scene_masks", self._left()
            sent = self._parameters.segmentation.GetID()
            every = {**arguments, **self.choice.arguments()}
            self.job.start(f"AtlasQualityLib.tasks_quality:{call}", every, lambda answer: self._onAnswer(answer, sent))

    def _left(self) -> dict[str, Any]:
        """Leave CT and masks of the scene on the disk."""
        folder, node, case = self._makeFolder("quality"), self._volume(), self._folder()
        masks = scene_masks.write_segmentation(self._parameters.segmentation, folder / "masks")
        if node is not None:
            ct = tasks_quality.write_scene_volume(folder / "ct", volume_from_node(node))
        else:
            ct = case.ct if case is not None else folder
        return {"ct": str(ct), "masks": str(masks)}

    def _onAnswer(self, answer: Mapping[str, Any], sent: str) -> None:
        segmentation = self._parameters.segmentation if self._parameters is not None else None
        if segmentation is None or segmentation.GetID() != sent:  # another one was chosen meanwhile
            return
        found = {structure_for(organ).name: OrganQuality.from_json(described) for organ, described in answer["organs"].items()}
        self._show(found, segmentation)
        known = [quality.dice for quality in found.values() if quality.dice is not None]
        text = _("{count} organs scored by {model}").format(count=len(found), model=answer["model"])
        if known:
            text += "; " + _("lowest predicted Dice {dice:.2f}").format(dice=min(known))
        self._status.setText("\n".join([text, *answer.get("warnings", ())]))

    # Choices

    def _showChoice(self) -> None:
        ui = self._ui
        ui.qualityModelEdit.currentPath = self.choice.chosen
        ui.qualityEmbeddingsEdit.currentPath = self.choice.embeddings
        ui.sliceColorsComboBox.setCurrentIndex(ui.sliceColorsComboBox.findData(panel_quality_model.palette()))

    def _onModel(self, _path: str) -> None:
        self.choice.chosen = str(self._ui.qualityModelEdit.currentPath).strip()
        self.choice.embeddings = str(self._ui.qualityEmbeddingsEdit.currentPath).strip()
        self.update()

    def _onColors(self, _index: int) -> None:
        chosen = str(self._ui.sliceColorsComboBox.currentData or "")
        if chosen and chosen != panel_quality_model.palette():
            panel_quality_model.setPalette(chosen)
            self.slices.recolor()

    def _onScored(self, _index: int) -> None:
        if not self._updating and self._parameters is not None:
            self._parameters.scored = str(self._ui.scoredComboBox.currentData)

    def cleanup(self) -> None:
        """Kill the child process and let go of the widgets."""
        self.slices.cleanup()
        self._apply.cleanup()
        self.job.cleanup()
