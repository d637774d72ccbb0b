"""Muscles with a label, the lungs, and what lies around all organs: the wall, fat, skin."""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib.phantom_body import Body, spine_field, spine_y
from AtlasSegmentLib.phantom_person import Person, stream
from AtlasSegmentLib.phantom_points import Field, Points
from AtlasSegmentLib.phantom_shapes import Shape, ellipsoid, mirrored, spline, tube, tubes
from AtlasSegmentLib.phantom_tissue import AIR, FAT, Paint, Part, Tissues, blend, constant, layered

_EVERYWHERE = np.array([1e4, 1e4, 1e4])
MUSCLES = ("iliopsoas", "autochthon", "gluteus_minimus", "gluteus_medius", "gluteus_maximus")
_SIDES = ((1, "right"), (-1, "left"))


def muscle_parts(person: Person, tissues: Tissues, body: Body) -> list[Part]:
    """Return the muscles beside the spine and about the hips."""
    rng = stream(person.seed, "muscles")
    strong = float(np.clip(1.0 - 0.004 * (person.age - 45) + 0.06 * (person.is_male - 0.5), 0.78, 1.12) * rng.normal(1, 0.04))
    paint = _streaked(person, tissues)
    parts = []
    for side, name in _SIDES:
        psoas = [(23, 2, 22, 7), (27, 8, -10, 13), (36, 12, -46, 18), (47, 12, -90, 20), (56, 14, -130, 19), (66, 30, -170, 16)]
        psoas += [(78, 38, -205, 15), (96, 8, -250, 12)]
        iliacus = [(90, 4, -104, 10), (84, 10, -132, 17), (80, 22, -166, 16), (84, 34, -200, 12)]
        paths = [mirrored(rows, side) * (1, 1, 1, strong) for rows in (psoas, iliacus)]
        parts.append(Part(f"iliopsoas_{name}", tubes([spline(path, 9.0) for path in paths]), paint))
        erector = _beside_spine(side, strong).within(body.lean, 4.0)
        parts += [Part(f"autochthon_{name}", erector, paint), Part("", erector.grown(1.4), constant(FAT + 25))]
        for muscle, center, radii, turn in (
            ("gluteus_minimus", (113, 16, -174), (17, 35, 50), (0, -14, 0)),
            ("gluteus_medius", (122, 4, -150), (29, 50, 66), (0, -16, 0)),
            ("gluteus_maximus", (84, -62, -192), (68, 38, 66), (0, 0, 24)),
        ):
            turned = (turn[0], turn[1] * side, turn[2] * side)
            shape = ellipsoid(np.multiply(center, (side, 1, 1)), np.array(radii) * strong, turned)
            cut = shape.within(body.lean, 1.0)
            parts += [Part(f"{muscle}_{name}", cut, paint), Part("", cut.grown(2.2), constant(FAT + 15))]
    return parts


def _beside_spine(side: int, strong: float) -> Shape:
    """Return the erector of the spine on a side: between spinous process, laminae and back."""
    rows = []
    for z in np.linspace(-175, 270, 36):
        wide = float(np.interp(z, (-175, -110, -40, 60, 150, 270), (12, 24, 33, 32, 24, 20))) * strong
        back = float(np.interp(z, (-175, -110, -40, 60, 150, 270), (34, 46, 50, 44, 36, 32)))
        rows.append((side * (wide + 4.5), float(spine_y(z)) - back, z, wide))
    return tube(np.array(rows), 0.72)


def _streaked(person: Person, tissues: Tissues) -> Paint:
    """Return the paint of muscle: more fat between its fibers in older people."""
    amount = float(np.interp(person.age, (20, 88), (0.04, 0.3)))
    mean, noise = tissues.hu["muscle"], tissues.noise

    def paint(points: Points, _depth: Field, _width: float) -> Field:
        grain = noise(points, 5.0, 9.0)
        return blend(mean - 3 * grain, FAT, np.clip(grain * np.float32(0.28) - np.float32(0.38 - amount), 0, 0.45))

    return paint


def lung_parts(person: Person, tissues: Tissues, body: Body, middle: tuple[Shape, Shape, Shape]) -> list[Part]:
    """Return the airways, the great vessels and the lungs: what the rib cage holds above the diaphragm beside the mediastinum.

    Args:
        person: Decides the branches.
        tissues: Gray values.
        body: Outlines.
        middle: What lies between the lungs, the great arteries and the great veins above the heart.
    """
    rng = stream(person.seed, "lungs")
    parts = [*_airways(), Part("", middle[1], tissues.plain("heart")), Part("", middle[2], tissues.plain("heart right"))]
    upper = tube(spline([(-4, 28, 150, 20), (-2, 22, 185, 27), (0, 14, 225, 30), (0, 4, 300, 30)], 10.0))
    for side, name in _SIDES:
        shape = _lung(side, body).minus(upper).minus(middle[0], 4.0)
        parts.append(Part(f"lung_{name}", shape, _lung_paint(side, tissues, rng), windowed=True))
    return parts


def _airways() -> list[Part]:
    """Return trachea and main bronchi."""
    trachea, right, left = [(2, -2, 300, 9), (1, -6, 226, 8.5)], [(1, -6, 226, 8), (30, -4, 196, 6)], [(1, -6, 226, 8), (-36, -6, 194, 5.5)]
    paths = [spline(rows, 12.0) for rows in (trachea, right, left)]
    return [Part("", tubes(paths), lambda _p, _d, _w: AIR), Part("", tubes(paths).grown(1.5), lambda _p, _d, _w: 30.0)]


def _lung(side: int, body: Body) -> Shape:
    def depth(points: Points) -> Field:
        inside = body.chest(points) - np.float32(1.5)
        above = (body.diaphragm(points) - np.float32(1.5)) * np.float32(0.8)
        beside = np.float32(side) * points.x - np.float32(9)
        behind = points.y - spine_field(points)
        spine = np.hypot(points.x, behind * np.float32(0.9)) - np.float32(22)
        gutter = (behind + 24 + np.maximum(np.abs(points.x) - 22, 0)) * np.float32(0.7)
        result: Field = np.minimum(np.minimum(inside, above), np.minimum(np.minimum(beside, gutter), spine))
        return result

    low, high = np.array([-150.0, -110, 10]), np.array([150.0, 130, 300])
    low[0], high[0] = (0.0, 150.0) if side > 0 else (-150.0, 0.0)
    return Shape(depth, low, high)


def _lung_paint(side: int, tissues: Tissues, rng: np.random.Generator) -> Paint:
    hilum = np.array([side * 32.0, 6.0, 175.0])
    paths = []
    for _ in range(42):
        goal = np.array([side * rng.uniform(30, 125), rng.uniform(-75, 95), rng.uniform(60, 270)])
        middle = hilum + 0.45 * (goal - hilum) + rng.normal(0, 8, 3)
        paths.append(spline([(*hilum, 4.5), (*middle, 2.2), (*goal, 0.7)], 14.0))
    vessels, mean, noise = tubes(paths), -850.0 + float(rng.normal(0, 20)), tissues.noise

    def paint(points: Points, _depth: Field, width: float) -> Field:
        dense = np.clip((-points.y + np.float32(40)) * np.float32(0.8), 0, 110)
        air = mean + dense + 34 * noise(points, 5.0)
        return blend(air, 45.0, np.clip((vessels.depth(points) + np.float32(width / 2)) / width, 0, 1))

    return paint


def wall_parts(person: Person, tissues: Tissues, body: Body) -> list[Part]:
    """Return what fills the rest: muscles of the wall, fat inside and outside them, skin."""
    noise = tissues.noise

    def wall(points: Points) -> Field:
        return np.minimum(body.lean(points), -body.cavity(points))

    def fat(points: Points, depth: Field, _width: float) -> Field:
        grain = noise(points, 5.0, 2.2)
        result: Field = FAT + 3 * grain + 38 * np.clip(grain - np.float32(1.5), 0, 1) * np.clip(depth * np.float32(0.1), 0, 1)
        return result

    def outside(points: Points, depth: Field, width: float) -> Field:
        return layered(depth, width, ((0.0, 8.0), (2.0, fat(points, depth, width))))

    whole = [
        (wall, _wall_paint(person, tissues, body)),
        (body.cavity, fat),
        (body.skin, outside),
    ]
    return [Part("", Shape(depth, -_EVERYWHERE, _EVERYWHERE), paint, everywhere=True) for depth, paint in whole]


def _wall_paint(person: Person, tissues: Tissues, body: Body) -> Paint:
    """Return the paint of the wall: layers of muscle with fat between them, a white line in front, more fat about the hips."""
    muscle = _streaked(person, tissues)

    def paint(points: Points, depth: Field, width: float) -> Field:
        value = np.asarray(muscle(points, depth, width), np.float32)
        outer, inner = body.lean(points), -body.cavity(points)
        share = outer / np.maximum(outer + inner, 1)
        between = np.maximum(np.exp(-(((share - 0.36) / 0.07) ** 2)), np.exp(-(((share - 0.7) / 0.06) ** 2)))
        flank = np.clip((np.abs(points.x) - 60) / 15, 0, 1) * np.clip((80 - points.z) / 30, 0, 1)
        front = np.clip(1 - np.abs(np.abs(points.x) - np.float32(66)) / 7, 0, 1) * np.clip((points.y - 60) / 10, 0, 1)
        deep = np.clip((outer + inner - 34) / 25, 0, 1) * np.clip(0.9 * tissues.noise(points, 26.0, 4.0) - 0.1, 0, 0.9)
        loin = np.clip((outer - 14) / 6, 0, 1) * np.clip((np.abs(points.x) - 66) / 10, 0, 1)
        loin = loin * np.clip((points.z + 110) / 20, 0, 1) * np.clip(-points.y / 10, 0, 0.9) * np.clip((70 - points.z) / 20, 0, 1)
        return blend(value, FAT + 8, np.clip(between * flank * np.float32(0.6) + front + deep + loin, 0, 1))

    return paint
