"""Which DICOM series the CT of a case came from: a file beside it, so that segmentations can go back to the slices."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from AtlasSegmentLib.dicom_series import DicomOrigin
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json, write_json

NAME = "ct_dicom.json"
"""Name of the file in the case folder; it holds UIDs and file names, no other patient data."""


def write_origin(case: Path, origin: DicomOrigin) -> None:
    """Write the record of a case, unless it is there. Raises StorageError."""
    if not (case / NAME).exists():
        write_json(case / NAME, {"format": "atlas-ct-dicom/1", **asdict(origin)})


def read_origin(case: Path) -> DicomOrigin | None:
    """Return the record of a case, or None when its CT did not come from DICOM. Raises InputError for a damaged one."""
    path = Path(case) / NAME
    if not path.is_file():
        return None
    data: dict[str, Any] = read_json(path)
    try:
        lists: dict[str, Any] = {key: tuple(str(item) for item in data.pop(key)) for key in ("files", "sop_uids", "remarks", "others")}
        del data["format"]
        return DicomOrigin(**data, **lists)
    except (AttributeError, KeyError, TypeError) as error:
        message = f"{path}: is no record of a DICOM series ({error})."
        raise InputError(message, "Remove it, and name the slices with --dicom.") from error


def recorded_slices(case: Path) -> list[Path]:
    """Return the DICOM files that the CT of a case was read from; empty when nobody knows or one is gone. Raises InputError."""
    origin = read_origin(case)
    files = [] if origin is None else [Path(origin.folder) / name for name in origin.files]
    return files if all(path.is_file() for path in files) else []
