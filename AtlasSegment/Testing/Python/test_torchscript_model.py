"""A TorchScript file with a model.json gives what the same network as ONNX gives."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import FIT, ORGAN_HU, SOFTNESS, TISSUE_HU, WINDOWS, ct, make_model, roi, softmax_network
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.inference_settings import PRESETS
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.model_kinds import describe_model

torch = pytest.importorskip("torch")
MEANS = (TISSUE_HU, *ORGAN_HU)


class Nearest(torch.nn.Module):  # type: ignore[misc]
    """Logits of the nearest mean HU."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(MEANS).reshape(1, -1, 1, 1, 1))

    def forward(self, image: Any) -> Any:
        return (2 * self.means * image - self.means**2) / SOFTNESS


def script_bytes(module: Any, path: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(module, torch.zeros(1, 1, 4, 4, 4)).save(str(path))
    return path.read_bytes()


def make_script(folder: Path, module: Any, **changes: Any) -> Path:
    folder.parent.mkdir(exist_ok=True)
    content = script_bytes(module, folder.parent / "script.ts")
    made = make_model(folder, "script", content, engine="torchscript", file="model.ts", **changes)
    (made / "model.onnx").rename(made / "model.ts")
    return made


@pytest.mark.parametrize("shown", [WINDOWS, FIT])
def test_masks_are_those_of_the_same_network_as_onnx(tmp_path: Path, shown: dict[str, Any]) -> None:
    script = load_model(make_script(tmp_path / "script", Nearest(), input=shown), device="cpu")
    onnx = load_model(make_model(tmp_path / "onnx", "onnx", softmax_network(MEANS, blur=False), input=shown), device="cpu")
    image = ct("LPS")
    masks = [model.segment(image, roi(), PRESETS["balanced"]).masks(image.grid) for model in (script, onnx)]
    for value in (1, 2, 3):
        assert masks[0][value].dense().any()
        np.testing.assert_array_equal(masks[0][value].dense(), masks[1][value].dense())
    assert script.engine.startswith("torch ")


def test_the_list_of_models_knows_it(tmp_path: Path) -> None:
    facts = describe_model(make_script(tmp_path / "script", Nearest()), thorough=True)
    assert (facts.kind, facts.name, facts.problem) == ("torchscript", "script", "")


def test_a_network_with_other_channels_than_its_labels_is_told(tmp_path: Path) -> None:
    model = load_model(make_script(tmp_path / "script", torch.nn.Conv3d(1, 7, 1)), device="cpu")
    with pytest.raises(ModelError, match=r"gives \(1, 7, 14, 12, 10\), model.json promises \(1, 4, 14, 12, 10\)"):
        model.segment(ct(), "whole", PRESETS["best"])


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "weights.pt")
    made = make_model(tmp_path / "m", "m", (tmp_path / "weights.pt").read_bytes(), engine="torchscript")
    with pytest.raises(ModelError, match="TorchScript"):
        load_model(made, device="cpu")
