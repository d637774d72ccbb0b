"""Exact distances from each point of a grid to the nearest of other points of that grid, such as two surfaces that lie close together.

Most points of two similar surfaces coincide or have a neighbor within a few voxels, so the nearest grid steps are tried first, the
shortest one before the others; only what finds nothing there asks a tree. A distance map would visit every voxel of the box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.surface_table import Float64
from AtlasSegmentLib.errors import GeometryError
from AtlasSegmentLib.volume import Array

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

_STEPS_TRIED = 122  # all within three voxels on a cubic grid; from there on the tree is faster
_CHUNK = 1 << 20
_PERPENDICULAR = 1e-6


def grid_steps(axes: npt.ArrayLike) -> Float64:
    """Return the array axes as the columns of an upper triangular (3, 3) matrix, mm; diagonal where they are perpendicular.

    Args:
        axes: Voxel sizes in mm (3,), or an affine (3, 3) or (4, 4) whose columns are the steps of the array axes in mm.

    Raises:
        GeometryError: The axes have no volume.
    """
    given = np.asarray(axes, np.float64)
    matrix = np.diag(given) if given.shape == (3,) else given[:3, :3]
    size = np.linalg.norm(matrix, axis=0)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) <= 1e-9 * size.prod() or size.min() <= 0:
        message = f"voxels with the axes {matrix.tolist()} have no volume."
        raise GeometryError(message, "Write the image again with a valid spacing.")
    gram = matrix.T @ matrix
    angles = gram / np.outer(size, size) - np.eye(3)
    return np.diag(size) if np.abs(angles).max() < _PERPENDICULAR else np.asarray(np.linalg.cholesky(gram).T)


@dataclass(frozen=True)
class NearSteps:
    """The shortest steps of a grid.

    Attributes:
        steps: The array axes in mm, the columns of a (3, 3) matrix.
        offsets: (n, 3) whole voxels, shortest first.
        lengths: Their lengths in mm, float64 (n,), ascending.
        margin: Largest offset along each axis: the room that points need around them.
    """

    steps: Float64
    offsets: Int64
    lengths: Float64
    margin: tuple[int, int, int]


def near_steps(steps: Float64) -> NearSteps:
    """Return the shortest steps of a grid whose array axes are the columns of `steps` (mm)."""
    radius = (_STEPS_TRIED * abs(float(np.linalg.det(steps))) * 3 / (4 * math.pi)) ** (1 / 3)
    reach = [int(radius * float(np.linalg.norm(row)) * (1 + 1e-9)) for row in np.linalg.inv(steps)]
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(offsets @ steps.T, axis=1)
    within = np.flatnonzero((lengths > 0) & (lengths <= radius))
    kept = within[np.argsort(lengths[within], kind="stable")][:_STEPS_TRIED]
    x, y, z = (int(n) for n in np.abs(offsets[kept]).max(axis=0, initial=0))
    return NearSteps(steps, offsets[kept], lengths[kept], (x, y, z))


@dataclass(frozen=True)
class PointGrid:
    """Some points of a grid.

    Attributes:
        marks: uint8 (X, Y, Z) in C order, not zero at the points; zero for `NearSteps.margin` voxels at every side.
        points: Their flat indices, int64, ascending.
    """

    marks: UInt8
    points: Int64

    @classmethod
    def of(cls, marks: Array) -> PointGrid:
        """Find the points of an array of marks."""
        flat = marks.reshape(-1)
        found = [np.flatnonzero(flat[start : start + _CHUNK] != 0) + start for start in range(0, flat.size, _CHUNK)]
        return cls(marks, np.concatenate(found) if found else np.zeros(0, np.int64))

    def values(self) -> UInt8:
        """Return the marks of the points."""
        return self.marks.reshape(-1)[self.points]


def nearest_distances(own: PointGrid, other: PointGrid, near: NearSteps) -> Float64:
    """Return the distance in mm from each point of `own` to the nearest of `other`, float64; infinite where there is none.

    Both lie on one grid: their marks have one shape.
    """
    result = np.zeros(len(own.points))
    if not len(other.points):
        result[:] = np.inf
        return result
    marks = other.marks.reshape(-1)
    left = np.flatnonzero(marks[own.points] == 0)
    where = own.points[left]
    shape = other.marks.shape
    flat_offsets = near.offsets @ np.array([shape[1] * shape[2], shape[2], 1])
    for offset, length in zip(flat_offsets, near.lengths, strict=True):
        if not left.size:
            return result
        missing = marks[where + offset] == 0
        result[left[~missing]] = length
        left, where = left[missing], where[missing]
    if left.size:
        result[left] = _by_tree(where, other, near.steps)
    return result


def _by_tree(points: Int64, other: PointGrid, steps: Float64) -> Float64:
    from scipy.spatial import cKDTree  # here: importing it takes longer than opening the module may

    shape = other.marks.shape
    own, targets = (np.column_stack(np.unravel_index(flat, shape)) for flat in (points, other.points))
    tree = cKDTree(targets @ steps.T, leafsize=16, balanced_tree=False, compact_nodes=False)
    _, nearest = tree.query(own @ steps.T)
    return np.asarray(np.linalg.norm((own - targets[nearest]) @ steps.T, axis=1))  # from whole steps: no rounding of positions
