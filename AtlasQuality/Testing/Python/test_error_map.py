"""Expected error and its calibration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AtlasQualityLib.error_map import (
    STEPS,
    Calibration,
    expected_error,
    fit_calibration,
    mean_probability,
    read_calibration,
    stored,
    write_calibration,
)
from AtlasSegmentLib.encoding import entropy_bytes, soft_bytes
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.sparse import SparseVolume, from_dense
from AtlasSegmentLib.volume import Grid

half_range = st.lists(st.floats(0, 0.5), min_size=1, max_size=200)


def sparse(array: np.ndarray) -> SparseVolume:
    return from_dense(np.asfortranarray(array), Grid(array.shape, np.eye(4)))


def synthetic(true_rate, count: int = 200_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Voxels that are wrong with probability `true_rate` of their expected error."""
    random = np.random.default_rng(seed)
    error = random.random(count) ** 3 / 2
    return error, random.random(count) < true_rate(error)


def test_by_default_the_probability_stays_as_it_is() -> None:
    error = np.linspace(0, 0.5, 101, dtype=np.float32)
    np.testing.assert_allclose(Calibration()(error), error, atol=1e-7)
    assert Calibration()(error).dtype == np.float32


@pytest.mark.parametrize("name", ["overconfident", "underconfident", "curved"])
def test_a_fitted_curve_gives_back_the_rate_at_which_voxels_were_wrong(name: str) -> None:
    true_rate = {"overconfident": lambda e: 1.6 * e, "underconfident": lambda e: 0.3 * e, "curved": np.sqrt}[name]
    curve = fit_calibration(*synthetic(true_rate), name)
    error, wrong = synthetic(true_rate, seed=1)  # other voxels
    found = curve(error.astype(np.float32))
    assert found.sum() == pytest.approx(wrong.sum(), rel=0.03)
    for low in (0.0, 0.05, 0.15, 0.3, 0.4):
        part = (error >= low) & (error < low + 0.1)
        assert found[part].mean() == pytest.approx(wrong[part].mean(), abs=0.02)


@settings(max_examples=100, deadline=None)
@given(half_range, st.integers(0, 2**32 - 1), half_range)
def test_a_fitted_curve_never_changes_the_order(values: list[float], seed: int, asked: list[float]) -> None:
    wrong = np.random.default_rng(seed).random(len(values)) < 0.5
    wrong[0] = True
    curve = fit_calibration(values, wrong, "test")
    found = curve(np.sort(np.array(asked, np.float32)))
    assert (np.diff(found) >= 0).all()
    assert found.min() >= 0
    assert found.max() <= 1


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(half_range, st.integers(0, 2**32 - 1))
def test_a_fitted_curve_can_be_stored_and_read_back(tmp_path: Path, values: list[float], seed: int) -> None:
    wrong = np.random.default_rng(seed).random(len(values)) < 0.5
    wrong[-1] = True
    curve = fit_calibration(values, wrong, "Klinikum Süd/case 1")
    write_calibration(tmp_path / "curve.json", curve)
    assert read_calibration(tmp_path / "curve.json") == curve


def test_below_the_smallest_value_seen_the_curve_runs_to_zero() -> None:
    curve = fit_calibration([0.4] * 10, [True] * 5 + [False] * 5, "test")
    np.testing.assert_allclose(curve(np.array([0, 0.2, 0.4, 0.5], np.float32)), [0, 0.25, 0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize(("error", "wrong"), [([], []), ([0.1, 0.4], [False, False])])
def test_nothing_can_be_fitted_where_nothing_was_wrong(error: list[float], wrong: list[bool]) -> None:
    with pytest.raises(InputError, match="here: no wrong voxel"):
        fit_calibration(error, wrong, "here")


GOOD = {"format": "atlas-calibration/1", "source": "x", "expected": [0, 0.5], "observed": [0, 0.9]}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "atlas-calibration/2"},
        {"expected": [0.5, 0]},
        {"observed": [0.9, 0.1]},
        {"observed": [0, 1.2]},
        {"observed": [-0.1, 0.2]},
        {"observed": [0.1]},
        {"expected": [], "observed": []},
        {"expected": [float("nan"), 0.5]},
        {"observed": [0, float("nan")]},
        {"expected": [0, float("inf")]},
        {"expected": "none"},
        {"observed": None},
        {"expected": [[0], [1]]},
    ],
)
def test_a_file_that_is_no_monotone_curve_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "curve.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(InputError, match=r"curve.json: is not a calibration"):
        read_calibration(path)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"', "{}"])
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "curve.json"
    path.write_text(text)
    with pytest.raises(InputError, match="is not a calibration"):
        read_calibration(path)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(GOOD))
    assert read_calibration(path) == Calibration((0.0, 0.5), (0.0, 0.9), "x")


def test_the_mean_probability_is_read_back_from_stored_maps() -> None:
    p = np.random.default_rng(0).random((3, 6, 5, 4))
    found = mean_probability([sparse(soft_bytes(q)) for q in p], [sparse(entropy_bytes(q)) for q in p])
    np.testing.assert_allclose(found.dense(), p.mean(axis=0), atol=0.005)
    assert found.dense().dtype == np.float32


def test_far_from_the_mask_the_entropy_tells_the_probability() -> None:
    p = np.zeros((5, 5, 5))
    p[1:4, 1:4, 1:4] = 0.2
    found = mean_probability([sparse(np.zeros(p.shape, np.uint8))], [sparse(entropy_bytes(p))])
    np.testing.assert_allclose(found.dense(), p, atol=0.005)


def test_the_expected_error_is_the_smaller_side_of_the_mean_probability() -> None:
    q = np.zeros((3, 1, 1), np.float32)
    q[:, 0, 0] = [0.9, 0.5, 0.1]
    error = expected_error(sparse(q), Calibration())
    np.testing.assert_allclose(error.dense()[:, 0, 0], [0.1, 0.5, 0.1], atol=1e-6)


def test_a_voxel_no_model_speaks_of_has_no_error_whatever_the_curve_says() -> None:
    q = np.zeros((3, 3, 3), np.float32)
    q[0], q[2] = 0.5, 0.5
    error = expected_error(sparse(q), Calibration((0.0, 0.5), (0.2, 0.6)))
    assert not error.dense()[1].any()
    np.testing.assert_allclose(error.dense()[0], 0.6, atol=1e-6)


@given(st.floats(0, 1, width=32))
def test_storing_loses_less_than_one_step_in_65535(value: float) -> None:
    array = np.full((1, 1, 1), value, np.float32)
    found = stored(SparseVolume(Grid((1, 1, 1), np.eye(4)), (slice(0, 1),) * 3, array))
    assert found.crop.dtype == np.uint16
    assert abs(found.crop[0, 0, 0] / STEPS - value) < 1 / STEPS


def test_empty_maps_have_no_expected_error() -> None:
    empty = sparse(np.zeros((4, 4, 4), np.uint8))
    error = expected_error(mean_probability([empty], [empty]), Calibration())
    assert error.crop.size == 0
    assert stored(error).dense().shape == (4, 4, 4)
