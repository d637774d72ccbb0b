"""The organs around the one that is reviewed: in which order and with which values they are shown, and where they overlap it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from AtlasSegmentLib.labels import load_table, structure_for
from AtlasSegmentLib.sparse import SparseVolume, box_shape, intersection, is_empty, relative


def overlap_ml(own: SparseVolume, others: Iterable[SparseVolume]) -> float:
    """Return how much of a mask lies in at least one of the others too, in ml.

    Args:
        own: 0/1.
        others: 0/1 on the same grid.
    """
    if is_empty(own.box):
        return 0.0
    covered = np.zeros(box_shape(own.box), np.bool_, order="F")
    for other in others:
        shared = None if is_empty(other.box) else intersection(own.box, other.box)
        if shared is not None:
            covered[relative(shared, own.box)] |= other.crop[relative(shared, other.box)] != 0
    return float(np.count_nonzero(covered & (own.crop != 0)) * own.grid.voxel_volume_mm3 / 1000)


def label_values_of(organs: list[str]) -> dict[str, int]:
    """Return organ to its value in AbdomenAtlas' table, or a free one above it; by value."""
    table = load_table("abdomenatlas")
    known = {structure_for(name).name: value for value, name in table.labels.items()}
    free = max(table.labels) + 1
    values = {}
    for name in organs:
        value = known.get(structure_for(name).name)
        if value is None:
            value, free = free, free + 1
        values[name] = value
    return dict(sorted(values.items(), key=lambda item: item[1]))
