"""Damage that takes parts of a mask away, or takes parts of another organ for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.quality_damage_crop import Crop, Spacing, first_of, middle_of, smooth_noise
from AtlasSegmentLib.components import Mask

_MOST_HOLES = 4
_LONGEST_GAP = 4  # slices
_NEAR_ORGANS = 4  # among which a wrong one is chosen


def without_slices(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Leave gaps of a few slices between the first and the last one, until so much is missing."""
    counts = crop.mask.sum(axis=(1, 2))
    used = np.flatnonzero(counts)
    wanted = crop.removed_for(dice)
    gone = np.zeros(len(counts), np.bool_)
    for start in rng.permutation(used[1:-1]):
        missing = int(counts[gone].sum())
        if missing >= wanted:
            break
        stop = min(int(start) + int(rng.integers(1, _LONGEST_GAP + 1)), int(used[-1]))
        # One slice is not taken for a whole gap when less than that is wanted.
        while stop > start + 1 and missing + int(counts[start:stop].sum()) > wanted:
            stop -= 1
        if missing + int(counts[start]) - wanted <= wanted - missing:  # not when that would miss the Dice by more than leaving it
            gone[int(start) : stop] = True
    return crop.mask & ~gone[:, None, None]


def without_ends(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Cut off the upper end, the lower end or both; the last slice that goes may go in part."""
    slices = np.arange(crop.mask.shape[0], dtype=np.float64)
    used = np.flatnonzero(crop.mask.any(axis=(1, 2)))
    middle = {0: used[0], 1: used[-1], 2: rng.uniform(used[0], used[-1])}[int(rng.integers(3))]
    order = -np.abs(slices - middle)[:, None, None] + 0.5 * np.clip(crop.depth / 50, -1, 1)
    return first_of(order, crop.count - crop.removed_for(dice), crop.mask)


def with_holes(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Cut round holes, inside or at the border."""
    order = -_balls(crop, int(rng.integers(1, _MOST_HOLES + 1)), rng)
    return crop.mask & ~first_of(order, crop.removed_for(dice), crop.mask)


def fragment_only(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Keep one piece or two."""
    order = -_balls(crop, int(rng.integers(1, 3)), rng)
    return first_of(order, crop.count - crop.removed_for(dice), crop.mask)


def _balls(crop: Crop, count: int, rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """Return how far each voxel lies from some voxels of the mask, with uneven borders."""
    inside = np.argwhere(crop.mask)
    points = inside[rng.integers(0, len(inside), count)]
    distance = crop.distances_to(points, rng.uniform(0.5, 1.5, count))
    return np.asarray(distance * (1 + 0.15 * smooth_noise(crop.mask.shape, crop.spacing, 15.0, rng)))


def exchanged(mask: Mask, other: Mask, dice: float, rng: np.random.Generator) -> Mask:
    """Keep one end of a mask and take the opposite end of another one: a side or an organ that changes on the way."""
    upward = bool(rng.integers(2))
    kept = _end(mask, dice, upward=upward)
    return kept | _end(other, 1 - dice, upward=not upward)


def _end(mask: Mask, share: float, *, upward: bool) -> Mask:
    """Return the voxels of a mask up to a share, slice by slice, then row by row, from its first or last slice."""
    places = np.flatnonzero(mask)
    count = round(share * len(places))
    chosen = places[:count] if upward else places[len(places) - count :]
    result = np.zeros(mask.shape, np.bool_)
    result.ravel()[chosen] = True
    return result


def mistaken(mask: Mask, others: Sequence[Mask], spacing: Spacing, dice: float, rng: np.random.Generator) -> Mask:
    """Take another organ, most often a near one: for a part of the mask, or beside it."""
    step = np.array(spacing)
    middle = middle_of(mask)
    away = [float(np.linalg.norm((middle_of(other) - middle) * step)) for other in others]
    near = np.argsort(away, kind="stable")[:_NEAR_ORGANS]
    other = others[int(near[rng.integers(len(near))])] & ~mask
    if not other.any():
        return mask.copy()
    if rng.integers(2):
        return exchanged(mask, other, dice, rng)
    wanted = round(2 * int(np.count_nonzero(mask)) * (1 - dice) / dice)
    places = np.flatnonzero(other)
    distance = np.linalg.norm((np.argwhere(other) - middle) * step, axis=1)
    result = mask.copy()
    result.ravel()[places[np.argsort(distance, kind="stable")[:wanted]]] = True
    return result
