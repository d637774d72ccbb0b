"""What the panel lets the child process do: plain values in, plain values and files out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.attention import AttentionOptions, attention_case
from AtlasQualityLib.average import AverageOptions, average_case
from AtlasQualityLib.comparison import compare
from AtlasQualityLib.hot_spots import find_hot_spots
from AtlasQualityLib.mask_set import MaskSet, masks_of_case, masks_of_labels, read_scene_masks
from AtlasQualityLib.organ_table import organ_rows
from AtlasQualityLib.overlay_maps import write_overlays
from AtlasSegmentLib.case_folder import CaseFolder, open_case
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.nifti import read_grid, read_nifti
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import read_sparse
from AtlasSegmentLib.volume import Grid, require_same_grid
from AtlasSegmentLib.volume_io import read_label_volume

_SPOTS = 50
_LARGEST_LABEL = 65535


def average_files(case: str, models: Sequence[str] | None = None, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    """Average the models of a case folder; see `average.average_case`. Returns {"organs", "written"}."""
    folder = open_case(Path(case))
    record = average_case(folder, AverageOptions(tuple(models) if models else None), progress)
    return {"organs": folder.average.organs(), "written": record is not None}


def attention_files(
    case: str,
    models: Sequence[str] | None = None,
    all_organs: bool = True,
    parts: bool = False,
    progress: ProgressCallback = ignore_progress,
) -> dict[str, Any]:
    """Make the attention and expected-error maps of a case folder; see `attention.attention_case`. Returns {"organs", "written"}."""
    folder = open_case(Path(case))
    record = attention_case(folder, AttentionOptions(tuple(models) if models else None, all_organs, parts), progress)
    return {"organs": folder.average.organs("attention"), "written": record is not None}


def find_errors(case: str, work: str, all_organs: bool = True, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    """Average (when that is not done), find the attention, and make everything ready to be shown.

    Args:
        case: Case folder with the predictions of at least one model.
        work: Folder for the maps as they are shown; what lies there is replaced.
        all_organs: Every organ with entropy maps, not only AbdomenAtlas' nine targets.
        progress: Told the finished share and the stage.

    Returns:
        As `review_files`.
    """
    average_files(case, progress=_part(progress, 0.0, 0.35))
    attention_files(case, all_organs=all_organs, progress=_part(progress, 0.35, 0.7))
    return review_files(case, work, _part(progress, 0.7, 1.0))


def review_files(case: str, work: str, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    """Make what a case folder already holds ready to be shown.

    Returns:
        {"case": path, "grid": {"shape", "affine"} of the maps or None, "maps": see `OverlayMap`, "organs": see `OrganRow`,
        "spots": see `HotSpot`, "models": names}.
    """
    folder = open_case(Path(case))
    grid, maps = write_overlays(folder, Path(work), _part(progress, 0.0, 0.4))
    rows = organ_rows(folder, maps, _part(progress, 0.4, 0.9))
    progress(0.9, "find hot spots")
    return {
        "case": str(folder.folder),
        "grid": None if grid is None else {"shape": list(grid.shape), "affine": grid.affine.tolist()},
        "maps": [shown.to_json() for shown in maps],
        "organs": [row.to_json() for row in rows],
        "spots": [vars(spot) for spot in find_hot_spots(folder, limit=_SPOTS)] if maps else [],
        "models": folder.models(),
    }


def open_files(case: str, work: str, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    """Make CT, average and, where there is one, attention of a case folder ready to be shown; averages it when that is not done.

    Returns:
        As `review_files`, and "ct" and "labels": {"file": .npy in `work`, "affine"}, each None when the case has none; "labels" also
        has "table", value to organ.
    """
    folder, target = open_case(Path(case)), Path(work)
    target.mkdir(parents=True, exist_ok=True)
    if not folder.average.organs():
        average_files(case, progress=_part(progress, 0.0, 0.1))
    progress(0.1, "read CT")
    image = _stored_image(folder, target)
    progress(0.2, "read average")
    labels = _stored_labels(folder, target)
    return {**review_files(case, work, _part(progress, 0.3, 1.0)), "ct": image, "labels": labels}


def _stored_image(case: CaseFolder, target: Path) -> dict[str, Any] | None:
    if not case.ct.is_file():
        return None
    ct = read_nifti(case.ct)
    np.save(target / "ct.npy", ct.array)
    return {"file": "ct.npy", "affine": ct.affine.tolist()}


def _stored_labels(case: CaseFolder, target: Path) -> dict[str, Any] | None:
    """Store the average masks as one label map with AbdomenAtlas' values; other organs get the numbers above."""
    organs = case.average.organs()
    if not organs:
        return None
    free = iter(range(1000, _LARGEST_LABEL))
    values = {class_of(organ) or next(free): organ for organ in organs}
    grid = read_grid(case.average.mask(organs[0]))
    array = np.zeros(grid.shape, np.min_scalar_type(max(values)), order="F")
    for value in sorted(values):
        mask = read_sparse(case.average.mask(values[value]))
        require_same_grid(mask.grid, grid)
        array[mask.box][mask.crop > 0] = value
    np.save(target / "labels.npy", array)
    return {"file": "labels.npy", "affine": grid.affine.tolist(), "table": {str(v): o for v, o in values.items()}}


def compare_files(
    segmentation: dict[str, str],
    reference: dict[str, str],
    resample: bool = False,
    progress: ProgressCallback = ignore_progress,
) -> dict[str, Any]:
    """Compare a segmentation with a reference; see `comparison.compare`.

    Args:
        segmentation: One of {"scene": file of `write_scene_masks`}, {"case": folder, "model": name or ""} and {"file": label map,
            "table": name of its label table}.
        reference: The same.
        resample: Bring a reference on another grid onto that of the segmentation, nearest voxel.
        progress: Told the finished share and the stage.

    Returns:
        {"rows": [{"organ", the numbers of `comparison.COLUMNS`, "note"}], "resampled": whether the reference was}; or, when the
        grids differ and `resample` is not set, {"grids": why}.
    """
    progress(0.0, "read segmentation")
    masks = read_masks(segmentation)
    progress(0.1, "read reference")
    try:
        truth = read_masks(reference, masks.grid)
    except GeometryError as error:
        if not resample:
            return {"grids": str(error)}
        truth = read_masks(reference)
    different = _difference(truth, masks.grid)
    if different and not resample:
        return {"grids": different}
    if different:
        progress(0.2, "resample reference")
        truth = truth.resampled(masks.grid)
    rows = compare(masks, truth, _part(progress, 0.3, 1.0))
    return {"rows": [row.to_json() for row in rows], "resampled": bool(different)}


def read_masks(source: dict[str, str], like: Grid | None = None) -> MaskSet:
    """Return the masks that `compare_files` is told of; a DICOM object on the grid `like`, where one is given.

    Raises:
        InputError: It names none of the three kinds, or the file cannot be read.
        LabelError: The label map has a value that its table lacks.
    """
    if "scene" in source:
        return read_scene_masks(Path(source["scene"]))
    if "case" in source:
        return masks_of_case(open_case(Path(source["case"])), source.get("model", ""))
    if "file" in source:
        return masks_of_labels(read_label_volume(Path(source["file"]), load_table(source.get("table", "abdomenatlas")), like))
    message = f"{source}: names no segmentation."
    raise InputError(message, "Give a scene file, a case folder or a label map.")


def _difference(masks: MaskSet, grid: Grid) -> str:
    """Return why a set cannot be compared on a grid as it is; "" when it can."""
    try:
        MaskSet(masks.name, masks.grid, {}).onto(grid)
    except GeometryError as error:
        return error.message
    return ""


def _part(progress: ProgressCallback, start: float, stop: float) -> ProgressCallback:
    def scaled(fraction: float, stage: str) -> None:
        progress(start + (stop - start) * fraction, stage)

    return scaled
