"""Hounsfield units of tissues in each contrast phase, and the paints that give a part of the phantom its gray values.

Means without contrast and in the portal venous phase follow textbook ranges of body CT (soft tissue at 120 kVp); the script
Testing/Benchmarks/phantom_histograms.py sets them beside real CTs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.phantom_person import PHASES, Person, stream
from AtlasSegmentLib.phantom_points import Field, Points
from AtlasSegmentLib.phantom_shapes import Shape

AIR, FAT = -1000.0, -104.0
_LATTICE, _FINE, _COARSE = 128, 4, 9.5
_GAIN = 1.75  # interpolation takes away deviation
_FAR = float(_LATTICE * 64)
Paint = Callable[[Points, Field, float], Field | float]
"""(points, depth in mm, width of a voxel in mm) to HU, float32 or one number."""

# none, arterial, venous
_MEANS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "muscle": (54, 60, 64),
        "liver": (56, 68, 112),
        "spleen": (47, 105, 122),
        "pancreas": (40, 92, 96),
        "cortex": (33, 185, 188),
        "medulla": (29, 62, 172),
        "wall": (40, 62, 84),
        "aorta": (42, 315, 148),
        "portal": (42, 72, 168),
        "cava": (41, 70, 128),
        "hepatic": (40, 62, 158),
        "heart": (42, 290, 152),
        "heart right": (42, 230, 148),
        "myocardium": (46, 100, 112),
        "adrenal": (25, 65, 72),
        "prostate": (38, 62, 82),
        "uterus": (45, 80, 108),
        "marrow": (128, 134, 140),
        "disc": (82, 84, 86),
    }
)
_SPREAD: Mapping[str, float] = MappingProxyType({"aorta": 0.15, "heart": 0.15, "heart right": 0.2, "cortex": 0.1, "medulla": 0.1})


@dataclass(frozen=True)
class Part:
    """One thing to be drawn. Earlier parts lie in front of later ones, so that one voxel never belongs to two.

    Attributes:
        label: Canonical name, or "" for what has none.
        shape: Where it is.
        paint: Its gray values.
        windowed: The paint looks for shapes of its own, and so needs points that lie on a grid.
        everywhere: The part has no label and no box, and its shape looks at one point at a time.
    """

    label: str
    shape: Shape
    paint: Paint
    windowed: bool = False
    everywhere: bool = False


class Tissues:
    """HU of one person's tissues, and the texture that all of them share.

    Args:
        person: Phase, age and fat of the liver decide.
    """

    def __init__(self, person: Person) -> None:
        rng = stream(person.seed, "tissue")
        phase = PHASES.index(person.phase)
        self.hu: dict[str, float] = {}
        for name, means in _MEANS.items():
            taken_up = means[phase] - means[0]
            spread = _SPREAD.get(name, 0.12)
            self.hu[name] = means[0] + float(rng.normal(0, 2.5)) + taken_up * float(np.clip(rng.normal(1, spread), 0.6, 1.4))
        self.hu["liver"] = max(self.hu["liver"] - person.steatosis, 0.0)
        self.hu["marrow"] += float(np.clip(1.5 * (52 - person.age), -50, 60)) + float(rng.normal(0, 18))
        self.hu["pancreas"] -= max(0.0, person.age - 50) * 0.4
        self.mottled = 22.0 if person.phase == "arterial" else 0.0  # the spleen's first pass
        self._grains = rng.standard_normal((_LATTICE // _FINE,) * 3, dtype=np.float32)
        self._lattice = _smooth_lattice(self._grains)

    def noise(self, points: Points, scale: float, shift: float = 0.0) -> Field:
        """Return smooth noise of about unit deviation whose grains are `scale` mm, the same at every spacing, float32."""
        if scale > _COARSE:  # steps of the fine lattice would be seen
            return self._interpolated(points, scale, shift)
        places = []
        for number, axis in enumerate((points.x, points.y, points.z)):
            offset = _FINE * (shift + 7.3 * number) + _FAR  # positive, so that truncation is the floor
            places.append((axis * np.float32(_FINE / scale) + np.float32(offset)).astype(np.int32) & (_LATTICE - 1))
        entries = (places[0] * _LATTICE + places[1]) * _LATTICE + places[2]
        taken: Field = self._lattice.take(entries)
        return taken

    def _interpolated(self, points: Points, scale: float, shift: float) -> Field:
        from scipy import ndimage

        axes = enumerate((points.x, points.y, points.z))
        places = [(axis * np.float32(1 / scale) + np.float32(shift + 7.3 * i)).ravel() for i, axis in axes]
        values = ndimage.map_coordinates(self._grains, places, order=1, mode="grid-wrap", output=np.float32, prefilter=False)
        result: Field = values.reshape(points.x.shape) * np.float32(_GAIN)
        return result

    def plain(self, name: str, grain: float = 3.0, scale: float = 9.0, shift: float = 0.0) -> Paint:
        """Return the paint of an even tissue with a weak texture."""
        mean = np.float32(self.hu[name])

        def paint(points: Points, _depth: Field, _width: float) -> Field:
            return mean + np.float32(grain) * self.noise(points, scale, shift)

        return paint

    def bone(self, cortex: float = 1.7, hard: float = 760.0, shift: float = 0.0, marrow: float = 1.0) -> Paint:
        """Return the paint of a bone: a hard shell of `cortex` mm around spongy bone."""
        soft = np.float32(self.hu["marrow"] * marrow)

        def paint(points: Points, depth: Field, width: float) -> Field:
            inside = soft + 42 * self.noise(points, 4.5, shift)
            return layered(depth, width, ((0.0, hard), (cortex, inside)))

        return paint


def _smooth_lattice(values: Field) -> Field:
    """Return a periodic lattice with `_FINE` steps from one random value to the next, linear between them, flat."""
    shares = (np.arange(_FINE, dtype=np.float32) + np.float32(0.5)) / np.float32(_FINE)
    for axis in range(3):
        following = np.roll(values, -1, axis)
        steps = [values + part * (following - values) for part in shares]
        values = np.stack(steps, axis=axis + 1).reshape([n * _FINE if i == axis else n for i, n in enumerate(values.shape)])
    flat: Field = np.ascontiguousarray(values).ravel() * np.float32(_GAIN)
    return flat


def constant(value: float) -> Paint:
    """Return a paint of one value."""
    return lambda _points, _depth, _width: value


def share(depth: Field, width: float) -> Field:
    """Return the share of a voxel of `width` mm that lies inside, 0..1, from the depth of its middle."""
    inside: Field = np.clip(depth * np.float32(1 / width) + np.float32(0.5), 0, 1)
    return inside


def layered(depth: Field, width: float, layers: tuple[tuple[float, Field | float], ...]) -> Field:
    """Return HU of layers, each from a depth on; where two meet in a voxel they share it."""
    total = share(depth, width) + np.float32(1e-6)
    value = np.broadcast_to(np.asarray(layers[0][1], np.float32), depth.shape)
    for start, hu in layers[1:]:
        deeper = np.minimum(share(depth - np.float32(start), width) / total, 1)
        value = value + deeper * (np.asarray(hu, np.float32) - value)
    result: Field = np.asarray(value, np.float32)
    return result


def blend(under: npt.ArrayLike, over: npt.ArrayLike, amount: Field) -> Field:
    """Return `under` covered by `over` by an amount of 0..1."""
    result: Field = np.asarray(under, np.float32) + amount * (np.asarray(over, np.float32) - np.asarray(under, np.float32))
    return result
