"""The part of a CT that a model in the CT's own voxels looks at, and its results back on the CT. No voxel is resampled here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from AtlasSegmentLib import geometry, regions
from AtlasSegmentLib.components import Box
from AtlasSegmentLib.inference_settings import InferenceSettings
from AtlasSegmentLib.prediction import Region
from AtlasSegmentLib.volume import Array, Grid, Volume

if TYPE_CHECKING:
    from AtlasSegmentLib.markups import Roi


def looked_at(ct: Volume, roi: Roi | Region | None, settings: InferenceSettings, orientation: str | None) -> Volume:
    """Return the part of a CT that is segmented, a view.

    Args:
        ct: The CT.
        roi: The region, "whole", or None: the body's box where the settings say so.
        settings: See `InferenceSettings.body`.
        orientation: Axis codes the model was trained in, such as "RAS"; None keeps the order of the file, as nnU-Net does.

    Raises:
        InputError: The region lies outside the CT.
    """
    corners = regions.whole_box(ct.grid)
    if roi is not None and roi != "whole":
        corners = regions.roi_box(ct.grid, roi)
    elif roi is None and settings.body:
        corners = regions.body_box(ct)
    array, affine = geometry_of(ct, orientation)
    index = geometry.apply_affine(np.asarray(np.linalg.inv(affine), np.float64), corners)
    low, high = np.ceil(index.min(axis=0) - _ON_BORDER), np.floor(index.max(axis=0) + _ON_BORDER) + 1
    x, y, z = (slice(int(max(0, a)), int(min(n, max(b, a + 1)))) for a, b, n in zip(low, high, array.shape, strict=True))
    grid = regions.sub_grid(Grid((array.shape[0], array.shape[1], array.shape[2]), affine, ct.source), (x, y, z))
    return Volume(array[x, y, z], grid.affine, ct.source)


_ON_BORDER = 1e-3  # of a voxel


def geometry_of(ct: Volume, orientation: str | None) -> tuple[Array, geometry.Matrix]:
    """Return (view of the array, affine) in the wanted orientation."""
    if orientation is None:
        return ct.array, ct.affine
    order, sign = geometry.reorientation(ct.grid.orientation, orientation)
    turned = ct.array.transpose(order)[tuple(slice(None, None, s) for s in sign)]
    return turned, geometry.reorient_affine(ct.affine, ct.shape, order, sign)


def box_on(crop: Array, box: Box, image: Grid, ct: Grid) -> tuple[Array, Grid, tuple[int, int, int]]:
    """Return a crop of an image as (view on the axes of the CT, the CT's grid, first voxel there).

    Args:
        crop: (X, Y, Z) on the axes of `image`.
        box: Where it lies in `image`.
        image: A part of the CT, perhaps with axes in another order or direction.
        ct: The CT.
    """
    to_ct = np.linalg.inv(ct.affine) @ image.affine
    turn = np.rint(to_ct[:3, :3]).astype(int)
    order = [int(np.flatnonzero(row)[0]) for row in turn]
    ends = np.array([[part.start for part in box], [part.stop - 1 for part in box]], np.float64)
    found = np.rint(geometry.apply_affine(to_ct, ends)).astype(int).min(axis=0)
    signs = tuple(slice(None, None, int(turn[axis, order[axis]])) for axis in range(3))
    return crop.transpose(order)[signs], ct, (int(found[0]), int(found[1]), int(found[2]))
