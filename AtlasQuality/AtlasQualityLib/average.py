"""The average of several models: mean soft prediction above one half, cleaned in world directions, one organ at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.hand_edits import keep_hand_edits
from AtlasSegmentLib import nifti
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import class_of, paint
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.files import sha256_of, storage_errors
from AtlasSegmentLib.outdated import remove_outdated
from AtlasSegmentLib.postprocess_sparse import postprocess_sparse
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.run_record import Step
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, box_shape, check_maps, from_dense, is_empty, read_sparse, union, write_sparse
from AtlasSegmentLib.volume import Array, Grid, require_same_grid

_CACHED_MASKS = 4  # lungs, vein and pancreas ask for one another; more would keep the whole case in memory


@dataclass(frozen=True)
class AverageOptions:
    """What decides the average besides the models' files.

    Attributes:
        models: Names of the models; None takes all that have predicted the case.
        postprocess: Clean the masks by AbdomenAtlas' rules.
        force: Do it again even when it is done.
    """

    models: tuple[str, ...] | None = None
    postprocess: bool = True
    force: bool = False


def models_of(case: CaseFolder, wanted: tuple[str, ...] | None) -> list[str]:
    """Return the models to use, checked to have predicted the case.

    Raises:
        DatasetError: None has, or a wanted one has not.
    """
    present = case.models()
    if not present:
        message = f"{case.folder}: no model has predicted this case (backbones/ is empty)."
        raise DatasetError(message, "Run: atlas segment CASE --model MODEL.")
    missing = sorted(set(wanted or ()) - set(present))
    if missing:
        message = f"{case.folder}: no prediction of model {', '.join(missing)}; there are {', '.join(present)}."
        raise DatasetError(message, "Run: atlas segment with that model, or leave it out.")
    return sorted(wanted) if wanted else present


def mean_exceeds_half(soft: Sequence[SparseVolume]) -> SparseVolume:
    """Return where the mean of soft predictions (bytes, 255 = 1) is above 0.5, bool.

    Decided in integers; where the mean is exactly one half in exact arithmetic, the float64 mean that AbdomenAtlas takes
    decides, so that the result is its result bit for bit.
    """
    box = union([volume.box for volume in soft])
    if is_empty(box):
        return SparseVolume(soft[0].grid, EMPTY_BOX, np.zeros((0, 0, 0), np.bool_))
    total = np.zeros(box_shape(box), np.uint16, order="F")
    for volume in soft:
        total += volume.within(box)
    doubled_half = 255 * len(soft)
    above = total > doubled_half // 2
    if doubled_half % 2 == 0:
        tied = np.nonzero(total == doubled_half // 2)
        values = np.stack([volume.within(box)[tied] / 255 for volume in soft])
        above[tied] = values.mean(axis=0) > 0.5
    return from_dense(above, soft[0].grid, (box[0].start, box[1].start, box[2].start))


def average_case(
    case: CaseFolder, options: AverageOptions | None = None, progress: ProgressCallback = ignore_progress
) -> dict[str, Any] | None:
    """Average the models of a case into `average/` (masks and combined map); revised masks are not touched.

    With one model its own masks are the average, as AbdomenAtlas does.

    Returns:
        The run record, or None when this very result was there already.

    Raises:
        DatasetError: No model has predicted the case.
        GeometryError: Predictions do not share one grid.
        InputError: A soft prediction is not of bytes.
    """
    options = options or AverageOptions()
    models = models_of(case, options.models)
    organs = _organs(case, models)
    inputs = {f"{model}/{organ}": path for model in models for organ in organs if (path := _input(case, models, model, organ)).is_file()}
    step = Step(case.average.run_record, "average", inputs, {"models": models, "postprocess": options.postprocess})
    if not options.force and step.is_finished([case.average.pseudo_label, *(case.average.mask(organ) for organ in organs)]):
        return None
    grid = nifti.read_grid(case.ct if case.ct.is_file() else next(iter(inputs.values())))
    check_maps(inputs.values(), grid)
    keep_hand_edits(case)
    remove_outdated(case.average, case.average.run_record, ["segmentations"], [("segmentations", organ) for organ in organs])
    step.begin()
    with storage_errors(case.average.predicted_dice):
        case.average.predicted_dice.unlink(missing_ok=True)  # it was of the masks before
    results = _write_average(case, grid, models, organs, options, progress)
    return step.finish({"organs": results})


def _organs(case: CaseFolder, models: list[str]) -> list[str]:
    kind = "segmentations" if len(models) == 1 else "soft_pred"
    organs = sorted({organ for model in models for organ in case.backbone(model).organs(kind)})
    if not organs:
        message = f"{case.folder}: {', '.join(models)} left no {kind} to average."
        raise DatasetError(message, "Run: atlas segment CASE --model MODEL --force.")
    return organs


def _input(case: CaseFolder, models: list[str], model: str, organ: str) -> Any:
    folder = case.backbone(model)
    return folder.mask(organ) if len(models) == 1 else folder.map("soft_pred", organ)


def _write_average(
    case: CaseFolder, grid: Grid, models: list[str], organs: list[str], options: AverageOptions, progress: ProgressCallback
) -> dict[str, Any]:
    raw = raw_masks(case, models, grid)
    painted: dict[int | None, SparseVolume] = {}
    results = {}
    for number, organ in enumerate(organs):
        progress(number / len(organs), f"average {organ}")
        value = class_of(organ)
        clean = options.postprocess and len(models) > 1 and value is not None
        mask = postprocess_sparse(lambda v: raw(_organ_of(organs, v)), grid, value) if clean and value is not None else raw(organ)
        mask = mask or SparseVolume(grid, EMPTY_BOX, np.zeros((0, 0, 0), np.bool_))
        write_sparse(case.average.mask(organ), mask)
        painted[value] = mask
        voxels = int(np.count_nonzero(mask.crop))
        results[organ] = {
            "voxels": voxels,
            "volume_ml": round(voxels * grid.voxel_volume_mm3 / 1000, 3),
            "sha256": sha256_of(case.average.mask(organ)),
        }
    write_sparse(case.average.pseudo_label, paint(painted, grid))
    return results


def _organ_of(organs: list[str], value: int) -> str:
    return next((organ for organ in organs if class_of(organ) == value), "")


def raw_masks(case: CaseFolder, models: list[str], grid: Grid) -> Callable[[str], SparseVolume | None]:
    """Return a source of uncleaned average masks; it remembers the last few."""

    @lru_cache(maxsize=_CACHED_MASKS)
    def raw(organ: str) -> SparseVolume | None:
        paths = [path for model in models if organ and (path := _input(case, models, model, organ)).is_file()]
        if not paths:
            return None
        volumes = [read_sparse(path) for path in paths]
        for volume in volumes:
            require_same_grid(volume.grid, grid)
        return _binary(volumes[0]) if len(models) == 1 else mean_exceeds_half([as_bytes(v) for v in volumes])

    return raw


def _binary(volume: SparseVolume) -> SparseVolume:
    crop: npt.NDArray[np.bool_] = volume.crop > 0
    return SparseVolume(volume.grid, volume.box, crop)


def as_bytes(volume: SparseVolume) -> SparseVolume:
    """Return a map as uint8; accepts one that another program stored in a wider type.

    Raises:
        InputError: It holds something else than whole numbers 0 to 255, such as probabilities 0..1.
    """
    if volume.crop.dtype == np.uint8:
        return volume
    with np.errstate(invalid="ignore"):  # what NaN becomes is not equal to it
        crop: Array = volume.crop.astype(np.uint8)
    if not np.array_equal(crop, volume.crop):
        message = f"{volume.grid.source}: a soft prediction or entropy map holds whole numbers 0 to 255, this one does not."
        raise InputError(message, "Store trunc(255 p) as uint8.")
    return SparseVolume(volume.grid, volume.box, crop)
