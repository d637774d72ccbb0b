"""Post-processing on the boxes that masks fill, instead of on whole grids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from AtlasSegmentLib.components import Box
from AtlasSegmentLib.postprocess import RuleKind, postprocess_volume, rule_of
from AtlasSegmentLib.regions import sub_grid
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, from_dense, is_empty, union
from AtlasSegmentLib.volume import Array, Grid

SparseSource = Callable[[int], SparseVolume | None]
"""Gives the raw mask of an AbdomenAtlas class as a SparseVolume, or None when there is no such mask."""


def postprocess_sparse(raw: SparseSource, grid: Grid, class_value: int) -> SparseVolume:
    """Post-process one class; the same result as `postprocess_volume` on whole grids.

    Args:
        raw: Source of raw masks on `grid`; it must have one of `class_value`.
        grid: The case's grid, any orientation.
        class_value: AbdomenAtlas class.

    Returns:
        Bool mask, cropped.
    """
    rule = rule_of(class_value)
    own = raw(class_value)
    if own is None or (is_empty(own.box) and rule.kind is not RuleKind.LUNGS):  # a lung may come from the mask of the other
        return SparseVolume(grid, EMPTY_BOX, np.zeros((0, 0, 0), np.bool_))
    found: dict[int, SparseVolume | None] = {class_value: own, **{value: raw(value) for value in rule.needs}}
    box = _frame(grid, [mask.box for mask in found.values() if mask is not None], rule.kind)

    def source(value: int) -> Array | None:
        mask = found[value]
        return None if mask is None else mask.within(box).astype(np.bool_, copy=False)

    cleaned = postprocess_volume(source, sub_grid(grid, box).affine, class_value)
    return from_dense(cleaned, grid, (box[0].start, box[1].start, box[2].start))


def _frame(grid: Grid, boxes: list[Box], kind: RuleKind) -> Box:
    if kind is RuleKind.LUNGS:  # its one-lung rule splits the image, not the crop, in the middle
        return (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
    return union(boxes)
