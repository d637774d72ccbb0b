"""Vessels: aorta, iliac arteries and veins, inferior vena cava, portal and splenic vein, and the smaller ones without a label."""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib.phantom_body import spine_y
from AtlasSegmentLib.phantom_person import Person, stream
from AtlasSegmentLib.phantom_points import Field, Points, Vectors
from AtlasSegmentLib.phantom_shapes import Shape, mirrored, spline, tube, tubes
from AtlasSegmentLib.phantom_spine import body_size
from AtlasSegmentLib.phantom_tissue import Paint, Part, Tissues, layered

_DIVIDE, _JOIN = -72.0, -84.0  # where the aorta divides and the cava begins
HILUM = np.array([27.0, 38.0, 46.0])
"""Where the portal vein enters the liver."""


def before_spine(x: float, z: float, off: float) -> tuple[float, float, float]:
    """Return the point `off` mm before the vertebral body at a height."""
    return x, float(spine_y(z)) + body_size(z)[1] + off, z


class Vessels:
    """The vessels of one person.

    Args:
        person: Age and sex decide how wide the aorta is and how much chalk it holds.
        tissues: Gray values.
    """

    def __init__(self, person: Person, tissues: Tissues) -> None:
        rng = stream(person.seed, "vessels")
        self._person, self._tissues, self._rng = person, tissues, rng
        self.caliber = (10.1 + 0.032 * (person.age - 50)) * (1.0 if person.is_male else 0.9) * float(rng.normal(1, 0.05))
        self._sway = rng.normal(0, 2.0, 2)
        self._flat = float(np.clip(rng.normal(0.8, 0.1), 0.6, 1.0))

    def aorta(self) -> Shape:
        """Return the aorta from the arch down to where it divides."""
        r = self.caliber
        rows = [
            (-21, float(spine_y(290.0)) + 10, 290, 1.25 * r),
            (-23, float(spine_y(220.0)) + 10, 220, 1.25 * r),
            (-22, float(spine_y(160.0)) + 14, 160, 1.2 * r),
            (*before_spine(-14, 110, 0.75 * r), 1.15 * r),
            (*before_spine(-9, 66, r + 1.5), 1.1 * r),
            (*before_spine(-9 + self._sway[0], 10, r + 1.5), r),
            (*before_spine(-7 + self._sway[1], -40, r + 1.5), 0.92 * r),
            (*before_spine(-4, _DIVIDE, 0.85 * r + 1.5), 0.86 * r),
        ]
        return tube(spline(rows, 8.0))

    def aorta_paint(self) -> Paint:
        """Return the paint of the aorta: blood, and chalk in the wall of the old."""
        blood, noise = self._tissues.hu["aorta"], self._tissues.noise
        limit = float(np.interp(self._person.age, (45, 90), (3.6, 1.35)))

        def paint(points: Points, depth: Field, width: float) -> Field:
            chalk = np.clip((noise(points, 7.0, 4.4) - np.float32(limit)) * 3, 0, 1) * np.clip(1.5 - np.abs(depth - 1) / 2, 0, 1)
            result: Field = layered(depth, width, ((0.0, blood - 4), (1.5, blood + 2 * noise(points, 6.0)))) + chalk * np.float32(600)
            return result

        return paint

    def iliac(self, side: int) -> tuple[Shape, Shape]:
        """Return the iliac (artery, vein) of a side."""
        r = self.caliber
        start = before_spine(-4, _DIVIDE + 2, 0.85 * r + 1.5)
        artery = [(-4 + side * 3, start[1], start[2], 0.62 * r)]
        artery += [(*p[:3], p[3] * r) for p in mirrored([(19, 34, -98, 0.6), (40, 14, -132, 0.55), (50, 22, -162, 0.52)], side)]
        artery += [
            (*p[:3], p[3] * r) for p in mirrored([(54, 40, -182, 0.5), (60, 61, -201, 0.5), (66, 76, -226, 0.5), (70, 82, -247, 0.5)], side)
        ]
        low = before_spine(16, _JOIN + 2, 8.0)
        vein = [(16 + side * 2, low[1], low[2], 7.8)]
        vein += list(
            mirrored(
                [
                    (25 if side < 0 else 30, 19, -108, 7.2),
                    (42, 2, -138, 6.8),
                    (46, 10, -164, 6.4),
                    (48, 30, -180, 6.4),
                    (50, 60, -198, 6.4),
                    (54, 74, -222, 6.4),
                    (60, 80, -247, 6.4),
                ],
                side,
            )
        )
        if side < 0:  # the left vein crosses behind the right artery
            vein.insert(1, (-2, low[1] - 4, -95, 7.2))
        return tube(spline(artery, 8.0)), tube(spline(vein, 8.0))

    def cava(self) -> Shape:
        """Return the inferior vena cava from where the iliac veins join up to the right atrium."""
        rows = [
            (*before_spine(16, _JOIN, 8.0), 9.2),
            (*before_spine(17, -40, 10.5), 10.0),
            (*before_spine(19, 0, 11.0), 10.8),
            (*before_spine(22, 40, 14.0), 11.5),
            (24, 14, 78, 12.0),
            (24, 17, 104, 12.0),
            (22, 20, 132, 12.0),
        ]
        return tube(spline(rows, 8.0), self._flat).grown(0.5)

    def portal(self) -> Shape:
        """Return portal and splenic vein, with the end of the superior mesenteric vein and the first branches in the liver."""
        meeting = (14.0, 50.0, 20.0)
        portal = [(*meeting, 6.8), (20, 45, 32, 6.8), (*HILUM, 6.6), (36, 36, 53, 5.6), (52, 32, 58, 4.6)]
        splenic = [(*meeting, 5.8), (-8, 51, 26, 5.2), (-36, 36, 35, 5.0), (-62, 12, 44, 4.9), (-84, -4, 50, 4.6)]
        mesenteric = [(*meeting, 5.8), (14, 56, 2, 5.6), (12, 64, -24, 5.4)]
        left = [(*HILUM, 5.4), (16, 46, 56, 5.0), (2, 58, 66, 4.4)]
        return tubes([spline(rows, 7.0) for rows in (portal, splenic, mesenteric, left)]).grown(0.3)

    def in_chest(self) -> tuple[Shape, Shape]:
        """Return the great vessels (arteries, veins) above the heart."""
        r = 1.5 * self.caliber
        ascending = [
            (4, 34, 168, r),
            (16, 42, 200, r),
            (14, 30, 232, 0.95 * r),
            (-6, 8, 248, 0.85 * r),
            (-21, -22, 240, 1.25 * self.caliber),
        ]
        lung = [(-14, 56, 172, 13), (-18, 40, 196, 13.5), (-20, 22, 204, 12), (-44, 2, 200, 8)]
        right = [(-16, 28, 203, 11), (10, 14, 198, 10.5), (40, 6, 190, 8)]
        upper = [(28, 20, 165, 9.5), (28, 16, 205, 9.5), (26, 12, 262, 9)]
        return tubes([spline(ascending, 9.0)]), tubes([spline(rows, 9.0) for rows in (lung, right, upper)])

    def small_arteries(self) -> Shape:
        """Return celiac trunk, superior mesenteric and renal arteries."""
        r = self.caliber
        celiac = [(*before_spine(-9, 34, 2 * r), 3.4), (-8, 48, 36, 3.4), (10, 52, 40, 2.6), (24, 44, 48, 2.2)]
        splenic = [(-8, 48, 36, 2.8), (-30, 40, 42, 2.6), (-60, 14, 52, 2.4), (-86, -2, 58, 2.2)]
        mesenteric = [(*before_spine(-9, 14, 2 * r), 3.6), (-6, 56, 2, 3.6), (-2, 70, -30, 3.2), (8, 76, -80, 2.4)]
        right = [(*before_spine(-2, 2, 1.2 * r), 2.8), (20, 12, 0, 2.8), (48, 4, -2, 2.6)]
        left = [(*before_spine(-16, 4, 1.2 * r), 2.8), (-34, 8, 6, 2.8), (-52, 4, 9, 2.6)]
        return tubes([spline(rows, 9.0) for rows in (celiac, splenic, mesenteric, right, left)])

    def small_veins(self) -> Shape:
        """Return renal veins and the branches of the mesentery."""
        r = self.caliber
        right = [(*before_spine(22, 0, 11.0), 5.0), (40, 14, -3, 4.6), (54, 6, -4, 4.2)]
        left = [(*before_spine(14, 6, 13.0), 4.8), (*before_spine(-9, 7, 2 * r + 5), 3.8), (-34, 16, 9, 4.6), (-54, 6, 10, 4.2)]
        paths = [right, left]
        for _ in range(16):
            goal = np.array([self._rng.uniform(-75, 80), self._rng.uniform(62, 108), self._rng.uniform(-135, -15)])
            root = np.array([10.0, 64.0, self._rng.uniform(-55, -5)])
            paths.append([(*root, 3.0), (*(0.5 * (root + goal) + self._rng.normal(0, 6, 3)), 2.2), (*goal, 1.3)])
        return tubes([spline(rows, 9.0) for rows in paths])

    def in_liver(self) -> tuple[Shape, Shape]:
        """Return (portal branches, hepatic veins) inside the liver; they belong to its label."""
        portal = [self._branch(HILUM + np.array([14, -2, 8]), goal, 3.6) for goal in _spread(self._rng, 11, (80, 30, 40), (34, 46, 42))]
        portal += [self._branch(np.array([4.0, 58, 66]), goal, 3.0) for goal in _spread(self._rng, 4, (-25, 74, 78), (28, 18, 14))]
        top = np.array([25.0, 22.0, 98.0])
        goals = [(112, 20, 40), (96, -22, 66), (78, 74, 42), (60, 88, 60), (10, 86, 70), (-25, 80, 82), (64, 60, 30), (100, 44, 10)]
        veins = [self._branch(top, np.array(goal) + self._rng.normal(0, 7, 3), 4.2) for goal in goals]
        return tubes(portal), tubes(veins)

    def _branch(self, start: Vectors, goal: Vectors, radius: float) -> Vectors:
        middle = 0.5 * (start + goal) + self._rng.normal(0, 7, 3)
        return spline([(*start, radius), (*middle, 0.7 * radius), (*goal, 0.9)], 9.0)

    def parts(self) -> list[Part]:
        """Return the vessels with a label, then those without, front to back."""
        plain = self._tissues.plain
        parts = [
            Part("aorta", self.aorta(), self.aorta_paint()),
            Part("portal_vein_and_splenic_vein", self.portal(), plain("portal", 2.0)),
            Part("postcava", self.cava(), plain("cava", 4.0)),
        ]
        for side, name in ((1, "right"), (-1, "left")):
            artery, vein = self.iliac(side)
            parts += [Part(f"iliac_artery_{name}", artery, plain("aorta", 2.0)), Part(f"iliac_vena_{name}", vein, plain("cava", 4.0))]
        order = [parts[0], parts[3], parts[5], parts[1], parts[2], parts[4], parts[6]]
        return [*order, Part("", self.small_arteries(), plain("aorta", 1.0)), Part("", self.small_veins(), plain("portal", 1.0))]


def _spread(rng: np.random.Generator, count: int, center: tuple[float, ...], radii: tuple[float, ...]) -> Vectors:
    """Return points spread evenly about the surface of an ellipsoid."""
    number = np.arange(count) + 0.5
    z, turn = 1 - 2 * number / count, np.pi * (1 + 5**0.5) * number
    flat = np.sqrt(1 - z * z)
    points = np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1)
    spread: Vectors = np.array(center) + points * np.array(radii) + rng.normal(0, 4, (count, 3))
    return spread
