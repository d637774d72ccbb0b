"""Structures of the body and label tables: which value of a label map is which structure.

The catalog (Resources/Labels/structures.json) has every structure once, with its color, code, partner on the other side
and the names other systems give it. A label table only maps values to published names.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from numbers import Integral
from types import MappingProxyType
from typing import Any

from AtlasSegmentLib.errors import DatasetError, LabelError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.resources import resource_path

LABELS_FORMAT = "atlas-labels/1"
MAX_VALUE = 65535  # label maps are stored as uint8 or uint16
_SHOWN_VALUES = 10
_NOT_TABLES = frozenset({"structures", "abdomenatlas_datasets"})


@dataclass(frozen=True)
class Snomed:
    """SNOMED CT code of a structure, as DICOM segmentations need it.

    Attributes:
        code: Type of the structure, such as "64033007".
        meaning: Its English name, such as "Kidney".
        modifier: "7771000" (left), "24028007" (right) or None.
        category: "anatomy", or "lesion" for a tumor or cyst.
        region: (code, meaning) of the organ a lesion or vessel lies in, or None.
    """

    code: str
    meaning: str
    modifier: str | None = None
    category: str = "anatomy"
    region: tuple[str, str] | None = None


@dataclass(frozen=True)
class Structure:
    """One anatomical structure.

    Attributes:
        name: Canonical name, such as "kidney_left" (the name AbdomenAtlas uses when it has the structure).
        color: Red, green, blue, each 0..255.
        snomed: Its code, or None when none is known.
        partner: Canonical name of its mirror twin on the other side, or None.
        aliases: Other names for the same structure.
        part_of: Canonical name of the structure that holds all of it, or None.
    """

    name: str
    color: tuple[int, int, int]
    snomed: Snomed | None = None
    partner: str | None = None
    aliases: tuple[str, ...] = ()
    part_of: str | None = None


def name_key(name: str) -> str:
    """Return what two spellings of one name share: case is ignored, blanks and hyphens count as underscores."""
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


@cache
def catalog() -> Mapping[str, Structure]:
    """Return all known structures by canonical name, in the order of the file; read once."""
    entries = read_json(resource_path("Labels", "structures.json"))["structures"]
    return MappingProxyType({entry["name"]: _structure(entry) for entry in entries})


def _structure(entry: Mapping[str, Any]) -> Structure:
    snomed = entry["snomed"]
    if snomed is not None:
        region = snomed.get("region")
        snomed = Snomed(**{**snomed, "region": tuple(region) if region else None})
    red, green, blue = entry["color"]
    return Structure(entry["name"], (red, green, blue), snomed, entry["partner"], tuple(entry["aliases"]), entry["part_of"])


@cache
def _by_key() -> Mapping[str, Structure]:
    return {name_key(name): structure for structure in catalog().values() for name in (structure.name, *structure.aliases)}


def resolve(name: str) -> Structure:
    """Return the structure with this canonical name or alias ("Left Kidney", "gallbladder", "kidney_left").

    Raises:
        LabelError: The catalog has no such name; the remedy lists close ones.
    """
    structure = _by_key().get(name_key(name))
    if structure is None:
        message = f"{name!r} is not the name of a known structure."
        raise LabelError(message, _close_names(name, [s.name for s in catalog().values()], dict(_by_key())))
    return structure


def _close_names(name: str, offered: Iterable[str], spellings: Mapping[str, Structure] | None = None) -> str:
    keys = {name_key(known): known for known in offered}
    keys.update({key: structure.name for key, structure in (spellings or {}).items()})
    found = dict.fromkeys(keys[key] for key in difflib.get_close_matches(name_key(name), list(keys), n=5))
    if found:
        return f"Did you mean {', '.join(found)}?"
    return f"Use one of {', '.join(list(offered)[:_SHOWN_VALUES])}, ..."


def structure_for(name: str) -> Structure:
    """Return the structure with this name; one that the catalog lacks gets a color made from its name, and no code."""
    known = _by_key().get(name_key(name))
    if known is not None:
        return known
    key = name_key(name)
    red, green, blue = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:3]
    return Structure(key, (64 + red * 3 // 4, 64 + green * 3 // 4, 64 + blue * 3 // 4))  # never near black


@dataclass(frozen=True)
class LabelTable:
    """What the values of a label map mean. 0 is background and never listed.

    Attributes:
        name: Short name, such as "abdomenatlas_1_1".
        title: Name for people.
        labels: Value (1..65535) to published name, in ascending order of values; read-only.
        source: Where the numbers come from.

    Raises:
        LabelError: A value is no whole number in range, a name is empty or no file name, or two values name one structure.
    """

    name: str
    title: str
    labels: Mapping[int, str]
    source: str = ""
    _values: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        labels: dict[int, str] = {}
        for original, name in self.labels.items():
            value = _checked_value(original, self.name)
            if value in labels:
                message = f"Label table {self.name!r}: value {value} is listed twice."
                raise LabelError(message, "Give each structure one value.")
            labels[value] = _checked_name(name, value, self.name)
        object.__setattr__(self, "labels", MappingProxyType(dict(sorted(labels.items()))))
        object.__setattr__(self, "_values", MappingProxyType(self._index()))

    def _index(self) -> dict[str, int]:
        """Return canonical name to value."""
        values: dict[str, int] = {}
        for value, name in self.labels.items():
            canonical = structure_for(name).name
            if canonical in values:
                other = values[canonical]
                message = f"Label table {self.name!r}: values {other} ({self.labels[other]}) and {value} ({name}) name one structure."
                raise LabelError(message, "Give each structure one value.")
            values[canonical] = value
        return values

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.labels.items())))

    def __reduce__(self) -> tuple[type[LabelTable], tuple[str, str, dict[int, str], str]]:
        """Pickle as plain values: read-only mappings cannot cross process boundaries."""
        return (type(self), (self.name, self.title, dict(self.labels), self.source))

    def __len__(self) -> int:
        """Return the number of structures."""
        return len(self.labels)

    def names(self) -> list[str]:
        """Return the published names in ascending order of their values."""
        return list(self.labels.values())

    def name_of(self, value: int) -> str:
        """Return the published name of a value.

        Raises:
            LabelError: The table has no such value (0, background, has no name).
        """
        if value not in self.labels:
            message = f"Label table {self.name!r} has no value {value}."
            raise LabelError(message, f"It has {len(self)} values up to {max(self.labels, default=0)}; 0 is background.")
        return self.labels[value]

    def value_of(self, name: str) -> int:
        """Return the value of a structure given by its published name, canonical name or alias.

        Raises:
            LabelError: The table does not have it; the remedy lists close names.
        """
        value = self._values.get(structure_for(name).name)
        if value is None:
            message = f"Label table {self.name!r} has no structure {name!r}."
            raise LabelError(message, _close_names(name, self.names()))
        return value

    def structure_of(self, value: int) -> Structure:
        """Return the structure of a value; see `structure_for` for names that the catalog lacks.

        Raises:
            LabelError: The table has no such value.
        """
        return structure_for(self.name_of(value))

    def require_values(self, values: Iterable[int], source: str) -> None:
        """Check that every value is background or in this table.

        Args:
            values: The distinct values found.
            source: The file they were found in, for the message.

        Raises:
            LabelError: Some are not; names the file, at most ten of the values and the table.
        """
        foreign = sorted({int(value) for value in values} - {0} - set(self.labels))
        if not foreign:
            return
        shown = ", ".join(map(str, foreign[:_SHOWN_VALUES]))
        more = f" and {len(foreign) - _SHOWN_VALUES} more" if len(foreign) > _SHOWN_VALUES else ""
        message = f"{source}: label values {shown}{more} are not in the table {self.name!r} ({len(self)} structures)."
        raise LabelError(message, f"Choose the table that belongs to this label map: {', '.join(table_names())}.")

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain values for a JSON file, in format "atlas-labels/1"."""
        labels = {str(value): name for value, name in self.labels.items()}
        return {"format": LABELS_FORMAT, "name": self.name, "title": self.title, "source": self.source, "labels": labels}

    @classmethod
    def from_json(cls, data: Any, source: str = "label table") -> LabelTable:
        """Make a table from what `to_json` returned.

        Args:
            data: The parsed JSON.
            source: The file it came from, for messages.

        Raises:
            LabelError: Another format, a missing key, or labels that are refused as in `LabelTable`.
        """
        wrong = not isinstance(data, dict) or data.get("format") != LABELS_FORMAT
        if wrong or not isinstance(data.get("name"), str) or not isinstance(data.get("labels"), dict):
            message = f"{source}: is not a label table of format {LABELS_FORMAT!r}."
            raise LabelError(message, 'Give "format", "name" and "labels" (value to name), as in Resources/Labels.')
        return cls(data["name"], str(data.get("title", data["name"])), data["labels"], str(data.get("source", "")))

    @classmethod
    def from_labels(cls, name: str, labels: Mapping[Any, str], title: str = "") -> LabelTable:
        """Make a table from a model's own labels: value (a number or its digits) to name; value 0, background, is dropped.

        Raises:
            LabelError: As in `LabelTable`.
        """
        kept = {value: label for value, label in labels.items() if _checked_value(value, name, lowest=0) != 0}
        return cls(name, title or name, kept)


def _checked_value(value: Any, table: str, lowest: int = 1) -> int:
    digits = isinstance(value, str) and value.isascii() and value.isdigit()
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if (digits or whole) and lowest <= int(value) <= MAX_VALUE:
        return int(value)
    message = f"Label table {table!r}: {value!r} is not a whole number of {lowest}..{MAX_VALUE}."
    raise LabelError(message, "Give each structure a positive whole number.")


def _checked_name(name: Any, value: int, table: str) -> str:
    what = f"Label table {table!r}: the name of value {value},"
    if not isinstance(name, str):
        message = f"{what} {name!r}, is not text."
        raise LabelError(message, "Give every value a name.")
    try:
        return safe_name(name, what)  # every structure gets a file of its name
    except DatasetError as error:
        raise LabelError(error.message, error.remedy) from error


@cache
def table_names() -> tuple[str, ...]:
    """Return the names of the tables that come with this software."""
    return tuple(sorted(path.stem for path in resource_path("Labels").glob("*.json") if path.stem not in _NOT_TABLES))


@cache
def load_table(name: str) -> LabelTable:
    """Return a table that comes with this software, such as "abdomenatlas" or "totalsegmentator_v2"; read once.

    Raises:
        LabelError: There is no table of that name.
    """
    if name not in table_names():
        message = f"There is no label table {name!r}."
        raise LabelError(message, f"Use one of {', '.join(table_names())}.")
    path = resource_path("Labels", f"{name}.json")
    return LabelTable.from_json(read_json(path), str(path))
