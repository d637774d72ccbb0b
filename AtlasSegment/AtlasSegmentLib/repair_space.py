"""The copy of a label map that repairs work on: cropped to its labels, in RAS order, with every decision in RAS mm.

All orientations of one case give the same copy, so they give the same result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from AtlasSegmentLib import geometry
from AtlasSegmentLib.components import Box, Components, Mask, bounding_box, find_components, grow_box
from AtlasSegmentLib.errors import InputError, LabelError
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.regions import sub_grid
from AtlasSegmentLib.sparse import EMPTY_BOX, union
from AtlasSegmentLib.volume import Array, LabelVolume
from AtlasSegmentLib.volume_io import label_values


@dataclass(frozen=True)
class Part:
    """One connected component of a label.

    Attributes:
        value: The label.
        box: Where it lies in the array of its `LabelSpace`.
        mask: Its voxels in the box.
        voxels: How many.
    """

    value: int
    box: Box
    mask: Mask
    voxels: int


class LabelSpace:
    """A working copy of a label map.

    Args:
        labels: Integers (X, Y, Z) in any orientation, with a table. Not changed.

    Attributes:
        array: The labels' box in RAS order [x, y, z]; repairs write here.
        affine: (4, 4), index of `array` to RAS mm.
        table: The labels' table.
        voxel_mm3: Volume of a voxel.

    Raises:
        LabelError: No table, or a value that the table does not have.
        InputError: The array is not of integers.
    """

    def __init__(self, labels: LabelVolume) -> None:
        self.table = _checked_table(labels)
        self._source = labels
        turned = labels.reoriented("RAS")
        box = bounding_box(turned.array) or (slice(0, 0), slice(0, 0), slice(0, 0))
        self._box, self._shape = box, turned.shape
        self.array: Array = np.array(turned.array[box], order="K")
        self.affine = sub_grid(turned.grid, box).affine
        self.voxel_mm3 = labels.voxel_volume_mm3
        self._values = {self.table.structure_of(value).name: value for value in self.table.labels}
        columns = self.affine[:3, :3]
        sides = ((1, 2), (0, 2), (0, 1))
        self.face_mm2 = np.array([float(np.linalg.norm(np.cross(columns[:, a], columns[:, b]))) for a, b in sides])
        self._boxes = _boxes_of(self.array) if self.array.size else {}

    def finish(self) -> LabelVolume:
        """Return the repaired label map in the orientation, dtype and memory order of the input."""
        source = self._source
        result = np.array(source.array, order="K")
        order, sign = geometry.reorientation(source.orientation, "RAS")
        result.transpose(order)[tuple(slice(None, None, step) for step in sign)][self._box] = self.array
        return LabelVolume(result, source.affine, source.source, source.header, source.table)

    def value(self, canonical: str) -> int | None:
        """Return the value of a structure by its canonical name, or None when the table does not have it."""
        return self._values.get(canonical)

    def name(self, value: int) -> str:
        """Return the published name of a value."""
        return self.table.name_of(value)

    def boxes(self) -> dict[int, Box]:
        """Return a box around every value that is in the array; one whose voxels were relabeled may be too large, or hold none."""
        return dict(self._boxes)

    def parts(self, value: int) -> list[Part]:
        """Return the 26-connected components of a value, largest first; ties in the order of their first voxel."""
        box = self._boxes.get(value)
        if box is None:
            return []
        components = find_components(self.array[box] == value)
        ranked = components.ranked(components.sizes.size)
        boxes = _boxes_of(components.labels) if len(ranked) > 1 else {1: bounding_box(components.labels)}
        found = [(number, boxes[number]) for number in ranked]
        return [self._part(value, components, number, inner, box) for number, inner in found if inner is not None]

    def _part(self, value: int, components: Components, number: int, inner: Box, box: Box) -> Part:
        x, y, z = (slice(i.start + o.start, i.stop + o.start) for i, o in zip(inner, box, strict=True))
        return Part(value, (x, y, z), components.labels[inner] == number, int(components.sizes[number]))

    def relabel(self, part: Part, value: int) -> None:
        """Give all voxels of a part a value."""
        self.array[part.box][part.mask] = value
        self._grow(value, part.box)

    def relabel_voxels(self, index: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> None:
        """Give single voxels, (N, 3) into `array`, values (N,)."""
        x, y, z = index.T
        self.array[x, y, z] = values
        for value in np.unique(values).tolist():
            own = index[values == value]
            low, high = own.min(axis=0).tolist(), own.max(axis=0).tolist()
            self._grow(value, (slice(low[0], high[0] + 1), slice(low[1], high[1] + 1), slice(low[2], high[2] + 1)))

    def _grow(self, value: int, box: Box) -> None:
        if value:
            self._boxes[value] = union([self._boxes.get(value, EMPTY_BOX), box])

    def borders(self, part: Part) -> frozenset[tuple[int, bool]]:
        """Return the faces of the image that a part touches, each as (axis, whether it is the far one)."""
        found = set()
        for axis, (own, crop, size) in enumerate(zip(part.box, self._box, self._shape, strict=True)):
            if own.start + crop.start == 0:
                found.add((axis, False))
            if own.stop + crop.start == size:
                found.add((axis, True))
        return frozenset(found)

    def touches_border(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell for indices into `array`, shape (N, 3), whether they lie on a face of the image."""
        absolute = index + np.array([side.start for side in self._box])
        return np.asarray(((absolute == 0) | (absolute == np.array(self._shape) - 1)).any(axis=1))

    def contacts(self, part: Part) -> tuple[dict[int, float], float]:
        """Return (shared surface in mm2 by value, whole surface in mm2) of a part; background and air outside are value 0."""
        box = grow_box(part.box, 1, self.array.shape)
        before = [own.start - grown.start for own, grown in zip(part.box, box, strict=True)]
        after = [grown.stop - own.stop for own, grown in zip(part.box, box, strict=True)]
        around = np.pad(self.array[box], [(1 - b, 1 - a) for b, a in zip(before, after, strict=True)])
        inside = np.pad(part.mask, 1)
        areas: dict[int, float] = {}
        for axis in range(3):
            for step in (1, -1):
                # The padding is empty, so what np.roll carries around is never inside.
                outer = inside & ~np.roll(inside, step, axis)
                counts = np.bincount(np.roll(around, step, axis)[outer])
                for value in np.flatnonzero(counts).tolist():
                    areas[value] = areas.get(value, 0.0) + float(counts[value]) * float(self.face_mm2[axis])
        return areas, sum(areas.values())

    def world(self, index: npt.ArrayLike) -> geometry.Matrix:
        """Return RAS mm of indices into `array`, shape (..., 3)."""
        return geometry.apply_affine(self.affine, index)

    def world_axis(self, box: Box, axis: int) -> geometry.Matrix:
        """Return one coordinate in RAS mm of the voxels of a box, in a shape that broadcasts to that of the box.

        It is not larger than it must be: on a grid that is not oblique RAS x changes along the first axis alone.
        """
        total = np.full((1, 1, 1), self.affine[axis, 3])
        for i, side in enumerate(box):
            if self.affine[axis, i]:
                steps = self.affine[axis, i] * np.arange(side.start, side.stop)
                total = total + steps.reshape([-1 if n == i else 1 for n in range(3)])
        return total

    def slice_centers(self, part: Part) -> geometry.Matrix:
        """Return (n, 4): center in RAS mm and number of voxels of each slice of a part that has any."""
        across, along = part.mask.sum(axis=1), part.mask.sum(axis=0)
        size = across.sum(axis=0)
        kept = np.flatnonzero(size)
        x, y, z = (np.arange(side.start, side.stop) for side in part.box)
        index = np.stack([(x @ across)[kept] / size[kept], (y @ along)[kept] / size[kept], z[kept]], axis=1)
        return np.concatenate([self.world(index), size[kept, None]], axis=1)


def _checked_table(labels: LabelVolume) -> LabelTable:
    what = labels.source or "label map"
    if labels.table is None:
        message = f"{what}: has no label table, so nobody knows which values are which structures."
        raise LabelError(message, "Name the table that it was written with.")
    if labels.array.dtype.kind not in "iu":
        message = f"{what}: a label map holds integers, got {labels.array.dtype}."
        raise InputError(message, "Give the label map, not a probability or CT image.")
    labels.table.require_values(label_values(labels.array), what)
    return labels.table


def _boxes_of(array: Array) -> dict[int, Box]:
    """Return the box of every positive value, going through the array in the order in which it lies in memory."""
    order = sorted(range(3), key=lambda axis: -abs(array.strides[axis]))
    found = ndimage.find_objects(array.transpose(order))
    back = [order.index(axis) for axis in range(3)]
    return {number: (box[back[0]], box[back[1]], box[back[2]]) for number, box in enumerate(found, 1) if box is not None}
