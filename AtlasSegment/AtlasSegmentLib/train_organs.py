"""What a network shall learn, and what each reference knows of it: channels, merged structures, organs that a reference cannot tell.

A target gathers every structure that lies in it: `vertebrae` all of vertebrae_C1 to L5, `lung` both lungs and their lobes, `liver` also its
tumors (`part_of` in structures.json). More can be merged by patterns. A reference knows a target when its table names it or an anatomical
part of it; what it does not know must not teach background.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.errors import InputError, LabelError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import LabelTable, Structure, catalog, structure_for
from AtlasSegmentLib.volume import Array

IGNORED = 255
"""Value of voxels that say nothing: they belong to one of several targets, and the reference does not tell which."""
_MOST = 200
_LESION = "lesion"
_NOTHING_SAID = "ignore"  # nnU-Net's label of voxels that were not looked at


@dataclass(frozen=True)
class Targets:
    """The channels of a network; 0 is background, the first name is channel 1.

    Attributes:
        names: Canonical names.
        merge: Target to patterns of the structures that belong to it too, such as {"vertebrae": ("vertebrae_*",)}.
    """

    names: tuple[str, ...]
    merge: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [structure_for(name).name for name in self.names]
        if not names or len(set(names)) != len(names) or len(names) > _MOST:
            message = f"{len(names)} organs, {len(set(names))} of them different, cannot be the channels of a network."
            raise InputError(message, f"Give 1 to {_MOST} organs, each once, as --organs liver,spleen.")
        merge = {structure_for(name).name: tuple(patterns) for name, patterns in self.merge.items()}
        foreign = sorted(set(merge) - set(names))
        if foreign:
            message = f"--merge {foreign[0]}: it is none of the organs to learn."
            raise InputError(message, f"They are {', '.join(names)}.")
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "merge", merge)

    @property
    def channels(self) -> int:
        """Output channels of the network, background included."""
        return len(self.names) + 1

    @cached_property
    def partners(self) -> tuple[int, ...]:
        """For each channel the one that it becomes in a mirror image; an organ whose partner is missing keeps its own."""
        numbers = {name: number for number, name in enumerate(self.names, 1)}
        found = [numbers.get(structure_for(name).partner or name, number) for name, number in numbers.items()]
        return (0, *found)

    def labels(self) -> dict[int, str]:
        """Return channel to name, as in model.json."""
        return {0: "background", **dict(enumerate(self.names, 1))}

    def channel_of(self, structure: Structure) -> int:
        """Return the channel that a structure belongs to: 0 for none, IGNORED when it may be one of several."""
        for number, name in enumerate(self.names, 1):
            if structure.name == name or any(fnmatch.fnmatchcase(structure.name, pattern) for pattern in self.merge.get(name, ())):
                return number
        above = list(_above(structure))
        for name in above:
            if name in self.names:
                return self.names.index(name) + 1
        within = {outer for target in self.names for outer in _above(structure_for(target))}
        is_lesion = structure.snomed is not None and structure.snomed.category == _LESION
        return IGNORED if structure.name in within or (is_lesion and within & set(above)) else 0


def _above(structure: Structure) -> Iterator[str]:
    """Yield the structures that hold all of a structure, from inside to outside."""
    known = catalog()
    outer = structure.part_of
    while outer is not None:
        yield outer
        outer = known[outer].part_of if outer in known else None


@dataclass(frozen=True)
class Reading:
    """How the values of one reference become channels.

    Attributes:
        channels: uint8 (largest value + 1): value to channel.
        known: For each channel whether the reference can tell it; background always.
    """

    channels: Array
    known: tuple[bool, ...]

    def of(self, labels: Array) -> Array:
        """Return a label map as channels, uint8, same shape."""
        result: Array = self.channels[labels]
        return result


def reading_of(table: LabelTable, targets: Targets, names: Iterable[str] | None = None, source: str = "reference") -> Reading:
    """Return how a reference is read.

    Args:
        table: What its values mean.
        targets: What is learned.
        names: Those structures of the table that whoever made the reference could tell; None for all.
        source: For messages.

    Raises:
        LabelError: It knows none of the targets.
    """
    told = None if names is None else {structure_for(name).name for name in names}
    channels = np.zeros(max(table.labels, default=0) + 1, np.uint8)
    known = [True] + [False] * len(targets.names)
    for value in table.labels:
        structure = table.structure_of(value)
        channel = IGNORED if structure.name == _NOTHING_SAID else targets.channel_of(structure)
        channels[value] = channel
        if 0 < channel < IGNORED and (told is None or structure.name in told) and _tells(structure, targets.names[channel - 1], table):
            known[channel] = True
    if not any(known[1:]):
        message = f"{source}: knows none of the organs to learn ({', '.join(targets.names[:8])})."
        raise LabelError(message, f"Its table {table.name!r} has {', '.join(table.names()[:8])}, ...; state another table or organs.")
    return Reading(channels, tuple(known))


def _tells(structure: Structure, target: str, table: LabelTable) -> bool:
    """Tell whether a structure in a table means that the whole target is in it: itself, or a part whose other side is there too."""
    if structure.name == target:
        return True
    if structure.snomed is not None and (structure.snomed.category == _LESION or structure.snomed.region is not None):
        return False
    named = {structure_for(name).name for name in table.names()}
    return structure.partner is None or structure.partner in named


def read_targets(organs: str | None, labels: Path | None, merge: Sequence[str] = ()) -> Targets:
    """Return the targets of the command line.

    Args:
        organs: Names with commas between.
        labels: A JSON file with `labels` (value to name), such as a model.json or a table of Resources/Labels, or with a list of names.
        merge: "target=pattern,pattern", once for each target.

    Raises:
        InputError: None or both are given, or one cannot be read.
    """
    if (organs is None) == (labels is None):
        message = "either --organs or --labels says what is learned."
        raise InputError(message, "Give --organs liver,spleen,... or --labels FILE.json.")
    names = [name.strip() for name in organs.split(",") if name.strip()] if organs is not None else _names_in(Path(str(labels)))
    patterns: dict[str, tuple[str, ...]] = {}
    for text in merge:
        name, _, found = text.partition("=")
        if not name.strip() or not found.strip():
            message = f"--merge {text!r}: is not TARGET=PATTERN."
            raise InputError(message, "Write it as --merge vertebrae=vertebrae_*.")
        patterns[structure_for(name).name] = tuple(part.strip() for part in found.split(","))
    return Targets(tuple(names), patterns)


def _names_in(path: Path) -> list[str]:
    content: Any = read_json(path)
    found: Any = content.get("labels") if isinstance(content, dict) else content
    if isinstance(found, dict):
        digits = all(str(key).isdigit() for key in found)
        pairs = found.items() if digits else [(value, key) for key, value in found.items()]
        found = [name for value, name in sorted(pairs, key=lambda pair: int(pair[0])) if int(value) != 0]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        message = f"{path}: does not say which labels there are."
        raise InputError(message, 'Give a JSON file with {"labels": {"1": "liver", ...}} or a list of names.')
    return found


def require_flips(targets: Targets) -> None:
    """Check that mirror images would teach the truth. Raises InputError naming an organ whose partner is not learned."""
    for name in targets.names:
        partner = structure_for(name).partner
        if partner is not None and partner not in targets.names:
            message = f"--flips: {name} is learned and its partner {partner} is not."
            raise InputError(message, "Add the partner to --organs, or leave --flips out.")
