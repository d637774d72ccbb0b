"""The card of a label-quality model as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_FIGURES = frozenset({"pearson", "low", "high", "spearman", "mae", "masks"})


def card_lines(card: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a line for each entry; those of an agreement, as `ScoreAgreement.to_json` gives them, in one.

    Args:
        card: Names and values, nested as one likes: a card may come from anywhere.
        indent: Before each line.
    """
    for name, value in card.items():
        title = f"{indent}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping) and set(value) >= _FIGURES:
            yield f"{title}: {_agreement(value)}"
        elif isinstance(value, Mapping) and any(isinstance(part, Mapping) for part in value.values()):
            yield f"{title}:"
            yield from card_lines(value, f"{indent}  ")
        elif isinstance(value, Mapping):
            yield f"{title}: {', '.join(f'{key} {part}'.replace('_', ' ') for key, part in value.items())}"
        elif isinstance(value, list | tuple):
            yield f"{title}: {', '.join(map(str, value))}"
        else:
            yield f"{title}: {value}"


def _agreement(figures: Mapping[str, Any]) -> str:
    """Return such as "Pearson 0.968 (0.920 to 0.987), Spearman 0.856, mean error 0.095, of 21 masks"."""
    pearson, low, high, spearman, mae = (_number(figures[name]) for name in ("pearson", "low", "high", "spearman", "mae"))
    return f"Pearson {pearson} ({low} to {high}), Spearman {spearman}, mean error {mae}, of {figures['masks']} masks"


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else "undefined"
