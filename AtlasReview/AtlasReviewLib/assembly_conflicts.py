"""Voxels that masks of two organs claim: which class lost them to which, in a case and in a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasReviewLib.case_masks import Mask
from AtlasReviewLib.merge import Labels
from AtlasSegmentLib.components import Box

COLUMNS = ("case", "lost", "lost_source", "won", "won_source", "voxels", "ml")
FILE = "conflicts.csv"


def lost_voxels(mask: Mask, box: Box, value: int, combined: Labels) -> dict[int, int]:
    """Return value of another organ to number of voxels that the combined map shows as that one and not as `value`.

    Args:
        mask: bool, the organ's voxels in `box`.
        box: Where it lies in `combined`.
        value: The organ's own value.
        combined: Label map (X, Y, Z), complete.
    """
    counts = np.bincount(combined[box][mask])
    return {int(found): int(counts[found]) for found in np.flatnonzero(counts) if found not in {0, value}}


def conflict_rows(manifest: Mapping[str, Any]) -> list[list[object]]:
    """Return the rows of one case, as its manifest lists them."""
    organs = manifest["organs"]
    return [
        [
            no_formula(manifest["name"]),
            conflict["lost"],
            organs[conflict["lost"]]["source"],
            conflict["won"],
            organs[conflict["won"]]["source"],
            conflict["voxels"],
            conflict["ml"],
        ]
        for conflict in manifest.get("conflicts", [])
    ]


def conflicts_csv(manifests: Iterable[Mapping[str, Any]]) -> str:
    """Return the conflicts of a dataset as CSV with a header."""
    return csv_text([COLUMNS, *(row for manifest in manifests for row in conflict_rows(manifest))])
