"""The card of a dataset as Markdown; whatever a name holds, it stays one cell of text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_SPECIAL = re.compile(r"([\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")  # an underscore inside of a word is one


def plain(text: object) -> str:
    """Return a text that Markdown and HTML show as it is, on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    escaped = _SPECIAL.sub(r"\\\1", line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def card_markdown(card: Mapping[str, Any], title: str) -> str:
    """Return DATASET_CARD.md.

    Args:
        card: As `dataset_card.collect_card` gives it.
        title: Name of the dataset.
    """
    parts = [
        f"# {plain(title)}",
        f"{card['cases']} cases, labels of {plain(', '.join(card['label_tables']))}. Written {card['created']} by Atlas Annotator.",
        "Not for clinical use.",
        _section("Cases by source dataset", ("dataset", "cases"), card["cases_by_source_dataset"].items()),
        _section("Organs by who drew them", _ORGAN_COLUMNS, (_organ_row(*item) for item in card["organs"].items())),
        _ORGAN_NOTE,
        _review(card["organs"]),
        _section("Volumes (ml), of masks that are not empty", _VOLUME_COLUMNS, _volume_rows(card["organs"])),
        _revisions(card["revisions"]),
        _section("Readers", ("reader", "masks in this dataset"), ((reader["name"], reader["masks"]) for reader in card["readers"])),
        _section("Models", ("model", "version", "sha256", "license", "cases"), (_model_row(model) for model in card["models"])),
        _section("Licenses", ("part", "license", "cases"), _license_rows(card)),
        f"Where organs claimed the same voxel, {card['conflicts']['voxels']} voxels were decided by the painting order.",
        _section("Software", ("package", "versions"), ((name, ", ".join(found)) for name, found in card["software"].items())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_ORGAN_COLUMNS = ("organ", "original", "revised", "predicted", "of these empty", "missing", "seen by nobody")
_ORGAN_NOTE = (
    "*original*: labels that came with a dataset; *revised*: drawn by a reader; *predicted*: by models; *missing*: cases without a mask; "
    "*seen by nobody*: predicted masks that no reader accepted or flagged."
)
_VOLUME_COLUMNS = ("organ", "smallest", "lower quartile", "median", "upper quartile", "largest")


def _organ_row(name: str, organ: Mapping[str, Any]) -> Sequence[object]:
    sources = organ["sources"]
    return (name, sources["original"], sources["revised"], sources["predicted"], organ["empty"], organ["missing"], organ["seen_by_nobody"])


def _review(organs: Mapping[str, Any]) -> str:
    """Return how far the masks were reviewed; "" where nobody accepted anything."""
    counts = {name: organ["review"] for name, organ in organs.items() if any(organ["review"].values())}
    names = list(next(iter(counts.values()), {}))
    return _section("Review", ("organ", *names), ((organ, *found.values()) for organ, found in counts.items()))


def _volume_rows(organs: Mapping[str, Any]) -> Iterable[Sequence[object]]:
    for name, organ in organs.items():
        volumes = organ["volume_ml"]
        if volumes is not None:
            yield (name, *(f"{volumes[key]:.1f}" for key in ("min", "q1", "median", "q3", "max")))


def _revisions(ages: Mapping[str, Any]) -> str:
    if not ages["count"]:
        return "## Ages of revisions\n\nNo mask was revised by a reader."
    rows = [(name, ages[name]["date"], f"{ages[name]['age_days']:.0f}") for name in ("oldest", "median", "newest")]
    return _section(f"Ages of the {ages['count']} revisions", ("revision", "date (UTC)", "days before this card"), rows)


def _model_row(model: Mapping[str, Any]) -> Sequence[object]:
    return (model["name"], model["version"] or "?", model["sha256"] or "?", model["license"], model["cases"])


def _license_rows(card: Mapping[str, Any]) -> Iterable[Sequence[object]]:
    yield ("this dataset as a whole", card["licenses"]["dataset"], card["cases"])
    yield ("CT images", card["licenses"]["ct"], card["cases"])
    for original in card["original_labels"]:
        yield (f"original labels of dataset {original['dataset']}", original["license"], original["cases"])
    for model in card["models"]:
        yield (f"masks predicted by {model['name']}", model["license"], model["cases"])


def _section(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]
    if not body:
        return ""
    head = [f"## {plain(title)}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*head, *body])
