"""How far two readings of one organ agree: Dice, surface Dice, and Cohen's kappa over the hot spots (did the reader change it?).

Kappa after Cohen, Educ. Psychol. Meas. 20 (1960): (observed - expected agreement) / (1 - expected agreement). It is unknown where there is
no hot spot, or where both readers changed all of them or none, as nothing can be told from that; pooled over many tasks it can.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from AtlasQualityLib.hot_spots import HotSpot, find_hot_spots
from AtlasQualityLib.surface_metrics import surface_dice, surface_distances
from AtlasReviewLib.case_masks import case_grid
from AtlasReviewLib.review_case import read_mask_sparse
from AtlasReviewLib.review_policy import ReviewPolicy
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.components import find_components
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, is_empty, read_sparse, union
from AtlasSegmentLib.volume import Array, Grid

_DIGITS = 4
_NUMBER = r"(\d+(?:\.\d+)?)"
_WORDS = re.compile(rf"Dice {_NUMBER}, NSD {_NUMBER} at {_NUMBER} mm, kappa (unknown|-?{_NUMBER[1:-1]}) over \d+ hot spots")
Table = tuple[int, int, int, int]
"""Hot spots that both readers changed, only the first one, only the second one, neither."""


@dataclass(frozen=True)
class Measured:
    """How far two readings agree, and who did them: of a task that waits to be adjudicated it is shown without the names.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|), 0..1; 1 when both are empty.
        nsd: Share of both surfaces that lies within `tolerance_mm` of the other one, 0..1; 1 when both are empty.
        tolerance_mm: For nsd.
        kappa: Cohen's kappa over the hot spots, -1..1; None where it is unknown.
        spots: Hot spots that both readers changed, only the first one, only the second one, neither.
        verdicts: "accepted" or "rejected" of the first and second reading.
        revisions: Ids of the revisions that were compared, "" for the prediction.
        agree: They agree within the policy of the dataset.
        readers: Who did the first and the second reading; "" in lists of earlier versions.
        order: Which readings A and B are, told once, so that they stay the same for whoever adjudicates; (0, 0) in earlier versions.
    """

    dice: float
    nsd: float
    tolerance_mm: float
    kappa: float | None
    spots: Table
    verdicts: tuple[str, str] = ("accepted", "accepted")
    revisions: tuple[str, str] = ("", "")
    agree: bool = False
    readers: tuple[str, str] = ("", "")
    order: tuple[int, int] = (0, 0)

    def words(self) -> str:
        """Return one line for the history."""
        kappa = "unknown" if self.kappa is None else f"{self.kappa:.2f}"
        told = f"Dice {self.dice:.3f}, NSD {self.nsd:.3f} at {self.tolerance_mm:g} mm, kappa {kappa} over {sum(self.spots)} hot spots"
        return told if self.verdicts[0] == self.verdicts[1] else f"{told}; one reader rejected it"

    @classmethod
    def from_words(cls, words: str) -> Measured | None:
        """Return what a line of the history tells of it, without hot spots, verdicts and revisions; None where it is no such line."""
        found = _WORDS.match(words)
        if found is None:
            return None
        dice, nsd, tolerance, kappa = found.groups()
        return cls(float(dice), float(nsd), float(tolerance), None if kappa == "unknown" else float(kappa), (0, 0, 0, 0))

    def to_text(self) -> str:
        """Return it as JSON, as the worklist stores it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Measured:
        """Return what `to_text` made.

        Raises:
            InputError: It is not that.
        """
        try:
            values = json.loads(text)
            values = {"readers": ("", ""), "order": (0, 0)} | values
            lists = {name: tuple(values[name]) for name in ("spots", "verdicts", "revisions", "readers", "order")}
            return cls(**{**{field.name: values[field.name] for field in fields(cls)}, **lists})
        except (ValueError, KeyError, TypeError) as error:
            message = f"The worklist says {text[:60]!r} about how far two readings agree ({error})."
            raise InputError(message, "Compare with a backup of the worklist.") from error


def agrees(dice: float, nsd: float, kappa: float | None, verdicts: tuple[str, str], policy: ReviewPolicy) -> bool:
    """Tell whether two readings agree within the policy; two who both reject do, one who rejects and one who does not do not."""
    if verdicts[0] != verdicts[1]:
        return False
    if verdicts[0] == "rejected":
        return True
    known = policy.agree_kappa is None or kappa is None or kappa >= policy.agree_kappa
    return dice >= policy.agree_dice and nsd >= policy.agree_nsd and known


def why_not(found: Measured, policy: ReviewPolicy) -> str:
    """Return in words why two readings do not agree within the policy; "" where they do by now, as it was changed."""
    if found.verdicts[0] != found.verdicts[1]:
        return "one rejected it"
    limits = (("Dice", found.dice, policy.agree_dice), ("NSD", found.nsd, policy.agree_nsd), ("kappa", found.kappa, policy.agree_kappa))
    below = [f"{name} below {limit:g}" for name, value, limit in limits if value is not None and limit is not None and value < limit]
    return ", ".join(below)


def kappa_of(table: Table) -> float | None:
    """Return Cohen's kappa of a table, None where expected agreement is complete or there is nothing."""
    both, first, second, neither = table
    total = sum(table)
    if not total:
        return None
    observed = (both + neither) / total
    expected = ((both + first) * (both + second) + (second + neither) * (first + neither)) / total**2
    return None if math.isclose(expected, 1) else (observed - expected) / (1 - expected)


Files = tuple[Path | None, Path | None]


def measure(case: CaseFolder, organ: str, files: Files, predicted: Path | None, policy: ReviewPolicy) -> Measured:
    """Compare the masks of two readings, on the grid of the case.

    Args:
        case: The case, with its attention maps.
        organ: Name of the organ.
        files: Masks of the first and second reading; None is empty.
        predicted: File of the prediction that both readers began with; None is empty.
        policy: Gives the tolerance of nsd; `agree` stays False.

    Raises:
        InputError, GeometryError: A mask is damaged or lies on another grid.
    """
    grid = case_grid(case)
    a, b, before = (_mask(path, grid) for path in (*files, predicted))
    box = union([a.box, b.box])
    one, two = a.within(box) > 0, b.within(box) > 0
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(two))
    dice = 2 * int(np.count_nonzero(one & two)) / total if total else 1.0
    nsd = surface_dice(surface_distances(one, two, grid.affine), policy.tolerance_mm) if total else 1.0
    table = _spots_changed(case, organ, before, (a, b))
    kappa = kappa_of(table)
    return Measured(round(dice, _DIGITS), round(nsd, _DIGITS), policy.tolerance_mm, None if kappa is None else round(kappa, _DIGITS), table)


def _mask(path: Path | None, grid: Grid) -> SparseVolume:
    return SparseVolume(grid, EMPTY_BOX, np.zeros((0, 0, 0), np.uint8)) if path is None else read_mask_sparse(path, grid)


def _spots_changed(case: CaseFolder, organ: str, before: SparseVolume, masks: Sequence[SparseVolume]) -> Table:
    """Count the hot spots of the task by which readers changed a voxel in them."""
    path = case.average.map("attention", organ)
    if not path.is_file():
        return (0, 0, 0, 0)
    spots = find_hot_spots(case, [organ])
    attention = read_sparse(path)
    if not spots or is_empty(attention.box):
        return (0, 0, 0, 0)
    labels = find_components(attention.crop > 0).labels
    inside = before.within(attention.box) > 0
    first, second = (_touched(labels, (mask.within(attention.box) > 0) != inside) for mask in masks)
    numbers = [_number(labels, attention, spot) for spot in spots]
    pairs = [(number in first, number in second) for number in numbers]
    return (pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True)), pairs.count((False, False)))


def _touched(labels: Array, changed: Array) -> set[int]:
    return {int(number) for number in np.unique(labels[changed]) if number}


def _number(labels: Array, attention: SparseVolume, spot: HotSpot) -> int:
    x, y, z = (index - side.start for index, side in zip(spot.voxel, attention.box, strict=True))
    return int(labels[x, y, z])
