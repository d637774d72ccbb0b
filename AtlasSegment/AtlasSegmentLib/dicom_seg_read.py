"""Read a DICOM segmentation object: each segment as a mask on the grid of the CT. Needs pydicom alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.dicom_codes import structure_with_codes
from AtlasSegmentLib.dicom_header import damage, pydicom_or_error, quiet
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.export_organs import Organ
from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.labels import Snomed, Structure, catalog, structure_for
from AtlasSegmentLib.volume import Array, Grid

_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # the second holds label maps
_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
_TOLERANCE = 0.05  # of a voxel
_AGAIN = "Copy or export the file again."


@dataclass(frozen=True)
class _Frame:
    """One stored frame: its segment, its bits, and where it goes."""

    segment: int
    pixels: Array
    place: tuple[slice, slice, slice]


def read_dicom_seg(path: Path, grid: Grid, *, nearest: bool = False) -> list[Organ]:
    """Read the segments of a DICOM SEG as organs with masks on `grid`.

    The name is the label of the segment; the structure is what label or SNOMED codes say; `value` is the segment number.
    Frames stay packed as bits until a mask is asked for. Segments may overlap.

    Args:
        path: A segmentation object: binary, label map, or fractional (half of its maximum and more counts as inside).
        grid: The CT's grid, in any array order.
        nearest: Frames may lie between the pixels of the planes of `grid`: slices of a tilted gantry on the right-angled grid.

    Raises:
        InputError: Missing, damaged, no segmentation object, or pydicom is missing.
        GeometryError: Frames do not lie on the voxels of `grid`.
    """
    path = Path(path)
    dataset = read_object(path)
    pydicom = pydicom_or_error(path)
    try:
        with quiet():
            frames: dict[int, list[_Frame]] = {}
            for frame in _frames(dataset, grid, path, nearest):
                frames.setdefault(frame.segment, []).append(frame)
            return [_organ(item, frames, grid) for item in dataset.SegmentSequence if int(item.SegmentNumber)]  # 0 is background
    except damage(pydicom) as error:
        message = f"{path}: the segmentation object is truncated or damaged ({error})."
        raise InputError(message, _AGAIN) from error


def read_object(path: Path, *, pixels: bool = True) -> Any:
    """Return the pydicom dataset of a segmentation object. Raises InputError."""
    pydicom = pydicom_or_error(path)
    try:
        with quiet():
            dataset = pydicom.dcmread(path, stop_before_pixels=not pixels)
    except pydicom.errors.InvalidDicomError as error:
        message = f"{path}: is not a DICOM file."
        raise InputError(message, "Give a DICOM segmentation object.") from error
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error
    except damage(pydicom) as error:
        message = f"{path}: the file is truncated or damaged ({error})."
        raise InputError(message, _AGAIN) from error
    if str(dataset.get("SOPClassUID", "")) not in _CLASSES or not dataset.get("SegmentSequence"):
        message = f"{path}: is no DICOM segmentation object (modality {dataset.get('Modality', 'unknown')})."
        raise InputError(message, "Give a DICOM SEG file with binary or fractional segments.")
    return dataset


def _frames(dataset: Any, grid: Grid, path: Path, nearest: bool) -> Iterator[_Frame]:
    from pydicom.pixels.utils import iter_pixels

    to_index = np.linalg.inv(grid.affine)
    known = {0, *(int(item.SegmentNumber) for item in dataset.SegmentSequence)}  # 0 is background in a label map
    for group, pixels in zip(dataset.PerFrameFunctionalGroupsSequence, iter_pixels(dataset), strict=True):
        corner, columns, rows = (to_index @ vector for vector in plane_of(dataset, group))
        for segment, inside in _segments(dataset, group, pixels.T):
            if segment not in known:
                message = f"{path}: a frame belongs to segment {segment}, which the object does not describe."
                raise InputError(message, _AGAIN)
            turned, place = _placed(inside, _Place(corner[:3], columns[:3], rows[:3]), grid, path, nearest)
            yield _Frame(segment, np.packbits(turned), place)


def _segments(dataset: Any, group: Any, pixels: Array) -> Iterator[tuple[int, Array]]:
    """Yield (segment number, mask) of what a frame holds: one segment, or in a label map several."""
    if dataset.SegmentationType == "LABELMAP":
        for value in np.unique(pixels).tolist():
            yield value, pixels == value
        return
    threshold = (int(dataset.get("MaximumFractionalValue", 255)) + 1) // 2 if dataset.SegmentationType == "FRACTIONAL" else 1
    yield int(macro_of(dataset, group, "SegmentIdentificationSequence").ReferencedSegmentNumber), np.greater_equal(pixels, threshold)


def plane_of(dataset: Any, group: Any) -> tuple[Matrix, Matrix, Matrix]:
    """Return where the first pixel of a frame is, and the steps along columns and rows, in homogeneous RAS mm."""
    position = macro_of(dataset, group, "PlanePositionSequence").ImagePositionPatient
    direction = np.array([float(v) for v in macro_of(dataset, group, "PlaneOrientationSequence").ImageOrientationPatient]).reshape(2, 3)
    row_step, column_step = (float(value) for value in macro_of(dataset, group, "PixelMeasuresSequence").PixelSpacing)
    origin = np.array([float(value) for value in position]) * _RAS_FROM_LPS
    along_columns, along_rows = direction * _RAS_FROM_LPS * np.array([[column_step], [row_step]])
    return np.append(origin, 1.0), np.append(along_columns, 0.0), np.append(along_rows, 0.0)


def macro_of(dataset: Any, group: Any, name: str) -> Any:
    """Return an entry of a frame, or the one that all frames share."""
    found = group.get(name) or dataset.SharedFunctionalGroupsSequence[0].get(name)
    if not found:
        message = f"no {name}"
        raise ValueError(message)
    return found[0]


@dataclass(frozen=True)
class _Place:
    """Where a frame lies, in voxels of a grid: its first pixel, and the steps from one column or row to the next."""

    corner: Matrix
    columns: Matrix
    rows: Matrix


def _placed(pixels: Array, where: _Place, grid: Grid, path: Path, nearest: bool) -> tuple[Array, tuple[slice, slice, slice]]:
    """Return a frame, bool (columns, rows), as a slab in the array order of `grid`, and where it goes."""
    corner, columns, rows = where.corner, where.columns, where.rows
    far = corner + columns * (pixels.shape[0] - 1) + rows * (pixels.shape[1] - 1)
    a, b, start = np.rint(columns).astype(int), np.rint(rows).astype(int), np.rint(corner).astype(int)
    end = start + a * (pixels.shape[0] - 1) + b * (pixels.shape[1] - 1)
    allowed = np.where((a + b != 0) & nearest, start - corner, 0.0)  # within its plane
    off = max(float(np.abs(start - corner - allowed).max()), float(np.abs(end - far - allowed).max()))
    straight = np.abs(a).sum() == 1 and np.abs(b).sum() == 1 and not (a * b).any()
    low, high = np.minimum(start, end), np.maximum(start, end) + 1
    if not straight or off > _TOLERANCE or (low < 0).any() or (high > grid.shape).any():
        message = f"{path}: the segmentation does not lie on the voxels of {grid.source or 'the CT'}."
        raise GeometryError(message, "Give the CT that it was drawn on.")
    turned = pixels[:: -1 if a.min() < 0 else 1, :: -1 if b.min() < 0 else 1]
    if int(np.abs(a).argmax()) > int(np.abs(b).argmax()):
        turned = turned.T
    return turned.reshape(high - low), (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))


def _organ(item: Any, frames: Mapping[int, Sequence[_Frame]], grid: Grid) -> Organ:
    number = int(item.SegmentNumber)
    label = str(item.get("SegmentLabel") or f"segment_{number}")
    return Organ(label, _structure(item, label), _reader(frames.get(number, ()), grid), number)


def _structure(item: Any, label: str) -> Structure:
    return structure_of(label, item.SegmentedPropertyTypeCodeSequence[0], (item.get("AnatomicRegionSequence") or [None])[0])


def _reader(frames: Sequence[_Frame], grid: Grid) -> Callable[[], Array]:
    def read() -> Array:
        mask = np.zeros(grid.shape, np.bool_, order="F")
        for frame in frames:
            shape = tuple(side.stop - side.start for side in frame.place)
            mask[frame.place] |= np.unpackbits(frame.pixels, count=int(np.prod(shape))).reshape(shape).astype(np.bool_)
        return mask

    return read


def structure_of(label: str, kind: Any, region: Any) -> Structure:
    """Return what a segment is: by its label, else by its SNOMED codes, else what its codes say under its own name.

    Args:
        label: Its name.
        kind: Its type, a code with the modifiers it may have (a pydicom dataset).
        region: The code of the organ that it lies in, or None.
    """
    named = structure_for(label)
    if named.name in catalog():
        return named
    sides = kind.get("SegmentedPropertyTypeModifierCodeSequence") or (region.get("AnatomicRegionModifierSequence") if region else None)
    side = _value(sides[0]) if sides else None
    known = structure_with_codes(_value(kind), side, _value(region) if region else None)
    if known is not None:
        return known
    if str(kind.get("CodingSchemeDesignator", "")) != "SCT":
        return named
    where = (_value(region), str(region.get("CodeMeaning", ""))) if region else None
    return replace(named, snomed=Snomed(_value(kind), str(kind.get("CodeMeaning", "")), side, "anatomy", where))


def _value(code: Any) -> str:
    return str(code.get("CodeValue") or code.get("LongCodeValue") or "")
