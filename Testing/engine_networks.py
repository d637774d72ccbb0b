"""Small real networks for the tests of both engines: a U-Net of nnU-Net's kind, TorchScript files, ONNX files of one convolution."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn


def images(count: int = 2, channels: int = 1, size: int = 16, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return noise, (count, channels, size, size, size)."""
    return np.random.default_rng(seed).normal(0, 1, (count, channels, size, size, size)).astype(np.float32)


def unet(channels: int = 1, classes: int = 5, dimensions: int = 3) -> nn.Module:
    """Return a U-Net of nnU-Net's kind with two halvings, the same weights each time."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    torch.set_num_threads(1)  # two tests side by side would wait for each other's threads
    torch.manual_seed(0)
    convolution, normalization = (nn.Conv3d, nn.InstanceNorm3d) if dimensions == 3 else (nn.Conv2d, nn.InstanceNorm2d)
    module: nn.Module = PlainConvUNet(
        channels,
        3,
        (4, 8, 8),
        convolution,
        3,
        (1, 2, 2),
        2,
        classes,
        2,
        conv_bias=True,
        norm_op=normalization,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    return module.eval()


def scripted(path: Path, module: nn.Module) -> Path:
    """Write a network of one channel as TorchScript."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer
        torch.jit.trace(module.eval(), torch.zeros(1, 1, 8, 8, 8), check_trace=False).save(str(path))
    return path


def onnx_convolution(
    path: Path, weights: Sequence[float], shape: Sequence[int | str] = ("n", 1, "x", "y", "z"), *, half: bool = False
) -> Path:
    """Write an ONNX network whose channel c is the image times `weights[c]`.

    Args:
        path: The file.
        weights: One for each output channel.
        shape: Of the input; a name stands for any number.
        half: Input, weights and output in float16.
    """
    from onnx import TensorProto, helper, numpy_helper

    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    slopes = np.asarray(weights, np.float16 if half else np.float32).reshape(-1, *[1] * (len(shape) - 1))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weights"], ["output"])],
        "one",
        [helper.make_tensor_value_info("input", kind, list(shape))],
        [helper.make_tensor_value_info("output", kind, [shape[0], len(weights), *shape[2:]])],
        [numpy_helper.from_array(np.repeat(slopes, shape[1] if isinstance(shape[1], int) else 1, axis=1), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
