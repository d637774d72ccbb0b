"""The model of editing time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasQualityLib.effort import EditingTime, minutes_to_correct
from AtlasSegmentLib.sparse import SparseVolume, from_dense
from AtlasSegmentLib.volume import Grid, reorient

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
TIME = EditingTime(open_seconds=20, slice_seconds=4, cm2_seconds=3, slice_threshold_mm2=25)


def sparse(array: np.ndarray, affine: np.ndarray = AFFINE) -> SparseVolume:
    return from_dense(np.asfortranarray(array), Grid(array.shape, affine))


def slab(slices: int, voxels: int) -> np.ndarray:
    """Certain errors: `voxels` in each of some axial slices."""
    error = np.zeros((10, 10, 8), np.float32)
    error.reshape(100, 8)[:voxels, :slices] = 1
    return error


def test_no_error_takes_no_time() -> None:
    assert minutes_to_correct(sparse(slab(0, 0)), TIME) == 0


def test_time_is_opening_plus_slices_plus_drawn_area() -> None:
    # 50 voxels of 4 mm2 are 2 cm2 in each of 3 slices.
    assert minutes_to_correct(sparse(slab(3, 50)), TIME) == pytest.approx((20 + 3 * 4 + 3 * 2 * 3) / 60)


def test_slices_below_the_threshold_are_not_touched() -> None:
    assert minutes_to_correct(sparse(slab(3, 6)), TIME) == pytest.approx(20 / 60)  # 24 mm2
    assert minutes_to_correct(sparse(slab(3, 7)), TIME) == pytest.approx((20 + 12 + 3 * 3 * 0.28) / 60)


def test_slices_are_axial_whatever_the_order_of_the_axes() -> None:
    array, affine = reorient(slab(3, 50), AFFINE, "SPR")
    assert minutes_to_correct(sparse(array, affine), TIME) == pytest.approx(minutes_to_correct(sparse(slab(3, 50)), TIME))


@given(st.integers(0, 8), st.integers(0, 100), st.floats(0, 1))
def test_more_expected_error_never_takes_less_time(slices: int, voxels: int, share: float) -> None:
    whole, part = slab(slices, voxels), slab(slices, voxels) * np.float32(share)
    assert minutes_to_correct(sparse(part), TIME) <= minutes_to_correct(sparse(whole), TIME) + 1e-9
