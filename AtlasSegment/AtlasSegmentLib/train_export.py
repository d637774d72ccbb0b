"""A trained network as an atlas model folder: model.json and model.onnx for everybody, model.safetensors for fine-tuning."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import atomic_path, make_folder, sha256_of, storage_errors, write_json
from AtlasSegmentLib.inference_settings import Precision
from AtlasSegmentLib.model_manifest import FILE, FORMAT, ModelInput, ModelOutput, manifest_of
from AtlasSegmentLib.onnx_export import OPSET
from AtlasSegmentLib.onnx_files import read_onnx, require_onnx, to_float16, write_onnx
from AtlasSegmentLib.onnx_network import OnnxNetwork
from AtlasSegmentLib.onnx_norm import with_exact_norms
from AtlasSegmentLib.parity import SAME, PatchParity, compare_networks, random_patches
from AtlasSegmentLib.torch_network import TorchNetwork
from AtlasSegmentLib.train_input import INTENSITY
from AtlasSegmentLib.train_network import NetworkRule
from AtlasSegmentLib.train_options import TrainOptions
from AtlasSegmentLib.train_weights import SAFETENSORS, write_weights

if TYPE_CHECKING:
    from torch import nn

ONNX = "model.onnx"
_HALF_SAME = 0.995  # share of voxels on random input for which float16 must decide the same
_OVERLAP = 0.25


def export_network(network: nn.Module, folder: Path, rule: NetworkRule, patch: int, precision: Precision) -> PatchParity:
    """Write model.safetensors and model.onnx; what is there already is replaced, each file whole.

    Args:
        network: On the CPU, in evaluation mode.
        folder: The model folder.
        rule: What the network was built from.
        patch: Voxels of a window along each axis.
        precision: Of the ONNX file.

    Returns:
        How far ONNX Runtime and Torch agree on random input.

    Raises:
        ModelError: The packages that write or run ONNX are missing, or the two decide otherwise.
        StorageError: A file cannot be written.
    """
    require_onnx(folder)
    with storage_errors(folder):
        make_folder(folder)
    write_weights(network, folder / SAFETENSORS, rule)
    with atomic_path(folder / ONNX, ".onnx") as temporary:
        _write_onnx(network, temporary, patch, precision)
        return _checked(network, temporary, patch, precision)


def write_manifest(folder: Path, options: TrainOptions, card: dict[str, Any]) -> None:
    """Write model.json beside the network, with the card in it.

    Args:
        folder: The model folder.
        options: What was asked for.
        card: Data, recipe, figures; JSON.

    Raises:
        ModelError: It would not describe a model.
        StorageError: It cannot be written.
    """
    spacing, size = (options.spacing,) * 3, (options.patches.size,) * 3
    rules = ModelInput(spacing=spacing, patch=size, overlap=_OVERLAP, intensity=INTENSITY)
    content = {
        "format": FORMAT,
        "name": folder.absolute().name,
        **{name: text for name, text in options.texts.items() if name != "purpose" and text},
        "engine": "onnx",
        "file": ONNX,
        "sha256": sha256_of(folder / ONNX),
        "input": rules.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        "output": ModelOutput().model_dump(mode="json", exclude_none=True),
        "labels": {str(value): name for value, name in options.targets.labels().items()},
        "training": {"network": asdict(options.network), "weights": SAFETENSORS},
        "card": card,
    }
    manifest_of(content, folder / FILE)
    write_json(folder / FILE, content)


def _write_onnx(network: nn.Module, path: Path, patch: int, precision: Precision) -> None:
    """Write the network by Torch's older exporter, which needs no further package; the number of patches stays free."""
    import torch

    free = {"input": {0: "batch"}, "output": {0: "batch"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of being the older exporter: the result is compared
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, patch, patch, patch),),
            str(path),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
    model = with_exact_norms(read_onnx(path))
    write_onnx(to_float16(model) if precision == "float16" else model, path, {"precision": precision})


def _checked(network: nn.Module, path: Path, patch: int, precision: Precision) -> PatchParity:
    parity = compare_networks(
        TorchNetwork(network, "cpu", 0), OnnxNetwork(path, 0, "cpu"), list(random_patches((1, patch, patch, patch), 2))
    )
    least = SAME if precision == "float32" else _HALF_SAME
    if parity.same_class < least:
        message = f"{path.parent}: the ONNX network decides otherwise than Torch for {1 - parity.same_class:.2%} of the voxels."
        raise ModelError(message, "Use --onnx-precision fp32, or train longer: weights this large do not survive the conversion.")
    return parity
