"""Tables as CSV text that a spreadsheet shows and never runs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence


def no_formula(cell: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would run as a formula; other cells are returned as they are."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def number_cell(value: float | None, digits: int) -> object:
    """Return a number rounded for a table, "" for None and NaN, "inf" for an infinite one."""
    if value is None or math.isnan(value):
        return ""
    return round(value, digits) if math.isfinite(value) else "inf"


def csv_text(rows: Sequence[Sequence[object]]) -> str:
    """Return rows as CSV with LF line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
