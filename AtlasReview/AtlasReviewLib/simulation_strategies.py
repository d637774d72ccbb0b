"""In which order (organ, slice) units are opened: what each strategy looks at, and nothing else.

A strategy is made of predictions alone. It is a generator: it yields the unit to open next and is sent the area that the
reader changed there. It therefore cannot know more than a program in a real review does. The oracle is no strategy: it
belongs to the replay, which holds the reference.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.expected_gain import FLOOR_MM2, RatioField
from AtlasReviewLib.simulation_case import OrganPrediction
from AtlasSegmentLib.errors import InputError

Float64 = npt.NDArray[np.float64]
Unit = tuple[int, int]
"""Number of the organ among the predictions, and slice."""
Review = Generator[Unit, float, None]
"""Yields units; is sent the changed area of each in square mm."""

_PROFILES = {
    "entropy": "entropy",
    "inconsistency": "inconsistency",
    "attention": "attention",
    "attention-size": "attention_size",
    "predicted-dice": "predicted_dice",
    "expected-error": "expected",
}
RANDOM, SHARPENED, GAIN, ORACLE = "random", "sharpened-error", "expected-gain", "oracle"
STRATEGIES = (RANDOM, *_PROFILES, SHARPENED, GAIN, ORACLE)
DESCRIPTIONS = {
    RANDOM: "any order",
    "entropy": "binary entropy of the mean probability, summed over the slice",
    "inconsistency": "standard deviation between models, summed over the slice",
    "attention": "AbdomenAtlas' attention, summed heat map",
    "attention-size": "AbdomenAtlas' attention, voxels",
    "predicted-dice": "wrong area after the predicted Dice of the organ",
    "expected-error": "min(q, 1 - q) of the mean probability q, summed over the slice",
    SHARPENED: "expected error sharpened toward outlines; fixed before the review",
    GAIN: "sharpened error, corrected by what the slices opened so far showed",
    ORACLE: "true error; needs the reference, a bound",
}


def available(predictions: Sequence[OrganPrediction]) -> tuple[str, ...]:
    """Return the strategies whose measures every organ has, in the order of STRATEGIES."""
    has = [set(prediction.profiles) for prediction in predictions]
    return tuple(name for name in STRATEGIES if all(_PROFILES.get(name, "expected") in measures for measures in has))


def strategy(name: str, predictions: Sequence[OrganPrediction], seed: int = 0) -> Review:
    """Return a strategy that was started on predictions.

    Args:
        name: One of STRATEGIES but the oracle.
        predictions: What it may see.
        seed: Of the random order.

    Raises:
        InputError: It is not known, or the predictions lack what it looks at.
    """
    if name not in STRATEGIES or name == ORACLE:
        message = f"Strategy {name!r} is not known."
        raise InputError(message, f"Use some of {', '.join(STRATEGIES)}.")
    if name not in available(predictions):
        message = f"Strategy {name!r} needs {_PROFILES[name]} of every organ, which is not there."
        raise InputError(message, f"There is enough for: {', '.join(available(predictions))}.")
    if name == RANDOM:
        return in_order([np.random.default_rng([seed, i]).random(p.mask.count) for i, p in enumerate(predictions)])
    if name == SHARPENED:
        return in_order(volumes(predictions, prior_error(predictions)))
    if name == GAIN:
        return learning(predictions)
    return in_order(volumes(predictions, [p.profiles[_PROFILES[name]] for p in predictions]))


def volumes(predictions: Sequence[OrganPrediction], areas: Sequence[Float64]) -> list[Float64]:
    """Return numbers per area as numbers per volume, so that slices of different thickness can be compared."""
    return [area * p.spacing[2] for p, area in zip(predictions, areas, strict=True)]


def prior_error(predictions: Sequence[OrganPrediction]) -> list[Float64]:
    """Return the error that is expected of each slice before the review, square mm.

    The sharpened profiles of a case, scaled so that together they hold its summed min(q, 1 - q).
    """
    scale = {}
    for case in {p.case for p in predictions}:
        own = [p for p in predictions if p.case == case]
        sharpened = sum(float(p.profiles["sharpened"].sum()) for p in own)
        scale[case] = sum(float(p.profiles["expected"].sum()) for p in own) / sharpened if sharpened else 0.0
    return [p.profiles["sharpened"] * scale[p.case] for p in predictions]


def in_order(scores: Sequence[Float64]) -> Review:
    """Yield all units by descending score; ties in the order of organs and slices."""
    flat = np.concatenate([*scores, np.zeros(0)])
    starts = np.cumsum([0, *(len(score) for score in scores)])
    for index in np.argsort(-flat, kind="stable").tolist():
        organ = int(np.searchsorted(starts, index, side="right")) - 1
        yield organ, index - int(starts[organ])


def learning(predictions: Sequence[OrganPrediction]) -> Review:
    """Yield the unit with the largest expected error in the light of all corrections so far."""
    prior = prior_error(predictions)
    fields = [RatioField(p.mask.count, p.spacing[2], floor=FLOOR_MM2) for p in predictions]
    left = [np.ones(p.mask.count, np.bool_) for p in predictions]

    def best_of(organ: int) -> tuple[float, int]:
        volume = fields[organ].learned(prior[organ]) * predictions[organ].spacing[2]
        index = int(np.argmax(np.where(left[organ], volume, -1.0)))
        return (float(volume[index]) if left[organ][index] else -1.0, index)

    best = [best_of(organ) for organ in range(len(predictions))]
    for _ in range(sum(p.mask.count for p in predictions)):
        organ = max(range(len(best)), key=lambda i: best[i][0])
        index = best[organ][1]
        changed = yield organ, index
        left[organ][index] = False
        fields[organ].see(index, float(prior[organ][index]), changed)
        best[organ] = best_of(organ)
