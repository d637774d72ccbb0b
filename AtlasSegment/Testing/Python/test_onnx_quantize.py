"""A smaller copy of an ONNX model: what it costs is measured, the original stays, and nothing is left where it cannot be made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from atlas_phantoms import FIT, ORGANS, ct, files_below, make_model
from AtlasSegmentLib.commands_model_export import beside, quantize_lines
from AtlasSegmentLib.errors import InputError, ModelError
from AtlasSegmentLib.markups import read_roi
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.onnx_network import OnnxNetwork
from AtlasSegmentLib.onnx_quantize import Mode, Quantized, Sample, quantize
from AtlasSegmentLib.parity import MaskParity, Recorder
from AtlasSegmentLib.volume_io import read_volume
from engine_networks import images, onnx_convolution
from nnunet_models import make_nnunet_model
from run_program import run_program


@pytest.mark.parametrize(("mode", "least"), [("fp16", 0.95), ("int8-dynamic", 0.9), ("int8-static", 0.9)])
def test_a_smaller_copy_runs_and_its_cost_is_measured(tmp_path: Path, mode: Mode, least: float) -> None:
    source = make_model(tmp_path / "m", "m", measured={"dice": {"liver": 0.9}})
    before = files_below(source)
    done = quantize(source, tmp_path / "out", mode, [Sample(ct())], threads=1)
    assert files_below(source) == before
    assert load_model(done.folder).spec.name == f"m-{mode}"
    assert "measured" not in json.loads((done.folder / "model.json").read_text())  # that was of other weights
    (found,) = done.cts
    assert set(found.dice) == set(ORGANS)
    assert all(value is not None and least <= value <= 1 for value in found.dice.values())
    assert found.worst is not None
    assert found.worst[1] == min(value for value in found.dice.values() if value is not None)
    assert done.time_ratio is not None
    assert OnnxNetwork(done.folder / "model.onnx").facts["quantized"] == mode
    report = json.loads((done.folder / "quantize.json").read_text())
    assert (report["mode"], report["cts"][0]["dice"], report["time_ratio"]) == (mode, found.dice, done.time_ratio)


def test_the_masks_compared_are_those_of_the_two_models(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", "m")
    done = quantize(source, tmp_path / "out", "int8-dynamic", [Sample(ct())], threads=1)
    table, grid = load_model(source).spec.table.labels, ct().grid
    from AtlasSegmentLib.inference_settings import PRESETS

    one, other = (load_model(folder, 1).segment(ct(), None, PRESETS["balanced"]).masks(grid) for folder in (source, done.folder))
    different = np.zeros(grid.shape, bool)
    for value, name in table.items():
        a, b = one[value].dense() > 0, other[value].dense() > 0
        assert done.cts[0].dice[name] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        different |= a != b
    assert done.cts[0].equal_voxels == pytest.approx(1 - different.mean())


def test_float16_halves_a_real_network_at_hardly_any_cost(shared_data: Path, shared_models: list[Path], tmp_path: Path) -> None:
    case = shared_data / "data" / "torso-3mm"
    sample = Sample(read_volume(case / "ct.nii.gz"), read_roi(case / "abdomen_roi.mrk.json"))
    done = quantize(shared_models[0], tmp_path / "out", "fp16", [sample])
    assert done.size_ratio == pytest.approx(0.5, abs=0.02)
    assert done.cts[0].equal_voxels > 0.9999
    found = [value for value in done.cts[0].dice.values() if value is not None]
    assert len(found) >= 7
    assert min(found) > 0.99


def test_folds_of_an_nnunet_export_are_made_smaller_each(tmp_path: Path) -> None:
    model = make_nnunet_model(tmp_path / "results", folds=(0, 1), spacing=(9.0, 7.0, 7.0))
    assert run_program(["model", "export-onnx", str(model), "--out", str(tmp_path / "onnx"), "--threads", "1"], tmp_path).code == 0
    done = quantize(tmp_path / "onnx", tmp_path / "small", "int8-static", [Sample(ct())], threads=1)
    assert sorted(path.name for path in done.folder.iterdir()) == [
        *("atlas.json", "dataset.json", "export.json", "fold_0.onnx", "fold_1.onnx", "plans.json", "quantize.json"),
    ]
    assert OnnxNetwork(done.folder / "fold_1.onnx").facts["fold"] == "1"
    weights = onnx.load(done.folder / "fold_1.onnx").graph.initializer
    assert sum(entry.data_type == onnx.TensorProto.INT8 for entry in weights if entry.name.endswith("weight_quantized")) >= 5


def test_the_command_says_what_it_costs(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", "m")
    done = run_program(["model", "quantize", str(source), "--mode", "fp16"], tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "add --ct FILE for both" in done.out
    assert (tmp_path / "m-fp16" / "quantize.json").is_file()
    done = run_program(["model", "quantize", str(source), "--mode", "int4"], tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "Choose one of fp16, int8-dynamic, int8-static." in done.err


def test_slower_is_said_as_plainly_as_faster() -> None:
    dice = {"liver": 0.95, "spleen": 1.0, "duodenum": None}
    done = Quantized(Path("out"), "int8-static", 0.26, 3.4, (MaskParity("ct.nii.gz", 0.997, dice),))
    assert quantize_lines(done) == [
        "out: int8-static, 26% of the size",
        "Slower on this CPU: a pass takes 3.4 times as long as before.",
        "ct.nii.gz: 99.7000% of the voxels equal; of 2 structures found, Dice below 0.9999: liver 0.9500",
    ]
    assert quantize_lines(replace(done, time_ratio=0.5))[1] == "Faster on this CPU: a pass takes 50% of the time before."


def test_what_cannot_be_made_smaller_leaves_nothing_behind(tmp_path: Path) -> None:
    source, out = make_model(tmp_path / "m", "m", input=FIT), tmp_path / "out"
    with pytest.raises(InputError, match="int8-static is calibrated on a CT, and none is given"):
        quantize(source, out, "int8-static")
    with pytest.raises(InputError, match="needs a region of interest"):
        quantize(source, out, "fp16", [Sample(ct())])
    (source / "model.onnx").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match=r"model\.onnx: SHA-256 is"):
        quantize(source, out, "fp16")
    with pytest.raises(ModelError, match="is no folder with an ONNX model"):
        quantize(tmp_path, out, "fp16")
    with pytest.raises(ModelError, match="is run by Torch") as caught:
        quantize(make_nnunet_model(tmp_path / "results"), out, "fp16")
    assert "atlas model export-onnx" in caught.value.remedy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "results"]


def test_the_recorder_keeps_the_patches_that_hold_most(tmp_path: Path) -> None:
    recorder = Recorder(OnnxNetwork(onnx_convolution(tmp_path / "m.onnx", [2])), 2)
    patches: Float32 = images(4, size=4) * np.array([1, 4, 2, 3], np.float32).reshape(4, 1, 1, 1, 1)
    np.testing.assert_array_equal(recorder.run(patches), 2 * patches)
    np.testing.assert_array_equal(np.concatenate(recorder.patches), patches[[1, 3]])


def test_the_name_of_the_new_folder_is_not_one_of_nnunets(tmp_path: Path) -> None:
    assert beside(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", "onnx").name == "nnUNetTrainer-nnUNetPlans-3d_fullres-onnx"
