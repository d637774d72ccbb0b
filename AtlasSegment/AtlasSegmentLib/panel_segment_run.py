"""A run from the panel of Atlas Segment: CT to a file, models and average in the child process, results into the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib.panel_errors import shownErrors
from AtlasSegmentLib.panel_job import PanelJob
from AtlasSegmentLib.volume import Grid

SEGMENT_TASK = "AtlasSegmentLib.tasks:segment_files"
AVERAGE_TASK = "AtlasQualityLib.tasks:average_files"


@dataclass(frozen=True)
class RunRequest:
    """What a run needs from the panel.

    Attributes:
        ct: The volume node.
        roi: The ROI node or None.
        models: Model folders.
        device: "auto", "gpu" or "cpu".
        settings: Preset, step and mirror as `tasks.segment_files` takes them.
        folder: Dataset folder for the results.
        scratch: Folder for files that live as long as the run.
    """

    ct: Any
    roi: Any | None
    models: tuple[Path, ...]
    device: str
    settings: dict[str, Any]
    folder: Path
    scratch: Path


class SegmentRun:
    """Runs one request at a time.

    Args:
        job: The panel's job.
        onImported: Called with each `ImportedResult`, the one to show first.
        onEnd: Called with the case folder when all results are in the scene, with None when the run failed.
    """

    def __init__(self, job: PanelJob, onImported: Callable[[Any], None], onEnd: Callable[[Path | None], None]) -> None:
        self._job, self._onImported, self._onEnd = job, onImported, onEnd
        self._ctId = ""
        self._ctGrid: Grid | None = None
        self._scratch: Path | None = None
        self._case: Path | None = None
        self._models: list[str] = []
        self._result: dict[str, Any] = {}
        self._results: Iterator[Any] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._importNext)

    @property
    def importing(self) -> bool:
        """Whether results are being loaded into the scene."""
        return self._results is not None

    @property
    def result(self) -> dict[str, Any]:
        """What the last run told, see `tasks.segment_files`; and as "ct" how the CT lies now, see `ImportedResult`."""
        return self._result

    def start(self, request: RunRequest) -> None:
        """Write the CT to a file and start the models.

        Raises:
            AtlasError: The CT or the region cannot be used, or the file cannot be written.
        """
        from AtlasSegmentLib.case_choice import case_name
        from AtlasSegmentLib.nifti import write_nifti
        from AtlasSegmentLib.scene import volume_from_node

        volume = volume_from_node(request.ct)
        roi = _roiArguments(request.roi)
        self._scratch = request.scratch / "ct.nii"  # not compressed: the case folder's copy is made by the child
        write_nifti(self._scratch, volume)
        self._ctId, self._ctGrid = request.ct.GetID(), volume.grid
        arguments = {
            "ct": str(self._scratch),
            "dataset_folder": str(request.folder),
            "case": case_name(request.ct.GetName()),
            "models": [str(path) for path in request.models],
            "roi": roi,
            "device": request.device,
            **request.settings,
        }
        self._job.start(SEGMENT_TASK, arguments, self._onSegmented, self._onFailed)

    def abandon(self) -> None:
        """Stop the run, and do not load what is not loaded yet."""
        self._job.cancel()
        self._timer.stop()
        self._results = None
        self.removeScratch()

    def cleanup(self) -> None:
        """Let go of everything; the job is cleaned up by its owner."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._importNext)
        self._results = None
        self.removeScratch()

    def removeScratch(self) -> None:
        """Remove the CT's file, which the child has read or will not read any more."""
        if self._scratch is not None:
            self._scratch.unlink(missing_ok=True)
            self._scratch = None

    def _onSegmented(self, result: dict[str, Any]) -> None:
        self.removeScratch()
        self._result, self._case, self._models = result, Path(result["case"]), list(result["models"])
        if len(self._models) > 1:
            arguments = {"case": str(self._case), "models": self._models}
            self._job.start(AVERAGE_TASK, arguments, self._onAveraged, self._onFailed)
        else:
            self._startImport()

    def _onAveraged(self, _result: Any) -> None:
        self._startImport()

    def _onFailed(self, _event: Any) -> None:
        self.removeScratch()
        self._onEnd(None)

    def _startImport(self) -> None:
        from AtlasSegmentLib.case_folder import CaseFolder
        from AtlasSegmentLib.scene_results import import_results

        if self._case is None:
            return
        ct = slicer.mrmlScene.GetNodeByID(self._ctId)  # None when the node was deleted meanwhile
        self._results = import_results(CaseFolder(self._case), self._models, ct, self._ctGrid)
        self._timer.start()

    def _importNext(self) -> None:
        """Load one segmentation and give the event loop a turn, so that Slicer is drawn between them."""
        results, self._results = self._results, None
        if results is None:
            return
        ended = True
        with shownErrors():
            imported = next(results, None)
            if imported is not None:
                self._result.setdefault("ct", imported.ct)  # of the one that is shown first
                self._onImported(imported)
                self._results, ended = results, False
        if ended:
            self._onEnd(self._case)
        else:
            self._timer.start()


def _roiArguments(roi: Any | None) -> dict[str, Any] | None:
    if roi is None:
        return None
    from AtlasSegmentLib.scene_roi import roi_of_node

    box = roi_of_node(roi)
    return {"center": box.center.tolist(), "axes": box.axes.tolist(), "size": box.size.tolist()}


def runNote(run: dict[str, Any], missing: tuple[str, ...]) -> str:
    """Return what a run used, how long it took, and which organs were looked for and not found in what is shown."""
    devices = {"gpu": _("GPU"), "cpu": _("CPU")}
    used = ", ".join(sorted({devices.get(device, device) for device in run.get("devices", {}).values()}))
    lines = [_("Ran on the {device} in {seconds} s.").format(device=used, seconds=round(run.get("seconds", 0)))]
    if not run.get("computed"):
        lines = [_("Nothing had to be computed: the results of an earlier run were used.")]
    if missing:
        lines.append(_("Not found: {organs}.").format(organs=", ".join(name.replace("_", " ") for name in missing)))
    if run.get("ct") == "moved":
        lines.append(_("The CT was moved meanwhile: the result lies where the CT is now."))
    elif run.get("ct") == "changed":
        lines.append(_("The CT was changed meanwhile: the result fits the CT as it was when you pressed Apply."))
    return "\n".join(lines)
