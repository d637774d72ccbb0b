"""`atlas run --device`: where the models run is chosen, recorded, and never silently another."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest

from run_program import Done, listing, run_program
from tiny_inputs import TinyInputs, make_inputs


def run(inputs: TinyInputs, folder: Path, device: str) -> Done:
    arguments = ["run", str(inputs.ct), *inputs.model_options(), "--roi", str(inputs.roi), "--out", "out", "--device", device]
    return run_program(arguments, folder)


def test_the_device_in_use_is_recorded_for_every_model(tmp_path: Path) -> None:
    assert run(make_inputs(tmp_path / "in"), tmp_path, "cpu").code == 0
    records = sorted((tmp_path / "out/cases").glob("*/backbones/*/run.json"))
    assert len(records) == 2
    for path in records:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
        assert results["device"] == "cpu"
        assert results["engine"].endswith("CPUExecutionProvider")


@pytest.mark.parametrize("device", ["gpu", "GPU", "cuda"])
def test_a_device_that_is_not_there_is_refused_with_nothing_written(tmp_path: Path, device: str) -> None:
    if device == "gpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("needs the CPU build of ONNX Runtime")
    inputs = make_inputs(tmp_path / "in")
    before = listing(tmp_path)
    done = run(inputs, tmp_path, device)
    assert done.code == 2
    assert ("a GPU was asked for" if device == "gpu" else "is no device") in done.err
    assert listing(tmp_path) == before
