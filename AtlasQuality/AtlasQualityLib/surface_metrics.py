"""How well two masks agree: Dice, surface Dice (NSD), 95 % Hausdorff distance, average surface distance, volumes.

Definitions of Google DeepMind's `surface-distance` (Nikolov et al., JMIR 2021): the surface of a mask is made of elements between eight
neighboring voxels; an element counts with its area, and its distance is that from its middle to the middle of the nearest element
of the other surface. What lies outside the image is background, so a mask that touches its border has a surface there.

Edge cases: two empty masks give NaN everywhere (there is nothing to compare); where one alone is empty, Dice and NSD are 0 and the
distances infinite. One voxel has a surface of eight corner pieces. Distances are those of patient space, also on oblique and on
tilted (sheared) grids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.surface_table import CORNERS, INSIDE, Float64, surface_areas
from AtlasSegmentLib.components import Mask, bounding_box
from AtlasSegmentLib.errors import GeometryError
from AtlasSegmentLib.sparse import union
from AtlasSegmentLib.volume import Array

TOLERANCES_MM = (1.0, 2.0)
_PERCENT = 95.0
_ROUNDING = 1e-9  # mm, and share of the area: far below what matters, far above rounding, so that the array order does not matter
_PERPENDICULAR = 1e-6


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


@dataclass(frozen=True)
class Agreement:
    """Agreement of a mask with a reference.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|), 0..1; NaN when both are empty.
        nsd_1mm, nsd_2mm: Share of both surfaces that lies within 1 or 2 mm of the other one, 0..1; NaN when both are empty.
        hd95_mm: 95 % of each surface lies within this distance of the other; infinite when one is empty, NaN when both are.
        assd_mm: Mean of the two average distances; infinite or NaN as hd95_mm.
        volume_ml, reference_ml: Volumes.
        difference_ml: Volume of the mask minus that of the reference.
        difference_percent: The same in percent of the reference; NaN when the reference is empty.
    """

    dice: float
    nsd_1mm: float
    nsd_2mm: float
    hd95_mm: float
    assd_mm: float
    volume_ml: float
    reference_ml: float
    difference_ml: float
    difference_percent: float


def compare_masks(mask: Array, reference: Array, axes: npt.ArrayLike) -> Agreement:
    """Compare two masks of one grid.

    Args:
        mask: (X, Y, Z), 0 is outside; any dtype and memory order.
        reference: The same.
        axes: Voxel sizes in mm (3,), or an affine (3, 3) or (4, 4) whose columns are the steps of the array axes in mm.

    Raises:
        GeometryError: The shapes differ, or the axes have no volume.
    """
    a, b = _cropped(mask, reference)
    surfaces = _surfaces(a, b, _steps(axes))
    both, size, reference_size = (int(np.count_nonzero(x)) for x in (a & b, a, b))
    unit = abs(float(np.linalg.det(_steps(axes)))) / 1000
    total = size + reference_size
    volume, reference_volume = size * unit, reference_size * unit
    return Agreement(
        2 * both / total if total else math.nan,
        surface_dice(surfaces, TOLERANCES_MM[0]),
        surface_dice(surfaces, TOLERANCES_MM[1]),
        robust_hausdorff(surfaces, _PERCENT),
        average_distance(surfaces),
        volume,
        reference_volume,
        volume - reference_volume,
        100 * (size - reference_size) / reference_size if reference_size else math.nan,
    )


def surface_distances(mask: Array, reference: Array, axes: npt.ArrayLike) -> Surfaces:
    """Return the surface elements of two masks with their areas and distances; see `compare_masks` for arguments and errors."""
    return _surfaces(*_cropped(mask, reference), _steps(axes))


def _cropped(mask: Array, reference: Array) -> tuple[Mask, Mask]:
    """Return both masks in the smallest box that holds them; without a voxel when both are empty."""
    a, b = np.asarray(mask), np.asarray(reference)
    if a.shape != b.shape or a.ndim != 3:
        message = f"two masks to compare have shapes {a.shape} and {b.shape}; one 3-D shape is needed."
        raise GeometryError(message, "Resample one onto the grid of the other first: atlas resample ONE NEW --like OTHER --labels.")
    box = union([found for found in (bounding_box(a), bounding_box(b)) if found is not None])
    return np.asarray(a[box] != 0), np.asarray(b[box] != 0)


def _surfaces(a: Mask, b: Mask, steps: Float64) -> Surfaces:
    cofactor = np.asarray(np.linalg.det(steps) * np.linalg.inv(steps).T)
    table = surface_areas(cofactor)
    codes, reference_codes = _codes(a), _codes(b)
    own, other = _is_surface(codes), _is_surface(reference_codes)
    forth, back = _distances(own, other, steps), _distances(other, own, steps)
    return Surfaces(*_sorted(forth, table[codes[own]]), *_sorted(back, table[reference_codes[other]]))


def _steps(axes: npt.ArrayLike) -> Float64:
    """Return the array axes as the columns of an upper triangular (3, 3) matrix, mm; diagonal where they are perpendicular."""
    given = np.asarray(axes, np.float64)
    matrix = np.diag(given) if given.shape == (3,) else given[:3, :3]
    size = np.linalg.norm(matrix, axis=0)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) <= 1e-9 * size.prod() or size.min() <= 0:
        message = f"voxels with the axes {matrix.tolist()} have no volume."
        raise GeometryError(message, "Write the image again with a valid spacing.")
    gram = matrix.T @ matrix
    angles = gram / np.outer(size, size) - np.eye(3)
    return np.diag(size) if np.abs(angles).max() < _PERPENDICULAR else np.asarray(np.linalg.cholesky(gram).T)


def _codes(mask: Mask) -> npt.NDArray[np.uint8]:
    """Return which of the eight voxels around each corner of the voxel grid are inside, one bit each; one longer than `mask`."""
    padded = np.pad(mask, 1).view(np.uint8)
    shape = [n - 1 for n in padded.shape]
    codes = np.zeros(shape, np.uint8)
    for bit, (x, y, z) in enumerate(CORNERS):
        codes |= padded[x : x + shape[0], y : y + shape[1], z : z + shape[2]] << np.uint8(bit)
    return codes


def _is_surface(codes: npt.NDArray[np.uint8]) -> Mask:
    return np.asarray((codes != 0) & (codes != INSIDE))


def _distances(own: Mask, other: Mask, steps: Float64) -> Float64:
    """Return the distance in mm from each element of `own` (in C order) to the nearest of `other`, infinite where there is none."""
    from scipy.spatial import cKDTree  # here: importing it takes longer than opening the module may

    result = np.zeros(int(np.count_nonzero(own)))
    apart = ~other[own]  # elements at the same place are 0 mm apart
    if not apart.any():
        return result
    targets = np.argwhere(other)
    if not len(targets):
        result[:] = np.inf
        return result
    points = np.argwhere(own)[apart]
    tree = cKDTree(targets @ steps.T, balanced_tree=False, compact_nodes=False)
    _, nearest = tree.query(points @ steps.T, workers=-1)
    result[apart] = np.linalg.norm((points - targets[nearest]) @ steps.T, axis=1)  # from whole steps: no rounding of positions
    return result


def _sorted(distances: Float64, areas: Float64) -> tuple[Float64, Float64]:
    order = np.lexsort((areas, distances))
    return distances[order], areas[order]


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
