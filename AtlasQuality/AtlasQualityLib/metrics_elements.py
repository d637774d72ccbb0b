"""Distances of two surfaces by surface element, as Google DeepMind's `surface-distance` (Nikolov et al., JMIR 2021).

The surface of a mask is made of elements between eight neighboring voxels; an element counts with its area, and its distance is that
from its middle to the middle of the nearest element of the other surface. What lies outside the image is background, so a mask that
touches its border has a surface there. One voxel has a surface of eight corner pieces. Distances are those of patient space, also on
oblique and on tilted (sheared) grids. The other convention, by voxel, is that of `metrics_voxels`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.metrics_nearest import nearest_distances
from AtlasQualityLib.metrics_pair import MaskPair, element_grid, mask_pair
from AtlasQualityLib.surface_table import Float64, surface_areas
from AtlasSegmentLib.volume import Array

_PERCENT = 95.0
_ROUNDING = 1e-9  # mm, and share of the area: far below what matters, far above rounding, so that the array order does not matter


@dataclass(frozen=True)
class Surfaces:
    """Two surfaces and how far each lies from the other.

    Attributes:
        distances: From each element of the mask to the nearest of the reference, mm, float64 (n,), ascending.
        areas: Areas of these elements, mm2, float64 (n,).
        reference_distances: The same from each element of the reference to the mask, (m,).
        reference_areas: Areas of these elements, (m,).
    """

    distances: Float64
    areas: Float64
    reference_distances: Float64
    reference_areas: Float64


def surface_distances(mask: Array, reference: Array, axes: npt.ArrayLike) -> Surfaces:
    """Return the surface elements of two masks with their areas and distances; see `metrics_pair.mask_pair` for arguments and errors."""
    return surfaces_of(mask_pair(mask, reference, axes))


def surfaces_of(pair: MaskPair) -> Surfaces:
    """Return the surface elements of two masks with their areas and distances."""
    table = surface_areas(np.asarray(np.linalg.det(pair.steps) * np.linalg.inv(pair.steps).T))
    one, two = (element_grid(mask, pair.near.margin) for mask in (pair.mask, pair.reference))
    forth, back = nearest_distances(one, two, pair.near), nearest_distances(two, one, pair.near)
    return Surfaces(*_sorted(forth, table[one.values()]), *_sorted(back, table[two.values()]))


def _sorted(distances: Float64, areas: Float64) -> tuple[Float64, Float64]:
    """Sort by distance, then by area, so that sums do not depend on the array order."""
    apart = distances > 0  # most of the elements of similar masks are not
    far, far_areas = distances[apart], areas[apart]
    order = np.lexsort((far_areas, far))
    zeros = np.sort(areas[~apart])
    return np.concatenate([np.zeros(len(zeros)), far[order]]), np.concatenate([zeros, far_areas[order]])


def surface_dice(surfaces: Surfaces, tolerance_mm: float) -> float:
    """Return the share of both surfaces that lies within a tolerance (mm) of the other one, 0..1; NaN when both are empty."""
    limit = tolerance_mm + _ROUNDING
    near = surfaces.areas[surfaces.distances <= limit].sum() + surfaces.reference_areas[surfaces.reference_distances <= limit].sum()
    total = surfaces.areas.sum() + surfaces.reference_areas.sum()
    return float(near / total) if total else math.nan


def robust_hausdorff(surfaces: Surfaces, percent: float = _PERCENT) -> float:
    """Return the distance in mm within which `percent` (0..100) of the area of each surface lies from the other one.

    100 gives the Hausdorff distance. Infinite when one surface is empty, NaN when both are.
    """
    if not surfaces.areas.size and not surfaces.reference_areas.size:
        return math.nan
    one = _percentile(surfaces.distances, surfaces.areas, percent)
    other = _percentile(surfaces.reference_distances, surfaces.reference_areas, percent)
    return max(one, other)


def _percentile(distances: Float64, areas: Float64, percent: float) -> float:
    if not distances.size:
        return math.inf
    if percent >= 100:  # an element of tiny area counts too
        return float(distances[-1])
    share = np.cumsum(areas) / areas.sum()
    index = int(np.searchsorted(share, percent / 100 - _ROUNDING))
    return float(distances[min(index, len(distances) - 1)])


def average_distance(surfaces: Surfaces) -> float:
    """Return the mean of the average distances of the two surfaces, weighted by area, mm; infinite or NaN as `robust_hausdorff`."""
    if not surfaces.areas.size and not surfaces.reference_areas.size:
        return math.nan
    if not surfaces.areas.size or not surfaces.reference_areas.size:
        return math.inf
    pairs = ((surfaces.distances, surfaces.areas), (surfaces.reference_distances, surfaces.reference_areas))
    return float(np.mean([(distances * areas).sum() / areas.sum() for distances, areas in pairs]))
