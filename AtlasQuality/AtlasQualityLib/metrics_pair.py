"""Two masks that are to be compared: cropped to the box that holds both, in the order in which they lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.metrics_nearest import NearSteps, PointGrid, UInt8, grid_steps, near_steps
from AtlasQualityLib.surface_table import INSIDE, Float64
from AtlasSegmentLib.components import Mask, bounding_box
from AtlasSegmentLib.errors import GeometryError
from AtlasSegmentLib.sparse import union
from AtlasSegmentLib.volume import Array

_SLAB_VOXELS = 1 << 19  # what is worked on at a time stays in the cache


@dataclass(frozen=True)
class MaskPair:
    """Two masks of one grid.

    Attributes:
        mask: bool (X, Y, Z), C order; no voxel when both are empty.
        reference: The same.
        axes: The array axes in mm, columns of a (3, 3) matrix, in the coordinates that were given (RAS for an affine).
        steps: The same in coordinates of their own, diagonal where the axes are perpendicular: for lengths and areas.
    """

    mask: Mask
    reference: Mask
    axes: Float64
    steps: Float64

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return abs(float(np.linalg.det(self.steps))) / 1000

    @cached_property
    def near(self) -> NearSteps:
        """The shortest steps of the grid."""
        return near_steps(self.steps)


def mask_pair(mask: Array, reference: Array, axes: npt.ArrayLike) -> MaskPair:
    """Crop two masks and bring them into memory order.

    Args:
        mask: (X, Y, Z), 0 is outside; any dtype and memory order.
        reference: The same.
        axes: Voxel sizes in mm (3,), or an affine (3, 3) or (4, 4) whose columns are the steps of the array axes in mm.

    Raises:
        GeometryError: The shapes differ, or the axes have no volume.
    """
    a, b = np.asarray(mask), np.asarray(reference)
    if a.shape != b.shape or a.ndim != 3:
        message = f"two masks to compare have shapes {a.shape} and {b.shape}; one 3-D shape is needed."
        raise GeometryError(message, "Resample one onto the grid of the other first: atlas resample ONE NEW --like OTHER --labels.")
    box = union([found for found in (bounding_box(a), bounding_box(b)) if found is not None])
    return cropped_pair(a[box] != 0, b[box] != 0, axes)


def cropped_pair(mask: Mask, reference: Mask, axes: npt.ArrayLike) -> MaskPair:
    """Bring two masks that are cropped already into memory order; arguments and errors as `mask_pair`."""
    steps = grid_steps(axes)
    given = np.asarray(axes, np.float64)
    columns = np.diag(given) if given.shape == (3,) else given[:3, :3]
    order = sorted(range(3), key=lambda axis: -abs(mask.strides[axis]))
    one, two = (np.ascontiguousarray(x.transpose(order)) for x in (mask, reference))
    return MaskPair(one, two, columns[:, order], steps[:, order])


def element_grid(mask: Mask, margin: tuple[int, int, int]) -> PointGrid:
    """Return the surface elements of a mask: the corners of the voxel grid whose eight voxels are not all inside or all outside.

    Args:
        mask: bool (X, Y, Z), C order.
        margin: Room to leave at every side.

    Returns:
        Marks of shape (X + 1, Y + 1, Z + 1) and twice the margin; a mark says which of the eight are inside, one bit each, in the
        order of `surface_table.CORNERS`.
    """
    marks, inner = _room([n + 1 for n in mask.shape], margin)
    for start, block in _slabs(mask, 1):
        bits = block.view(np.uint8)
        along = bits[:, :, :-1] | (bits[:, :, 1:] << np.uint8(1))
        across = along[:, :-1] | (along[:, 1:] << np.uint8(2))
        codes = across[:-1] | (across[1:] << np.uint8(4))
        codes[codes == INSIDE] = 0
        inner[start : start + len(codes)] = codes
    return PointGrid.of(marks)


def border_grid(mask: Mask, margin: tuple[int, int, int]) -> PointGrid:
    """Return the voxels of a mask that have a face in common with the outside; arguments and marks (0 or 1) as `element_grid`."""
    marks, inner = _room(list(mask.shape), margin)
    for start, block in _slabs(mask, 2):
        middle = block[1:-1, 1:-1, 1:-1]
        within = middle & block[:-2, 1:-1, 1:-1] & block[2:, 1:-1, 1:-1] & block[1:-1, :-2, 1:-1] & block[1:-1, 2:, 1:-1]
        within &= block[1:-1, 1:-1, :-2] & block[1:-1, 1:-1, 2:]
        inner[start : start + len(middle)] = middle & ~within
    return PointGrid.of(marks)


def _room(shape: list[int], margin: tuple[int, int, int]) -> tuple[UInt8, UInt8]:
    """Return zeros with a margin, and the view of what is within."""
    marks = np.zeros([n + 2 * m for n, m in zip(shape, margin, strict=True)], np.uint8)
    return marks, marks[tuple(slice(m, m + n) for n, m in zip(shape, margin, strict=True))]


def _slabs(mask: Mask, overlap: int) -> Iterator[tuple[int, Mask]]:
    """Yield (first, block) of the mask with one voxel of outside around it, so that `overlap` slices of a block come again."""
    length, rows, columns = mask.shape
    thick = max(1, _SLAB_VOXELS // max(1, rows * columns))
    for start in range(0, length + 2 - overlap, thick):
        stop = min(start + thick + overlap, length + 2)
        block = np.zeros((stop - start, rows + 2, columns + 2), np.bool_)
        first, last = max(start - 1, 0), min(stop - 1, length)
        block[first + 1 - start : last + 1 - start, 1:-1, 1:-1] = mask[first:last]
        yield start, block
