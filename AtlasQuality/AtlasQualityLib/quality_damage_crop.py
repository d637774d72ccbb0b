"""The part of an image around a mask that is to be damaged, and what all kinds of damage count and measure there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from AtlasSegmentLib.components import Box, Mask, bounding_box
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.volume import Array

Float32 = npt.NDArray[np.float32]
Spacing = tuple[float, float, float]
BODY_HU = -300.0
_LEAST_ROOM_MM, _MOST_ROOM_MM = 8.0, 45.0
_BISECTIONS = 9


@dataclass(frozen=True)
class Crop:
    """A mask with room around it.

    Attributes:
        shape: Of the whole image.
        box: Where the crop lies in it.
        mask: (slices, rows, columns), bool, not empty.
        ct: The same shape, HU.
        spacing: mm.
    """

    shape: tuple[int, ...]
    box: Box
    mask: Mask
    ct: Array
    spacing: Spacing

    @cached_property
    def count(self) -> int:
        """Voxels of the mask."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def depth(self) -> Float32:
        """Distance in mm to the mask's border: positive inside, negative outside. The image's own border is none."""
        inside = ndimage.distance_transform_edt(np.pad(self.mask, 1, mode="edge"), self.spacing)[1:-1, 1:-1, 1:-1]
        outside = ndimage.distance_transform_edt(~self.mask, self.spacing)
        return np.asarray(inside - outside, np.float32)

    @property
    def body(self) -> Mask:
        """Where there is more than air."""
        return np.asarray(self.ct > BODY_HU)

    def placed(self, damaged: Mask) -> Mask:
        """Return a mask of the whole image from one of the crop; the undamaged one's most inner voxel when it is empty."""
        result = np.zeros(self.shape, np.bool_)
        result[self.box] = damaged if damaged.any() else first_of(self.depth, 1, self.mask)
        return result

    def removed_for(self, dice: float) -> int:
        """Return how many voxels a mask must lose for a Dice: with a share f left it is 2 f / (1 + f)."""
        return min(self.count - 1, round(self.count * (1 - dice / (2 - dice))))

    def added_for(self, dice: float) -> int:
        """Return how many voxels outside must be added for a Dice: with a more it is 2 n / (2 n + a)."""
        return round(2 * self.count * (1 - dice) / dice)

    def distances_to(self, points: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> Float32:
        """Return the distance of every voxel to the nearest of some points (n, 3), each divided by its weight."""
        result = np.full(self.mask.shape, np.inf, np.float32)
        for point, weight in zip(points, weights, strict=True):
            squares = [((np.arange(n) - p) * s) ** 2 for n, p, s in zip(self.mask.shape, point, self.spacing, strict=True)]
            distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2]) / weight
            np.minimum(result, distance.astype(np.float32), out=result)
        return result


def require_mask(ct: Array, mask: Mask) -> None:
    """Check that a mask can be damaged. Raises GeometryError (shapes) and InputError (empty)."""
    if ct.shape != mask.shape or mask.ndim != 3:
        message = f"a CT of shape {ct.shape} and a mask of shape {mask.shape} do not belong together."
        raise GeometryError(message, "Bring the mask onto the grid of the CT first.")
    if not mask.any():
        message = "an empty mask cannot be damaged."
        raise InputError(message, "Leave it out.")


def crop_around(ct: Array, mask: Mask, spacing: Spacing) -> Crop:
    """Return the crop of a mask, with room of about its own radius, so that it can grow."""
    found = bounding_box(mask)
    if found is None:
        message = "an empty mask has no place in its image."
        raise InputError(message, "Leave it out.")
    volume = int(np.count_nonzero(mask[found])) * float(np.prod(spacing))
    room = float(np.clip(5 + 1.2 * (0.75 * volume / np.pi) ** (1 / 3), _LEAST_ROOM_MM, _MOST_ROOM_MM))
    sides = [
        slice(max(0, side.start - int(np.ceil(room / s))), min(n, side.stop + int(np.ceil(room / s))))
        for side, s, n in zip(found, spacing, mask.shape, strict=True)
    ]
    box = (sides[0], sides[1], sides[2])
    return Crop(mask.shape, box, mask[box], ct[box], spacing)


def middle_of(mask: Mask) -> npt.NDArray[np.float64]:
    """Return the center of mass of a mask that is not empty, as an index (3,)."""
    box = bounding_box(mask)
    assert box is not None
    return np.asarray(np.array(ndimage.center_of_mass(mask[box])) + [side.start for side in box], np.float64)


def first_of(order: npt.NDArray[np.floating], count: int, among: Mask) -> Mask:
    """Return the `count` voxels with the largest `order` among some."""
    result = np.zeros(order.shape, np.bool_)
    places = np.flatnonzero(among)
    if count >= len(places):
        result.ravel()[places] = True
    elif count > 0:
        values = order.ravel()[places]
        result.ravel()[places[np.argpartition(values, len(places) - count)[len(places) - count :]]] = True
    return result


def smooth_noise(shape: tuple[int, ...], spacing: Spacing, length_mm: float, rng: np.random.Generator) -> Float32:
    """Return noise of unit variance that changes over about `length_mm`: made on a coarse grid, so that it costs little."""
    coarse = [max(2, int(np.ceil(n * s / length_mm)) + 1) for n, s in zip(shape, spacing, strict=True)]
    start = rng.standard_normal(coarse).astype(np.float32)
    for axis, (n, s) in enumerate(zip(shape, spacing, strict=True)):
        at = np.minimum(np.arange(n) * s / length_mm, coarse[axis] - 1 - 1e-6)
        low = at.astype(int)
        part = (at - low).astype(np.float32)
        part = part * part * (3 - 2 * part)
        other = [1] * start.ndim
        other[axis] = n
        weight = part.reshape(other)
        start = np.take(start, low, axis) * (1 - weight) + np.take(start, low + 1, axis) * weight
    spread = float(start.std())
    return np.asarray((start - start.mean()) / (spread or 1.0), np.float32)


def bisected(make: Callable[[float], Mask], reference: Mask, dice: float, most: float) -> Mask:
    """Return `make(amount)` for the amount 0..most whose Dice with `reference` comes closest to the wanted one."""
    low, high = 0.0, most
    total = int(np.count_nonzero(reference))
    best, nearest = reference, 1.0 - dice
    for _ in range(_BISECTIONS):
        amount = (low + high) / 2
        mask = make(amount)
        found = 2 * int(np.count_nonzero(mask & reference)) / (total + int(np.count_nonzero(mask)))
        if abs(found - dice) <= nearest:
            best, nearest = mask, abs(found - dice)
        low, high = (amount, high) if found > dice else (low, amount)
    return best
