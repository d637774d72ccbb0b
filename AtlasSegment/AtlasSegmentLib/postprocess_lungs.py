"""The two lungs, told apart and repaired (AbdomenAtlas post-processing, classes 16 and 17).

Arrays are bool (X, Y, Z) in canonical RAS orientation: index 0 of the first axis is the patient's left, of the third the feet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from AtlasSegmentLib.components import Mask, bounding_box, box_erode, fill_holes, find_components, placed

MAX_RATIO = 4
"""Two lungs of which one is more than this many times the other are not believed."""

REFERENCE_AREA_MM2 = 1.5**2
"""In-plane area of the 1.5 mm voxels in which AbdomenAtlas counts."""

_LONG_WINDOW, _SHORT_WINDOW = 20, 7
_EXCESS_VOXELS = 200
_MAX_EROSIONS = 60
_MIN_CT_VALUES = 10


@dataclass(frozen=True)
class LungResult:
    """Both lungs after post-processing.

    Attributes:
        right: The patient's right lung, bool (X, Y, Z).
        left: The patient's left lung.
        anomaly: True where a person should look: no two lungs were found (both are empty then), or one stayed much too big.
        slices: RAS z indices of corrupt slices that were emptied.
    """

    right: Mask
    left: Mask
    anomaly: bool = False
    slices: tuple[int, ...] = ()


def postprocess_lungs(raw_right: Mask, raw_left: Mask, voxel_area_mm2: float = REFERENCE_AREA_MM2) -> LungResult:
    """Split the union of two raw lung masks into right and left and repair what cannot be a pair of lungs.

    The two largest components are the lungs; the one with the lower mean x is the left one; holes are filled. If one is more
    than 4 times the other: when it lies on one side of the image's middle it is the only lung, else corrupt slices are
    emptied, or else fused lungs are cut apart by erosion. Source: AbdomenAtlas; its endless loop and divisions by
    zero are gone, and where nothing can be repaired the first split is returned with `anomaly`.

    Args:
        raw_right: Raw mask, bool (X, Y, Z), canonical RAS; not changed.
        raw_left: The same for the left lung.
        voxel_area_mm2: Area of a voxel in the axial plane; a corrupt slice stands out by more than 450 mm^2
            (200 voxels of 1.5 mm). The windows of 20 and 7 slices and the 3x3x3 erosion count voxels at any spacing.
    """
    union = raw_right | raw_left
    box = bounding_box(union)
    crop = None if box is None else union[box].copy()
    first = None if crop is None else _split(crop)
    if box is None or crop is None or first is None:
        return LungResult(placed(raw_right, None, None), placed(raw_left, None, None), anomaly=True)
    middle = union.shape[0] // 2 - box[0].start
    del union
    result = _repair(crop, first, middle, _EXCESS_VOXELS * REFERENCE_AREA_MM2 / voxel_area_mm2)
    return LungResult(
        placed(raw_right, box, result.right),
        placed(raw_left, box, result.left),
        result.anomaly,
        tuple(z + box[2].start for z in result.slices),
    )


def missing_lung_slices(lung: Mask, ct: npt.NDArray[Any]) -> tuple[int, ...]:
    """Return RAS z indices (from 0) above the lowest slice of a lung where it is empty although the CT shows something.

    A CT slice shows something when it has more than 10 distinct values. Source: AbdomenAtlas, average_anomaly.csv, which
    counts slices from 1.
    """
    filled = np.asarray(lung.any(axis=(0, 1)))
    if not filled.any():
        return ()
    empty = [z for z in range(int(filled.argmax()), filled.size) if not filled[z]]
    return tuple(z for z in empty if np.unique(ct[:, :, z]).size > _MIN_CT_VALUES)


def corrupt_slices(mask: Mask, excess_voxels: float) -> npt.NDArray[np.int64]:
    """Return the z indices whose area is above mean + 2 std of 20 slices and above the mean of 7 slices + `excess_voxels`."""
    area = np.count_nonzero(mask, axis=(0, 1))
    z = np.flatnonzero(area)
    if z.size < 2:
        return z[:0]
    mean, std = rolling_mean_std(area[z], _LONG_WINDOW)
    local, _ = rolling_mean_std(area[z], _SHORT_WINDOW)
    return np.asarray(z[(area[z] > mean + 2 * std) & (area[z] > local + excess_voxels)])


def rolling_mean_std(values: npt.NDArray[np.int64], window: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and sample standard deviation (NaN for one value) in a centered window cut at the ends.

    An even window reaches one further back than ahead, as pandas' rolling(window, center=True, min_periods=1) does:
    20 at i covers i - 10 to i + 9.
    """
    index = np.arange(values.size)
    start = np.maximum(index - window // 2, 0)
    stop = np.minimum(index + (window + 1) // 2, values.size)
    # Areas are integers: sums of them and of their squares are exact, so equal areas have a spread of exactly 0.
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    squares = np.concatenate([[0], np.cumsum(values.astype(np.int64) ** 2)])
    count, total = stop - start, sums[stop] - sums[start]
    spread = count * (squares[stop] - squares[start]) - total**2
    scale = np.where(count > 1, count * (count - 1), 1)
    std = np.where(count > 1, np.sqrt(spread / scale), np.nan)
    return total / count, std


def _repair(union: Mask, first: LungResult, middle: int, excess_voxels: float) -> LungResult:
    if _ratio(first) <= MAX_RATIO:
        return first
    larger = _larger(first)
    cut = min(max(middle, 0), larger.shape[0])
    low, high = (int(np.count_nonzero(part)) for part in (larger[:cut], larger[cut:]))
    if high + 1 > MAX_RATIO * (low + 1):
        return LungResult(larger, np.zeros_like(larger))
    if low + 1 > MAX_RATIO * (high + 1):
        return LungResult(np.zeros_like(larger), larger)
    return _without_corrupt_slices(union, first, excess_voxels) or replace(first, anomaly=True)


def _without_corrupt_slices(union: Mask, split: LungResult, excess_voxels: float) -> LungResult | None:
    """Empty corrupt slices and split again until the lungs are believable; without such slices cut them apart."""
    emptied: set[int] = set()
    # Every round empties slices that still had voxels, so this ends.
    while _ratio(split) > MAX_RATIO:
        bad = corrupt_slices(_larger(split), excess_voxels)
        if bad.size == 0:
            separated = _separate(_larger(split))
            return None if separated is None else replace(separated, slices=tuple(sorted(emptied)))
        union = union.copy()
        union[:, :, bad] = False
        emptied.update(bad.tolist())
        again = _split(union)
        if again is None:
            return None
        split = again
    return replace(split, slices=tuple(sorted(emptied)))


def _split(union: Mask) -> LungResult | None:
    """Return the two largest components as lungs with their holes filled; None if there are fewer than two."""
    cores = _two_largest(union)
    return None if cores is None else LungResult(fill_holes(cores.right), fill_holes(cores.left))


def _two_largest(mask: Mask) -> LungResult | None:
    components = find_components(mask)
    numbers = components.ranked(2)
    if len(numbers) < 2:
        return None
    a, b = (components.mask_of([n]) for n in numbers)
    return LungResult(b, a) if _mean_x(a) < _mean_x(b) else LungResult(a, b)


def _separate(fused: Mask) -> LungResult | None:
    """Cut fused lungs apart: erode until two comparable cores are left, then give every other voxel to the nearer core.

    Voxels equally far from both are dropped, as in AbdomenAtlas. Small third pieces go to the nearer core as well: they are
    lung. None when erosion never leaves two comparable cores.
    """
    padded = np.pad(fused, 1)  # the image border wears off too
    cores = _comparable_cores(padded)
    if cores is None:
        return None
    rest = padded & ~cores.right & ~cores.left
    to_right, to_left = _squared_distance(rest, cores.right), _squared_distance(rest, cores.left)
    right, left = cores.right, cores.left
    right[rest] = to_right < to_left
    left[rest] = to_left < to_right
    inner = (slice(1, -1),) * 3
    result = LungResult(fill_holes(right[inner]), fill_holes(left[inner]))
    return replace(result, anomaly=_ratio(result) > MAX_RATIO)


def _comparable_cores(mask: Mask) -> LungResult | None:
    for _ in range(_MAX_EROSIONS):
        mask = box_erode(mask, 1)
        if not mask.any():
            return None
        cores = _two_largest(mask)
        if cores is not None and _ratio(cores) <= MAX_RATIO:
            return cores
    return None


def _squared_distance(points: Mask, core: Mask) -> npt.NDArray[np.int64]:
    """Return the squared Euclidean distance in voxels to `core` for each point, in C order; whole numbers, so ties are exact."""
    # Only the nearest voxels are asked for: half the time and memory of the distances of the whole array.
    nearest = ndimage.distance_transform_edt(~core, return_distances=False, return_indices=True)
    squared = np.zeros(np.count_nonzero(points), dtype=np.int64)
    for position, index in zip(np.nonzero(points), nearest, strict=True):
        squared += (index[points] - position) ** 2
    return squared


def _larger(lungs: LungResult) -> Mask:
    return lungs.right if np.count_nonzero(lungs.right) >= np.count_nonzero(lungs.left) else lungs.left


def _ratio(lungs: LungResult) -> float:
    """Return larger / smaller; neither is empty wherever this is asked."""
    a, b = np.count_nonzero(lungs.right), np.count_nonzero(lungs.left)
    return max(a, b) / min(a, b)


def _mean_x(mask: Mask) -> float:
    count = np.count_nonzero(mask, axis=(1, 2))
    return float(count @ np.arange(count.size) / count.sum())
