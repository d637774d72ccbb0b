"""The running arg-max is numpy's arg-max of all classes, in a fraction of its memory; models see the region they ask for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from atlas_phantoms import FIT, ORGANS, WINDOWS, ct, make_model, roi, sigmoid_network, softmax_network
from AtlasSegmentLib import regions, window_result, window_stack
from AtlasSegmentLib.components import bounding_box
from AtlasSegmentLib.encoding import entropy_bytes, soft_bytes
from AtlasSegmentLib.errors import InputError, StorageError
from AtlasSegmentLib.inference import FAINT, GridPrediction, hard_labels, on_ct, predict
from AtlasSegmentLib.inference_settings import InferenceSettings
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.model import Model, load_model
from AtlasSegmentLib.model_manifest import ModelInput, ModelManifest
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.volume import Grid, Volume
from AtlasSegmentLib.window_input import network_input


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


def full_stack(prediction: GridPrediction, grid: Grid) -> np.ndarray:
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
    spec = spec_of(2).model_copy(update={"labels": {300: "x"}})
    stack = np.zeros((301, 2, 2, 2), np.float32)
    stack[300] = 1
    assert np.unique(hard_labels(GridPrediction(spec, grid, stack), grid).dense()).tolist() == [300]


def test_the_labels_of_the_phantom_are_its_organs(windows: Model) -> None:
    assert tuple(windows.spec.table.names()) == ORGANS


def counted(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the windows that a model is shown from now on."""
    seen: list[Any] = []
    run = model._network.run  # type: ignore[attr-defined]
    monkeypatch.setattr(model._network, "run", lambda batch: (seen.append(batch), run(batch))[1])  # type: ignore[attr-defined]
    return seen


def test_wider_steps_take_fewer_windows_and_the_models_own_step_is_the_default(windows: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(windows, monkeypatch)
    numbers = []
    for step in (None, 0.5, 0.75, 0.25):
        seen.clear()
        windows.segment(ct(), "whole", InferenceSettings(step=step, skip_air=False))
        numbers.append(len(seen))
    assert numbers[0] == numbers[1]
    assert numbers[3] > numbers[1] > numbers[2]


def test_the_whole_image_is_looked_at_without_body(windows: Model) -> None:
    image = ct()
    grid = windows.segment(image, None, InferenceSettings(body=False)).grid
    np.testing.assert_allclose(regions.whole_box(grid).max(0), regions.whole_box(image.grid).max(0))


def in_air(volume: Volume) -> Volume:
    """Return a volume with air around it, wide enough for windows of air alone."""
    return Volume(np.pad(volume.array, 14, constant_values=-1000), volume.affine, volume.source)


@pytest.mark.parametrize("name", ["windows", "overlapping"])
def test_windows_of_air_are_skipped_and_are_background_for_certain(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = request.getfixturevalue(name)
    image = in_air(ct())
    seen = counted(model, monkeypatch)
    all_of_it = model.segment(image, "whole", InferenceSettings(skip_air=False))
    number = len(seen)
    seen.clear()
    skipped = model.segment(image, "whole", InferenceSettings(skip_air=True))
    assert 0 < len(seen) < number
    assert all((batch > -900).any() for batch in seen)
    corner = skipped.probabilities[:, 0, 0, 0].tolist()
    assert corner == ([1, 0, 0, 0] if name == "windows" else [0, 0, 0])
    for value, mask in all_of_it.masks(image.grid).items():
        np.testing.assert_array_equal(skipped.masks(image.grid)[value].dense(), mask.dense())


def test_a_ct_of_air_alone_is_background_without_the_network(windows: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(windows, monkeypatch)
    image = Volume(np.full((30, 30, 30), -1000, np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    masks = windows.segment(image, None, InferenceSettings()).masks(image.grid)
    assert not seen
    assert not any(mask.dense().any() for mask in masks.values())


def test_mirroring_averages_the_flips_that_the_model_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(make_model(tmp_path / "m", "m", input={**WINDOWS, "mirror_axes": [0, 2]}))
    patch = np.random.default_rng(0).uniform(-100, 400, (7, 6, 5)).astype(np.float32)
    flips = [(), (0,), (2,), (0, 2)]
    expected = np.mean([np.flip(model.predict(np.flip(patch, axes)), [a + 1 for a in axes]) for axes in flips], axis=0)  # type: ignore[attr-defined]
    np.testing.assert_allclose(model.predict(patch, (0, 2)), expected, atol=1e-4)  # type: ignore[attr-defined]
    seen = counted(model, monkeypatch)
    model.segment(ct(), "whole", InferenceSettings(skip_air=False))
    once = len(seen)
    model.segment(ct(), "whole", InferenceSettings(skip_air=False, mirror=True))
    assert len(seen) == 5 * once


def test_a_model_without_mirror_axes_is_never_mirrored(windows: Model) -> None:
    plain = windows.segment(ct(), "whole", InferenceSettings(mirror=False))
    mirrored = windows.segment(ct(), "whole", InferenceSettings(mirror=True))
    np.testing.assert_array_equal(plain.probabilities, mirrored.probabilities)


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
@pytest.mark.parametrize("name", ["windows", "overlapping"])
def test_channels_kept_in_parts_give_the_very_bytes_of_all_of_them(
    name: str, in_memory: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = request.getfixturevalue(name), ct("PIR")
    dense = model.segment(image, "whole", InferenceSettings())
    monkeypatch.setattr(window_result, "DENSE_BYTES", 0)
    monkeypatch.setattr(
        window_stack.ChannelStack.__init__, "__kwdefaults__", {**window_stack.ChannelStack.__init__.__kwdefaults__, "in_memory": in_memory}
    )
    parts = model.segment(image, "whole", InferenceSettings())
    assert isinstance(parts.probabilities, window_stack.ChannelStack)
    for value in dense.spec.table.labels:
        a, b = (prediction.probability(image.grid, value) for prediction in (dense, parts))
        assert a.box == b.box
        np.testing.assert_array_equal(soft_bytes(a.crop), soft_bytes(b.crop))
        np.testing.assert_array_equal(entropy_bytes(a.crop), entropy_bytes(b.crop))
        np.testing.assert_array_equal(dense.masks(image.grid)[value].dense(), parts.masks(image.grid)[value].dense())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.permutations([0, 1, 2]), st.lists(st.integers(1, 3), min_size=1, max_size=5), st.booleans())
def test_a_stack_gives_back_all_that_exceeds_its_limit_and_its_neighbors(
    seed: int, order: list[int], steps: list[int], in_file: bool
) -> None:
    rng = np.random.default_rng(seed)
    planes = (sum(steps), 6, 5)
    shape = [0, 0, 0]
    for axis, n in zip(order, planes, strict=True):
        shape[axis] = n
    values = np.where(rng.random((3, *planes)) < 0.03, rng.random((3, *planes)), 0.1 * rng.random((3, *planes))).astype(np.float32)
    stack = window_stack.ChannelStack(
        3,
        (shape[0], shape[1], shape[2]),
        np.float32,
        order=(order[0], order[1], order[2]),
        above=0.1,
        whole=1,
        in_memory=0 if in_file else 1 << 20,
    )
    first = 0
    for step in steps:
        stack.add(first, values[:, first : first + step])
        first += step
    stack.finish()
    back = np.argsort(order)
    for channel in range(3):
        expected = values[channel].transpose(back)
        found = stack.crop(channel, (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])))
        near = ndimage.maximum_filter(expected > np.float32(0.1), size=3, mode="constant") if channel else np.ones(shape, bool)
        np.testing.assert_array_equal(found[near], expected[near])
        assert set(np.unique(found[~near])) <= {*np.unique(expected[~near]), 0}
        assert stack.found(channel) == bounding_box(expected > np.float32(0.1))


def test_a_full_disk_is_told_with_where_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = window_stack.ChannelStack(1, (2, 2, 2), np.float32, in_memory=0)

    def full() -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stack, "_opened", full)
    stack.add(0, np.ones((1, 2, 2, 2), np.float32))
    with pytest.raises(StorageError, match="No space left") as caught:
        stack.finish()
    assert "TMPDIR" in caught.value.remedy


def test_a_part_of_a_grid_on_centers_has_the_voxels_of_the_whole() -> None:
    image = ct("LPS")
    rule = ModelInput(grid="centers", orientation="RAS", spacing=(4.0, 3.0, 6.0), patch=(8, 8, 8), intensity_after=({"type": "z_score"},))  # type: ignore[arg-type]
    whole, part = (network_input(image, rule, box) for box in (regions.whole_box(image.grid), roi().corners()))
    offset = np.rint((np.linalg.inv(whole.grid.affine) @ part.grid.affine)[:3, 3]).astype(int)
    inner = tuple(slice(o, o + n) for o, n in zip(offset, part.image.shape, strict=True))
    assert part.image.size < whole.image.size
    np.testing.assert_array_equal(part.image, whole.image[inner])
