"""Bytes of entropy and soft predictions are AbdomenAtlas' bytes, and give the probability back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib.encoding import MAX_ENTROPY, entropy_bytes, one_sided_entropy, probability_from_bytes, soft_bytes

UNIT = st.floats(0, 1, width=32)


def one(value: float) -> np.ndarray:
    return np.array([value], np.float32)


@pytest.mark.parametrize(("p", "byte"), [(0.3679, 93), (0, 0), (1, 0), (0.0111, 12), (0.01145, 13), (0.5, 88), (0.9487, 12), (0.9475, 13)])
def test_known_entropy_bytes(p: float, byte: int) -> None:
    assert entropy_bytes(one(p)).item() == byte


def test_the_threshold_of_abdomenatlas_lies_between_bytes_12_and_13() -> None:
    p = np.linspace(0, 1, 200_001)
    unsure = p[-p * np.log(np.maximum(p, 1e-300)) > 0.05]
    assert unsure.min() == pytest.approx(0.0111, abs=1e-4)
    assert unsure.max() == pytest.approx(0.9487, abs=1e-4)
    assert entropy_bytes(p[(p <= unsure.min()) | (p >= unsure.max())]).max() == 12
    assert entropy_bytes(unsure).min() == 12  # up to 13/255 = 0.051 the byte is still 12
    assert 12 / 255 < 0.05 < 13 / 255


def test_no_byte_exceeds_93() -> None:
    assert entropy_bytes(np.linspace(0, 1, 100_001)).max() == 93
    assert one_sided_entropy(np.array([np.exp(-1)])).item() == pytest.approx(MAX_ENTROPY)


@given(UNIT)
def test_entropy_is_minus_p_log_p(p: float) -> None:
    expected = 0.0 if p == 0 else -p * np.log(p)
    assert one_sided_entropy(one(p)).item() == pytest.approx(expected, abs=1e-6)
    assert one_sided_entropy(one(p)).item() >= 0


@given(UNIT)
def test_soft_bytes_are_truncated(p: float) -> None:
    assert soft_bytes(one(p)).item() == int(np.float32(p) * np.float32(255))


def test_probabilities_a_rounding_error_outside_their_range_do_not_wrap() -> None:
    assert soft_bytes(np.array([-1e-7, 1 + 1e-6], np.float32)).tolist() == [0, 255]
    assert entropy_bytes(np.array([-1e-7, 1 + 1e-6], np.float32)).tolist() == [0, 0]


@given(UNIT)
def test_inside_the_mask_the_probability_comes_back_within_one_byte(p: float) -> None:
    soft, entropy = soft_bytes(one(p)), entropy_bytes(one(p))
    if soft.item():
        assert abs(probability_from_bytes(soft, entropy).item() - p) <= 1 / 255


@given(st.floats(0, 0.36787))
def test_outside_the_mask_the_entropy_gives_the_probability_back_within_one_byte(p: float) -> None:
    entropy = entropy_bytes(one(p))
    found = probability_from_bytes(np.zeros(1, np.uint8), entropy)
    assert abs(float(one_sided_entropy(found).item()) - float(one_sided_entropy(one(p)).item())) <= 1 / 255
    assert 0 <= found.item() <= np.exp(-1) + 1e-6


def test_away_from_everything_the_probability_is_zero() -> None:
    assert probability_from_bytes(np.zeros(3, np.uint8), np.zeros(3, np.uint8)).tolist() == [0, 0, 0]


def test_shapes_are_kept_and_inputs_not_changed() -> None:
    p = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    before = p.copy()
    assert probability_from_bytes(soft_bytes(p), entropy_bytes(p)).shape == (3, 4, 5)
    np.testing.assert_array_equal(p, before)
