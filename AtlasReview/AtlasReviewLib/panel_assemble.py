"""The section that assembles the dataset in the child process, lists what failed, and shows the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasReviewLib.panel_context import ReviewContext
from AtlasReviewLib.release_layout import VERSIONS
from AtlasReviewLib.review_verdicts import ReviewCount, count_states
from AtlasReviewLib.scene_assembled import show_assembled
from AtlasSegmentLib.panel_errors import displayable, guarded
from AtlasSegmentLib.panel_job import ApplyCancel, PanelJob

_CALL = "AtlasReviewLib.tasks:assemble_files"
_SHOWN = 5


def reviewText(count: ReviewCount) -> str:
    """Return how far the review is and what that means for the release."""
    text = _("Reviewed: {accepted} accepted, {rejected} rejected (left out), {aside} flagged or skipped, {open} not finished.").format(
        accepted=count.accepted, rejected=count.rejected, aside=count.aside, open=count.open
    )
    unchecked = count.aside + count.open
    return text + (" " + _("What nobody accepted goes in as it is, and the manifest says so.") if unchecked else "")


class AssemblePanel:
    """The section with the Assemble button.

    Args:
        ui: The widgets of the panel.
        context: The open dataset.
        openCase: Returns the name of the case that is open, or "".
        hasUnsaved: Returns whether the open task has unsaved edits.
    """

    def __init__(self, ui: Any, context: ReviewContext, openCase: Callable[[], str], hasUnsaved: Callable[[], bool]) -> None:
        self.ui, self._context, self._openCase, self._hasUnsaved = ui, context, openCase, hasUnsaved
        self.job = PanelJob(ui.assembleProgress, ui.assembleStatusLabel)
        self._button = ApplyCancel(ui.applyButton, self.job, guarded(self.start), ui.assembleReasonLabel)
        ui.releaseCombo.clear()
        for version in VERSIONS:
            ui.releaseCombo.addItem(_("AbdomenAtlas {version}").format(version=version), version)
        ui.releaseCombo.setCurrentIndex(len(VERSIONS) - 1)
        self._slot = guarded(self.update)
        ui.outputPath.connect("currentPathChanged(QString)", self._slot)
        self.update()

    def reason(self) -> str:
        """Return why nothing can be assembled, or ""."""
        if self._context.worklist is None:
            return _("Open a dataset folder first.")
        text = self.ui.outputPath.currentPath.strip()
        if not text:
            return _("Choose a folder for the assembled dataset.")
        out, dataset = Path(text).expanduser(), self._context.folder
        if out.resolve().is_relative_to(dataset) or dataset.is_relative_to(out.resolve()):
            return _("Choose a folder outside of the dataset folder.")
        return ""

    def update(self) -> None:
        """Enable Assemble, or say why it is not; say how far the review is."""
        self._button.setReason(self.reason())
        text = "" if self._context.worklist is None else reviewText(count_states(self._context.index.counts()))
        self.ui.reviewCountLabel.setText(text)

    def start(self) -> None:
        """Assemble the dataset in the child process."""
        question = _("The unsaved edits of the open task are not part of the assembly. Go on?")
        if self._hasUnsaved() and not slicer.util.confirmYesNoDisplay(question):
            return
        release = str(self.ui.releaseCombo.itemData(self.ui.releaseCombo.currentIndex))
        out = Path(self.ui.outputPath.currentPath.strip()).expanduser()
        arguments = {"dataset": str(self._context.folder), "out": str(out), "release": release}
        self.job.start(_CALL, arguments, self._onResult)

    def _onResult(self, result: Mapping[str, Any]) -> None:
        cases, failed = result["cases"], result["failed"]
        text = _("{count} cases assembled in {folder}").format(count=len(cases), folder=result["folder"])
        fresh = sum(not case["skipped"] for case in cases)
        text += "\n" + _("{count} of them are new or changed.").format(count=fresh)
        left_out = [f"{case['name']} {organ}" for case in cases for organ in case["rejected"]]
        if left_out:
            text += "\n" + _("Left out, as they were rejected: {organs}").format(organs=", ".join(left_out[:_SHOWN]))
            text += " …" if len(left_out) > _SHOWN else ""
        for case in failed[:_SHOWN]:
            text += "\n" + _("Failed: {case}: {message}").format(case=case["name"], message=case["message"])
        if len(failed) > _SHOWN:
            text += "\n" + _("and {count} more").format(count=len(failed) - _SHOWN)
        self.ui.assembleStatusLabel.setText(displayable(text))
        name = self._openCase()
        shown = next((case for case in cases if case["name"] == name), cases[0])
        show_assembled(Path(shown["folder"]), str(result["release"]))
        if name:
            self.ui.maskButton.setChecked(False)  # two masks of one organ over each other show neither

    def cleanup(self) -> None:
        """Kill the process and let go of the widgets."""
        self.ui.outputPath.disconnect("currentPathChanged(QString)", self._slot)
        self._button.cleanup()
        self.job.cleanup()
