"""The plane between left and right: one world x (RAS mm). Left is the lower x.

Everything works on the canonical RAS view, so that flipped and permuted files of one case give the very same number.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from AtlasReviewLib.case_masks import Mask, case_grid, read_mask
from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.components import bounding_box, find_components, largest_components
from AtlasSegmentLib.nifti import open_slabs
from AtlasSegmentLib.volume import reorient

BODY_HU = -500.0
_STEP_MM = 4.0
_DECIMALS = 3  # micrometers: far finer than a voxel, far coarser than what rounding does to equal geometries
_logger = logging.getLogger(__name__)


def case_midline(case: CaseFolder) -> float | None:
    """Return the world x (mm) of the midline of a case: of its vertebra masks, else of the body in its CT, else None.

    Raises:
        InputError, GeometryError: A file is damaged or lies on another grid.
    """
    vertebrae = vertebra_masks(case)
    if vertebrae:
        grid = case_grid(case)
        centers = [center for path in vertebrae if (center := _center_x(read_mask(path, grid), grid.affine)) is not None]
        if centers:
            return round(float(np.mean(sorted(centers))), _DECIMALS)
    return body_midline(case.ct) if case.ct.is_file() else None


def vertebra_masks(case: CaseFolder) -> list[Path]:
    """Return the files of vertebra masks of a case: the average's, else those of the first model that has any."""
    folders = [case.average, *(case.backbone(model) for model in case.models())]
    for folder in folders:
        files = [folder.mask(organ) for organ in folder.organs() if organ.startswith("vertebra")]
        if files:
            return files
    return []


def body_midline(ct: Path) -> float | None:
    """Return the world x (mm) of the middle of the body: the center of mass of each axial slice, averaged.

    The body is the largest component above -500 HU, looked at on a coarse grid, about 4 mm apart.
    None where nothing is above -500 HU.
    """
    with open_slabs(ct) as (grid, slabs):
        order, sign = geometry.reorientation(grid.orientation, "RAS")
        steps = [max(1, int(_STEP_MM / size)) for size in geometry.spacing_of(grid.affine)]
        flipped = [sign[order.index(axis)] < 0 for axis in range(3)]
        # Count from the same anatomical end whatever the array order is, so that the same voxels are looked at.
        first = [(grid.shape[axis] - 1) % steps[axis] if flipped[axis] else 0 for axis in range(3)]
        parts = []
        for z, slab in slabs:
            start = (first[2] - z) % steps[2]
            parts.append(slab[first[0] :: steps[0], first[1] :: steps[1], start :: steps[2]] > BODY_HU)
    body = np.concatenate(parts, axis=2)
    coarse = np.asarray(grid.affine) @ np.diag([*steps, 1.0])
    coarse[:3, 3] = geometry.apply_affine(grid.affine, first)
    array, affine = reorient(body, coarse, "RAS")
    return _mean_of_slices(largest_components(np.ascontiguousarray(array), 1), affine)


def midline_of_pair(mask: Mask, affine: geometry.Matrix) -> float:
    """Return the world x (mm) halfway between the centers of the two largest components; of the image with fewer than two."""
    array, affine = reorient(mask, affine, "RAS")
    box = bounding_box(array)
    if box is not None:
        components = find_components(array[box])
        pair = components.ranked(2)
        if len(pair) == 2:
            inner = affine.copy()
            inner[:3, 3] = geometry.apply_affine(affine, [side.start for side in box])
            centers = [_center_x(components.mask_of([number]), inner) or 0.0 for number in pair]
            return round(sum(sorted(centers)) / 2, _DECIMALS)
    middle = geometry.apply_affine(affine, [(n - 1) / 2 for n in array.shape])
    _logger.warning("Neither a CT nor two components tell where the midline is: the middle of the image is taken.")
    return round(float(middle[0]), _DECIMALS)


def world_x(voxels: npt.NDArray[np.int64], affine: geometry.Matrix) -> npt.NDArray[np.float64]:
    """Return the world x (mm, to the micrometer) of voxel indices, shape (N, 3)."""
    row = np.asarray(affine)[0]
    return np.asarray(np.round(voxels[:, 0] * row[0] + voxels[:, 1] * row[1] + voxels[:, 2] * row[2] + row[3], _DECIMALS))


def _mean_of_slices(body: Mask, affine: geometry.Matrix) -> float | None:
    means = []
    for z in range(body.shape[2]):
        voxels = np.argwhere(body[:, :, z])
        if len(voxels):
            means.append(float(geometry.apply_affine(affine, [*voxels.mean(axis=0), z])[0]))
    return round(float(np.mean(means)), _DECIMALS) if means else None


def _center_x(mask: Mask, affine: geometry.Matrix) -> float | None:
    array, affine = reorient(mask, affine, "RAS")
    voxels = np.argwhere(array)
    return float(geometry.apply_affine(affine, voxels.mean(axis=0))[0]) if len(voxels) else None
