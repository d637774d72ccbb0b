"""What a bulk check found: one line a person can act on, as a table, and as a reason to look at a task earlier."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from AtlasQualityLib.csv_text import csv_text, no_formula, number_cell
from AtlasSegmentLib.errors import InputError

Severity = Literal["error", "warning", "note"]
ERROR: Severity = "error"
WARNING: Severity = "warning"
NOTE: Severity = "note"
SEVERITIES: tuple[Severity, ...] = (ERROR, WARNING, NOTE)
COLUMNS = ("dataset", "case", "organ", "kind", "severity", "x_mm", "y_mm", "z_mm", "value", "unit", "expected", "message", "remedy")
_POINTS: Mapping[str, float] = {ERROR: 0.8, WARNING: 0.4, NOTE: 0.05}
_DIGITS = 3


@dataclass(frozen=True)
class Finding:
    """One implausible thing.

    Attributes:
        dataset, case: Where.
        organ: Which mask, by the name of its file; "" for the case itself.
        kind: "unreadable", "grid", "shear", "spacing", "header", "no-air", "values", "empty", "duplicate", "side", "mirrored",
            "piece-side", "volume", "hu", "components" or "holes".
        severity: "error" (cannot be right), "warning" (very unusual) or "note".
        message: What is wrong, with the value.
        remedy: The next step.
        place: World RAS mm of the worst place, or None.
        value: What was measured, in `unit`; NaN when it is no number.
        unit: Such as "ml", "HU", "mm".
        expected: What would be plausible, in words.
    """

    dataset: str
    case: str
    organ: str
    kind: str
    severity: Severity
    message: str
    remedy: str
    place: tuple[float, float, float] | None = None
    value: float = math.nan
    unit: str = ""
    expected: str = ""

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Finding:
        """Return a finding from what `dataclasses.asdict` made of it, also after a trip through JSON."""
        place, value = values["place"], values["value"]
        found = None if place is None else (float(place[0]), float(place[1]), float(place[2]))
        return cls(**{**values, "place": found, "value": math.nan if value is None else float(value)})


@dataclass(frozen=True)
class Bonus:
    """What the findings of one task mean for its place in a worklist.

    Attributes:
        points: 0..1; to be added to a priority that is scaled to 0..1.
        reason: For the reader, the worst finding first.
    """

    points: float
    reason: str


def sorted_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by severity, then case, organ and kind, so that a list is always the same."""
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.dataset, f.case, f.organ, f.kind, f.message))


def worklist_bonus(findings: Iterable[Finding]) -> dict[tuple[str, str, str], Bonus]:
    """Return (dataset, case, organ) to the bonus of that task.

    A finding about the whole case (organ "") has a key of its own: whoever builds the worklist gives it to every organ of the case.
    Points of several findings are combined as independent chances to be wrong, 1 - product(1 - points), so that they stay below 1.
    """
    grouped: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in sorted_findings(findings):
        grouped[finding.dataset, finding.case, finding.organ].append(finding)
    return {key: _bonus(found) for key, found in grouped.items()}


def _bonus(findings: Sequence[Finding]) -> Bonus:
    left = math.prod(1 - _POINTS[finding.severity] for finding in findings)
    return Bonus(round(1 - left, 6), " ".join(finding.message for finding in findings))


def findings_csv(findings: Iterable[Finding]) -> str:
    """Return findings as CSV with a header; no cell is run as a formula by a spreadsheet."""
    return csv_text([COLUMNS, *(_row(finding) for finding in sorted_findings(findings))])


def read_findings(text: str) -> list[Finding]:
    """Return what `findings_csv` wrote, for a worklist that is built later.

    Raises:
        InputError: It is not that.
    """
    if not text.startswith(",".join(COLUMNS)):
        message = f"This is no table of findings: it begins with {text[:40]!r}."
        raise InputError(message, "Make one with: atlas check DATASET --out FILE.")
    try:
        return [_finding_of(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except (csv.Error, TypeError, ValueError, AttributeError, StopIteration) as error:
        message = f"The table of findings is damaged ({error})."
        raise InputError(message, "Make it again with: atlas check DATASET --out FILE.") from error


def _finding_of(row: Mapping[str, str]) -> Finding:
    if any(row.get(name) is None for name in COLUMNS):
        message = "a line is cut off"
        raise ValueError(message)
    plain = {name: row[name][1:] if row[name][:1] == "'" and no_formula(row[name][1:]) == row[name] else row[name] for name in COLUMNS}
    numbers = [plain.pop(name) for name in ("x_mm", "y_mm", "z_mm")]
    place = [float(number) for number in numbers] if all(numbers) else None
    value = float(plain["value"]) if plain["value"] else None
    severity = next(known for known in SEVERITIES if known == plain["severity"])
    return Finding.from_plain({**plain, "severity": severity, "place": place, "value": value})


def _row(finding: Finding) -> list[object]:
    place: Sequence[float | None] = finding.place or (None, None, None)
    texts = (finding.dataset, finding.case, finding.organ, finding.kind, finding.severity)
    numbers = (*(number_cell(x, 1) for x in place), number_cell(finding.value, _DIGITS))
    last = (finding.unit, finding.expected, finding.message, finding.remedy)
    return [*map(_cell, texts), *numbers, *map(_cell, last)]


def _cell(text: str) -> object:
    """Return a text on one line (a lone carriage return would break the table) that no spreadsheet runs."""
    return no_formula("".join(character if character.isprintable() else " " for character in text))
