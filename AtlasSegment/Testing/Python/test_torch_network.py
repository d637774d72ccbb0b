"""Torch as it really runs: same bits each time, no silent loss of the GPU, and each file that is no network refused by name."""

from __future__ import annotations

import logging
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from AtlasSegmentLib import torch_device, torch_network
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.torch_network import TorchNetwork, load_torchscript
from engine_networks import images, scripted, unet

no_gpu_here = pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="needs a computer without GPU")


def test_the_result_is_that_of_the_module_itself_to_the_last_bit() -> None:
    module = unet().eval()
    with torch.inference_mode():
        expected = module(torch.from_numpy(images())).numpy()
    result = TorchNetwork(module, "cpu").run(images())
    assert (result.dtype, result.shape, result.flags.c_contiguous) == (np.float32, (2, 5, 16, 16, 16), True)
    np.testing.assert_array_equal(result, expected)


def test_two_runs_of_two_loads_give_the_same_bits() -> None:
    first, second = TorchNetwork(unet(), "cpu"), TorchNetwork(unet(), "cpu")
    np.testing.assert_array_equal(first.run(images()), second.run(images()))
    np.testing.assert_array_equal(first.run(images()), first.run(images()))


def test_dropout_is_off_and_nothing_is_recorded_for_training() -> None:
    network = TorchNetwork(nn.Sequential(nn.Conv3d(1, 2, 1), nn.Dropout(0.9)), "cpu")
    np.testing.assert_array_equal(network.run(images()), network.run(images()))
    assert not network.run_tensor(torch.from_numpy(images())).requires_grad


def test_a_tensor_gives_the_same_as_an_array() -> None:
    network = TorchNetwork(unet(), "cpu")
    result = network.run_tensor(torch.from_numpy(images()))
    assert result.device == network.torch_device
    np.testing.assert_array_equal(result.numpy(), network.run(images()))


def test_read_only_and_flipped_arrays_are_taken_and_left_alone() -> None:
    network, given = TorchNetwork(unet(), "cpu"), images()
    expected = network.run(given)
    given.flags.writeable = False
    np.testing.assert_array_equal(network.run(given), expected)
    np.testing.assert_array_equal(network.run(given[:, :, ::-1].copy()[:, :, ::-1]), expected)
    np.testing.assert_array_equal(given, images())


def test_networks_of_two_dimensions_run_too() -> None:
    assert TorchNetwork(unet(3, dimensions=2), "cpu").run(np.ones((4, 3, 8, 12), np.float32)).shape == (4, 5, 8, 12)


def test_the_number_of_threads_is_set() -> None:
    before = torch.get_num_threads()
    try:
        for threads, expected in ((3, 3), (1, 1), (0, 1)):
            TorchNetwork(nn.Identity(), "cpu", threads)
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


@no_gpu_here
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_cpu_is_used_and_said_where_there_is_no_gpu(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        network = TorchNetwork(unet(), device, name="fold_0.pth")
    assert (network.device, network.engine, network.precision) == ("cpu", f"torch {torch.__version__} cpu", "float32")
    assert f"fold_0.pth runs on torch {torch.__version__} cpu" in caplog.text


@no_gpu_here
def test_a_computer_without_gpu_is_refused_when_the_gpu_is_insisted_on() -> None:
    with pytest.raises(ModelError, match=r"fold_0\.pth: a GPU was asked for, but this Torch finds none \(torch 2") as caught:
        TorchNetwork(unet(), "gpu", name="fold_0.pth")
    assert "pytorch.org" in caught.value.remedy


@no_gpu_here
def test_a_gpu_that_does_not_compute_is_said_and_refused_only_when_it_is_insisted_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch_device, "_accelerator", lambda: torch.device("cuda", 0))
    network = TorchNetwork(unet(), "auto", name="fold_0.pth")
    assert network.device == "cpu"
    assert "fold_0.pth: the GPU cuda:0 cannot be used (" in caplog.text
    with pytest.raises(ModelError, match=r"fold_0\.pth: a GPU was asked for, but "):
        TorchNetwork(unet(), "gpu", name="fold_0.pth")


def test_a_gpu_that_computes_wrong_values_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(torch_device, "_accelerator", lambda: torch.device("cpu", 0))
    monkeypatch.setattr(torch, "allclose", lambda *_, **__: False)
    assert TorchNetwork(unet(), "auto").device == "cpu"
    assert "it computes wrong values" in caplog.text


def test_a_machine_without_torch_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"model\.ts: Torch is not installed.*pip install"):
        load_torchscript(tmp_path / "model.ts")


def test_a_wrong_number_of_channels_is_named() -> None:
    with pytest.raises(
        ModelError, match=r"net: the network failed on an input of shape \(1, 2, 16, 16, 16\) \(.*have 1 channels, but got 2"
    ):
        TorchNetwork(unet(), "cpu", name="net").run(images(1, channels=2))


def test_a_patch_that_the_network_cannot_halve_often_enough_is_named() -> None:
    with pytest.raises(ModelError, match=r"net: the network failed on an input of shape \(1, 1, 15, 15, 15\)"):
        TorchNetwork(unet(), "cpu", name="net").run(images(1, size=15))


class TwoInputs(nn.Module):
    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return image + text


class Several(nn.Module):
    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [image, image]


class Pooled(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean((2, 3, 4))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (TwoInputs(), "failed on an input"),
        (Several(), "gives 2 outputs, one tensor is expected"),
        (Pooled(), r"gives \(2, 1\) for an input of shape"),
        (nn.Conv3d(1, 2, 3), r"gives \(2, 2, 14, 14, 14\) for an input"),
        (nn.Upsample(scale_factor=2), "gives"),
    ],
)
def test_what_is_no_segmentation_network_is_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(ModelError, match=f"^net: the network {words}") as caught:
        TorchNetwork(module, "cpu", name="net").run(images())
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    module = nn.Conv3d(1, 2, 1)
    nn.init.constant_(module.weight, value)
    with pytest.raises(ModelError, match="net: the network gives values that are not finite"):
        TorchNetwork(module, "cpu", name="net").run(images())


def test_values_whose_sum_is_too_large_for_a_number_are_fine() -> None:
    result = TorchNetwork(nn.Identity(), "cpu").run(np.full((1, 1, 8, 8, 8), 3e38, np.float32))
    np.testing.assert_array_equal(result, np.float32(3e38))


def test_a_torchscript_file_gives_the_result_of_the_module_it_was_made_from(tmp_path: Path) -> None:
    network = load_torchscript(scripted(tmp_path / "model.ts", unet()), device="cpu")
    np.testing.assert_allclose(network.run(images()), TorchNetwork(unet(), "cpu").run(images()), rtol=0, atol=1e-5)


def without(source: Path, target: Path, member: str, replacement: bytes | None = None) -> None:
    """Copy a zip file without the member of this name, or with another content of it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for item in old.infolist():
            if not item.filename.endswith(f"/{member}"):
                new.writestr(item.filename, old.read(item))
            elif replacement is not None:
                new.writestr(item.filename, replacement)


def test_a_torchscript_file_that_is_damaged_or_none_is_refused_by_name(tmp_path: Path) -> None:
    good, bad = scripted(tmp_path / "good.ts", nn.Conv3d(1, 2, 1)), tmp_path / "bad.ts"
    data = good.read_bytes()
    for content in (b"", data[:1], data[: len(data) // 2], data[:-1], b"not a network" * 30):
        bad.write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.ts: is not a network that Torch can load \(") as caught:
            load_torchscript(bad)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_and_a_network_of_another_torch_are_told_from_damage(tmp_path: Path) -> None:
    good, bad = scripted(tmp_path / "good.ts", nn.Conv3d(1, 2, 1)), tmp_path / "bad.ts"
    torch.save({"network_weights": {}}, bad)
    with pytest.raises(ModelError, match=r"bad\.ts: holds weights only"):
        load_torchscript(bad)
    without(good, bad, "version", b"9999\n")
    with pytest.raises(ModelError, match=r"bad\.ts: is made for another version of Torch than .* version 9999") as caught:
        load_torchscript(bad)
    assert "newer Torch" in caught.value.remedy
    with pytest.raises(ModelError, match=r"gone\.ts: is missing"):
        load_torchscript(tmp_path / "gone.ts")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_gpu_gives_the_masks_of_the_cpu_in_both_precisions() -> None:
    expected = TorchNetwork(unet(), "cpu").run(images())
    exact = TorchNetwork(unet(), "gpu", precision="float32")
    half = TorchNetwork(unet(), "gpu")
    assert (exact.device, half.device) == ("gpu", "gpu")
    assert torch.cuda.get_device_name() in half.engine
    assert half.run_tensor(torch.from_numpy(images())).device.type == "cuda"
    np.testing.assert_allclose(exact.run(images()), expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(half.run(images()), half.run(images()))
    assert (half.run(images()).argmax(1) == expected.argmax(1)).mean() > 0.99


def test_the_module_of_this_file_is_the_one_that_the_engine_uses() -> None:
    module = unet()
    assert TorchNetwork(module, "cpu").module is module
    assert torch_network.is_gpu(torch.device("cuda", 0))
    assert not torch_network.is_gpu(torch.device("cpu"))
