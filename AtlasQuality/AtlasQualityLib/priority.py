"""Which case and organ to look at first: AbdomenAtlas' list, and three other orders, written so that they can be compared."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from AtlasQualityLib.attention import attention_folder
from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasQualityLib.organ_table import read_predicted_dice
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import read_json, write_text
from AtlasSegmentLib.names import safe_name

Order = Literal["abdomenatlas", "expected-error", "gain", "predicted-dice"]
ORDERS: tuple[Order, ...] = ("abdomenatlas", "expected-error", "gain", "predicted-dice")
_AGAIN = "Run: atlas quality predict --force {case}"


@dataclass(frozen=True)
class OrganScore:
    """Numbers of one organ of one case.

    Attributes:
        dataset, case, organ: Which.
        attention_voxels: Size of the binary attention; this and the next two are NaN where no attention was computed.
        attention_mm3: The same in cubic mm, comparable between scans.
        heat_sum: Sum of the heat map's bytes; comparable within a case only, as each map is scaled to its own maximum.
        expected_error_mm3: Expected volume of wrong voxels; NaN when not computed.
        minutes_to_correct: Modeled editing time; NaN when not computed.
        gain_mm3_per_minute: Their ratio; NaN when not computed.
        predicted_dice: What a label-quality model predicts for the average mask, 0..1; NaN when none did.
    """

    dataset: str
    case: str
    organ: str
    attention_voxels: float
    attention_mm3: float
    heat_sum: float
    expected_error_mm3: float = math.nan
    minutes_to_correct: float = math.nan
    gain_mm3_per_minute: float = math.nan
    predicted_dice: float = math.nan

    def key(self, order: Order) -> float:
        """Return the number by which organs of a case are sorted, descending."""
        if order == "abdomenatlas":
            return float(self.heat_sum)
        if order == "predicted-dice":
            return 1 - self.predicted_dice
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


def read_scores(case: CaseFolder, order: Order = "abdomenatlas") -> CaseScores:
    """Return the scores of the organs of a case.

    Args:
        case: The case.
        order: What they are for. "predicted-dice" takes every organ that predicted_dice.json knows and needs no attention; the others
            take the organs of the attention step.

    Raises:
        DatasetError: What the order needs was not computed for this case.
    """
    if order == "predicted-dice":
        return _predicted_scores(case)
    record = attention_folder(case).run_record
    if not record.is_file():
        message = f"{case.folder}: there is no attention yet."
        raise DatasetError(message, "Run: atlas attention CASE.")
    names = {field.name for field in fields(OrganScore)} - {"dataset", "case", "organ", "predicted_dice"}
    predicted = read_predicted_dice(case)
    try:
        organs = read_json(record)["results"]["organs"]
        numbers = {organ: {k: v for k, v in entry.items() if k in names} for organ, entry in organs.items()}
        found = [OrganScore(case.dataset, case.name, o, **n, predicted_dice=predicted.get(o, math.nan)) for o, n in numbers.items()]
    except (KeyError, TypeError, AttributeError) as error:
        message = f"{record}: is not the record of an attention step."
        raise DatasetError(message, "Run: atlas attention CASE --force.") from error
    return CaseScores(case.dataset, case.name, tuple(found))


def _predicted_scores(case: CaseFolder) -> CaseScores:
    path, place = case.average.predicted_dice, shlex.quote(str(case.folder))
    if not path.is_file():
        message = f"{case.folder}: the quality of its masks was not predicted."
        raise DatasetError(message, f"Run: atlas quality predict {place}")
    try:
        described = set(read_json(path)["details"])
    except (AtlasError, KeyError, TypeError) as error:
        message = f"{path}: is not what atlas quality predict writes."
        raise DatasetError(message, _AGAIN.format(case=place)) from error
    predicted = read_predicted_dice(case)
    described &= set(predicted)  # empty masks have no number
    known = {score.organ: score for score in read_scores(case).organs} if attention_folder(case).run_record.is_file() else {}
    nothing = OrganScore(case.dataset, case.name, "", math.nan, math.nan, math.nan)
    found = [replace(known.get(organ, nothing), organ=organ, predicted_dice=predicted[organ]) for organ in sorted(described)]
    return CaseScores(case.dataset, case.name, tuple(found))


def prioritize(scores: Sequence[CaseScores], order: Order) -> list[CasePriority]:
    """Sort cases, and the organs of each, by an order; ties by name, so that the list is always the same.

    "abdomenatlas": cases by their summed attention voxels, organs by their heat sum; organs with zero heat are left out.
    "expected-error": both by expected error volume (calibrated, cubic mm).
    "gain": organs by expected error removed per minute of editing; cases by the gain of doing all their organs.
    "predicted-dice": organs by what is missing to a predicted Dice of 1, cases by its mean over organs (SegAE's ranking); empty masks
        are left out.

    Raises:
        AtlasError: An order needs expected errors or a predicted Dice that was not computed.
    """
    return sorted((_prioritized(case, order) for case in scores), key=lambda c: (-c.score, c.dataset, c.case))


def _prioritized(case: CaseScores, order: Order) -> CasePriority:
    missing = _without(case, order)
    if missing:
        predicted = order == "predicted-dice"
        what, case_name = "predicted Dice" if predicted else "expected error", shlex.quote(f"{case.dataset}/{case.case}")
        message = f"{missing[0].dataset}/{missing[0].case}: {missing[0].organ} has no {what}, so the order {order!r} cannot be made."
        needed = f"atlas quality predict {case_name}" if predicted else f"atlas attention {case_name} --force (with error maps)"
        raise AtlasError(message, f"Run: {needed}.")
    least = 0.0 if order == "predicted-dice" else math.ulp(0.0)  # a predicted Dice of 1 is in the list, at its end
    kept = sorted((o for o in case.organs if o.key(order) >= least), key=lambda o: (-o.key(order), o.organ))
    return CasePriority(case.dataset, case.case, _case_score(case.organs, order), tuple(kept))


def _case_score(organs: Sequence[OrganScore], order: Order) -> float:
    if order == "abdomenatlas":
        return float(sum(organ.attention_voxels for organ in organs))
    if order == "predicted-dice":
        known = [organ.key(order) for organ in organs if not math.isnan(organ.predicted_dice)]
        return sum(known) / len(known) if known else 0.0
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
    rows = [[i + 1, j + 1, *(_cell(getattr(o, n)) for n in names)] for i, c in enumerate(cases) for j, o in enumerate(c.organs)]
    paths = (folder / f"{name}.csv", folder / f"{name}_scores.csv")
    write_text(paths[0], plain)
    write_text(paths[1], csv_text([["case_rank", "organ_rank", *names], *rows]))
    return paths


def _cell(value: object) -> object:
    """Return a cell of the list; nothing where there is no number."""
    return "" if isinstance(value, float) and math.isnan(value) else no_formula(value)


def possible_orders(scores: Sequence[CaseScores]) -> list[Order]:
    """Return the orders that can be made of these scores."""
    return [order for order in ORDERS if not any(_without(case, order) for case in scores)]


def _without(case: CaseScores, order: Order) -> list[OrganScore]:
    """Return the organs that lack the number of an order. Of an empty mask no Dice is predicted, so one that has it is enough there."""
    lacking = [organ for organ in case.organs if math.isnan(organ.key(order))]
    return [] if order == "predicted-dice" and len(lacking) < len(case.organs) else lacking


def rank_agreement(scores: Sequence[CaseScores]) -> dict[str, float]:
    """Return Spearman's rank correlation between the orders over all (case, organ) pairs that have both numbers; NaN below three.

    The order by predicted Dice takes part where it can be made.
    """
    from scipy.stats import spearmanr

    organs = [organ for case in scores for organ in case.organs]
    orders = [order for order in ORDERS if order != "predicted-dice" or order in possible_orders(scores)]
    result = {}
    for i, first in enumerate(orders):
        for second in orders[i + 1 :]:
            pairs = [pair for o in organs if not any(map(math.isnan, pair := (o.key(first), o.key(second))))]
            varied = len(pairs) > 2 and all(len(set(column)) > 1 for column in zip(*pairs, strict=True))
            result[f"{first} / {second}"] = float(spearmanr(*zip(*pairs, strict=True)).statistic) if varied else math.nan
    return result
