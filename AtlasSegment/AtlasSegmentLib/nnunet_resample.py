"""Resizing as nnU-Net does it (skimage's resize and scipy's splines), one axis at a time.

Spline interpolation is linear and separable, so that along one axis it is a matrix: its columns are what scipy gives for unit
impulses. A few matrix products thereby replace a spline over the whole volume, and slabs can be resized one after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.volume import Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from AtlasSegmentLib.nnunet_plans import Resampling

ANISOTROPIC = 3.0
"""Spacings whose largest is more than this many times their smallest are resampled apart along the coarse axis."""

Shape3 = tuple[int, int, int]
Orders = tuple[int, int, int]


def new_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> Shape3:
    """Return the shape at another spacing: round half to even, as Python rounds."""
    x, y, z = (round(old / new * n) for old, new, n in zip(spacing, target, shape, strict=True))
    return (x, y, z)


def axis_orders(rule: Resampling, current: Sequence[float], target: Sequence[float]) -> Orders:
    """Return the spline order along each axis.

    Args:
        rule: Orders, and whether the coarse axis is treated apart (None: when a spacing is anisotropic).
        current: Spacing, mm.
        target: Spacing to come, mm.
    """
    axis = _separate_axis(rule.force_separate_z, current, target)
    x, y, z = (rule.order_z if number == axis else rule.order for number in range(3))
    return (x, y, z)


def _separate_axis(force: bool | None, current: Sequence[float], target: Sequence[float]) -> int | None:
    """Return the one coarse axis, or None when there is none or all three are treated alike."""
    if force is False:
        return None
    if force or max(current) / min(current) > ANISOTROPIC:
        axes = _coarse_axes(current)
    elif max(target) / min(target) > ANISOTROPIC:
        axes = _coarse_axes(target)
    else:
        return None
    return axes[0] if len(axes) == 1 else None


def _coarse_axes(spacing: Sequence[float]) -> list[int]:
    return [number for number, value in enumerate(spacing) if max(spacing) / value == 1]


def positions(source: int, target: int) -> npt.NDArray[np.float64]:
    """Return where the voxels of a resized axis lie on the source axis, as indices: outer borders coincide."""
    return np.asarray((np.arange(target) + 0.5) * (source / target) - 0.5, np.float64)


@lru_cache(maxsize=32)
def spline_matrix(source: int, target: int, order: int) -> npt.NDArray[np.float32]:
    """Return the matrix (target, source) that resizes one axis; equal to skimage's resize with mode "edge", without smoothing.

    Args:
        source: Number of samples.
        target: Number of samples afterwards.
        order: Of the spline: 0 nearest, 1 linear, 3 cubic.
    """
    from scipy.ndimage import map_coordinates, spline_filter1d

    where = positions(source, target)
    if order == 0:
        matrix = np.zeros((target, source))
        matrix[np.arange(target), nearest(source, target)] = 1
        return matrix.astype(np.float32)
    pad = _SPLINE_PADDING if order > 1 else 0  # as scipy's zoom does for mode "nearest": the edge goes on, then it is filtered
    impulses = np.pad(np.eye(source), ((0, 0), (pad, pad)), mode="edge")
    if order > 1:
        impulses = spline_filter1d(impulses, order, axis=1, mode="mirror")
    clipped = np.clip(where, -pad, source - 1 + pad) + pad
    rows = np.stack([map_coordinates(row, clipped[None], order=order, mode="nearest", prefilter=False) for row in impulses])
    return np.ascontiguousarray(rows.T.astype(np.float32))


_SPLINE_PADDING = 12


def nearest(source: int, target: int) -> npt.NDArray[np.intp]:
    """Return the nearest source index of each target voxel, as scipy's map_coordinates of order 0 chooses."""
    return np.floor(np.clip(positions(source, target), 0, source - 1) + 0.5).astype(np.intp)


@dataclass(frozen=True)
class LinearAxis:
    """Two neighbors and a weight for each voxel of a resized axis.

    Attributes:
        lower: Index of the neighbor below.
        weight: Share of the neighbor above it, float32; all 0 with nearest-neighbor sampling.
        source: Number of samples on the source axis.
    """

    lower: npt.NDArray[np.intp]
    weight: npt.NDArray[np.float32]
    source: int


def linear_axis(source: int, target: int, order: int) -> LinearAxis:
    """Return how to resize one axis by order 1, or 0; unchanged axes have weight 0."""
    if source == target or order == 0:
        lower = np.arange(source) if source == target else nearest(source, target)
        return LinearAxis(lower, np.zeros(len(lower), np.float32), source)
    where = np.clip(positions(source, target), 0, source - 1)
    lower = np.minimum(np.floor(where).astype(np.intp), max(0, source - 2))
    return LinearAxis(lower, (where - lower).astype(np.float32), source)


def resize(image: Array, shape: Shape3, orders: Orders) -> npt.NDArray[np.float32]:
    """Resize a volume.

    Args:
        image: (X, Y, Z), any real dtype.
        shape: Wanted shape.
        orders: Spline order along each axis.

    Returns:
        float32, within the range of the input as skimage's clipping keeps it.
    """
    result = image.astype(np.float32)
    if image.shape == shape:
        return result
    apart = tuple(axis for axis in range(3) if orders[axis] != max(orders))
    within = tuple(axis for axis in range(3) if axis not in apart)
    low, high = result.min(axis=within, keepdims=True), result.max(axis=within, keepdims=True)
    for axis in sorted(within, key=lambda axis: shape[axis] / image.shape[axis]):  # shrink first
        result = resize_axis(result, axis, shape[axis], orders[axis])
    np.clip(result, low, high, out=result)  # slices that are resized apart are clipped apart
    for axis in apart:
        result = resize_axis(result, axis, shape[axis], orders[axis])
    return result


def resize_axis(image: npt.NDArray[np.float32], axis: int, size: int, order: int) -> npt.NDArray[np.float32]:
    """Resize one axis of a volume (X, Y, Z), float32."""
    if image.shape[axis] == size:
        return image
    matrix = spline_matrix(image.shape[axis], size, order)
    if axis == 0:
        planes: npt.NDArray[np.float32] = matrix @ image.reshape(image.shape[0], -1)
        return planes.reshape(size, *image.shape[1:])
    product: npt.NDArray[np.float32] = np.matmul(matrix, image) if axis == 1 else np.matmul(image, matrix.T)
    return product


def resize_labels(labels: Array, shape: Shape3, orders: Orders) -> Array:
    """Resize a label map as nnU-Net does: the label whose resized indicator is largest; of equal ones the nearest voxel's.

    Args:
        labels: (X, Y, Z), whole numbers.
        shape: Wanted shape.
        orders: Spline order along each axis, 0 or 1.

    Returns:
        The dtype of `labels`.
    """
    if labels.shape == shape:
        return labels
    index = np.ix_(*(nearest(n, m) for n, m in zip(labels.shape, shape, strict=True)))
    near = labels[index]
    result, best, of_near = near.copy(), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for value in np.unique(labels):
        share = resize((labels == value).astype(np.float32), shape, orders)
        wins = share > best
        result[wins], best[wins] = value, share[wins]
        np.copyto(of_near, share, where=near == value)
    np.copyto(result, near, where=of_near >= best - _TIE)
    return result


_TIE = np.float32(1e-6)
