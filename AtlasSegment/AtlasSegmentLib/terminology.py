"""SNOMED CT codes of structures as Slicer writes them: one line of text on a segment.

The line is context~category~type~type modifier~region context~region~region modifier; each but the contexts is scheme^code^meaning.
"""

from __future__ import annotations

from AtlasSegmentLib.labels import Structure

_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"
_CATEGORIES = {"anatomy": ("123037004", "Anatomical Structure"), "lesion": ("49755003", "Morphologically Altered Structure")}
_SIDES = {"7771000": "Left", "24028007": "Right", "51440002": "Right and left"}
_TISSUE = ("85756007", "Tissue")


def terminology_of(structure: Structure) -> str:
    """Return the terminology entry of a structure; one without a code is "Tissue", as Slicer's own default."""
    snomed = structure.snomed
    if snomed is None:
        return _line(("85756007", "Tissue"), _TISSUE, None, None)
    modifier = None if snomed.modifier is None else (snomed.modifier, _SIDES.get(snomed.modifier, ""))
    return _line(_CATEGORIES[snomed.category], (snomed.code, snomed.meaning), modifier, snomed.region)


def _line(category: tuple[str, str], kind: tuple[str, str], modifier: tuple[str, str] | None, region: tuple[str, str] | None) -> str:
    parts = [_CONTEXT, _code(category), _code(kind), _code(modifier), _REGION_CONTEXT, _code(region), _code(None)]
    return "~".join(parts)


def _code(code: tuple[str, str] | None) -> str:
    return "^^" if code is None else f"SCT^{code[0]}^{code[1]}"
