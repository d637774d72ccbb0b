"""The box of every label of a label map in one pass, by runs of equal voxels: many times faster than one voxel at a time."""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib.components import Box
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import MAX_VALUE
from AtlasSegmentLib.volume import Array

_SLAB_VOXELS = 1 << 21


def label_boxes(labels: Array) -> dict[int, Box]:
    """Return the smallest box of each label that occurs, by value, ascending; 0 is background and left out.

    Args:
        labels: Whole numbers 0..65535, (X, Y, Z), any memory order.

    Raises:
        InputError: Other values or another kind of array.
    """
    if labels.ndim != 3 or labels.dtype.kind not in "bui":
        message = f"a label map of {labels.ndim} dimensions and type {labels.dtype} has no boxes of labels."
        raise InputError(message, "Give a 3-D array of whole numbers.")
    if labels.size == 0:
        return {}
    order = sorted(range(3), key=lambda axis: -abs(labels.strides[axis]))
    low, high = np.full((3, MAX_VALUE + 1), np.iinfo(np.int64).max), np.full((3, MAX_VALUE + 1), -1)
    view = labels.transpose(order)
    thick = max(1, _SLAB_VOXELS // max(1, view.shape[1] * view.shape[2]))
    for start in range(0, len(view), thick):
        _add_slab(np.ascontiguousarray(view[start : start + thick]), start, low, high)
    back = np.argsort(order)
    boxes: dict[int, Box] = {}
    for value in np.flatnonzero(high[0] >= 0):
        x, y, z = (slice(int(low[axis, value]), int(high[axis, value]) + 1) for axis in back)
        boxes[int(value)] = (x, y, z)
    return boxes


def _add_slab(slab: Array, first: int, low: Array, high: Array) -> None:
    """Widen the boxes by the runs of a slab that begins at slice `first`."""
    flat = slab.reshape(-1)
    begins = np.empty(flat.size, np.bool_)
    begins[0] = True
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[:: slab.shape[2]] = True  # a run ends with its row
    starts = np.flatnonzero(begins)
    stops = np.append(starts[1:], flat.size)
    values = flat[starts]
    inside = values != 0
    starts, stops, values = starts[inside], stops[inside], values[inside].astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > MAX_VALUE):
        message = f"a label map has values of {values.min()}..{values.max()}."
        raise InputError(message, f"Give whole numbers of 0..{MAX_VALUE}.")
    rows, begin = np.divmod(starts, slab.shape[2])
    slices, across = np.divmod(rows, slab.shape[1])
    for axis, (least, most) in enumerate(((slices + first, slices + first), (across, across), (begin, stops - 1 - rows * slab.shape[2]))):
        np.minimum.at(low[axis], values, least)
        np.maximum.at(high[axis], values, most)
