"""Read an RT Structure Set: each closed structure as a mask on the grid of the CT. Needs pydicom alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.dicom_contours import rasterize
from AtlasSegmentLib.dicom_header import damage, pydicom_or_error, quiet, read_dataset
from AtlasSegmentLib.dicom_seg_read import structure_of
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.export_organs import Organ
from AtlasSegmentLib.geometry import Matrix, apply_affine, spacing_of
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.volume import Array, Grid

_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"}
_RAS = np.array([-1.0, -1.0, 1.0])
_OFF_PLANE = 0.25  # of a slice distance


def read_rtstruct(path: Path, grid: Grid) -> list[Organ]:
    """Read the structures of an RTSTRUCT as organs with masks on `grid`; points and open lines are left out.

    A pixel belongs to a structure when its center lies inside its contours: polygons inside others are holes, as are keyholes.

    Args:
        path: The structure set.
        grid: The CT's grid, in any array order; contours must lie in its planes along one axis.

    Returns:
        Organs in the order of the file; `value` is the ROI number.

    Raises:
        InputError: Missing, damaged, or no structure set with closed contours.
        GeometryError: Contours lie between the slices of `grid`.
    """
    path = Path(path)
    pydicom = pydicom_or_error(path)
    try:
        with quiet():
            dataset = read_dataset(path, pydicom)
            return _organs(dataset, grid, path)
    except pydicom.errors.InvalidDicomError as error:
        message = f"{path}: is not a DICOM file."
        raise InputError(message, "Give a DICOM RT structure set.") from error
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error
    except damage(pydicom) as error:
        message = f"{path}: the structure set is truncated or damaged ({error})."
        raise InputError(message, "Copy or export the file again.") from error


def _organs(dataset: Any, grid: Grid, path: Path) -> list[Organ]:
    if str(dataset.get("SOPClassUID", "")) != _CLASS:
        message = f"{path}: is no RT structure set (modality {dataset.get('Modality', 'unknown')})."
        raise InputError(message, "Give a DICOM RTSTRUCT file.")
    names = {int(item.ROINumber): str(item.get("ROIName") or f"roi_{item.ROINumber}") for item in dataset.StructureSetROISequence}
    seen = {int(item.ReferencedROINumber): item for item in dataset.get("RTROIObservationsSequence") or ()}
    found = []
    for item in dataset.get("ROIContourSequence") or ():
        number = int(item.ReferencedROINumber)
        if number not in names:
            message = f"{path}: has contours of a structure {number} that it does not name."
            raise InputError(message, "Export the structure set again.")
        polygons = [_points(one) for one in item.get("ContourSequence") or () if str(one.ContourGeometricType) in _CLOSED]
        if polygons:
            planes = _planes(polygons, grid, path)
            found.append(Organ(names[number], _structure(seen.get(number), names[number]), _reader(planes, grid), number))
    if not found:
        message = f"{path}: the structure set holds no closed contour."
        raise InputError(message, "Give a structure set with contours of organs.")
    return found


def _points(item: Any) -> Matrix:
    points = np.array([float(value) for value in item.ContourData]).reshape(-1, 3)
    return np.asarray(points * _RAS, np.float64)


_Planes = tuple[int, Mapping[int, Sequence[Matrix]]]


def _planes(polygons: Sequence[Matrix], grid: Grid, path: Path) -> _Planes:
    """Return (axis of the array across the contours, polygons in pixels of the other two by index along it)."""
    to_index = np.asarray(np.linalg.inv(grid.affine), np.float64)
    indices = [apply_affine(to_index, points) for points in polygons]
    depth = sum(np.ptp(points, axis=0) * spacing_of(grid.affine) for points in indices)
    axis = int(np.argmin(depth))
    found: dict[int, list[Matrix]] = {}
    for points in indices:
        place = float(np.median(points[:, axis]))
        index = round(place)
        if np.abs(points[:, axis] - index).max() > _OFF_PLANE or not 0 <= index < grid.shape[axis]:
            message = f"{path}: its contours do not lie on the slices of {grid.source or 'the CT'} (one at slice {place:.2f})."
            raise GeometryError(message, "Give the DICOM series that they were drawn on.")
        found.setdefault(index, []).append(np.delete(points, axis, axis=1))
    return axis, found


def _reader(planes: _Planes, grid: Grid) -> Callable[[], Array]:
    axis, polygons = planes
    first, second = (n for n in range(3) if n != axis)
    shape = (grid.shape[first], grid.shape[second])

    def read() -> Array:
        mask = np.zeros(grid.shape, np.bool_, order="F")
        along = np.moveaxis(mask, axis, 2)
        for index, drawn in polygons.items():
            along[:, :, index] = rasterize(drawn, shape)
        return mask

    return read


def _structure(observation: Any, label: str) -> Any:
    codes = observation.get("RTROIIdentificationCodeSequence") if observation is not None else None
    return structure_of(label, codes[0], (observation.get("AnatomicRegionSequence") or [None])[0]) if codes else structure_for(label)
