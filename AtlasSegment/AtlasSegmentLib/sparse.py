"""Maps that are zero almost everywhere, kept as their non-zero box: read and written without the whole grid in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AtlasSegmentLib import nifti
from AtlasSegmentLib.components import Box, bounding_box
from AtlasSegmentLib.volume import Array, Grid, require_same_grid


@dataclass(frozen=True)
class SparseVolume:
    """A volume that is zero outside a box.

    Attributes:
        grid: The whole grid, (X, Y, Z).
        box: Where the crop lies; slices with start and stop.
        crop: The voxels inside the box; its shape is that of the box and may be empty.
    """

    grid: Grid
    box: Box
    crop: Array

    def within(self, box: Box) -> Array:
        """Return the voxels of another box, zero where this one has none; shape of `box`."""
        if box == self.box:
            return self.crop
        result = np.zeros(box_shape(box), self.crop.dtype, order="F")
        shared = intersection(self.box, box)
        if shared is not None:
            result[relative(shared, box)] = self.crop[relative(shared, self.box)]
        return result

    def dense(self) -> Array:
        """Return the whole array (X, Y, Z), in Fortran order."""
        result = np.zeros(self.grid.shape, self.crop.dtype, order="F")
        result[self.box] = self.crop
        return result


EMPTY_BOX: Box = (slice(0, 0), slice(0, 0), slice(0, 0))


def box_shape(box: Box) -> tuple[int, int, int]:
    """Return the shape of a box."""
    return (box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start)


def is_empty(box: Box) -> bool:
    """Tell whether a box holds no voxel."""
    return min(box_shape(box)) <= 0


def union(boxes: list[Box]) -> Box:
    """Return the smallest box around all boxes; the empty box when all are empty."""
    full = [box for box in boxes if not is_empty(box)]
    if not full:
        return EMPTY_BOX
    x, y, z = (slice(min(b[i].start for b in full), max(b[i].stop for b in full)) for i in range(3))
    return (x, y, z)


def intersection(a: Box, b: Box) -> Box | None:
    """Return the voxels that two boxes share, or None."""
    x, y, z = (slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return None if is_empty((x, y, z)) else (x, y, z)


def relative(inner: Box, outer: Box) -> Box:
    """Return `inner` as indices into the crop of `outer`."""
    x, y, z = (slice(p.start - q.start, p.stop - q.start) for p, q in zip(inner, outer, strict=True))
    return (x, y, z)


def from_dense(array: Array, grid: Grid, offset: tuple[int, int, int] = (0, 0, 0)) -> SparseVolume:
    """Return the non-zero box of an array that lies at `offset` in `grid`. The crop is a view."""
    found = bounding_box(array)
    if found is None:
        return SparseVolume(grid, EMPTY_BOX, np.zeros((0, 0, 0), array.dtype))
    x, y, z = (slice(s.start + o, s.stop + o) for s, o in zip(found, offset, strict=True))
    return SparseVolume(grid, (x, y, z), array[found])


def trimmed(volume: SparseVolume) -> SparseVolume:
    """Return the same map with the smallest box around what is not zero."""
    x, y, z = (part.start for part in volume.box)
    return from_dense(volume.crop, volume.grid, (x, y, z))


def check_maps(paths: Iterable[Path], grid: Grid) -> None:
    """Check that maps are whole and lie on a grid, before a step replaces what it made of others.

    Raises:
        InputError: One is truncated or damaged.
        GeometryError: One has another shape or affine.
    """
    for path in paths:
        require_same_grid(nifti.check_whole(path), grid)


def read_sparse(path: Path) -> SparseVolume:
    """Read a NIfTI file slab by slab and keep its non-zero box. Raises InputError as `nifti.read_nifti`."""
    parts: list[tuple[Box, Array]] = []
    with nifti.open_slabs(path) as (grid, slabs):
        for first, slab in slabs:
            found = bounding_box(slab)
            if found is not None:
                box = (found[0], found[1], slice(found[2].start + first, found[2].stop + first))
                parts.append((box, slab[found].copy(order="F")))
    box = union([part for part, _ in parts])
    dtype = parts[0][1].dtype if parts else np.dtype(np.uint8)
    crop = np.zeros(box_shape(box), dtype, order="F")
    for part, values in parts:
        crop[relative(part, box)] = values
    return SparseVolume(grid, box, crop)


def write_sparse(path: Path, volume: SparseVolume, slope: float = 1.0) -> None:
    """Write the whole grid as NIfTI, one slab at a time; readers multiply by `slope`. Raises as `nifti.write_nifti`."""
    crop = volume.crop.astype(np.uint8) if volume.crop.dtype == np.bool_ else volume.crop
    nifti.write_slabs(path, volume.grid, crop.dtype, _slabs(SparseVolume(volume.grid, volume.box, crop)), slope)


def _slabs(volume: SparseVolume) -> Iterator[Array]:
    x, y, depth = volume.grid.shape
    thick = max(1, nifti.SLAB_BYTES // max(1, x * y * volume.crop.dtype.itemsize))
    for first in range(0, depth, thick):
        yield volume.within((slice(0, x), slice(0, y), slice(first, min(first + thick, depth))))
