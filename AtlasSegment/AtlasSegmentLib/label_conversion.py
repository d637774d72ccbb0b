"""Convert label maps between label tables by what the values mean, not by their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.errors import LabelError
from AtlasSegmentLib.labels import LabelTable, Structure, catalog
from AtlasSegmentLib.volume import Array, LabelVolume
from AtlasSegmentLib.volume_io import label_values

_SLICES = 16  # looked up at once, so that the index array numpy makes stays small


def value_mapping(source: LabelTable, target: LabelTable) -> dict[int, int]:
    """Return which target value each source value becomes.

    A structure goes to the same structure of the target, else to the nearest whole that the target has (lung lobes to
    their lung, a rib to the ribs), else to 0. Wholes are never split into parts.

    Returns:
        Every value of `source` (without 0), in ascending order, to a value of `target` or 0.
    """
    values = {target.structure_of(value).name: value for value in target.labels}
    return {value: _nearest_value(source.structure_of(value), values) for value in source.labels}


def _nearest_value(structure: Structure, values: Mapping[str, int]) -> int:
    return next((values[name] for name in _with_wholes(structure) if name in values), 0)


def _with_wholes(structure: Structure | None) -> Iterator[str]:
    """Yield the name of a structure, then of the structures it is part of, from the smallest up."""
    while structure is not None:
        yield structure.name
        structure = catalog().get(structure.part_of) if structure.part_of else None


def lost_names(source: LabelTable, target: LabelTable) -> list[str]:
    """Return the published names of `source` that have no counterpart in `target` and become background."""
    return [source.name_of(value) for value, new in value_mapping(source, target).items() if new == 0]


def swap_sides(table: LabelTable) -> dict[int, int]:
    """Return the value each value has in a mirrored patient: left and right swapped, all others as they are.

    A structure whose twin is not in the table keeps its value, so applying this twice changes nothing.
    """
    values = {table.structure_of(value).name: value for value in table.labels}
    return {value: values.get(table.structure_of(value).partner or "", value) for value in table.labels}


def convert_labels(volume: LabelVolume, target: LabelTable) -> LabelVolume:
    """Return the label map with the values of another table, on the same grid.

    Args:
        volume: Integers (X, Y, Z), with its table.
        target: The table of the result. `lost_names` tells what becomes background.

    Returns:
        uint8 when all values of `target` fit, else uint16; memory order as in `volume`.

    Raises:
        LabelError: The volume has no table, is not of integers, or has a value outside its table.
    """
    what = volume.source or "label map"
    if volume.table is None:
        message = f"{what}: has no label table, so its values have no meaning."
        raise LabelError(message, "Read it with the table it was written with.")
    if volume.array.dtype.kind not in "biu":
        message = f"{what}: a label map holds integers, got {volume.array.dtype}."
        raise LabelError(message, "Give the label map, not a probability or CT image.")
    found = label_values(volume.array)
    volume.table.require_values(found, what)
    lookup = _lookup(value_mapping(volume.table, target), max(found, default=0), _dtype_of(target))
    return LabelVolume(_look_up(lookup, volume.array), volume.affine, volume.source, volume.header, target)


def _dtype_of(table: LabelTable) -> npt.DTypeLike:
    return np.uint8 if max(table.labels, default=0) <= np.iinfo(np.uint8).max else np.uint16


def _lookup(mapping: Mapping[int, int], highest: int, dtype: npt.DTypeLike) -> Array:
    lookup = np.zeros(highest + 1, dtype)
    for value, new in mapping.items():
        if value <= highest:
            lookup[value] = new
    return lookup


def _look_up(lookup: Array, array: Array) -> Array:
    result = np.empty_like(array, dtype=lookup.dtype)
    for z in range(0, array.shape[2], _SLICES):
        result[:, :, z : z + _SLICES] = lookup[array[:, :, z : z + _SLICES].astype(np.intp)]
    return result
