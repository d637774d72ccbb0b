"""The bowel from esophagus to rectum: tubes with a wall and gas, fluid, food or stool in them."""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib.phantom_body import Body, spine_y
from AtlasSegmentLib.phantom_person import Person, stream
from AtlasSegmentLib.phantom_points import Field, Points, Vectors
from AtlasSegmentLib.phantom_shapes import spline, tube
from AtlasSegmentLib.phantom_tissue import AIR, Paint, Part, Tissues, blend, layered
from AtlasSegmentLib.phantom_vessels import before_spine

GAS = AIR + 15
_STOMACH = (
    (-34, 14, 98, 13),
    (-56, 10, 93, 34),
    (-68, 22, 80, 39),
    (-70, 48, 62, 37),
    (-62, 72, 44, 33),
    (-42, 88, 28, 28),
    (-16, 92, 18, 24),
    (6, 86, 16, 18),
    (22, 78, 18, 12),
    (29, 73, 18, 9),
)
_COLON = (
    (82, 58, -128, 22),
    (86, 54, -112, 29),
    (94, 42, -84, 27),
    (101, 32, -54, 25),
    (101, 36, -26, 24),
    (88, 62, -12, 22),
    (66, 92, -24, 22),
    (34, 106, -42, 21),
    (0, 110, -50, 21),
    (-34, 107, -42, 20),
    (-66, 98, -20, 19),
    (-92, 72, 10, 19),
    (-106, 46, 22, 18),
    (-114, 20, 8, 16),
    (-116, 4, -24, 15),
    (-113, 4, -58, 15),
    (-106, 14, -92, 15),
    (-94, 28, -120, 15),
    (-70, 36, -138, 15),
    (-42, 26, -150, 15.5),
    (-14, 12, -142, 16),
    (16, 2, -146, 16),
    (20, -6, -162, 16),
    (6, -16, -172, 15),
)
_RECTUM = ((6, -16, -172, 15), (0, -28, -184, 17), (0, -33, -200, 18), (0, -28, -218, 16), (0, -22, -234, 11), (0, -24, -254, 9))


class Bowel:
    """The bowel of one person.

    Args:
        person: Decides contrast.
        tissues: Gray values.
        body: Keeps loops inside the wall.
    """

    def __init__(self, person: Person, tissues: Tissues, body: Body) -> None:
        self._tissues, self._body = tissues, body
        self._rng = stream(person.seed, "bowel")
        self._wall = tissues.hu["wall"]

    def esophagus(self) -> list[Part]:
        """Return the esophagus."""
        rows = [(-4, float(spine_y(290.0)) + 24, 290, 7), (*before_spine(-2, 200, 16), 7.5), (*before_spine(-6, 140, 22), 8)]
        rows += [(*before_spine(-14, 112, 30), 8.5), (-28, 16, 100, 9), (-38, 15, 98, 9.5)]
        lumen = 20.0 if self._rng.random() < 0.6 else -300.0
        return [
            Part("esophagus", tube(spline(rows, 8.0)), lambda _p, depth, width: layered(depth, width, ((0.0, self._wall), (5.5, lumen))))
        ]

    def stomach(self) -> list[Part]:
        """Return the stomach: more or less full, gas in front since the person lies on the back."""
        knots = np.array(_STOMACH, float)
        fullness = float(self._rng.uniform(0.72, 1.08))
        knots[1:-3, 3] *= fullness
        knots[1:-2, :3] += self._rng.normal(0, 3.0, (len(knots) - 3, 3))
        rows = spline(knots, 7.0)
        shape = tube(rows).within(self._body.cavity, 3.0)
        level = float(np.quantile(rows[:, 1], self._rng.uniform(0.55, 1.0)) + self._rng.uniform(-8, 18))
        noise, wall = self._tissues.noise, self._wall
        food = float(self._rng.choice([4, 18, 40])), float(self._rng.choice([0, 6, 22]))

        def paint(points: Points, depth: Field, width: float) -> Field:
            gas = np.clip((points.y - np.float32(level)) / width + np.float32(0.5), 0, 1)
            folds = 1.5 * noise(points, 9.0, 4.0)
            content = blend(food[0] + food[1] * noise(points, 5.0), GAS, gas)
            return layered(depth + folds, width, ((0.0, wall), (4.2, content)))

        return [Part("stomach", shape, paint)]

    def duodenum(self) -> list[Part]:
        """Return the duodenum: a C around the head of the pancreas, its last part before aorta and cava."""
        low = [before_spine(x, z, off) for x, z, off in ((34, -50, 22), (10, -52, 33), (-16, -44, 33), (-34, -26, 34))]
        rows: list[tuple[float, ...]] = [(29, 73, 18, 10), (44, 66, 14, 13), (54, 52, 4, 13), (55, 44, -18, 12.5), (52, 42, -38, 12.5)]
        rows += [(*low[0], 12.5), (*low[1], 11.5), (*low[2], 11.5), (*low[3], 11.5), (-42, 70, -14, 11)]
        knots = np.array(rows, float)
        knots[1:, 3] *= self._rng.uniform(0.88, 1.08)
        knots[2:5, :3] += self._rng.normal(0, 2, (3, 3))
        noise, wall = self._tissues.noise, self._wall

        def paint(points: Points, depth: Field, width: float) -> Field:
            content = blend(16 + 10 * noise(points, 5.0), -350.0, np.clip(noise(points, 11.0, 3.0) * 2 - np.float32(2.4), 0, 1))
            return layered(depth, width, ((0.0, wall), (3.0, content)))

        return [Part("duodenum", tube(spline(knots, 6.0), 0.9), paint)]

    def colon(self) -> list[Part]:
        """Return gas, then colon with stool, and the rectum."""
        knots = np.array(_COLON, float)
        droop = float(np.clip(self._rng.normal(0, 16), -20, 30))
        knots[6:11, 2] -= droop * np.sin(np.linspace(0.3, np.pi - 0.3, 5))
        knots[1:-1, :3] += self._rng.normal(0, 2.5, (len(knots) - 2, 3))
        knots[:, 3] *= np.interp(np.arange(len(knots)), (0, 8, 14, len(knots)), self._rng.uniform(0.85, 1.12, 4))
        rows = _haustra(spline(knots, 7.0), self._rng)
        rectum = spline(np.array(_RECTUM, float), 6.0)
        parts = [self._gas(rows[first:last], "colon") for first, last in self._sections(len(rows))]
        parts.append(Part("rectum", tube(rectum), self._stool(0.3)))
        inside = tube(rows).within(self._body.cavity, 1.0)
        parts.append(Part("colon", inside, self._stool(float(self._rng.uniform(0.2, 1.0)))))
        return parts

    def _sections(self, count: int) -> list[tuple[int, int]]:
        """Return stretches of the path that hold gas; more of them in the transverse colon, which lies in front."""
        found, place = [], 3
        while place < count - 9:
            length = int(self._rng.integers(5, 10))
            share = place / count
            if self._rng.random() < (0.75 if 0.28 < share < 0.58 else 0.3):
                found.append((place, min(place + length, count - 3)))
            place += length + int(self._rng.integers(1, 5))
        return found

    def _gas(self, rows: Vectors, label: str) -> Part:
        inner = rows.copy()
        inner[:, 3] -= 2.2
        level = float(rows[:, 1].mean() + self._rng.uniform(-0.6, 0.3) * rows[:, 3].mean())
        shape = tube(inner).within(lambda points: points.y - np.float32(level)).within(self._body.cavity, 3.5)
        return Part(label, shape, lambda _p, _d, _w: GAS)

    def _stool(self, bubbles: float) -> Paint:
        noise, wall = self._tissues.noise, self._wall

        def paint(points: Points, depth: Field, width: float) -> Field:
            mottled = np.clip(noise(points, 3.4, 1.0) + noise(points, 14.0, 8.0) * np.float32(0.7) - np.float32(1.5 - bubbles), 0, 1)
            content = blend(8 + 42 * noise(points, 4.5, 5.0) - 60 * np.maximum(noise(points, 8.0, 11.0), 0), -720.0, mottled)
            return layered(depth, width, ((0.0, wall - 4), (2.2, content)))

        return paint

    def small_bowel(self) -> list[Part]:
        """Return jejunum and ileum: rows of loops from the duodenum to the cecum, with some gas."""
        rng = self._rng
        knots = [(-42, 70, -14, 11.0)]
        turn = float(rng.uniform(0, 2 * np.pi))
        for row, z in enumerate(np.linspace(-24, -146, 6)):
            wide = float(np.interp(z, (-150, -110, -60, -20), (52, 70, 84, 64)))
            across = np.linspace(-wide, wide, 10) * (1 if row % 2 == 0 else -1)
            for x in across[2:] if row == 0 else across:
                turn += 2.3 + rng.normal(0, 0.45)
                y = 71 + 25 * np.sin(turn) - 0.08 * abs(x) + float(np.interp(z, (-150, -100, -20), (-12, 0, 2)))
                knots.append((x + rng.normal(0, 4), y, z + 10 * np.cos(turn), 11.0 + rng.normal(0, 1.3)))
        knots += [(60, 48, -134, 10), (76, 56, -122, 9)]
        rows = spline(np.array(knots), 8.0)
        rows[:, 3] += 1.1 * np.sin(np.arange(len(rows)) * 0.55 + rng.uniform(0, 6))
        shape = tube(rows).within(self._body.cavity, 1.5)
        noise, wall = self._tissues.noise, self._wall + 8

        def paint(points: Points, depth: Field, width: float) -> Field:
            gas = np.clip(noise(points, 16.0, 6.0) * 3 - np.float32(4.6), 0, 1)
            content = blend(18 + 9 * noise(points, 7.0, 2.0), -600.0, gas)
            return layered(depth, width, ((0.0, wall), (3.2, content)))

        return [Part("intestine", shape, paint)]


def _haustra(rows: Vectors, rng: np.random.Generator) -> Vectors:
    """Return the path of the colon with its bulges, about 3 cm apart."""
    phase = np.cumsum(rng.uniform(0.8, 1.2, len(rows))) * (2 * np.pi * 7.0 / 30.0)
    shaped = rows.copy()
    shaped[:, 3] *= 1 + 0.10 * np.sin(phase)
    return shaped
