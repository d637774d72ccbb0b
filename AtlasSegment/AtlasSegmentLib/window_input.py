"""What a model that slides windows, or sees a region as a whole, is shown of a CT: its grid, its orientation, its intensities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from AtlasSegmentLib import geometry, regions
from AtlasSegmentLib.components import Box, bounding_box, grow_box
from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.intensity import normalized
from AtlasSegmentLib.model_manifest import Intensity, ModelInput
from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.sliding_window import Bools
from AtlasSegmentLib.sparse import relative
from AtlasSegmentLib.volume import Grid, Volume

AIR_HU = -900.0
"""Windows with nothing denser than this are air."""


@dataclass(frozen=True)
class NetworkInput:
    """What a network is shown.

    Attributes:
        grid: Grid of the result.
        place: Where `image` lies on `grid`; the rest is background.
        image: (X, Y, Z), after all intensity rules.
        air: (X, Y, Z), true where the CT holds air; None when it was not asked for or cannot be told.
    """

    grid: Grid
    place: Box
    image: Float32
    air: Bools | None


def network_input(ct: Volume, rule: ModelInput, box: Matrix, *, find_air: bool = False) -> NetworkInput:
    """Return what a network is shown of a box of a CT.

    Args:
        ct: HU.
        rule: See `ModelInput`.
        box: Corners in RAS mm, (8, 3).
        find_air: Fill `NetworkInput.air`.
    """
    source = _changed(ct, rule.source_intensity)
    if rule.grid == "centers":
        grid, hu, image = _on_centers(source, rule, box)
    else:
        if rule.fit_shape is not None:
            grid = regions.fitted_grid(ct.grid, rule.orientation, box, rule.fit_shape)
        else:
            grid = regions.spaced_grid(ct.grid, rule.orientation, box, rule.spacing or (1.0, 1.0, 1.0))
        hu = resample(source, grid).array
        image = _ruled(hu, rule.rules)
    air = hu <= AIR_HU if find_air and not rule.source_intensity else None
    return _foreground(grid, image, air) if rule.crop_foreground else NetworkInput(grid, _whole(grid), image, air)


def _changed(ct: Volume, rules: tuple[Intensity, ...]) -> Volume:
    return ct if not rules else ct.with_array(_ruled(ct.array.astype(np.float32), rules))


def _ruled(image: Float32, rules: Iterable[Intensity]) -> Float32:
    for rule in rules:
        image = normalized(image, rule)
    return image


def _on_centers(ct: Volume, rule: ModelInput, box: Matrix) -> tuple[Grid, Float32, Float32]:
    """Return grid, resampled CT and network input on the part of MONAI's grid of the whole CT that the box touches."""
    whole = regions.centered_grid(ct.grid, rule.orientation, rule.spacing)
    part = regions.voxels_in(whole, box)
    grid = regions.sub_grid(whole, part)
    if not any(step.needs_all for step in rule.rules):
        hu = _continued(ct, grid)
        return grid, hu, _ruled(hu, rule.rules)
    hu = _continued(ct, whole)
    return grid, hu[part], np.ascontiguousarray(_ruled(hu, rule.rules)[part])


def _continued(ct: Volume, grid: Grid) -> Float32:
    """Resample; where the grid's last centers lie beyond the CT's faces, its border is continued."""
    reach = geometry.apply_affine(np.asarray(np.linalg.inv(ct.affine) @ grid.affine, np.float64), geometry.corners(grid.shape))
    before = np.ceil(np.maximum(-reach.min(axis=0) - 0.5, 0) - 1e-6).astype(int)
    after = np.ceil(np.maximum(reach.max(axis=0) - np.array(ct.shape) + 0.5, 0) - 1e-6).astype(int)
    if before.any() or after.any():
        array = np.pad(ct.array, list(zip(before, after, strict=True)), mode="edge")
        affine = ct.affine.copy()
        affine[:3, 3] = geometry.apply_affine(ct.affine, -before)
        ct = replace(Volume(array, affine), source=ct.source)
    return np.asarray(resample(ct, grid).array, np.float32)


def _foreground(grid: Grid, image: Float32, air: Bools | None) -> NetworkInput:
    """Look at the box of positive voxels alone; one layer around it is kept as background, as it is padded with zeros afterwards."""
    box = bounding_box(image > 0) or _whole(grid)
    frame = grow_box(box, 1, grid.shape)
    shown = np.ascontiguousarray(image[box])
    return NetworkInput(regions.sub_grid(grid, frame), relative(box, frame), shown, None if air is None else air[box])


def _whole(grid: Grid) -> Box:
    return (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
