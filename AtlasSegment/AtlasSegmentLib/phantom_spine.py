"""Vertebrae T4 to L5 with arches and processes, the discs between them, the canal, and the sacrum."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np

from AtlasSegmentLib.phantom_body import CENTERS, LEVELS, spine_field, spine_y
from AtlasSegmentLib.phantom_person import Person, stream
from AtlasSegmentLib.phantom_points import Field, Points, Vectors
from AtlasSegmentLib.phantom_shapes import Shape, ellipsoid, local, spline, tube, tubes, union
from AtlasSegmentLib.phantom_tissue import Paint, Part, Tissues, blend, layered

_TOP_Z = 275.0
CANAL = 9.5
"""Middle of the spinal canal behind the vertebral body, mm."""


def body_size(z: float) -> tuple[float, float]:
    """Return half width and half depth of the vertebral body at a height, mm."""
    return float(np.interp(z, (-100, 0, 64, 165, 253), (28, 25.5, 21.5, 17, 15))), float(
        np.interp(z, (-100, 0, 64, 165, 253), (18, 17.3, 16, 14.5, 11))
    )


def spine_parts(person: Person, tissues: Tissues) -> list[Part]:
    """Return the parts of the spine, front to back."""
    rng = stream(person.seed, "spine")
    edges = [-114.0, *((a + b) / 2 for a, b in pairwise(CENTERS)), 263.0]
    density = rng.normal(1, 0.05, len(LEVELS))
    stout = min(1.0, person.scale()[0]) ** -0.5  # bones of small people are less small than they are
    parts = [Part("spinal_canal", _canal(), _cord_paint())]
    for number, name in enumerate(LEVELS):
        shape = _vertebra(CENTERS[number], edges[number], edges[number + 1], stout * rng.normal(1.10, 0.025))
        paint = _vertebra_paint(tissues, number * 3.1, float(density[number]), body_size(CENTERS[number])[1])
        parts.append(Part(f"vertebrae_{name}", shape, paint))
    parts.append(Part("sacrum", _sacrum(), tissues.bone(1.3, 400.0, 91.0, 0.4)))
    parts.append(Part("", _discs(), tissues.plain("disc", 4.0, 6.0)))
    return parts


def _vertebra_paint(tissues: Tissues, shift: float, density: float, deep: float) -> Paint:
    """Return the paint of a vertebra: a thin shell around the spongy body, a thick one about arch and processes."""
    body, arch = tissues.bone(1.3, 430.0, shift, density), tissues.bone(2.6, 620.0, shift, 1.6 * density)

    def paint(points: Points, depth: Field, width: float) -> Field:
        behind = spine_field(points) - points.y - np.float32(deep + 1)
        return blend(body(points, depth, width), arch(points, depth, width), np.clip(behind / 4, 0, 1))

    return paint


@cache
def _canal() -> Shape:
    z = np.linspace(-215, _TOP_Z, 50)
    behind = np.array([body_size(h)[1] for h in z]) + CANAL
    radius = np.interp(z, (-215, -150, -100, 0, 100, 275), (3.5, 6.0, 8.6, 8.2, 7.6, 7.2))
    return tube(np.stack([0 * z, spine_y(z) - behind, z, radius], axis=1))


def _cord_paint() -> Paint:
    def paint(_points: Points, depth: Field, width: float) -> Field:
        return layered(depth, width, ((0.0, -25.0), (1.4, 14.0), (3.6, 34.0)))

    return paint


def _vertebra(center: float, low: float, high: float, size: float) -> Shape:
    """Return a vertebra between two heights; all its parts turn with the course of the spine."""
    wide, deep = (value * size for value in body_size(center))
    height = (high - low) / 2
    y = float(spine_y(center))
    slope = float(spine_y(high) - spine_y(low)) / (high - low)
    turn = _tilt(-slope)
    lumbar = float(np.clip((90 - center) / 60, 0, 1))
    middle = np.array([0.0, y, center])
    body = _drum(middle, (wide, deep, height - 3.1 + 0.6 * (1 - lumbar)), turn)
    arch = _place(_arch(wide, deep, height, lumbar), middle, turn)
    return union([body, tubes(arch)])


def _tilt(slope: float) -> Vectors:
    c, s = np.cos(np.arctan(slope)), np.sin(np.arctan(slope))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _place(paths: list[Vectors], middle: Vectors, turn: Vectors) -> list[Vectors]:
    placed = []
    for path in paths:
        moved = path.copy()
        moved[:, :3] = middle + (path[:, None, :3] * turn[None]).sum(axis=2)
        placed.append(moved)
    return placed


def _drum(center: Vectors, size: tuple[float, float, float], turn: Vectors) -> Shape:
    """Return the body of a vertebra: a rounded drum with a waist, flattened where the canal runs behind it."""
    wide, deep, height = (np.float32(value) for value in size)

    def depth(points: Points) -> Field:
        u, v, w = local(points, center, turn)
        waist = 1 - np.float32(0.09) * np.maximum(1 - (w / height) ** 2, 0)
        k = np.sqrt((u / (wide * waist)) ** 2 + (v / (deep * waist)) ** 2) + np.float32(1e-5)
        side = (1 - k) * np.float32((size[0] + size[1]) / 2)
        side = np.minimum(side, v + deep * np.float32(0.86))
        result: Field = np.minimum(side, height - np.abs(w) - np.float32(0.8) * np.maximum(k - np.float32(0.75), 0) * 4)
        return result

    reach = np.array([size[0], size[1] + 3, size[2] + 5])
    return Shape(depth, center - reach, center + reach)


def _arch(wide: float, deep: float, height: float, lumbar: float) -> list[Vectors]:
    """Return pedicles, laminae and processes as paths with radii, about the middle of the body."""
    back = -deep - CANAL
    thick = 4.2 + 1.5 * lumbar
    paths = []
    for side in (-1.0, 1.0):
        knob = 14.0 + 2.0 * lumbar
        reach, rise = (42.0, 2.0) if lumbar > 0.5 else (30.0, 8.0)
        paths += [
            np.array([(side * 0.62 * wide, -deep + 5, 0.35 * height, thick + 0.9), (side * knob, back - 2, 0.3 * height, thick + 0.6)]),
            np.array([(side * knob, back - 2, 0.3 * height, thick), (0.0, back - 12.5, -0.25 * height, thick)]),
            np.array([(side * knob, back - 2, 0.1 * height, thick), (side * 0.35, back - 12.0, -0.75 * height, thick - 0.6)]),
            np.array([(side * knob, back - 3, 0.2 * height, thick), (side * reach, back - 7 + 2 * lumbar, rise, thick - 1.0)]),
            np.array([(side * knob, back - 6, 0.9 * height, thick), (side * knob * 0.95, back - 9, -1.05 * height, thick)]),
        ]
    down, length = 6.0 * lumbar + 22.0 * (1 - lumbar), 30.0 * lumbar + 26.0 * (1 - lumbar)
    for drop in (0.0, 7.0 + 3.0 * lumbar):
        tip = (0.0, back - 12 - length, -0.3 * height - down - 0.4 * drop, 3.4)
        paths.append(np.array([(0.0, back - 11, -0.2 * height - drop, 3.4), tip]))
    return paths


@cache
def _discs() -> Shape:
    z = np.linspace(-126, 262, 60)
    rows = np.array([(0.0, spine_y(h) + 0.5, h, sum(body_size(h)) / 2 - 1.5) for h in z])

    def depth(points: Points) -> Field:
        heights = points.z
        wide = np.interp(heights, z, rows[:, 3] + 3.0).astype(np.float32)
        y = points.y - np.interp(heights, z, rows[:, 1]).astype(np.float32)
        k = np.sqrt((points.x / wide) ** 2 + (y / (wide - 6)) ** 2) + np.float32(1e-5)
        inside: Field = np.minimum((1 - k) * wide, np.minimum(heights + 126, 262 - heights))
        return inside

    return Shape(depth, np.array([-28, spine_y(190.0) - 20, -126.0]), np.array([28, 32.0, 262.0]))


@cache
def _sacrum() -> Shape:
    curve = spline(
        [
            (0, -13, -124, 21),
            (0, -25, -144, 19),
            (0, -38, -163, 15),
            (0, -49, -182, 12.5),
            (0, -54, -203, 9),
            (0, -48, -226, 5),
            (0, -40, -238, 4),
        ]
    )
    parts = [tube(curve, 0.72)]
    for side in (-1, 1):
        wing = [(side * 8, -20, -128, 16), (side * 26, -30, -136, 15), (side * 36, -44, -152, 13), (side * 22, -50, -180, 8)]
        parts.append(tube(spline(wing), 0.9))
        parts.append(tube([(side * 6, -32, -150, 15), (side * 28, -42, -150, 13)], 0.85))
        parts.append(tube([(side * 4, -44, -170, 12), (side * 22, -48, -168, 10)], 0.85))
        parts.append(tube([(side * 16, -40, -128, 4.5), (side * 14, -62, -160, 4.5), (side * 9, -66, -190, 4)]))
    parts.append(tube([(0, -48, -134, 4), (0, -70, -160, 4.5), (0, -70, -190, 4)]))
    parts.append(ellipsoid((0, -20, -124), (24, 17, 12), (22, 0, 0)))
    return union(parts).grown(0.8)
