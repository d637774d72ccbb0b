"""Labels from a model's grid to the CT by the nearest voxel, with ties decided as MONAI's rounding decides them.

A CT voxel may lie exactly between two voxels of the model's grid: then the last bit of its position decides which one is nearest. Here
positions are calculated in the same steps as MONAI's Invertd and Torch's grid_sample do, so that ties mostly fall the same way.
"""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib import geometry, regions
from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Array, Grid, Volume

_PARALLEL = 1e-5


def nearest(values: Array, grid: Grid, ct: Grid) -> SparseVolume:
    """Return values on the CT's voxels whose centers a model's grid covers.

    Args:
        values: (X, Y, Z) on `grid`.
        grid: The model's.
        ct: The CT's.
    """
    box = regions.covered_voxels(ct, grid)
    order, sign = geometry.reorientation(ct.orientation, grid.orientation)
    turned = geometry.reorient_affine(ct.affine, ct.shape, order, sign)
    to_grid = np.asarray(np.linalg.solve(grid.affine, turned), np.float64)
    off_axis = np.abs(to_grid[:3, :3] - np.diag(np.diag(to_grid[:3, :3]))).max()
    if off_axis > _PARALLEL * np.abs(np.diag(to_grid)[:3]).max():
        return SparseVolume(ct, box, resample(Volume(values, grid.affine), regions.sub_grid(ct, box), "nearest").array)
    positions = _positions(to_grid, grid.shape, [ct.shape[axis] for axis in order])
    sides = [box[axis] for axis in order]
    for axis, side in enumerate(sides):
        count = ct.shape[order[axis]]
        wanted = side if sign[axis] > 0 else slice(count - side.stop, count - side.start)
        index = np.clip(np.rint(positions[axis][wanted]).astype(np.intp), 0, grid.shape[axis] - 1)
        values = values.take(index[:: sign[axis]], axis=axis)
    return SparseVolume(ct, box, values.transpose(np.argsort(order)))


def _positions(to_grid: Matrix, source: tuple[int, int, int], target: list[int]) -> list[Matrix]:
    """Return where the voxels of each target axis lie on the source axis, by way of coordinates of -1..1 as Torch has them."""
    matrix = _normalizer(source) @ to_grid @ np.linalg.inv(_normalizer(target))
    steps = [_steps(n) * (n - 1) / n for n in target]
    return [((steps[axis] * matrix[axis, axis] + matrix[axis, 3] + 1) * source[axis] - 1) / 2 for axis in range(3)]


def _steps(count: int) -> Matrix:
    """Return -1..1 in equal steps, counted from the nearer end as Torch does it."""
    if count == 1:
        return np.zeros(1)
    up = -1 + 2 / (count - 1) * np.arange(count)
    return np.where(np.arange(count) < count // 2, up, -up[::-1])


def _normalizer(shape: tuple[int, int, int] | list[int]) -> Matrix:
    size = np.array(shape, np.float64)
    result = np.diag([*(2.0 / size), 1.0])
    result[:3, 3] = 1.0 / size - 1.0
    return result
