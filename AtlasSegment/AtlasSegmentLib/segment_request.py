"""One case to segment with several models, as it is sent to a worker: everything is checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from AtlasSegmentLib import intake
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.dataset_annotations import dataset_key
from AtlasSegmentLib.inference import require_region
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.model import Model, load_model
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
    """

    case: CaseFolder
    source: Path
    models: tuple[Path, ...]
    options: SegmentOptions = field(default_factory=SegmentOptions)
    original: Path | None = None
    series: str | None = None
    threads: int = 0
    dataset: str | None = None


@lru_cache(maxsize=4)
def cached_model(folder: Path, threads: int) -> Model:
    """Load a model, or return it when this process has it already. Raises ModelError."""
    return load_model(folder, threads)


def segment(request: SegmentRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any] | None:
    """Segment one case with all models of a request.

    Returns:
        Model name to its run record, for models that had to run; None when all had finished before.

    Raises:
        AtlasError: As loading, reading, predicting and writing. Bad input is found before the first file is written.
    """
    models = [cached_model(folder.resolve(), request.threads) for folder in request.models]
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
