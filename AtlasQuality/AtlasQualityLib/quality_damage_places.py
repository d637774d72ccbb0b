"""Damage that puts a mask, or parts of one, where the organ is not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from AtlasQualityLib.quality_damage_crop import BODY_HU, Crop, Spacing, first_of, smooth_noise
from AtlasSegmentLib.components import Mask
from AtlasSegmentLib.volume import Array

Float64 = npt.NDArray[np.float64]
_GAP_MM = 3.0
_MOST_STRAY = 3.0  # of the mask's volume
_TOLERANCES = (1.0, 2.0, 4.0, 8.0, 16.0)
_MOST_STEPS = 120
_BISECTIONS = 12
_TRIES = 24


def with_fragments(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Add stray pieces in the body near the mask, not touching it."""
    free = crop.body & (crop.depth < -_GAP_MM)
    places = np.argwhere(free)
    if not len(places):
        return crop.mask.copy()
    count = int(rng.integers(1, 6))
    points = places[rng.integers(0, len(places), count)]
    distance = crop.distances_to(points, rng.uniform(0.4, 1.6, count))
    wanted = min(crop.added_for(dice), round(_MOST_STRAY * crop.count))
    uneven = 1 + 0.2 * smooth_noise(crop.mask.shape, crop.spacing, 10.0, rng)
    return crop.mask | first_of(-distance * uneven, wanted, free)


def leaked(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Let the mask run out at one to three places of its border into tissue that looks like it.

    Where no similar tissue is left, more and more different tissue is taken; a leak that fills the crop ends there.
    """
    wanted = crop.added_for(dice)
    inside = crop.ct[crop.mask].astype(np.float64)
    middle, spread = float(np.median(inside)), max(15.0, min(float(inside.std()), 60.0))
    blurred = ndimage.gaussian_filter(crop.ct.astype(np.float32), [1.0 / max(s, 1.0) for s in crop.spacing])
    border = np.argwhere(crop.mask & (crop.depth <= 1.01 * max(crop.spacing)))
    border = border if len(border) else np.argwhere(crop.mask)
    starts = border[rng.integers(0, len(border), int(rng.integers(1, 4)))]
    # Inside the mask a leak keeps to its border: it spreads through it, not through the organ.
    near = crop.depth <= 2 * max(crop.spacing)
    leak = np.zeros(crop.mask.shape, np.bool_)
    leak[tuple(starts.T)] = True
    for tolerance in _TOLERANCES:
        free = near & (crop.mask | (np.abs(blurred - middle) <= tolerance * spread))
        leak, outside = _grown(leak, free, crop, wanted)
        if outside >= wanted:
            break
    return crop.mask | leak


def _grown(leak: Mask, free: Mask, crop: Crop, wanted: int) -> tuple[Mask, int]:
    """Grow a leak through free voxels, face by face, until so many lie outside of the mask; return it and their number.

    The last step may be a part. Only the front is looked at, so that a long leak costs no more than its size.
    """
    found, mask, depth = np.pad(leak, 1), np.pad(crop.mask, 1), np.pad(crop.depth, 1).ravel()
    flat, open_voxels, inside = found.ravel(), np.pad(free, 1).ravel(), mask.ravel()
    _, rows, columns = found.shape
    faces = np.array([1, -1, columns, -columns, rows * columns, -rows * columns])
    front = np.flatnonzero(flat)
    outside = int(np.count_nonzero(found & ~mask))
    for _ in range(_MOST_STEPS):
        new = (front[:, None] + faces).ravel()
        new = np.sort(new[open_voxels[new] & ~flat[new]])
        new = new[np.diff(new, prepend=-1) > 0]  # each once; np.unique takes ten times as long
        fresh = new[~inside[new]]
        if not len(new) or outside >= wanted:
            break
        if outside + len(fresh) > wanted:
            new = fresh[np.argsort(-depth[fresh], kind="stable")[: wanted - outside]]
            fresh = new
        flat[new] = True
        front, outside = new, outside + len(fresh)
    return found[1:-1, 1:-1, 1:-1], outside


def shifted(mask: Mask, spacing: Spacing, dice: float, rng: np.random.Generator) -> Mask:
    """Move the whole mask in a random direction; what leaves the image is lost."""
    places = np.argwhere(mask)
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    low, high = 0.0, float(np.linalg.norm((np.ptp(places, axis=0) + 1) * np.array(spacing))) + 5
    best, nearest = places, 1.0 - dice
    for _ in range(_BISECTIONS):
        length = (low + high) / 2
        moved = _within(places + np.rint(direction * length / np.array(spacing)).astype(np.int64), mask.shape)
        found = 2 * int(np.count_nonzero(mask[tuple(moved.T)])) / (len(places) + len(moved))
        if len(moved) and abs(found - dice) <= nearest:
            best, nearest = moved, abs(found - dice)
        low, high = (length, high) if found > dice else (low, length)
    result = np.zeros(mask.shape, np.bool_)
    result[tuple(best.T)] = True
    return result


def _within(places: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    return places[((places >= 0) & (places < np.array(shape))).all(axis=1)]


def elsewhere(ct: Array, mask: Mask, spacing: Spacing, count: int, rng: np.random.Generator) -> Mask:
    """Return a round uneven shape of 0.2 to 1.5 times `count` voxels in the body, clear of the mask (which may be empty).

    Where the body has no room clear of the mask, one voxel that is not in the mask.
    """
    step = np.array(spacing)
    size = max(2.0, count * float(rng.uniform(0.2, 1.5)))
    radius = (0.75 * size * float(np.prod(step)) / np.pi) ** (1 / 3)
    stretch = np.exp(rng.uniform(-0.4, 0.4, 3))
    free = (ct > BODY_HU) & ~mask
    places = np.flatnonzero(free)
    if not len(places):
        places = np.flatnonzero(~mask)
    for _ in range(_TRIES):
        center = np.array(np.unravel_index(int(places[rng.integers(len(places))]), ct.shape))
        result = _blob(free, center, radius * stretch / np.cbrt(np.prod(stretch)), step, rng)
        if np.count_nonzero(result) >= 0.3 * size:
            return result
    result[tuple(center)] = True
    return result


def _blob(
    free: Mask, center: npt.NDArray[np.int64], radii: npt.NDArray[np.float64], step: npt.NDArray[np.float64], rng: np.random.Generator
) -> Mask:
    reach = np.ceil(1.5 * radii / step).astype(int) + 1
    low, high = np.maximum(center - reach, 0), np.minimum(center + reach + 1, free.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    axes = [((np.arange(a, b) - c) * s / r) ** 2 for a, b, c, s, r in zip(low, high, center, step, radii, strict=True)]
    distance = np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2])
    uneven = smooth_noise(distance.shape, (float(step[0]), float(step[1]), float(step[2])), max(6.0, float(radii.mean())), rng)
    result = np.zeros(free.shape, np.bool_)
    result[box] = (distance + 0.15 * uneven < 1) & free[box]
    return result
