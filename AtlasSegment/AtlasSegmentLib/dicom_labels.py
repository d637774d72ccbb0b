"""DICOM objects that hold labels (SEG, RTSTRUCT) wherever a label map is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from AtlasSegmentLib.dicom_choice import choose, require_readable, scanned_path
from AtlasSegmentLib.dicom_header import pydicom_or_error, read_header
from AtlasSegmentLib.dicom_reference import Reference, warn_of_another_ct
from AtlasSegmentLib.dicom_rtstruct_read import read_rtstruct
from AtlasSegmentLib.dicom_seg_grid import seg_grid
from AtlasSegmentLib.dicom_seg_read import read_dicom_seg
from AtlasSegmentLib.dicom_slices import scan_folder
from AtlasSegmentLib.dicom_stack import TILT_DEG
from AtlasSegmentLib.dicom_tilt import is_sheared, mask_onto_straight, straight_grid
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.export_organs import Organ
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.volume import Array, Grid, LabelVolume

logger = logging.getLogger(__name__)

SEG, RTSTRUCT = "SEG", "RTSTRUCT"


def label_object(path: Path) -> str:
    """Return SEG or RTSTRUCT for a DICOM file of that modality, else "". Raises InputError for a damaged file."""
    header = read_header(Path(path), pydicom_or_error(Path(path)))
    modality = "" if header is None else str(header.get("Modality", ""))
    return modality if modality in {SEG, RTSTRUCT} else ""


def read_label_object(path: Path, grid: Grid | None = None) -> tuple[list[Organ], Grid]:
    """Return the organs of a SEG or RTSTRUCT, and the grid that their masks lie on.

    Args:
        path: The file.
        grid: The CT's grid, which may be the right-angled one of a tilted series; None takes a SEG's own grid, which ends where its
            segments end.

    Raises:
        InputError: Another or a damaged file, or an RTSTRUCT without a grid: it has no voxels of its own.
        GeometryError: The labels do not lie on `grid`.
    """
    path = Path(path)
    if label_object(path) == RTSTRUCT:
        if grid is None:
            message = f"{path}: a structure set has contours and no voxels, so the CT that it was drawn on is needed."
            raise InputError(message, "Add --dicom FOLDER with the CT's slices, or convert it first: atlas export FILE --dicom FOLDER.")
        return read_rtstruct(path, grid), grid
    return _straightened(path) if grid is None else (_on_grid(path, grid), grid)


def _on_grid(path: Path, grid: Grid) -> list[Organ]:
    try:
        return read_dicom_seg(path, grid)
    except GeometryError:
        if is_sheared(grid) or not is_sheared(seg_grid(path)):
            raise
        return read_dicom_seg(path, grid, nearest=True)  # slices of a tilted gantry on the right-angled grid


def _straightened(path: Path) -> tuple[list[Organ], Grid]:
    own = seg_grid(path)
    organs = read_dicom_seg(path, own)
    if not is_sheared(own):
        return organs, own
    return [replace(organ, read=_straight_reader(organ, own)) for organ in organs], straight_grid(own)


def _straight_reader(organ: Organ, grid: Grid) -> Callable[[], Array]:
    return lambda: mask_onto_straight(organ.mask(grid.shape), grid)


def grid_of_series(folder: Path, series: str | None = None) -> tuple[Grid, Reference]:
    """Return the grid that `read_volume` gives a DICOM series, and what it says of itself; no pixel is read. Raises InputError."""
    scan = scan_folder(scanned_path(Path(folder)))
    choice = choose(scan, series)
    require_readable(scan, choice)
    grid = Grid(choice.stack.shape, choice.stack.affine, str(folder))
    said = Reference.of_slice(choice.stack.first.path)
    return straight_grid(grid) if choice.stack.tilt_deg > TILT_DEG else grid, said


def label_map_of(path: Path, table: LabelTable | None = None, grid: Grid | None = None) -> LabelVolume:
    """Return a SEG or RTSTRUCT as a label map.

    Args:
        path: The file.
        table: Whose values the structures get, found by name and SNOMED code; what it lacks is left out with a warning. None keeps
            the segment numbers.
        grid: As for `read_label_object`.

    Raises:
        InputError, GeometryError: As `read_label_object`; without a table also segments that overlap.
        LabelError: The table has a value for none of the segments.
    """
    from AtlasSegmentLib.export import merge_organs  # it reads and writes volumes, and reading volumes leads here

    if grid is not None and Path(grid.source).is_file():
        warn_of_another_ct(path, Path(grid.source))
    organs, on = read_label_object(path, grid)
    merged = merge_organs(organs, on, table)
    if table is None and merged.covered:
        message = f"{path}: {_overlap(merged.remarks())}"
        raise InputError(message, "Convert it to one mask for each segment: atlas export FILE --format organs --out FOLDER.")
    for remark in merged.remarks():
        logger.warning("%s: %s", path, remark)
    labels = merged.labels
    return LabelVolume(labels.array, labels.affine, str(path), None, table or labels.table)


def _overlap(remarks: Sequence[str]) -> str:
    return next((remark for remark in remarks if "overlap" in remark), "its segments overlap.")
