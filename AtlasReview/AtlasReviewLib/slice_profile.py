"""How much attention each slice of an organ deserves: the stored maps of a case summed over slices across any direction. No MRML.

The numbers are areas: in a slice with 1.5 square cm that much of it is expected to be wrong (maps of expected error), or is marked by
the models' attention (where there is no such map). They come from the same files as the hot spots, so that panel, report and command
line say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.error_map import STEPS
from AtlasQualityLib.hot_spots import HotSpot
from AtlasQualityLib.overlay_maps import finite
from AtlasQualityLib.slice_scores import Float64, SliceProfile
from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.components import Box
from AtlasSegmentLib.errors import GeometryError
from AtlasSegmentLib.sparse import SparseVolume, is_empty, read_sparse, union
from AtlasSegmentLib.volume import Grid

Kind = Literal["expected_error", "attention"]
AXIAL, CORONAL, SAGITTAL = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
"""Directions across the slices in RAS: toward the head, the front, the patient's right."""

_BYTE = 255
_ALIGNED = 1e-5
_MARGIN_MM = 10.0
_DECIMALS = 6
_TINY = 1e-6


@dataclass(frozen=True)
class AttentionWeights:
    """The map of an organ that is summed.

    Attributes:
        kind: "expected_error" (calibrated where a calibration was given) or "attention".
        map: Whole numbers, uint16 or uint8, on the grid of the case, in the box that they fill; `steps` of them are 1.
        steps: 65535 for expected error, 255 for attention.
    """

    kind: Kind
    map: SparseVolume
    steps: int


def read_weights(case: CaseFolder, organ: str) -> AttentionWeights | None:
    """Return the map of an organ that says most about its errors, or None when there is none.

    Args:
        case: With or without the results of the attention step.
        organ: Its name.

    Raises:
        InputError: A map is damaged.
    """
    for kind, steps, dtype in (("expected_error", STEPS, np.uint16), ("attention", _BYTE, np.uint8)):
        path = case.average.map(kind, organ)
        if path.is_file():
            stored = read_sparse(path)
            unit = STEPS if kind == "expected_error" else 1
            whole = np.clip(np.rint(finite(stored.crop) * unit), 0, steps).astype(dtype)
            return AttentionWeights("expected_error" if unit > 1 else "attention", SparseVolume(stored.grid, stored.box, whole), steps)
    return None


def slice_profile(
    weights: AttentionWeights,
    direction: Sequence[float] = AXIAL,
    spots: Sequence[HotSpot] = (),
    organ: SparseVolume | None = None,
    affine: geometry.Matrix | None = None,
    tails: float = 0.0,
) -> SliceProfile:
    """Sum a map over the slices across a direction.

    Slices are those of the array where the direction runs along one of its axes; else, such as for an oblique CT in views along the
    patient's axes, slabs as thick as the voxels of the nearest axis, at multiples of that from the origin of RAS. So LPS and RAS versions
    of a case give equal numbers.

    Args:
        weights: As `read_weights` gives them.
        direction: Across the slices, RAS, any length above 0, such as AXIAL or the normal of a slice view.
        spots: Hot spots to find the slices of.
        organ: Mask that the profile shall cover too, on the same grid.
        affine: Index to RAS mm where the case lies elsewhere than its files say, as in a scene; (4, 4).
        tails: Share of the sum, 0..1, that may be left out at each end beyond the organ: maps of expected error reach far, faintly.

    Returns:
        The profile; without slices when map and organ are empty.

    Raises:
        GeometryError: The direction has no length.
    """
    normal = np.asarray(direction, np.float64)
    length = float(np.linalg.norm(normal))
    if normal.shape != (3,) or not np.isfinite(length) or length == 0:
        message = f"A direction across slices is a vector with a length, got {list(direction)}."
        raise GeometryError(message, "Use the normal of a slice view, or AXIAL, CORONAL or SAGITTAL.")
    normal = normal / length
    unit = (float(normal[0]), float(normal[1]), float(normal[2]))
    grid = weights.map.grid if affine is None else Grid(weights.map.grid.shape, affine)
    box = union([weights.map.box] + ([] if organ is None else [organ.box]))
    steps = normal @ grid.affine[:3, :3]
    axis = int(np.abs(steps / geometry.spacing_of(grid.affine)).argmax())
    thickness = round(float(geometry.spacing_of(grid.affine)[axis]), _DECIMALS)
    if is_empty(box):
        return SliceProfile(unit, 0.0, thickness, np.zeros(0), (-1,) * len(spots))
    aligned = np.abs(np.delete(steps, axis)).max() <= _ALIGNED * thickness
    parts = _along_axis if aligned else _in_slabs
    start, sums = parts(weights.map, grid, normal, box, axis, thickness)
    values = sums / weights.steps * (grid.voxel_volume_mm3 / thickness)
    profile = _without_tails(SliceProfile(unit, start, thickness, values), tails, _reach(grid, organ, normal))
    hot = tuple(profile.index_at(float(normal @ _place(spot, grid, affine))) for spot in spots)
    return replace(profile, hot=hot)


def _reach(grid: Grid, organ: SparseVolume | None, normal: Float64) -> tuple[float, float] | None:
    """Return the lowest and highest position of an organ's voxels along a direction, mm, with the margin; None for an empty one."""
    if organ is None or is_empty(organ.box):
        return None
    sides = np.array([[side.start, side.stop - 1] for side in organ.box], np.float64)
    corners = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
    offsets = geometry.apply_affine(grid.affine, corners) @ normal
    return float(offsets.min()) - _MARGIN_MM, float(offsets.max()) + _MARGIN_MM


def _without_tails(profile: SliceProfile, tails: float, reach: tuple[float, float] | None) -> SliceProfile:
    """Leave out the ends that hold a small share of the sum, but nothing of the organ."""
    sums, total = np.cumsum(profile.values), float(profile.values.sum())
    if tails <= 0 or not total:
        return profile
    margin = int(np.ceil(_MARGIN_MM / profile.step))
    first = int(np.searchsorted(sums, tails * total)) - margin
    last = int(np.searchsorted(sums, (1 - tails) * total)) + margin
    if reach is not None:
        first = min(first, int(np.ceil((reach[0] - profile.start) / profile.step - _TINY)))
        last = max(last, int(np.floor((reach[1] - profile.start) / profile.step + _TINY)))
    first, last = max(first, 0), min(last, len(sums) - 1)
    return replace(profile, start=profile.offset_of(first), values=profile.values[first : last + 1])


def _place(spot: HotSpot, grid: Grid, affine: geometry.Matrix | None) -> Float64:
    return np.asarray(spot.center) if affine is None else np.asarray(geometry.apply_affine(grid.affine, spot.voxel))


def _along_axis(
    volume: SparseVolume, grid: Grid, normal: Float64, box: Box, axis: int, thickness: float
) -> tuple[float, npt.NDArray[np.int64]]:
    """Return position of the first slice and the sum of each, for a direction along an array axis."""
    margin = int(np.ceil(_MARGIN_MM / thickness))
    first, stop = max(0, box[axis].start - margin), min(grid.shape[axis], box[axis].stop + margin)
    sums = np.zeros(stop - first, np.int64)
    if not is_empty(volume.box):
        across = tuple(other for other in range(3) if other != axis)
        sums[volume.box[axis].start - first : volume.box[axis].stop - first] = volume.crop.sum(axis=across, dtype=np.int64)
    ends = [np.zeros(3), np.zeros(3)]
    ends[0][axis], ends[1][axis] = first, stop - 1
    low, high = (round(float(normal @ geometry.apply_affine(grid.affine, end)), _DECIMALS) for end in ends)
    return (low, sums) if low <= high else (high, sums[::-1])


def _in_slabs(
    volume: SparseVolume, grid: Grid, normal: Float64, box: Box, _axis: int, thickness: float
) -> tuple[float, npt.NDArray[np.int64]]:
    """Return the same for any other direction: each voxel counts for the slab that holds its center."""
    corners = np.array([[side.start, side.stop - 1] for side in box], np.float64)
    points = np.stack(np.meshgrid(*corners, indexing="ij"), axis=-1).reshape(-1, 3)
    reach = geometry.apply_affine(grid.affine, points) @ normal
    first, last = (int(np.floor(round(x / thickness, _DECIMALS) + 0.5)) for x in (reach.min() - _MARGIN_MM, reach.max() + _MARGIN_MM))
    voxels = np.argwhere(volume.crop)
    found = volume.crop[tuple(voxels.T)].astype(np.float64)
    offset = geometry.apply_affine(grid.affine, voxels + [side.start for side in volume.box]) @ normal
    slab = np.floor(np.round(offset / thickness, _DECIMALS) + 0.5).astype(np.int64) - first
    return first * thickness, np.bincount(slab, found, last - first + 1).astype(np.int64)
