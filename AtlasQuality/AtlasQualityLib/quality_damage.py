"""Synthetic damage of 3-D masks, as networks and people make it, with a chosen Dice: what the label-quality network learns from.

Arrays are indexed [slice, row, column] (`quality_slices.axial`) and all lengths are mm, so the same damage results whatever the
spacing. Each kind takes the Dice that should be left and gets as close as it can: erosion, holes or missing slices reach it to the
voxel, a leak ends where similar tissue ends, and a shape that is smoothed keeps some of itself whatever is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasQualityLib import quality_damage_boundary as boundary
from AtlasQualityLib import quality_damage_parts as parts
from AtlasQualityLib import quality_damage_places as places
from AtlasQualityLib.quality_damage_crop import Crop, crop_around, require_mask
from AtlasSegmentLib.components import Mask
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.volume import Array

_LEAST_DICE = 0.02  # below it nothing of the mask is left to be judged


class Damage(str, Enum):
    """What is done to a mask."""

    EROSION = "erosion"
    DILATION = "dilation"
    UNEVEN_BOUNDARY = "uneven_boundary"
    SMOOTHED = "smoothed"
    MISSING_SLICES = "missing_slices"
    MISSING_ENDS = "missing_ends"
    HOLES = "holes"
    FRAGMENT_ONLY = "fragment_only"
    STRAY_FRAGMENTS = "stray_fragments"
    LEAK = "leak"
    SHIFTED = "shifted"
    SWAPPED_SIDE = "swapped_side"
    WRONG_ORGAN = "wrong_organ"
    ELSEWHERE = "elsewhere"
    """A shape where the organ is not: what a reference without this organ shows to be wrong altogether."""


@dataclass(frozen=True)
class Scene:
    """A mask and what lies around it.

    Attributes:
        ct: (slices, rows, columns), HU.
        mask: The same shape, True is inside; the reference that is damaged.
        spacing: mm between slices, rows and columns.
        partner: The mask of the same organ on the other side, or None.
        others: Masks of other organs.
    """

    ct: Array
    mask: Mask
    spacing: tuple[float, float, float]
    partner: Mask | None = None
    others: tuple[Mask, ...] = ()

    @cached_property
    def crop(self) -> Crop:
        """The mask with room around it, whose distances are measured once for all damage."""
        return crop_around(self.ct, self.mask, self.spacing)

    def possible(self) -> tuple[Damage, ...]:
        """Return the kinds that this scene allows: a swapped side needs a partner, a wrong organ another one."""
        lacking = set()
        if self.partner is None or not self.partner.any():
            lacking.add(Damage.SWAPPED_SIDE)
        if not any(other.any() for other in self.others):
            lacking.add(Damage.WRONG_ORGAN)
        return tuple(kind for kind in Damage if kind not in lacking)


_Cropped = Callable[[Crop, float, np.random.Generator], Mask]
_IN_CROP: dict[Damage, _Cropped] = {
    Damage.EROSION: boundary.eroded,
    Damage.DILATION: boundary.dilated,
    Damage.UNEVEN_BOUNDARY: boundary.uneven,
    Damage.SMOOTHED: boundary.smoothed,
    Damage.MISSING_SLICES: parts.without_slices,
    Damage.MISSING_ENDS: parts.without_ends,
    Damage.HOLES: parts.with_holes,
    Damage.FRAGMENT_ONLY: parts.fragment_only,
    Damage.STRAY_FRAGMENTS: places.with_fragments,
    Damage.LEAK: places.leaked,
}


def damaged(scene: Scene, kind: Damage, severity: float, rng: np.random.Generator) -> Mask:
    """Return a damaged copy of a scene's mask.

    Args:
        scene: The mask must not be empty.
        kind: One of `Scene.possible()`.
        severity: 0..1; the Dice that is aimed at is 1 - severity. `ELSEWHERE` always has 0.
        rng: Decides places, shapes and directions; the same state gives the same mask.

    Returns:
        Bool, the shape of the mask, never empty.

    Raises:
        InputError: The mask is empty, the severity lies outside of 0..1, or the scene has nothing for this kind.
        GeometryError: CT and mask differ in shape.
    """
    require_mask(scene.ct, scene.mask)
    if not 0 <= severity <= 1:
        message = f"a severity of {severity} is none."
        raise InputError(message, "Give one between 0 and 1.")
    if kind not in scene.possible():
        message = f"{kind.value}: the scene has no other mask that could be taken."
        raise InputError(message, "Choose one of Scene.possible().")
    dice = max(1 - severity, _LEAST_DICE)
    if kind in _IN_CROP:
        return scene.crop.placed(_IN_CROP[kind](scene.crop, dice, rng))
    return _moved(scene, kind, dice, rng)


def _moved(scene: Scene, kind: Damage, dice: float, rng: np.random.Generator) -> Mask:
    """Damage that takes voxels from anywhere in the image."""
    if kind is Damage.SHIFTED:
        return places.shifted(scene.mask, scene.spacing, dice, rng)
    if kind is Damage.SWAPPED_SIDE and scene.partner is not None:
        return parts.exchanged(scene.mask, scene.partner, dice, rng)
    if kind is Damage.WRONG_ORGAN:
        others = [other for other in scene.others if other.any()]
        return parts.mistaken(scene.mask, others, scene.spacing, dice, rng)
    return places.elsewhere(scene.ct, scene.mask, scene.spacing, int(np.count_nonzero(scene.mask)), rng)


def dice_of(mask: npt.NDArray[Any], reference: npt.NDArray[Any]) -> float:
    """Return 2 |A and B| / (|A| + |B|) of two masks of one shape; NaN when both are empty."""
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(reference))
    return 2 * int(np.count_nonzero((mask != 0) & (reference != 0))) / total if total else float("nan")
