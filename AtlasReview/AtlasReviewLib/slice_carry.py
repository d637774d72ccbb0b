"""Corrections of some slices carried to the slices between them: which slices a reader corrected, and what would change. No MRML.

Slices are numbered along the patient's axes (0 sagittal, 1 coronal, 2 axial) in RAS order, from left, back and feet, whatever the
array order of the case is, so that LPS, RAS and oblique versions of a case give the same numbers and the same masks in the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from AtlasReviewLib.simulation_case import AXES
from AtlasReviewLib.slice_interpolation import carry_between
from AtlasReviewLib.slice_seams import without_seams
from AtlasSegmentLib import geometry
from AtlasSegmentLib.components import Box, bounding_box
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.sparse import SparseVolume, is_empty, trimmed, union
from AtlasSegmentLib.volume import Array, Grid

Mask = npt.NDArray[np.bool_]

_FLAT = 1.5
_SURE = 0.5
"""Chosen on torso-3mm: with corrections all around and of one side only, gaps of 2 to 16 slices; 0.5 to 1 hardly differ."""
_ML = 1000.0


@dataclass(frozen=True)
class Carried:
    """A proposal: the organ with its corrections carried to the slices between.

    Attributes:
        across: RAS axis across the slices: 0 sagittal, 1 coronal, 2 axial.
        corrected: The slices that it was made from, by RAS number.
        changed: The slices that would change.
        added_ml, removed_ml: What the organ would gain and lose.
        mask: The whole organ with the proposal, uint8 0/1 on the grid of the case.
        shown: The organ in the slices that would change, and nothing else; uint8 0/1.
    """

    across: int
    corrected: tuple[int, ...]
    changed: tuple[int, ...]
    added_ml: float
    removed_ml: float
    mask: SparseVolume
    shown: SparseVolume


def corrected_slices(references: Sequence[SparseVolume], now: SparseVolume, across: int) -> list[int]:
    """Return the RAS numbers of the slices in which a mask differs from every reference.

    Args:
        references: The mask that the task began with, and for each proposal that was kept the same with its slices in it: what the
            program itself drew is no correction.
        now: The mask in the editor, on the same grid.
        across: RAS axis across the slices, 0, 1 or 2.
    """
    return _Crop.of((*references, now)).corrected(across)


def edited_axis(references: Sequence[SparseVolume], now: SparseVolume) -> int | None:
    """Return the RAS axis across the slices that were edited; None when nothing was.

    Strokes on slices are flat: it is the axis along which the runs of corrected slices are shortest on average. Where two are almost as
    short (balls of a 3-D brush) the one with more runs is taken, then axial before coronal before sagittal.
    """
    return _Crop.of((*references, now)).edited_axis()


def carry(
    references: Sequence[SparseVolume],
    now: SparseVolume,
    across: int | None = None,
    neighbors: Sequence[SparseVolume] = (),
) -> Carried:
    """Propose masks for the slices between corrected ones by contour interpolation (see slice_interpolation).

    Where outlines changed on one side only the rest of the slices between stays as it is.

    Args:
        references, now: As for `corrected_slices`.
        across: RAS axis across the slices; None takes `edited_axis`.
        neighbors: Masks of other organs that nothing is added to.

    Raises:
        InputError: Nothing can be carried; the message says why.
    """
    crop, grid = _Crop.of((*references, now)), now.grid
    chosen = across if across is not None else crop.edited_axis()
    if chosen is None:
        message = "No slice was corrected since the task was opened."
        raise InputError(message, "Correct two slices some way apart; what lies between is proposed then.")
    numbers = crop.corrected(chosen)
    _require_gap(numbers, AXES[chosen])
    organ = _proposed(crop, chosen, numbers)
    _keep_out(organ, crop, neighbors)
    before = crop.masks[-1]
    changed = np.flatnonzero((organ != before).any(axis=_others(chosen)))
    if not changed.size:
        message = "The slices between the corrected ones are already as they would be proposed."
        raise InputError(message, "Correct another slice, or go on by hand.")
    at = _at(chosen, changed)
    added, removed = (np.count_nonzero(part) * grid.voxel_volume_mm3 / _ML for part in (organ[at] & ~before[at], before[at] & ~organ[at]))
    shown = np.zeros_like(organ)
    shown[at] = organ[at]
    first = crop.first[chosen]
    return Carried(
        chosen, tuple(numbers), tuple(int(i) + first for i in changed), float(added), float(removed), crop.back(organ), crop.back(shown)
    )


def kept_reference(before: SparseVolume, kept: Carried) -> SparseVolume:
    """Return a reference with the slices that a kept proposal changed: they are no corrections of the reader from now on."""
    crop = _Crop.of((before, kept.mask))
    result = crop.masks[0].copy(order="K")
    at = _at(kept.across, np.asarray(kept.changed) - crop.first[kept.across])
    result[at] = crop.masks[1][at]
    return crop.back(result)


def slice_points(grid: Grid, across: int, numbers: Sequence[int]) -> tuple[geometry.Matrix, geometry.Matrix]:
    """Return the middles of slices, RAS mm (N, 3), and the unit vector across them, RAS (3,).

    Args:
        grid: Of the case.
        across: RAS axis across the slices.
        numbers: RAS numbers.
    """
    order, sign = geometry.reorientation(grid.orientation, "RAS")
    index = np.tile((np.asarray(grid.shape, np.float64) - 1) / 2, (len(numbers), 1))
    along = np.asarray(numbers, np.float64)
    index[:, order[across]] = along if sign[across] > 0 else grid.shape[order[across]] - 1 - along
    column = sign[across] * grid.affine[:3, order[across]]
    return geometry.apply_affine(grid.affine, index), np.asarray(column / np.linalg.norm(column))


def _require_gap(numbers: Sequence[int], name: str) -> None:
    """Raise InputError unless there is a slice between two of these."""
    if len(numbers) < 2:
        count = "Only one" if numbers else "No"
        message = f"{count} {name} slice was corrected since the task was opened."
        raise InputError(message, f"Correct a second {name} slice some way off; what lies between is proposed then.")
    if all(b - a == 1 for a, b in pairwise(numbers)):
        message = f"The {len(numbers)} corrected {name} slices lie side by side: there is none between them."
        raise InputError(message, "Correct another slice some way off, or choose another direction.")


def _proposed(crop: _Crop, across: int, numbers: Sequence[int]) -> Mask:
    """Return the organ in canonical order with the slices between `numbers` proposed."""
    before, now = crop.masks[-2:]
    organ = now.copy(order="K")
    for a, b in pairwise(number - crop.first[across] for number in numbers):
        if b - a > 1:
            stack = _at(across, slice(a, b + 1))
            organ[_at(across, slice(a + 1, b))] = _between(before[stack], now[stack], across, crop.spacing)
    return organ


def _keep_out(organ: Mask, crop: _Crop, neighbors: Sequence[SparseVolume]) -> None:
    """Take what was added in neighbors out of a mask again."""
    added = organ & ~crop.masks[-1]
    span = bounding_box(added)
    if span is not None:
        for other in neighbors:
            organ[span] &= ~(added[span] & crop.canonical(other, span))


def _between(plain: Mask, drawn: Mask, across: int, spacing: tuple[float, float, float]) -> Mask:
    """Return the organ between two corrected slices, the first and the last one of a stack.

    Outlines that were corrected all around are interpolated. That forgets what lies between, so that a correction of one side is carried
    alone: what it adds to, and takes from, the interpolated outlines of before. Which of both it is follows from the masks themselves: by
    how much the interpolation misses what lies between now, against the size of the corrections.

    Args:
        plain: Before the corrections.
        drawn: Now.
        across: The axis across the slices.
        spacing: In mm.
    """
    last = drawn.shape[across] - 1
    corrected = sum(np.count_nonzero(drawn[_at(across, i)] != plain[_at(across, i)]) for i in (0, last)) / 2
    shown = drawn[_at(across, slice(1, last))]
    whole, old = (carry_between(mask, across, 0, last, spacing) for mask in (drawn, plain))
    if np.count_nonzero(old != shown) < _SURE * (last - 1) * corrected:
        return whole
    alone = (shown | (whole & ~old)) & ~(old & ~whole)
    for index in range(last - 1):
        at = _at(across, index)
        alone[at] = without_seams(alone[at], shown[at], whole[at])
    return alone


def _others(axis: int) -> tuple[int, int]:
    a, b = (i for i in range(3) if i != axis)
    return a, b


def _at(axis: int, index: int | slice | npt.NDArray[np.intp]) -> tuple[slice | int | npt.NDArray[np.intp], ...]:
    return (*(slice(None),) * axis, index)


@dataclass(frozen=True)
class _Crop:
    """Masks of one case in the box that they fill together, in RAS order.

    Attributes:
        like: A mask on the grid of the case with the box.
        order, sign: How the array becomes RAS, as `geometry.reorientation` gives them.
        first: RAS number of the first slice of the box along each RAS axis.
        masks: Bool, (R, A, S); the last one is the mask in the editor.
    """

    like: SparseVolume
    order: tuple[int, int, int]
    sign: tuple[int, int, int]
    first: tuple[int, int, int]
    masks: tuple[Mask, ...]

    @classmethod
    def of(cls, volumes: Sequence[SparseVolume]) -> _Crop:
        grid, box = volumes[-1].grid, union([volume.box for volume in volumes])
        order, sign = geometry.reorientation(grid.orientation, "RAS")
        low = [box[axis].start if s > 0 else grid.shape[axis] - box[axis].stop for axis, s in zip(order, sign, strict=True)]
        like = SparseVolume(grid, box, volumes[-1].within(box))
        crop = cls(like, order, sign, (low[0], low[1], low[2]), ())
        return cls(like, order, sign, crop.first, tuple(crop.canonical(volume) for volume in volumes))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along R, A, S in mm, to 1e-6, so that the signs of an affine make no difference."""
        size = geometry.spacing_of(self.like.grid.affine)
        r, a, s = (round(float(size[axis]), 6) for axis in self.order)
        return (r, a, s)

    def canonical(self, volume: SparseVolume, span: Box | None = None) -> Mask:
        """Return a mask in the box, or in a part of it, in RAS order; a view, so that all masks have one layout in memory."""
        box = self.like.box if span is None else self._box_of(span)
        turned = (volume.within(box) != 0).transpose(self.order)
        return np.asarray(turned[tuple(slice(None, None, s) for s in self.sign)])

    def _box_of(self, span: Box) -> Box:
        """Return where a part of the box in RAS order lies in the array of the case."""
        sides = [slice(0, 0)] * 3
        for part, axis, s in zip(span, self.order, self.sign, strict=True):
            whole = self.like.box[axis]
            start = whole.start + part.start if s > 0 else whole.stop - part.stop
            sides[axis] = slice(start, start + part.stop - part.start)
        return (sides[0], sides[1], sides[2])

    def back(self, mask: Mask) -> SparseVolume:
        """Return a mask of the box on the grid of the case."""
        turned: Array = mask[tuple(slice(None, None, s) for s in self.sign)].transpose(np.argsort(self.order))
        return trimmed(SparseVolume(self.like.grid, self.like.box, turned.astype(np.uint8, order="F")))

    @cached_property
    def apart(self) -> list[Mask]:
        """Where the last mask differs from each of the others."""
        return [self.masks[-1] != other for other in self.masks[:-1]]

    def corrected(self, across: int) -> list[int]:
        """Return the RAS numbers of the slices in which the last mask differs from all others."""
        if is_empty(self.like.box):
            return []
        differ = [apart.any(axis=_others(across)) for apart in self.apart]
        return [int(index) + self.first[across] for index in np.flatnonzero(np.logical_and.reduce(differ))]

    def edited_axis(self) -> int | None:
        """Return as the function `edited_axis`."""
        numbers = {axis: self.corrected(axis) for axis in (2, 1, 0)}
        if not all(numbers.values()):
            return None
        runs = {axis: 1 + sum(b - a > 1 for a, b in pairwise(found)) for axis, found in numbers.items()}
        length = {axis: len(numbers[axis]) / runs[axis] for axis in runs}
        flat = [axis for axis in (2, 1, 0) if length[axis] <= _FLAT * min(length.values())]
        return max(flat, key=lambda axis: runs[axis])
