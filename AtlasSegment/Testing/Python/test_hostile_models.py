"""Models that are made to do harm, or that do not fit together, are refused before anything of them runs or anything is written."""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnunet_models
from AtlasSegmentLib.commands_predict import predict_command
from AtlasSegmentLib.errors import InputError, ModelError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.inference_settings import PRESETS, InferenceSettings
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.nnunet_load import load_nnunet
from AtlasSegmentLib.nnunet_predict import copy_description, find_images, part_of
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, segment
from AtlasSegmentLib.torch_convert import convert_checkpoint
from AtlasSegmentLib.torchscript_check import require_harmless
from AtlasSegmentLib.volume import Volume
from run_program import run_program

torch = pytest.importorskip("torch", reason="Torch is not installed")
COARSE = {"spacing": (9.0, 7.0, 7.0)}


class Writes(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A network that writes a file when it is run."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "/tmp/atlas-must-not-exist")  # type: ignore[name-defined]
        return x


class WritesWhenLoaded(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A network that writes a file when it is loaded."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return torch.zeros(1), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        torch.save(state[0], "/tmp/atlas-must-not-exist")
        self.training = state[1]


class Maps(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A network that opens a file of this machine."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("/etc/hostname", False, 1)


def quiet(make: Any, *arguments: Any) -> Any:
    """Make a TorchScript network without Torch's advice to make another kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*arguments)


@pytest.mark.parametrize("module", [Writes, WritesWhenLoaded, Maps])
def test_a_torchscript_file_that_touches_files_is_refused_unrun(module: Any, tmp_path: Path) -> None:
    quiet(torch.jit.script, module()).save(str(tmp_path / "model.ts"))
    with pytest.raises(ModelError, match=r"its code calls torch\.(save|from_file)"):
        require_harmless(tmp_path / "model.ts")
    content = {
        "format": "atlas-model/1", "name": "x", "engine": "torchscript", "file": "model.ts", "sha256": sha256_of(tmp_path / "model.ts"),
        "input": {"orientation": "RAS", "spacing": [3, 3, 3], "patch": [16, 16, 16], "overlap": 0.5, "intensity": {"type": "none"}},
        "output": {"activation": "softmax"}, "labels": {"0": "background", "1": "liver"},
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="Nothing of it was run"):
        load_model(tmp_path)
    assert not Path("/tmp/atlas-must-not-exist").exists()


def test_networks_of_every_kind_pass(tmp_path: Path) -> None:
    parts = (torch.nn.Conv3d(1, 4, 3), torch.nn.InstanceNorm3d(4), torch.nn.PReLU(), torch.nn.Upsample(scale_factor=2.0))
    layers = torch.nn.Sequential(*parts)
    made = (quiet(torch.jit.script, layers), quiet(torch.jit.trace, layers, torch.zeros(1, 1, 8, 8, 8)))
    for number, network in enumerate(made):
        network.save(str(tmp_path / f"{number}.ts"))
        require_harmless(tmp_path / f"{number}.ts")


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n  t = torch\n  return t.save(x, 'a')\n",
        "def f(x):\n  return getattr(torch, 'save')(x, 'a')\n",
        "def f(x):\n  return ops.c10d.send(x)\n",
        "def f(x):\n  return ops.aten.save(x, 'a')\n",
        "def f(x:\n",
    ],
)
def test_code_that_hides_what_it_calls_is_refused(source: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.ts", "w") as archive:
        archive.writestr("model/code/__torch__.py", source)
    with pytest.raises(ModelError):
        require_harmless(tmp_path / "model.ts")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nnunet_models.make_nnunet_model(tmp_path_factory.mktemp("results"), **COARSE)  # type: ignore[arg-type]


def image(dtype: type = np.int16) -> Volume:
    """Return an image of air with a box of tissue, as scanners without a sign store it too."""
    array = np.zeros((40, 36, 30), dtype)
    array[8:30, 8:30, 5:25] = 100
    return Volume(array, np.diag([4.0, 4.0, 5.0, 1.0]))


def edited(model: Path, folder: Path, name: str, **changes: Any) -> Path:
    """Return a copy of a model with other values at the top of a JSON file."""
    copy = folder / model.name
    shutil.copytree(model, copy)
    content = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps({**content, **changes}))
    return copy


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_every_type_of_voxels_is_segmented_as_any_other(model: Path, dtype: type) -> None:
    network = load_nnunet(model, device="cpu")
    assert np.array_equal(network.labels(image(dtype), PRESETS["fast"]), network.labels(image(), PRESETS["fast"]))


def test_a_network_with_other_channels_than_labels_is_refused(model: Path, tmp_path: Path) -> None:
    onnx_export = pytest.importorskip("AtlasSegmentLib.onnx_export")
    exported = onnx_export.export_onnx(model, tmp_path / "onnx", threads=1).folder
    for labels in ({"background": 0, "liver": 1}, {"background": 0, **{f"o{n}": n for n in range(1, 9)}}):
        content = json.loads((exported / "dataset.json").read_text())
        (exported / "dataset.json").write_text(json.dumps({**content, "labels": labels}))
        with pytest.raises(ModelError, match=r"gives \d+ channels, dataset.json has \d labels"):
            load_nnunet(exported, device="cpu").labels(image(), PRESETS["fast"])


def test_two_models_of_one_name_are_refused_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / model.name
    shutil.copytree(model, other)
    write_nifti(tmp_path / "ct.nii.gz", image())
    from AtlasSegmentLib.case_folder import new_case

    request = SegmentRequest(new_case(tmp_path / "out", "case"), tmp_path / "ct.nii.gz", (model, other), SegmentOptions())
    with pytest.raises(InputError, match="2 of the models are called 'Dataset111_Tiny-3d_fullres'"):
        segment(request)
    assert not (tmp_path / "out" / "case" / "backbones").exists()


def test_models_of_one_dataset_by_other_trainers_and_plans_have_names_of_their_own(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "nnUNetTrainer_250epochs__nnUNetResEncUNetLPlans__3d_fullres"
    shutil.copytree(model, other)
    assert load_nnunet(other, device="cpu").spec.name == "Dataset111_Tiny-3d_fullres-nnUNetTrainer_250epochs-nnUNetResEncUNetLPlans"
    assert load_nnunet(model, device="cpu").spec.name == "Dataset111_Tiny-3d_fullres"


def test_label_values_above_255_are_kept(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "middle": 3}
    folder = nnunet_models.make_nnunet_model(tmp_path, labels=labels, regions_class_order=(300, 2, 3), seed=9, **COARSE)  # type: ignore[arg-type]
    found = load_nnunet(folder, device="cpu").labels(image(), PRESETS["best"])
    assert found.dtype == np.uint16
    assert set(np.unique(found)) <= {0, 300, 2, 3}


def test_plans_without_resampling_run_on_the_images_own_grid(tmp_path: Path) -> None:
    plans = nnunet_models.make_plans("new", "plain", (4.0, 3.0, 2.0), (16, 16, 16))
    for what in ("data", "seg", "probabilities"):
        plans["configurations"]["3d_fullres"] |= {f"resampling_fn_{what}": "no_resampling_hack", f"resampling_fn_{what}_kwargs": {}}
    folder = nnunet_models.make_nnunet_model(tmp_path, plans=plans)
    ct = image()
    predictor = nnunet_models.reference_predictor(folder, (0,), use_mirroring=False)
    given = np.ascontiguousarray(ct.array.transpose(2, 1, 0)[None]).astype(np.float32)
    theirs = predictor.predict_single_npy_array(given, {"spacing": [5.0, 4.0, 4.0]}, None, None, False).transpose(2, 1, 0)
    assert (load_nnunet(folder, device="cpu").labels(ct, PRESETS["best"]) == theirs).mean() >= 0.9999


def test_probabilities_that_cannot_come_back_are_refused(tmp_path: Path) -> None:
    plans = nnunet_models.make_plans("new", "plain", (4.0, 3.0, 2.0), (16, 16, 16))
    plans["configurations"]["3d_fullres"]["resampling_fn_probabilities"] = "no_resampling_hack"
    with pytest.raises(ModelError, match="resampling_fn_probabilities"):
        load_nnunet(nnunet_models.make_nnunet_model(tmp_path, plans=plans), device="cpu")


def test_a_converted_checkpoint_of_an_earlier_training_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = nnunet_models.make_nnunet_model(tmp_path / "old", seed=1, **COARSE)  # type: ignore[arg-type]
    new = nnunet_models.make_nnunet_model(tmp_path / "new", seed=2, **COARSE)  # type: ignore[arg-type]
    file = old / "fold_0" / "checkpoint_final.pth"
    convert_checkpoint(file)
    shutil.copy(new / "fold_0" / "checkpoint_final.pth", file)
    os.utime(file, (1, 1))  # as cp -p, tar and rsync -a leave it
    expected = load_nnunet(new, device="cpu").labels(image(), PRESETS["fast"])
    assert np.array_equal(load_nnunet(old, device="cpu").labels(image(), PRESETS["fast"]), expected)
    assert "was made from another checkpoint_final.pth" in caplog.text


def test_weights_that_are_there_twice_are_refused(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / model.name
    shutil.copytree(model, copy)
    file = copy / "fold_0" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    name = next(iter(content["network_weights"]))
    content["network_weights"][f"module.{name}"] = content["network_weights"][name] * 2
    torch.save(content, file)
    with pytest.raises(ModelError, match="twice"):
        load_nnunet(copy, device="cpu")


def test_folds_of_different_trainings_are_refused(tmp_path: Path) -> None:
    folder = nnunet_models.make_nnunet_model(tmp_path, folds=(0, 1), **COARSE)  # type: ignore[arg-type]
    file = folder / "fold_1" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    torch.save({**content, "inference_allowed_mirroring_axes": (0, 1)}, file)
    with pytest.raises(ModelError, match="mirrored along"):
        load_nnunet(folder, device="cpu")


def test_nothing_of_another_model_or_dataset_is_replaced(model: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"name": "mine"}')
    with pytest.raises(InputError, match="belongs to another model or dataset"):
        copy_description(model, tmp_path)
    assert (tmp_path / "dataset.json").read_text() == '{"name": "mine"}'
    copy_description(model, tmp_path.parent / f"{tmp_path.name}-new")


def test_what_is_no_option_is_said_in_a_line(model: Path, tmp_path: Path) -> None:
    class Context:
        """What the program hands to a command."""

        def __init__(self, *words: object) -> None:
            self.args = [str(word) for word in words]

    (tmp_path / "images").mkdir()
    write_nifti(tmp_path / "images" / "a_0000.nii.gz", image())
    (tmp_path / "file").write_text("x")
    from AtlasSegmentLib.errors import StorageError

    with pytest.raises(StorageError):
        predict_command(Context("-i", tmp_path / "images", "-o", tmp_path / "file", "-m", model))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="--jobs 0"):
        predict_command(Context("-i", tmp_path / "images", "-o", tmp_path / "o", "-m", model, "--jobs", 0))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one part"):
        part_of(0, 0)
    with pytest.raises(InputError, match="never end"):
        InferenceSettings(step=1e-9)
    with pytest.raises(ModelError, match="file_ending"):
        load_nnunet(edited(model, tmp_path / "copy", "dataset.json", file_ending="**"), device="cpu")


def test_a_first_stage_that_is_no_label_map_of_it_is_refused(tmp_path: Path) -> None:
    nnunet_models.make_nnunet_model(tmp_path / "m", configuration="3d_lowres", **COARSE)  # type: ignore[arg-type]
    second = nnunet_models.make_nnunet_model(tmp_path / "m", configuration="3d_cascade_fullres", **COARSE)  # type: ignore[arg-type]
    (tmp_path / "images").mkdir()
    (tmp_path / "before").mkdir()
    write_nifti(tmp_path / "images" / "a_0000.nii.gz", image())
    from AtlasSegmentLib.nnunet_predict import PredictRequest, predict_image

    def predicted(values: Any) -> Any:
        write_nifti(tmp_path / "before" / "a.nii.gz", image().with_array(values))
        source, target = tmp_path / "images" / "a_0000.nii.gz", tmp_path / "a.nii.gz"
        return predict_image(PredictRequest(source, target, second, device="cpu", first_stage=tmp_path / "before" / "a.nii.gz"))

    with pytest.raises(InputError, match=r"values 99"):
        predicted(np.full(image().shape, 99, np.uint8))
    with pytest.raises(InputError, match="fractions"):
        predicted(np.full(image().shape, 0.5, np.float32))
    assert not (tmp_path / "a.nii.gz").exists()
    assert predicted(np.ones(image().shape, np.uint8))
    assert read_nifti(tmp_path / "a.nii.gz").shape == image().shape


def test_an_image_whose_name_has_a_line_break_is_an_image(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a\nb_0000.nii.gz", image())
    assert [case for case, _ in find_images(tmp_path, ".nii.gz")] == ["a\nb"]


def test_a_folder_of_images_is_told_how_it_is_given(tmp_path: Path) -> None:
    from AtlasSegmentLib.volume_io import read_volume

    write_nifti(tmp_path / "a.nii.gz", image())
    with pytest.raises(InputError, match=r"FOLDER/\*\.nii\.gz"):
        read_volume(tmp_path)


def test_info_tells_of_every_kind_of_model(model: Path) -> None:
    done = run_program(["info", str(model), "--json"], model.parent)
    assert json.loads(done.out)["items"][0]["model"] == "Dataset111_Tiny-3d_fullres"


def test_a_converted_checkpoint_may_be_read_by_whom_the_original_may(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint_final.pth"
    shutil.copy(model / "fold_0" / "checkpoint_final.pth", file)
    file.chmod(0o644)
    assert convert_checkpoint(file).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["model/CODE/__torch__.PY", "model/code/a/b/c.py"])
def test_code_is_found_under_every_name_that_torch_finds(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.ts", "w") as archive:
        archive.writestr(name, "def f(x):\n  return torch.save(x, 'a')\n")
    with pytest.raises(ModelError, match=r"calls torch\.save"):
        require_harmless(tmp_path / "model.ts")


def test_what_cannot_be_looked_at_is_not_left_to_torch(tmp_path: Path) -> None:
    (tmp_path / "model.ts").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="is not a network that Torch can load"):
        require_harmless(tmp_path / "model.ts")
