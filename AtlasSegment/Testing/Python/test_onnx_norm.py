"""Instance norms in ONNX files are as exact as Torch's, however many voxels a map has, and become plain ones again for float16."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from AtlasSegmentLib.onnx_files import to_float16
from AtlasSegmentLib.onnx_norm import with_exact_norms, with_plain_norms


def exported(network: nn.Module, image: torch.Tensor) -> Any:
    """Return a network as onnx.ModelProto."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["input"], "output_names": ["output"]}
        torch.onnx.export(network, (image,), file, dynamo=False, opset_version=17, **names)  # type: ignore[arg-type]
    return onnx.load_from_string(file.getvalue())


def run(model: Any, image: torch.Tensor) -> Any:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": image.numpy()})[0]


def kinds(model: Any) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(("axes", "shape"), [(3, (1, 2, 128, 96, 96)), (2, (2, 3, 40, 30))])
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_of_many_voxels_is_as_exact_as_torchs(axes: int, shape: tuple[int, ...], affine: bool) -> None:
    torch.manual_seed(0)
    kind = nn.InstanceNorm3d if axes == 3 else nn.InstanceNorm2d
    network = kind(shape[1], affine=affine, eps=1e-3).eval()
    if affine:
        nn.init.uniform_(network.weight, 0.5, 2)
        nn.init.uniform_(network.bias, -1, 1)
    image = torch.randn(shape) * 2 + 3
    model = with_exact_norms(exported(network, image))
    assert "InstanceNormalization" not in kinds(model)
    with torch.no_grad():
        expected = network(image).numpy()
    np.testing.assert_allclose(run(model, image), expected, atol=4e-6)


def test_plain_norms_come_back_for_float16() -> None:
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4, affine=True), nn.LeakyReLU(0.01), nn.InstanceNorm3d(4)
    ).eval()
    image = torch.randn(1, 1, 12, 12, 12)
    before = exported(network, image)
    expected = run(before, image)
    model = with_plain_norms(with_exact_norms(before))
    assert kinds(model) == {"Conv", "InstanceNormalization", "LeakyRelu"} | (kinds(model) & {"Constant", "Identity"})
    np.testing.assert_array_equal(run(model, image), expected)
    half = to_float16(with_exact_norms(exported(network, image * 300)))
    assert "InstanceNormalization" in kinds(half)
    assert np.abs(run(half, image) - expected).max() < 0.05


def test_a_group_norm_is_left_as_it_is() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 1), nn.GroupNorm(2, 4)).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    model = with_exact_norms(exported(network, image))
    assert "InstanceNormalization" in kinds(model)
    with torch.no_grad():
        np.testing.assert_allclose(run(model, image), network(image).numpy(), atol=1e-5)
