"""Where the middle of a body lies: left/right (RAS x) of the midline at every height (RAS z), from what the map itself shows.

Not the middle of the image: patients lie off-center, and images are cropped. A patient who lies crooked or has a curved spine
has a midline that changes with height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from AtlasSegmentLib import geometry
from AtlasSegmentLib.labels import catalog
from AtlasSegmentLib.regions import BODY_HU
from AtlasSegmentLib.repair_space import LabelSpace
from AtlasSegmentLib.volume import Array, Volume

_BIN_MM = 10.0
_SMOOTH_MM = 20.0
_TREND_MM = 150.0  # a shorter spine says nothing about where the midline goes beyond it
_MAX_SLOPE = 0.3
_SPINE = ("spinal_cord", "spinal_canal", "vertebrae", "sacrum")


@dataclass(frozen=True)
class Midline:
    """The midline as a curve.

    Attributes:
        z: RAS z in mm, ascending.
        x: RAS x in mm at each z.
        slope: dx/dz beyond both ends.
        source: What it was found from, for people.
    """

    z: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    slope: float
    source: str

    def at(self, z: npt.ArrayLike) -> geometry.Matrix:
        """Return RAS x of the midline at RAS z, both in mm."""
        height = np.asarray(z, np.float64)
        beyond = np.minimum(height - self.z[0], 0) + np.maximum(height - self.z[-1], 0)
        return np.asarray(np.interp(height, self.z, self.x) + self.slope * beyond)

    def rightward(self, x: npt.ArrayLike, z: npt.ArrayLike) -> geometry.Matrix:
        """Return how far points with RAS x and z lie to the patient's right of the midline, mm; negative is left."""
        return np.asarray(np.asarray(x, np.float64) - self.at(z))


def find_midline(space: LabelSpace, ct: Volume | None = None) -> Midline | None:
    """Return the midline of the body in a label map.

    In this order: from vertebrae, sacrum and spinal cord; from the body in the CT; halfway between left and right of paired
    structures that are there twice, whatever they are called.

    Args:
        space: The label map.
        ct: CT in HU, in any orientation, on any grid in the same space; or None.

    Returns:
        None when none of them is there.
    """
    points = _spine_points(space)
    if points.size:
        return _curve(points, "spine")
    if ct is not None:
        points = _body_points(ct)
        if points.size:
            return _curve(points, "body")
    return _between_pairs(space)


def _spine_points(space: LabelSpace) -> geometry.Matrix:
    """Return (n, 3): RAS x, RAS z and number of voxels of the spine, slice by slice and label by label."""
    names = [*_SPINE, *(name for name in catalog() if name.startswith("vertebrae_"))]
    found = []
    for value in [space.value(name) for name in names]:
        parts = space.parts(value) if value is not None else []
        if parts:  # stray fragments may lie anywhere
            found.append(space.slice_centers(parts[0])[:, [0, 2, 3]])
    return np.concatenate(found) if found else np.zeros((0, 3))


def _body_points(ct: Volume) -> geometry.Matrix:
    """Return (n, 3) as `_spine_points` from the largest part denser than -500 HU, on about every 4 mm."""
    turned = ct.reoriented("RAS")
    steps = [max(1, round(4.0 / size)) for size in turned.spacing]
    thin: Array = turned.array[:: steps[0], :: steps[1], :: steps[2]]
    labels, count = ndimage.label(thin > BODY_HU)
    if not count:
        return np.zeros((0, 3))
    body = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    index = np.argwhere(body) * steps
    world = geometry.apply_affine(turned.affine, index)
    slices = index[:, 2] // steps[2]
    size = np.bincount(slices)
    kept = size > 0
    x, z = (np.bincount(slices, world[:, axis])[kept] / size[kept] for axis in (0, 2))
    return np.stack([x, z, size[kept].astype(np.float64)], axis=1)


def _curve(points: geometry.Matrix, source: str) -> Midline:
    """Return the mean x in bins of z, smoothed; the trend goes on beyond both ends when the curve is long enough."""
    x, z, weight = points.T
    bins = np.floor((z - z.min()) / _BIN_MM).astype(np.int64)
    total = np.bincount(bins, weight)
    kept = total > 0
    middle, height = (np.bincount(bins, weight * values)[kept] / total[kept] for values in (x, z))
    near = np.asarray(np.exp(-0.5 * ((height[:, None] - height) / _SMOOTH_MM) ** 2) * total[kept], np.float64)
    smooth = _local_lines(height, middle, near)
    long = height[-1] - height[0] >= _TREND_MM
    slope = float(np.clip(np.polyfit(height, middle, 1, w=np.sqrt(total[kept]))[0], -_MAX_SLOPE, _MAX_SLOPE)) if long else 0.0
    return Midline(height, smooth, slope, source)


def _local_lines(z: npt.NDArray[np.float64], x: npt.NDArray[np.float64], weights: geometry.Matrix) -> npt.NDArray[np.float64]:
    """Return x smoothed by a weighted line around each z, which unlike a mean does not bend the ends."""
    total = weights.sum(axis=1)
    mean_z, mean_x = weights @ z / total, weights @ x / total
    spread = (weights * (z - mean_z[:, None]) ** 2).sum(axis=1)
    together = (weights * (z - mean_z[:, None]) * (x - mean_x[:, None])).sum(axis=1)
    slope = np.divide(together, spread, out=np.zeros_like(together), where=spread > 1e-6 * total)
    return np.asarray(mean_x + slope * (z - mean_z))


def _between_pairs(space: LabelSpace) -> Midline | None:
    """Return the midline between the two largest parts of each pair, whichever of both names they carry."""
    rows = []
    for name, structure in catalog().items():
        if structure.partner is None or name > structure.partner:
            continue
        values = [value for value in (space.value(name), space.value(structure.partner)) if value is not None]
        parts = sorted((part for value in values for part in space.parts(value)[:2]), key=lambda part: -part.voxels)
        if len(parts) < 2 or 2 * parts[1].voxels < parts[0].voxels:
            continue
        (x1, _, z1), (x2, _, z2) = (np.average(c[:, :3], axis=0, weights=c[:, 3]) for c in map(space.slice_centers, parts[:2]))
        if abs(z1 - z2) <= abs(x1 - x2) / 2:  # else they lie above each other: two ribs of one side
            rows.append(((x1 + x2) / 2, (z1 + z2) / 2, float(parts[0].voxels)))
    return _curve(np.array(rows), "paired structures") if rows else None
