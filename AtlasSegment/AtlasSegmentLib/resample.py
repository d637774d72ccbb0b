"""Resampling between grids: linear, nearest and label-wise, one axis at a time wherever the axes are parallel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, Volume

Mode = Literal["linear", "nearest"]

_ROUNDING = 1e-6  # of a voxel
_PARALLEL = 1e-5  # a cosine below this counts as a right angle: 5 micrometres across a 500 mm field of view


def resample(volume: Volume, grid: Grid, mode: Mode = "linear", fill: float = 0.0) -> Volume:
    """Sample a volume at the voxel centers of another grid.

    Args:
        volume: Source, (X, Y, Z).
        grid: Target; any orientation, spacing and angle.
        mode: "linear" gives float32; "nearest" keeps the dtype (ties go to the higher index).
        fill: Value of target voxels whose center lies outside the source (beyond half a voxel from its border).
            Between the outermost centers and the border the border value is continued.

    Returns:
        A Volume on `grid`. No smoothing is applied when the target is coarser.
    """
    if 0 in grid.shape:  # a box that fits between two slices
        return Volume(np.zeros(grid.shape, np.float32 if mode == "linear" else volume.array.dtype), grid.affine, volume.source, grid.header)
    to_source = np.linalg.inv(volume.affine) @ grid.affine
    axes = _parallel_axes(to_source)
    if axes is None:
        sampled = _sample_oblique(volume.array, to_source, grid.shape, mode, fill)
    else:
        sampled = _sample_separable(volume.array, to_source, axes, grid.shape, mode, fill)
    return Volume(sampled, grid.affine, volume.source, grid.header)


def resample_labels(volume: LabelVolume, grid: Grid) -> LabelVolume:
    """Resample a label map by linear interpolation of each label's indicator; the largest one wins.

    Smoother than nearest neighbor and never makes a value that was not there. Memory: three volumes of the target.

    Returns:
        A LabelVolume on `grid` with the dtype of the source; background outside of it.
    """
    best = np.zeros(grid.shape, np.float32)
    labels = np.zeros(grid.shape, volume.array.dtype)
    inside = resample(volume.with_array((volume.array == 0).astype(np.float32)), grid)
    np.copyto(best, inside.array)
    for value in np.unique(volume.array):
        if value == 0:
            continue
        share = resample(volume.with_array((volume.array == value).astype(np.float32)), grid).array
        wins = share > best
        labels[wins] = value
        best[wins] = share[wins]
    return LabelVolume(labels, grid.affine, volume.source, grid.header, volume.table)


def _parallel_axes(to_source: Matrix) -> list[int] | None:
    """Return for each source axis the target axis it runs along, or None when the grids are oblique to one another."""
    linear = np.abs(to_source[:3, :3])
    scaled = linear / linear.max(axis=1, keepdims=True)
    if (np.sort(scaled, axis=1)[:, :2] > _PARALLEL).any():
        return None
    axes = [int(a) for a in scaled.argmax(axis=1)]
    return axes if sorted(axes) == [0, 1, 2] else None


def _sample_separable(array: Array, to_source: Matrix, axes: list[int], shape: tuple[int, int, int], mode: Mode, fill: float) -> Array:
    positions = [_snapped(to_source[i, axes[i]] * np.arange(shape[axes[i]]) + to_source[i, 3]) for i in range(3)]
    outside = [(p < -0.5 - _PARALLEL) | (p > n - 0.5 + _PARALLEL) for p, n in zip(positions, array.shape, strict=True)]
    needed, positions = _cropped(array, positions)
    needed = needed.astype(np.float32, order="K", copy=False) if mode == "linear" else needed
    growth = [len(p) / n for p, n in zip(positions, needed.shape, strict=True)]
    # numpy.take wants C order, and images come in Fortran order: the reversed view of one is the other, without a copy.
    reverse = needed.strides[0] <= needed.strides[2]
    sampled = needed.T if reverse else needed
    for i in np.argsort(growth):  # shrink first: fewer voxels for the axes that follow
        sampled = sample_axis(sampled, 2 - int(i) if reverse else int(i), positions[i], mode)
    result: Array = (sampled.T if reverse else sampled).transpose([axes.index(j) for j in range(3)])
    for i in range(3):
        if outside[i].any():
            index: list[slice | Array] = [slice(None)] * 3
            index[axes[i]] = outside[i]
            result[tuple(index)] = fill
    return result


def _snapped(positions: Matrix) -> Matrix:
    """Put positions that miss a voxel center by rounding alone onto it, so that the same grid gives the same voxels."""
    nearest = np.rint(positions)
    return np.where(np.abs(positions - nearest) < _ROUNDING, nearest, positions)


def _cropped(array: Array, positions: list[Matrix]) -> tuple[Array, list[Matrix]]:
    """Return the part of the source that the positions reach, and the positions within it; the border value continues outside."""
    inside = [np.clip(p, 0, n - 1) for p, n in zip(positions, array.shape, strict=True)]
    first = [int(p.min()) for p in inside]
    index = tuple(slice(f, int(np.ceil(p.max())) + 1) for f, p in zip(first, inside, strict=True))
    return array[index], [p - f for p, f in zip(inside, first, strict=True)]


def sample_axis(array: Array, axis: int, positions: Matrix, mode: Mode) -> Array:
    """Sample along one axis at fractional indices, continuing the border value outside.

    Args:
        array: Any dtype for "nearest", float32 for "linear".
        axis: The axis.
        positions: Index coordinates, shape (n,), float64.
        mode: Interpolation.

    Returns:
        A new array whose size along `axis` is n.
    """
    last = array.shape[axis] - 1
    if mode == "nearest":
        return np.take(array, np.clip(np.floor(positions + 0.5).astype(np.intp), 0, last), axis=axis)
    clipped = np.clip(positions, 0, last)
    lower = np.floor(clipped).astype(np.intp)
    shape = [1, 1, 1]
    shape[axis] = len(positions)
    weight = (clipped - lower).astype(np.float32).reshape(shape)
    low = np.take(array, lower, axis=axis)
    if not weight.any():
        return low
    step = np.take(array, np.minimum(lower + 1, last), axis=axis)
    step -= low
    step *= weight
    step += low
    result: Array = step
    return result


_SLAB = 16  # target planes at a time: the coordinates of a whole oblique grid would need 24 bytes a voxel


def _sample_oblique(array: Array, to_source: Matrix, shape: tuple[int, int, int], mode: Mode, fill: float) -> Array:
    from scipy.ndimage import map_coordinates

    array = array.astype(np.float32, copy=False) if mode == "linear" else array
    result = np.empty(shape, array.dtype)
    for planes, coordinates in _coordinates(to_source, shape):
        limits = np.array(array.shape).reshape(3, 1, 1, 1)
        inside = ((coordinates >= -0.5 - _PARALLEL) & (coordinates <= limits - 0.5 + _PARALLEL)).all(axis=0)
        if mode == "nearest":
            index = np.clip(np.floor(coordinates + 0.5).astype(np.intp), 0, limits - 1)
            values = array[tuple(index)]
        else:
            values = map_coordinates(array, coordinates, order=1, mode="nearest", output=np.float32)
        result[planes] = np.where(inside, values, np.asarray(fill, array.dtype))
    return result


def _coordinates(to_source: Matrix, shape: tuple[int, int, int]) -> Iterator[tuple[slice, Matrix]]:
    for start in range(0, shape[0], _SLAB):
        planes = slice(start, min(start + _SLAB, shape[0]))
        index = np.meshgrid(np.arange(planes.start, planes.stop), np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
        flat = np.stack([axis.ravel() for axis in index]).astype(np.float64)
        found = to_source[:3, :3] @ flat + to_source[:3, 3:]
        yield planes, found.reshape(3, planes.stop - planes.start, shape[1], shape[2])
