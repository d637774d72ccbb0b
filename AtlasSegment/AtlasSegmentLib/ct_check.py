"""Whether an image looks like a CT in Hounsfield units: told by its values alone, from a thinned copy, in a few milliseconds."""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib.volume import Array

_MOST_VOXELS = 400_000
_LEAST_SIZE = 2  # voxels along each axis
_LEAST_RANGE_HU = 200.0  # fat to soft tissue alone is more
_NEGATIVE_SHARE = 0.005
_SHIFT = 1024.0
_WATER_BAND = (900.0, 1200.0)  # where soft tissue lies when -1024 is stored as 0
_WATER_SHARE = 0.2
_WRONG = "Models for CT give wrong results on anything else."


def unusable_reason(array: Array) -> str:
    """Return why an image cannot be segmented at all, as a sentence, or "".

    Args:
        array: (X, Y, Z), any numeric dtype.
    """
    if array.ndim != 3 or min(array.shape, default=0) < _LEAST_SIZE:
        return f"A 3-D image is needed; this one has {' x '.join(map(str, array.shape))} voxels."
    if array.dtype.kind not in "iuf":
        return f"An image of numbers is needed; the voxels of this one are {array.dtype}."
    sample = _sample(array)
    if not sample.size:
        return "No voxel is a finite number."
    low, high = float(sample.min()), float(sample.max())
    if low == high and bool((array == array.flat[0]).all()):
        return f"The image is empty: every voxel is {low:g}."
    return ""


def ct_doubt(array: Array) -> str:
    """Return why an image may be no CT in HU, as sentences for the user, or "" when it looks like one.

    Crops of a CT and CTs that are clipped to a window of soft tissue pass: both hold fat, which is below 0.

    Args:
        array: (X, Y, Z), any numeric dtype.
    """
    sample = _sample(array)
    if not sample.size:
        return ""
    low, high = float(sample.min()), float(sample.max())
    values = f"Its values run from {low:.4g} to {high:.4g}"
    if high - low < _LEAST_RANGE_HU:
        return f"{values}; a CT in Hounsfield units spans many hundreds. It may have been rescaled. {_WRONG}"
    if low >= 0 and _looks_shifted(sample):
        return f"{values}. It may be a CT that was stored with {_SHIFT:.0f} added: subtract it first, as air must be near -1000. {_WRONG}"
    if float(np.mean(sample < 0)) < _NEGATIVE_SHARE:
        return f"{values}, with almost none below 0; in a CT fat is near -100 and air near -1000. It may be an MR or a PET. {_WRONG}"
    return ""


def _sample(array: Array) -> Array:
    """Return the finite values of every n-th voxel along each axis, float64, flat."""
    if array.ndim != 3 or not array.size:
        return np.zeros(0)
    step = max(1, round((array.size / _MOST_VOXELS) ** (1 / 3)))
    values = array[step // 2 :: step, step // 2 :: step, step // 2 :: step].astype(np.float64).ravel()
    return values[np.isfinite(values)]


def _looks_shifted(sample: Array) -> bool:
    """Tell whether much lies where soft tissue does in a CT stored with 1024 added, and much near 0, where air would be."""
    body = (sample > _WATER_BAND[0]) & (sample < _WATER_BAND[1])
    between = (sample > _WATER_BAND[0] / 3) & (sample < _WATER_BAND[0] * 2 / 3)
    return float(body.mean()) > _WATER_SHARE and float(between.mean()) < float(body.mean()) / 2
