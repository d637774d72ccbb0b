"""Cases as a network sees them, made once and kept on the disk: CT and channels on a grid of one spacing in RAS, read piece by piece.

A cube is a folder with ct.npy (int16 HU), labels.npy (uint8 channels) and cube.json; epochs map the arrays into memory, so that a training
on many cases needs no more memory than one on few.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib import regions
from AtlasSegmentLib.cases import CaseOutcome, run_cases
from AtlasSegmentLib.components import Box, bounding_box, grow_box
from AtlasSegmentLib.ct_check import ct_doubt, unusable_reason
from AtlasSegmentLib.errors import AtlasError, InputError, LabelError
from AtlasSegmentLib.files import read_json, sha256_of, storage_errors, write_json
from AtlasSegmentLib.new_folder import new_folder
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.resample import resample, resample_labels
from AtlasSegmentLib.train_cases import TrainCase
from AtlasSegmentLib.train_organs import Targets, reading_of
from AtlasSegmentLib.train_random import generator
from AtlasSegmentLib.volume import Array, LabelVolume, Volume, require_same_grid
from AtlasSegmentLib.volume_io import check_ct, read_label_volume, read_volume

FORMAT = "atlas-train-cube/1"
CT, LABELS, FACTS = "ct.npy", "labels.npy", "cube.json"
AIR = -1000
_BODY = -500
_MARGIN = 4  # voxels of air kept around the body
_PLACES = 1000  # voxels of each organ that a crop may be centered on
_LOWEST, _HIGHEST = -1024, 3071
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CubeRule:
    """How cubes are made.

    Attributes:
        targets: What is learned.
        spacing: mm.
    """

    targets: Targets
    spacing: float = 3.0

    def key(self, case: TrainCase) -> str:
        """Return what two cubes share that are the same: content of the files, table, targets, spacing."""
        files = [case.ct] if case.ct.is_file() else sorted(path for path in case.ct.rglob("*") if path.is_file())
        said = {
            "format": FORMAT,
            "files": [sha256_of(path) for path in (*files, case.reference)],
            "table": {str(value): name for value, name in case.table.labels.items()},
            "told": case.told,
            "targets": self.targets.names,
            "merge": {name: list(patterns) for name, patterns in self.targets.merge.items()},
            "spacing": self.spacing,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Cube:
    """A case on the grid of the network.

    Attributes:
        folder: Where its arrays lie.
        name: Of the case.
        known: For each channel whether the reference can tell it.
        places: Channel to flat indices (C order) of some of its voxels; 0: some of the body.
        key: See `CubeRule.key`.
    """

    folder: Path
    name: str
    known: tuple[bool, ...]
    places: dict[int, Array]
    key: str

    @cached_property
    def ct(self) -> Array:
        """HU, int16 (X, Y, Z), RAS; a map of the file."""
        return _mapped(self.folder / CT)

    @cached_property
    def labels(self) -> Array:
        """Channels, uint8 (X, Y, Z), 255 says nothing; a map of the file."""
        return _mapped(self.folder / LABELS)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels."""
        x, y, z = self.ct.shape
        return (x, y, z)


def _mapped(path: Path) -> Array:
    try:
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read ({error})."
        raise InputError(message, "Remove its folder: it is made again.") from error
    return found


def read_case(case: TrainCase, targets: Targets) -> tuple[Volume, LabelVolume, tuple[bool, ...]]:
    """Return CT (HU), reference in channels, both in RAS order on one grid, and which channels are known.

    Raises:
        InputError: The CT cannot be segmented, or the reference is empty.
        GeometryError: The reference lies on another grid than the CT.
        LabelError: The reference has values that its table lacks, or knows none of the targets.
    """
    ct = read_volume(case.ct, modality="CT").reoriented("RAS")
    check_ct(ct)
    reason = unusable_reason(ct.array)
    if reason:
        message = f"{case.ct}: {reason}"
        raise InputError(message, "Give a CT in HU.")
    doubt = ct_doubt(ct.array)
    if doubt:
        _log.warning("%s: %s", case.ct, doubt)
    reading = reading_of(case.table, targets, case.told, str(case.reference))
    labels = read_label_volume(case.reference, case.table, ct.grid).reoriented("RAS")
    require_same_grid(labels, ct)
    channels = reading.of(labels.array)
    if not channels.any():
        message = f"{case.reference}: none of the organs to learn is in it."
        raise LabelError(message, "Leave this case out, or check that the reference is not empty.")
    return ct, LabelVolume(channels, ct.affine, str(case.reference)), reading.known


def make_cube(case: TrainCase, rule: CubeRule, folder: Path) -> None:
    """Write the cube of a case; see `read_case` for what is raised, and StorageError."""
    ct, channels, known = read_case(case, rule.targets)
    grid = regions.spaced_grid(ct.grid, "RAS", regions.whole_box(ct.grid), (rule.spacing,) * 3)
    hu = resample(ct, grid).array
    labels = resample_labels(channels, grid).array
    box = _body(hu, labels)
    hu = np.ascontiguousarray(np.clip(np.rint(hu[box]), _LOWEST, _HIGHEST), np.int16)
    labels = np.ascontiguousarray(labels[box], np.uint8)
    rng = generator(0, "places", case.name)
    facts = {
        "format": FORMAT,
        "case": case.name,
        "shape": list(hu.shape),
        "known": list(known),
        "places": {str(channel): found for channel, found in _places(hu, labels, known, rng).items()},
    }
    with new_folder(folder) as work, storage_errors(folder):
        np.save(work / CT, hu)
        np.save(work / LABELS, labels)
        write_json(work / FACTS, facts)


def _body(hu: Array, labels: Array) -> Box:
    """Return the box around the patient and all labels."""
    from scipy import ndimage

    parts, count = ndimage.label(hu > _BODY)
    largest = parts == int(np.bincount(parts.ravel())[1:].argmax()) + 1 if count else np.ones(hu.shape, np.bool_)
    box = bounding_box(largest | (labels > 0))
    return grow_box(box, _MARGIN, hu.shape) if box is not None else tuple(slice(0, n) for n in hu.shape)  # type: ignore[return-value]


def _places(hu: Array, labels: Array, known: Sequence[bool], rng: np.random.Generator) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for channel, is_known in enumerate(known):
        inside = np.flatnonzero((hu > _BODY) if channel == 0 else labels == channel) if is_known else np.zeros(0, np.int64)
        if len(inside):
            chosen = inside if len(inside) <= _PLACES else rng.choice(inside, _PLACES, replace=False)
            found[channel] = [int(index) for index in np.sort(chosen)]
    return found


def read_cube(folder: Path, name: str, key: str) -> Cube:
    """Return a cube that lies on the disk. Raises InputError when it is damaged."""
    facts: Any = read_json(folder / FACTS)
    try:
        places = {int(channel): np.array(found, np.int64) for channel, found in facts["places"].items()}
        cube = Cube(folder, name, tuple(bool(known) for known in facts["known"]), places, key)
        right = facts["format"] == FORMAT and list(cube.ct.shape) == facts["shape"] == list(cube.labels.shape)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{folder}: is no cube of a training ({type(error).__name__})."
        raise InputError(message, "Remove the folder: it is made again.") from error
    if not right:
        message = f"{folder}: its parts do not belong together."
        raise InputError(message, "Remove the folder: it is made again.")
    return cube


@dataclass(frozen=True)
class _Job:
    case: TrainCase
    rule: CubeRule
    folder: Path


def _step(job: _Job, progress: ProgressCallback) -> dict[str, Any] | None:
    progress(0.0, "resample")
    make_cube(job.case, job.rule, job.folder)
    return {}


def _job_name(job: _Job) -> str:
    return job.case.name


def make_cubes(
    cases: Sequence[TrainCase], rule: CubeRule, folder: Path, *, jobs: int = 1, progress: ProgressCallback = ignore_progress
) -> tuple[dict[str, Cube], tuple[CaseOutcome, ...]]:
    """Make the cubes of cases that have none yet.

    Args:
        cases: With names that differ.
        rule: How.
        folder: Where they are kept; several trainings may share it.
        jobs: Cases worked on side by side.
        progress: Told the finished share.

    Returns:
        Case name to cube, and the outcomes of cases that failed.
    """
    keys = {case.name: rule.key(case) for case in cases}
    places = {case.name: folder / keys[case.name][:16] for case in cases}
    todo: dict[Path, _Job] = {}
    for case in cases:
        if not _is_whole(places[case.name]):
            todo.setdefault(places[case.name], _Job(case, rule, places[case.name]))
    outcomes = run_cases(list(todo.values()), _step, _job_name, jobs=jobs, progress=progress) if todo else []
    failed = tuple(outcome for outcome in outcomes if outcome.state == "failed")
    bad = {outcome.name for outcome in failed}
    cubes = {
        case.name: read_cube(places[case.name], case.name, keys[case.name])
        for case in cases
        if case.name not in bad and _is_whole(places[case.name])
    }
    return cubes, failed


def _is_whole(folder: Path) -> bool:
    """Tell whether a cube is there and can be read; what cannot is removed."""
    if not folder.is_dir():
        return False
    try:
        read_cube(folder, "", "")
    except AtlasError:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True
