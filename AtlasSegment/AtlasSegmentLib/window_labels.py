"""Planes of probabilities turned into labels on the CT as they are finished: a part of the work and memory of bringing every class back.

The CT's label is the class with the largest interpolated value. A class that lies below another one at every corner of a block lies
below it everywhere inside, so each block of a few voxels needs one or two classes, however many the model has (see nnunet_back).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from AtlasSegmentLib import regions
from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.nnunet_back import Blocks, labels_of, largest, on_host
from AtlasSegmentLib.nnunet_resample import LinearAxis
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Grid

_PARALLEL = 1e-5  # a cosine below this counts as a right angle
_ROUNDING = 1e-6  # of a voxel


class ExactBlocks(Blocks):
    """Blocks whose interpolated values keep single precision."""

    def interpolated(self, values: Float32, block: tuple[int, int, int]) -> Float32:
        """Return values (K, samples) of a block interpolated to (K, voxels)."""
        for number, (axis, index) in enumerate(zip(self.axes, block, strict=True)):
            where = self.voxels[number][index]
            lower = axis.lower[where] - self.samples[number][index].start
            values = _interpolated(values, number + 1, lower, axis.weight[where])
        return values


def _interpolated(values: Float32, axis: int, lower: np.ndarray[tuple[int], np.dtype[np.intp]], weight: Float32) -> Float32:
    low = values.take(lower, axis=axis)
    if weight.any():
        step = values.take(np.minimum(lower + 1, values.shape[axis] - 1), axis=axis)
        step -= low
        step *= weight.reshape([-1 if number == axis else 1 for number in range(4)])
        low += step
    return low


class LabelPainter:
    """Where the voxels of a CT lie on a model's grid whose axes run along its own.

    Args:
        grid: The model's grid.
        ct: The CT's.
        order: Which axes of the grid the axes of the planes are.

    Raises:
        ValueError: The axes are oblique to one another.
    """

    def __init__(self, grid: Grid, ct: Grid, order: tuple[int, int, int]) -> None:
        self._ct = ct
        self._box = regions.covered_voxels(ct, grid)
        shape = tuple(side.stop - side.start for side in self._box)
        to_grid = np.asarray(np.linalg.inv(grid.affine) @ regions.sub_grid(ct, self._box).affine, np.float64)
        self._axes = _parallel(to_grid)
        self._up = [to_grid[axis, self._axes[axis]] > 0 for axis in range(3)]
        lines = []
        for axis in range(3):
            own = self._axes[axis]
            line = to_grid[axis, own] * np.arange(shape[own]) + to_grid[axis, 3]
            lines.append(_linear(line if self._up[axis] else line[::-1], grid.shape[axis]))
        self._order = order
        self._blocks = ExactBlocks((lines[order[0]], lines[order[1]], lines[order[2]]))

    def paint(self, planes: Iterable[tuple[int, Float32]], highest: int) -> SparseVolume:
        """Return the most likely channel of each voxel of the CT that the grid covers; the first of equal ones.

        Args:
            planes: (first plane, values (C, n, ...)), ascending, covering the grid.
            highest: The highest channel.
        """
        dtype = np.uint8 if highest < 256 else np.uint16
        labels = labels_of(planes, self._blocks, on_host(self._blocks, largest), dtype)  # type: ignore[arg-type]
        flips = tuple(slice(None, None, 1 if self._up[axis] else -1) for axis in self._order)
        own = [self._axes[axis] for axis in self._order]
        return SparseVolume(self._ct, self._box, labels[flips].transpose(np.argsort(own)))


def _parallel(to_grid: Matrix) -> list[int]:
    """Return for each axis of the grid the CT's axis that runs along it."""
    linear = np.abs(to_grid[:3, :3])
    scaled = linear / linear.max(axis=1, keepdims=True)
    axes = [int(axis) for axis in scaled.argmax(axis=1)]
    if (np.sort(scaled, axis=1)[:, :2] > _PARALLEL).any() or sorted(axes) != [0, 1, 2]:
        message = "oblique axes"
        raise ValueError(message)
    return axes


def _linear(positions: Matrix, size: int) -> LinearAxis:
    whole = np.rint(positions)
    where = np.clip(np.where(np.abs(positions - whole) < _ROUNDING, whole, positions), 0, size - 1)
    lower = np.minimum(np.floor(where).astype(np.intp), max(0, size - 2))
    return LinearAxis(lower, (where - lower).astype(np.float32), size)
