"""Bulk checks of a case before people look: geometry, emptiness, duplicates, sides, volume, HU, components, holes.

Nothing is written and nothing is decided: every finding names the organ, the place and the next step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.checks_finding import ERROR, WARNING, Finding, sorted_findings
from AtlasQualityLib.checks_measures import Region, measure
from AtlasQualityLib.checks_pairs import check_duplicates, check_sides
from AtlasQualityLib.checks_rules import RULES, Case, CheckOptions
from AtlasQualityLib.mask_set import MaskSet
from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError, GeometryError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import LabelTable, structure_for
from AtlasSegmentLib.nifti import read_grid, read_nifti
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.repair_midline import Midline, find_midline
from AtlasSegmentLib.repair_space import LabelSpace
from AtlasSegmentLib.sparse import SparseVolume, read_sparse
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, Volume

_SHEAR_WARNING, _SHEAR_ERROR = 0.01, 0.1
_SPACING_MM = (0.2, 10.0)
_AIR_HU = -200.0
_SPINE = ("spinal_cord", "spinal_canal", "sacrum", "vertebrae")


def check_case(case: CaseFolder, options: CheckOptions | None = None, progress: ProgressCallback = ignore_progress) -> list[Finding]:
    """Check the masks of a case that count: revised, else average; else its only model's; else those of an assembled case.

    Args:
        case: The case; it is only read.
        options: What to look at, and what is too small to matter.
        progress: Told a fraction 0..1 and the organ.

    Returns:
        Findings, the most severe first.

    Raises:
        DatasetError: There are no masks, or several models and no average.
    """
    chosen = options or CheckOptions()
    folder, files = mask_files(case, chosen.model)
    found = Case(case.dataset, case.name, str(case.folder), chosen)
    ct = _read_ct(found, case)
    grid = ct.grid if ct is not None else _common_grid(files)
    if grid is None:
        for organ, path in files.items():
            _read(found, organ, path, None)
        return sorted_findings(found.findings)
    _check_grid(found, grid)
    regions = tuple(_regions(case, folder))
    midline = _midline(found, files, grid, ct)
    for number, (organ, path) in enumerate(files.items()):
        progress(number / len(files), organ)
        mask = _read(found, organ, path, grid)
        if mask is not None:
            found.organs[organ] = measure(organ, structure_for(organ).name, mask, None if ct is None else ct.array, regions)
    for measures in found.organs.values():
        for rule in RULES:
            rule(found, measures)
    check_sides(found, midline)
    check_duplicates(found)
    progress(1.0, f"{len(found.findings)} findings")
    return sorted_findings(found.findings)


def mask_files(case: CaseFolder, model: str = "") -> tuple[LabelFolder, dict[str, Path]]:
    """Return the folder of the masks that count and organ to file; revised masks replace the average's.

    Raises:
        DatasetError: There are none, or several models and no average.
    """
    if model:
        folder = case.backbone(model)
    elif case.average.organs() or case.average.revised_organs():
        folder = case.average
    elif len(models := case.models()) == 1:
        folder = case.backbone(models[0])
    elif models:
        message = f"{case.folder}: {len(models)} models have predicted the case, but there is no average."
        raise DatasetError(message, "Run atlas average first, or name one with --model.")
    else:
        folder = LabelFolder(case.folder)
    files = {organ: folder.mask(organ) for organ in folder.organs()}
    if folder == case.average:
        files.update({organ: folder.revised_mask(organ) for organ in folder.revised_organs()})
    if not files:
        message = f"{folder.folder}: there are no masks to check."
        raise DatasetError(message, "Run atlas segment first; to check one model, give its name with --model.")
    return folder, dict(sorted(files.items()))


def _read_ct(found: Case, case: CaseFolder) -> Volume | None:
    if not case.ct.is_file():
        return None
    try:
        ct = read_nifti(case.ct)
    except AtlasError as error:
        found.add("", "unreadable", ERROR, error.message, error.remedy)
        return None
    finite = ct.array if ct.array.dtype.kind in "iu" else ct.array[np.isfinite(ct.array)]
    lowest = float(finite.min()) if finite.size else float("nan")
    if not lowest < _AIR_HU:
        message = f"the smallest value of the CT is {lowest:g}: this may be no CT in Hounsfield units (air is -1000)."
        found.add("", "no-air", WARNING, message, "Export the CT again with its rescale slope and intercept.", value=lowest, unit="HU")
    return ct


def _common_grid(files: dict[str, Path]) -> Grid | None:
    """Return the grid of the first mask that can be read, for a case without a CT."""
    for path in files.values():
        try:
            return read_grid(path)
        except AtlasError:
            continue
    return None


def _check_grid(found: Case, grid: Grid) -> None:
    spacing = geometry.spacing_of(grid.affine)
    cosines = np.asarray(grid.affine)[:3, :3] / spacing
    shear = float(np.abs(cosines.T @ cosines - np.eye(3)).max())
    if shear > _SHEAR_WARNING:
        message = f"the axes of the image are not at right angles (cosine {shear:.3f}): it is sheared."
        remedy = "Export it again without gantry tilt, or resample it: atlas resample."
        severity = ERROR if shear > _SHEAR_ERROR else WARNING
        found.add("", "shear", severity, message, remedy, value=shear, unit="cosine", expected=f"below {_SHEAR_WARNING:g}")
    low, high = _SPACING_MM
    if spacing.min() < low or spacing.max() > high:
        sizes = " x ".join(f"{size:.3g}" for size in spacing)
        message = f"voxels of {sizes} mm are implausible for a CT."
        worst = float(spacing.min() if spacing.min() < low else spacing.max())
        found.add(
            "", "spacing", WARNING, message, "Check the spacing in the export.", value=worst, unit="mm", expected=f"{low} to {high:g} mm"
        )
    for fault in getattr(grid.header, "mended", ()):
        found.add("", "header", WARNING, f"{grid.source}: {fault}.", "Export the image again.")


def _read(found: Case, organ: str, path: Path, grid: Grid | None) -> SparseVolume | None:
    """Return a mask in the array order of the grid, or None after a finding that says why it cannot be used."""
    try:
        mask = read_sparse(path)
        if grid is None:
            return None
        mask = MaskSet(organ, mask.grid, {organ: mask}).onto(grid).masks[organ]
    except GeometryError as error:
        found.add(organ, "grid", ERROR, error.message, error.remedy)
        return None
    except AtlasError as error:
        found.add(organ, "unreadable", ERROR, error.message, error.remedy)
        return None
    values = np.unique(mask.crop)
    strange = [float(value) for value in values if value not in {0, 1}]
    if strange:
        shown = ", ".join(f"{value:g}" for value in strange[:5])
        message = f"a mask holds 0 and 1 only, got {shown}."
        found.add(organ, "values", ERROR, message, "Export one segment as a binary label map.", value=strange[0], expected="0 and 1")
        mask = replace(mask, crop=(mask.crop > 0).astype(np.uint8))
    return mask


def _regions(case: CaseFolder, folder: LabelFolder) -> Iterator[Region]:
    """Yield the regions that the models of the masks looked at, where their records name one."""
    names = case.models() if folder in (case.average, LabelFolder(case.folder)) else [folder.folder.name]
    for name in names:
        record = case.backbone(name).run_record
        try:
            roi = read_json(record)["parameters"]["roi"] if record.is_file() else None
            if isinstance(roi, dict):
                yield Region(np.array(roi["center"], float), np.array(roi["axes"], float), np.array(roi["size"], float) / 2)
        except (AtlasError, KeyError, TypeError, ValueError):
            continue  # another program's record says nothing about a region


def _midline(found: Case, files: dict[str, Path], grid: Grid, ct: Volume | None) -> Midline | None:
    spine = {organ: path for organ, path in files.items() if structure_for(organ).name.startswith(_SPINE)}
    array: Array = np.zeros(grid.shape, np.uint8, order="F")
    names: dict[int, str] = {}
    quiet = _without_findings(found)
    for value, (organ, path) in enumerate(spine.items(), start=1):
        mask = _read(quiet, organ, path, grid)
        if mask is not None and value < 256:
            names[value] = organ
            array[mask.box][mask.crop > 0] = value
    table = LabelTable("spine", "spine", names)
    return find_midline(LabelSpace(LabelVolume(array, grid.affine, grid.source, None, table)), ct)


def _without_findings(case: Case) -> Case:
    """Return a case whose findings go nowhere: a file that is read twice is reported once."""
    return Case(case.dataset, case.name, case.folder, case.options)


def check_plainly(case: CaseFolder, progress: ProgressCallback = ignore_progress, *, options: CheckOptions) -> dict[str, Any]:
    """Check a case as a step of `run_cases`: findings as plain values."""
    from dataclasses import asdict

    return {"findings": [asdict(finding) for finding in check_case(case, options, progress)]}
