"""Masks of one slice as closed polygons, and polygons as masks.

A polygon runs halfway between the centers of inside and outside pixels (marching squares at one half), so that the pixels whose
centers lie inside it are exactly the mask. Its area is that of its pixels less half a pixel, whatever its shape: every polygon on
this lattice has four more outward than inward corners, and each corner cuts an eighth of a pixel off or adds it. Pixels that touch at a
corner alone are two polygons. Holes are joined to their outline by a channel of no width ("keyhole", DICOM PS3.3 C.8.8.6.3), laid
a quarter of a pixel beside the centers, so that no center lies on it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.volume import Array

_ON_PATH = 1e-3
"""A center this near (pixels) to a path lies on it, and what lies on the path is inside (DICOM PS3.3 C.8.8.6.3)."""
# For each direction +x, +y, -x, -y with the inside on the left: the neighbor that is outside, and the first corner of the edge.
_NEIGHBORS = ((0, -1), (1, 0), (0, 1), (-1, 0))
_STARTS = ((0, 0), (1, 0), (1, 1), (0, 1))
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def contours(mask: Array) -> list[Matrix]:
    """Return the outlines of a mask, with their holes joined to them.

    Args:
        mask: bool (X, Y).

    Returns:
        Polygons (N, 2) in pixels, (0, 0) the center of the first one; not closed (the first point is not repeated).
    """
    padded = np.pad(mask, 1)
    parts, count = _labeled(padded)
    outlines: list[list[Matrix]] = [[] for _ in range(count + 1)]
    holes: list[list[Matrix]] = [[] for _ in range(count + 1)]
    for pixel, loop in _loops(padded):
        (outlines if _area(loop) > 0 else holes)[parts[pixel]].append(loop / 2 - 1)
    return [_joined(outline[0], inner) for outline, inner in zip(outlines, holes, strict=True) if outline]


def _labeled(padded: Array) -> tuple[Array, int]:
    from scipy import ndimage

    labels, count = ndimage.label(padded)
    return labels, int(count)


def _loops(padded: Array) -> Iterable[tuple[tuple[int, int], Matrix]]:
    """Yield (an inside pixel, the loop of edge middles around it) in doubled coordinates of the padded mask."""
    width = padded.shape[1] + 1
    pixels, starts, directions = [], [], []
    for side, (dx, dy) in enumerate(_NEIGHBORS):
        found = np.argwhere(padded & ~np.roll(padded, (-dx, -dy), (0, 1)))
        pixels.append(found)
        starts.append(found + _STARTS[side])
        directions.append(np.full(len(found), side))
    pixel, start, direction = np.concatenate(pixels), np.concatenate(starts), np.concatenate(directions)
    end = start + np.array(_STEPS)[direction]
    edge_at = np.full((padded.shape[0] + 1) * width * 4, -1)
    edge_at[(start[:, 0] * width + start[:, 1]) * 4 + direction] = np.arange(len(start))
    corner = (end[:, 0] * width + end[:, 1]) * 4
    following = np.full(len(start), -1)
    for turn in (-1, 0, 1):  # the last that exists wins: a left turn stays at the same pixel
        candidate = edge_at[corner + (direction + turn) % 4]
        following = np.where(candidate >= 0, candidate, following)
    middles, order = start + end - 1, following.tolist()
    seen = [False] * len(order)
    for first in range(len(order)):
        members = []
        edge = first
        while not seen[edge]:
            seen[edge] = True
            members.append(edge)
            edge = order[edge]
        if members:
            yield (int(pixel[first, 0]), int(pixel[first, 1])), _without_collinear(middles[members])


def _without_collinear(points: Array) -> Matrix:
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    bend = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return np.asarray(points[bend != 0], np.float64)


def _area(points: Matrix) -> float:
    x, y = points.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _joined(outline: Matrix, holes: list[Matrix]) -> Matrix:
    """Return one polygon of an outline and its holes; from left to right, each hole reaches what is joined already."""
    for hole in sorted(holes, key=lambda points: tuple(points[np.lexsort((points[:, 1], points[:, 0]))[0]])):
        level = float(hole[np.lexsort((hole[:, 1], hole[:, 0]))[0], 1]) + 0.25
        here, x = _crossings(hole, level)
        j, q = int(here[np.argmin(x)]), float(x.min())
        there, x = _crossings(outline, level)
        left = x < q
        i, p = int(there[left][np.argmax(x[left])]), float(x[left].max())
        channel = np.array([[p, level], [q, level]])
        outline = np.concatenate([outline[: i + 1], channel, hole[j + 1 :], hole[: j + 1], channel[::-1], outline[i + 1 :]])
    return outline


def _crossings(points: Matrix, level: float) -> tuple[Array, Matrix]:
    """Return (edges that cross y = level, where)."""
    (x1, y1), (x2, y2) = points.T, np.roll(points, -1, 0).T
    edges = np.flatnonzero((y1 <= level) != (y2 <= level))
    share = (level - y1[edges]) / (y2[edges] - y1[edges])
    return edges, x1[edges] + share * (x2[edges] - x1[edges])


def rasterize(polygons: Iterable[Matrix], shape: tuple[int, int]) -> Array:
    """Return the pixels whose centers lie inside polygons, bool (X, Y); polygons inside others are holes (XOR), as are keyholes.

    Args:
        polygons: (N, 2) in pixels.
        shape: (X, Y) of the slice.
    """
    mask = np.zeros(shape, np.bool_)
    drawn = [points for points in polygons if len(points)]
    if not drawn:
        return mask
    low, high = np.min([points.min(0) for points in drawn], 0), np.max([points.max(0) for points in drawn], 0)
    first = np.clip(np.floor(low), 0, shape).astype(int)
    size = np.clip(np.ceil(high) + 1, 0, shape).astype(int) - first
    if (size <= 0).any():
        return mask
    flips, path = np.zeros((size[0] + 1, size[1]), np.int32), np.zeros(size, np.bool_)
    for points in drawn:
        start, end = points - first, np.roll(points, -1, 0) - first
        _flip(flips, start, end)
        _mark_path(path, start, end)
    inside = np.cumsum(flips, axis=0, dtype=np.int32)[:-1] % 2 == 1
    mask[first[0] : first[0] + size[0], first[1] : first[1] + size[1]] = inside | path
    return mask


def _rows(low: Matrix, high: Matrix) -> tuple[Array, Array]:
    """Return (edge, row) for all whole rows from low to high of every edge."""
    counts = np.maximum(high - low + 1, 0).astype(np.intp)
    edges = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts)
    return edges, (low[edges] + within).astype(np.intp)


def _flip(flips: Array, start: Matrix, end: Matrix) -> None:
    columns, rows = flips.shape[0] - 1, flips.shape[1]
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    edges, row = _rows(np.maximum(np.ceil(low), 0), np.minimum(np.ceil(high) - 1, rows - 1))
    share = (row - start[edges, 1]) / (end[edges, 1] - start[edges, 1])
    x = start[edges, 0] + share * (end[edges, 0] - start[edges, 0])
    np.add.at(flips, (np.clip(np.ceil(x), 0, columns).astype(np.intp), row), 1)


def _mark_path(path: Array, start: Matrix, end: Matrix) -> None:
    """Mark the centers that edges run through, for contours that were drawn from center to center."""
    for axis in (0, 1):
        other = 1 - axis
        low, high = np.minimum(start[:, axis], end[:, axis]), np.maximum(start[:, axis], end[:, axis])
        steep = np.abs(end[:, axis] - start[:, axis]) >= np.abs(end[:, other] - start[:, other])
        low, high = np.where(steep, np.ceil(low - _ON_PATH), 0), np.where(steep, np.floor(high + _ON_PATH), -1)
        edges, line = _rows(np.maximum(low, 0), np.minimum(high, path.shape[axis] - 1))
        length = end[edges, axis] - start[edges, axis]
        share = np.divide(line - start[edges, axis], length, out=np.zeros(len(line)), where=length != 0)
        place = start[edges, other] + share * (end[edges, other] - start[edges, other])
        near = np.rint(place)
        hit = (np.abs(place - near) < _ON_PATH) & (near >= 0) & (near < path.shape[other])
        index = (line[hit], near[hit].astype(np.intp))
        path[index if axis == 0 else index[::-1]] = True
