"""What the child process of the panel is asked to do: plain arguments in, plain results out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.case_choice import case_name, choose_case
from AtlasSegmentLib.case_folder import CaseFolder, new_case
from AtlasSegmentLib.devices import device_of
from AtlasSegmentLib.inference_settings import settings_for
from AtlasSegmentLib.intake import read_ct
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.prediction import Region
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, cached_model, read_region, segment


def segment_files(  # noqa: PLR0913 - each is a choice on the panel
    ct: str,
    dataset_folder: str,
    case: str,
    models: Sequence[str],
    *,
    roi: str | Mapping[str, Any] | None = None,
    device: str = "auto",
    preset: str = "balanced",
    step: float | None = None,
    mirror: bool | None = None,
    force: bool = False,
    all_organs: bool = True,
    progress: ProgressCallback = ignore_progress,
) -> dict[str, Any]:
    """Segment a CT with several models into a case folder; what is there already is not computed again.

    Args:
        ct: The CT's file, or its DICOM folder.
        dataset_folder: Where the case folder is or shall be.
        case: Wanted name of the case; made safe for a folder, and numbered when a case of that name holds another image.
        models: Model folders.
        roi: A markups file, "whole", a box {"center", "axes", "size"} as `Roi` has it, or None for the models' default.
        device: "auto", "gpu" or "cpu".
        preset: "fast", "balanced" or "best"; see `inference_settings.PRESETS`.
        step: Distance of sliding windows as a share of the window; None is the preset's own.
        mirror: Whether the mean over mirrored images is taken; None is the preset's own.
        force: Compute again what is there.
        all_organs: Entropy maps of every organ, so that attention can be shown for each without another run.
        progress: Told the finished share and the stage.

    Returns:
        {"case": path, "models": names, "computed": names of those that had to run, "devices": {name: "gpu" or "cpu"}, "engines":
        {name: engine and provider in use}, "seconds": time taken}.

    Raises:
        InputError: There is no such preset, or a step that is none.
        AtlasError: As `segment_request.segment`.
    """
    started = time.monotonic()
    folder = _case_of(Path(dataset_folder), case, Path(ct))
    settings = settings_for(preset, step=step, mirror=mirror)
    options = SegmentOptions(_region(roi), all_entropies=all_organs, force=force, settings=settings)
    request = SegmentRequest(folder, Path(ct), tuple(Path(model) for model in models), options, device=device_of(device))
    progress(0.0, "load models")
    computed = segment(request, progress)
    loaded = [cached_model(path, request.threads, request.device) for path in request.models]
    return {
        "case": str(folder.folder),
        "models": [model.spec.name for model in loaded],
        "computed": sorted(computed or {}),
        "devices": {model.spec.name: model.device for model in loaded},
        "engines": {model.spec.name: model.engine for model in loaded},
        "seconds": round(time.monotonic() - started, 3),
    }


def _case_of(dataset_folder: Path, name: str, ct: Path) -> CaseFolder:
    wanted = new_case(dataset_folder, case_name(name))
    return choose_case(dataset_folder, name, read_ct(ct)) if wanted.folder.exists() else wanted


def _region(roi: str | Mapping[str, Any] | None) -> Roi | Region | None:
    if not isinstance(roi, Mapping):
        return read_region(roi)
    center, axes, size = (np.asarray(roi.get(key), np.float64) for key in ("center", "axes", "size"))
    return Roi(center, axes, size, "the region of interest")
