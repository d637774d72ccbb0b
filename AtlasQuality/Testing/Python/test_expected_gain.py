"""Expected error of slices: sharper than the plain sum, and learned from the slices that were opened."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasQualityLib.expected_gain import FLOOR_MM2, RatioField, sharpened_error

COUNT = 60
expected_errors = st.floats(0, 5000)


def ball(radius, shape=(40, 40, 30)):
    index = np.indices(shape).astype(np.float32)
    center = [(n - 1) / 2 for n in shape]
    return radius - np.sqrt(sum((axis - c) ** 2 for axis, c in zip(index, center, strict=True)))


def probability(depth, softness):
    return (1 / (1 + np.exp(-depth / softness))).astype(np.float32)


def test_a_wide_faint_uncertainty_counts_less_than_a_contested_outline():
    depth = ball(12)
    contested = probability(depth, 1.0)
    faint = np.where(depth > 0, np.float32(0.93), np.float32(0.0))  # the same mask, a little unsure everywhere
    unsure = [np.minimum(p, 1 - p).sum() for p in (contested, faint)]
    sharp = [sharpened_error(p, depth > 0, (1, 1, 1)).sum() for p in (contested, faint)]
    assert unsure[1] / unsure[0] > 0.1
    assert sharp[1] / sharp[0] < unsure[1] / unsure[0] / 10


def test_slices_with_nothing_unsure_and_no_neighbor_that_is_expect_nothing():
    mean = np.zeros((10, 10, 60), np.float32)
    mean[4:7, 4:7, 5:8] = 0.5
    found = sharpened_error(mean, mean > 0.6, (1, 1, 3.0))
    assert found[5:8].min() > 0
    assert found[20:].max() == 0


@settings(max_examples=20)
@given(st.floats(0.5, 3), st.floats(0.5, 3))
def test_turning_a_slice_changes_nothing(a, b):
    depth = ball(10, (30, 34, 26))
    mean = probability(depth, 2.0)
    there = sharpened_error(mean, depth > 0, (a, b, 2.0))
    np.testing.assert_allclose(sharpened_error(mean.transpose(1, 0, 2), (depth > 0).transpose(1, 0, 2), (b, a, 2.0)), there, rtol=1e-6)
    np.testing.assert_allclose(sharpened_error(mean[::-1, ::-1], (depth > 0)[::-1, ::-1], (a, b, 2.0)), there, rtol=1e-6)


def test_before_anything_is_opened_the_order_is_that_of_what_is_expected():
    expected = np.linspace(0, 900, COUNT)
    assert (np.diff(RatioField(COUNT, 3.0).learned(expected)) > 0).all()


@given(st.integers(0, COUNT - 1), expected_errors, expected_errors)
def test_an_opened_slice_pulls_what_is_expected_of_its_neighbors_toward_what_was_seen(index, expected, observed):
    field = RatioField(COUNT, 3.0)
    errors = np.full(COUNT, expected)
    before = field.learned(errors)
    field.see(index, expected, observed)
    after = field.learned(errors)
    assert (after >= 0).all()
    assert abs(after[index] - observed) <= 0.4 * (observed + expected + FLOOR_MM2)
    if observed > 4 * (expected + FLOOR_MM2):
        assert (after > before)[max(index - 2, 0) : index + 3].all()
    if expected > 4 * (observed + FLOOR_MM2):
        assert (after < before).all()


def test_near_slices_learn_more_than_far_ones():
    field = RatioField(COUNT, 3.0)
    expected = np.full(COUNT, 100.0)
    field.see(30, 100.0, 1000.0)
    after = field.learned(expected)
    assert after[30] > after[32] > after[36] > after[59] > 100


def test_a_slice_that_hardly_has_error_says_little_about_the_ratio():
    small, large = RatioField(COUNT, 3.0), RatioField(COUNT, 3.0)
    small.see(30, 1.0, 10.0)
    large.see(30, 100.0, 1000.0)
    expected = np.full(COUNT, 100.0)
    assert small.learned(expected)[31] < large.learned(expected)[31] / 2


@pytest.mark.parametrize("ratio", [0.25, 1.0, 2.0])
def test_the_ratio_before_anything_is_known_is_given(ratio):
    field = RatioField(COUNT, 3.0, ratio, floor=0.0)
    middle = np.exp(np.log(ratio) + 0.5)  # mean of a log-normal with variance 1
    np.testing.assert_allclose(field.learned(np.ones(COUNT)), middle)
