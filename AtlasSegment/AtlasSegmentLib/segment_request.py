"""One case to segment with several models, as it is sent to a worker: everything is checked before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from AtlasSegmentLib import intake
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.case_pipeline import run_staged
from AtlasSegmentLib.dataset_annotations import dataset_key
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.markups import Roi, read_roi
from AtlasSegmentLib.mc_dropout import require_dropout
from AtlasSegmentLib.model import Model
from AtlasSegmentLib.model_cache import cached_model
from AtlasSegmentLib.prediction import Prediction, Region
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.segment_case import ModelRun, SegmentOptions, read_case_ct
from AtlasSegmentLib.volume import Grid, Volume

__all__ = ["SegmentRequest", "cached_model", "read_region", "segment", "segment_briefly"]

Piece: TypeAlias = tuple[ModelRun, Prediction, Grid, ProgressCallback]
"""What one model computed of a case, and what writes it needs."""


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
        threads: CPU threads for one prediction; 0 takes what the process was set to, else the engine's choice.
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

    def prepare() -> tuple[list[ModelRun], Volume] | None:
        progress(0.0, "read")
        models = _checked_in(request)
        runs = [ModelRun(request.case, model, request.options) for model in models]
        runs = [run for run in runs if not run.is_finished]
        return (runs, read_case_ct(request.case)) if runs else None

    def compute(prepared: tuple[list[ModelRun], Volume]) -> list[Callable[[], Piece]]:
        runs, ct = prepared

        def predicted(number: int, run: ModelRun) -> Piece:
            def of_all(fraction: float, message: str) -> None:
                progress((number + fraction) / len(runs), f"{run.name}: {message}")

            return run, run.predict(ct, of_all), ct.grid, of_all

        return [partial(predicted, number, run) for number, run in enumerate(runs)]

    def finish(piece: Piece) -> tuple[str, dict[str, Any]]:
        run, prediction, grid, of_all = piece
        return run.name, run.write(prediction, grid, of_all)

    return dict(run_staged(prepare, compute, finish)) or None


def _checked_in(request: SegmentRequest) -> list[Model]:
    """Put what came in into the case folder, after every check that can be made before, and return the models."""
    models = [cached_model(folder, request.threads, request.device, len(request.models)) for folder in request.models]
    require_different_names(models)
    if request.options.dropout.count:
        require_dropout(models)
    ct = intake.read_ct(request.source, request.series)
    for model in models:
        model.require_region(ct, request.options.roi)
    key = request.dataset or dataset_key(request.case.dataset, request.case.name)
    original = None if request.original is None else (request.original, intake.read_original(request.original, ct, key))
    intake.store(request.case, (request.source, ct), original)
    return models


def require_different_names(models: Sequence[Model]) -> None:
    """Check that no two models of a case write to one folder. Raises InputError."""
    names = Counter(model.spec.name for model in models)
    doubled = [name for name, count in names.items() if count > 1]
    if doubled:
        message = f"{names[doubled[0]]} of the models are called {doubled[0]!r}, and would write over each other's results."
        raise InputError(message, "Run them into folders of their own with --out, or give one another name (dataset_name in plans.json).")


def segment_briefly(request: SegmentRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any] | None:
    """As `segment`, and return of each run record what fits ten thousand times into memory: where it is and where it ran."""
    records = segment(request, progress)
    if records is None:
        return None
    return {
        name: {
            "record": str(request.case.backbone(name).run_record),
            "device": record["results"]["device"],
            "organs": len(record["results"]["organs"]),
            "started": record["started"],
            "finished": record["finished"],
        }
        for name, record in records.items()
    }
