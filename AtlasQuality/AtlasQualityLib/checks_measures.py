"""What is measured of one mask: volume, place, mean HU, components, holes, and whether the image or region cuts it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib import geometry
from AtlasSegmentLib.components import Box, Components, Mask, fill_holes, find_components
from AtlasSegmentLib.sparse import SparseVolume, is_empty
from AtlasSegmentLib.volume import Array

Point = tuple[float, float, float]
_SLAB_VOXELS = 4_000_000


@dataclass(frozen=True)
class Piece:
    """One 26-connected component.

    Attributes:
        ml: Its volume.
        center: Center of mass, RAS mm.
        is_cut: It touches a face of the image.
    """

    ml: float
    center: Point
    is_cut: bool


@dataclass(frozen=True)
class Measures:
    """One mask in numbers.

    Attributes:
        organ: Name of its file.
        name: Canonical name of the structure.
        ml: Volume.
        center: Center of mass, RAS mm; None when it is empty.
        hu: Mean of the CT inside; NaN without a CT or voxels.
        pieces: Components, largest first.
        hole_ml: Volume of everything that the mask encloses.
        largest_hole: (ml, center) of the largest hole, or None.
        is_cut: It touches a face of the image or of the region that was segmented.
        box: Its bounding box.
        bits: Its voxels in the box, packed.
    """

    organ: str
    name: str
    ml: float
    center: Point | None
    hu: float
    pieces: tuple[Piece, ...]
    hole_ml: float
    largest_hole: tuple[float, Point] | None
    is_cut: bool
    box: Box
    bits: npt.NDArray[np.uint8]

    @property
    def crop(self) -> Mask:
        """The voxels in the box, bool."""
        shape = [side.stop - side.start for side in self.box]
        return np.unpackbits(self.bits, count=math.prod(shape)).reshape(shape).astype(np.bool_)


@dataclass(frozen=True)
class Region:
    """The box that models looked at: center and half size in mm, axes as columns."""

    center: geometry.Matrix
    axes: geometry.Matrix
    half: geometry.Matrix

    def is_reached(self, corners: geometry.Matrix, tolerance: float) -> bool:
        """Tell whether any of some points (N, 3), RAS mm, comes within `tolerance` mm of a face, or lies beyond it."""
        local = np.abs((corners - self.center) @ self.axes)
        return bool((local > self.half - tolerance).any())


def measure(organ: str, name: str, mask: SparseVolume, ct: Array | None, regions: tuple[Region, ...] = ()) -> Measures:
    """Measure one mask.

    Args:
        organ, name: File name and canonical name.
        mask: 0 outside; on the grid of the CT, in its array order.
        ct: HU (X, Y, Z), or None.
        regions: What the models looked at, when that was less than the image.
    """
    if is_empty(mask.box):
        return Measures(organ, name, 0.0, None, math.nan, (), 0.0, None, False, mask.box, np.zeros(0, np.uint8))
    crop = mask.crop > 0
    voxel_ml = mask.grid.voxel_volume_mm3 / 1000
    affine = _shifted(mask.grid.affine, mask.box)
    pieces = _pieces(crop, affine, voxel_ml, _faces(mask))
    total = sum(piece.ml for piece in pieces)
    center = np.average([piece.center for piece in pieces], axis=0, weights=[piece.ml for piece in pieces])
    holes = fill_holes(crop) & ~crop
    gaps = _pieces(holes, affine, voxel_ml, ()) if holes.any() else ()
    hu = float(np.mean(ct[mask.box][crop], dtype=np.float64)) if ct is not None else math.nan
    is_cut = any(piece.is_cut for piece in pieces) or _reaches(mask, regions)
    largest = (gaps[0].ml, gaps[0].center) if gaps else None
    enclosed = sum(gap.ml for gap in gaps)
    return Measures(organ, name, total, _point(center), hu, pieces, enclosed, largest, is_cut, mask.box, np.packbits(crop))


def _pieces(mask: Mask, affine: geometry.Matrix, voxel_ml: float, faces: tuple[tuple[int, int], ...]) -> tuple[Piece, ...]:
    components = find_components(mask)
    means = _index_sums(mask, components) / np.maximum(components.sizes, 1)[:, None]
    centers = geometry.apply_affine(affine, means)
    cut: set[int] = set()
    for axis, index in faces:
        cut.update(int(n) for n in np.unique(np.take(components.labels, index, axis=axis)))
    order = sorted(np.flatnonzero(components.sizes), key=lambda n: (-int(components.sizes[n]), tuple(centers[n].round(3))))
    return tuple(Piece(float(components.sizes[n] * voxel_ml), _point(centers[n]), int(n) in cut) for n in order)


def _index_sums(mask: Mask, components: Components) -> npt.NDArray[np.float64]:
    """Return the sum of the voxel indices of each component, (N, 3); slab by slab, as a whole body has many voxels."""
    sums = np.zeros((components.sizes.size, 3))
    step = max(1, _SLAB_VOXELS // max(1, mask.shape[0] * mask.shape[1]))
    for start in range(0, mask.shape[2], step):
        part = mask[:, :, start : start + step]
        numbers = components.labels[:, :, start : start + step][part]
        voxels = np.argwhere(part)
        for axis, offset in enumerate((0, 0, start)):
            sums[:, axis] += np.bincount(numbers, voxels[:, axis] + offset, len(sums))
    return sums


def _faces(mask: SparseVolume) -> tuple[tuple[int, int], ...]:
    """Return (axis, index into the crop) of every plane of the crop that lies on a face of the image."""
    found = []
    for axis, (side, size) in enumerate(zip(mask.box, mask.grid.shape, strict=True)):
        if side.start == 0:
            found.append((axis, 0))
        if side.stop == size:
            found.append((axis, side.stop - side.start - 1))
    return tuple(found)


def _reaches(mask: SparseVolume, regions: tuple[Region, ...]) -> bool:
    index = geometry.corners([side.stop - side.start for side in mask.box]) + [side.start for side in mask.box]
    tolerance = 1.5 * float(geometry.spacing_of(mask.grid.affine).max())
    corners = geometry.apply_affine(mask.grid.affine, index)
    return any(region.is_reached(corners, tolerance) for region in regions)


def _shifted(affine: geometry.Matrix, box: Box) -> geometry.Matrix:
    inner = np.array(affine, dtype=np.float64)
    inner[:3, 3] = geometry.apply_affine(affine, [side.start for side in box])
    return inner


def _point(values: npt.ArrayLike) -> Point:
    x, y, z = (round(float(value), 3) + 0.0 for value in np.asarray(values))
    return (x, y, z)
