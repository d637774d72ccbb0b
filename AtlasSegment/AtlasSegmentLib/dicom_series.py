"""A folder of DICOM slices as one volume: the series chosen, sorted by position, rescaled slice by slice, placed exactly."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from AtlasSegmentLib.dicom_choice import Choice, choose, describe, nothing_found, ranked, require_readable
from AtlasSegmentLib.dicom_header import pydicom_or_error, read_header
from AtlasSegmentLib.dicom_pixels import AIR_HU, PixelReader
from AtlasSegmentLib.dicom_slices import Scan, scan_folder
from AtlasSegmentLib.dicom_stack import TILT_DEG, Stack, folders_of
from AtlasSegmentLib.dicom_tilt import straight_grid, straighten
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.volume import Array, Grid, Volume

logger = logging.getLogger(__name__)

_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class DicomReport:
    """What one series of a folder is, and what is wrong with it.

    Attributes:
        key: What `--series` names it by.
        series_uid: SeriesInstanceUID, "" when the files have none.
        number: SeriesNumber, or None.
        description: SeriesDescription.
        modality: "CT", "MR" and so on.
        slices: Number of slices.
        shape: (columns, rows, slices).
        spacing: (x, y, z) mm; z along the normal of the slices.
        tilt_deg: Angle between the stacking direction and the normal (gantry tilt).
        missing_mm: Where slices are missing: positions along the normal (for axial slices, z in mm).
        problem: Why the series cannot be read as it is, "" when it can.
        remarks: What should be known of it, in full sentences.
    """

    key: str
    series_uid: str
    number: int | None
    description: str
    modality: str
    slices: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    tilt_deg: float
    missing_mm: tuple[float, ...]
    problem: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class DicomOrigin:
    """The series that a volume was read from, for its record; no patient data but UIDs.

    Attributes:
        folder: The folder that was given.
        files: The files in the order of the slices, relative to it.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        description: The series in one phrase.
        sop_uids: SOPInstanceUIDs in the order of the slices.
        tilt_deg: Gantry tilt in degrees.
        straightened: Whether the tilt was resampled away.
        remarks: What should be known, in full sentences.
        others: The series that were not chosen, each in one phrase.
    """

    folder: str
    files: tuple[str, ...]
    study_uid: str
    series_uid: str
    description: str
    sop_uids: tuple[str, ...]
    tilt_deg: float
    straightened: bool
    remarks: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class DicomVolume(Volume):
    """A volume that was read from DICOM, and where it came from."""

    origin: DicomOrigin | None = field(default=None, repr=False, compare=False)


def read_dicom_folder(folder: Path, *, series: str | None = None, modality: str | None = None, straight: bool = False) -> DicomVolume:
    """Read one series of a folder: the named one, else the one that `dicom_choice` chooses by rule.

    Slices are ordered by position along their normal, never by name or number, and each is rescaled by its own slope
    and intercept. A tilted gantry gives a sheared affine that is exact, or with `straight` a right-angled grid onto which the
    slices are interpolated linearly.

    Args:
        folder: The folder; folders below it are searched too. Files that are no image slices are left out, with a log.
        series: Number of the series, its SeriesInstanceUID or the end of it; None chooses by rule.
        modality: The only modality that will do, such as "CT", or None.
        straight: Resample a tilted series onto a right-angled grid.

    Returns:
        Array (X, Y, Z), HU for CT: int16 when all values are whole and fit, else float32. Affine in RAS mm.

    Raises:
        InputError: No slices, no such series, several alike, another modality, missing, doubled, unevenly spaced or mixed slices, a
            damaged file.
    """
    scan = scan_folder(Path(folder))
    return _read(scan, choose(scan, series, modality), straight)


def _read(scan: Scan, choice: Choice, straight: bool) -> DicomVolume:
    require_readable(scan, choice)
    folder, stack = scan.folder, choice.stack
    array, grid = _read_array(stack), Grid(stack.shape, stack.affine, str(folder))
    straightened = straight and stack.tilt_deg > TILT_DEG
    if straightened:
        array, grid = straighten(array, grid, _air(stack, array)), straight_grid(grid)
    origin = _origin(choice, folder, straightened)
    for remark in origin.remarks:
        logger.warning("%s: %s", folder, remark)
    return DicomVolume(array, grid.affine, str(folder), origin=origin)


def _air(stack: Stack, array: Array) -> float:
    """Return what a tilted image shows beside its slices: air for a CT, the smallest value otherwise."""
    return float(AIR_HU) if stack.first.modality == "CT" and stack.is_hu else float(array.min())


def _origin(choice: Choice, folder: Path, straightened: bool) -> DicomOrigin:
    stack = choice.stack
    tilt = stack.tilt_deg if stack.tilt_deg > TILT_DEG else 0.0
    remarks = list(stack.remarks)
    if straightened:
        remarks.append("The slices were interpolated linearly onto a right-angled grid; masks go back to the slices by the nearest pixel.")
    elif tilt:
        remarks.append("The affine is sheared to keep every slice in place.")
    return DicomOrigin(
        folder=str(folder.absolute()),
        files=tuple(dict.fromkeys(str(item.path.relative_to(folder)) for item in stack.slices)),
        study_uid=stack.first.study_uid,
        series_uid=stack.first.series_uid,
        description=describe(stack),
        sop_uids=tuple(dict.fromkeys(item.sop_uid for item in stack.slices)),
        tilt_deg=round(tilt, 4),
        straightened=straightened,
        remarks=tuple(remarks),
        others=tuple(describe(other) for other in choice.others),
    )


def read_dicom_file_series(path: Path, *, series: str | None = None, modality: str | None = None, straight: bool = False) -> DicomVolume:
    """Read the series that one DICOM file belongs to, from the folder it lies in and not below. Options as `read_dicom_folder`.

    Raises:
        InputError: As `read_dicom_folder`, or the file is no slice.
    """
    path = Path(path)
    if read_header(path, pydicom_or_error(path)) is None:
        message = f"{path}: is not a DICOM file."
        raise InputError(message, "Give a DICOM file or a folder of DICOM slices.")
    scan = scan_folder(path.parent, below=False)
    return _read(scan, choose(scan, series, modality, path), straight)


def inspect_dicom_folder(folder: Path) -> list[DicomReport]:
    """Report every series of a folder, best first by rule, without reading pixels; nothing in a series makes it fail.

    Raises:
        InputError: The folder cannot be read or holds no slices.
    """
    scan = scan_folder(Path(folder))
    if not scan.slices:
        raise nothing_found(scan)
    damaged = {path.parent: error.message for path, error in scan.damaged.items()}
    return [_report(stack, next((damaged[f] for f in folders_of(stack) if f in damaged), "")) for stack in ranked(scan)]


def _report(stack: Stack, damaged: str) -> DicomReport:
    first = stack.first
    return DicomReport(
        key=stack.key,
        series_uid=first.series_uid,
        number=first.series_number,
        description=first.description,
        modality=first.modality,
        slices=len(stack.slices),
        shape=stack.shape,
        spacing=(float(first.spacing[0]), float(first.spacing[1]), stack.spacing),
        tilt_deg=stack.tilt_deg,
        missing_mm=stack.missing_mm,
        problem=stack.problem or damaged,
        remarks=stack.remarks,
    )


def _read_array(stack: Stack) -> Array:
    """Read all slices into one array of 2 bytes a voxel; only a slice that needs it turns the array into float32."""
    shape, reader = stack.shape, PixelReader()
    array: Array = np.empty(shape, np.int16, order="F")
    for z, item in enumerate(stack.slices):
        pixels = reader.read(item)
        if pixels.shape != shape[:2]:
            message = f"{item.path}: the pixels have the shape {pixels.shape}, the header says {shape[:2]}."
            raise InputError(message, "Copy or export the series again.")
        if array.dtype == np.int16 and not _fits_int16(pixels):
            array = array.astype(np.float32)
        array[:, :, z] = pixels
    return array


def _fits_int16(pixels: Array) -> bool:
    if pixels.min() < _INT16.min or pixels.max() > _INT16.max:
        return False
    return pixels.dtype.kind in "iu" or bool((np.rint(pixels) == pixels).all())
