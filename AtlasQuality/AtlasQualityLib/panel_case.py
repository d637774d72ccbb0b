"""The part of the panel that finds errors in a case and opens case folders, in the child process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AtlasQualityLib import scene_case
from AtlasQualityLib.review_result import ReviewResult
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.panel_job import ApplyCancel, JobState, PanelJob
from AtlasSegmentLib.scene import CASE_FOLDER


class CasePanel:
    """Knows the case of the chosen segmentation, and gets what is in it.

    Args:
        ui: The widgets of the module.
        makeFolder: Makes an empty folder for the maps that are shown.
        onResult: Called with what is in the case of the chosen segmentation, and None when that is nothing any more.
    """

    def __init__(self, ui: Any, makeFolder: Callable[[str], Path], onResult: Callable[[ReviewResult | None], None]) -> None:
        self._ui, self._makeFolder, self._onResult = ui, makeFolder, onResult
        self._parameters: Any = None
        self._chosen: tuple[str, str] | None = None
        self.result: ReviewResult | None = None
        self.job = PanelJob(ui.progressBar, ui.statusLabel, onStateChanged=self._onJobState)
        self._apply = ApplyCancel(ui.findErrorsButton, self.job, self.findErrors, ui.reasonLabel)
        ui.openCaseButton.connect("clicked(bool)", self.openCase)
        ui.caseFolderEdit.connect("currentPathChanged(QString)", self._onPathChanged)

    def setParameterNode(self, parameters: Any) -> None:
        """Work with these parameters from now on; None when the scene closes, which stops the job."""
        if parameters is None:
            self.job.cancel()
        self._parameters, self._chosen, self.result = parameters, None, None

    def update(self) -> None:
        """Take note of the chosen segmentation, and load the maps that its case has already."""
        segmentation, folder = self._parameters.segmentation, self._folder()
        chosen = (segmentation.GetID() if segmentation is not None else "", folder)
        if chosen != self._chosen:
            isOther, self._chosen = self._chosen is not None, chosen
            if isOther and (self.result is None or self.result.case != folder):
                self._setResult(None)
            self._load()
        self._updateReasons()

    def _folder(self) -> str:
        """Return the case folder that the chosen segmentation was made from, "" when it has none."""
        segmentation = self._parameters.segmentation if self._parameters is not None else None
        return "" if segmentation is None else str(segmentation.GetAttribute(CASE_FOLDER) or "")

    def _setResult(self, result: ReviewResult | None) -> None:
        self.result = result
        self._onResult(result)
        if result is not None:
            count = len(result.spots)
            self._ui.statusLabel.text = _("{count} hot spots").format(count=count) if result.maps else ""

    def _load(self) -> None:
        folder = self._folder()
        if folder and self.result is None and CaseFolder(Path(folder)).average.organs("attention") and not self.job.running:
            self._start("review_files", {"case": folder}, self._onReviewed)

    def findErrors(self) -> None:
        """Average and find attention."""
        self._start("find_errors", {"case": self._folder(), "all_organs": self._parameters.allOrgans}, self._onReviewed)

    def openCase(self, _checked: bool = False) -> None:
        """Load a case folder: CT, average and attention."""
        self._start("open_files", {"case": self._ui.caseFolderEdit.currentPath}, self._onOpened)

    def _start(self, task: str, arguments: dict[str, Any], onResult: Callable[[Any, Path], None]) -> None:
        work = self._makeFolder("maps")
        self.job.start(f"AtlasQualityLib.tasks:{task}", {**arguments, "work": str(work)}, lambda answer: onResult(answer, work))

    def _onOpened(self, answer: dict[str, Any], work: Path) -> None:
        ct, segmentation = scene_case.add_case(answer, work)
        if ct is not None:
            scene_case.show_background(ct)
        self._ui.caseFolderEdit.addCurrentPathToHistory()
        self.result = ReviewResult.from_json(answer, work)
        self._chosen = (segmentation.GetID(), self.result.case)
        self._parameters.segmentation = segmentation
        self._setResult(self.result)
        self._updateReasons()

    def _onReviewed(self, answer: dict[str, Any], work: Path) -> None:
        if self._folder() != answer["case"]:  # another segmentation was chosen meanwhile
            self._load()
            return
        self._setResult(ReviewResult.from_json(answer, work))
        self._updateReasons()

    def _onJobState(self, _state: JobState) -> None:
        self._updateReasons()

    def _onPathChanged(self, _path: str) -> None:
        self._updateReasons()

    def _updateReasons(self) -> None:
        """Say what is missing for each button, and what the numbers are of."""
        if self._parameters is None:
            return
        ui, result = self._ui, self.result
        self._apply.setReason(_whyNoErrors(self._parameters.segmentation, self._folder()))
        models = _("Case {case}; {count} models: {models}")
        text = (
            "" if result is None else models.format(case=Path(result.case).name, count=len(result.models), models=", ".join(result.models))
        )
        ui.sourceLabel.text = text
        ui.sourceLabel.setVisible(bool(text))
        reason = _whyNotOpened(ui.caseFolderEdit.currentPath)
        ui.openCaseButton.enabled = not reason and not self.job.running
        ui.openCaseButton.toolTip = reason or _("Load CT, average masks and attention of this case folder")

    def cleanup(self) -> None:
        """Kill the child process and let go of the widgets."""
        self._apply.cleanup()
        self.job.cleanup()


def _whyNoErrors(segmentation: Any | None, folder: str) -> str:
    """Return why errors cannot be looked for, "" when they can."""
    if segmentation is None:
        reason = _("Choose a segmentation, or open a case folder.")
    elif not folder:
        reason = _(
            "Finding errors needs the predictions of the models. Segment the CT with Atlas Segment, or open its case folder; volumes and "
            "comparison work without."
        )
    elif not Path(folder).is_dir():
        reason = _("The case folder {folder} is not there any more.").format(folder=folder)
    elif not CaseFolder(Path(folder)).models():
        reason = _("The case folder {folder} holds no predictions of models.").format(folder=folder)
    else:
        reason = ""
    return str(reason)


def _whyNotOpened(folder: str) -> str:
    """Return why a case folder cannot be opened, "" when it can be tried."""
    if not folder.strip():
        return str(_("Choose a case folder."))
    return "" if Path(folder).is_dir() else str(_("There is no folder {folder}.").format(folder=folder))
