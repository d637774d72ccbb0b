"""The card of a model of `atlas train`, shown to people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from AtlasSegmentLib import console
from AtlasSegmentLib.model_card import card_rows, measured_table, read_card

CARD: dict[str, Any] = {
    "use": "Demonstration only, not for clinical use.",
    "data": {"train": {"names": ["p1", "p2", "p3", "p4", "p5", "real"]}},
    "recipe": {"steps": 10, "batch": 2, "parameters": 99, "repeat": {"real": 8}},
    "validation": {"dice": {"liver": 0.91234}},
    "measured": {"torso": {"mine": {"liver": 0.9, "aorta": 0.5}, "average": {"liver": 0.95}}},
}


def test_it_says_use_data_recipe_and_dice() -> None:
    assert card_rows(CARD) == [
        ("use", "Demonstration only, not for clinical use."),
        ("trained on", "6 cases: real (8 times as often), p1, p2, p3, p4 and 1 more"),
        ("training", "10 steps of 2 patches, 99 weights"),
        ("Dice on validation cases", "liver 0.912"),
    ]


def test_measurements_on_named_cts_are_a_table_with_gaps_where_nothing_was_measured() -> None:
    header, rows = measured_table(CARD)
    assert header == ["organ", "torso, mine", "torso, average"]
    assert measured_table({**CARD, "measured_on_training_cts": ["torso"]})[0][1] == "torso (trained on), mine"
    assert rows == [("liver", "0.900", "0.950"), ("aorta", "0.500", "")]


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"data": {"train": {"names": [[], {}]}}, "measured": {"x": {"[/]": {"liver": 10**400}}}},
        {"use": 3, "data": [], "recipe": "x", "measured": {"a": 1, "b": {"c": 2}}},
        {"validation": None},
    ],
)
def test_a_card_that_says_nothing_or_nonsense_is_no_error(card: dict[str, Any]) -> None:
    assert all(what in {"use", "trained on"} for what, _value in card_rows(card))
    header, rows = measured_table(card)
    assert [row[1:] for row in rows] == [("",)] * len(rows)
    console.print_table("[/]", header, rows)


@pytest.mark.parametrize("text", ["", "[]", '{"card": 1}', '{"card": []}', "{}"])
def test_a_model_without_a_card_has_an_empty_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(text)
    assert read_card(tmp_path) == {}
    (tmp_path / "model.json").write_text(json.dumps({"card": CARD}))
    assert read_card(tmp_path) == CARD
