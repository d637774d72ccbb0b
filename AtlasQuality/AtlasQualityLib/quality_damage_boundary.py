"""Damage of a mask's border: too small, too large, uneven, too smooth."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from AtlasQualityLib.quality_damage_crop import Crop, Float32, bisected, first_of, smooth_noise
from AtlasSegmentLib.components import Mask

_GRAIN = 0.4  # voxels: how far equally deep voxels are told apart, so that a border does not move in steps
_UNEVEN_MM = (6.0, 30.0)
_MOST_UNEVEN_MM = 60.0
_MOST_SMOOTH_MM = 25.0


def eroded(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Keep the innermost voxels."""
    return first_of(_grained(crop, rng), crop.count - crop.removed_for(dice), crop.mask)


def dilated(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Add the voxels that are nearest outside, as far as there is room."""
    return crop.mask | first_of(_grained(crop, rng), crop.added_for(dice), ~crop.mask)


def uneven(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Move the border in and out from place to place, and on the whole a little to one side of it."""
    noise = smooth_noise(crop.mask.shape, crop.spacing, float(rng.uniform(*_UNEVEN_MM)), rng)
    noise += np.float32(rng.uniform(-1, 1))
    return bisected(lambda amount: np.asarray(crop.depth + np.float32(amount) * noise > 0), crop.mask, dice, _MOST_UNEVEN_MM)


def smoothed(crop: Crop, dice: float, rng: np.random.Generator) -> Mask:
    """Round the mask off, with about its volume; it loses what is thin and gains what is hollow."""
    share = float(rng.uniform(0.8, 1.1))
    soft = crop.mask.astype(np.float32)

    def blurred(amount: float) -> Mask:
        field = ndimage.gaussian_filter(soft, [amount / s for s in crop.spacing], mode="nearest", truncate=3)
        return first_of(field + 1e-6 * crop.depth, round(crop.count * (1 + (share - 1) * min(1.0, amount / 5))), np.ones_like(crop.mask))

    return bisected(blurred, crop.mask, dice, _MOST_SMOOTH_MM)


def _grained(crop: Crop, rng: np.random.Generator) -> Float32:
    grain = _GRAIN * min(crop.spacing)
    return np.asarray(
        crop.depth + np.float32(grain) * smooth_noise(crop.mask.shape, crop.spacing, 2.5 * min(crop.spacing), rng), np.float32
    )
