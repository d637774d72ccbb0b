"""How far readers agree: every comparison of two readings, summed for each pair of readers and organ.

Dice and surface Dice are means over tasks. Cohen's kappa is pooled: one table over the hot spots of all these tasks, so that tasks with few
hot spots count little. What nobody has compared yet is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from AtlasReviewLib.disagreement import Measured, Table, kappa_of
from AtlasReviewLib.task_states import ADJUDICATE
from AtlasReviewLib.worklist_rows import Row

COLUMNS = ("tasks", "Dice", "NSD", "kappa", "hot spots", "agree", "to adjudicate", "adjudicated")


@dataclass(frozen=True)
class Comparison:
    """Two readings of one task that were compared.

    Attributes:
        dataset, case, organ: Which task.
        readers: Who did the two readings, by name.
        measured: How far they agree; hot spots by the readers in this order.
        open: They disagree, and nobody has adjudicated.
    """

    dataset: str
    case: str
    organ: str
    readers: tuple[str, str]
    measured: Measured
    open: bool


@dataclass(frozen=True)
class PairAgreement:
    """How far two readers agree on an organ ("" is all organs).

    Attributes:
        readers: Their names, sorted.
        organ: Which.
        tasks: Tasks that both read.
        dice, nsd: Means over them, 0..1.
        kappa: Cohen's kappa, pooled over their hot spots; None where it is unknown.
        spots: These hot spots.
        agree: Tasks on which they agree within the policy.
        open, adjudicated: Tasks on which they do not, by whether somebody has decided.
    """

    readers: tuple[str, str]
    organ: str
    tasks: int
    dice: float
    nsd: float
    kappa: float | None
    spots: int
    agree: int
    open: int
    adjudicated: int


def comparisons_of(dataset: str, pairs: Iterable[tuple[Row, Row]]) -> list[Comparison]:
    """Return the comparisons in a worklist.

    Args:
        dataset: Its name.
        pairs: Rows of first and second readings, as `Worklist.pairs` gives them.

    Raises:
        InputError: The list holds something else than a comparison.
    """
    found = []
    for first, second in pairs:
        if first["measured"]:
            measured = Measured.from_text(first["measured"])
            authors = (first["author"] or first["reader"], second["author"] or second["reader"])
            readers = measured.readers if all(measured.readers) else authors  # who did it since is not who was compared
            found.append(Comparison(dataset, first["case_name"], first["organ"], readers, measured, first["stage"] == ADJUDICATE))
    return found


def not_compared(pairs: Iterable[tuple[Row, Row]]) -> int:
    """Return how many tasks are to be read twice and were not yet."""
    return sum(not first["measured"] for first, _ in pairs)


def summed(comparisons: Sequence[Comparison], by_organ: bool = True) -> list[PairAgreement]:
    """Return a row for each pair of readers and organ, or for each pair, sorted by them."""
    groups: dict[tuple[tuple[str, str], str], list[Comparison]] = {}
    for one in comparisons:
        pair = (min(one.readers), max(one.readers))
        groups.setdefault((pair, one.organ if by_organ else ""), []).append(one)
    return [_summed(pair, organ, groups[pair, organ]) for pair, organ in sorted(groups)]


def _summed(pair: tuple[str, str], organ: str, found: Sequence[Comparison]) -> PairAgreement:
    table = pooled(found, pair)
    agree, left = sum(one.measured.agree for one in found), sum(one.open for one in found)
    means = (fmean(one.measured.dice for one in found), fmean(one.measured.nsd for one in found))
    return PairAgreement(pair, organ, len(found), *means, kappa_of(table), sum(table), agree, left, len(found) - agree - left)


def pooled(comparisons: Iterable[Comparison], pair: tuple[str, str]) -> Table:
    """Return one table of the hot spots of many tasks; first and second are the readers of `pair`, whatever reading each did."""
    both = first = second = neither = 0
    for one in comparisons:
        a, b, c, d = one.measured.spots
        both, first, second, neither = (
            both + a,
            first + (b if one.readers == pair else c),
            second + (c if one.readers == pair else b),
            neither + d,
        )
    return (both, first, second, neither)


def plain(found: PairAgreement) -> dict[str, Any]:
    """Return a row for JSON and CSV."""
    return {**vars(found), "readers": list(found.readers)}


def cells(found: PairAgreement) -> list[object]:
    """Return the numbers of a row in the order of COLUMNS."""
    kappa = "unknown" if found.kappa is None else f"{found.kappa:.2f}"
    counts = (found.spots, found.agree, found.open, found.adjudicated)
    return [found.tasks, f"{found.dice:.3f}", f"{found.nsd:.3f}", kappa, *counts]
