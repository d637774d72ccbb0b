"""Which rib is which: the ribs of one side in order from the head down, and the numbers that fit best.

Heights: ribs run nearly parallel, so the height of rib i at angle b is level_i + shape_b. The levels order ribs that the image cuts at
different angles, where comparing tops or centers would not.

Numbers: the cheapest sequence that never goes back. It pays for distance between the medial end of a rib and the thoracic vertebra
of its number, for steps that do not fit the gap between two levels, and a little for leaving the number the rib had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.repair_rib_pieces import BINS, SIDE_BY_SIDE_MM, RibPiece

NUMBERS = range(14)
"""0 stands for a cervical and 13 for a lumbar rib: they are found so that they do not push the others down or up."""
STEP_MM = 10.0
MISSING_RIB_MM = 6.0
"""What each number costs that is left out: gaps between ribs vary more often than a network misses a whole rib."""
OWN_NUMBER_MM, OWN_BESIDE_SPINE_MM = 2.0, 0.3
"""What leaving a rib's number costs: little on a side with ribs that reach vertebrae, for networks shift whole sides by one."""
EXTRA_RIB_MM = 5.0
MARGIN_MM = 3.0
"""Numbers are believed when all others that begin with another one cost this much more ..."""
PIECE_MARGIN_MM = 1.0
"""... and all that differ for any one rib this much."""
MOST = 0.6
"""Without vertebrae, this share of the ribs must have the right number already."""
_SPACING_MM, _LEAST_SPACING_MM, _MOST_SPACING_MM = 27.0, 15.0, 45.0
_SMOOTH = 10.0
_NEVER = 1e6

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What speaks for the number of one piece.

    Attributes:
        vertebra_mm: (14,) mean distance of its medial end to the vertebra of each number (C7, T1 ... T12, L1), inf where that one
            is not in the map; None when the medial end is cut off or far from the spine.
        own: (14,) share of its voxels with each number now.
    """

    vertebra_mm: Floats | None
    own: Floats

    def costs(self, own_mm: float, spine: bool) -> Floats:
        """Return the cost of each number in mm; extra ribs only where there is a `spine` to tell them."""
        cost = own_mm * (1 - self.own)
        cost[[0, 13]] += EXTRA_RIB_MM if spine else _NEVER
        if self.vertebra_mm is not None:
            known = np.isfinite(self.vertebra_mm)
            worst = self.vertebra_mm[known].max()
            cost += np.where(known, self.vertebra_mm, worst) - self.vertebra_mm[known].min()
        return cost


@dataclass(frozen=True)
class Numbers:
    """The numbers of the pieces of one side, from the head down.

    Attributes:
        pieces: The pieces in their order.
        numbers: Number of each.
        margins_mm: How much more the best numbering costs that has another number there.
        anchored: A rib reaches a vertebra.
        kept: Mean share of the pieces that had their number already.
    """

    pieces: tuple[RibPiece, ...]
    numbers: tuple[int, ...]
    margins_mm: tuple[float, ...]
    anchored: bool
    kept: float

    @property
    def certain(self) -> bool:
        """Tell whether the numbers can be believed."""
        clear = self.margins_mm[0] >= MARGIN_MM and min(self.margins_mm) >= PIECE_MARGIN_MM
        return clear and (self.anchored or self.kept >= MOST)


def levels(pieces: Sequence[RibPiece]) -> dict[int, float]:
    """Return the level in mm of each piece by its number, with one shape for all pieces of both sides (least squares)."""
    n = len(pieces)
    scale = _SMOOTH * np.mean([piece.voxels for piece in pieces]) / BINS
    # Normal equations, for unknowns (levels, shape) and equations weighted by the number of voxels.
    matrix, right = np.zeros((n + BINS, n + BINS)), np.zeros(n + BINS)
    for i, piece in enumerate(pieces):
        shape = slice(n, n + BINS)
        matrix[i, i] += piece.count.sum()
        matrix[i, shape] += piece.count
        matrix[shape, i] += piece.count
        matrix[shape, shape] += np.diag(piece.count)
        right[i] += (piece.count * piece.height).sum()
        right[shape] += piece.count * piece.height
    bend = np.diff(np.eye(BINS), 2, axis=0)  # the shape goes on smoothly where no rib is
    matrix[n:, n:] += scale * (bend.T @ bend + 1 / BINS)  # and is zero on average
    solution = np.linalg.solve(matrix, right)
    return {piece.number: float(solution[i]) for i, piece in enumerate(pieces)}


def from_the_head(pieces: Sequence[RibPiece], level: dict[int, float]) -> list[RibPiece]:
    """Return the pieces of one side from the head down: compared directly where their angles overlap, else by level."""

    def compare(a: RibPiece, b: RibPiece) -> int:
        apart = a.apart(b)
        if apart is None or abs(apart) <= SIDE_BY_SIDE_MM:
            apart = level[a.number] - level[b.number]
        return -1 if apart > 0 else 1

    return sorted(sorted(pieces, key=lambda piece: (-level[piece.number], piece.number)), key=cmp_to_key(compare))


def spacing_of(ordered: Sequence[Sequence[RibPiece]], level: dict[int, float]) -> float:
    """Return the usual distance in mm of a rib to the next, over both sides; from ribs over the same angles when there are any."""
    pairs = [pair for side in ordered for pair in pairwise(side)]
    beside = [gap for a, b in pairs if (gap := a.apart(b)) is not None and gap > SIDE_BY_SIDE_MM]
    gaps = beside or [gap for a, b in pairs if (gap := _gap(a, b, level)) > SIDE_BY_SIDE_MM]
    return float(np.clip(np.median(gaps), _LEAST_SPACING_MM, _MOST_SPACING_MM)) if gaps else _SPACING_MM


def _gap(a: RibPiece, b: RibPiece, level: dict[int, float]) -> float:
    apart = a.apart(b)
    return level[a.number] - level[b.number] if apart is None else apart


def number_side(
    ordered: Sequence[RibPiece], evidence: Sequence[Evidence], level: dict[int, float], spacing_mm: float, spine: bool
) -> Numbers:
    """Return the cheapest numbers of the pieces of one side.

    Args:
        ordered: From the head down, at least one.
        evidence: Of each piece.
        level: Of each piece, mm.
        spacing_mm: Usual distance of two levels.
        spine: There are vertebrae that tell where the ribs end.
    """
    anchored = any(item.vertebra_mm is not None for item in evidence)
    own_mm = OWN_BESIDE_SPINE_MM if anchored else OWN_NUMBER_MM
    costs = np.array([item.costs(own_mm, spine) for item in evidence])
    steps = [_step_costs(a, b, _gap(a, b, level) / spacing_mm) for a, b in pairwise(ordered)]
    through = _through(costs, steps)
    numbers = _cheapest(costs, steps)
    cost = float(through.min())
    others = np.where(np.array(NUMBERS) == np.array(numbers)[:, None], np.inf, through)
    kept = float(np.mean([item.own[number] for item, number in zip(evidence, numbers, strict=True)]))
    return Numbers(tuple(ordered), tuple(numbers), tuple((others.min(axis=1) - cost).tolist()), anchored, kept)


def _step_costs(a: RibPiece, b: RibPiece, expected: float) -> Floats:
    """Return the (14, 14) cost of b's number after a's; the same number only for pieces that may be one broken rib."""
    step = np.array(NUMBERS)[None, :] - np.array(NUMBERS)[:, None]
    cost = STEP_MM * (step - max(expected, 0.0)) ** 2 + MISSING_RIB_MM * np.maximum(step - 1, 0)
    apart = a.apart(b)
    one_rib = apart is None or abs(apart) <= SIDE_BY_SIDE_MM
    return np.where(step < (0 if one_rib else 1), _NEVER, cost)


def _through(costs: Floats, steps: Sequence[Floats]) -> Floats:
    """Return (n, 14): the cost of the cheapest sequence with each number at each place."""
    down, up = [costs[0]], [costs[-1]]
    for own, step in zip(costs[1:], steps, strict=True):
        down.append((down[-1][:, None] + step).min(axis=0) + own)
    for own, step in zip(costs[-2::-1], steps[::-1], strict=True):
        up.append((step + up[-1][None, :]).min(axis=1) + own)
    return np.asarray(np.array(down) + np.array(up[::-1]) - costs)


def _cheapest(costs: Floats, steps: Sequence[Floats]) -> list[int]:
    """Return the numbers of the cheapest sequence, by dynamic programming."""
    total, back = costs[0], []
    for own, step in zip(costs[1:], steps, strict=True):
        reached = total[:, None] + step
        back.append(reached.argmin(axis=0))
        total = reached.min(axis=0) + own
    numbers = [int(total.argmin())]
    for previous in reversed(back):
        numbers.append(int(previous[numbers[-1]]))
    return numbers[::-1]
