"""What the card of a model of `atlas train` says, for people: what it may be used for, data, recipe, Dice on CTs it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.model_kinds_atlas import FILE

AVERAGE = "average"
_PARTS = {"validation": "on validation cases", "test": "on test cases"}
_SHOWN = 4  # names of cases


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card in a model folder's model.json; empty where there is none, or what is there is no card."""
    try:
        content = read_json(folder / FILE)
    except AtlasError:
        return {}
    card = content.get("card") if isinstance(content, dict) else None
    return card if isinstance(card, dict) else {}


def card_rows(card: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (what, value) of a card; what it does not say is left out."""
    recipe, train = _part(card, "recipe"), _part(_part(card, "data"), "train")
    rows = [("use", str(card.get("use", ""))), ("trained on", _cases(train, _part(recipe, "repeat")))]
    if recipe.get("steps") and recipe.get("parameters"):
        rows.append(("training", f"{recipe['steps']} steps of {recipe.get('batch', '?')} patches, {recipe['parameters']} weights"))
    rows += [(f"Dice {title}", _dice(_part(_part(card, part), "dice"))) for part, title in _PARTS.items()]
    return [row for row in rows if row[1]]


def measured_table(card: dict[str, Any]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return header and rows of the Dice on named CTs, one column for each CT and what was measured on it; both empty without any."""
    seen = card.get("measured_on_training_cts")
    trained = seen if isinstance(seen, list) else []
    columns = {
        f"{ct}{' (trained on)' if ct in trained else ''}, {who}": figures
        for ct, by_model in _part(card, "measured").items()
        if isinstance(by_model, dict)
        for who, figures in by_model.items()
        if isinstance(figures, dict)
    }
    organs = list(dict.fromkeys(organ for figures in columns.values() for organ in figures))
    if not organs:
        return [], []
    return ["organ", *columns], [(organ, *(_number(figures.get(organ)) for figures in columns.values())) for organ in organs]


def _part(content: dict[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _cases(part: dict[str, Any], repeat: dict[str, Any]) -> str:
    names = part.get("names")
    if not isinstance(names, list) or not names:
        return ""
    often = [name for name in map(str, names) if name in repeat]
    others = [name for name in map(str, names) if name not in repeat]
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return f"{len(names)} cases: " + ", ".join([*(f"{name} ({repeat[name]} times as often)" for name in often), *others[:_SHOWN]]) + more


def _dice(organs: dict[str, Any]) -> str:
    return ", ".join(f"{organ} {_number(value)}" for organ, value in organs.items())


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) or value in {0, 1} else ""
