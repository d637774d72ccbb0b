"""Hot spots: the connected regions of the attention maps, ranked, with a place in words, so that a reader knows where to go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.error_map import STEPS
from AtlasQualityLib.in_threads import in_threads
from AtlasQualityLib.overlay_maps import finite
from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.components import find_components
from AtlasSegmentLib.sparse import SparseVolume, is_empty, read_sparse
from AtlasSegmentLib.volume import Array, require_same_grid

Point = tuple[float, float, float]

SMALLEST_MM3 = 100.0
"""Regions below 0.1 ml are left out unless there is nothing larger."""
_BYTE = 255
_DECIMALS = 4  # of a mm: far below a voxel, far above rounding, so that flipped arrays give the same order
_ORGANS_WITH_POLES = ("kidney", "spleen")


@dataclass(frozen=True)
class HotSpot:
    """One region where the average mask of an organ is probably wrong.

    Attributes:
        organ: Its name.
        center: RAS mm of a voxel of the region: of those within a tenth of its highest value, the one nearest to its centroid.
        voxel: Index of that voxel in the array order of the maps.
        volume_mm3: Volume of the region.
        peak: Highest value in the region, 0..1: expected error where there is such a map, else attention / 255.
        score: Sum of that value times the voxel volume, mm3.
        place: Where it lies in the organ, in the patient's directions, such as "upper pole, left side, front".
        inside_share: Part of the region inside the average mask, 0..1: near 1 the mask may be too large there, near 0 too small.
    """

    organ: str
    center: Point
    voxel: tuple[int, int, int]
    volume_mm3: float
    peak: float
    score: float
    place: str
    inside_share: float


@dataclass(frozen=True)
class _Region:
    """One connected region: its size and score, and its voxels with their values (whole numbers of 1 / steps)."""

    volume_mm3: float
    score: float
    voxels: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]
    steps: int


def find_hot_spots(case: CaseFolder, organs: Sequence[str] | None = None, limit: int = 20) -> list[HotSpot]:
    """Find the regions (26-connected, attention above zero) of a case, the one with the highest score first.

    Args:
        case: With attention maps; expected-error maps and average masks are used where they are.
        organs: Names of organs; None takes those that have an attention map.
        limit: Number of hot spots at most, over all organs.

    Returns:
        Hot spots by descending score, then by volume, class and place. The order and the places do not depend on the array
        order of the maps. [] when no map marks a voxel.

    Raises:
        InputError: A map is missing or damaged.
        GeometryError: The maps of an organ lie on different grids.
    """
    names = case.average.organs("attention") if organs is None else list(organs)
    for smallest in (SMALLEST_MM3, 0.0):
        parts = in_threads(partial(_spots_of, case, smallest=smallest, limit=limit), names)
        found = [spot for part in parts for spot in part]
        if found:
            return sorted(found, key=lambda s: (-s.score, -s.volume_mm3, class_of(s.organ) or 1000, s.organ, s.center))[:limit]
    return []


def _spots_of(case: CaseFolder, organ: str, smallest: float, limit: int) -> list[HotSpot]:
    stored = read_sparse(case.average.map("attention", organ))
    attention = SparseVolume(stored.grid, stored.box, finite(stored.crop))
    if is_empty(attention.box):
        return []
    regions = _regions(attention, _expected_error(case, organ, attention), smallest, limit)
    if not regions:
        return []
    path = case.average.mask(organ)
    mask = read_sparse(path) if path.is_file() else None
    if mask is not None:
        require_same_grid(mask.grid, attention.grid)
    return [_spot(organ, region, attention, mask) for region in regions]


def _expected_error(case: CaseFolder, organ: str, attention: SparseVolume) -> Array | None:
    """Return the expected error in the box of the attention map, or None when there is no such map."""
    path = case.average.map("expected_error", organ)
    if not path.is_file():
        return None
    error = read_sparse(path)
    require_same_grid(error.grid, attention.grid)
    return finite(error.within(attention.box))


def _regions(attention: SparseVolume, error: Array | None, smallest: float, limit: int) -> list[_Region]:
    """Return the regions with the `limit` highest scores (more where scores tie)."""
    marked = attention.crop > 0
    components = find_components(marked)
    source, steps = (attention.crop, _BYTE) if error is None else (error * STEPS, STEPS)
    values = np.rint(source[marked]).astype(np.int64)  # whole numbers: sums do not depend on the array order
    numbers = components.labels[marked]
    unit = attention.grid.voxel_volume_mm3
    scores = np.round(np.bincount(numbers, values, components.sizes.size) / steps * unit, _DECIMALS)
    volumes = np.round(components.sizes * unit, _DECIMALS)
    wanted = np.flatnonzero((components.sizes > 0) & (volumes >= smallest))
    if wanted.size > limit:
        wanted = wanted[scores[wanted] >= np.sort(scores[wanted])[-max(limit, 1)]]
    voxels = np.argwhere(marked)
    return [_Region(float(volumes[n]), float(scores[n]), voxels[numbers == n], values[numbers == n], steps) for n in wanted]


def _spot(organ: str, region: _Region, attention: SparseVolume, mask: SparseVolume | None) -> HotSpot:
    indices = region.voxels + [side.start for side in attention.box]
    affine = attention.grid.affine
    best = _peak_voxel(region, indices, affine)
    center = geometry.apply_affine(affine, indices[best]).round(_DECIMALS) + 0.0  # no minus zero
    box = None if mask is None else organ_box(mask)
    inside = 0 if mask is None else int(np.count_nonzero(mask.within(attention.box)[tuple(region.voxels.T)]))
    return HotSpot(
        organ,
        (float(center[0]), float(center[1]), float(center[2])),
        (int(indices[best][0]), int(indices[best][1]), int(indices[best][2])),
        region.volume_mm3,
        int(region.values.max()) / region.steps,
        region.score,
        "" if box is None else place_in_words(center, *box, organ),
        inside / len(region.voxels),
    )


def _peak_voxel(region: _Region, indices: npt.NDArray[np.int64], affine: geometry.Matrix) -> int:
    """Return the row of the voxel nearest to the centroid among the high ones; ties by position in the patient.

    Many voxels have almost the highest value; which of them has it by a hair means nothing, so that a tenth is allowed.
    """
    centroid = geometry.apply_affine(affine, indices.mean(axis=0))
    highest = np.flatnonzero(10 * region.values >= 9 * region.values.max())
    points = geometry.apply_affine(affine, indices[highest])
    distance = np.linalg.norm(points - centroid, axis=1)
    keys = np.column_stack([points[:, ::-1], distance]).round(_DECIMALS)
    return int(highest[np.lexsort(keys.T)[0]])


def organ_box(mask: SparseVolume) -> tuple[geometry.Matrix, geometry.Matrix] | None:
    """Return the lowest and highest RAS mm (3,) of the voxel centers of a mask; None when it is empty.

    The extent is taken along the patient's axes, also for oblique grids.
    """
    columns = (mask.crop > 0).any(axis=2)
    if not columns.any():
        return None
    filled = mask.crop[columns] > 0  # (columns, z)
    first, last = filled.argmax(axis=1), filled.shape[1] - 1 - filled[:, ::-1].argmax(axis=1)
    rows = np.argwhere(columns)
    # A position is linear in z, so that its extremes lie at the ends of a column.
    ends = np.concatenate([np.column_stack([rows, first]), np.column_stack([rows, last])])
    points = geometry.apply_affine(mask.grid.affine, ends + [side.start for side in mask.box])
    return points.min(axis=0), points.max(axis=0)


def place_in_words(point: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, organ: str = "") -> str:
    """Describe where a point lies in an organ, in the patient's directions (left is the patient's left).

    Args:
        point: RAS mm, shape (3,).
        low: Lowest RAS mm of the organ, shape (3,), as `organ_box` gives it.
        high: Highest RAS mm of the organ.
        organ: Its name: kidneys and spleen have poles.

    Returns:
        Words for the outer thirds, such as "upper pole, left side, front" or "below the organ, back"; "center" when the point
        lies in the middle third along every axis.
    """
    ends = "pole" if organ.startswith(_ORGANS_WITH_POLES) else "part"
    words = (  # below low, lower third, upper third, above high
        ("left of the organ", "left side", "right side", "right of the organ"),
        ("behind the organ", "back", "front", "in front of the organ"),
        ("below the organ", f"lower {ends}", f"upper {ends}", "above the organ"),
    )
    lowest, highest = np.asarray(low, np.float64), np.asarray(high, np.float64)
    size = np.maximum(highest - lowest, 1e-3)
    fraction = np.round((np.asarray(point, np.float64) - lowest) / size, 6)
    limits = (0.0, 1 / 3, 2 / 3, 1.0)
    chosen = []
    for axis in (2, 0, 1):
        beyond, third, upper, above = words[axis]
        f = float(fraction[axis])
        if f < limits[1]:
            chosen.append(beyond if f < limits[0] else third)
        elif f > limits[2]:
            chosen.append(above if f > limits[3] else upper)
    return ", ".join(chosen) or "center"
