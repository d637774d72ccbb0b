"""Phantoms on the disk: case folders with CT and reference, predictions of networks that never were, and what a hurried reader drew."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder, new_case
from AtlasSegmentLib.classes import abdomenatlas_table, class_of, organ_name, paint
from AtlasSegmentLib.encoding import entropy_bytes, soft_bytes
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.export_table import table_paths
from AtlasSegmentLib.files import make_folder, read_json, remove_stale_temporaries, storage_errors, write_json
from AtlasSegmentLib.label_files import write_labels
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.outdated import remove_outdated
from AtlasSegmentLib.phantom import PhantomCase, phantom
from AtlasSegmentLib.phantom_errors import ErrorOptions, predict, reader_mask
from AtlasSegmentLib.phantom_person import stream
from AtlasSegmentLib.phantom_scanner import ScanOptions
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.run_record import Step
from AtlasSegmentLib.sparse import SparseVolume, write_sparse
from AtlasSegmentLib.volume import Array

REFERENCE = "reference_label.nii.gz"
"""Name of the exact label map in a phantom's case folder; its table lies beside it."""
RECORD = "phantom.json"
"""Name of the record in it, which says that the case is a phantom and how it was made."""
MOST_PREDICTIONS = 26
VERSION = 2
"""Of the anatomy: another number says that the same seed gives another person."""

_UNFINISHED = {"step": "phantom", "state": "unfinished"}
_KINDS = ("soft_pred", "entropy", "segmentations")


@dataclass(frozen=True)
class PhantomRequest:
    """One phantom to write.

    Attributes:
        dataset: Dataset folder.
        seed: See `phantom`.
        spacing: mm along x, y, z.
        shape: Voxels along x, y, z, or None.
        phase: Contrast phase, or None for the seed's.
        stones: Whether there are stones, or None for the seed's.
        scan: Noise, streaks, table.
        predictions: How many networks to pretend.
        errors: How wrong these are.
        readers: How many hurried readers to pretend.
        force: Do it again even when it is there.
    """

    dataset: Path
    seed: int
    spacing: tuple[float, float, float] = (3.0, 3.0, 3.0)
    shape: tuple[int, int, int] | None = None
    phase: str | None = None
    stones: bool | None = None
    scan: ScanOptions = field(default_factory=ScanOptions)
    predictions: int = 0
    errors: ErrorOptions = field(default_factory=ErrorOptions)
    readers: int = 0
    force: bool = False

    @property
    def name(self) -> str:
        """Name of the case."""
        return f"phantom_{self.seed:05d}"

    def parameters(self) -> dict[str, Any]:
        """Return what decides the result, as JSON."""
        left_out = ("dataset", "force", "predictions", "errors", "readers")
        return {"version": VERSION, **{key: value for key, value in asdict(self).items() if key not in left_out}}


def write_phantom(request: PhantomRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any] | None:
    """Write a phantom as a case folder: CT, reference with its table, `phantom.json`, predictions, readers; a step for `run_cases`.

    Returns:
        Seed, files and person; None when this very phantom and all that was asked of it are there.

    Raises:
        InputError: An argument that cannot be; see `phantom`. Or another image lies there.
        StorageError: A file cannot be written.
    """
    case = new_case(request.dataset, request.name)
    step = Step(case.folder / RECORD, "phantom", {}, request.parameters())
    files = [case.ct, case.folder / REFERENCE]
    finished = step.is_finished(files) and not request.force
    wanted = [number for number in range(request.predictions) if not finished or not _predicted(case, request, number)]
    readers = [number for number in range(request.readers) if not finished or not _drawn(case, request, number)]
    if finished and not wanted and not readers:
        return None
    if case.ct.is_file() and not step.is_finished(files) and not (case.folder / RECORD).is_file():
        message = f"{case.folder}: holds a CT that is no phantom."
        raise InputError(message, "Choose another --out; nothing is overwritten.")
    progress(0.0, "draw")
    made = phantom(request.seed, request.spacing, request.shape, phase=request.phase, stones=request.stones, scan=request.scan)
    if not finished:
        _write_case(case, made, step, request)
    for number in wanted:
        progress(0.5 + 0.5 * number / request.predictions, f"prediction {number + 1}")
        _write_prediction(case, made, request, number)
    for number in readers:
        _write_reader(case, made, request, number)
    return {"seed": request.seed, "folder": str(case.folder), "person": made.parameters["person"], "predictions": request.predictions}


def _write_case(case: CaseFolder, made: PhantomCase, step: Step, request: PhantomRequest) -> None:
    make_folder(case.folder)
    write_json(case.folder / RECORD, _UNFINISHED)  # it also says that what lies here is a phantom, whenever the work is stopped
    remove_stale_temporaries(case.folder)
    _remove_other_predictions(case, request)
    write_labels(case.folder / REFERENCE, made.labels, "phantom", overwrite=True)
    write_nifti(case.ct, made.ct)
    step.finish(made.parameters)


def _remove_other_predictions(case: CaseFolder, request: PhantomRequest) -> None:
    """Remove what was said and drawn of the phantom that lay here before: it is on another grid or of another person."""
    parameters = json.loads(json.dumps(request.parameters()))
    for number in range(MOST_PREDICTIONS):
        drawn, record = reader_label(case, number), _reader_step_record(case, number)
        if record.is_file() and _phantom_of(record) != parameters:
            with storage_errors(record):
                for path in (drawn, *table_paths(drawn), record):
                    path.unlink(missing_ok=True)
        folder = case.backbone(prediction_name(number))
        if not folder.run_record.is_file() or _phantom_of(folder.run_record) == parameters:
            continue
        remove_outdated(folder, folder.run_record, _KINDS, ())
        with storage_errors(folder.folder):
            for path in (folder.pseudo_label, folder.predicted_dice, folder.run_record):
                path.unlink(missing_ok=True)
            for path in (*(folder.folder / kind for kind in _KINDS), folder.folder):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()


def _phantom_of(record: Path) -> object:
    """Return the parameters of the phantom that a pretended network or reader looked at; None when the record cannot be read."""
    try:
        return read_json(record)["parameters"]["phantom"]
    except (AtlasError, KeyError, TypeError):
        return None


def prediction_name(number: int) -> str:
    """Return the name of a pretended network: phantom_a, phantom_b, ..."""
    return f"phantom_{chr(ord('a') + number)}"


def _prediction_step(case: CaseFolder, request: PhantomRequest, number: int) -> Step:
    name = prediction_name(number)
    table = {str(value): organ for value, organ in abdomenatlas_table().labels.items()}
    parameters = {
        "model": {"name": name, "version": str(VERSION)},
        "manifest": {"labels": table},
        "errors": asdict(request.errors),
        "phantom": request.parameters(),
    }
    return Step(case.backbone(name).run_record, "phantom prediction", {}, parameters)


def _predicted(case: CaseFolder, request: PhantomRequest, number: int) -> bool:
    step = _prediction_step(case, request, number)
    return step.is_finished([case.backbone(prediction_name(number)).pseudo_label])


def _write_prediction(case: CaseFolder, made: PhantomCase, request: PhantomRequest, number: int) -> None:
    """Write what one pretended network says of AbdomenAtlas' organs, in the files that a real one writes."""
    folder, step = case.backbone(prediction_name(number)), _prediction_step(case, request, number)
    step.begin()
    rng = stream(request.seed, f"prediction {number}")
    skill = float(np.exp(rng.normal(0, 0.2)))
    errors = replace(request.errors, surface=request.errors.surface * skill, spots=request.errors.spots * skill)
    masks, organs = {}, {}
    for value, name in _atlas_organs(made):
        box, probability = predict(made.labels.array == value, made.labels.spacing, stream(request.seed, f"{number} {name}"), errors)
        mask = SparseVolume(made.ct.grid, box, probability > 0.5)
        organ = organ_name(name)
        _write_organ(folder, organ, mask, probability)
        masks[class_of(name)] = mask
        voxels = int(np.count_nonzero(mask.crop))
        organs[organ] = {"voxels": voxels, "volume_ml": round(voxels * made.ct.voxel_volume_mm3 / 1000, 3)}
    write_sparse(folder.pseudo_label, paint(masks, made.ct.grid))
    step.finish({"organs": organs})


def _write_organ(folder: LabelFolder, organ: str, mask: SparseVolume, probability: Array) -> None:
    for kind, crop in zip(_KINDS, (soft_bytes(probability), entropy_bytes(probability), mask.crop), strict=True):
        write_sparse(folder.map(kind, organ), SparseVolume(mask.grid, mask.box, crop))


def _atlas_organs(made: PhantomCase) -> list[tuple[int, str]]:
    """Return value and name of the labels that AbdomenAtlas has, which networks and readers are asked for."""
    table = made.labels.table
    return [(value, name) for value, name in table.labels.items() if class_of(name) is not None] if table is not None else []


def reader_label(case: CaseFolder, number: int) -> Path:
    """Return the path of what a pretended reader drew: reader_a_label.nii.gz, ...; its table lies beside it."""
    return case.folder / f"reader_{chr(ord('a') + number)}_label.nii.gz"


def _reader_step_record(case: CaseFolder, number: int) -> Path:
    return case.folder / f"reader_{chr(ord('a') + number)}.json"


def _reader_step(case: CaseFolder, request: PhantomRequest, number: int) -> Step:
    return Step(_reader_step_record(case, number), "phantom reader", {}, {"version": VERSION, "phantom": request.parameters()})


def _drawn(case: CaseFolder, request: PhantomRequest, number: int) -> bool:
    return _reader_step(case, request, number).is_finished([reader_label(case, number)])


def _write_reader(case: CaseFolder, made: PhantomCase, request: PhantomRequest, number: int) -> None:
    """Write what one hurried reader drew of AbdomenAtlas' organs; where two drawings overlap the first one stays."""
    step = _reader_step(case, request, number)
    step.begin()
    drawn = np.zeros_like(made.labels.array)
    for value, name in _atlas_organs(made):
        mask = reader_mask(made.labels.array == value, made.labels.spacing, stream(request.seed, f"reader {number} {name}"))
        drawn[mask & (drawn == 0)] = value
    write_labels(reader_label(case, number), replace(made.labels, array=drawn), "phantom reader", overwrite=True)
    step.finish({})
