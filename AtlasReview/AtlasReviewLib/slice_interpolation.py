"""Masks for the slices between two corrected ones: morphological contour interpolation, one group of outlines at a time.

After Albu, Beugeling and Laurendeau, "A morphology-based approach for interslice interpolation of anatomical slices from
volumetric images", IEEE Trans Biomed Eng 55 (2008), the method behind "Fill between slices" in 3D Slicer: what both slices
hold stays, what only one holds grows out of it or shrinks back into it. Their sequence of conditional dilations is
replaced by its limit, distances, so that any number of slices between is drawn at once and in mm. Outlines that overlap
are interpolated together; two that do not, but lie near each other, travel; one without a partner tapers off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.errors import GeometryError, InputError

Mask = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Spacing = tuple[float, float]

_EIGHT = np.ones((3, 3), np.bool_)
_TINY = 1e-9
_NEAR = 1.5
"""Outlines without overlap travel when their centers lie nearer than this many of their summed mean radii."""


def carry_between(mask: npt.NDArray[np.generic], axis: int, first: int, last: int, spacing: Sequence[float]) -> Mask:
    """Return proposed masks for the slices between two corrected ones of one organ.

    Nothing is changed: the caller shows the proposal and puts it into the mask when it is wanted
    (`mask[first + 1 : last] = proposal` along `axis`).

    Args:
        mask: The organ, (X, Y, Z), not 0 is organ; only slices `first` and `last` are looked at.
        axis: The array axis across the slices, 0, 1 or 2.
        first, last: Indices of the two corrected slices along `axis`, in either order.
        spacing: Voxel size along each array axis in mm.

    Returns:
        Bool, the shape of `mask` but |last - first| - 1 slices along `axis`, in the order of the array; none for neighbors.

    Raises:
        GeometryError: The mask is not 3-D, the axis or a slice does not exist, the spacing is not positive.
        InputError: `first` and `last` are one slice.
    """
    _check(mask, axis, first, last, spacing)
    low, high = sorted((first, last))
    across = [i for i in range(3) if i != axis]
    ends = [np.asarray(np.take(mask, index, axis=axis) != 0) for index in (low, high)]
    size = (float(spacing[across[0]]), float(spacing[across[1]]))
    fractions = [(index - low) / (high - low) for index in range(low + 1, high)]
    found = interpolate_slices(ends[0], ends[1], fractions, size)
    return np.moveaxis(found, 0, axis)


def _check(mask: npt.NDArray[np.generic], axis: int, first: int, last: int, spacing: Sequence[float]) -> None:
    if mask.ndim != 3 or axis not in {0, 1, 2}:
        message = f"Slices are carried along axis 0, 1 or 2 of a 3-D mask, got axis {axis} of shape {mask.shape}."
        raise GeometryError(message)
    outside = [index for index in (first, last) if not 0 <= index < mask.shape[axis]]
    if outside:
        message = f"Slice {outside[0]} does not exist: axis {axis} has slices 0 to {mask.shape[axis] - 1}."
        raise GeometryError(message, "Choose two slices of this case.")
    if first == last:
        message = f"Slice {first} was given twice."
        raise InputError(message, "Correct a second slice of the organ first; what lies between is proposed then.")
    if len(spacing) != 3 or not all(np.isfinite(size) and size > 0 for size in spacing):
        message = f"The voxel size must be three positive numbers in mm, got {list(spacing)}."
        raise GeometryError(message)


def interpolate_slices(first: Mask, last: Mask, fractions: Sequence[float], spacing: Spacing = (1.0, 1.0)) -> Mask:
    """Return the masks at fractions of the way from `first` to `last`.

    Two equal slices give themselves; where the smaller outline lies inside the larger one so does everything between;
    where outlines overlap nothing leaves the union or enters the intersection. Exchanging the slices gives the same masks in
    reverse, but for outlines that travel, which may end half a pixel away.

    Args:
        first, last: Bool, (A, B): the two slices.
        fractions: Where the wanted slices lie, 0 is `first`, 1 is `last`.
        spacing: Pixel size along the two axes in mm.

    Returns:
        Bool, (len(fractions), A, B).
    """
    result = np.zeros((len(fractions), *first.shape), np.bool_)
    both = first | last
    if not both.any() or not fractions:
        return result
    box = _box(both)
    crop = result[(slice(None), *box)]
    for pair in _pairs(first[box], last[box], spacing):
        for number, fraction in enumerate(fractions):
            crop[number] |= pair.at(float(fraction))
    return result


def _box(mask: Mask) -> tuple[slice, slice]:
    spans = [np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1)]
    rows, columns = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return rows, columns


@dataclass(frozen=True)
class _Pair:
    """Outlines that belong together.

    Attributes:
        first, last: Their masks, (A, B); `last` was moved by -shift, so that it lies on `first`. One may be empty.
        way: Where a pixel of only one of them lies between what both hold (0) and its own outside (1); 0 elsewhere.
        shift: Pixels from `first` to where `last` really is.
    """

    first: Mask
    last: Mask
    way: Float64
    shift: tuple[int, int] = (0, 0)

    def at(self, fraction: float) -> Mask:
        """Return the mask at a fraction of the way."""
        kept = self.first & (self.last | (self.way <= 1 - fraction))
        grown = self.last & (self.way <= fraction)
        step = (round(self.shift[0] * fraction), round(self.shift[1] * fraction))
        return _moved(kept | grown, step)


def _pairs(first: Mask, last: Mask, spacing: Spacing) -> Iterator[_Pair]:
    """Yield the groups of outlines of two slices: overlapping ones, near ones that travel, single ones."""
    from scipy.ndimage import label

    (a, count_a), (b, count_b) = label(first, _EIGHT), label(last, _EIGHT)
    both = first & last
    codes = np.unique(a[both].astype(np.int64) * (count_b + 1) + b[both])  # far faster than unique rows
    touching = np.stack(np.divmod(codes, count_b + 1), axis=1).tolist()
    groups = _connected(touching, count_a, count_b)
    alone: tuple[list[Mask], list[Mask]] = ([], [])
    for numbers_a, numbers_b in groups:
        one, other = np.isin(a, numbers_a), np.isin(b, numbers_b)
        if numbers_a and numbers_b:
            yield _Pair(one, other, _way(one, other, spacing))
        else:
            alone[0 if numbers_a else 1].append(one | other)
    yield from _travelers(*alone, spacing)


def _connected(touching: Sequence[Sequence[int]], count_a: int, count_b: int) -> list[tuple[list[int], list[int]]]:
    """Return the connected groups of components: numbers (from 1) in the first and in the last slice."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    total = count_a + count_b
    rows = [pair[0] - 1 for pair in touching]
    columns = [count_a + pair[1] - 1 for pair in touching]
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(total, total))
    count, group = connected_components(graph, directed=False)
    members: list[tuple[list[int], list[int]]] = [([], []) for _ in range(count)]
    for index, number in enumerate(group.tolist()):
        members[number][0 if index < count_a else 1].append(index + 1 if index < count_a else index - count_a + 1)
    return members


def _way(first: Mask, last: Mask, spacing: Spacing) -> Float64:
    """Return for pixels of only one mask their distance from the shared part over that plus the distance from outside."""
    from scipy.ndimage import distance_transform_edt

    shared = first & last
    if not shared.any():
        return _taper(first, spacing) + _taper(last, spacing)
    inward: Float64 = distance_transform_edt(~shared, sampling=spacing)
    outward = np.where(first, _depth(first, spacing), _depth(last, spacing))
    return np.where(first ^ last, inward / np.maximum(inward + outward, _TINY), 0.0)


def _depth(mask: Mask, spacing: Spacing) -> Float64:
    """Return the distance in mm of each pixel of a mask from what is not in it; outside the array is not in it."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1])


def _travelers(first: list[Mask], last: list[Mask], spacing: Spacing) -> Iterator[_Pair]:
    """Yield pairs of outlines that lie near each other without overlap, nearest first, then those without a partner."""
    candidates = sorted(
        (apart, i, j) for i, one in enumerate(first) for j, other in enumerate(last) if (apart := _apart(one, other, spacing)) < _NEAR
    )
    left: tuple[set[int], set[int]] = (set(range(len(first))), set(range(len(last))))
    for _, i, j in candidates:
        if i in left[0] and j in left[1]:
            left[0].remove(i)
            left[1].remove(j)
            yield _traveling(first[i], last[j], spacing)
    for i in sorted(left[0]):
        yield _Pair(first[i], np.zeros_like(first[i]), _taper(first[i], spacing))
    for j in sorted(left[1]):
        yield _Pair(np.zeros_like(last[j]), last[j], _taper(last[j], spacing))


def _center(mask: Mask) -> Float64:
    return np.asarray([float(index.mean()) for index in np.nonzero(mask)])


def _apart(one: Mask, other: Mask, spacing: Spacing) -> float:
    """Return the distance of two centers over the summed radii of disks of their areas."""
    distance = float(np.linalg.norm((_center(other) - _center(one)) * spacing))
    radii = sum(float(np.sqrt(np.count_nonzero(mask) * spacing[0] * spacing[1] / np.pi)) for mask in (one, other))
    return distance / radii


def _traveling(first: Mask, last: Mask, spacing: Spacing) -> _Pair:
    step = np.rint(_center(last) - _center(first)).astype(int)
    shift = (int(step[0]), int(step[1]))
    back = _moved(last, (-shift[0], -shift[1]))
    return _Pair(first, back, _way(first, back, spacing), shift)


def _taper(mask: Mask, spacing: Spacing) -> Float64:
    """Return how soon a lone outline gives a pixel up: its border at once, its middle halfway to the other slice."""
    depth = _depth(mask, spacing)
    return np.where(mask, 1 - depth / max(float(depth.max()), _TINY) / 2, 0.0)


def _moved(mask: Mask, step: tuple[int, int]) -> Mask:
    """Return a mask moved by whole pixels; what leaves the array is lost."""
    if step == (0, 0):
        return mask
    result = np.zeros_like(mask)
    target = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(step, mask.shape, strict=True))
    source = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(step, mask.shape, strict=True))
    result[target] = mask[source]
    return result
