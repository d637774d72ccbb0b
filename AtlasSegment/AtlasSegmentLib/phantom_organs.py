"""Solid organs: liver, spleen, kidneys, pancreas, adrenal glands, gall bladder, heart, bladder, prostate or uterus."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.phantom_body import Body
from AtlasSegmentLib.phantom_person import Person, stream
from AtlasSegmentLib.phantom_points import Field, Points, Vectors
from AtlasSegmentLib.phantom_shapes import Shape, ellipsoid, mirrored, spline, tube, union
from AtlasSegmentLib.phantom_tissue import FAT, Paint, Part, Tissues, blend, constant, layered, share

URINE, BILE = 6.0, 10.0


class Organs:
    """The solid organs of one person.

    Args:
        person: Decides sizes and contrast.
        tissues: Gray values.
        body: Outlines that cut organs off.
    """

    def __init__(self, person: Person, tissues: Tissues, body: Body) -> None:
        self._person, self._tissues, self._body = person, tissues, body
        self._rng = stream(person.seed, "organs")
        self._stones = stream(person.seed, "stones")  # their own, so that the same person can be had with and without
        self._share = person.volume()

    def _size(self, milliliters: float, spread: float, nominal: float, limits: tuple[float, float]) -> float:
        """Return by how much to grow a shape of `nominal` ml (in the reference adult) so that the person's has its drawn volume."""
        grown = milliliters * float(np.exp(self._rng.normal(0, spread))) * self._share**0.6
        return float((np.clip(grown, *limits) / (nominal * self._share)) ** (1 / 3))

    def _jitter(self, center: npt.ArrayLike, spread: float = 3.0) -> Vectors:
        return np.asarray(center, float) + self._rng.normal(0, spread, 3)

    def _texture(self, shape: Shape, amount: float, scale: float, shift: float) -> Shape:
        """Return a shape whose surface goes up and down."""
        noise = self._tissues.noise
        return Shape(lambda p: shape.depth(p) + np.float32(amount) * noise(p, scale, shift), shape.low - amount, shape.high + amount)

    def liver(self) -> Shape:
        """Return the liver: it fills the right dome and hangs over stomach and kidney."""
        size = self._size(1520, 0.16, 1720, (980, 2250))
        hilum = np.array([24.0, 35.0, 44.0])
        shapes = [
            ellipsoid(_about(hilum, (72, 20, 50), size), np.array([74, 84, 84]) * size, (0, 0, -8)),
            ellipsoid(_about(hilum, (2, 62, 74), size), np.array([72, 46, 40]) * size, (0, 24, 0)),
            ellipsoid(_about(hilum, (104, 22, 2), size), np.array([30, 46, 52]) * size, (0, 6, 0)),
        ]
        below = ellipsoid((2, 22, -44), np.array([84, 88, 82]), (0, 0, 0))
        whole = union(shapes).minus(below)
        roof = self._body.diaphragm
        inside = whole.within(self._body.chest, 3.5).within(lambda p: -roof(p), 2.5)
        return self._texture(inside, 1.2, 34.0, 3.0)

    def spleen(self) -> Shape:
        """Return the spleen: a bowl between diaphragm, stomach and left kidney."""
        size = self._size(215, 0.36, 182, (85, 430))
        center = self._jitter((-108, -14, 54), 2.5)
        bowl = ellipsoid(center, np.array([36, 52, 50]) * size, (28, 0, 12))
        hollow = ellipsoid(center + np.array([54, 38, -4]), np.array([46, 48, 56]), (20, 0, 0))
        roof = self._body.diaphragm
        return bowl.minus(hollow).within(self._body.chest, 3.5).within(lambda p: -roof(p), 2.5)

    def kidneys(self) -> dict[str, tuple[Shape, Shape]]:
        """Return (kidney, its sinus) by side."""
        found = {}
        both = self._size(165, 0.15, 150, (105, 245))
        for side, name, center in ((1, "right", (71, -6, -4)), (-1, "left", (-73, -8, 9))):
            size = both * float(self._rng.normal(1, 0.018))
            middle = self._jitter(center, 2.5)
            turn = (-12, 10 * side, -38 * side)
            bean = ellipsoid(middle, np.array([28.5, 25, 54]) * size, turn)
            medial = np.array([-15.0 * side, 13.0, 0.0]) * size
            sinus = ellipsoid(middle + medial, np.array([15, 8, 25]) * size, turn)
            notch = ellipsoid(middle + medial * 1.7, np.array([14, 11, 17]) * size, turn)
            found[name] = (self._texture(bean.minus(notch), 0.9, 16.0, 5.0 * side), sinus)
        return found

    def kidney_paint(self) -> Paint:
        """Return the paint of a kidney: cortex around pyramids."""
        cortex, medulla = self._tissues.hu["cortex"], self._tissues.hu["medulla"]
        noise = self._tissues.noise

        def paint(points: Points, depth: Field, width: float) -> Field:
            pyramids = np.clip(noise(points, 9.0, 1.5) * np.float32(2.0) + np.float32(0.8), 0, 1) * share(
                depth - np.float32(6.5), width + 2
            )
            return blend(cortex + 3 * noise(points, 6.0), medulla, pyramids)

        return paint

    def sinus_parts(self, name: str, sinus: Shape) -> list[Part]:
        """Return what lies in a kidney's sinus: stones, pelvis and fat; none of it is labeled."""
        center = (sinus.low + sinus.high) / 2
        parts = []
        if name == "left" or self._person.kidney_stones > 2:
            for number in range(self._person.kidney_stones):
                place = center + self._stones.normal(0, 1, 3) * (2.0, 2.0, 9.0)
                stone = ellipsoid(place, np.full(3, self._stones.uniform(1.8, 4.5)))
                parts.append(Part("", stone, constant(520.0 + 160.0 * number)))
        pelvis = ellipsoid(center, np.array([7.5, 5.5, 12.0]))
        filled = {"none": URINE, "arterial": URINE, "venous": 20.0}[self._person.phase]
        parts.append(Part("", pelvis, constant(filled)))
        parts.append(Part("", sinus, constant(FAT + 25)))
        return parts

    def pancreas(self) -> Shape:
        """Return the pancreas: head in the bend of the duodenum, body over aorta and spine, tail at the spleen."""
        size = self._size(80, 0.17, 69, (50, 122))
        knots = np.array(
            [
                (31, 47, -22, 11.5),
                (34, 50, -8, 15),
                (28, 53, 6, 13.5),
                (10, 61, 15, 9.5),
                (-10, 63, 22, 10.5),
                (-36, 47, 31, 11.5),
                (-62, 22, 40, 11.0),
                (-84, 4, 46, 8.0),
            ],
            float,
        )
        knots[:, :3] += self._rng.normal(0, 2.0, (len(knots), 3))
        knots[:, 3] *= 1.2 * size**1.35
        return self._texture(tube(spline(knots), 0.88), 1.7, 7.5, 2.0)

    def pancreas_paint(self) -> Paint:
        """Return the paint of the pancreas: lobules with fat between them, more of it in the old."""
        mean, noise = self._tissues.hu["pancreas"], self._tissues.noise
        fat = float(np.interp(self._person.age, (30, 88), (0.0, 0.35)))
        return lambda points, _depth, _width: blend(
            mean + 3 * noise(points, 7.0), FAT, np.clip(noise(points, 4.0, 6.0) - 1.1 + fat, 0, 0.6)
        )

    def spleen_paint(self) -> Paint:
        """Return the paint of the spleen: mottled in the arterial phase."""
        mean, mottled, noise = self._tissues.hu["spleen"], self._tissues.mottled, self._tissues.noise
        return lambda points, _depth, _width: np.float32(mean) + (2.5 + mottled) * noise(points, 11.0, 5.0)

    def adrenals(self) -> dict[str, Shape]:
        """Return the adrenal glands by side: each a thin inverted Y."""
        found = {}
        for side, name, top in ((1, "right", (30, 4, 56)), (-1, "left", (-36, 12, 52))):
            place = self._jitter(top, 1.5)
            limbs = [(side * 4, -17, -21), (side * 17, -12, -18)]
            fork = place + np.array([side * 3, -5, -6])
            ridge = tube([(*place, 4.8), (*fork, 5.2)])
            found[name] = union([ridge, *(tube([(*fork, 4.9), (*(place + limb), 4.3)]) for limb in limbs)])
        return found

    def gall_bladder(self) -> tuple[Shape, list[Part]]:
        """Return the gall bladder and its stones."""
        size = self._size(32, 0.4, 25, (13, 60))
        neck = self._jitter((44, 50, 32), 1.5)
        along = np.array([24.0, 30.0, -26.0]) * size
        rows = [(*(neck + share_ * along), radius * size) for share_, radius in ((0, 4.5), (0.35, 10), (0.75, 14.5), (1.0, 12.5))]
        shape = tube(spline(rows))
        stones = []
        for _ in range(self._person.gallstones):
            radius = self._stones.uniform(2.5, 5.5)
            place = neck + along * self._stones.uniform(0.55, 0.95) + (self._stones.normal(0, 3), -12.5 * size + radius + 1.5, 0)
            hu = float(self._stones.uniform(90, 320))
            stones.append(Part("gall_bladder", ellipsoid(place, np.full(3, radius)), constant(hu)))
        return shape, stones

    def bile_paint(self) -> Paint:
        """Return the paint of the gall bladder: a thin wall around bile."""
        wall = self._tissues.hu["wall"]
        return lambda _points, depth, width: layered(depth, width, ((0.0, wall), (1.6, BILE)))

    def heart(self) -> tuple[Shape, Paint]:
        """Return the heart on the diaphragm, and its paint: muscle around blood."""
        size = self._size(640, 0.12, 595, (440, 900))
        base, roof = np.array([-20.0, 40.0, 140.0]), self._body.diaphragm

        def at(place: npt.ArrayLike, radii: npt.ArrayLike, turn: npt.ArrayLike | None = None) -> Shape:
            return ellipsoid(_about(base, place, size), np.asarray(radii, float) * size, turn)

        lying = (0, -24, 30)
        outer = [
            at((-30, 46, 136), (60, 46, 42), lying),
            at((6, 24, 168), (42, 36, 38)),
        ]
        left = [
            at((-46, 46, 134), (38, 22, 22), lying),
            at((-4, 4, 172), (30, 18, 20)),
        ]
        right = [
            at((-14, 66, 128), (38, 17, 24), lying),
            at((30, 30, 158), (20, 22, 26)),
        ]
        whole = union(outer).within(roof, 0.5).within(self._body.chest, 6.0)
        hu, noise, chambers = self._tissues.hu, self._tissues.noise, (union(left), union(right))

        def paint(points: Points, _depth: Field, width: float) -> Field:
            value = blend(hu["myocardium"], hu["heart"], share(chambers[0].depth(points), width))
            value = blend(value, hu["heart right"], share(chambers[1].depth(points), width))
            return value + 3 * noise(points, 12.0)

        return whole, paint

    def bladder(self) -> tuple[Shape, Paint]:
        """Return the bladder and its paint: wall, urine."""
        size = self._size(210, 0.5, 262, (60, 520))
        low = np.array([0.0, 26.0, -236.0])
        shape = ellipsoid(
            _about(low, (self._rng.normal(0, 2), 26 if self._person.is_male else 32, -202), size), np.array([44, 38, 37]) * size, (12, 0, 0)
        )
        wall = self._tissues.hu["wall"]
        return shape, lambda _points, depth, width: layered(depth, width, ((0.0, wall), (2.8, URINE)))

    def genitals(self) -> list[Part]:
        """Return the prostate or the uterus."""
        if self._person.is_male:
            size = 0.9 + 0.25 * self._rng.random() + max(0.0, self._person.age - 50) * 0.004
            return [Part("prostate", ellipsoid((0, 6, -240), np.array([22, 16, 15]) * size), self._tissues.plain("prostate"))]
        size = float(np.interp(self._person.age, (20, 48, 60, 88), (1.0, 1.05, 0.75, 0.65))) * self._rng.uniform(0.9, 1.1)
        knots = np.array([(0, 0, -228, 11), (1, 2, -206, 14), (self._rng.normal(0, 6), 12, -176, 23), (2, 26, -158, 15)], float)
        knots[:, 3] *= size
        return [Part("uterus", tube(spline(knots)), self._tissues.plain("uterus", 5.0, 14.0))]


def _about(fixed: npt.ArrayLike, place: npt.ArrayLike, size: float) -> Vectors:
    """Return a place scaled about a point that stays."""
    start = np.asarray(fixed, float)
    result: Vectors = start + (np.asarray(place, float) - start) * size
    return result


def mirrored_path(knots: npt.ArrayLike, side: int, step: float = 8.0) -> Vectors:
    """Return a smooth path on a side from knots given for the right."""
    return spline(mirrored(knots, side), step)
