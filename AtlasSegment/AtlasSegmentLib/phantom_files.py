"""Phantoms on the disk: case folders with CT and reference, and predictions of networks that never were."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder, new_case
from AtlasSegmentLib.classes import abdomenatlas_table, class_of, organ_name, paint
from AtlasSegmentLib.encoding import entropy_bytes, soft_bytes
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import make_folder
from AtlasSegmentLib.label_files import write_labels
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.phantom import PhantomCase, phantom
from AtlasSegmentLib.phantom_errors import ErrorOptions, predict
from AtlasSegmentLib.phantom_person import stream
from AtlasSegmentLib.phantom_scanner import ScanOptions
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.run_record import Step
from AtlasSegmentLib.sparse import SparseVolume, write_sparse
from AtlasSegmentLib.volume import Array

REFERENCE = "reference_label.nii.gz"
"""Name of the exact label map in a phantom's case folder; its table lies beside it."""
VERSION = 1
"""Of the anatomy: another number says that the same seed gives another person."""


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
    force: bool = False

    @property
    def name(self) -> str:
        """Name of the case."""
        return f"phantom_{self.seed:05d}"

    def parameters(self) -> dict[str, Any]:
        """Return what decides the result, as JSON."""
        left_out = ("dataset", "force", "predictions", "errors")
        return {"version": VERSION, **{key: value for key, value in asdict(self).items() if key not in left_out}}


def write_phantom(request: PhantomRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any] | None:
    """Write a phantom as a case folder: CT, reference with its table, `phantom.json`, predictions; a step for `run_cases`.

    Returns:
        Seed, files and person; None when this very phantom and its predictions are there.

    Raises:
        InputError: An argument that cannot be; see `phantom`. Or another image lies there.
        StorageError: A file cannot be written.
    """
    case = new_case(request.dataset, request.name)
    step = Step(case.folder / "phantom.json", "phantom", {}, request.parameters())
    files = [case.ct, case.folder / REFERENCE]
    finished = step.is_finished(files) and not request.force
    wanted = [number for number in range(request.predictions) if request.force or not finished or not _predicted(case, request, number)]
    if finished and not wanted:
        return None
    if case.ct.is_file() and not step.is_finished(files) and not (case.folder / "phantom.json").is_file():
        message = f"{case.folder}: holds a CT that is no phantom."
        raise InputError(message, "Choose another --out; nothing is overwritten.")
    progress(0.0, "draw")
    made = phantom(request.seed, request.spacing, request.shape, phase=request.phase, stones=request.stones, scan=request.scan)
    if not finished:
        _write_case(case, made, step)
    for number in wanted:
        progress(0.5 + 0.5 * number / request.predictions, f"prediction {number + 1}")
        _write_prediction(case, made, request, number)
    return {"seed": request.seed, "folder": str(case.folder), "person": made.parameters["person"], "predictions": request.predictions}


def _write_case(case: CaseFolder, made: PhantomCase, step: Step) -> None:
    make_folder(case.folder)
    step.begin()
    write_labels(case.folder / REFERENCE, made.labels, "phantom", overwrite=True)
    write_nifti(case.ct, made.ct)
    step.finish(made.parameters)


def prediction_name(number: int) -> str:
    """Return the name of a pretended network: phantom_a, phantom_b, ..."""
    return f"phantom_{chr(ord('a') + number)}" if number < 26 else f"phantom_{number}"


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
    table = made.labels.table
    for value, name in table.labels.items() if table is not None else ():
        if class_of(name) is None:
            continue
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
    for kind, crop in (("soft_pred", soft_bytes(probability)), ("entropy", entropy_bytes(probability)), ("segmentations", mask.crop)):
        write_sparse(folder.map(kind, organ), SparseVolume(mask.grid, mask.box, crop))
