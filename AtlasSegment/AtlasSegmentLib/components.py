"""Connected components, holes and box-shaped morphology of masks, always on the crop that holds the mask.

Masks are boolean arrays of shape (X, Y, Z). Any memory layout is fast (flipped and transposed views too), and new masks
take the layout of the mask they come from. No function here changes its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]

_CHUNK_VOXELS = 4_000_000


def bounding_box(mask: npt.NDArray[Any]) -> Box | None:
    """Return the smallest box that holds every non-zero voxel of a 3-D array, or None when there is none.

    Reduces axis by axis, the slowest one in memory first, and looks only at what the axes before left over.
    """
    found = [slice(0, n) for n in mask.shape]
    for axis in _memory_order(mask):
        view = mask[tuple(found)]
        others = tuple(i for i in range(3) if i != axis)
        hit = np.flatnonzero(view.any(axis=others))
        if hit.size == 0:
            return None
        start = found[axis].start
        found[axis] = slice(start + int(hit[0]), start + int(hit[-1]) + 1)
    return (found[0], found[1], found[2])


def grow_box(box: Box, margin: int, shape: Sequence[int]) -> Box:
    """Return `box` with `margin` voxels more on every side, cut at the borders of an array of `shape`."""
    x, y, z = (slice(max(side.start - margin, 0), min(side.stop + margin, n)) for side, n in zip(box, shape, strict=True))
    return (x, y, z)


def placed(like: npt.NDArray[Any], box: Box | None, crop: Mask | None) -> Mask:
    """Return a mask of the shape and memory layout of `like` that is False outside `box` and `crop` inside it."""
    order = _memory_order(like)
    # np.zeros gets untouched pages from the system, so a mostly empty mask costs what its box costs.
    result: Mask = np.zeros([like.shape[axis] for axis in order], dtype=np.bool_).transpose(np.argsort(order))
    if box is not None and crop is not None:
        result[box] = crop
    return result


def component_sizes(mask: Mask) -> npt.NDArray[np.int64]:
    """Return the voxel counts of the 26-connected components of a mask, largest first."""
    box = bounding_box(mask)
    if box is None:
        return np.zeros(0, dtype=np.int64)
    return np.sort(find_components(mask[box]).sizes[1:])[::-1]


def largest_components(mask: Mask, k: int, more_than: float = 0) -> Mask:
    """Keep the `k` largest 26-connected components that have strictly more than `more_than` voxels.

    Of equally large components the one whose first voxel (in C order of `mask`) comes first wins, so that the result
    depends neither on the memory layout nor on the package that labels. An empty mask gives an empty mask.
    """
    box = bounding_box(mask)
    if box is None:
        return placed(mask, None, None)
    components = find_components(mask[box])
    return placed(mask, box, components.mask_of(components.ranked(k, more_than)))


def fill_holes(mask: Mask) -> Mask:
    """Return the mask with the background that has no 6-connected way out filled in 3-D (as scipy's binary_fill_holes)."""
    box = bounding_box(mask)
    if box is None:
        return placed(mask, None, None)
    labels = _label(np.pad(~mask[box], 1, constant_values=True), 6)
    inside = labels[1:-1, 1:-1, 1:-1] != labels[0, 0, 0]
    return placed(mask, box, inside)


def box_dilate(mask: Mask, radius: int) -> Mask:
    """Dilate by a cube of 2 * radius + 1 voxels; what lies outside of the array counts as background."""
    for axis in range(3):
        grown = mask.copy()
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(grown, axis, 0)
        for step in range(1, min(radius, len(source) - 1) + 1):
            target[step:] |= source[:-step]
            target[:-step] |= source[step:]
        mask = grown
    return mask


def box_erode(mask: Mask, radius: int) -> Mask:
    """Erode by a cube of 2 * radius + 1 voxels; what lies outside of the array counts as foreground (pad if it must not)."""
    return ~box_dilate(~mask, radius)


@dataclass(frozen=True)
class Components:
    """The components of one mask.

    Attributes:
        labels: Component number of each voxel, 0 is background; unsigned or signed integer.
        sizes: Voxel count by component number, int64; entry 0 (background) is 0.
    """

    labels: npt.NDArray[Any]
    sizes: npt.NDArray[np.int64]

    def ranked(self, k: int, more_than: float = 0) -> list[int]:
        """Return the numbers of the `k` largest components with strictly more than `more_than` voxels, largest first."""
        numbers = np.flatnonzero(self.sizes > max(more_than, 0))
        if k < 1 or numbers.size == 0:
            return []
        sizes = self.sizes[numbers]
        contenders = numbers[sizes >= np.sort(sizes)[-min(k, sizes.size)]]
        first = self._first_voxels_of_tied(contenders)
        return sorted((int(n) for n in contenders), key=lambda n: (-int(self.sizes[n]), first.get(n, 0)))[:k]

    def mask_of(self, numbers: Sequence[int]) -> Mask:
        """Return the union of some components as a mask."""
        if len(numbers) == 1:
            return np.asarray(self.labels == numbers[0])
        keep = np.zeros(self.sizes.size, dtype=np.bool_)
        keep[list(numbers)] = True
        return np.asarray(keep[self.labels])

    def _first_voxels_of_tied(self, numbers: npt.NDArray[np.int64]) -> dict[int, int]:
        values, counts = np.unique(self.sizes[numbers], return_counts=True)
        tied = numbers[np.isin(self.sizes[numbers], values[counts > 1])]
        if tied.size == 0:
            return {}
        flat = self.labels.ravel()
        chosen = np.zeros(self.sizes.size, dtype=np.bool_)
        chosen[tied] = True
        voxels = np.flatnonzero(chosen[flat])
        found, first = np.unique(flat[voxels], return_index=True)
        return {int(n): int(voxels[i]) for n, i in zip(found, first, strict=True)}


def find_components(mask: Mask) -> Components:
    """Number the 26-connected components of a mask; give it a crop, for the labels take 4 bytes a voxel."""
    order = _memory_order(mask)
    labels = _label(mask.transpose(order), 26)
    return Components(labels.transpose(np.argsort(order)), _count(labels))


def _memory_order(array: npt.NDArray[Any]) -> tuple[int, ...]:
    return tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))


def _count(labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    sizes = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    # np.bincount makes an int64 copy of what it counts: in slabs that copy stays small.
    step = max(1, _CHUNK_VOXELS * len(labels) // max(labels.size, 1))
    for start in range(0, len(labels), step):
        sizes += np.bincount(labels[start : start + step].ravel(), minlength=sizes.size)
    sizes[0] = 0
    return sizes


def _label(mask: Mask, connectivity: Literal[6, 26]) -> npt.NDArray[Any]:
    """Label a mask with connectivity 6 or 26, by connected-components-3d or else (in bare Slicer) by SciPy."""
    try:
        import cc3d
    except ImportError:
        structure = ndimage.generate_binary_structure(3, {6: 1, 26: 3}[connectivity])
        return np.asarray(ndimage.label(mask, structure)[0])
    # The padding makes room that cc3d 4.1 needs: it underestimates how many 26-components a thin or tiny array can have and
    # fails, for example, on two voxels in an array of shape (1, 1, 3). The copy is writable too, which cc3d asks for.
    labels = cc3d.connected_components(np.pad(mask, (0, 1)), connectivity=connectivity)
    return np.asarray(labels)[:-1, :-1, :-1]
