"""The organs around the one that is reviewed, in one label map, made before anything is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from AtlasSegmentLib.labels import load_table, structure_for
from AtlasSegmentLib.sparse import SparseVolume, box_shape, intersection, is_empty, relative, union
from AtlasSegmentLib.volume import Grid


@dataclass(frozen=True)
class Neighbors:
    """All organs of a case but one.

    Attributes:
        labels: Their label map in the box that they fill; where two overlap the later one is there, while their files keep both.
        values: Organ to its value in the label map.
        overlap_ml: How much of the reviewed organ lies in one of them.
    """

    labels: SparseVolume
    values: Mapping[str, int]
    overlap_ml: float


def make_neighbors(organ: str, masks: Mapping[str, SparseVolume], grid: Grid) -> Neighbors:
    """Put the masks of all organs but `organ` into one label map.

    Args:
        organ: The organ that is reviewed.
        masks: Organ to mask, 0/1 on `grid`; `organ` among them.
        grid: The grid of the case.
    """
    others = {name: mask for name, mask in masks.items() if name != organ}
    values = label_values_of(list(others))
    box = union([mask.box for mask in others.values()])
    labels = np.zeros(box_shape(box), np.min_scalar_type(max(values.values(), default=1)), order="F")
    for name, mask in others.items():
        if not is_empty(mask.box):
            labels[relative(mask.box, box)][mask.crop != 0] = values[name]
    neighbors = SparseVolume(grid, box, labels)
    own = masks[organ]
    shared = intersection(own.box, box)
    voxels = 0 if shared is None else int(np.count_nonzero(labels[relative(shared, box)] * own.crop[relative(shared, own.box)]))
    return Neighbors(neighbors, values, voxels * grid.voxel_volume_mm3 / 1000)


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
