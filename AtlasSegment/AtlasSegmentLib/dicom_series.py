"""A folder of DICOM slices as one volume: sorted by position, rescaled slice by slice, placed exactly."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AtlasSegmentLib.dicom_pixels import read_pixels
from AtlasSegmentLib.dicom_slices import Scan, Slice, pydicom_or_error, read_header, scan_folder, skipped_text
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.volume import Array, Volume

logger = logging.getLogger(__name__)

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME_POSITION_MM = 0.01
_SAME_PLANE = 1e-4
_UNEVEN_MM = 0.01
_UNEVEN_SHARE = 0.01
_TILT_DEG = 0.1
_INT16 = np.iinfo(np.int16)
_ONE_EACH = "Put the slices of one image alone into a folder."


@dataclass(frozen=True)
class DicomReport:
    """What one series of a folder is, and what is wrong with it.

    Attributes:
        series_uid: SeriesInstanceUID, "" when the files have none.
        description: SeriesDescription.
        modality: "CT", "MR" and so on.
        slices: Number of files.
        shape: (columns, rows, slices).
        spacing: (x, y, z) mm; z along the normal of the slices.
        tilt_deg: Angle between the stacking direction and the normal (gantry tilt).
        missing_mm: Where slices are missing: positions along the normal (for axial slices, z in mm).
        problem: Why the series cannot be read as it is, "" when it can.
    """

    series_uid: str
    description: str
    modality: str
    slices: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    tilt_deg: float
    missing_mm: tuple[float, ...]
    problem: str = ""


@dataclass(frozen=True)
class _Stack:
    """Slices in order along their normal, and the step from one to the next in LPS mm."""

    slices: list[Slice]
    step: Matrix
    along: Matrix
    missing_mm: tuple[float, ...]

    @property
    def spacing(self) -> float:
        return float(self.step @ self.slices[0].axes[:, 2])

    @property
    def tilt_deg(self) -> float:
        in_plane = self.slices[0].axes[:, :2].T @ self.step
        return float(np.degrees(np.arctan2(np.linalg.norm(in_plane), self.spacing)))

    @property
    def affine(self) -> Matrix:
        """Index to RAS mm; sheared when the gantry was tilted, as the slices really lie so."""
        first = self.slices[0]
        lps = np.eye(4)
        lps[:3, :2] = first.axes[:, :2] * first.spacing
        lps[:3, 2] = self.step
        lps[:3, 3] = first.position
        return _RAS_FROM_LPS @ lps


def read_dicom_folder(folder: Path, *, series: str | None = None) -> Volume:
    """Read one series of single-frame slices lying directly in `folder`.

    Slices are ordered by position along their normal, never by name or number, and each is rescaled by its own slope
    and intercept. A tilted gantry gives a sheared affine that is exact, and a warning.

    Args:
        folder: The folder; files that are not image slices are left out, with a log.
        series: The SeriesInstanceUID or its end; needed when there is more than one series.

    Returns:
        Array (X, Y, Z), HU for CT: int16 when all values are whole and fit, else float32. Affine in RAS mm.

    Raises:
        InputError: No slices, more than one series, missing, doubled, unevenly spaced or mixed slices, a damaged file.
    """
    folder = Path(folder)
    scan = scan_folder(folder)
    chosen = _choose(_by_series(scan), scan, series)
    stack = _stack(chosen, folder)
    problem = _problem(stack)
    if problem:
        message = f"{folder}: {problem}."
        raise InputError(message, "Export the whole series again, or convert it with dcm2niix and check the result.")
    if stack.tilt_deg > _TILT_DEG:
        logger.warning(
            "%s: the gantry was tilted by %.2f degrees; the affine is sheared to keep every slice in place.", folder, stack.tilt_deg
        )
    return Volume(_read_array(stack), stack.affine, str(folder))


def read_dicom_file_series(path: Path) -> Volume:
    """Read the series that one DICOM file belongs to, from the folder it lies in. Raises InputError as `read_dicom_folder`."""
    path = Path(path)
    header = read_header(path, pydicom_or_error(path))
    if header is None:
        message = f"{path}: is not a DICOM file."
        raise InputError(message, "Give a DICOM file or a folder of DICOM slices.")
    return read_dicom_folder(path.parent, series=str(header.get("SeriesInstanceUID") or "") or None)


def inspect_dicom_folder(folder: Path) -> list[DicomReport]:
    """Report every series of a folder without reading pixels; nothing in a series makes it fail.

    Raises:
        InputError: The folder cannot be read or holds no slices.
    """
    scan = scan_folder(Path(folder))
    if not scan.slices:
        raise _nothing_found(scan)
    return [_report(slices, Path(folder)) for slices in _by_series(scan).values()]


def _report(slices: list[Slice], folder: Path) -> DicomReport:
    first = slices[0]
    try:
        stack = _stack(slices, folder)
    except InputError as error:
        shape, spacing = (*first.shape, len(slices)), (float(first.spacing[0]), float(first.spacing[1]), first.thickness)
        return DicomReport(first.series_uid, first.description, first.modality, len(slices), shape, spacing, 0.0, (), error.message)
    return DicomReport(
        series_uid=first.series_uid,
        description=first.description,
        modality=first.modality,
        slices=len(slices),
        shape=(*first.shape, len(slices)),
        spacing=(float(first.spacing[0]), float(first.spacing[1]), stack.spacing),
        tilt_deg=stack.tilt_deg,
        missing_mm=stack.missing_mm,
        problem=_problem(stack),
    )


def _by_series(scan: Scan) -> dict[str, list[Slice]]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for item in scan.slices:
        groups[item.series_uid].append(item)
    return dict(groups)


def _choose(groups: dict[str, list[Slice]], scan: Scan, series: str | None) -> list[Slice]:
    if not groups:
        raise _nothing_found(scan)
    matches = [uid for uid in groups if series is None or uid == series] or [uid for uid in groups if series and uid.endswith(series)]
    if len(matches) == 1:
        return groups[matches[0]]
    listed = "; ".join(
        f"{items[0].description or 'no description'!r}, {len(items)} slices, UID …{uid[-12:] or 'none'}" for uid, items in groups.items()
    )
    problem = (
        f"holds {len(groups)} series"
        if series is None
        else f"has {len(matches) or 'no'} series with the UID {series!r} among its {len(groups)}"
    )
    message = f"{scan.folder}: {problem}: {listed}."
    raise InputError(message, "Choose one with --series and the end of its UID, or move the others to folders of their own.")


def _nothing_found(scan: Scan) -> InputError:
    if scan.skipped["enhanced multi-frame image"]:
        message = f"{scan.folder}: holds enhanced multi-frame DICOM, which is not read directly."
        return InputError(message, "Convert it first: dcm2niix -z y FOLDER.")
    message = f"{scan.folder}: holds no DICOM image slices ({skipped_text(scan) or 'no files'})."
    return InputError(message, "Give the folder that the slices themselves lie in; folders below it are not searched.")


def _stack(slices: list[Slice], folder: Path) -> _Stack:
    """Order slices along their normal. Raises InputError when they do not form one stack."""
    first = slices[0]
    odd = next((item for item in slices if not _same_plane(item, first)), None)
    if odd is not None:
        names = f"{first.path.name} and {odd.path.name}"
        message = f"{folder}: one series mixes slices of different size, spacing or orientation ({names})."
        raise InputError(message, _ONE_EACH)
    normal = first.axes[:, 2]
    ordered = sorted(slices, key=lambda item: float(item.position @ normal))
    along = np.array([float(item.position @ normal) for item in ordered])
    gaps = np.diff(along)
    if len(ordered) == 1:
        if first.thickness <= 0:
            message = f"{folder}: a single slice without SliceThickness has no volume."
            raise InputError(message, "Give the whole series.")
        return _Stack(ordered, normal * first.thickness, along, ())
    if gaps.min() < _SAME_POSITION_MM:
        raise _doubled(ordered, gaps, folder)
    step = (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)
    return _Stack(ordered, step, along, _missing(along, gaps))


def _same_plane(a: Slice, b: Slice) -> bool:
    differences = (np.abs(a.spacing - b.spacing).max(), np.abs(a.axes - b.axes).max())
    return a.shape == b.shape and max(differences) <= _SAME_PLANE


def _doubled(ordered: list[Slice], gaps: Matrix, folder: Path) -> InputError:
    index = int(np.argmax(gaps < _SAME_POSITION_MM))
    one, two = ordered[index], ordered[index + 1]
    count = int(np.count_nonzero(gaps < _SAME_POSITION_MM))
    copies = one.sop_uid and one.sop_uid == two.sop_uid
    cause = "copies of the same image" if copies else "several phases or reconstructions in one series"
    message = f"{folder}: {count} position(s) hold more than one slice ({one.path.name} and {two.path.name}): {cause}."
    return InputError(message, "Remove the copies." if copies else _ONE_EACH)


def _missing(along: Matrix, gaps: Matrix) -> tuple[float, ...]:
    usual = float(np.quantile(gaps, 0.5, method="lower"))
    found: list[float] = []
    for start, gap in zip(along, gaps, strict=False):
        if gap > 1.5 * usual:
            steps = round(float(gap) / usual)
            found.extend(round(float(start + gap * k / steps), 3) for k in range(1, steps))
    return tuple(found)


def _problem(stack: _Stack) -> str:
    """Say why a stack is not a regular grid; "" when it is."""
    if stack.missing_mm:
        listed = ", ".join(f"{value:g}" for value in stack.missing_mm[:5]) + (" …" if len(stack.missing_mm) > 5 else "")
        return f"{len(stack.missing_mm)} slices are missing, at {listed} mm along the normal of the slices"
    if len(stack.slices) < 2:
        return ""
    tolerance = max(_UNEVEN_MM, _UNEVEN_SHARE * stack.spacing)
    gaps = np.diff(stack.along)
    worst = int(np.argmax(np.abs(gaps - stack.spacing)))
    if abs(gaps[worst] - stack.spacing) > tolerance:
        return f"the slices are unevenly spaced: {gaps[worst]:.3f} mm after {stack.along[worst]:.3f} mm, {stack.spacing:.3f} mm on average"
    line = stack.slices[0].position + np.arange(len(stack.slices))[:, None] * stack.step
    shift = np.linalg.norm(np.array([item.position for item in stack.slices]) - line, axis=1)
    if shift.max() > tolerance:
        where = stack.along[int(np.argmax(shift))]
        return f"the slice at {where:.3f} mm lies {shift.max():.3f} mm beside the line of the others"
    return ""


def _read_array(stack: _Stack) -> Array:
    """Read all slices into one array of 2 bytes a voxel; only a slice that needs it turns the array into float32."""
    shape = (*stack.slices[0].shape, len(stack.slices))
    array: Array = np.empty(shape, np.int16, order="F")
    for z, item in enumerate(stack.slices):
        pixels = read_pixels(item.path)
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
