"""Attention of a case: for each organ the maps that show where the average mask is probably wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib import error_map
from AtlasQualityLib.attention_rule import AttentionMaps, attention_of
from AtlasQualityLib.average import as_bytes, models_of
from AtlasQualityLib.effort import EditingTime, minutes_to_correct
from AtlasSegmentLib import nifti
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.dataset_annotations import OVERLAP_CLASSES, TARGET_CLASSES, annotated_classes, dataset_key
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import read_json, remove_stale_temporaries
from AtlasSegmentLib.outdated import remove_outdated, require_current_average
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.run_record import Step
from AtlasSegmentLib.sparse import SparseVolume, check_maps, from_dense, is_empty, read_sparse, write_sparse
from AtlasSegmentLib.volume import Array, Grid, require_same_grid

RULE = "abdomenatlas"
PART_KINDS = ("inconsistency", "uncertainty", "overlap")
KINDS = ("attention", *PART_KINDS, "expected_error")


@dataclass(frozen=True)
class AttentionOptions:
    """What decides the attention besides the models' files.

    Attributes:
        models: Names of the models; None takes those that the average was made of.
        all_organs: Every organ with entropy maps, not only AbdomenAtlas' nine targets.
        parts: Also write inconsistency, uncertainty and overlap maps.
        error_maps: Also write expected-error maps and volumes.
        calibration: Curve for the expected error.
        time: Speed of an editor, for the gain per minute.
        force: Do it again even when it is done.
    """

    models: tuple[str, ...] | None = None
    all_organs: bool = False
    parts: bool = False
    error_maps: bool = True
    calibration: error_map.Calibration = field(default_factory=error_map.Calibration)
    time: EditingTime = field(default_factory=EditingTime)
    force: bool = False

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of map that are written."""
        return ("attention", *(PART_KINDS if self.parts else ()), *(("expected_error",) if self.error_maps else ()))

    def parameters(self) -> dict[str, Any]:
        """Return what is recorded."""
        curve = [self.calibration.expected, self.calibration.observed, self.calibration.source]
        chosen = {"rule": RULE, "all_organs": self.all_organs, "parts": self.parts, "error_maps": self.error_maps}
        return {**chosen, "calibration": curve, "time": vars(self.time)}


def attention_folder(case: CaseFolder) -> LabelFolder:
    """Return the folder whose run.json records the attention of a case."""
    return LabelFolder(case.folder / "average" / "attention")


def organs_to_check(case: CaseFolder, models: Sequence[str], all_organs: bool) -> list[str]:
    """Return the organs that get attention, in class order.

    These are AbdomenAtlas' nine targets (or all organs) that have entropy maps and an average mask, without those that
    people annotated in this dataset: there is nothing to look for in them.
    """
    annotated = annotated_classes(dataset_key(case.dataset, case.name))
    present = {organ for model in models for organ in case.backbone(model).organs("entropy")} & set(case.average.organs())
    wanted = [o for o in present if class_of(o) not in annotated and (all_organs or class_of(o) in TARGET_CLASSES)]
    return sorted(wanted, key=lambda organ: (class_of(organ) or 1000, organ))


def attention_case(
    case: CaseFolder, options: AttentionOptions | None = None, progress: ProgressCallback = ignore_progress
) -> dict[str, Any] | None:
    """Write `average/attention/` (and what the options add) for a case.

    Returns:
        The run record with a score for each organ, or None when this very result was there already.

    Raises:
        DatasetError: There is no average yet.
        AtlasError: A map cannot be read or does not fit the others.
    """
    options = options or AttentionOptions()
    models = models_of(case, options.models or _models_averaged(case))
    if not case.average.organs():
        message = f"{case.folder}: there is no average yet."
        raise DatasetError(message, "Run: atlas average CASE.")
    require_current_average(case)
    organs = organs_to_check(case, models, options.all_organs)
    inputs = _inputs(case, models, organs)
    step = Step(attention_folder(case).run_record, "attention", inputs, {**options.parameters(), "models": models})
    if not options.force and step.is_finished([case.average.map(kind, organ) for organ in organs for kind in options.kinds()]):
        return None
    grid = nifti.read_grid(case.average.mask(case.average.organs()[0]))
    check_maps(inputs.values(), grid)
    wanted = [(kind, organ) for organ in organs for kind in options.kinds()]
    remove_outdated(case.average, attention_folder(case).run_record, KINDS, wanted)
    step.begin()
    remove_stale_temporaries(case.average.folder)  # the maps lie beside the folder of the record
    occupied = _occupied(case, grid)
    results = {}
    for number, organ in enumerate(organs):
        progress(number / len(organs), f"attention {organ}")
        results[organ] = _attend(case, models, organ, _overlap(case, organ, occupied, grid), options)
    return step.finish({"organs": results})


def _models_averaged(case: CaseFolder) -> tuple[str, ...] | None:
    """Return the models that the average on the disk was made of; None when another program made it."""
    try:
        return tuple(read_json(case.average.run_record)["parameters"]["models"])
    except (AtlasError, KeyError, TypeError):
        return None


def _inputs(case: CaseFolder, models: list[str], organs: list[str]) -> dict[str, Any]:
    maps = {
        f"{model}/{kind}/{organ}": path
        for model in models
        for organ in organs
        for kind in ("soft_pred", "entropy")
        if (path := case.backbone(model).map(kind, organ)).is_file()
    }
    return {**maps, **{f"average/{organ}": case.average.mask(organ) for organ in case.average.organs()}}


def _occupied(case: CaseFolder, grid: Grid) -> Array:
    """Return how many of AbdomenAtlas' overlap structures claim each voxel, uint8 (X, Y, Z)."""
    count = np.zeros(grid.shape, np.uint8, order="F")
    for organ in case.average.organs():
        if class_of(organ) in OVERLAP_CLASSES:
            mask = _on(grid, case.average.mask(organ))
            count[mask.box] += mask.crop > 0
    return count


def _on(grid: Grid, path: Path) -> SparseVolume:
    """Read a map and check that it lies on the case's grid."""
    volume = read_sparse(path)
    require_same_grid(volume.grid, grid)
    return volume


def _overlap(case: CaseFolder, organ: str, occupied: Array, grid: Grid) -> SparseVolume:
    mask = _on(grid, case.average.mask(organ))
    own = 1 if class_of(organ) in OVERLAP_CLASSES else 0
    shared = (mask.crop > 0) & (occupied[mask.box] > own)
    return from_dense(shared, mask.grid, (mask.box[0].start, mask.box[1].start, mask.box[2].start))


def _attend(case: CaseFolder, models: list[str], organ: str, overlap: SparseVolume, options: AttentionOptions) -> dict[str, Any]:
    read = partial(_read_maps, case, models, organ, overlap.grid)
    soft, entropy = read("soft_pred"), read("entropy")
    maps = attention_of(soft, entropy, overlap)
    result = _write_attention(case, organ, maps, options.parts)
    if options.error_maps:
        result.update(_write_error(case, organ, soft, entropy, options))
    return result


def _read_maps(case: CaseFolder, models: list[str], organ: str, grid: Grid, kind: str) -> list[SparseVolume]:
    """Read one kind of map from the models that have both kinds of this organ."""
    folders = [case.backbone(model) for model in models]
    both = [f for f in folders if f.map("soft_pred", organ).is_file() and f.map("entropy", organ).is_file()]
    return [as_bytes(_on(grid, folder.map(kind, organ))) for folder in both]


def _write_attention(case: CaseFolder, organ: str, maps: AttentionMaps, parts: bool) -> dict[str, Any]:
    heat = maps.heat()
    write_sparse(case.average.map("attention", organ), heat)
    if parts:
        write_sparse(case.average.map("inconsistency", organ), maps.part(maps.inconsistency))
        write_sparse(case.average.map("uncertainty", organ), maps.part(maps.uncertainty))
        write_sparse(case.average.map("overlap", organ), maps.overlap_mask())
    return {
        "attention_voxels": maps.voxels,
        "attention_mm3": round(maps.voxels * maps.grid.voxel_volume_mm3, 3),
        "heat_sum": int(heat.crop.sum(dtype=np.int64)),
        "inconsistency_voxels": int(np.count_nonzero(maps.inconsistency)),
        "uncertainty_voxels": int(np.count_nonzero(maps.uncertainty)),
        "overlap_voxels": int(np.count_nonzero(maps.overlap)),
    }


def _write_error(
    case: CaseFolder, organ: str, soft: list[SparseVolume], entropy: list[SparseVolume], options: AttentionOptions
) -> dict[str, Any]:
    error = error_map.expected_error(error_map.mean_probability(soft, entropy), options.calibration)
    stored = error_map.stored(error)
    write_sparse(case.average.map("expected_error", organ), stored, slope=1 / error_map.STEPS)
    volume = float(error.crop.sum(dtype=np.float64)) * error.grid.voxel_volume_mm3 if not is_empty(error.box) else 0.0
    minutes = minutes_to_correct(error, options.time)
    return {
        "expected_error_mm3": round(volume, 3),
        "minutes_to_correct": round(minutes, 3),
        "gain_mm3_per_minute": round(volume / minutes, 3) if minutes else 0.0,
    }
