"""Which case and organ to look at first: AbdomenAtlas' list, and two other orders, written so that they can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from AtlasQualityLib.attention import attention_folder
from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import read_json, write_text
from AtlasSegmentLib.names import safe_name

Order = Literal["abdomenatlas", "expected-error", "gain"]
ORDERS: tuple[Order, ...] = ("abdomenatlas", "expected-error", "gain")


@dataclass(frozen=True)
class OrganScore:
    """Numbers of one organ of one case.

    Attributes:
        dataset, case, organ: Which.
        attention_voxels: Size of the binary attention.
        attention_mm3: The same in cubic mm, comparable between scans.
        heat_sum: Sum of the heat map's bytes; comparable within a case only, as each map is scaled to its own maximum.
        expected_error_mm3: Expected volume of wrong voxels; NaN when not computed.
        minutes_to_correct: Modeled editing time; NaN when not computed.
        gain_mm3_per_minute: Their ratio; NaN when not computed.
    """

    dataset: str
    case: str
    organ: str
    attention_voxels: int
    attention_mm3: float
    heat_sum: int
    expected_error_mm3: float = math.nan
    minutes_to_correct: float = math.nan
    gain_mm3_per_minute: float = math.nan

    def key(self, order: Order) -> float:
        """Return the number by which organs of a case are sorted, descending."""
        if order == "abdomenatlas":
            return float(self.heat_sum)
        return self.expected_error_mm3 if order == "expected-error" else self.gain_mm3_per_minute


@dataclass(frozen=True)
class CaseScores:
    """A case with the scores of its organs; there are none when people annotated all that would be looked at."""

    dataset: str
    case: str
    organs: tuple[OrganScore, ...]


@dataclass(frozen=True)
class CasePriority:
    """A case with its organs in the order of a list; organs without a score are left out."""

    dataset: str
    case: str
    score: float
    organs: tuple[OrganScore, ...]


def read_scores(case: CaseFolder) -> CaseScores:
    """Return the scores that the attention step recorded for a case.

    Raises:
        DatasetError: The attention of this case was not computed.
    """
    record = attention_folder(case).run_record
    if not record.is_file():
        message = f"{case.folder}: there is no attention yet."
        raise DatasetError(message, "Run: atlas attention CASE.")
    names = {field.name for field in fields(OrganScore)} - {"dataset", "case", "organ"}
    try:
        organs = read_json(record)["results"]["organs"]
        found = [OrganScore(case.dataset, case.name, o, **{k: v for k, v in n.items() if k in names}) for o, n in organs.items()]
    except (KeyError, TypeError, AttributeError) as error:
        message = f"{record}: is not the record of an attention step."
        raise DatasetError(message, "Run: atlas attention CASE --force.") from error
    return CaseScores(case.dataset, case.name, tuple(found))


def prioritize(scores: Sequence[CaseScores], order: Order) -> list[CasePriority]:
    """Sort cases, and the organs of each, by an order; ties by name, so that the list is always the same.

    "abdomenatlas": cases by their summed attention voxels, organs by their heat sum; organs with zero heat are left out.
    "expected-error": both by expected error volume (calibrated, cubic mm).
    "gain": organs by expected error removed per minute of editing; cases by the gain of doing all their organs.

    Raises:
        AtlasError: An order needs expected errors that were not computed.
    """
    return sorted((_prioritized(case, order) for case in scores), key=lambda c: (-c.score, c.dataset, c.case))


def _prioritized(case: CaseScores, order: Order) -> CasePriority:
    missing = [organ for organ in case.organs if math.isnan(organ.key(order))]
    if missing:
        message = (
            f"{missing[0].dataset}/{missing[0].case}: {missing[0].organ} has no expected error, so the order {order!r} cannot be made."
        )
        raise AtlasError(message, "Run: atlas attention CASE --force (with error maps).")
    kept = sorted((o for o in case.organs if o.key(order) > 0), key=lambda o: (-o.key(order), o.organ))
    return CasePriority(case.dataset, case.case, _case_score(case.organs, order), tuple(kept))


def _case_score(organs: Sequence[OrganScore], order: Order) -> float:
    if order == "abdomenatlas":
        return float(sum(organ.attention_voxels for organ in organs))
    volume = sum(organ.expected_error_mm3 for organ in organs)
    if order == "expected-error":
        return volume
    minutes = sum(organ.minutes_to_correct for organ in organs)
    return volume / minutes if minutes else 0.0


def write_priority(folder: Path, name: str, cases: Sequence[CasePriority]) -> tuple[Path, Path]:
    """Write AbdomenAtlas' list `<name>.csv` (case,organ,organ,... without a header) and `<name>_scores.csv` beside it.

    Args:
        folder: The dataset folder.
        name: Name of the list.
        cases: Cases of this dataset in order.

    Returns:
        Both paths.
    """
    safe_name(name, "name of the priority list")
    plain = csv_text([[c.case, *(o.organ for o in c.organs)] for c in cases])
    names = [field.name for field in fields(OrganScore)]
    rows = [[i + 1, j + 1, *(no_formula(getattr(o, n)) for n in names)] for i, c in enumerate(cases) for j, o in enumerate(c.organs)]
    paths = (folder / f"{name}.csv", folder / f"{name}_scores.csv")
    write_text(paths[0], plain)
    write_text(paths[1], csv_text([["case_rank", "organ_rank", *names], *rows]))
    return paths


def rank_agreement(scores: Sequence[CaseScores]) -> dict[str, float]:
    """Return Spearman's rank correlation between the three orders over all (case, organ) pairs; NaN below three pairs."""
    from scipy.stats import spearmanr

    organs = [organ for case in scores for organ in case.organs]
    result = {}
    for i, first in enumerate(ORDERS):
        for second in ORDERS[i + 1 :]:
            pairs = [(o.key(first), o.key(second)) for o in organs]
            varied = len(pairs) > 2 and all(len(set(column)) > 1 for column in zip(*pairs, strict=True))
            result[f"{first} / {second}"] = float(spearmanr(*zip(*pairs, strict=True)).statistic) if varied else math.nan
    return result
