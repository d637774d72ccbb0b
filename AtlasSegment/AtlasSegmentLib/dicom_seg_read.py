"""Read a DICOM segmentation object: each segment as a mask on the grid of the CT. Needs pydicom alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.dicom_codes import structure_with_codes
from AtlasSegmentLib.dicom_slices import damage, pydicom_or_error, quiet
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.export_organs import Organ
from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.labels import Snomed, Structure, catalog, structure_for
from AtlasSegmentLib.volume import Array, Grid

_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
_TOLERANCE = 0.05  # of a voxel
_AGAIN = "Copy or export the file again."


@dataclass(frozen=True)
class _Frame:
    """One stored frame: its segment, its bits, and where it goes."""

    segment: int
    pixels: Array
    place: tuple[slice, slice, slice]


def read_dicom_seg(path: Path, grid: Grid) -> list[Organ]:
    """Read the segments of a DICOM SEG as organs with masks on `grid`.

    The name is the label of the segment; the structure is what label or SNOMED codes say; `value` is the segment number.
    Frames stay packed as bits until a mask is asked for. Segments may overlap.

    Args:
        path: A segmentation object, binary or fractional (half of its maximum and more counts as inside).
        grid: The CT's grid, in any array order.

    Raises:
        InputError: Missing, damaged, no segmentation object, or pydicom is missing.
        GeometryError: Frames do not lie on the voxels of `grid`.
    """
    path = Path(path)
    dataset = _read(path)
    pydicom = pydicom_or_error(path)
    try:
        with quiet():
            frames = _frames(dataset, grid, path)
            return [_organ(item, frames, grid) for item in dataset.SegmentSequence]
    except damage(pydicom) as error:
        message = f"{path}: the segmentation object is truncated or damaged ({error})."
        raise InputError(message, _AGAIN) from error


def _read(path: Path) -> Any:
    pydicom = pydicom_or_error(path)
    try:
        with quiet():
            dataset = pydicom.dcmread(path)
    except pydicom.errors.InvalidDicomError as error:
        message = f"{path}: is not a DICOM file."
        raise InputError(message, "Give a DICOM segmentation object.") from error
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error
    except damage(pydicom) as error:
        message = f"{path}: the file is truncated or damaged ({error})."
        raise InputError(message, _AGAIN) from error
    if str(dataset.get("SOPClassUID", "")) != _CLASS or not dataset.get("SegmentSequence"):
        message = f"{path}: is no DICOM segmentation object (modality {dataset.get('Modality', 'unknown')})."
        raise InputError(message, "Give a DICOM SEG file with binary or fractional segments.")
    return dataset


def _frames(dataset: Any, grid: Grid, path: Path) -> list[_Frame]:
    from pydicom.pixels.utils import iter_pixels

    groups = dataset.PerFrameFunctionalGroupsSequence
    threshold = (int(dataset.get("MaximumFractionalValue", 255)) + 1) // 2 if dataset.SegmentationType == "FRACTIONAL" else 1
    to_index = np.linalg.inv(grid.affine)
    frames = []
    for group, pixels in zip(groups, iter_pixels(dataset), strict=True):
        corner, columns, rows = (to_index @ vector for vector in _plane(dataset, group))
        turned, place = _placed(np.greater_equal(pixels.T, threshold), corner[:3], columns[:3], rows[:3], grid, path)
        frames.append(_Frame(_segment_number(dataset, group), np.packbits(turned), place))
    return frames


def _plane(dataset: Any, group: Any) -> tuple[Matrix, Matrix, Matrix]:
    """Return where the first pixel is, and the steps along columns and rows, in homogeneous RAS mm."""
    position = _macro(dataset, group, "PlanePositionSequence").ImagePositionPatient
    direction = np.array([float(v) for v in _macro(dataset, group, "PlaneOrientationSequence").ImageOrientationPatient]).reshape(2, 3)
    row_step, column_step = (float(value) for value in _macro(dataset, group, "PixelMeasuresSequence").PixelSpacing)
    origin = np.array([float(value) for value in position]) * _RAS_FROM_LPS
    along_columns, along_rows = direction * _RAS_FROM_LPS * np.array([[column_step], [row_step]])
    return np.append(origin, 1.0), np.append(along_columns, 0.0), np.append(along_rows, 0.0)


def _macro(dataset: Any, group: Any, name: str) -> Any:
    """Return an entry of a frame, or the one that all frames share."""
    found = group.get(name) or dataset.SharedFunctionalGroupsSequence[0].get(name)
    if not found:
        message = f"no {name}"
        raise ValueError(message)
    return found[0]


def _segment_number(dataset: Any, group: Any) -> int:
    return int(_macro(dataset, group, "SegmentIdentificationSequence").ReferencedSegmentNumber)


def _placed(
    pixels: Array, corner: Matrix, columns: Matrix, rows: Matrix, grid: Grid, path: Path
) -> tuple[Array, tuple[slice, slice, slice]]:
    """Return a frame (columns, rows) as a slab in the array order of `grid`, and where it goes.

    Args:
        pixels: bool (columns, rows).
        corner: Voxel index of its first pixel.
        columns: Step in voxels from one column to the next.
        rows: Step in voxels from one row to the next.
        grid: The target.
        path: For messages.
    """
    far = corner + columns * (pixels.shape[0] - 1) + rows * (pixels.shape[1] - 1)
    a, b, start = np.rint(columns).astype(int), np.rint(rows).astype(int), np.rint(corner).astype(int)
    end = start + a * (pixels.shape[0] - 1) + b * (pixels.shape[1] - 1)
    off = max(float(np.abs(start - corner).max()), float(np.abs(end - far).max()))
    straight = np.abs(a).sum() == 1 and np.abs(b).sum() == 1 and not (a * b).any()
    low, high = np.minimum(start, end), np.maximum(start, end) + 1
    if not straight or off > _TOLERANCE or (low < 0).any() or (high > grid.shape).any():
        message = f"{path}: the segmentation does not lie on the voxels of {grid.source or 'the CT'}."
        raise GeometryError(message, "Give the CT that it was drawn on.")
    turned = pixels[:: -1 if a.min() < 0 else 1, :: -1 if b.min() < 0 else 1]
    if int(np.abs(a).argmax()) > int(np.abs(b).argmax()):
        turned = turned.T
    return turned.reshape(high - low), (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))


def _organ(item: Any, frames: Sequence[_Frame], grid: Grid) -> Organ:
    number = int(item.SegmentNumber)
    own = [frame for frame in frames if frame.segment == number]
    label = str(item.get("SegmentLabel") or f"segment_{number}")
    return Organ(label, _structure(item, label), _reader(own, grid), number)


def _reader(frames: Sequence[_Frame], grid: Grid) -> Callable[[], Array]:
    def read() -> Array:
        mask = np.zeros(grid.shape, np.bool_, order="F")
        for frame in frames:
            shape = tuple(side.stop - side.start for side in frame.place)
            mask[frame.place] |= np.unpackbits(frame.pixels, count=int(np.prod(shape))).reshape(shape).astype(np.bool_)
        return mask

    return read


def _structure(item: Any, label: str) -> Structure:
    """Return what a segment is: by its label, else by its SNOMED codes, else what its codes say under its own name."""
    named = structure_for(label)
    if named.name in catalog():
        return named
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    region = (item.get("AnatomicRegionSequence") or [None])[0]
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
