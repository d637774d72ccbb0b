"""The slices of a folder: which files are images of a series, and why the others are not.

A folder may be a whole study as archives and CDs write it: folders below it, a DICOMDIR, names without an ending, reports, scouts.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from AtlasSegmentLib.dicom_frames import frames_of
from AtlasSegmentLib.dicom_header import (
    AGAIN,
    SLICE_CLASSES,
    Slice,
    damage,
    damaged_header,
    pydicom_or_error,
    quiet,
    read_header,
    slice_of,
    sop_class_of,
)
from AtlasSegmentLib.errors import InputError

logger = logging.getLogger(__name__)

_NOT_IMAGES = {"SEG", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "PR", "KO", "REG", "FID", "DOC", "OT", "ANN", "M3D"}
_DIRECTORY = "1.2.840.10008.1.3.10"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PLACE = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")


@dataclass
class Scan:
    """What a folder holds.

    Attributes:
        folder: The folder.
        slices: The slices of all series.
        skipped: Why files were left out, and how many.
        damaged: Files that may be lost slices, and what is wrong with them.
    """

    folder: Path
    slices: list[Slice] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    damaged: dict[Path, InputError] = field(default_factory=dict)


def scan_folder(folder: Path, *, below: bool = True) -> Scan:
    """Read the headers of all files in `folder`, and below it unless told otherwise; what is no image slice is counted by reason.

    Raises:
        InputError: Not a readable folder, or pydicom is missing.
    """
    pydicom = pydicom_or_error(folder)
    scan = Scan(folder)
    for path in files_of(folder, below=below):
        try:
            reason, found = _read_slices(path, pydicom)
        except InputError as error:
            scan.damaged[path] = error
            continue
        if found:
            scan.slices.extend(found)
        else:
            scan.skipped[reason] += 1
            logger.info("%s: left out, %s", path, reason)
    return scan


def files_of(folder: Path, *, below: bool = True) -> list[Path]:
    """Return the files in a folder, and below it, in order; links to folders are not followed. Raises InputError."""

    def fail(error: OSError) -> None:
        message = f"{error.filename or folder}: the folder cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error

    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        found.extend(Path(parent) / name for name in sorted(names))
        folders[:] = sorted(folders) if below else []
    return found


def skipped_text(scan: Scan) -> str:
    """Say what was left out, such as "1 localizer, 2 not a DICOM file"."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(scan.skipped.items()))


def _read_slices(path: Path, pydicom: Any) -> tuple[str, list[Slice]]:
    """Return ("", slices), or (why the file is left out, none)."""
    header = read_header(path, pydicom)
    if header is None:
        return "not a DICOM file", []
    try:
        with quiet():
            reason = _why_not_a_slice(header, path)
            if reason:
                return reason, []
            return "", frames_of(header, path) if "PerFrameFunctionalGroupsSequence" in header else [slice_of(header, path)]
    except damage(pydicom) as error:  # pydicom converts a value only when it is asked for
        raise damaged_header(path, error) from error


def _why_not_a_slice(header: Any, path: Path) -> str:
    sop_class = sop_class_of(header)
    modality = str(header.get("Modality", ""))
    frames = "PerFrameFunctionalGroupsSequence" in header
    missing = [] if frames else [name for name in ("Rows", "Columns", *_PLACE) if not header.get(name)]
    reasons = (
        (sop_class == _DIRECTORY, "DICOMDIR"),
        (modality in _NOT_IMAGES, f"{modality} object"),
        ("LOCALIZER" in [str(part).upper() for part in header.get("ImageType") or ()], "localizer"),
        (int(header.get("SamplesPerPixel") or 1) != 1 or sop_class.startswith(_SECONDARY_CAPTURE), "secondary capture"),
        (not frames and int(header.get("NumberOfFrames") or 1) > 1, "multi-frame image without places"),
        (missing and sop_class not in SLICE_CLASSES, "object without a place in the body"),
    )
    reason = next((text for applies, text in reasons if applies), "")
    if missing and not reason:  # a slice without its place would be lost in silence
        message = f"{path}: the {SLICE_CLASSES[sop_class]} slice has no {missing[0]}; its header is damaged or truncated."
        raise InputError(message, AGAIN)
    return reason
