"""Agreement of groups of organs, such as all vertebrae: organs that were missed or invented count, and are counted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.csv_text import csv_text, no_formula, number_cell
from AtlasQualityLib.metrics_detection import ComponentDetection
from AtlasQualityLib.surface_metrics import BOTH, EXTRA, MISSED, NEITHER, Agreement
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json, write_text
from AtlasSegmentLib.labels import catalog, structure_for

ALL_ORGANS = "all organs"
SHORT_COLUMNS = ("group", "organs", "missed", "extra", "neither", "dice_mean", "dice_pooled", "nsd_2mm_mean", "hd95_mm_median")
COLUMNS = (
    *SHORT_COLUMNS,
    "iou_mean",
    "nsd_1mm_mean",
    "assd_mm_median",
    "volume_ml",
    "reference_ml",
    "parts_found",
    "parts_missed",
    "parts_false_positives",
    "parts_precision",
    "parts_recall",
    "parts_f1",
)
_AMOUNTS = ("hd95_mm_median", "assd_mm_median", "volume_ml", "reference_ml")
_COUNTS = ("organs", "missed", "extra", "neither", "parts_found", "parts_missed", "parts_false_positives")


@dataclass(frozen=True)
class GroupAgreement:
    """Agreement of several organs with a reference.

    Attributes:
        group: Name of the group.
        organs: Organs that at least one side has.
        missed: Of these, such as the reference alone has: Dice and NSD 0, distances infinite.
        extra: Such as the segmentation alone has: the same.
        neither: Organs that both know and neither has; they have no number and are not among `organs`.
        dice_mean, iou_mean, nsd_1mm_mean, nsd_2mm_mean: Means over `organs`, 0..1; NaN without an organ.
        dice_pooled: Dice of all voxels of the group, each with its organ: large organs weigh more.
        hd95_mm_median, assd_mm_median: Medians over `organs`; infinite once half of them were missed or are extra.
        volume_ml, reference_ml: Sums.
        parts: Sums over the connected parts of the organs.
    """

    group: str
    organs: int
    missed: int
    extra: int
    neither: int
    dice_mean: float
    dice_pooled: float
    iou_mean: float
    nsd_1mm_mean: float
    nsd_2mm_mean: float
    hd95_mm_median: float
    assd_mm_median: float
    volume_ml: float
    reference_ml: float
    parts: ComponentDetection

    def to_json(self) -> dict[str, Any]:
        """Return the values by the names of COLUMNS; None where there is none."""
        found = {name: getattr(self.parts, name[6:]) if name.startswith("parts_") else getattr(self, name) for name in COLUMNS}
        return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in found.items()}


def groups_of(organs: Iterable[str]) -> dict[str, list[str]]:
    """Return the groups of the catalog: all organs, and each whole (vertebrae, rib, lung) of which there are two or more parts."""
    names = sorted(organs)
    parts: dict[str, list[str]] = defaultdict(list)
    for organ in names:
        structure = catalog().get(organ)
        while structure is not None and structure.part_of:
            parts[structure.part_of].append(organ)
            structure = catalog().get(structure.part_of)
    return {ALL_ORGANS: names, **{whole: found for whole, found in sorted(parts.items()) if len(found) > 1}}


def read_groups(path: Path) -> dict[str, list[str]]:
    """Read groups from a JSON file that maps names of groups to lists of organs, which may go by any known name.

    Raises:
        InputError: It cannot be read, or is something else.
    """
    content = read_json(path)
    good = isinstance(content, dict) and all(isinstance(v, list) and v and all(isinstance(o, str) for o in v) for v in content.values())
    if not good or not content:
        message = f"{path}: does not map names of groups to lists of organs."
        raise InputError(message, 'Write, for example: {"upper abdomen": ["liver", "spleen", "pancreas"]}')
    return {name: list(dict.fromkeys(structure_for(organ).name for organ in organs)) for name, organs in content.items()}


def group_agreements(organs: Mapping[str, Agreement], groups: Mapping[str, Sequence[str]]) -> list[GroupAgreement]:
    """Summarize organs by group.

    Args:
        organs: Canonical organ name to agreement, organs in neither too.
        groups: Name of a group to names of organs; such as `organs` lacks are passed over, and so are groups without any.
    """
    members = {group: [organs[name] for name in names if name in organs] for group, names in groups.items()}
    return [_summary(group, found) for group, found in members.items() if found]


def _summary(group: str, organs: Sequence[Agreement]) -> GroupAgreement:
    counts = {presence: sum(organ.presence == presence for organ in organs) for presence in (BOTH, MISSED, EXTRA, NEITHER)}
    present = [organ for organ in organs if organ.presence != NEITHER]
    volume, reference = sum(organ.volume_ml for organ in organs), sum(organ.reference_ml for organ in organs)
    shared = sum(organ.dice * (organ.volume_ml + organ.reference_ml) for organ in present)  # twice the volume in common

    def mean(name: str) -> float:
        return float(np.mean([getattr(organ, name) for organ in present])) if present else math.nan

    def median(name: str) -> float:
        return float(np.median([getattr(organ, name) for organ in present])) if present else math.nan

    return GroupAgreement(
        group,
        len(present),
        counts[MISSED],
        counts[EXTRA],
        counts[NEITHER],
        mean("dice"),
        shared / (volume + reference) if present else math.nan,
        mean("iou"),
        mean("nsd_1mm"),
        mean("nsd_2mm"),
        median("hd95_mm"),
        median("assd_mm"),
        volume,
        reference,
        ComponentDetection(*(sum(getattr(organ.parts, name) for organ in organs) for name in ("found", "missed", "false_positives"))),
    )


def groups_csv(groups: Iterable[GroupAgreement]) -> str:
    """Return groups as CSV with a header; unknown numbers are empty, infinite ones "inf"."""
    rows = [group.to_json() for group in groups]
    return csv_text([COLUMNS, *([_cell(name, row[name]) for name in COLUMNS] for row in rows)])


def _cell(name: str, value: Any) -> object:
    return no_formula(value) if name == "group" else value if name in _COUNTS else number_cell(value, 3 if name in _AMOUNTS else 4)


def write_groups(path: Path, groups: Iterable[GroupAgreement]) -> None:
    """Write groups as CSV, atomically. Raises StorageError when that fails."""
    write_text(path, groups_csv(groups))
