"""The organs of an export: each has a name, a mask that is loaded when its turn comes, and perhaps a value of its own.

Pure: no files and no scene. Organs may overlap; only the label map of `export` has to decide between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from AtlasSegmentLib.case_folder import REVISED
from AtlasSegmentLib.errors import DatasetError, GeometryError, LabelError
from AtlasSegmentLib.labels import Structure, catalog, name_key, structure_for
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.volume import Array, LabelVolume
from AtlasSegmentLib.volume_io import label_values

_UNSAFE = re.compile(r'[/\\:"<>|?*]+')


@dataclass(frozen=True)
class Organ:
    """One organ to export.

    Attributes:
        name: As it is shown, such as "kidney_left"; any text.
        structure: What it is: color and SNOMED code.
        read: Returns its mask, (X, Y, Z), 0 outside; called when the organ's turn comes, so that one mask is in memory at a time.
        value: Its value in the label map that it comes from, or None.
    """

    name: str
    structure: Structure
    read: Callable[[], Array] = field(compare=False, repr=False)
    value: int | None = None

    def mask(self, shape: Sequence[int]) -> Array:
        """Return the mask as bool (X, Y, Z).

        Raises:
            GeometryError: It has another shape.
        """
        array = self.read()
        if array.shape != tuple(shape):
            message = f"{self.name}: a mask of shape {array.shape} does not fit the grid {tuple(shape)}."
            raise GeometryError(message, "Resample it onto that grid first.")
        return array if array.dtype == np.bool_ else array != 0


def organs_of_labels(labels: LabelVolume) -> list[Organ]:
    """Return the organs that a label map holds, in ascending order of their values.

    Raises:
        LabelError: It has no table, or a value that the table does not have.
    """
    if labels.table is None:
        message = f"{labels.source or 'label map'}: has no label table, so its values have no meaning."
        raise LabelError(message, "Read it with the table it was written with.")
    values = [value for value in label_values(labels.array) if value]
    labels.table.require_values(values, labels.source or "label map")
    return [Organ(labels.table.name_of(v), labels.table.structure_of(v), _equal_to(labels.array, v), v) for v in values]


def _equal_to(array: Array, value: int) -> Callable[[], Array]:
    return lambda: array == value


def organs_of_masks(masks: Mapping[str, Array | Callable[[], Array]]) -> list[Organ]:
    """Return organs from name to mask, (X, Y, Z), or to a callable that loads it; in the given order, without values."""
    return [Organ(name, structure_for(name), mask if callable(mask) else _given(mask)) for name, mask in masks.items()]


def _given(array: Array) -> Callable[[], Array]:
    return lambda: array


def painting_order(organs: Sequence[Organ]) -> list[Organ]:
    """Return organs in the order in which they are painted into one label map: what comes later covers what came before.

    It is the given order (in Slicer: from the top of the list of segments to its bottom), except that a structure
    comes after the ones it is a part of: a liver tumor covers the liver wherever it stands in the list.
    """
    waiting = dict(enumerate(organs))
    ordered: list[Organ] = []

    def paint(number: int) -> None:
        organ = waiting.pop(number)
        wholes = {whole.name for whole in wholes_of(organ.structure)}
        for other in [n for n, candidate in waiting.items() if candidate.structure.name in wholes]:
            if other in waiting:
                paint(other)
        ordered.append(organ)

    for number in range(len(organs)):
        if number in waiting:
            paint(number)
    return ordered


def wholes_of(structure: Structure) -> list[Structure]:
    """Return the structures that a structure is part of, from the smallest up."""
    found: list[Structure] = []
    while structure.part_of is not None and structure.part_of in catalog():
        structure = catalog()[structure.part_of]
        found.append(structure)
    return found


def file_names(organs: Iterable[Organ]) -> list[str]:
    """Return a name for each organ that is a valid file name and differs from all others, also on disks that ignore case."""
    taken: set[str] = set()
    names: list[str] = []
    for organ in organs:
        name = unique_name(_file_name(organ.name), taken)
        taken.add(name_key(name))
        names.append(name)
    return names


def unique_name(name: str, taken: Iterable[str]) -> str:
    """Return `name`, or it with the first number from 2 on whose key is not in `taken` (keys as `name_key` makes them)."""
    keys, number, candidate = set(taken), 2, name
    while name_key(candidate) in keys:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def _file_name(name: str) -> str:
    visible = "".join(character if character.isprintable() else " " for character in name)
    cleaned = _UNSAFE.sub("_", " ".join(visible.split())).strip("._ ") or "segment"
    if cleaned.endswith(REVISED):  # AbdomenAtlas takes such a file for a reader's correction of another organ
        cleaned += "_mask"
    try:
        return safe_name(cleaned, "organ name")
    except DatasetError:  # too long
        shortened = cleaned.encode("utf-8", "ignore")[:100].decode("utf-8", "ignore").strip("._ ")
        return shortened or "segment"
