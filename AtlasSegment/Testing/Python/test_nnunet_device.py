"""Windows merged and labels decided on a device are those of the host, bit by bit. Torch's CPU stands in for a GPU where there is none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnunet_models
from AtlasSegmentLib import nnunet_device, nnunet_model
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.inference_settings import PRESETS
from AtlasSegmentLib.nnunet_back import Blocks, labels_of, largest, on_host, painted
from AtlasSegmentLib.nnunet_device import DeviceLabels, DeviceSums, gpu_of, sums_on
from AtlasSegmentLib.nnunet_load import load_nnunet
from AtlasSegmentLib.nnunet_window import HalfSums, merged_planes
from AtlasSegmentLib.volume import Volume

torch = pytest.importorskip("torch", reason="Torch is not installed")
CPU = torch.device("cpu")
sizes = st.integers(1, 21)


@st.composite
def logits_and_shapes(draw: st.DrawFn) -> tuple[Any, tuple[int, int, int]]:
    """Return logits (C, X, Y, Z) in half precision, with ties, and the shape of an image."""
    shape = draw(st.tuples(sizes, sizes, sizes))
    target = draw(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    coarse = rng.normal(0, draw(st.sampled_from([0.01, 3.0, 100.0])), (draw(st.integers(1, 6)), *shape))
    return np.round(coarse, draw(st.integers(0, 3))).astype(np.float16), target


def decided(logits: Any, blocks: Blocks, label_slab: Any) -> Any:
    planes = [(x, logits[:, x : x + 3]) for x in range(0, logits.shape[1], 3)]
    return labels_of(planes, blocks, label_slab, np.uint8)


@given(logits_and_shapes(), st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)), st.booleans())
def test_labels_are_those_of_the_host(case: tuple[Any, tuple[int, int, int]], orders: tuple[int, int, int], regions: bool) -> None:
    logits, target = case
    blocks = Blocks.between(logits.shape[1:], target, orders)
    order = tuple(range(len(logits), 0, -1)) if regions else None
    host = on_host(blocks, largest if order is None else painted(order))
    ours = decided(logits, blocks, DeviceLabels(CPU, blocks, order, host))
    assert np.array_equal(ours, decided(logits, blocks, host))


def test_sums_are_those_of_the_host() -> None:
    image = np.random.default_rng(0).normal(size=(1, 33, 20, 24)).astype(np.float32)

    def merged(sums: Any, kind: Any) -> Any:
        def predict(window: Any, _: Any) -> Any:
            logits = np.concatenate([window[0], window[0] ** 2 - 1])
            return [kind(logits)]

        return [found[0].copy() for _, found in merged_planes(image, (16, 16, 16), 0.5, predict, [sums])]

    on_device = merged(DeviceSums(2, (16, 20, 24), CPU), torch.from_numpy)
    for ours, theirs in zip(on_device, merged(HalfSums(2, (16, 20, 24)), np.copy), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.fixture(scope="module")
def mirrored_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose two folds are averaged over flips."""
    folder = tmp_path_factory.mktemp("model")
    return nnunet_models.make_nnunet_model(folder, folds=(0, 1), mirror_axes=(0, 2), spacing=(4, 3.6, 3.6), patch=(32, 32, 32))


@pytest.fixture
def phantom() -> Volume:
    """Return noise with some order, HU."""
    rng = np.random.default_rng(3)
    coarse = rng.normal(40, 200, (7, 6, 8)).repeat(8, 0).repeat(8, 1).repeat(8, 2)
    return Volume((coarse + rng.normal(0, 30, coarse.shape)).astype(np.int16), np.diag([2.0, 2.0, 2.5, 1.0]))


@pytest.fixture
def _torch_cpu_as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a model merge on Torch's CPU as it does on a GPU."""
    monkeypatch.setattr(nnunet_model, "gpu_of", lambda _: CPU)


@pytest.mark.usefixtures("_torch_cpu_as_gpu")
def test_a_whole_model_gives_the_labels_of_the_host(mirrored_model: Path, phantom: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = load_nnunet(mirrored_model, device="cpu").labels(phantom, PRESETS["best"])
    monkeypatch.setattr(nnunet_model, "gpu_of", lambda _: None)
    theirs = load_nnunet(mirrored_model, device="cpu").labels(phantom, PRESETS["best"])
    assert len(np.unique(theirs)) >= 3
    assert np.array_equal(ours, theirs)


def fail_for_want_of_memory(*_: Any, **__: Any) -> Any:
    """Do what Torch does on a GPU without room."""
    message = "CUDA out of memory. Tried to allocate 2.00 GiB."
    raise torch.OutOfMemoryError(message)


@pytest.mark.usefixtures("_torch_cpu_as_gpu")
@pytest.mark.parametrize("where", ["_interpolated", "DeviceSums"])
def test_a_full_gpu_leaves_the_merging_to_the_host(
    where: str, mirrored_model: Path, phantom: Volume, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load_nnunet(mirrored_model, device="cpu").labels(phantom, PRESETS["best"])
    monkeypatch.setattr(nnunet_device, where, fail_for_want_of_memory)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(load_nnunet(mirrored_model, device="cpu").labels(phantom, PRESETS["best"]), expected)
    assert "GPU memory is full" in caplog.text


@pytest.mark.usefixtures("_torch_cpu_as_gpu")
def test_another_failure_of_the_gpu_is_not_taken_for_full_memory(
    mirrored_model: Path, phantom: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        message = "device-side assert triggered"
        raise RuntimeError(message)

    monkeypatch.setattr(nnunet_device, "_interpolated", broken)
    with pytest.raises((RuntimeError, AtlasError), match="device-side assert"):
        load_nnunet(mirrored_model, device="cpu").labels(phantom, PRESETS["best"])


def test_memory_of_the_host_is_used_where_no_gpu_is(mirrored_model: Path) -> None:
    assert isinstance(sums_on(None, 2, (4, 4, 4)), HalfSums)
    assert gpu_of(load_nnunet(mirrored_model, device="cpu")._networks) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_a_gpu_gives_the_labels_of_the_host(mirrored_model: Path, phantom: Volume) -> None:
    ours = load_nnunet(mirrored_model, device="gpu").labels(phantom, PRESETS["best"])
    theirs = load_nnunet(mirrored_model, device="cpu").labels(phantom, PRESETS["best"])
    assert (ours == theirs).mean() >= 0.9999
