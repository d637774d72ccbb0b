"""SNOMED CT codes of structures as DICOM segmentations and Slicer's terminology write them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from AtlasSegmentLib.labels import Snomed, Structure, catalog


class Code(NamedTuple):
    """A coded concept: value, coding scheme and English meaning."""

    value: str
    scheme: str
    meaning: str


TISSUE = Code("85756007", "SCT", "Tissue")
"""Category and type of what has no code of its own, as in Slicer and dcmqi."""
SIDES: Mapping[str, Code] = MappingProxyType(
    {
        "7771000": Code("7771000", "SCT", "Left"),
        "24028007": Code("24028007", "SCT", "Right"),
        "51440002": Code("51440002", "SCT", "Right and left"),
    }
)
# The category codes of Slicer's terminology and of the public data sets made with it.
_CATEGORIES = {
    "anatomy": Code("123037004", "SCT", "Anatomical Structure"),
    "lesion": Code("49755003", "SCT", "Morphologically Altered Structure"),
}


def category_of(structure: Structure) -> Code:
    """Return the category of a structure: anatomy, lesion, or tissue where there is no code."""
    return _CATEGORIES[structure.snomed.category] if structure.snomed else TISSUE


def type_of(structure: Structure) -> Code:
    """Return the type of a structure, such as kidney."""
    return Code(structure.snomed.code, "SCT", structure.snomed.meaning) if structure.snomed else TISSUE


def side_of(structure: Structure) -> Code | None:
    """Return left, right, both or None."""
    modifier = structure.snomed.modifier if structure.snomed else None
    return SIDES.get(modifier) if modifier else None


def region_of(structure: Structure) -> Code | None:
    """Return the organ that a lesion or vessel lies in, or None."""
    region = structure.snomed.region if structure.snomed else None
    return Code(region[0], "SCT", region[1]) if region else None


def structure_with_codes(kind: str, side: str | None, region: str | None) -> Structure | None:
    """Return the only structure of the catalog with these SNOMED codes (type, laterality, region), or None."""
    found = _by_codes().get((kind, side, region), ())
    return found[0] if len(found) == 1 else None


@cache
def _by_codes() -> Mapping[tuple[str, str | None, str | None], tuple[Structure, ...]]:
    found: dict[tuple[str, str | None, str | None], tuple[Structure, ...]] = {}
    for structure in catalog().values():
        if structure.snomed is not None:
            snomed = structure.snomed
            key = (snomed.code, snomed.modifier, snomed.region[0] if snomed.region else None)
            found[key] = (*found.get(key, ()), structure)
    return MappingProxyType(found)


def snomed_of_terminology(entry: str) -> Snomed | None:
    """Return the code that Slicer keeps on a segment as one line of text; None for "Tissue", other schemes and other texts.

    The line is context~category~type~type modifier~region context~region~region modifier, each code scheme^value^meaning.
    """
    parts = [part.split("^") for part in (entry or "").split("~")]
    if len(parts) < 4:
        return None
    category, kind, side = (_code(part) for part in parts[1:4])
    if kind is None or kind.scheme != "SCT" or kind.value == TISSUE.value:
        return None
    region, region_side = (_code(parts[index]) if index < len(parts) else None for index in (5, 6))
    modifier = next((code.value for code in (side, region_side) if code is not None and code.value in SIDES), None)
    name = "lesion" if category is not None and category.value == _CATEGORIES["lesion"].value else "anatomy"
    return Snomed(kind.value, kind.meaning, modifier, name, (region.value, region.meaning) if region else None)


def _code(part: list[str]) -> Code | None:
    return Code(part[1], part[0], part[2]) if len(part) == 3 and part[1] else None
