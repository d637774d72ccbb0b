"""The DICOM slices that a segmentation belongs to: their headers in order, and the grid that they lie on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib import geometry
from AtlasSegmentLib.dicom_frames import frames_of
from AtlasSegmentLib.dicom_header import damage, pydicom_or_error, quiet, read_dataset
from AtlasSegmentLib.dicom_stack import stacks_of
from AtlasSegmentLib.dicom_tilt import is_sheared, mask_onto_slices, straight_grid
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.volume import Array, Grid

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TOLERANCE = 0.05
"""Share of a voxel that two descriptions of one grid may differ: DICOM directions have six digits."""
_PLACE = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
_AGAIN = "Copy or export the series again."
_OWN_FILES = "Choose the DICOM files that the CT was read from."
# Attributes of patient and study that every segmentation object repeats; empty is allowed, absent is not.
_COPIED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


@dataclass(frozen=True)
class SourceSeries:
    """One series of slices: single-frame files, or one enhanced multi-frame file.

    Attributes:
        datasets: Their headers (pydicom datasets without pixels), in ascending order along the normal of the slices.
        grid: Columns, rows, slices; index to RAS mm. Sheared when the gantry was tilted.
        remarks: What had to be repaired, in full sentences.
        frames: For one enhanced multi-frame image, which is then the only dataset: the frame of each slice, counted from 0.
    """

    datasets: list[Any]
    grid: Grid
    remarks: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()

    def header(self, z: int) -> Any:
        """Return the header of the file that a slice is in."""
        return self.datasets[0] if self.frames else self.datasets[z]


def read_source_series(files: Sequence[Path]) -> SourceSeries:
    """Read the headers of the slices of one series.

    Raises:
        InputError: No files, a file that is no DICOM slice, slices of several series or of different size, or pydicom is missing.
    """
    if not files:
        message = "There is no DICOM file that the segmentation could refer to."
        raise InputError(message, _OWN_FILES)
    pydicom = pydicom_or_error(Path(files[0]))
    datasets = [_read_header(Path(path), pydicom) for path in files]
    first = datasets[0]
    odd = next((d for d in datasets if _series_key(d) != _series_key(first)), None)
    if odd is not None:
        message = f"{Path(odd.filename).name} and {Path(first.filename).name} are not slices of one series."
        raise InputError(message, f"{_OWN_FILES} No others.")
    remarks = _repair(datasets)
    if _is_multi_frame(first):
        return _multi_frame(first, remarks, len(datasets))
    normal = _axes(first)[:, 2]
    datasets.sort(key=lambda d: float(np.array(d.ImagePositionPatient, float) @ normal))
    return SourceSeries(datasets, _grid_of(datasets), remarks)


def _read_header(path: Path, pydicom: Any) -> Any:
    try:
        with quiet():
            header = read_dataset(path, pydicom, stop_before_pixels=True)
            header.decode()
            header.SpecificCharacterSet = "ISO_IR 192"  # what is copied from it is written in one character set
            for name in ("Rows", "Columns", *(() if _is_multi_frame(header) else _PLACE)):
                if not header.get(name):
                    message = f"{path}: has no {name}, so it is no slice of a CT."
                    raise InputError(message, _OWN_FILES)
    except pydicom.errors.InvalidDicomError as error:
        message = f"{path}: is not a DICOM file."
        raise InputError(message, _OWN_FILES) from error
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the file and its permissions.") from error
    except damage(pydicom) as error:
        message = f"{path}: the DICOM header is truncated or damaged ({error})."
        raise InputError(message, _AGAIN) from error
    return header


def _is_multi_frame(header: Any) -> bool:
    return "PerFrameFunctionalGroupsSequence" in header


def _multi_frame(header: Any, remarks: tuple[str, ...], files: int) -> SourceSeries:
    path = Path(str(header.filename))
    with quiet():
        stacks = stacks_of(frames_of(header, path))
    if files > 1 or len(stacks) > 1 or stacks[0].problem:
        problem = "several files" if files > 1 else "several stacks" if len(stacks) > 1 else stacks[0].problem
        message = f"{path}: an enhanced multi-frame image of one regular stack can be referred to, and this is not one: {problem}."
        raise InputError(message, "Export NIfTI or NRRD instead.")
    frames = tuple(item.frame or 0 for item in stacks[0].slices)
    return SourceSeries([header], Grid(stacks[0].shape, stacks[0].affine, str(path.parent)), remarks, frames)


def _series_key(header: Any) -> tuple[Any, ...]:
    if _is_multi_frame(header):
        return (str(header.get("SeriesInstanceUID") or ""), int(header.Rows), int(header.Columns))
    rounded = [round(float(v), 4) for v in (*header.ImageOrientationPatient, *header.PixelSpacing)]
    return (str(header.get("SeriesInstanceUID") or ""), int(header.Rows), int(header.Columns), *rounded)


def _repair(datasets: list[Any]) -> tuple[str, ...]:
    """Fill what anonymizing programs empty and a reference cannot do without; the same files give the same result.

    The first lines of a file repeat its own class and instance UID. UIDs of study and series are made from the instances'.
    """
    from pydicom.uid import generate_uid

    for header in datasets:
        for name in ("SOPClassUID", "SOPInstanceUID"):
            if not header.get(name):
                setattr(header, name, header.file_meta.get(f"MediaStorage{name}") or "")
        if not header.SOPInstanceUID or not header.SOPClassUID:
            message = f"{header.filename}: has no SOPInstanceUID, so nothing can refer to it."
            raise InputError(message, "Use the files as they came from the scanner or the archive.")
    missing = [name for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID") if not datasets[0].get(name)]
    for name in missing:
        uid = generate_uid(entropy_srcs=[name, *sorted(str(header.SOPInstanceUID) for header in datasets)])
        for header in datasets:
            setattr(header, name, uid)
    for name in _COPIED:
        for header in datasets:
            if name not in header:
                setattr(header, name, "")
    if not missing:
        return ()
    return (f"The CT's DICOM files have no {', '.join(missing)} (anonymized?): made from their instance UIDs.",)


def _axes(header: Any) -> geometry.Matrix:
    x, y = np.array([float(value) for value in header.ImageOrientationPatient]).reshape(2, 3)
    x = x / np.linalg.norm(x)
    y = y - (y @ x) * x
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _grid_of(datasets: list[Any]) -> Grid:
    first, last, axes = datasets[0], datasets[-1], _axes(datasets[0])
    row_step, column_step = (float(value) for value in first.PixelSpacing)
    start, end = (np.array([float(v) for v in d.ImagePositionPatient]) for d in (first, last))
    thickness = float(first.get("SliceThickness") or 1.0)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = axes[:, 0] * column_step, axes[:, 1] * row_step
    lps[:3, 2] = (end - start) / (len(datasets) - 1) if len(datasets) > 1 else axes[:, 2] * thickness
    lps[:3, 3] = start
    shape = (int(first.Columns), int(first.Rows), len(datasets))
    folder = str(Path(str(first.filename)).parent)
    return Grid(shape, geometry.check_affine(_RAS_FROM_LPS @ lps, folder), folder)


def on_slices(mask: Array, grid: Grid, slices: Grid) -> Array:
    """Return a mask on the voxels of DICOM slices; one on the right-angled grid of tilted slices by the nearest pixel.

    Raises:
        GeometryError: It lies on neither.
    """
    if is_sheared(slices) and not is_sheared(grid):
        return mask_onto_slices(turned(mask, grid, straight_grid(slices)), slices)
    return turned(mask, grid, slices)


def remarks_on(grid: Grid, source: SourceSeries) -> tuple[str, ...]:
    """Return what a user should know of masks on `grid` that go to the slices, in full sentences."""
    if is_sheared(source.grid) and not is_sheared(grid):
        tilt = "The slices are tilted: each mask was brought onto them by the nearest pixel, half a pixel off at most."
        return (*source.remarks, tilt)
    return source.remarks


def turned(array: Array, source: Grid, target: Grid) -> Array:
    """Return an array on `source` in the array order of `target`: axes permuted and flipped, never resampled.

    Raises:
        GeometryError: The voxels of the two grids differ by more than a twentieth of a voxel.
    """
    relation = np.linalg.inv(target.affine) @ source.affine
    whole = np.rint(relation)
    steps = whole[:3, :3].astype(int)
    ends = np.hstack([geometry.corners(source.shape), np.ones((8, 1))]).T
    off = float(np.abs((relation - whole) @ ends).max())
    if (np.abs(steps).sum(axis=0) != 1).any() or (np.abs(steps).sum(axis=1) != 1).any() or off > _TOLERANCE:
        raise _elsewhere(source, target)
    order = [int(np.flatnonzero(steps[axis])[0]) for axis in range(3)]
    sign = [int(steps[axis, order[axis]]) for axis in range(3)]
    result = array.transpose(order)[tuple(slice(None, None, s) for s in sign)]
    origin = [int(whole[axis, 3]) - (result.shape[axis] - 1 if sign[axis] < 0 else 0) for axis in range(3)]
    if result.shape != target.shape or any(origin):
        raise _elsewhere(source, target)
    return result


def _elsewhere(source: Grid, target: Grid) -> GeometryError:
    message = f"{source.source or 'the segmentation'} does not lie on the voxels of the DICOM slices in {target.source}."
    return GeometryError(message, _OWN_FILES)
