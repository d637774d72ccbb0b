"""AbdomenAtlas' attention: where models disagree, where they are unsure, and where organs overlap.

The definition is on whole volumes in float64. Here thresholds are decided in integers on the boxes that the maps fill, and
float64 is used only at the voxels that remain, with the same operations in the same order, so that the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.components import Box, bounding_box
from AtlasSegmentLib.sparse import SparseVolume, box_shape, is_empty, union
from AtlasSegmentLib.volume import Array, Grid

Mask = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

INCONSISTENCY_THRESHOLD = 0.1
UNCERTAINTY_THRESHOLD = 0.05
_OPENING_RADIUS = 2  # two erosions by 3x3x3 are one by 5x5x5
_SLAB = 8  # planes at a time: sums and squares are four times as large as the bytes they come from


@dataclass(frozen=True)
class AttentionMaps:
    """The maps of one organ, at the voxels where any of them is not zero.

    Attributes:
        grid: The case's grid.
        box: The box in which the voxels lie.
        where: Bool crop of `box`: the binary attention.
        inconsistency: Population standard deviation over models at those voxels, 0 outside its opened mask; float64 (n,).
        uncertainty: Mean one-sided entropy over models at those voxels, 0 outside its opened mask; float64 (n,).
        overlap: 1 where another organ's average mask overlaps this one's; float64 (n,).
    """

    grid: Grid
    box: Box
    where: Mask
    inconsistency: Float64
    uncertainty: Float64
    overlap: Float64

    @property
    def voxels(self) -> int:
        """Size of the binary attention: AbdomenAtlas' score of the organ."""
        return len(self.overlap)

    def heat(self) -> SparseVolume:
        """Return the heat map: (inconsistency + uncertainty + overlap) / maximum as trunc(255 x), uint8."""
        total = self.inconsistency + self.uncertainty + self.overlap
        return self._placed((total / total.max() * 255 if total.size else total).astype(np.uint8))

    def part(self, values: Float64) -> SparseVolume:
        """Return one of the three maps as trunc(255 x), uint8."""
        return self._placed((values * 255).astype(np.uint8))

    def overlap_mask(self) -> SparseVolume:
        """Return the overlap as 0/1, uint8."""
        return self._placed(self.overlap.astype(np.uint8))

    def _placed(self, values: npt.NDArray[np.uint8]) -> SparseVolume:
        crop = np.zeros(self.where.shape, np.uint8, order="F")
        crop[self.where] = values
        return SparseVolume(self.grid, self.box, crop)


def attention_of(soft: Sequence[SparseVolume], entropy: Sequence[SparseVolume], overlap: SparseVolume) -> AttentionMaps:
    """Compute the attention of one organ.

    Args:
        soft: Soft predictions of each model, bytes (255 = 1).
        entropy: One-sided entropies of each model, bytes (255 = 1).
        overlap: Bool, where the organ's average mask meets another organ's.

    Returns:
        The maps. With one model the inconsistency is zero.
    """
    inconsistent = _opened(soft, deviation_exceeds)
    uncertain = _opened(entropy, mean_exceeds)
    box = union([inconsistent.box, uncertain.box, overlap.box])
    masks = [part.within(box).astype(np.bool_, copy=False) for part in (inconsistent, uncertain, overlap)]
    where = masks[0] | masks[1] | masks[2]
    deviation, mean = np.zeros((2, int(np.count_nonzero(where))))
    at = [mask[where] for mask in masks]
    if at[0].any():
        deviation[at[0]] = _gathered(soft, box, masks[0]).std(axis=0)
    if at[1].any():
        mean[at[1]] = _gathered(entropy, box, masks[1]).mean(axis=0)
    return AttentionMaps(overlap.grid, box, where, deviation, mean, at[2].astype(np.float64))


def _gathered(maps: Sequence[SparseVolume], box: Box, mask: Mask) -> Float64:
    return np.stack([volume.within(box)[mask] / 255 for volume in maps])


def _opened(maps: Sequence[SparseVolume], exceeds: Callable[[Sequence[Array]], Mask]) -> SparseVolume:
    box = union([volume.box for volume in maps])
    if is_empty(box):
        return SparseVolume(maps[0].grid, box, np.zeros((0, 0, 0), np.bool_))
    crops = [volume.within(box) for volume in maps]
    flagged = np.zeros(box_shape(box), np.bool_, order="F")
    for z in range(0, flagged.shape[2], _SLAB):
        flagged[:, :, z : z + _SLAB] = exceeds([crop[:, :, z : z + _SLAB] for crop in crops])
    found = bounding_box(flagged)
    if found is None:
        return SparseVolume(maps[0].grid, box, flagged)
    inner = (
        slice(box[0].start + found[0].start, box[0].start + found[0].stop),
        slice(box[1].start + found[1].start, box[1].start + found[1].stop),
        slice(box[2].start + found[2].start, box[2].start + found[2].stop),
    )
    return SparseVolume(maps[0].grid, inner, opened(flagged[found], _OPENING_RADIUS))


def deviation_exceeds(maps: Sequence[Array]) -> Mask:
    """Return where the population standard deviation of bytes / 255 over models is above 0.1.

    (M sum(x^2) - sum(x)^2) / M^2 > 25.5^2, in integers; an exact tie is decided by numpy's float64 std as in the original.
    """
    count = len(maps)
    wide = np.int32 if count < 90 else np.int64
    total: npt.NDArray[Any] = np.zeros(maps[0].shape, wide, order="F")
    squares: npt.NDArray[Any] = np.zeros(maps[0].shape, wide, order="F")
    for values in maps:
        widened: npt.NDArray[Any] = values.astype(wide)
        total += widened
        squares += widened * widened
    squares *= count
    squares -= total * total
    squares *= 4
    limit = 2601 * count * count
    return _decided(maps, squares > limit, squares == limit, lambda x: x.std(axis=0) > INCONSISTENCY_THRESHOLD)


def mean_exceeds(maps: Sequence[Array]) -> Mask:
    """Return where the mean of bytes / 255 over models is above 0.05; exact ties as in `deviation_exceeds`."""
    total = np.zeros(maps[0].shape, np.uint32 if len(maps) > 200 else np.uint16, order="F")
    for values in maps:
        total += values
    limit = 255 * len(maps)  # mean > 0.05 is 20 * total > limit
    tied = total == limit // 20 if limit % 20 == 0 else np.zeros(0, np.bool_)
    return _decided(maps, total > limit // 20, tied, lambda x: x.mean(axis=0) > UNCERTAINTY_THRESHOLD)


def _decided(maps: Sequence[Array], above: Mask, tied: Mask, rule: Callable[[Float64], Mask]) -> Mask:
    if tied.any():
        above[tied] = rule(np.stack([values[tied] / 255 for values in maps]))
    return above


def opened(mask: Mask, radius: int) -> Mask:
    """Return the binary opening with a cube of 2 radius + 1 voxels; outside the array counts as background."""
    width = 2 * radius + 1
    if min(mask.shape) < width:
        return np.zeros_like(mask)
    eroded = mask
    for axis in range(3):
        eroded = _run(eroded, axis, width, np.logical_and)
    if not eroded.any():
        return np.zeros_like(mask)
    # Erosion shortened each axis to its valid part; padding it back by a full window makes the dilation exact.
    result = np.pad(eroded, 2 * radius)
    for axis in range(3):
        result = _run(result, axis, width, np.logical_or)
    return result


def _run(mask: Mask, axis: int, width: int, combine: np.ufunc) -> Mask:
    """Combine `width` neighbors along an axis; the result is width - 1 shorter."""
    length = mask.shape[axis] - width + 1

    def shifted(array: Mask, start: int, size: int) -> Mask:
        index = [slice(None)] * 3
        index[axis] = slice(start, start + size)
        return array[tuple(index)]

    pairs = combine(shifted(mask, 0, mask.shape[axis] - 1), shifted(mask, 1, mask.shape[axis] - 1))
    result = shifted(pairs, 0, length).copy(order="K")
    for start in [*range(2, width - 1, 2), *([] if width % 2 == 0 else [width - 2])]:
        combine(result, shifted(pairs, start, length), out=result)
    return result
