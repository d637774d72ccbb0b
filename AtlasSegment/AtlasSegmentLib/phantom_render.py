"""Draw the parts of a phantom into HU and labels, slab by slab, so that memory does not grow with the number of slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.phantom_points import Field, Points, Slices, Vectors, Warp, grid_points
from AtlasSegmentLib.phantom_tissue import AIR, Part, share

_VOXELS = 1_000_000  # of a slab
_BLUR = 1.1  # mm, how far the focus of the scanner spreads an edge


@dataclass(frozen=True)
class Slab:
    """A few slices.

    Attributes:
        first: Index of the first slice.
        hu: (X, Y, Z) float32, without noise.
        values: (X, Y, Z) label value of each voxel's middle, uint8.
        points: Where the voxels lie, of thin slices where these are thick.
    """

    first: int
    hu: Field
    values: npt.NDArray[np.uint8]
    points: Points


def label_slabs(
    parts: Sequence[Part], numbers: dict[str, int], warp: Warp, origin: Vectors, spacing: Vectors, shape: tuple[int, int, int]
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield the first slice and the label values of each slab, without gray values; the arguments are those of `slabs`."""
    count = max(1, min(shape[2], _VOXELS // (shape[0] * shape[1])))
    for first in range(0, shape[2], count):
        start = origin + np.array([0, 0, first * spacing[2]])
        points = grid_points(warp, start, spacing, (shape[0], shape[1], min(count, shape[2] - first)))
        values, taken = np.zeros(points.shape, np.uint8), np.zeros(points.shape, bool)
        for part, window in _seen_from(parts, points, 0.0):
            if not part.everywhere:
                _mark(part, part.shape.depth(points.part(window)), numbers, values[window], taken[window])
        yield first, values


def slabs(
    parts: Sequence[Part], numbers: dict[str, int], warp: Warp, origin: Vectors, spacing: Vectors, shape: tuple[int, int, int]
) -> Iterator[Slab]:
    """Draw parts on a RAS grid.

    Args:
        parts: Front to back.
        numbers: Value of each label.
        warp: The person.
        origin: (3,) RAS mm of the first voxel.
        spacing: (3,) mm.
        shape: Voxels along x, y, z.
    """
    thin = _thin(spacing)  # a slice thicker than its pixels is the mean of thin ones; its labels are those of the middle one
    fine = spacing / (1, 1, thin)
    count = max(1, min(shape[2], _VOXELS // (shape[0] * shape[1] * thin)))
    for first in range(0, shape[2], count):
        depth = min(count, shape[2] - first)
        start = origin + np.array([0, 0, first * spacing[2] - (thin - 1) / 2 * fine[2]])
        points = grid_points(warp, start, fine, (shape[0], shape[1], depth * thin))
        hu, values = _draw(parts, numbers, points)
        mean = hu.reshape(shape[0], shape[1], depth, thin).mean(axis=3)
        yield Slab(first, mean, values[:, :, thin // 2 :: thin], points)


def _thin(spacing: Vectors) -> int:
    """Return how many thin slices make one: an odd number, so that there is a middle one."""
    ratio = float(spacing[2] / max(spacing[:2].mean(), 0.8))
    return 1 if ratio < 1.8 else 2 * int(min(ratio, 9) / 2) + 1


def _draw(parts: Sequence[Part], numbers: dict[str, int], points: Points) -> tuple[Field, npt.NDArray[np.uint8]]:
    width = float(np.sqrt(np.mean(points.spacing) ** 2 + _BLUR**2))
    seen = np.ones(points.shape, np.float32)  # how much of a voxel no part in front covers
    hu = np.zeros(points.shape, np.float32)
    values = np.zeros(points.shape, np.uint8)
    taken = np.zeros(points.shape, bool)
    for part, window in _seen_from(parts, points, width):
        here = points.part(window)
        if part.everywhere:
            _fill(part, here, width, seen, hu)
            continue
        depth = part.shape.depth(here)
        cover = share(depth, width) * seen[window]
        if not cover.any():
            continue
        hu[window] += _painted(part, here, depth, cover, width)
        seen[window] -= cover
        _mark(part, depth, numbers, values[window], taken[window])
    hu += seen * np.float32(AIR)
    return hu, values


def _seen_from(parts: Sequence[Part], points: Points, margin: float) -> Iterator[tuple[Part, Slices]]:
    """Yield the parts whose boxes reach the points, with the voxels of each."""
    lows, highs = np.array([part.shape.low for part in parts]), np.array([part.shape.high for part in parts])
    for part, window in zip(parts, points.windows(lows - margin, highs + margin), strict=True):
        if window is not None:
            yield part, window


def _mark(part: Part, depth: Field, numbers: dict[str, int], values: npt.NDArray[np.uint8], taken: npt.NDArray[np.bool_]) -> None:
    """Give a part the voxels whose middle lies in it and in no part in front, in place."""
    mine = (depth > 0) & ~taken
    taken |= mine
    if part.label:
        values[mine] = numbers[part.label]


def _fill(part: Part, points: Points, width: float, seen: Field, hu: Field) -> None:
    """Draw a part without label that has no box, where something is still to be seen."""
    chosen = seen > 0
    some = points.some(chosen)
    depth = part.shape.depth(some)
    cover = share(depth, width).ravel() * seen[chosen]
    value = np.asarray(part.paint(some, depth, width), np.float32)
    hu[chosen] += cover * (value.ravel() if value.ndim else value)
    seen[chosen] -= cover


def _painted(part: Part, points: Points, depth: Field, cover: Field, width: float) -> Field:
    """Return cover times HU; paints are asked only about what is seen."""
    if part.windowed:
        return cover * part.paint(points, depth, width)
    chosen = cover > 0
    result = np.zeros_like(cover)
    some = depth[chosen][:, None, None]
    value = np.asarray(part.paint(points.some(chosen), some, width), np.float32)
    result[chosen] = cover[chosen] * (value.ravel() if value.ndim else value)
    return result
