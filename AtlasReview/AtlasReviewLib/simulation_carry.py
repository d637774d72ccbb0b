"""A simulated review in which corrections are carried to the slices between two corrected ones.

`OrganCarrier` is what a program in a real review would hold: predictions and corrected slices, never the reference. Between
two corrected slices it proposes masks by contour interpolation, and uses a proposal only where it expects less error of it
than of the prediction. Both expectations are learned: whenever a slice is opened for which there was a proposal, the true
error of prediction and proposal is seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.expected_gain import FLOOR_MM2, RatioField
from AtlasReviewLib.simulation import Curve, PerfectEditor, review_of
from AtlasReviewLib.simulation_case import Mask, OrganPrediction
from AtlasReviewLib.simulation_strategies import GAIN, Review, Unit, prior_error
from AtlasReviewLib.simulation_time import ReviewTime
from AtlasReviewLib.slice_interpolation import interpolate_slices

Float64 = npt.NDArray[np.float64]

_PROPOSAL_RATIO = 0.25
"""Error of a proposal halfway, as a share of the area in which the two corrected slices differ, before any was seen."""
_HALF = 0.5
"""What halving an interval is expected to remove of the error of its other slices."""


@dataclass(frozen=True)
class _Cut:
    """A slice as the box that is not empty: a review of a whole dataset keeps all slices that it has seen."""

    shape: tuple[int, ...]
    box: tuple[slice, slice]
    crop: Mask

    @classmethod
    def of(cls, mask: Mask) -> _Cut:
        spans = [np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1)]
        rows, columns = (slice(int(span[0]), int(span[-1]) + 1) if span.size else slice(0, 0) for span in spans)
        return cls(mask.shape, (rows, columns), mask[rows, columns].copy())

    def plane(self) -> Mask:
        result = np.zeros(self.shape, np.bool_)
        result[self.box] = self.crop
        return result


class OrganCarrier:
    """The slices of one organ during a review: corrected, proposed or as predicted.

    Args:
        prediction: The organ.
        prior: Expected error of each predicted slice in square mm, see `prior_error`.
    """

    def __init__(self, prediction: OrganPrediction, prior: Float64) -> None:
        count = prediction.mask.count
        self._prediction, self._prior = prediction, prior
        self._of_prediction = RatioField(count, prediction.spacing[2], floor=FLOOR_MM2)
        self._of_proposal = RatioField(count, prediction.spacing[2], _PROPOSAL_RATIO, FLOOR_MM2)
        self._apart = np.full(count, np.inf)  # scale of a proposal's error; infinite where there is none
        self._corrected: dict[int, _Cut] = {}
        self._proposals: dict[int, _Cut] = {}
        self.used = np.zeros(count, np.bool_)
        """Slices that show a proposal now."""
        self.expected = prior.copy()
        """Error that is expected of each slice as it is now, square mm; 0 for corrected ones."""
        self._decide()

    @property
    def started(self) -> bool:
        """Whether any slice was corrected."""
        return bool(self._corrected)

    def correct(self, index: int, mask: Mask) -> dict[int, Mask]:
        """Take over a corrected slice; return the proposals that are new, by slice."""
        pixel = self._prediction.pixel_mm2
        self._of_prediction.see(index, float(self._prior[index]), _differ(self._prediction.mask.plane(index), mask) * pixel)
        proposal = self._proposals.pop(index, None)
        if proposal is not None:
            self._of_proposal.see(index, float(self._apart[index]), _differ(proposal.plane(), mask) * pixel)
        self._apart[index] = np.inf
        before = max((i for i in self._corrected if i < index), default=None)
        after = min((i for i in self._corrected if i > index), default=None)
        self._corrected[index] = _Cut.of(mask)
        found = {**self._propose(before, index), **self._propose(index, after)}
        self._proposals.update({number: _Cut.of(proposal) for number, proposal in found.items()})
        self._decide()
        return found

    def _propose(self, first: int | None, last: int | None) -> dict[int, Mask]:
        if first is None or last is None or last - first < 2:
            return {}
        between = range(first + 1, last)
        fractions = [(index - first) / (last - first) for index in between]
        ends = self._corrected[first].plane(), self._corrected[last].plane()
        apart = _differ(*ends) * self._prediction.pixel_mm2
        self._apart[first + 1 : last] = [apart * 4 * fraction * (1 - fraction) for fraction in fractions]
        a, b, _ = self._prediction.spacing
        return dict(zip(between, interpolate_slices(*ends, fractions, (a, b)), strict=True))

    def _decide(self) -> None:
        predicted = self._of_prediction.learned(self._prior)
        proposed = self._of_proposal.learned(self._apart)
        self.used = proposed + FLOOR_MM2 < predicted  # a little less error is not worth a change that a reader has to look at
        self.expected = np.where(self.used, proposed, predicted)
        self.expected[list(self._corrected)] = 0.0

    def best_split(self) -> tuple[float, int]:
        """Return the slice whose correction is expected to help most, and by how much in square mm; (-1, 0) when all are corrected.

        Between two corrected slices (or the ends of the stack) it is the one that halves the expected error. What it
        removes is its own error and half of the others'.
        """
        ends = [-1, *sorted(self._corrected), len(self.expected)]
        best = (-1.0, 0)
        for first, last in itertools.pairwise(ends):
            if last - first > 1:
                part = self.expected[first + 1 : last]
                running = np.cumsum(part)
                middle = min(int(np.searchsorted(running, running[-1] / 2)), len(part) - 1)
                gain = float(part[middle] + _HALF * (running[-1] - part[middle]))
                best = max(best, (gain, first + 1 + middle), key=lambda choice: choice[0])
        return best


def _differ(one: Mask, other: Mask) -> float:
    return float(np.count_nonzero(one != other))


def splitting(predictions: Sequence[OrganPrediction], carriers: Sequence[OrganCarrier]) -> Review:
    """Yield the slice whose correction, carried to its neighbors, is expected to remove the most error."""
    best = [carrier.best_split() for carrier in carriers]
    for _ in range(sum(p.mask.count for p in predictions)):
        organ = max(range(len(best)), key=lambda i: best[i][0] * predictions[i].spacing[2])
        yield organ, best[organ][1]
        best[organ] = carriers[organ].best_split()


def replay_carried(
    name: str, predictions: Sequence[OrganPrediction], editor: PerfectEditor, time: ReviewTime, seed: int = 0, until: float = 1.0
) -> Curve:
    """Review with corrections carried; "expected-gain" opens what helps its neighbors, other strategies keep their order.

    Args:
        name: A strategy, or the oracle: the order of its slice-by-slice review, which is no bound here.
        predictions: What strategy and carrier see.
        editor: Corrects what is opened.
        time: The reader's speed.
        seed: Of the random order; one order, not a mean.
        until: Stop when this share of the error is removed.
    """
    carriers = [OrganCarrier(p, prior) for p, prior in zip(predictions, prior_error(predictions), strict=True)]
    review = splitting(predictions, carriers) if name == GAIN else review_of(name, predictions, editor, seed)
    state = _State(predictions, carriers, editor)
    unit = next(review, None)
    while unit is not None:
        state.open(unit)
        try:
            unit = review.send(float(editor.wrong[unit[0]][unit[1]])) if state.removed[-1] < until else None
        except StopIteration:
            unit = None
    return state.curve(name, time)


class _State:
    """The true error of every slice while a review goes on; strategies and carriers never see it."""

    def __init__(self, predictions: Sequence[OrganPrediction], carriers: Sequence[OrganCarrier], editor: PerfectEditor) -> None:
        self._predictions, self._carriers, self._editor = predictions, carriers, editor
        self._predicted = [wrong.copy() for wrong in editor.wrong]
        self._proposed = [np.zeros(p.mask.count) for p in predictions]
        self._left = [float(w.sum()) * t for w, t in zip(editor.wrong, editor.thickness, strict=True)]
        self._first: list[bool] = []
        self._drawn: list[float] = []
        self._looked: list[int] = []
        self._history: list[list[float]] = [list(self._left)]
        self.removed = [0.0]

    def open(self, unit: Unit) -> None:
        """Let the reader correct a unit, and carry it."""
        organ, index = unit
        carrier = self._carriers[organ]
        shown = self._proposed[organ] if carrier.used[index] else self._predicted[organ]
        self._drawn.append(float(shown[index]))
        self._first.append(not carrier.started)
        before = carrier.used.copy()
        found = carrier.correct(index, self._editor.corrected(unit))
        for number, mask in found.items():
            self._proposed[organ][number] = self._editor.wrong_in((organ, number), mask)
        self._predicted[organ][index] = 0.0
        self._proposed[organ][index] = 0.0
        wrong = np.where(carrier.used, self._proposed[organ], self._predicted[organ])
        self._left[organ] = float(wrong.sum()) * self._editor.thickness[organ]
        changed = before != carrier.used
        changed[[number for number in found if carrier.used[number]]] = True
        self._looked.append(int(np.count_nonzero(changed)))
        self._history.append(list(self._left))
        self.removed.append(1 - sum(self._left) / self._editor.total_mm3)

    def curve(self, name: str, time: ReviewTime) -> Curve:
        """Return what happened."""
        history = np.array(self._history)
        by_organ = {}
        for organ in sorted({p.organ for p in self._predictions}):
            own = history[:, [i for i, p in enumerate(self._predictions) if p.organ == organ]].sum(axis=1)
            by_organ[organ] = 1 - own / own[0] if own[0] else np.ones(len(own))
        masks = np.concatenate([[0.0], np.cumsum(self._first)])
        minutes = np.concatenate([[0.0], time.minutes(self._first, self._drawn, self._looked)])
        units = sum(p.mask.count for p in self._predictions)
        return Curve(name, True, np.array(self.removed), masks, minutes, units, by_organ)
