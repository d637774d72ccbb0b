"""Implicit shapes of the phantom: each tells, for points, how many mm they lie below its surface (negative outside)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.phantom_points import Field, Points, Vectors

OUTSIDE = np.float32(-99.0)
_REACH = 6.0  # mm around a shape where its distance is still told; walls and partial volumes need no more
Depth = Callable[[Points], Field]


@dataclass(frozen=True)
class Shape:
    """A region of the anatomy.

    Attributes:
        depth: Points to mm below the surface, float32, about Euclidean near it.
        low: (3,) corner of a box that holds it, anatomical mm.
        high: The opposite corner.
    """

    depth: Depth
    low: Vectors
    high: Vectors

    def __or__(self, other: Shape) -> Shape:
        """Return what lies in either."""
        return union([self, other])

    def minus(self, other: Shape, gap: float = 0.0) -> Shape:
        """Return what is left when `other` and `gap` mm around it are taken away."""
        return Shape(lambda p: np.minimum(self.depth(p), -sparse(other, p) - np.float32(gap)), self.low, self.high)

    def within(self, depth: Depth, gap: float = 0.0) -> Shape:
        """Return what lies at least `gap` mm inside a region without a box."""
        return Shape(lambda p: np.minimum(self.depth(p), depth(p) - np.float32(gap)), self.low, self.high)

    def grown(self, by: float) -> Shape:
        """Return the shape with its surface moved out by `by` mm."""
        return Shape(lambda p: self.depth(p) + np.float32(by), self.low - max(by, 0), self.high + max(by, 0))


def sparse(shape: Shape, points: Points) -> Field:
    """Return the depth in a shape, computed near it alone; `OUTSIDE` far away."""
    result = np.full(points.shape, OUTSIDE, np.float32)
    window = points.windows(shape.low - _REACH, shape.high + _REACH)[0]
    if window is not None:
        result[window] = shape.depth(points.part(window))
    return result


def union(shapes: Sequence[Shape]) -> Shape:
    """Return what lies in any of the shapes."""

    def depth(points: Points) -> Field:
        result = np.full(points.shape, OUTSIDE, np.float32)
        windows = points.windows(lows - _REACH, highs + _REACH)
        for shape, window in zip(shapes, windows, strict=True):
            if window is not None:
                np.maximum(result[window], shape.depth(points.part(window)), out=result[window])
        return result

    lows, highs = np.array([s.low for s in shapes]), np.array([s.high for s in shapes])
    return Shape(depth, lows.min(axis=0), highs.max(axis=0))


def rotation(degrees: npt.ArrayLike) -> Vectors:
    """Return the (3, 3) matrix that turns about x, then y, then z."""
    a, b, c = np.deg2rad(np.asarray(degrees, float))
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    turned: Vectors = np.array([[(rz[i] * (ry * rx.T[j]).sum(axis=1)).sum() for j in range(3)] for i in range(3)])
    return turned


def local(points: Points, center: Vectors, turn: Vectors | None) -> tuple[Field, Field, Field]:
    """Return coordinates about a center, in the axes of a turned body (the columns of `turn`)."""
    x, y, z = (a - np.float32(c) for a, c in zip((points.x, points.y, points.z), center, strict=True))
    if turn is None:
        return x, y, z
    t = turn.astype(np.float32)
    u, v, w = (x * t[0, i] + y * t[1, i] + z * t[2, i] for i in range(3))
    return u, v, w


def ellipsoid(center: npt.ArrayLike, radii: npt.ArrayLike, degrees: npt.ArrayLike | None = None) -> Shape:
    """Return an ellipsoid; `degrees` turn it about x, y and z."""
    c, r = np.asarray(center, float), np.asarray(radii, float)
    turn = None if degrees is None else rotation(degrees)
    reach = r if turn is None else np.sqrt(((turn * r) ** 2).sum(axis=1))

    def depth(points: Points) -> Field:
        u, v, w = local(points, c, turn)
        a, b, d = (np.float32(1 / radius) for radius in r)
        u, v, w = u * a, v * b, w * d
        k = np.sqrt(u * u + v * v + w * w) + np.float32(1e-6)
        slope = np.sqrt((u * a) ** 2 + (v * b) ** 2 + (w * d) ** 2) + np.float32(1e-6 / r.max())
        result: Field = k * (1 - k) / slope
        return result

    return Shape(depth, c - reach, c + reach)


def spline(knots: npt.ArrayLike, step: float = 6.0) -> Vectors:
    """Return a smooth path through knots (N, K) as points about `step` mm apart; the first three columns are a position."""
    from scipy.interpolate import PchipInterpolator

    rows = np.asarray(knots, float)
    length = np.concatenate([[0], np.cumsum(np.sqrt((np.diff(rows[:, :3], axis=0) ** 2).sum(axis=1)))])
    count = max(2, int(np.ceil(length[-1] / step)) + 1)
    path: Vectors = PchipInterpolator(length, rows)(np.linspace(0, length[-1], count))
    return path


def tube(path: npt.ArrayLike, flat: float = 1.0) -> Shape:
    """Return a round tube along points (N, 4) of x, y, z, radius; `flat` < 1 presses it together along y."""
    return tubes([np.asarray(path, float)], flat)


def tubes(paths: Sequence[Vectors], flat: float = 1.0) -> Shape:
    """Return several tubes as one shape."""
    a, b = np.concatenate([path[:-1] for path in paths]), np.concatenate([path[1:] for path in paths])
    radius = np.maximum(a[:, 3:], b[:, 3:])
    low, high = np.minimum(a, b)[:, :3] - radius, np.maximum(a, b)[:, :3] + radius

    def depth(points: Points) -> Field:
        result = np.full(points.shape, OUTSIDE, np.float32)
        for start, end, window in zip(a, b, points.windows(low - _REACH, high + _REACH), strict=True):
            if window is not None:
                part = _segment(points.part(window), start, end, flat)
                np.maximum(result[window], part, out=result[window])
        return result

    return Shape(depth, low.min(axis=0), high.max(axis=0))


def _segment(points: Points, start: Vectors, end: Vectors, flat: float) -> Field:
    """Return the depth in a cone with round ends between two points with radii."""
    along = (end - start)[:3] * (1, 1 / flat, 1)
    length = float((along**2).sum()) or 1.0
    d, e = along.astype(np.float32), (along / length).astype(np.float32)
    s = start.astype(np.float32)
    x, y, z = points.x - s[0], (points.y - s[1]) * np.float32(1 / flat), points.z - s[2]
    t = np.clip(x * e[0] + y * e[1] + z * e[2], 0, 1)
    gap = np.sqrt((x - t * d[0]) ** 2 + (y - t * d[1]) ** 2 + (z - t * d[2]) ** 2)
    result: Field = s[3] + t * np.float32(end[3] - start[3]) - gap
    return result


def mirrored(knots: npt.ArrayLike, side: int) -> Vectors:
    """Return knots given for the right side (x > 0) on a side: +1 right, -1 left."""
    rows = np.array(knots, float)
    rows[..., 0] *= side
    return rows
