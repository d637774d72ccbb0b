"""From the scores of slices to the predicted Dice of a mask: which slices are looked at, and what they say together.

SegAE looks at ten slices with mask, evenly spaced, and takes the mean of their scores ("mean"). The Dice of a volume is not the
mean of its slices, though: large slices count more, and slices that the mask misses altogether are never looked at. So our own
estimate ("volume") adds them up as the Dice of a volume does,

    D = sum(2 w d a) / (sum(2 w a) + sum(w (1 - e) b)),

over looked-at slices with mask (area a, score d; the unknown reference is taken to be as large as the mask there) and empty ones
beside and between them (e says how surely the slice is rightly empty, b is the area of the nearest slice with mask). w is the number of
slices for which a looked-at one stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Estimate = Literal["volume", "mean"]
ESTIMATES: tuple[Estimate, ...] = ("volume", "mean")
SLICES = 10
_BEYOND = ((1, 1.0), (2, 1.5), (4, 2.5), (7, 4.0))
"""What is looked at beyond each end of a mask: so many steps away, standing for so many. Near ones, since masks end a little early
most often, and far ones, since some are cut in half."""


@dataclass(frozen=True)
class LookedAt:
    """One slice to score.

    Attributes:
        index: Of the slice.
        nearest: The slice with mask whose crop and area are used; itself where the slice has mask.
        weight: Slices of the volume for which it stands.
    """

    index: int
    nearest: int
    weight: float

    @property
    def has_mask(self) -> bool:
        """Whether the mask has voxels in it."""
        return self.index == self.nearest


def slices_to_score(areas: npt.ArrayLike, estimate: Estimate = "volume", count: int = SLICES) -> list[LookedAt]:
    """Return the slices to score, ascending; none for an empty mask.

    Args:
        areas: Voxels of the mask in each axial slice of the image, (slices,).
        estimate: "mean": SegAE's rule, V[int(n / 10 k)] of the n slices with mask, all where there are at most `count`. "volume":
            `count` slices with mask from the first to the last, as many empty ones between them as their share, and four beyond each end,
            up to seven tenths of the mask's length away, as far as the image goes.
        count: Slices with mask.
    """
    size = np.asarray(areas)
    filled = np.flatnonzero(size)
    if not len(filled):
        return []
    if estimate == "mean":
        chosen = filled if len(filled) <= count else filled[[int(len(filled) / count * k) for k in range(count)]]
        return [LookedAt(int(index), int(index), 1.0) for index in chosen]
    inside = _spread(filled, count)
    found = [LookedAt(int(index), int(index), len(filled) / len(inside)) for index in inside]
    gaps = np.setdiff1d(np.arange(filled[0], filled[-1] + 1), filled)
    if len(gaps):
        between = _spread(gaps, max(1, round(count * len(gaps) / len(filled))))
        found += [LookedAt(int(index), _nearest(filled, int(index)), len(gaps) / len(between)) for index in between]
    step = max(1, round(len(filled) / count))
    for end, direction in ((int(filled[0]), -1), (int(filled[-1]), 1)):
        beyond = [(end + direction * step * steps, step * share) for steps, share in _BEYOND]
        found += [LookedAt(index, end, weight) for index, weight in beyond if 0 <= index < len(size)]
    return sorted(found, key=lambda one: one.index)


def _spread(indices: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
    """Return up to `count` of the indices, evenly from the first to the last."""
    if len(indices) <= count:
        return indices
    places = np.linspace(0, len(indices) - 1, count) if count > 1 else np.array([(len(indices) - 1) / 2])
    return np.asarray(indices[np.round(places).astype(int)])


def _nearest(filled: npt.NDArray[np.intp], index: int) -> int:
    return int(filled[np.abs(filled - index).argmin()])


def mask_score(looked_at: list[LookedAt], scores: npt.ArrayLike, areas: npt.ArrayLike, estimate: Estimate = "volume") -> float:
    """Return the predicted Dice of a mask, 0..1 ("mean": as raw as the scores), before calibration.

    Args:
        looked_at: What `slices_to_score` chose.
        scores: What the network says of each, in the same order.
        areas: As for `slices_to_score`.
        estimate: The same.

    An empty mask has the score 0: there is nothing that could agree.
    """
    score, size = np.asarray(scores, np.float64), np.asarray(areas, np.float64)
    if not looked_at:
        return 0.0
    if estimate == "mean":
        return float(score.mean())
    score = score.clip(0, 1)
    weights = np.array([one.weight * size[one.nearest] for one in looked_at])
    has_mask = np.array([one.has_mask for one in looked_at])
    agreed = 2 * float((weights * score)[has_mask].sum())
    missed = float((weights * (1 - score))[~has_mask].sum())
    return agreed / (2 * float(weights[has_mask].sum()) + missed)


def score_spread(looked_at: list[LookedAt], scores: npt.ArrayLike, areas: npt.ArrayLike, estimate: Estimate = "volume") -> float:
    """Return the standard deviation of the scores, kept within 0..1, of the slices with mask; 0 for an empty mask.

    Each counts as it does in `mask_score`: "volume" by its area times the slices it stands for, "mean" all alike.

    Args:
        looked_at, scores, areas, estimate: As for `mask_score`.
    """
    score, size = np.asarray(scores, np.float64).clip(0, 1), np.asarray(areas, np.float64)
    inside = [number for number, one in enumerate(looked_at) if one.has_mask]
    if not inside:
        return 0.0
    weights = np.array([looked_at[n].weight * size[looked_at[n].nearest] if estimate == "volume" else 1.0 for n in inside])
    middle = np.average(score[inside], weights=weights)
    return float(np.sqrt(np.average((score[inside] - middle) ** 2, weights=weights)))
