"""Distances of two surfaces by voxel, as medpy: the surface of a mask is its voxels that share a face with the outside.

Every such voxel counts the same, whatever area it stands for; distances go from middle to middle. The field has two mean distances
of that kind, named here: the mean of both directions (medpy up to 0.4) and the pooled one (medpy 0.5), in which the larger surface
weighs more. HD95 is the 95th percentile (linear) of the distances of both directions together. The other convention, by surface
element, is that of `metrics_elements`. Where medpy raises an error, since one mask is empty, distances are infinite; NaN when both are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.metrics_nearest import nearest_distances
from AtlasQualityLib.metrics_pair import MaskPair, border_grid, mask_pair
from AtlasQualityLib.surface_table import Float64
from AtlasSegmentLib.volume import Array

_PERCENT = 95.0


@dataclass(frozen=True)
class VoxelDistances:
    """How far the surface voxels of two masks lie from each other.

    Attributes:
        distances: From each surface voxel of the mask to the nearest of the reference, mm, float64 (n,), ascending.
        reference_distances: From each of the reference to the mask, (m,).
    """

    distances: Float64
    reference_distances: Float64

    def _without(self) -> float | None:
        """Return what every distance is when a mask is empty, None when neither is."""
        if self.distances.size and self.reference_distances.size:
            return None
        return math.inf if self.distances.size or self.reference_distances.size else math.nan

    def hausdorff(self) -> float:
        """Return the largest distance, mm (medpy `hd`)."""
        without = self._without()
        return float(max(self.distances[-1], self.reference_distances[-1])) if without is None else without

    def hausdorff_95(self) -> float:
        """Return the 95th percentile of all distances of both directions, mm (medpy `hd95`)."""
        without = self._without()
        return float(np.percentile(self._all(), _PERCENT)) if without is None else without

    def mean_of_both(self) -> float:
        """Return the mean of the mean distances of the two directions, mm (medpy up to 0.4 `assd`)."""
        without = self._without()
        return float((self.distances.mean() + self.reference_distances.mean()) / 2) if without is None else without

    def pooled_mean(self) -> float:
        """Return the mean of all distances of both directions, mm (medpy 0.5 `assd`)."""
        without = self._without()
        return float(self._all().mean()) if without is None else without

    def _all(self) -> Float64:
        return np.concatenate([self.distances, self.reference_distances])


def voxel_distances(mask: Array, reference: Array, axes: npt.ArrayLike) -> VoxelDistances:
    """Return the distances between the surface voxels of two masks; see `metrics_pair.mask_pair` for arguments and errors."""
    return voxel_distances_of(mask_pair(mask, reference, axes))


def voxel_distances_of(pair: MaskPair) -> VoxelDistances:
    """Return the distances between the surface voxels of two masks."""
    one, two = (border_grid(mask, pair.near.margin) for mask in (pair.mask, pair.reference))
    # Sorted, so that sums do not depend on the array order.
    return VoxelDistances(np.sort(nearest_distances(one, two, pair.near)), np.sort(nearest_distances(two, one, pair.near)))
