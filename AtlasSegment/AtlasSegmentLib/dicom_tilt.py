"""Gantry tilt: slices that are pushed sideways one against the next, brought onto a right-angled grid, and masks back onto the slices.

The right-angled grid has the planes, rows and columns of the slices and is as much larger as they are pushed, so that a voxel only moves
within its slice: images by linear interpolation, masks by the nearest whole pixel, which loses nothing on the way there and back.
"""

from __future__ import annotations

import math

import numpy as np

from AtlasSegmentLib.dicom_stack import TILT_DEG
from AtlasSegmentLib.geometry import Matrix, apply_affine, spacing_of
from AtlasSegmentLib.volume import Array, Grid

_ROUNDING = 1e-6


def push_of(grid: Grid) -> Matrix:
    """Return by how many voxels along x and y each slice lies beside the one before, (2,)."""
    x, y, step = (grid.affine[:3, axis] for axis in range(3))
    return np.array([float(step @ x / (x @ x)), float(step @ y / (y @ y))])


def is_sheared(grid: Grid) -> bool:
    """Tell whether two axes of a grid are off a right angle by more than rounding, in any order of its axes."""
    axes = grid.affine[:3, :3] / spacing_of(grid.affine)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > math.sin(math.radians(TILT_DEG)))


def _upright(grid: Grid) -> Matrix:
    """Return the part of the step between slices that is at right angles to them, (3,) mm."""
    normal = np.cross(grid.affine[:3, 0], grid.affine[:3, 1])
    normal /= np.linalg.norm(normal)
    return np.asarray(normal * (grid.affine[:3, 2] @ normal))


def straight_grid(grid: Grid) -> Grid:
    """Return the right-angled grid that holds every voxel of a tilted one."""
    last = grid.shape[2] - 1
    push = push_of(grid)
    extra = [math.ceil(abs(float(value)) * last - _ROUNDING) for value in push]
    affine = np.array(grid.affine)
    affine[:3, 2] = _upright(grid)
    affine[:3, 3] = apply_affine(grid.affine, [*np.minimum(push * last, 0), 0])
    return Grid((grid.shape[0] + extra[0], grid.shape[1] + extra[1], grid.shape[2]), affine, grid.source)


def _offsets(grid: Grid) -> Matrix:
    """Return where the first voxel of each slice lies on the straight grid, (Z, 2) voxels, none negative."""
    along = np.arange(grid.shape[2])[:, None] * push_of(grid)
    return np.asarray(along - np.minimum(along[-1], 0))


def straighten(array: Array, grid: Grid, fill: float) -> Array:
    """Return an image on `straight_grid(grid)`, by linear interpolation within each slice.

    Args:
        array: (X, Y, Z) on `grid`.
        grid: The tilted grid.
        fill: Value of what no slice shows.

    Returns:
        The same dtype; whole numbers are rounded.
    """
    shape = straight_grid(grid).shape
    result: Array = np.full(shape, fill, array.dtype, order="F")
    for z, (x, y) in enumerate(_offsets(grid)):
        columns, rows = _taps(x, array.shape[0], shape[0]), _taps(y, array.shape[1], shape[1])
        plane = _blend(_blend(array[:, :, z], columns, 0), rows, 1)
        place = (slice(columns[0], columns[0] + plane.shape[0]), slice(rows[0], rows[0] + plane.shape[1]), z)
        result[place] = np.rint(plane) if array.dtype.kind in "iu" else plane
    return result


def _taps(offset: float, size: int, wanted: int) -> tuple[int, Array, Matrix]:
    """Return (first target index inside the slice, lower source index of each target, share of the next one)."""
    first = math.ceil(offset - _ROUNDING)
    places = np.arange(first, min(first + size, wanted)) - offset
    places = places[places <= size - 1 + _ROUNDING]
    lower = np.clip(np.floor(places + _ROUNDING), 0, size - 1).astype(np.intp)
    return first, lower, np.clip(places - lower, 0, 1)


def _blend(plane: Array, taps: tuple[int, Array, Matrix], axis: int) -> Array:
    _, lower, share = taps
    if not share.any():
        return np.take(plane, lower, axis)
    upper = np.minimum(lower + 1, plane.shape[axis] - 1)
    weights = share.reshape((-1, 1) if axis == 0 else (1, -1))
    return np.asarray(np.take(plane, lower, axis) * (1 - weights) + np.take(plane, upper, axis) * weights)


def mask_onto_straight(mask: Array, grid: Grid) -> Array:
    """Return a mask or label map of the slices on `straight_grid(grid)`."""
    result: Array = np.zeros(straight_grid(grid).shape, mask.dtype, order="F")
    for z, place in enumerate(_places(grid)):
        result[(*place, z)] = mask[:, :, z]
    return result


def mask_onto_slices(mask: Array, grid: Grid) -> Array:
    """Return a mask or label map of `straight_grid(grid)` on the slices; what lies beside them is lost."""
    result: Array = np.zeros(grid.shape, mask.dtype, order="F")
    for z, place in enumerate(_places(grid)):
        result[:, :, z] = mask[(*place, z)]
    return result


def _places(grid: Grid) -> list[tuple[slice, slice]]:
    columns, rows, _ = grid.shape
    return [(slice(x, x + columns), slice(y, y + rows)) for x, y in np.rint(_offsets(grid)).astype(int).tolist()]
