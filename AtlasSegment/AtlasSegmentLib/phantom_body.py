"""The frame that everything hangs on: course of the spine, outlines of skin, muscle and body cavity, and the diaphragm."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.phantom_person import Person, stream
from AtlasSegmentLib.phantom_points import Field, Points, Vectors

TOP, BOTTOM = 212.0, -248.0
"""What a phantom shows unless asked otherwise: from above T8 to the hip joints, anatomical mm."""
LEVELS = ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8", "T7", "T6", "T5", "T4")
CENTERS = (-100, -68, -34, 0, 33, 64, 91, 116.5, 141, 165, 188, 210.5, 232, 253)
"""Height of the middle of each vertebral body."""
_SPINE_Z = (-250, -225, -203, -180, -155, -128, -100, -69, -34, 0, 33, 64, 91, 117, 142, 167, 190, 212, 233, 253, 300)
_SPINE_Y = (-36, -55, -57, -48, -30, -13, 2, 9, 7, 0, -9, -18, -26, -33, -38, -42, -43, -42, -39, -34, -22)
_STEP, _LOW, _HIGH = 0.5, -420.0, 480.0  # tables over z

# z, half width, half depth, y of the center; mm
_CAVITY = (
    (-420, 46, 50, 0),
    (-250, 48, 54, 2),
    (-215, 58, 70, 11),
    (-180, 88, 82, 13),
    (-150, 108, 86, 14),
    (-120, 120, 90, 19),
    (-90, 125, 92, 22),
    (-50, 127, 94, 24),
    (0, 131, 97, 24),
    (50, 138, 99, 21),
    (100, 137, 103, 19),
    (150, 131, 99, 13),
    (200, 121, 91, 5),
    (250, 104, 77, -2),
    (300, 74, 57, -9),
    (480, 40, 45, -12),
)
_LEAN = (
    (-420, 170, 99, -11),
    (-250, 174, 102, -11),
    (-215, 175, 105, -8),
    (-180, 170, 106, -3),
    (-150, 162, 103, 7),
    (-120, 152, 103, 14),
    (-90, 145, 104, 18),
    (-50, 144, 106, 20),
    (0, 147, 108, 20),
    (50, 152, 111, 19),
    (100, 155, 118, 16),
    (150, 157, 117, 12),
    (200, 162, 115, 7),
    (250, 172, 112, -2),
    (300, 180, 102, -7),
    (480, 180, 97, -7),
)


@cache
def _heights() -> Vectors:
    return np.arange(_LOW, _HIGH + _STEP / 2, _STEP)


@cache
def _spine_table() -> Vectors:
    from scipy.interpolate import CubicSpline

    inside = np.clip(_heights(), _SPINE_Z[0], _SPINE_Z[-1])
    return np.asarray(CubicSpline(_SPINE_Z, _SPINE_Y, bc_type="natural")(inside))


@cache
def _outline_table(rows: tuple[tuple[float, ...], ...]) -> Vectors:
    from scipy.interpolate import PchipInterpolator

    table = np.array(rows, float)
    return np.asarray(PchipInterpolator(table[:, 0], table[:, 1:])(_heights()))


def spine_y(z: npt.ArrayLike) -> Vectors:
    """Return y of the middle of the vertebral bodies at heights z, anatomical mm."""
    result: Vectors = np.interp(np.asarray(z, float), _heights(), _spine_table())
    return result


def _entries(z: Field) -> npt.NDArray[np.int32]:
    entries = ((z - np.float32(_LOW)) * np.float32(1 / _STEP)).astype(np.int32)
    return np.clip(entries, 0, len(_heights()) - 1, out=entries)


def spine_field(points: Points) -> Field:
    """Return y of the middle of the spine at the height of each point, float32."""
    return _spine_table().astype(np.float32)[_entries(points.z)]


def outline_at(rows: tuple[tuple[float, ...], ...], z: float) -> tuple[float, float, float]:
    """Return half width, half depth and y of the center of an outline at a height."""
    a, b, c = (float(np.interp(z, _heights(), column)) for column in _outline_table(rows).T)
    return a, b, c


def cavity_at(z: float) -> tuple[float, float, float]:
    """Return half width, half depth and y of the center of the body cavity at a height."""
    return outline_at(_CAVITY, z)


def lean_at(z: float) -> tuple[float, float, float]:
    """Return half width, half depth and y of the center of the body without its subcutaneous fat."""
    return outline_at(_LEAN, z)


def _outline(points: Points, rows: tuple[tuple[float, ...], ...], grown: tuple[float, float, float, float] = (0, 0, 0, 0)) -> Field:
    """Return the depth in a superellipse (exponent 2.5) whose size changes with z.

    Args:
        points: Where.
        rows: z, half width, half depth, y of the center.
        grown: What is added at the sides, in front and behind, and by how much of the side also at the hips; mm.
    """
    table = _outline_table(rows)
    side, front, back, hips = grown
    belly = np.exp(-(((_heights() + 60) / 95) ** 2))
    hip = np.exp(-(((_heights() + 190) / 70) ** 2))
    a = table[:, 0] + side + hips * hip
    ahead, behind = front * (0.45 + 0.55 * belly), back * (0.6 + 0.4 * belly) + hips * hip
    b, c = table[:, 1] + (ahead + behind) / 2, table[:, 2] + (ahead - behind) / 2
    entries = _entries(points.z)
    ia, ib = (1 / a).astype(np.float32)[entries], (1 / b).astype(np.float32)[entries]
    x = np.abs(points.x) * ia
    y = np.abs(points.y - c.astype(np.float32)[entries]) * ib
    rx, ry = x * np.sqrt(x), y * np.sqrt(y)
    k = np.exp(np.float32(0.4) * np.log(x * rx + y * ry + np.float32(1e-6)))
    slope = np.sqrt((rx * ia) ** 2 + (ry * ib) ** 2) / (k * np.sqrt(k)) + np.float32(1e-4)
    result: Field = (1 - k) / slope
    return result


class Body:
    """The outlines of one person, as depths in mm.

    Args:
        person: Decides how thick the fat is and how high the diaphragm stands.
    """

    def __init__(self, person: Person) -> None:
        rng = stream(person.seed, "body")
        fat = person.thickness
        self._fat = (fat * 0.9, fat * rng.uniform(0.9, 1.3), fat * rng.uniform(0.7, 1.1), fat * (0.35 if person.is_male else 0.6))
        breath = rng.normal(0, 5)
        self.domes = (122 + breath + rng.normal(0, 3), 107 + breath + rng.normal(0, 3))
        self.table_y = -97.0 - 0.6 * fat

    def limits(self) -> tuple[Vectors, Vectors]:
        """Return the corners of a box that holds the torso with a little air around, anatomical mm."""
        side = max(row[1] for row in _LEAN if -250 <= row[0] <= 200) + max(self._fat[0], self._fat[0] * 0.2 + self._fat[3]) + 7
        front = max(row[2] + row[3] for row in _LEAN) + self._fat[1]
        return np.array([-side, self.table_y - 26, BOTTOM]), np.array([side, front, TOP])

    def skin(self, points: Points) -> Field:
        """Return the depth below the skin; the back lies flat on the table."""
        outside = _outline(points, _LEAN, self._fat)
        cleft = np.float32(9) - np.abs(points.x) - np.maximum(points.z + 178, 0) - np.maximum(points.y + 98, 0) * np.float32(0.6)
        result: Field = np.minimum(np.minimum(outside, points.y - np.float32(self.table_y)), -cleft)
        return result

    def lean(self, points: Points) -> Field:
        """Return the depth below the outer surface of the muscles."""
        return points.once("lean", self._lean)

    @staticmethod
    def _lean(points: Points) -> Field:
        furrow = np.exp(-((points.x / 17) ** 2)) * np.clip((points.z + 175) / 30, 0, 1)
        behind = points.y - spine_field(points) + np.float32(92)
        result: Field = np.minimum(_outline(points, _LEAN), behind - 13 * furrow)
        return result

    def cavity(self, points: Points) -> Field:
        """Return the depth below the inner surface of the wall; the spine and the muscles beside it bulge into it."""
        return points.once("cavity", self._cavity)

    @staticmethod
    def _cavity(points: Points) -> Field:
        inside = points.once("outline", lambda p: _outline(p, _CAVITY))
        behind = points.y - spine_field(points) + np.float32(52)
        beside = np.maximum(72 - np.abs(points.x), 0) * np.float32(0.96)
        result: Field = np.minimum(inside, (behind - beside) * np.float32(0.75))
        return result

    def chest(self, points: Points) -> Field:
        """Return the depth below the inner surface of the rib cage, also where lungs reach back beside the spine."""
        return points.once("outline", lambda p: _outline(p, _CAVITY)) + np.float32(2)

    def diaphragm(self, points: Points) -> Field:
        """Return mm above the diaphragm (negative in the abdomen)."""
        return points.once("diaphragm", self._diaphragm)

    def _diaphragm(self, points: Points) -> Field:
        right, left = (self._dome(points, 64 * side, top) for side, top in zip((1, -1), self.domes, strict=True))
        u, v = points.x * np.float32(1 / 60), (points.y - 34) * np.float32(1 / 80)
        middle = np.float32(min(self.domes) - 10) - 26 * (u * u + v * v)  # the heart lies on it
        return points.z - np.maximum(np.maximum(right, left), middle)

    @staticmethod
    def _dome(points: Points, x: float, top: float) -> Field:
        u, v = (points.x - np.float32(x)) * np.float32(1 / 76), (points.y - 18) * np.float32(1 / 98)
        square = u * u + v * v
        height: Field = np.float32(top) - 54 * square * np.sqrt(square) - np.float32(16) * np.maximum(-v, 0)
        return height
