"""Terminology entries: what Slicer reads from a segment."""

from __future__ import annotations

import pytest

from AtlasSegmentLib.labels import catalog, structure_for
from AtlasSegmentLib.terminology import terminology_of


def test_a_sided_organ_names_its_side_as_type_modifier() -> None:
    parts = terminology_of(structure_for("Left Kidney")).split("~")
    assert parts[1:4] == ["SCT^123037004^Anatomical Structure", "SCT^64033007^Kidney", "SCT^7771000^Left"]
    assert parts[5:] == ["^^", "^^"]


def test_a_lesion_is_an_altered_structure_in_the_region_of_its_organ() -> None:
    parts = terminology_of(structure_for("liver_tumor")).split("~")
    assert parts[1] == "SCT^49755003^Morphologically Altered Structure"
    assert parts[5] == "SCT^10200004^Liver"


def test_a_structure_without_a_code_is_tissue() -> None:
    assert terminology_of(structure_for("something new")).split("~")[1:3] == ["SCT^85756007^Tissue"] * 2


@pytest.mark.parametrize("structure", catalog().values(), ids=lambda s: s.name)
def test_every_entry_has_seven_parts_of_three_fields(structure: object) -> None:
    parts = terminology_of(structure).split("~")  # type: ignore[arg-type]
    assert len(parts) == 7
    assert all(part.count("^") == 2 for part in (*parts[1:4], *parts[5:]))
