"""The headers of a folder of DICOM slices: which files are slices, and where each one lies."""

from __future__ import annotations

import logging
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.geometry import Matrix

logger = logging.getLogger(__name__)

_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
]
_NOT_IMAGES = {"SEG", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "PR", "KO", "REG", "FID", "DOC", "OT", "ANN", "M3D"}
_SLICE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
}
_AXES_TOLERANCE = 1e-3
AGAIN = "Copy or export the series again."
INSTALL = 'Run: pip install "slicer-atlas-annotator[formats]"'


@dataclass(frozen=True)
class Slice:
    """The header of one slice; positions in LPS mm as DICOM has them.

    Attributes:
        path: The file.
        series_uid: SeriesInstanceUID, "" when the file has none.
        sop_uid: SOPInstanceUID, "" when the file has none.
        description: SeriesDescription.
        modality: "CT", "MR" and so on.
        shape: (columns, rows), the order of x, y.
        spacing: (2,) mm between columns and between rows.
        thickness: SliceThickness in mm, 0 when the file has none.
        position: (3,) center of the first pixel.
        axes: (3, 3), columns: the unit direction in which the column grows, in which the row grows, and their normal.
    """

    path: Path
    series_uid: str
    sop_uid: str
    description: str
    modality: str
    shape: tuple[int, int]
    spacing: Matrix
    thickness: float
    position: Matrix
    axes: Matrix


@dataclass
class Scan:
    """What a folder holds: its slices, and why each other file was left out."""

    folder: Path
    slices: list[Slice] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def pydicom_or_error(what: Path) -> Any:
    """Return the pydicom module. Raises InputError with the command that installs it."""
    try:
        import pydicom
        import pydicom.errors
    except ImportError as error:
        message = f"{what}: reading DICOM needs pydicom, which is not installed."
        raise InputError(message, INSTALL) from error
    return pydicom


def scan_folder(folder: Path) -> Scan:
    """Read the headers of all files directly in `folder`; what is no image slice is counted by reason, not read further.

    Raises:
        InputError: Not a readable folder, or a slice whose header is damaged.
    """
    pydicom = pydicom_or_error(folder)
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        message = f"{folder}: the folder cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error
    scan = Scan(folder)
    for path in paths:
        reason, found = _read_slice(path, pydicom)
        if found is None:
            scan.skipped[reason] += 1
            logger.info("%s: left out, %s", path, reason)
        else:
            scan.slices.append(found)
    if scan.slices and scan.skipped:
        logger.warning("%s: left out %s", folder, skipped_text(scan))
    return scan


def skipped_text(scan: Scan) -> str:
    """Say what was left out, such as "1 localizer, 2 not a DICOM file"."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(scan.skipped.items()))


def _read_slice(path: Path, pydicom: Any) -> tuple[str, Slice | None]:
    """Return ("", slice), or (why the file is left out, None)."""
    header = read_header(path, pydicom)
    if header is None:
        return "not a DICOM file", None
    try:
        with quiet():
            reason = _why_not_a_slice(header, path)
            return (reason, None) if reason else ("", _slice_of(header, path))
    except damage(pydicom) as error:  # pydicom converts a value only when it is asked for
        raise _damaged_header(path, error) from error


def read_header(path: Path, pydicom: Any) -> Any:
    """Return the few header fields used here, or None when the file is not DICOM.

    Raises:
        InputError: Truncated, named as DICOM without being it, no permission, or a disk error.
    """
    try:
        with quiet():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            header.file_meta.TransferSyntaxUID  # noqa: B018 - absent when the file ends before it
            return header
    except pydicom.errors.InvalidDicomError as error:
        if path.suffix.lower() in {".dcm", ".ima"} and not path.name.startswith("."):
            raise _damaged_header(path, "it does not begin like one") from error  # a lost slice at an end leaves no gap
        return None
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the file and its permissions.") from error
    except damage(pydicom) as error:
        raise _damaged_header(path, error) from error


def damage(pydicom: Any) -> tuple[type[Exception], ...]:
    """Return what pydicom raises on truncated or damaged bytes; it has no base class of its own for that."""
    own: type[Exception] = pydicom.errors.BytesLengthException
    return (EOFError, ValueError, TypeError, AttributeError, NotImplementedError, struct.error, own)


def _damaged_header(path: Path, cause: object) -> InputError:
    return InputError(f"{path}: the DICOM header is truncated or damaged ({cause}).", f"{AGAIN[:-1]}, or remove this file.")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's remarks on values that break the letter of the standard, as most scanners' files do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _why_not_a_slice(header: Any, path: Path) -> str:
    modality = str(header.get("Modality", ""))
    if modality in _NOT_IMAGES:
        return f"{modality} object"
    if int(header.get("NumberOfFrames") or 1) > 1:
        return "enhanced multi-frame image"
    if "LOCALIZER" in [str(part).upper() for part in header.get("ImageType") or ()]:
        return "localizer"
    needed = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
    missing = [name for name in needed if not header.get(name)]
    # The class in the file's own first lines is there also when the rest is cut off.
    kind = _SLICE_CLASSES.get(str(header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID", "")))
    if missing and kind:  # a slice without its place would be lost in silence
        message = f"{path}: the {kind} slice has no {missing[0]}; its header is damaged or truncated."
        raise InputError(message, AGAIN)
    if missing or int(header.get("SamplesPerPixel") or 1) != 1:
        return "object without a place in the body"
    return ""


def _slice_of(header: Any, path: Path) -> Slice:
    row_step, column_step = (float(value) for value in header.PixelSpacing)
    position = np.array([float(value) for value in header.ImagePositionPatient])
    along_row, along_column = np.array([float(value) for value in header.ImageOrientationPatient]).reshape(2, 3)
    if position.shape != (3,) or not np.isfinite(position).all() or not (row_step > 0 and column_step > 0):
        message = f"{path}: position {position.tolist()} or pixel spacing {row_step}, {column_step} mm makes no sense."
        raise InputError(message, AGAIN)
    return Slice(
        path=path,
        series_uid=str(header.get("SeriesInstanceUID") or ""),
        sop_uid=str(header.get("SOPInstanceUID") or ""),
        description=str(header.get("SeriesDescription") or ""),
        modality=str(header.get("Modality") or ""),
        shape=(int(header.Columns), int(header.Rows)),
        spacing=np.array([column_step, row_step]),  # DICOM gives the distance between rows first
        thickness=float(header.get("SliceThickness") or 0),
        position=position,
        axes=_axes(along_row, along_column, path),
    )


def _axes(along_row: Matrix, along_column: Matrix, path: Path) -> Matrix:
    """Return exact unit axes: the header's are rounded to a few digits, which adds up over 512 pixels."""
    lengths = np.linalg.norm([along_row, along_column], axis=1)
    if not (np.abs(lengths - 1) < _AXES_TOLERANCE).all() or abs(along_row @ along_column) > _AXES_TOLERANCE:
        message = (
            f"{path}: ImageOrientationPatient {[*along_row.tolist(), *along_column.tolist()]} is not two unit vectors at right angles."
        )
        raise InputError(message, AGAIN)
    x = along_row / lengths[0]
    y = along_column - (along_column @ x) * x
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)
