"""What a simulated review is told as: a summary, whole curves as CSV, and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasReviewLib.simulation import Curve
from AtlasReviewLib.simulation_strategies import ORACLE
from AtlasSegmentLib.files import write_text

SHARES = (0.5, 0.8, 0.9)
SUMMARY, CURVES, ORGANS, PICTURE = "simulation.csv", "simulation_curves.csv", "simulation_organs.csv", "simulation.png"
_MOST_ROWS = 2000
"""Of a curve; longer ones are thinned out evenly, the last row is kept."""

SUMMARY_COLUMNS = ("strategy", "carried", "share_removed", "slices", "percent_of_slices", "times_oracle", "masks", "minutes")
CURVE_COLUMNS = ("strategy", "carried", "slices", "percent_of_slices", "share_removed", "masks", "minutes")
ORGAN_COLUMNS = ("strategy", "carried", "share_removed", "organ", "share_of_its_error_removed")


def summary(curves: Sequence[Curve], shares: Sequence[float] = SHARES) -> list[dict[str, Any]]:
    """Return how many slices, masks and minutes each curve needs until a share of the error is removed for good.

    Args:
        curves: Of one simulation.
        shares: 0..1.

    Returns:
        Rows with SUMMARY_COLUMNS. `times_oracle` compares with the oracle that goes slice by slice; it and the numbers are None
        where the share was not reached or there is no oracle.
    """
    oracle = next((curve for curve in curves if curve.strategy == ORACLE and not curve.carried), None)
    rows = []
    for curve in curves:
        for share in shares:
            at, bound = curve.reached(share), oracle.reached(share) if oracle is not None else None
            found = {
                "slices": at,
                "percent_of_slices": None if at is None else round(100 * at / curve.units, 2),
                "times_oracle": round(at / bound, 3) if at is not None and bound else None,
                "masks": None if at is None else round(float(curve.masks[at]), 1),
                "minutes": None if at is None else round(float(curve.minutes[at]), 2),
            }
            rows.append({"strategy": curve.strategy, "carried": curve.carried, "share_removed": share, **found})
    return rows


def organ_rows(curves: Sequence[Curve], shares: Sequence[float] = SHARES) -> list[dict[str, Any]]:
    """Return how much of its own error each organ has lost when a share of the whole is removed: where a strategy fails."""
    return [
        {
            "strategy": curve.strategy,
            "carried": curve.carried,
            "share_removed": share,
            "organ": organ,
            "share_of_its_error_removed": round(float(values[at]), 4),
        }
        for curve in curves
        for share in shares
        if (at := curve.reached(share)) is not None
        for organ, values in curve.by_organ.items()
    ]


def curve_rows(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return the points of all curves, at most 2000 of each."""
    rows = []
    for curve in curves:
        count = len(curve.removed)
        kept = np.unique(np.linspace(0, count - 1, min(count, _MOST_ROWS)).round().astype(int))
        for index in kept.tolist():
            rows.append(
                {
                    "strategy": curve.strategy,
                    "carried": curve.carried,
                    "slices": index,
                    "percent_of_slices": round(100 * index / curve.units, 3),
                    "share_removed": round(float(curve.removed[index]), 5),
                    "masks": round(float(curve.masks[index]), 2),
                    "minutes": round(float(curve.minutes[index]), 3),
                }
            )
    return rows


def write_tables(folder: Path, curves: Sequence[Curve]) -> list[Path]:
    """Write the three CSV files of a simulation into a folder; return their paths."""
    tables = (
        (SUMMARY, SUMMARY_COLUMNS, summary(curves)),
        (ORGANS, ORGAN_COLUMNS, organ_rows(curves)),
        (CURVES, CURVE_COLUMNS, curve_rows(curves)),
    )
    for name, columns, rows in tables:
        cells = [["" if row[column] is None else no_formula(row[column]) for column in columns] for row in rows]
        write_text(folder / name, csv_text([columns, *cells]))
    return [folder / name for name, _, _ in tables]
