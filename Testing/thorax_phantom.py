"""A chest of bones as a label map: C7 to L1, a sacrum and twelve pairs of ribs, with the faults that networks make."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from AtlasSegmentLib.components import box_dilate
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.volume import LabelVolume

Array = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

SPINE = ("vertebrae_C7", *(f"vertebrae_T{n}" for n in range(1, 13)), "vertebrae_L1")
RIBS = tuple(f"rib_{side}_{number}" for number in range(1, 13) for side in ("left", "right"))
TABLE = LabelTable("thorax", "Thorax phantom", dict(enumerate((*RIBS, *SPINE, "sacrum", "liver"), 1)))
SPACING = 3.0
_LOW, _SHAPE = (-168.0, -75.0, -20.0), (112, 82, 130)
_WIDTH = (0, 52, 78, 95, 107, 116, 123, 128, 131, 132, 128, 118, 100)  # half widths of the chest in mm, by rib
_DEPTH = (0, 45, 62, 74, 83, 90, 95, 98, 98, 96, 92, 86, 80)
_END = (0, 165, 165, 163, 160, 158, 155, 152, 145, 135, 122, 90, 60)  # where bone turns to cartilage, degrees from the spine
_DROP = (0, 45, 60, 72, 82, 90, 96, 100, 102, 100, 92, 60, 40)


@dataclass(frozen=True)
class Build:
    """How the body differs from the usual one.

    Attributes:
        bend_mm: The spine is curved sideways by this much.
        missing: Ribs that the body does not have, such as "rib_left_12".
        fat: Radius of the ribs in mm.
    """

    bend_mm: float = 0.0
    missing: tuple[str, ...] = ()
    fat: float = 4.5


def vertebra_center(position: int, bend_mm: float = 0.0) -> Points:
    """Return the center in RAS mm of a vertebra by its place in SPINE."""
    z = 340.0 - 23.5 * position - 0.25 * position**2
    return np.array([bend_mm * np.sin(z / 110.0), -8.0 * np.sin(z / 120.0), z])


@cache
def thorax(build: Build = Build()) -> LabelVolume:
    """Return the label map, uint8 in RAS, 3 mm voxels; do not change its array."""
    array = np.zeros(_SHAPE, np.uint8)
    for rib in RIBS:
        if rib not in build.missing:
            _stamp(array, rib_line(rib, build.bend_mm), build.fat, TABLE.value_of(rib))
    for position, name in enumerate(SPINE):
        value, center = TABLE.value_of(name), vertebra_center(position, build.bend_mm)
        _block(array, center, (15.0, 12.0, 9.5), value)
        for side in (-1, 1):
            _stamp(array, _line(_off(center, 0, -22, 0), _off(center, side * 28, -30, 3)), 4.5, value)
        _stamp(array, _line(_off(center, 0, -14, 0), _off(center, 0, -42, -12)), 4.5, value)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = _LOW
    return LabelVolume(array, affine, "thorax", None, TABLE)


def rib_line(rib: str, bend_mm: float = 0.0) -> Points:
    """Return points in RAS mm along a rib, from the spine on."""
    number, side = int(rib.rsplit("_", 1)[1]), 1.0 if "right" in rib else -1.0
    center = vertebra_center(number, bend_mm)
    head, tubercle = _off(center, side * 19, -10, 10), _off(center, side * 34, -26, 6)
    width, depth = _WIDTH[number], _DEPTH[number]
    start = np.arcsin(min(34 / width, 0.99))
    angle = np.linspace(start, np.radians(_END[number]), 400)
    middle = tubercle[1] + depth * np.cos(start)
    way = (angle - start) / (angle[-1] - start)
    arc = np.stack(
        [center[0] + side * width * np.sin(angle), middle - depth * np.cos(angle), tubercle[2] - _DROP[number] * way**1.2], axis=1
    )
    return np.concatenate([_line(head, tubercle), arc])


def _off(point: Points, right: float, front: float, up: float) -> Points:
    return point + np.array([right, front, up])


def _line(a: Points, b: Points) -> Points:
    return a + np.linspace(0, 1, 60)[:, None] * (b - a)


def index_of(points: Points) -> npt.NDArray[np.int64]:
    """Return the nearest voxels of points in RAS mm."""
    return np.rint((points - np.array(_LOW)) / SPACING).astype(np.int64)


def _stamp(array: Array, line: Points, radius: float, value: int) -> None:
    low = np.maximum(index_of(line.min(axis=0)) - 3, 0)
    high = np.minimum(index_of(line.max(axis=0)) + 4, array.shape)
    near = np.zeros(np.maximum(high - low, 0), np.bool_)
    voxels = np.unique(index_of(line) - low, axis=0)
    voxels = voxels[((voxels >= 0) & (voxels < near.shape)).all(axis=1)]
    near[tuple(voxels.T)] = True
    candidates = np.argwhere(box_dilate(near, 2))
    inside = cKDTree(line).query((candidates + low) * SPACING + np.array(_LOW))[0] <= radius
    array[tuple((candidates[inside] + low).T)] = value


def _block(array: Array, center: Points, radii: tuple[float, float, float], value: int) -> None:
    low, high = index_of(center - radii), index_of(center + radii) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    array[box] = value


def ball(volume: LabelVolume, center: Points, radius_mm: float) -> npt.NDArray[np.bool_]:
    """Return the voxels of the phantom within a distance of a point in RAS mm."""
    index = np.indices(volume.shape).reshape(3, -1).T
    world = index * SPACING + np.array(_LOW)
    return np.asarray((((world - center) ** 2).sum(axis=1) <= radius_mm**2).reshape(volume.shape))


def relabeled(volume: LabelVolume, names: dict[str, str]) -> LabelVolume:
    """Return a copy in which labels have other names."""
    lookup = np.arange(256, dtype=np.uint8)
    for old, new in names.items():
        lookup[TABLE.value_of(old)] = TABLE.value_of(new) if new else 0
    return replace(volume, array=lookup[volume.array])


def without(volume: LabelVolume, names: Collection[str]) -> LabelVolume:
    """Return a copy without some labels."""
    return relabeled(volume, dict.fromkeys(names, ""))
