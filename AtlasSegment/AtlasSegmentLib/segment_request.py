"""One case to segment with several models, as it is sent to a worker: everything is checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from AtlasSegmentLib import intake
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.dataset_annotations import dataset_key
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.inference import Region, require_region
from AtlasSegmentLib.markups import Roi, read_roi
from AtlasSegmentLib.model import Model, load_model
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.segment_case import SegmentOptions, segment_case


@dataclass(frozen=True)
class SegmentRequest:
    """What to do.

    Attributes:
        case: Where the results go.
        source: The CT: a file or DICOM folder; the case's own ct.nii.gz for a case that exists.
        models: Model folders.
        options: See `SegmentOptions`.
        original: Labels that came with the dataset, or None.
        series: DICOM series to take, when a folder holds several.
        threads: CPU threads for one prediction; 0 lets the engine choose.
        dataset: Key of the dataset that the original labels are of; told by the folder names when None.
        device: Where the networks shall run.
    """

    case: CaseFolder
    source: Path
    models: tuple[Path, ...]
    options: SegmentOptions = field(default_factory=SegmentOptions)
    original: Path | None = None
    series: str | None = None
    threads: int = 0
    dataset: str | None = None
    device: Device = "auto"


def cached_model(folder: Path, threads: int, device: Device = "auto") -> Model:
    """Load a model, or return it when this process has loaded these very files already. Raises ModelError."""
    folder = folder.resolve()
    files = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in folder.glob("*") if entry.is_file())
    return _loaded(folder, threads, device, tuple(files))


@lru_cache(maxsize=4)
def _loaded(folder: Path, threads: int, device: Device, files: tuple[tuple[str, int, int], ...]) -> Model:
    del files  # a part of the key alone: a model that was replaced or removed is not answered from memory
    return load_model(folder, threads, device)


def read_region(text: str | None) -> Roi | Region | None:
    """Return the region that a text names: "whole", a Slicer markups file, or None for the model's default. Raises InputError."""
    return "whole" if text == "whole" else None if text is None else read_roi(Path(text))


def segment(request: SegmentRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any] | None:
    """Segment one case with all models of a request.

    Returns:
        Model name to its run record, for models that had to run; None when all had finished before.

    Raises:
        AtlasError: As loading, reading, predicting and writing. Bad input is found before the first file is written.
    """
    models = [cached_model(folder, request.threads, request.device) for folder in request.models]
    ct = intake.read_ct(request.source, request.series)
    for model in models:
        require_region(ct, model.spec, request.options.roi)
    key = request.dataset or dataset_key(request.case.dataset, request.case.name)
    original = None if request.original is None else (request.original, intake.read_original(request.original, ct, key))
    intake.store(request.case, (request.source, ct), original)
    records = {}
    for number, model in enumerate(models):
        name = model.spec.name

        def of_all(fraction: float, message: str, number: int = number, name: str = name) -> None:
            progress((number + fraction) / len(models), f"{name}: {message}")

        record = segment_case(request.case, model, request.options, of_all)
        if record is not None:
            records[name] = record
    return records or None
