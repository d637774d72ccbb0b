"""The formats an export can have, and one function that writes any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from AtlasSegmentLib.dicom_rtstruct import write_rtstruct
from AtlasSegmentLib.dicom_seg import SegDetails, write_dicom_seg
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.export import label_map_paths, merge_organs, organ_paths, write_label_map, write_organ_files
from AtlasSegmentLib.export_organs import Organ
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Grid

NIFTI, NRRD, ORGANS, SEG_NRRD, DICOM_SEG, RTSTRUCT = "nifti", "nrrd", "organs", "seg-nrrd", "dicom-seg", "rtstruct"
ENDINGS: Mapping[str, str] = MappingProxyType(
    {NIFTI: ".nii.gz", NRRD: ".nrrd", ORGANS: "", SEG_NRRD: ".seg.nrrd", DICOM_SEG: ".dcm", RTSTRUCT: ".dcm"}
)
"""The ending of each format's file; "" is a folder."""
LABEL_MAPS = (NIFTI, NRRD)
"""Formats that hold one organ a voxel, with the values of a table."""
DICOM_OBJECTS = (DICOM_SEG, RTSTRUCT)
"""Formats that refer to the CT's DICOM slices."""
OWN_VALUES = "model"
TABLES = (OWN_VALUES, "abdomenatlas", "abdomenatlas_1_1", "totalsegmentator_v2")
"""Whose values a label map can have: the organs' own, or those of a published table."""


@dataclass(frozen=True)
class ExportRequest:
    """What to write, and where.

    Attributes:
        format: One of ENDINGS, without SEG_NRRD, which only Slicer writes.
        path: A file, or for ORGANS a folder.
        table: One of TABLES, or any table that comes with this software; only label maps use it.
        overwrite: Replace files that are there.
        accept_losses: Write a label map also where it cannot hold everything; otherwise that is reported and nothing is written.
        source: What the organs come from, for the table beside a label map.
        source_files: The CT's DICOM slices; only DICOM objects need them.
        details: What a DICOM object says about itself.
    """

    format: str
    path: Path
    table: str = OWN_VALUES
    overwrite: bool = False
    accept_losses: bool = False
    source: str = ""
    source_files: tuple[Path, ...] = ()
    details: SegDetails = field(default_factory=SegDetails)


@dataclass(frozen=True)
class ExportOutcome:
    """What became of an export.

    Attributes:
        files: What was written; empty when it was not, as losses were not accepted.
        remarks: What the files do not hold, in full sentences.
        organs: How many organs are in the files.
    """

    files: tuple[Path, ...]
    remarks: tuple[str, ...]
    organs: int

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self.files)


def with_ending(path: Path, kind: str) -> Path:
    """Return a path with the ending of a format; the ending of another format is replaced, ".nii" and ".nrrd" kinds are kept."""
    name, wanted = Path(path).name, ENDINGS[kind]
    if not wanted or not name:
        return Path(path)
    if name.lower().endswith(wanted) and not (kind == NRRD and name.lower().endswith(ENDINGS[SEG_NRRD])):
        return Path(path)
    for ending in sorted((*ENDINGS.values(), ".nii"), key=len, reverse=True):
        if ending and name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
            break
    return Path(path).with_name(name + wanted)


def planned_files(kind: str, path: Path, organs: Sequence[Organ]) -> list[Path]:
    """Return the files that an export would write."""
    if kind == ORGANS:
        return organ_paths(path, organs)
    return label_map_paths(path) if kind in LABEL_MAPS else [Path(path)]


def export_organs(
    organs: Sequence[Organ], grid: Grid, request: ExportRequest, progress: ProgressCallback = ignore_progress
) -> ExportOutcome:
    """Write organs in the requested format.

    A label map that cannot hold everything (organs its table lacks, overlaps) is only written when the request accepts that.

    Raises:
        InputError: No organs, an unknown format, a file that is there, or as the writer of the format.
        LabelError: The table is unknown or has no value for any organ.
        GeometryError: Masks and grid do not fit, or the format cannot store the grid.
        StorageError: A file cannot be written.
    """
    if request.format in LABEL_MAPS:
        return _label_map(organs, grid, request, progress)
    if request.format == ORGANS:
        files = write_organ_files(request.path, organs, grid, overwrite=request.overwrite, progress=progress)
        return ExportOutcome(tuple(files), (), len(files))
    if request.format in DICOM_OBJECTS:
        return _dicom_object(organs, grid, request, progress)
    message = f"There is no export format {request.format!r} here."
    raise InputError(message, f"Use one of {', '.join((*LABEL_MAPS, ORGANS, *DICOM_OBJECTS))}.")


def _label_map(organs: Sequence[Organ], grid: Grid, request: ExportRequest, progress: ProgressCallback) -> ExportOutcome:
    table = None if request.table == OWN_VALUES else load_table(request.table)
    merged = merge_organs(organs, grid, table, lambda share, text: progress(0.8 * share, text))
    remarks, count = tuple(merged.remarks()), len(organs) - len(merged.left_out)
    if remarks and not request.accept_losses:
        return ExportOutcome((), remarks, count)
    progress(0.8, request.path.name)
    files = write_label_map(request.path, merged, overwrite=request.overwrite, source=request.source)
    return ExportOutcome(tuple(files), remarks, count)


def _dicom_object(organs: Sequence[Organ], grid: Grid, request: ExportRequest, progress: ProgressCallback) -> ExportOutcome:
    write = write_dicom_seg if request.format == DICOM_SEG else write_rtstruct
    made = write(request.path, organs, grid, request.source_files, request.details, overwrite=request.overwrite, progress=progress)
    empty = (f"Without voxels, so not in the file: {', '.join(made.empty)}.",) if made.empty else ()
    return ExportOutcome((made.path,), (*made.remarks, *empty), len(made.segments))
