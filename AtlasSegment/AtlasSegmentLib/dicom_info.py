"""What `atlas info` says of DICOM: the series of a folder, best first by rule, or the segments of a SEG or RTSTRUCT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AtlasSegmentLib.case_info import describe_grid
from AtlasSegmentLib.dicom_choice import describe, rank, ranked, scanned_path, studies_of
from AtlasSegmentLib.dicom_header import pydicom_or_error, read_dataset
from AtlasSegmentLib.dicom_labels import label_object, read_label_object
from AtlasSegmentLib.dicom_slices import Scan, scan_folder, skipped_text
from AtlasSegmentLib.dicom_stack import Stack
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.volume import Grid
from AtlasSegmentLib.volume_io import is_label_object


def describe_dicom(path: Path) -> list[dict[str, Any]]:
    """Return what is in a DICOM folder, DICOMDIR, SEG or RTSTRUCT; empty when a path is none of them.

    Raises:
        InputError: A folder or file cannot be read.
    """
    path = scanned_path(Path(path))
    if path.is_dir():
        scan = scan_folder(path)
        stacks = ranked(scan)
        return [_series(scan, stack, number, stacks) for number, stack in enumerate(stacks)]
    return [_labels(path)] if is_label_object(path) else []


def _series(scan: Scan, stack: Stack, number: int, stacks: list[Stack]) -> dict[str, Any]:
    doubt = number == 0 and len(stacks) > 1 and (rank(stacks[1]) == rank(stack) or len(studies_of(stacks)) > 1)
    found: dict[str, Any] = {
        "image": f"{scan.folder} {describe(stack)}",
        "series": stack.key if stack.first.series_uid else "",
        "number": stack.first.series_number,
        "modality": stack.first.modality,
        "by rule": "in doubt: choose with --series" if doubt else "chosen" if number == 0 else "not chosen",
        **describe_grid(Grid(stack.shape, stack.affine)),
        "tilt_deg": round(stack.tilt_deg, 3),
        "problem": stack.problem,
        "remarks": list(stack.remarks),
    }
    if number == 0:
        found["left out"] = skipped_text(scan)
        found["damaged"] = [error.message for error in scan.damaged.values()]
    return found


def _labels(path: Path) -> dict[str, Any]:
    kind = label_object(path)
    found: dict[str, Any] = {"image": str(path), "kind": kind}
    try:
        if kind == "SEG":
            organs, grid = read_label_object(path)
            return {**found, "organs": [organ.name for organ in organs], **describe_grid(grid)}
        dataset = read_dataset(path, pydicom_or_error(path))
        return {**found, "organs": [str(item.get("ROIName") or "") for item in dataset.StructureSetROISequence]}
    except AtlasError as error:
        return {**found, "problem": error.message}
