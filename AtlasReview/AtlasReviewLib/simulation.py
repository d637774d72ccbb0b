"""A review replayed with a perfect editor: how fast error goes away when slices are opened in the order of a strategy.

A unit is one slice of one organ of one case; opening it replaces that slice of the mask by the reference's. The reference is
in `PerfectEditor` alone; a strategy is sent what was changed in the slices that it opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasReviewLib.simulation_case import Mask, OrganPrediction, Stack
from AtlasReviewLib.simulation_strategies import ORACLE, RANDOM, Review, Unit, in_order, strategy, volumes
from AtlasReviewLib.simulation_time import ReviewTime
from AtlasSegmentLib.errors import InputError

Float64 = npt.NDArray[np.float64]

RANDOM_ORDERS = 20
"""Random orders that are averaged."""


class PerfectEditor:
    """The reader who corrects what is opened, and the only one who knows the reference.

    Args:
        predictions: The organs.
        truth: Their reference masks, in the same order and axes.

    Raises:
        InputError: There is no error to remove.
    """

    def __init__(self, predictions: Sequence[OrganPrediction], truth: Sequence[Stack]) -> None:
        self._truth = list(truth)
        self.pixel_mm2 = [p.pixel_mm2 for p in predictions]
        self.thickness = [p.spacing[2] for p in predictions]
        self.wrong = [p.mask.pixels_beside(t) * p.pixel_mm2 for p, t in zip(predictions, truth, strict=True)]
        """Wrong area of each slice as predicted, square mm."""
        self.total_mm3 = float(sum((w * t).sum() for w, t in zip(self.wrong, self.thickness, strict=True)))
        if self.total_mm3 == 0:
            message = "Predictions and reference are equal: there is no error to remove."
            raise InputError(message, "Check that the reference is not the prediction itself, and its table (--table).")

    def corrected(self, unit: Unit) -> Mask:
        """Return the slice as the reader leaves it."""
        return self._truth[unit[0]].plane(unit[1])

    def wrong_in(self, unit: Unit, mask: Mask) -> float:
        """Return the wrong area in square mm of a mask that a program proposes for a slice."""
        return float(np.count_nonzero(mask != self.corrected(unit))) * self.pixel_mm2[unit[0]]


@dataclass(frozen=True)
class Curve:
    """What a review did after each opened slice; every array has one entry more than slices were opened, the first for none.

    Attributes:
        strategy: Its name.
        carried: Corrections were carried to the slices between.
        removed: Share of the error that is gone, 0..1; may fall below 0 only where corrections are carried.
        masks: Masks (organ of a case) that were opened.
        minutes: Reader's time.
        units: How many units there are.
        by_organ: Organ to the share of its own error that is gone, like `removed`; empty for averaged curves.
    """

    strategy: str
    carried: bool
    removed: Float64
    masks: Float64
    minutes: Float64
    units: int
    by_organ: dict[str, Float64]

    def reached(self, share: float) -> int | None:
        """Return after how many slices the share is reached for good; None when it is not."""
        below = np.flatnonzero(self.removed < share - 1e-9)
        index = int(below[-1]) + 1 if below.size else 0
        return index if index < len(self.removed) else None


def replay(name: str, predictions: Sequence[OrganPrediction], editor: PerfectEditor, time: ReviewTime, seed: int = 0) -> Curve:
    """Review slice by slice; the random order is the mean of 20.

    Args:
        name: A strategy, or the oracle.
        predictions: What the strategy sees.
        editor: Corrects what is opened.
        time: The reader's speed.
        seed: Of the random orders.
    """
    if name == RANDOM:
        curves = [_replay(name, strategy(name, predictions, seed + i), predictions, editor, time) for i in range(RANDOM_ORDERS)]
        means = [np.mean([getattr(curve, part) for curve in curves], axis=0) for part in ("removed", "masks", "minutes")]
        return Curve(name, False, means[0], means[1], means[2], curves[0].units, {})
    return _replay(name, review_of(name, predictions, editor, seed), predictions, editor, time)


def review_of(name: str, predictions: Sequence[OrganPrediction], editor: PerfectEditor, seed: int) -> Review:
    """Return the units of a strategy; the oracle's from the editor, all others' from predictions alone."""
    return in_order(volumes(predictions, editor.wrong)) if name == ORACLE else strategy(name, predictions, seed)


def _replay(name: str, review: Review, predictions: Sequence[OrganPrediction], editor: PerfectEditor, time: ReviewTime) -> Curve:
    opened: list[Unit] = []
    unit = next(review, None)
    while unit is not None:
        opened.append(unit)
        try:
            unit = review.send(float(editor.wrong[unit[0]][unit[1]]))
        except StopIteration:
            unit = None
    return curve_of(name, opened, [float(editor.wrong[o][z]) for o, z in opened], predictions, editor, time)


def curve_of(
    name: str,
    opened: Sequence[Unit],
    drawn: Sequence[float],
    predictions: Sequence[OrganPrediction],
    editor: PerfectEditor,
    time: ReviewTime,
) -> Curve:
    """Return the curve of a review in which only opened slices change.

    Args:
        name: The strategy.
        opened: Units in the order of opening.
        drawn: Corrected area of each, square mm.
        predictions, editor, time: As in `replay`.
    """
    organs = np.array([organ for organ, _ in opened], np.int64)
    removed = np.array(drawn) * np.array(editor.thickness)[organs]
    first = np.zeros(len(organs), np.bool_)
    first[np.unique(organs, return_index=True)[1]] = True
    by_organ = {}
    for name_of in sorted({p.organ for p in predictions}):
        own = np.isin(organs, [i for i, p in enumerate(predictions) if p.organ == name_of])
        by_organ[name_of] = _shares(np.where(own, removed, 0.0), float(removed[own].sum()))
    minutes = time.minutes(first, drawn)
    units = sum(p.mask.count for p in predictions)
    return Curve(name, False, _shares(removed, editor.total_mm3), _from_zero(np.cumsum(first)), _from_zero(minutes), units, by_organ)


def _shares(removed: Float64, total: float) -> Float64:
    return _from_zero(np.cumsum(removed) / total) if total else np.ones(len(removed) + 1)


def _from_zero(values: npt.ArrayLike) -> Float64:
    return np.concatenate([[0.0], np.asarray(values, np.float64)])
