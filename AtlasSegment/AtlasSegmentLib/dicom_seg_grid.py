"""The grid that a DICOM segmentation object describes itself: that of its frames, without the CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.dicom_header import damage, pydicom_or_error, quiet
from AtlasSegmentLib.dicom_seg_read import macro_of, plane_of, read_object
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.geometry import Matrix, check_affine
from AtlasSegmentLib.volume import Grid

_SAME_PLACE_MM = 0.01
_UNEVEN = 0.05  # of a slice distance


def seg_grid(path: Path) -> Grid:
    """Return the smallest regular grid that holds all frames of a DICOM SEG: columns, rows, slices.

    It ends where the segments end, so it is usually a part of the CT's grid.

    Raises:
        InputError: No segmentation object, or a damaged one.
        GeometryError: The frames do not lie behind each other at regular distances.
    """
    path = Path(path)
    dataset, pydicom = read_object(path, pixels=False), pydicom_or_error(path)
    try:
        with quiet():
            planes = [plane_of(dataset, group) for group in dataset.PerFrameFunctionalGroupsSequence]
            measures = macro_of(dataset, dataset.PerFrameFunctionalGroupsSequence[0], "PixelMeasuresSequence")
            return _grid(planes, measures, (int(dataset.Columns), int(dataset.Rows)), path)
    except damage(pydicom) as error:
        message = f"{path}: the segmentation object is truncated or damaged ({error})."
        raise InputError(message, "Copy or export the file again.") from error


def _grid(planes: list[tuple[Matrix, Matrix, Matrix]], measures: Any, shape: tuple[int, int], path: Path) -> Grid:
    _, x, y = planes[0]
    if any(np.abs(a - x).max() > 1e-4 or np.abs(b - y).max() > 1e-4 for _, a, b in planes):
        raise _irregular(path, "point in different directions")
    normal = np.cross(x[:3], y[:3])
    normal /= np.linalg.norm(normal)
    corners = np.array([corner[:3] for corner, _, _ in planes])
    along = corners @ normal
    order = np.argsort(along, kind="stable")
    first, last = corners[order[0]], corners[order[-1]]
    places = along[order][np.concatenate([[True], np.diff(along[order]) > _SAME_PLACE_MM])]
    stated = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0)
    spacing = float(np.diff(places).min()) if len(places) > 1 else abs(stated)
    steps = (places - places[0]) / spacing
    if np.abs(steps - np.rint(steps)).max() > _UNEVEN * max(1.0, float(steps.max())) or len(set(np.rint(steps))) < len(places):
        raise _irregular(path, "lie at irregular distances")
    count = round(float(steps[-1])) + 1
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 3] = x[:3], y[:3], first
    affine[:3, 2] = (last - first) / (count - 1) if count > 1 else normal * spacing
    return Grid((*shape, count), check_affine(affine, str(path)), str(path))


def _irregular(path: Path, how: str) -> GeometryError:
    message = f"{path}: the frames of the segmentation {how}."
    return GeometryError(message, "Add --dicom FOLDER with the slices of the CT that it was drawn on.")
