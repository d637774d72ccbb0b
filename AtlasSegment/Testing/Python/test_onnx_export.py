"""What `atlas model export-onnx` writes decides as the Torch model does, is loaded by ONNX Runtime, and is whole or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from atlas_phantoms import ORGANS, ct, make_model
from AtlasSegmentLib import onnx_export
from AtlasSegmentLib.errors import InputError, ModelError
from AtlasSegmentLib.inference_settings import PRESETS
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.model_kinds import kind_of
from AtlasSegmentLib.onnx_export import export_onnx, masks_parity
from AtlasSegmentLib.onnx_network import OnnxNetwork
from AtlasSegmentLib.onnx_sources import TorchSource
from AtlasSegmentLib.parity import compare_masks, random_patches
from engine_networks import images, scripted, unet
from monai_bundles import config, make_bundle
from nnunet_models import make_nnunet_model
from run_program import run_program

COARSE = (9.0, 7.0, 7.0)  # few windows


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an nnU-Net folder with two folds of a residual network, trained with mirroring."""
    folder = tmp_path_factory.mktemp("results")
    return make_nnunet_model(folder, network="residual", dialect="old", folds=(0, 1), mirror_axes=(0, 1, 2), spacing=COARSE)


def test_an_nnunet_export_gives_the_masks_of_the_torch_model_and_says_so(folds: Path, tmp_path: Path) -> None:
    done = export_onnx(folds, tmp_path / "out", ct=ct(), threads=1)
    assert kind_of(done.folder) == "autoorgan"
    assert [network.file for network in done.networks] == ["fold_0.onnx", "fold_1.onnx"]
    assert done.networks[0].sha256 != done.networks[1].sha256
    assert max(network.random.max_difference for network in done.networks) < 1e-3
    assert done.ct is not None
    assert done.ct.equal_voxels >= 0.9999
    assert any(value is not None for value in done.ct.dice.values())
    found = masks_parity(load_model(folds, 1, "cpu"), load_model(done.folder, 1, "cpu"), ct(), None)
    assert found == done.ct
    assert load_model(done.folder, 1).engine.startswith("onnxruntime")


def test_an_export_keeps_what_onnx_files_do_not_say(folds: Path, tmp_path: Path) -> None:
    folder = export_onnx(folds, tmp_path / "out", threads=1).folder
    facts = OnnxNetwork(folder / "fold_1.onnx").facts
    assert (facts["fold"], facts["configuration"], facts["mirror_axes"]) == ("1", "3d_fullres", [0, 1, 2])
    assert (folder / "dataset.json").read_bytes() == (folds / "dataset.json").read_bytes()
    assert list(json.loads((folder / "plans.json").read_text())["configurations"]) == ["3d_fullres"]
    assert json.loads((folder / "atlas.json").read_text()) == {"configuration": "3d_fullres", "mirror_axes": [0, 1, 2]}
    best = PRESETS["best"]
    torch_model, onnx_model = load_model(folds, 1, "cpu"), load_model(folder, 1, "cpu")
    first, second = (model.segment(ct(), None, best).masks(ct().grid) for model in (torch_model, onnx_model))
    assert compare_masks(ct().grid, torch_model.spec.table, first, second, "").equal_voxels >= 0.9999  # with all flips


def test_input_and_output_are_named_and_take_any_number_of_patches(folds: Path, tmp_path: Path) -> None:
    for precision in ("float32", "float16"):
        path = export_onnx(folds, tmp_path / precision, precision, threads=1).folder / "fold_0.onnx"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (given,), (result,) = session.get_inputs(), session.get_outputs()
        assert (given.name, given.type, given.shape) == ("input", "tensor(float)", ["batch", 1, 16, 16, 16])
        assert (result.name, result.type, result.shape[:2]) == ("output", "tensor(float)", ["batch", 1 + len(ORGANS)])
        assert session.run(None, {"input": images(3)})[0].shape == (3, 1 + len(ORGANS), 16, 16, 16)
        onnx.checker.check_model(str(path), full_check=True)


def test_float16_halves_the_weights_and_its_difference_is_measured(folds: Path, tmp_path: Path) -> None:
    whole, half = (export_onnx(folds, tmp_path / name, name, threads=1).networks[0] for name in ("float32", "float16"))
    assert half.size < 0.75 * whole.size
    assert 1e-4 < half.random.max_difference < 0.2
    assert half.random.same_class > 0.99


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"configuration": "2d"}, (1, 16, 16)),
        ({"labels": {"both": [1, 2], "inner": 2}, "regions_class_order": (1, 2)}, (1, 16, 16, 16)),
        ({"configuration": "3d_cascade_fullres"}, (1 + len(ORGANS), 16, 16, 16)),
        ({"trainer": "nnUNetTrainerBN", "channels": ("CT", "PET")}, (2, 16, 16, 16)),
    ],
    ids=["2d", "regions", "cascade", "batch norm and two images"],
)
def test_every_kind_of_nnunet_network_is_exported(tmp_path: Path, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    done = export_onnx(make_nnunet_model(tmp_path / "results", **options), tmp_path / "out", threads=1)
    assert OnnxNetwork(done.folder / "fold_0.onnx").input_shape[1:] == shape
    assert done.networks[0].random.same_class >= 0.9999


def test_a_monai_bundle_becomes_an_atlas_folder_with_the_same_masks(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", config(spacing=(9.0, 9.0, 9.0)))
    done = export_onnx(bundle, tmp_path / "out", ct=ct(), threads=1)
    assert kind_of(done.folder) == "atlas"
    assert done.ct is not None
    assert done.ct.equal_voxels >= 0.9999
    assert masks_parity(load_model(bundle, 1, "cpu"), load_model(done.folder, 1, "cpu"), ct(), "whole").equal_voxels >= 0.9999


def test_an_atlas_folder_with_torchscript_becomes_one_with_onnx(tmp_path: Path) -> None:
    path = scripted(tmp_path / "model.ts", unet(classes=1 + len(ORGANS)))
    window = {"orientation": "LPS", "spacing": [9.0, 9.0, 9.0], "patch": [16, 16, 16], "overlap": 0.5}
    source = make_model(tmp_path / "source", "tiny", path.read_bytes(), engine="torchscript", input=window)
    done = export_onnx(source, tmp_path / "out", ct=ct(), threads=1)
    assert json.loads((done.folder / "model.json").read_text())["engine"] == "onnx"
    assert done.ct_patches is not None
    assert done.ct_patches.patches > 0
    assert load_model(done.folder).spec.record() == load_model(source).spec.record()


def test_the_command_prints_the_agreement_and_writes_it_beside_the_networks(folds: Path, tmp_path: Path) -> None:
    done = run_program(["model", "export-onnx", str(folds), "--out", str(tmp_path / "a"), "--threads", "1"], tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "fold_1.onnx: " in done.out
    assert "same class for 100.0000%" in done.out
    done = run_program(["model", "export-onnx", str(folds), "--out", str(tmp_path / "b"), "--precision", "float16", "--json"], tmp_path)
    said, written = json.loads(done.out), json.loads((tmp_path / "b" / "export.json").read_text())
    assert said["networks"] == written["networks"]
    assert written["precision"] == "float16"
    done = run_program(["model", "export-onnx", str(folds), "--out", str(tmp_path / "c"), "--precision", "half"], tmp_path)
    assert (done.code, done.err) == (2, "atlas: error: 'half': is no precision. Choose one of float32, float16.\n")


def sources(module: nn.Module) -> Iterator[TorchSource]:
    yield TorchSource("fold_0", Path("net.pth"), module.eval(), (1, 8, 8, 8), False, {"configuration": "3d_fullres", "mirror_axes": None})


class CountsPatches(nn.Module):
    """A trace takes the number of patches for a constant."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([image * len(image), image * 2 - 0.1], 1)


class Unknown(nn.Module):
    """ONNX has no such operator."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(image)


@pytest.mark.parametrize(
    ("module", "words"), [(CountsPatches(), "decides otherwise than Torch for"), (Unknown(), "cannot write this network as ONNX")]
)
def test_a_network_that_onnx_cannot_hold_leaves_nothing_behind(
    folds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: nn.Module, words: str
) -> None:
    monkeypatch.setattr(onnx_export, "torch_sources", lambda _: sources(module))
    with pytest.raises(ModelError, match=words) as caught:
        export_onnx(folds, tmp_path / "out", threads=1)
    assert "with Torch" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_torch_model_is_refused_and_nothing_is_overwritten(folds: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is an ONNX model already") as caught:
        export_onnx(make_model(tmp_path / "onnx", "m"), tmp_path / "out")
    assert "atlas model quantize" in caught.value.remedy
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="empty: is no model folder"):
        export_onnx(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="empty: is there already"):
        export_onnx(folds, tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "onnx"]


def test_random_patches_are_the_same_each_time_and_of_mean_0_and_deviation_1() -> None:
    first, second = (list(random_patches((2, 16, 12, 8), 4)) for _ in range(2))
    assert [patch.shape for patch in first] == [(1, 2, 16, 12, 8)] * 4
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(0.8 < patch.std() < 1.2 and abs(patch.mean()) < 0.5 for patch in first)
