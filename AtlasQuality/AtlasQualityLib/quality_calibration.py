"""From a network's score of a mask to the Dice to be expected, and how well such scores agree with the truth.

A network ranks masks better than it scales them. A curve that never falls, fitted to masks of cases that it was not trained on, puts the
scale right and leaves the order as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.quality_manifest import Curve
from AtlasSegmentLib.errors import InputError

Float64 = npt.NDArray[np.float64]
_MOST_KNOTS = 33
_LEAST_MASKS = 10
_LEAST_CASES = 5
_RESAMPLES = 2000
_FISHER = "Fisher z"
_NORMAL_975 = 1.959963984540054


def fit_curve(score: npt.ArrayLike, dice: npt.ArrayLike, source: str) -> Curve:
    """Fit the curve by isotonic regression, least squares under the condition that it never falls.

    Neighboring knots of the steps that isotonic regression gives are joined by lines, each step standing at its mean score.

    Args:
        score: (N,) raw scores of masks.
        dice: (N,) their true Dice.
        source: What they are, for the record.

    Raises:
        InputError: Fewer than ten finite pairs: such a curve would be noise.
    """
    from scipy.optimize import isotonic_regression

    x, y = _finite_pairs(score, dice)
    if len(x) < _LEAST_MASKS:
        message = f"{len(x)} masks are too few to calibrate on; {_LEAST_MASKS} are needed."
        raise InputError(message, "Hold out more cases for validation.")
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    values, counts = np.unique(x, return_counts=True)
    means = np.add.reduceat(y, np.cumsum(counts) - counts) / counts
    fitted = np.asarray(isotonic_regression(means, weights=counts.astype(float)).x)
    knots, levels = _steps(values, fitted, counts)
    knots, kept = np.unique(knots.round(6), return_index=True)
    levels = np.maximum.accumulate(np.clip(levels[kept], 0, 1).round(6))
    if len(knots) == 1:  # a network that says the same of all masks
        knots, levels = np.array([knots[0], knots[0] + 1]), np.array([levels[0], levels[0]])
    return Curve(predicted=tuple(knots.tolist()), dice=tuple(levels.tolist()), source=f"{source}: {len(x)} masks")


def _steps(values: Float64, fitted: Float64, counts: npt.NDArray[np.int64]) -> tuple[Float64, Float64]:
    """Return the mean score and the height of each step; of many steps, groups of about as many masks each."""
    group = np.cumsum(np.diff(fitted, prepend=fitted[0] - 1) > 1e-12) - 1
    if group[-1] + 1 > _MOST_KNOTS:
        shares = (np.cumsum(counts) - counts / 2) / counts.sum()
        group = np.minimum((shares * _MOST_KNOTS).astype(int), _MOST_KNOTS - 1)
        group = np.cumsum(np.diff(group, prepend=group[0]) > 0)
    weight = np.bincount(group, counts)
    return np.bincount(group, counts * values) / weight, np.bincount(group, counts * fitted) / weight


@dataclass(frozen=True)
class ScoreAgreement:
    """How predicted and true Dice agree.

    Attributes:
        masks: Number of masks.
        cases: Number of cases they are of.
        pearson: Linear correlation; NaN when one side is constant or there are fewer than three masks.
        low, high: Its 95 % confidence interval; NaN as `pearson`.
        interval: How that was found: "bootstrap over cases" or "Fisher z".
        spearman: Rank correlation.
        mae: Mean absolute error.
        bias: Mean of predicted minus true.
    """

    masks: int
    cases: int
    pearson: float
    low: float
    high: float
    interval: str
    spearman: float
    mae: float
    bias: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values; None where a number is not defined."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def interval_note(found: ScoreAgreement) -> str:
    """Return what people must know of the interval of a correlation, "" where there is nothing."""
    if found.interval != _FISHER or not math.isfinite(found.low):
        return ""
    cases = "1 case" if found.cases == 1 else f"{found.cases} cases"
    return f"The interval takes the {found.masks} masks as independent; they are of {cases} only, so it is narrower than it should be."


def score_agreement(predicted: npt.ArrayLike, true: npt.ArrayLike, cases: Sequence[str], seed: int = 0) -> ScoreAgreement:
    """Compare predicted with true Dice.

    The interval comes from drawing cases again (masks of one case err together) where there are at least five cases, and otherwise from
    Fisher's z of single masks, which is narrower than it should be.

    Args:
        predicted: (N,).
        true: (N,).
        cases: The case of each mask.
        seed: Of the drawing.
    """
    x, y = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    x, y, names = x[good], y[good], np.asarray(list(cases), dtype=object)[good]
    found = pearson(x, y)
    distinct = sorted(set(names.tolist()))
    if len(distinct) >= _LEAST_CASES:
        interval, (low, high) = "bootstrap over cases", _bootstrap(x, y, [np.flatnonzero(names == name) for name in distinct], seed)
    else:
        interval, (low, high) = _FISHER, _fisher(found, len(x))
    error = x - y
    mae, bias = (float(np.abs(error).mean()), float(error.mean())) if len(x) else (math.nan, math.nan)
    return ScoreAgreement(len(x), len(distinct), found, low, high, interval, spearman(x, y), mae, bias)


def pearson(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the linear correlation, -1..1; NaN for fewer than three pairs, a constant side, or a value that is not finite."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(a) < 3 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum()) * np.sqrt((b * b).sum()))
    return float(np.clip((a * b).sum() / size, -1, 1)) if size > 1e-12 else math.nan


def spearman(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the rank correlation, equal values sharing their mean rank; NaN as `pearson`."""
    from scipy.stats import rankdata

    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan
    return pearson(rankdata(a), rankdata(b)) if len(a) else math.nan


def _bootstrap(x: Float64, y: Float64, groups: Sequence[npt.NDArray[np.int64]], seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([groups[number] for number in rng.integers(0, len(groups), len(groups))])
        found.append(pearson(x[rows], y[rows]))
    kept = np.array([value for value in found if math.isfinite(value)])
    return (float(np.quantile(kept, 0.025)), float(np.quantile(kept, 0.975))) if len(kept) else (math.nan, math.nan)


def _fisher(found: float, count: int) -> tuple[float, float]:
    if not math.isfinite(found) or count < 4:
        return (math.nan, math.nan)
    if abs(found) >= 1:
        return (found, found)
    middle, half = math.atanh(found), _NORMAL_975 / math.sqrt(count - 3)
    return (math.tanh(middle - half), math.tanh(middle + half))


def _finite_pairs(score: npt.ArrayLike, dice: npt.ArrayLike) -> tuple[Float64, Float64]:
    x, y = np.asarray(score, np.float64).ravel(), np.asarray(dice, np.float64).ravel()
    if x.shape != y.shape:
        message = f"{len(x)} scores and {len(y)} Dice values do not belong together."
        raise InputError(message, "Give one Dice for each score.")
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]
