"""AbdomenAtlas classes of organs: which value, which file name, and the combined map."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from AtlasSegmentLib.dataset_annotations import TARGET_CLASSES
from AtlasSegmentLib.errors import LabelError
from AtlasSegmentLib.labels import LabelTable, load_table, resolve
from AtlasSegmentLib.sparse import SparseVolume, intersection, relative, union
from AtlasSegmentLib.volume import Grid

TABLE = "abdomenatlas"


@cache
def abdomenatlas_table() -> LabelTable:
    """Return AbdomenAtlas' inference table: value 1..32 to name."""
    return load_table(TABLE)


@cache
def class_of(organ: str) -> int | None:
    """Return the AbdomenAtlas value of an organ by any of its names, or None when AbdomenAtlas does not have it."""
    try:
        return abdomenatlas_table().value_of(resolve(organ).name)
    except LabelError:
        return None


def organ_name(name: str) -> str:
    """Return the file name of an organ in a case folder: AbdomenAtlas' own name where it has the organ."""
    value = class_of(name)
    return name if value is None else abdomenatlas_table().name_of(value)


def is_target(organ: str) -> bool:
    """Tell whether AbdomenAtlas looks for errors in this organ (nine structures)."""
    return class_of(organ) in TARGET_CLASSES


def paint(masks: Mapping[int | None, SparseVolume], grid: Grid) -> SparseVolume:
    """Paint masks into one label map in ascending class order; later classes overwrite earlier ones (AbdomenAtlas' order).

    Args:
        masks: AbdomenAtlas value to mask on `grid`; the key None (a structure without a value) is left out.
        grid: The case's grid.

    Returns:
        uint8 label map, 0..32.
    """
    box = union([mask.box for mask in masks.values()])
    result = SparseVolume(grid, box, np.zeros([s.stop - s.start for s in box], np.uint8))
    for value in sorted(number for number in masks if number is not None):
        mask = masks[value]
        shared = intersection(mask.box, box)
        if shared is not None:
            result.crop[relative(shared, box)][mask.crop > 0] = value
    return result
