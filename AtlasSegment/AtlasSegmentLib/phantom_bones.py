"""Ribs, cartilages, sternum, hips and femora."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.phantom_body import CENTERS, cavity_at, spine_y
from AtlasSegmentLib.phantom_person import Person, stream
from AtlasSegmentLib.phantom_points import Vectors
from AtlasSegmentLib.phantom_shapes import Shape, ellipsoid, mirrored, spline, tube, tubes, union
from AtlasSegmentLib.phantom_spine import body_size
from AtlasSegmentLib.phantom_tissue import Part, Tissues, constant

SIDES = ((1, "right"), (-1, "left"))
_CAGE = 6.5  # mm from the inner wall to the middle of a rib
# rib: degrees from the back where bone ends, how deep its end hangs below its vertebra
RIBS = {4: (150, 62), 5: (150, 82), 6: (147, 100), 7: (143, 116), 8: (134, 130), 9: (121, 122), 10: (106, 104), 11: (70, 86), 12: (47, 50)}


def bone_parts(person: Person, tissues: Tissues) -> list[Part]:
    """Return the parts of thorax and pelvis, front to back."""
    rng = stream(person.seed, "bones")
    parts = []
    for side, name in SIDES:
        joint = np.array([93.0 * side, 7.0, -214.0]) + rng.normal(0, 1.5, 3)
        parts.append(Part(f"femur_{name}", _femur(joint, side), tissues.bone(2.2, 800.0, 11.0 * side, 1.1)))
        # the socket holds the head of the femur and is open below and to the side
        socket = ellipsoid(joint, (27, 27, 27)) | ellipsoid(np.add(joint, (22.0 * side, 8, -24)), (30, 30, 30))
        parts.append(Part(f"hip_{name}", _hip(joint, side).minus(socket), tissues.bone(2.4, 700.0, 23.0 * side, 0.8)))
    parts.append(Part("sternum", _sternum(), tissues.bone(1.2, 420.0, 7.7, 0.7)))
    for side, name in SIDES:
        for number in RIBS:
            parts.append(Part(f"rib_{name}_{number}", tube(_rib(number, side)), tissues.bone(1.3, 640.0, number + 0.5 * side, 0.8)))
    parts.append(Part("costal_cartilages", _cartilages(), constant(112.0 + 0.5 * (person.age - 40))))
    return parts


def on_cage(side: int, degrees: float, z: float, off: float = _CAGE) -> Vectors:
    """Return the point of the rib cage at an angle from the spine and a height."""
    a, b, c = cavity_at(z)
    angle = np.deg2rad(degrees)
    sine, cosine = np.sin(angle), np.cos(angle)
    x, y = abs(sine) ** 0.8 * (a + off), np.copysign(abs(cosine) ** 0.8, -cosine) * (b + off)
    return np.array([side * x, c + y, z])


@cache
def _rib(number: int, side: int) -> Vectors:
    end, drop = RIBS[number]
    z = float(CENTERS[14 - (number - 3)] if number >= 4 else 0) + 5
    wide, deep = body_size(z)
    y = float(spine_y(z))
    path = [np.array([side * (wide + 1.5), y - deep + 2, z]), np.array([side * (wide + 16), y - deep - 11, z + 1])]
    for degrees in np.arange(24, end + 0.1, (end - 24) / max(3, int(end - 24) // 12)):
        share = (1 - np.cos(np.deg2rad(degrees * 180 / max(end + 25, 150)))) / 2
        last = (1 - np.cos(np.deg2rad(end * 180 / max(end + 25, 150)))) / 2
        path.append(on_cage(side, degrees, z - drop * share / last))
    points = np.array(path)
    return spline(np.c_[points, np.full(len(points), 4.9 if number < 11 else 4.4)])


@cache
def _cartilages() -> Shape:
    paths = []
    for side, _ in SIDES:
        ends = {number: _rib(number, side)[-1, :3] for number in RIBS if number <= 10}
        for number in (4, 5, 6, 7):
            z = {4: 190.0, 5: 165.0, 6: 140.0, 7: 122.0}[number]
            paths.append(_bent(side, ends[number], on_cage(side, 176, z, 7.0), 5.2))
        for number in (8, 9, 10):
            above = _rib(number - 1, side)[-1, :3]
            paths.append(_bent(side, ends[number], above, 4.8))
    return tubes(paths)


def _bent(side: int, start: Vectors, end: Vectors, radius: float) -> Vectors:
    """Return a path over the cage from one point to another."""
    rows = []
    for share in np.linspace(0, 1, 6):
        x, y, z = start + share * (end - start)
        a, b, c = cavity_at(z)
        u, v = abs(x) / (a + _CAGE), (y - c) / (b + _CAGE)
        grow = float((u**2.5 + abs(v) ** 2.5) ** -0.4)
        rows.append((side * abs(x) * grow, c + (y - c) * grow, z, radius))
    return spline(rows)


@cache
def _sternum() -> Shape:
    rows = []
    for z in np.linspace(112, 262, 8):
        _, b, c = cavity_at(z)
        rows.append((0.0, c + b + 7.5, z, 17.0 if z > 125 else 8.0))
    return tube(rows, 0.4)


def _hip(joint: Vectors, side: int) -> Shape:
    crest = mirrored([(44, -66, -118), (72, -58, -88), (100, -30, -76), (122, 8, -84), (130, 36, -106), (124, 54, -128)], side)
    root = mirrored([(46, -56, -140), (58, -42, -152), (72, -22, -166), (86, -2, -178), (98, 16, -184), (110, 34, -172)], side)
    radii = np.array([9.0, 7.5, 6.5, 6.5, 7.0, 7.5])
    upper, lower = spline(np.c_[crest, radii], 7.0), spline(np.c_[root, radii + 0.5], 7.0)
    count = 32
    pick = np.linspace(0, 1, count)
    wing = [_rung(_at(upper, place), _at(lower, place)) for place in pick]
    x, y, z = joint
    bars: list[list[tuple[float, ...]]] = [
        [(*_on(root[3], side), 12), (x - side * 2, y - 4, z + 24, 17)],
        [
            (x - side * 22, y - 6, z + 12, 11),
            (x - side * 20, y - 22, z - 16, 12),
            (x - side * 24, y - 40, z - 40, 14),
            (x - side * 34, y - 30, z - 56, 9),
        ],
        [(x - side * 18, y + 18, z + 8, 11), (side * 46, 58, -216, 8.5), (side * 13, 66, -228, 10), (side * 12, 58, -242, 8.5)],
        [(side * 12, 56, -240, 6), (x - side * 34, y - 26, z - 58, 6)],
    ]
    return union([tubes([upper, *wing, *(spline(bar) for bar in bars)]), ellipsoid(joint - (side * 4, 0, -4), (34, 33, 34))])


def _on(point: npt.ArrayLike, side: int) -> tuple[float, float, float]:
    x, y, z = np.asarray(point, float)
    return side * abs(x), y, z


def _at(path: Vectors, share: float) -> Vectors:
    place = share * (len(path) - 1)
    first = min(int(place), len(path) - 2)
    result: Vectors = path[first] + (place - first) * (path[first + 1] - path[first])
    return result


def _rung(top: Vectors, bottom: Vectors) -> Vectors:
    """Return a bar of the wing: thin in its middle, as the wing is."""
    middle = (top + bottom) / 2
    middle[3] = 5.0
    return np.array([top, middle, bottom])


def _femur(joint: Vectors, side: int) -> Shape:
    x, y, z = joint
    neck = tube(
        spline([(x, y, z, 15), (x + side * 24, y - 8, z - 18, 14), (x + side * 40, y - 10, z - 28, 17), (x + side * 38, y - 6, z - 70, 15)])
    )
    trochanter = tube([(x + side * 42, y - 14, z - 12, 12), (x + side * 44, y - 10, z - 36, 14)])
    return union([ellipsoid(joint, (24, 24, 24)), neck, trochanter])
