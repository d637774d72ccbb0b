"""Which part of a CT a model sees, and the grid it sees it on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.volume import Grid, Volume

if TYPE_CHECKING:
    from AtlasSegmentLib.markups import Roi

_log = logging.getLogger(__name__)
BODY_HU = -500.0
_LEAST_VOXELS = 2
_MOSTLY = 0.8  # of an ROI
_BODY_STRIDE_MM = 4.0
_TIE = 1e-3  # of a voxel
_SAME_SPACING_MM = 1e-3
_AT_RIGHT_ANGLES = 1e-8  # of a voxel, at the far corners
_ON_BORDER = 1e-4  # of a voxel: float32 headers put box faces that far off


def whole_box(grid: Grid) -> Matrix:
    """Return the eight corners of a grid's outer faces in RAS mm, shape (8, 3)."""
    shape = np.array(grid.shape, dtype=np.float64)
    unit = geometry.corners((2, 2, 2))
    return geometry.apply_affine(grid.affine, unit * shape - 0.5)


def roi_box(grid: Grid, roi: Roi) -> Matrix:
    """Return the corners of an ROI in RAS mm, shape (8, 3), checked to overlap the grid.

    Raises:
        InputError: The ROI lies outside the image.
    """
    box = roi.corners()
    low, high = _index_faces(grid, box)
    if (low >= np.array(grid.shape) - 0.5).any() or (high <= -0.5).any():
        what, image = f"{roi.source}: the ROI" if roi.source else "The ROI", grid.source or "the image"
        message = f"{what} does not overlap {image}: it spans {_span(box)} mm, the image {_span(whole_box(grid))} mm (RAS)."
        raise InputError(message, "Draw the ROI on this CT, in RAS coordinates.")
    return box


def require_covered(grid: Grid, box: Matrix) -> None:
    """Check that a box holds at least two voxels along each axis; warn when much of it lies outside of the image.

    Raises:
        InputError: It is smaller.
    """
    low, high = _index_faces(grid, box)
    inside = np.minimum(high, np.array(grid.shape) - 0.5) - np.maximum(low, -0.5)
    if (inside < _LEAST_VOXELS).any():
        message = f"The ROI covers {' x '.join(f'{n:.1f}' for n in inside)} voxels of {grid.source or 'the image'}: too small to segment."
        raise InputError(message, "Draw the ROI around the whole region that the model was made for.")
    share = float(np.prod(inside / (high - low)))
    if share < _MOSTLY:
        _log.warning("Only %.0f %% of the ROI lies inside %s: results there are doubtful.", 100 * share, grid.source or "the image")


def _span(points: Matrix) -> str:
    return " x ".join(f"{a:.0f}..{b:.0f}" for a, b in zip(points.min(0), points.max(0), strict=True))


def body_box(ct: Volume) -> Matrix:
    """Return the corners in RAS mm, shape (8, 3), of the box around the patient: the largest part denser than -500 HU.

    Found on a copy thinned to about 4 mm and grown by one of its voxels. Falls back to the whole image when nothing is
    that dense.
    """
    from scipy import ndimage

    step = np.maximum(1, np.floor(_BODY_STRIDE_MM / ct.spacing)).astype(int)
    dense = ct.array[:: step[0], :: step[1], :: step[2]] > BODY_HU
    parts, count = ndimage.label(dense)
    if count == 0:
        return whole_box(ct.grid)
    largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
    found = ndimage.find_objects(parts)[largest - 1]
    low = np.array([(s.start - 1) * k for s, k in zip(found, step, strict=True)], dtype=np.float64)
    high = np.array([s.stop * k for s, k in zip(found, step, strict=True)], dtype=np.float64)
    low, high = np.maximum(low, 0) - 0.5, np.minimum(high, np.array(ct.shape) - 1) + 0.5
    return geometry.apply_affine(ct.affine, low + geometry.corners((2, 2, 2)) * (high - low))


def fitted_grid(ct: Grid, orientation: str, box: Matrix, shape: Sequence[int]) -> Grid:
    """Return a grid of exactly `shape` that fills `box`, along the axes of the CT, in `orientation`.

    Voxel areas are aligned: the outer faces of the first and last voxel lie on the faces of the box (as
    align_corners=False does). The box is clipped to the image; an oblique box is replaced by the box around it.
    """
    turned, low, high = _turned(ct, orientation, box)
    return _grid_between(turned, low, high, np.asarray(shape, dtype=np.int64))


def spaced_grid(ct: Grid, orientation: str, box: Matrix, spacing: Sequence[float]) -> Grid:
    """Return a grid over `box` whose voxels are as close to `spacing` (mm) as a whole number of them allows."""
    turned, low, high = _turned(ct, orientation, box)
    extent = (high - low) * geometry.spacing_of(turned.affine)
    # Halves go down with room for rounding, so that a turned copy of a case never gets one voxel more.
    count = np.ceil(extent / np.asarray(spacing) - 0.5 - _TIE)
    return _grid_between(turned, low, high, np.maximum(1, count).astype(np.int64))


def centered_grid(ct: Grid, orientation: str, spacing: Sequence[float] | None) -> Grid:
    """Return the grid on which MONAI's Orientation and Spacing put a whole image.

    The first voxel keeps its center, and the last one is as near to the image's last center as whole steps allow. An axis whose
    spacing is right to a thousandth of a mm keeps it. A sheared image is laid on right angles; its middle stays where it is, and so
    does that of an image whose angles differ from right ones by the rounding of its header.

    Args:
        ct: The image.
        orientation: Axis codes; "" keeps the image's.
        spacing: mm; None keeps the image's.
    """
    order, sign = geometry.reorientation(ct.orientation, orientation or ct.orientation)
    shape = [ct.shape[axis] for axis in order]
    affine = geometry.reorient_affine(ct.affine, ct.shape, order, sign)
    own = geometry.spacing_of(affine)
    wanted = own if spacing is None else np.asarray(spacing, np.float64)
    wanted = np.where(np.abs(wanted - own) <= _SAME_SPACING_MM, own, wanted)
    rotation, upper = np.linalg.qr(affine[:3, :3])
    result = np.eye(4)
    result[:3, :3] = rotation * (np.sign(np.diag(upper)) * wanted)
    ends = geometry.corners(shape)
    reached = geometry.apply_affine(np.asarray(np.linalg.inv(result) @ affine, np.float64), ends)
    size = np.round(np.ptp(reached, axis=0) + 1.0)
    least = [np.abs((reached - corner).min(axis=0)).max() for corner in reached]
    first = next((end for end, off in zip(ends, least, strict=True) if off <= _AT_RIGHT_ANGLES), None)
    middle = np.asarray(shape) / 2
    result[:3, 3] = (
        geometry.apply_affine(affine, middle) - result[:3, :3] @ (size / 2) if first is None else geometry.apply_affine(affine, first)
    )
    return Grid((int(size[0]), int(size[1]), int(size[2])), result, ct.source)


def voxels_in(grid: Grid, box: Matrix) -> tuple[slice, slice, slice]:
    """Return the voxels of a grid that a box (corners in RAS mm) touches, at least one along each axis."""
    low, high = _index_faces(grid, box)
    last = np.array(grid.shape) - 1
    first = np.clip(np.floor(low + 0.5 + _ON_BORDER), 0, last).astype(int)
    stop = np.clip(np.ceil(high + 0.5 - _ON_BORDER), first + 1, last + 1).astype(int)
    return (slice(int(first[0]), int(stop[0])), slice(int(first[1]), int(stop[1])), slice(int(first[2]), int(stop[2])))


def _turned(ct: Grid, orientation: str, box: Matrix) -> tuple[Grid, Matrix, Matrix]:
    order, sign = geometry.reorientation(ct.orientation, orientation)
    shape = (ct.shape[order[0]], ct.shape[order[1]], ct.shape[order[2]])
    turned = Grid(shape, geometry.reorient_affine(ct.affine, ct.shape, order, sign), ct.source)
    low, high = _index_faces(turned, box)
    return turned, np.maximum(low, -0.5), np.minimum(high, np.array(shape) - 0.5)


def _index_faces(grid: Grid, box: Matrix) -> tuple[Matrix, Matrix]:
    index = geometry.apply_affine(np.asarray(np.linalg.inv(grid.affine), np.float64), box)
    return index.min(axis=0), index.max(axis=0)


def _grid_between(turned: Grid, low: Matrix, high: Matrix, shape: Matrix) -> Grid:
    step = (high - low) / shape
    affine = np.eye(4)
    affine[:3, :3] = np.diag(step)
    affine[:3, 3] = low + step / 2
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), turned.affine @ affine, turned.source)


def covered_voxels(ct: Grid, model_grid: Grid) -> tuple[slice, slice, slice]:
    """Return the voxels of the CT whose centers lie inside the box that a model's grid fills."""
    low, high = _index_faces(ct, whole_box(model_grid))
    first = np.clip(np.ceil(low - _ON_BORDER), 0, ct.shape).astype(int)
    stop = np.clip(np.floor(high + _ON_BORDER) + 1, first, ct.shape).astype(int)
    return (slice(int(first[0]), int(stop[0])), slice(int(first[1]), int(stop[1])), slice(int(first[2]), int(stop[2])))


def sub_grid(grid: Grid, box: tuple[slice, slice, slice]) -> Grid:
    """Return the grid of a crop."""
    affine = grid.affine.copy()
    affine[:3, 3] = geometry.apply_affine(grid.affine, [s.start for s in box])
    return Grid((box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start), affine, grid.source, grid.header)
