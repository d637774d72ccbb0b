"""Calibration of predicted Dice, and the figures that say how good it is."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from AtlasQualityLib.quality_calibration import fit_curve, pearson, score_agreement, spearman
from AtlasQualityLib.quality_manifest import Curve
from AtlasSegmentLib.errors import InputError


def test_a_curve_puts_a_wrong_scale_right() -> None:
    rng = np.random.default_rng(0)
    dice = rng.uniform(size=400)
    score = 0.3 + 0.5 * dice**2 + rng.normal(0, 0.01, 400)
    curve = fit_curve(score, dice, "toy")
    assert np.abs(curve(score) - dice).mean() < 0.03
    assert "400 masks" in curve.source


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(-2, 3), st.floats(0, 1)), min_size=10, max_size=60))
def test_a_curve_never_falls_and_stays_within_zero_and_one(pairs: list[tuple[float, float]]) -> None:
    score, dice = np.array(pairs).T
    curve = fit_curve(score, dice, "toy")
    found = curve(np.linspace(-3, 4, 200))
    assert (np.diff(found) >= 0).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert len(curve.predicted) <= 34


def test_masks_of_different_scores_keep_their_order_where_the_curve_is_level_and_beyond_its_ends() -> None:
    curve = Curve(predicted=(0.1, 0.4, 0.6, 0.9), dice=(0.05, 0.5, 0.5, 0.93))
    score = np.linspace(-0.5, 1.5, 2001)
    found = curve(score)
    assert (np.diff(found.round(9)) > 0).all()
    assert np.abs(found - np.interp(score, curve.predicted, curve.dice)).max() <= 0.002
    full = Curve(predicted=(0.2, 0.8), dice=(0.0, 1.0))(np.linspace(0, 1, 500))
    assert (np.diff(full) > 0).all()
    assert full.min() >= 0
    assert full.max() <= 1
    assert np.array_equal(Curve()(score), np.clip(score, 0, 1))  # no calibration changes nothing


def test_many_steps_become_few_knots() -> None:
    x = np.linspace(0, 1, 3000)
    curve = fit_curve(x, x**2, "toy")
    assert len(curve.predicted) <= 33
    assert np.abs(curve(x) - x**2).max() < 0.05


def test_a_network_that_says_the_same_of_all_gets_the_mean() -> None:
    curve = fit_curve(np.full(20, 0.4), np.linspace(0, 1, 20), "toy")
    assert float(curve(0.4)) == pytest.approx(0.5, abs=2e-3)


def test_too_few_masks_are_refused() -> None:
    with pytest.raises(InputError, match="9 masks are too few"):
        fit_curve(np.arange(9), np.arange(9) / 9, "toy")
    with pytest.raises(InputError, match="too few"):
        fit_curve(np.full(30, np.nan), np.full(30, 0.5), "toy")


def test_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=80).round(1)
    y = x + rng.normal(size=80).round(1)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-12)


def test_a_correlation_that_is_not_defined_is_no_number() -> None:
    assert math.isnan(pearson([1, 1, 1], [1, 2, 3]))
    assert math.isnan(pearson([1, 2], [1, 2]))
    assert math.isnan(pearson([1, 2, math.nan], [1, 2, 3]))
    assert math.isnan(spearman([], []))


def test_the_interval_of_few_cases_is_fishers() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    found = score_agreement(x, y, ["a"] * 25 + ["b"] * 25)
    expected = stats.pearsonr(x, y).confidence_interval()
    assert found.interval == "Fisher z"
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


def test_masks_of_one_case_are_drawn_together() -> None:
    """Twenty masks of each of eight cases that differ only from case to case say no more than eight numbers would."""
    rng = np.random.default_rng(3)
    x, y = (np.repeat(values, 20) + rng.normal(0, 1e-3, 160) for values in (rng.normal(size=8), rng.normal(size=8)))
    cases = [str(number) for number in np.repeat(np.arange(8), 20)]
    found = score_agreement(x, y, cases)
    assert found.interval == "bootstrap over cases"
    fisher = stats.pearsonr(x, y).confidence_interval()
    assert found.high - found.low > 2 * (fisher.high - fisher.low)
    assert found == score_agreement(x, y, cases)


def test_errors_are_counted_over_what_is_finite() -> None:
    found = score_agreement([0.5, 0.7, math.nan, 0.2], [0.4, 0.9, 0.5, 0.2], ["a", "a", "a", "a"])
    assert found.masks == 3
    assert found.mae == pytest.approx(0.1)
    assert found.bias == pytest.approx(-0.1 / 3)
    assert score_agreement([], [], []).to_json()["pearson"] is None
