"""What the label-quality network sees: an axial CT slice and the mask in it, cut out around the mask and brought to one size.

Two rules. "compat" is SegAE's own, exactly: a crop in voxels that is clipped at the image's border, and each side squeezed to the
same number of pixels, so that the aspect changes. "isotropic" is ours: a true square in mm around the mask, padded with air where it
leaves the image, so that an organ looks the same whatever the spacing. Both look at axial slices of the volume in LPS order, so the
file's own axis order and the side it is seen from change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.volume import Array

Float32 = npt.NDArray[np.float32]
Box2 = tuple[int, int, int, int]
"""First and last row, first and last column of a mask in a slice; the last ones belong to it."""
Kind = Literal["isotropic", "compat"]
KINDS: tuple[Kind, ...] = ("isotropic", "compat")
CHANNELS = 2
_WINDOW_HU = 200.0


@dataclass(frozen=True)
class SliceRule:
    """How a slice becomes the network's input.

    Attributes:
        kind: See the module's text.
        size: Rows and columns of the input.
        margin: Room around the mask: mm on each side ("isotropic"), voxels on each side ("compat").
    """

    kind: Kind = "isotropic"
    size: int = 256
    margin: float = 20.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.size < 32 or self.size % 32 or not 0 <= self.margin <= 200:
            message = f"a slice rule of kind {self.kind!r}, size {self.size} and margin {self.margin} is not known."
            raise InputError(message, f"Kinds: {', '.join(KINDS)}; the size is a multiple of 32; the margin lies between 0 and 200.")


def axial(array: Array) -> Array:
    """Return a view [slice, row, column] of an array [x, y, z] in LPS order: rows grow to posterior, columns to the left."""
    return array.transpose(2, 1, 0)


def mask_box(mask: Array) -> Box2 | None:
    """Return where a mask (rows, columns) lies in its slice; None when it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])) if len(rows) else None


def slice_input(
    ct: Array,
    mask: Array,
    spacing: tuple[float, float],
    rule: SliceRule,
    box: Box2 | None = None,
    margins: tuple[float, float] | None = None,
) -> Float32:
    """Return the network's input for one slice.

    Args:
        ct: (rows, columns), HU.
        mask: The same shape, 0 is outside.
        spacing: mm between rows, and between columns.
        rule: How.
        box: Cut out around this; around the mask when None. An empty mask needs one.
        margins: Of rows and columns, in place of the rule's margin.

    Returns:
        (2, size, size): the CT, -200..200 HU as -2..2, and the mask, outside -1 and inside 1.

    Raises:
        InputError: The mask is empty and no box is given.
    """
    found = box or mask_box(mask)
    if found is None:
        message = "an empty mask has no place in its slice that could be cut out."
        raise InputError(message, "Give the box to look at.")
    result = np.empty((CHANNELS, rule.size, rule.size), np.float32)
    rows, columns = _sides(found, ct.shape, spacing, rule, margins or (rule.margin, rule.margin))
    part = np.s_[rows.first : rows.stop, columns.first : columns.stop]
    hounsfield = np.clip(ct[part].astype(np.float32), -_WINDOW_HU, _WINDOW_HU)
    result[0] = rows.weights @ ((hounsfield + _WINDOW_HU) / (2 * _WINDOW_HU)) @ columns.weights.T
    result[1] = rows.weights @ (mask[part] != 0).astype(np.float32) @ columns.weights.T
    result[0] = (result[0] - 0.5) / 0.25
    result[1] = (result[1] - 0.5) / 0.5
    return result


@dataclass(frozen=True)
class _Side:
    """One side of a crop: voxels first..stop-1 of the image, and how they become pixels, (size, stop - first)."""

    first: int
    stop: int
    weights: Float32


def _sides(
    box: Box2, shape: tuple[int, ...], spacing: tuple[float, float], rule: SliceRule, margins: tuple[float, float]
) -> tuple[_Side, _Side]:
    if rule.kind == "compat":
        r0, r1, c0, c1 = compat_crop(box, (shape[0], shape[1]), (int(margins[0]), int(margins[1])))
        return _clipped(r0, r1, rule.size), _clipped(c0, c1, rule.size)
    low, high, spaces = np.array(box[::2], float), np.array(box[1::2], float) + 1, np.array(spacing, float)
    side = float(((high - low) * spaces + 2 * np.array(margins)).max())
    first = (low + high) / 2 - side / spaces / 2
    rows, columns = (_padded(first[i], side / spaces[i], shape[i], rule.size) for i in (0, 1))
    return rows, columns


def compat_crop(box: Box2, shape: tuple[int, int], margins: tuple[int, int]) -> Box2:
    """Return SegAE's crop of a slice: first and past-the-end row, first and past-the-end column.

    The far side has one voxel less than the near one, and a crop at the border or with an odd difference of sides is not
    square: both as published, since its weights were trained on that.
    """
    r0, r1, c0, c1 = box
    rows, columns = [max(r0 - margins[0], 0), min(r1 + margins[0], shape[0])], [max(c0 - margins[1], 0), min(c1 + margins[1], shape[1])]
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    shorter, length = (rows, shape[0]) if height < width else (columns, shape[1])
    more = abs(height - width) // 2
    shorter[:] = [max(shorter[0] - more, 0), min(shorter[1] + more, length)]
    return (rows[0], rows[1], columns[0], columns[1])


def _clipped(first: int, stop: int, size: int) -> _Side:
    stop = max(stop, first + 1)  # a margin of 0 and a single row leave nothing by SegAE's rule
    return _Side(first, stop, _triangles(0.0, stop - first, stop - first, size))


def _padded(start: float, length: float, image: int, size: int) -> _Side:
    """Return a side that may leave the image: what lies outside weighs nothing, which is air and no mask."""
    reach = max(length / size, 1.0) + 1
    low, high = int(np.floor(start - reach)), int(np.ceil(start + length + reach))
    first = min(max(low, 0), image - 1)
    stop = max(min(high, image), first + 1)
    weights = _triangles(start - low, length, high - low, size)
    return _Side(first, stop, np.ascontiguousarray(weights[:, first - low : stop - low]))


def _triangles(start: float, length: float, voxels: int, size: int) -> Float32:
    """Return the weights of linear interpolation with a filter as wide as a pixel where pixels are larger than voxels, (size, voxels).

    The rule of Pillow's `Image.resize(BILINEAR)`, which SegAE uses.
    """
    scale = length / size
    centers = start + (np.arange(size) + 0.5) * scale
    weights = np.maximum(0.0, 1 - np.abs(np.arange(voxels) + 0.5 - centers[:, None]) / max(scale, 1.0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
