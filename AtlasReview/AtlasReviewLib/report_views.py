"""Planes through a case for pictures: axial, coronal and sagittal in the patient's axes, whatever the array order or angle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from AtlasSegmentLib import geometry
from AtlasSegmentLib.regions import whole_box
from AtlasSegmentLib.resample import Mode, resample
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Array, Grid, Volume

View = Literal["axial", "coronal", "sagittal"]
VIEWS: tuple[View, ...] = ("axial", "coronal", "sagittal")
PIXEL_MM = 0.8
_OFFSET = 0.123  # of a pixel: keeps samples off the borders between voxels, where flipped arrays would round differently

# Radiological convention: the RAS axes of a picture's columns and rows. Both run against their axis in every view: the
# patient's right (or front, in a sagittal picture) is on the left of the picture, the head (or front, in an axial one) on top.
_AXES: dict[View, tuple[int, int]] = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
_LETTERS = ("LR", "PA", "IS")


@dataclass(frozen=True)
class Plane:
    """A rectangle of square pixels in the patient.

    Attributes:
        view: Which of the three.
        grid: Shape (columns, rows, 1); index to RAS mm.
        center: The point it was laid through, RAS mm (3,).
    """

    view: View
    grid: Grid
    center: geometry.Matrix

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Orientation letters at the left, right, top and bottom of the picture."""
        across, down = (_LETTERS[axis] for axis in _AXES[self.view])
        return across[1], across[0], down[1], down[0]

    def pixel_of(self, point: Sequence[float]) -> tuple[float, float]:
        """Return (column, row) of a point, RAS mm, as fractional pixel indices."""
        index = geometry.apply_affine(np.linalg.inv(self.grid.affine).astype(np.float64), point)
        return float(index[0]), float(index[1])


def plane_through(view: View, center: Sequence[float], low: geometry.Matrix, high: geometry.Matrix, pixel_mm: float = PIXEL_MM) -> Plane:
    """Return the plane of a view through a point, as large as the box between `low` and `high` (RAS mm) there."""
    axes = _AXES[view]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    origin = np.array(center, dtype=np.float64)
    for index, axis in enumerate(axes):
        affine[axis, index] = -pixel_mm
        origin[axis] += pixel_mm * (np.floor((high[axis] - origin[axis]) / pixel_mm) - _OFFSET)
    affine[3 - sum(axes), 2] = pixel_mm
    affine[:3, 3] = origin
    columns, rows = (max(1, int((high[axis] - low[axis]) / pixel_mm)) for axis in axes)
    return Plane(view, Grid((columns, rows, 1), affine), np.array(center, dtype=np.float64))


def sample(volume: SparseVolume, plane: Plane, mode: Mode, fill: float = 0.0, label: int | None = None) -> Array:
    """Return the voxels of a plane, shape (rows, columns), first row on top; only the slab around it is looked at.

    Args:
        volume: Image, map or label map on any grid.
        plane: Where.
        mode: Interpolation.
        fill: Value outside the volume.
        label: Take 1 where the label map has this value and 0 elsewhere, instead of its values.
    """
    to_source = np.linalg.inv(volume.grid.affine)
    corners = geometry.apply_affine(to_source @ plane.grid.affine, geometry.corners(plane.grid.shape))
    last = np.array(volume.grid.shape) - 1
    low = np.clip(np.floor(corners.min(axis=0)) - 1, 0, last).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, last).astype(int) + 1
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = volume.grid.affine.copy()
    affine[:3, 3] = geometry.apply_affine(affine, low)
    voxels = volume.within((x, y, z))
    slab = Volume(voxels if label is None else (voxels == label).astype(np.uint8), affine, volume.grid.source)
    picture: Array = resample(slab, plane.grid, mode, fill).array[:, :, 0].T
    return picture


def as_sparse(volume: Volume) -> SparseVolume:
    """Return a whole volume in the form that `sample` takes."""
    x, y, z = (slice(0, n) for n in volume.shape)
    return SparseVolume(volume.grid, (x, y, z), volume.array)


def extent(grid: Grid) -> tuple[geometry.Matrix, geometry.Matrix]:
    """Return the lowest and highest RAS mm (3,) of the outer faces of a grid."""
    points = whole_box(grid)
    return points.min(axis=0), points.max(axis=0)
