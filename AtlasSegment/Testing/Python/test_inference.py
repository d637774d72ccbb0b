"""The running arg-max is numpy's arg-max of all classes, in a fraction of its memory; models see the region they ask for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_phantoms import FIT, ORGANS, WINDOWS, ct, make_model, roi, sigmoid_network, softmax_network
from AtlasSegmentLib import regions
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.inference import FAINT, GridPrediction, hard_labels, on_ct, predict
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.model import Model, load_model
from AtlasSegmentLib.model_manifest import ModelManifest
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.volume import Grid, Volume


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(make_model(tmp_path_factory.mktemp("w"), "windows"))


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(make_model(tmp_path_factory.mktemp("f"), "fit", input=FIT))


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(make_model(tmp_path_factory.mktemp("s"), "sig", sigmoid_network(), output={"activation": "sigmoid"}))


def spec_of(classes: int) -> ModelManifest:
    labels = {0: "background", **{value: f"part {value}" for value in range(1, classes)}}
    content = {"format": "atlas-model/1", "name": "m", "engine": "onnx", "file": "f", "sha256": "0" * 64, "input": FIT, "labels": labels}
    return ModelManifest.model_validate(content)


def full_stack(prediction: Prediction, grid: Grid) -> np.ndarray:
    """Return every class on the whole CT, (C, X, Y, Z): what hard_labels avoids."""
    stack = [resample(Volume(p.astype(np.float32), prediction.grid.affine), grid, fill=0.0).array for p in prediction.probabilities]
    return np.stack(stack)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.tuples(*[st.integers(1, 8)] * 3), st.integers(0, 999), st.sampled_from(["RAS", "LPS", "SAL", "IRP"]))
def test_the_running_arg_max_is_that_of_the_full_stack(classes: int, shape: tuple[int, int, int], seed: int, code: str) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (classes, *shape))
    p = np.exp(logits) / np.exp(logits).sum(0)
    image = Volume(np.zeros((9, 8, 7)), np.diag([2.0, 2.5, 4.0, 1.0])).reoriented("LIP").grid
    box = Roi(rng.uniform(4, 14, 3), np.eye(3), rng.uniform(2, 25, 3)).corners()
    prediction = GridPrediction(spec_of(classes), regions.fitted_grid(image, code, box, shape), p.astype(np.float32))
    stack = full_stack(prediction, image)
    inside = np.zeros(image.shape, bool)
    inside[regions.covered_voxels(image, prediction.grid)] = True
    expected = np.where(inside, stack.argmax(0), 0)
    two = np.sort(stack, axis=0)[-2:]
    clear = (two[1] - two[0] > 1e-3) | ~inside  # between equal classes rounding decides
    np.testing.assert_array_equal(hard_labels(prediction, image).dense()[clear], expected[clear])


def test_the_first_of_equal_classes_wins() -> None:
    grid = Grid((3, 3, 3), np.eye(4))
    prediction = GridPrediction(spec_of(3), grid, np.full((3, 3, 3, 3), 1 / 3, np.float32))
    assert not hard_labels(prediction, grid).dense().any()


def test_one_class_on_the_ct_is_its_interpolated_probability_but_for_what_no_byte_shows(windows: Model) -> None:
    image = ct("PSL")
    prediction = predict(image, windows)
    stack = full_stack(prediction, image.grid)
    for value in range(1, 4):
        found = on_ct(prediction, image.grid, value)
        assert found.crop.dtype == np.float32
        np.testing.assert_allclose(found.dense(), stack[value], atol=float(FAINT))


def test_a_structure_between_two_slices_of_the_ct_is_nowhere_on_it() -> None:
    image = Grid((8, 8, 4), np.diag([1.0, 1.0, 10.0, 1.0]))
    fine = regions.fitted_grid(image, "RAS", regions.whole_box(image), (8, 8, 40))
    p = np.zeros((2, 8, 8, 40), np.float32)
    p[1, 4, 4, 10] = 1  # 5.5 mm from the slice below and 4.5 mm from the one above
    p[0] = 1 - p[1]
    prediction = GridPrediction(spec_of(2), fine, p)
    assert on_ct(prediction, image, 1).dense().sum() == 0
    assert hard_labels(prediction, image).dense().sum() == 0


@pytest.mark.parametrize("name", ["windows", "fit"])
def test_softmax_probabilities_sum_to_one(name: str, request: pytest.FixtureRequest) -> None:
    prediction = predict(ct(), request.getfixturevalue(name), roi())
    assert prediction.probabilities.min() >= 0
    np.testing.assert_allclose(prediction.probabilities.astype(np.float64).sum(0), 1, atol=3e-3)


def test_sigmoid_channels_are_independent(overlapping: Model) -> None:
    prediction = predict(ct(), overlapping)
    assert prediction.probabilities.shape[0] == 3
    assert (prediction.of(1) >= prediction.of(2)).all()  # above 85 HU is above 225 HU too
    assert prediction.of(3).max() > 0.9


def test_extreme_logits_do_not_overflow(tmp_path: Path) -> None:
    for name, content, activation in (("a", softmax_network(softness=1e-3), "softmax"), ("b", sigmoid_network(softness=1e-4), "sigmoid")):
        prediction = predict(ct(), load_model(make_model(tmp_path / name, name, content, output={"activation": activation})))
        assert np.isfinite(prediction.probabilities).all()


def test_a_fit_model_sees_the_roi_in_its_own_orientation_and_size(fit: Model) -> None:
    grid = predict(ct("PSL"), fit, roi()).grid
    assert grid.shape == tuple(FIT["fit_shape"])
    assert grid.orientation == "LAI"
    box = regions.whole_box(grid)
    np.testing.assert_allclose([box.min(0), box.max(0)], [roi().corners().min(0), roi().corners().max(0)], atol=1e-6)


def test_a_window_model_sees_the_body_by_default_and_all_when_told(windows: Model) -> None:
    image = ct()
    body, whole = predict(image, windows).grid, predict(image, windows, "whole").grid
    np.testing.assert_allclose(regions.whole_box(whole).max(0), regions.whole_box(image.grid).max(0))
    assert np.prod(body.shape) <= np.prod(whole.shape)
    assert body.orientation == "LPS"


def test_a_fit_model_without_a_region_is_refused_and_the_ct_is_named(fit: Model) -> None:
    with pytest.raises(InputError, match=r"phantom: model fit needs a region of interest") as caught:
        predict(ct(), fit)
    assert "--roi" in caught.value.remedy


def test_a_region_beside_the_ct_is_refused(windows: Model) -> None:
    with pytest.raises(InputError, match="does not overlap"):
        predict(ct(), windows, Roi(np.full(3, 9e3), np.eye(3), np.ones(3)))


@pytest.mark.parametrize("name", ["windows", "fit"])
def test_progress_goes_from_zero_to_at_most_one(name: str, request: pytest.FixtureRequest) -> None:
    seen: list[float] = []
    predict(ct(), request.getfixturevalue(name), roi(), lambda done, _: seen.append(done))
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[-1] <= 1


def test_predicting_does_not_change_the_ct(windows: Model) -> None:
    image = ct()
    before = image.array.copy()
    predict(image, windows)
    np.testing.assert_array_equal(image.array, before)


def test_forty_classes_take_a_few_volumes_of_memory_not_forty(tmp_path: Path) -> None:
    means = [20.0 * number for number in range(41)]
    organs = [f"part {number}" for number in range(1, 41)]
    shape = {**WINDOWS, "spacing": [12.0, 12.0, 12.0], "patch": [8, 8, 8]}
    model = load_model(make_model(tmp_path, "many", softmax_network(means, 200.0), organs=organs, input=shape))
    array = np.asfortranarray(np.random.default_rng(0).uniform(0, 800, (96, 80, 64)).astype(np.int16))
    image = Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]))
    one = array.size * 4
    tracemalloc.start()
    labels = hard_labels(predict(image, model, "whole"), image.grid)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(labels.crop)) > 10
    assert peak < 12 * one, f"{peak / one:.1f} float32 volumes for 40 classes"


def test_labels_above_255_are_not_wrapped() -> None:
    grid = Grid((2, 2, 2), np.eye(4))
    spec: Any = SimpleNamespace(table=SimpleNamespace(labels={300: "x"}), channel_of=lambda _: 1)
    stack = np.zeros((2, 2, 2, 2), np.float32)
    stack[1] = 1
    assert np.unique(hard_labels(GridPrediction(spec, grid, stack), grid).dense()).tolist() == [300]


def test_the_labels_of_the_phantom_are_its_organs(windows: Model) -> None:
    assert tuple(windows.spec.table.names()) == ORGANS
