"""The header of one DICOM image: what is read of it, what is wrong with it, and where the slice lies."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.geometry import Matrix

TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "NominalPercentageOfCardiacPhase",
    "Modality",
    "ImageType",
    "ConvolutionKernel",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
SLICE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
}
"""Modality of the object classes whose files are always slices with a place."""
_NAMED_DICOM = {".dcm", ".ima"}
_PREAMBLE = 128
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
        rescale: (slope, intercept), or None when the file has none.
        unit: RescaleType, such as "HU"; "" when the file has none.
        padding: Lowest and highest stored value that means "not measured", or None.
        frame: Number of the frame, counted from 0, in a multi-frame file; None for a file of one slice.
        study_uid: StudyInstanceUID.
        series_number: SeriesNumber, as viewers show it, or None.
        image_type: ImageType, such as ("ORIGINAL", "PRIMARY", "AXIAL").
        kernel: ConvolutionKernel.
        acquisition: What tells phases in one series apart: acquisition, temporal position, trigger time, cardiac phase.
        photometric: PhotometricInterpretation.
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
    rescale: tuple[float, float] | None = None
    unit: str = ""
    padding: tuple[int, int] | None = None
    frame: int | None = None
    study_uid: str = ""
    series_number: int | None = None
    image_type: tuple[str, ...] = ()
    kernel: str = ""
    acquisition: tuple[str, ...] = ()
    photometric: str = ""

    @property
    def group(self) -> str:
        """What the slices of one series share: its UID, or the folder of files that have none."""
        return self.series_uid or str(self.path.parent)


def pydicom_or_error(what: Path) -> Any:
    """Return the pydicom module. Raises InputError with the command that installs it."""
    try:
        import pydicom
        import pydicom.errors
    except ImportError as error:
        message = f"{what}: reading DICOM needs pydicom, which is not installed."
        raise InputError(message, INSTALL) from error
    return pydicom


def read_header(path: Path, pydicom: Any) -> Any:
    """Return the few header fields used here, or None when the file is not DICOM.

    Raises:
        InputError: Truncated, named as DICOM without being it, no permission, or a disk error.
    """
    try:
        with quiet():
            return read_dataset(path, pydicom, stop_before_pixels=True, specific_tags=TAGS)
    except pydicom.errors.InvalidDicomError as error:
        if path.suffix.lower() in _NAMED_DICOM and not path.name.startswith("."):
            raise damaged_header(path, "it does not begin like one") from error  # a lost slice at an end leaves no gap
        return None
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the file and its permissions.") from error
    except damage(pydicom) as error:
        raise damaged_header(path, error) from error


def read_dataset(path: Path, pydicom: Any, **options: Any) -> Any:
    """Return what `pydicom.dcmread` reads, also of a file that lacks the 128 bytes and the mark that DICOM files begin with.

    Raises whatever pydicom raises; AttributeError or EOFError when the file ends inside its first lines.
    """
    bare = _is_bare(path)
    dataset = pydicom.dcmread(path, force=bare, **options)
    if bare:
        implicit, little = dataset.original_encoding
        names = {(True, True): "ImplicitVRLittleEndian", (False, True): "ExplicitVRLittleEndian", (False, False): "ExplicitVRBigEndian"}
        dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, names[implicit, little])
    if not dataset.file_meta.TransferSyntaxUID:  # absent or empty when the file ends before it
        message = "no transfer syntax"
        raise EOFError(message)
    return dataset


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins like DICOM, whatever its name. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error


def damage(pydicom: Any) -> tuple[type[Exception], ...]:
    """Return what pydicom raises on truncated or damaged bytes; it has no base class of its own for that."""
    own: type[Exception] = pydicom.errors.BytesLengthException
    return (EOFError, ValueError, TypeError, AttributeError, NotImplementedError, IndexError, struct.error, own)


def damaged_header(path: Path, cause: object) -> InputError:
    """Return the error for a header that is truncated or damaged."""
    return InputError(f"{path}: the DICOM header is truncated or damaged ({cause}).", f"{AGAIN[:-1]}, or remove this file.")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's remarks on values that break the letter of the standard, as most scanners' files do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def slice_of(header: Any, path: Path) -> Slice:
    """Return the slice of a single-frame file. Raises InputError for a place that makes no sense."""
    return Slice(
        position=position_of(header.ImagePositionPatient, path),
        axes=axes_of(header.ImageOrientationPatient, path),
        spacing=spacing_of(header.PixelSpacing, path),
        thickness=float(header.get("SliceThickness") or 0),
        rescale=rescale_of(header, path),
        unit=str(header.get("RescaleType") or "").upper(),
        **common_of(header, path),
    )


def common_of(header: Any, path: Path) -> dict[str, Any]:
    """Return the fields of a `Slice` that all frames of a file share."""
    phases = ("AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "NominalPercentageOfCardiacPhase")
    number = header.get("SeriesNumber")
    kernel = header.get("ConvolutionKernel") or ""
    return {
        "path": path,
        "series_uid": str(header.get("SeriesInstanceUID") or ""),
        "sop_uid": str(header.get("SOPInstanceUID") or header.file_meta.get("MediaStorageSOPInstanceUID") or ""),
        "description": str(header.get("SeriesDescription") or ""),
        "modality": str(header.get("Modality") or SLICE_CLASSES.get(sop_class_of(header), "")),
        "shape": (int(header.Columns), int(header.Rows)),
        "padding": _padding_of(header),
        "study_uid": str(header.get("StudyInstanceUID") or ""),
        "series_number": None if number is None else int(number),
        "image_type": tuple(str(part).upper() for part in header.get("ImageType") or ()),
        "kernel": kernel if isinstance(kernel, str) else str(kernel[0]),
        "acquisition": tuple(str(header.get(name) or "") for name in phases),
        "photometric": str(header.get("PhotometricInterpretation") or ""),
    }


def sop_class_of(header: Any) -> str:
    """Return the object class; the one in the file's own first lines is there also when the rest is cut off."""
    return str(header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID", ""))


def position_of(value: Any, path: Path) -> Matrix:
    """Return ImagePositionPatient as (3,) LPS mm. Raises InputError."""
    position = np.array([float(number) for number in value])
    if position.shape != (3,) or not np.isfinite(position).all():
        message = f"{path}: the position {position.tolist()} makes no sense."
        raise InputError(message, AGAIN)
    return position


def spacing_of(value: Any, path: Path) -> Matrix:
    """Return PixelSpacing as (2,) mm between columns and between rows. Raises InputError."""
    row_step, column_step = (float(number) for number in value)  # DICOM gives the distance between rows first
    if not (0 < row_step < np.inf and 0 < column_step < np.inf):
        message = f"{path}: the pixel spacing {row_step}, {column_step} mm makes no sense."
        raise InputError(message, AGAIN)
    return np.array([column_step, row_step])


def axes_of(value: Any, path: Path) -> Matrix:
    """Return exact unit axes (3, 3): the header's are rounded to a few digits, which adds up over 512 pixels. Raises InputError."""
    along_row, along_column = np.array([float(number) for number in value]).reshape(2, 3)
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


def rescale_of(header: Any, path: Path) -> tuple[float, float] | None:
    """Return (slope, intercept), or None when there are none. Raises InputError for a slope of zero."""
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    if slope is None and intercept is None:
        return None
    found = (1.0 if slope is None else float(slope), float(intercept or 0))
    if found[0] == 0 or not np.isfinite(found).all():
        message = f"{path}: the rescale slope {found[0]:g} and intercept {found[1]:g} make no sense."
        raise InputError(message, AGAIN)
    return found


def _padding_of(header: Any) -> tuple[int, int] | None:
    """Return the stored values that mean "not measured"; their tags are read as unsigned or signed like the pixels."""
    values = [header.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if values[0] is None or not isinstance(values[0], int):
        return None
    signed = bool(header.get("PixelRepresentation"))
    one, two = (_as_16_bits(value if isinstance(value, int) else values[0], signed) for value in values)
    return (min(one, two), max(one, two))


def _as_16_bits(value: int, signed: bool) -> int:
    value &= 0xFFFF
    return value - 0x10000 if signed and value >= 0x8000 else value


def _is_bare(path: Path) -> bool:
    """Tell whether a file is DICOM without the 128 bytes and the mark that a file begins with, as old archives write it."""
    with path.open("rb") as file:
        start = file.read(_PREAMBLE + 4)
    group, element = (int.from_bytes(start[at : at + 2], "little") for at in (0, 2))
    return start[_PREAMBLE:] != b"DICM" and group == 8 and element <= 0x18 and len(start) > _PREAMBLE
