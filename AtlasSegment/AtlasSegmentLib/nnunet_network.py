"""The network of an nnU-Net plan, built from parts on a list, and a checkpoint's weights put into it by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import COPY_AGAIN
from AtlasSegmentLib.nnunet_architecture import NETWORKS, Architecture
from AtlasSegmentLib.weights_match import require_match

if TYPE_CHECKING:
    from torch import Tensor, nn

_PARTS = {
    "conv_op": ("Conv2d", "Conv3d"),
    "norm_op": ("InstanceNorm2d", "InstanceNorm3d", "BatchNorm2d", "BatchNorm3d"),
    "dropout_op": ("Dropout", "Dropout2d", "Dropout3d"),
    "nonlin": ("LeakyReLU", "ReLU", "ELU", "GELU", "SiLU", "PReLU", "Mish"),
    "block": ("BasicBlockD", "BottleneckD"),
}
_TORCH = re.compile(r"torch\.nn\.(modules\.\w+\.)?")
_BLOCKS = "dynamic_network_architectures.building_blocks.residual."
_TWICE = re.compile(r"(^|\.)all_modules\.|^decoder\.encoder\.")
"""Names under which nnU-Net's networks list parameters a second time."""

_LOWER_HEAD = re.compile(r"^decoder\.seg_layers\.(\d+)\.")
_EXTRA = "pip install 'slicer-atlas-annotator[torch]'"


def build_network(architecture: Architecture, channels_in: int, heads: int) -> nn.Module:
    """Return the network without weights (its parameters take no memory); `load_weights` makes it ready to run.

    Deep supervision is off: the network gives the logits of full resolution alone, (N, heads, *patch).

    Args:
        architecture: As plans.json describes it.
        channels_in: Number of input channels.
        heads: Number of output channels.

    Raises:
        ModelError: A class or argument is not on the list of what is built, or a package is missing.
    """
    try:
        import torch
        from dynamic_network_architectures.architectures import unet
    except ImportError as error:
        message = f"This model needs the package {error.name or 'torch'}, which is not installed."
        raise ModelError(message, f"Install it: {_EXTRA}") from error
    if architecture.kind not in NETWORKS:
        message = f"The network {architecture.class_name!r} is not supported; supported: {', '.join(NETWORKS)}."
        raise ModelError(message, "Run this model with nnU-Net itself.")
    arguments = _arguments(architecture)
    try:
        with torch.device("meta"):
            network: nn.Module = getattr(unet, architecture.kind)(input_channels=channels_in, num_classes=heads, **arguments)
    except (TypeError, ValueError, AssertionError, LookupError, AttributeError, RuntimeError) as error:
        message = f"The network {architecture.kind} cannot be built as plans.json describes it ({error!s:.200})."
        raise ModelError(message, COPY_AGAIN) from error
    _drop_lower_heads(network)
    return network.eval().requires_grad_(False)


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path | str) -> nn.Module:
    """Copy weights into a network by name, as float32 on the CPU; may be called again with those of another fold.

    Names under which nnU-Net saves parameters twice, and the heads of deep supervision, are passed over.

    Args:
        network: From `build_network`; changed in place.
        weights: Of a checkpoint, without prefixes.
        path: The checkpoint, for messages.

    Returns:
        The network, in evaluation mode.

    Raises:
        ModelError: Weights are missing, left over or of another shape; the network stays as it was.
    """
    wanted = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    given = {name: tensor for name, tensor in weights.items() if not _TWICE.search(name) and not _is_lower_head(name, wanted)}
    require_match(wanted, given, path, "plans.json and dataset.json", "Give the checkpoint, plans.json and dataset.json of one training.")
    for prefix, module in network.named_modules():
        for own in (module._parameters, module._buffers):
            for name, old in own.items():
                if old is not None:
                    own[name] = _copy(given[f"{prefix}.{name}" if prefix else name], old)
    return network


def single_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights without the names under which nnU-Net saves parameters a second time."""
    return {name: tensor for name, tensor in weights.items() if not _TWICE.search(name)}


def _copy(tensor: Tensor, old: Tensor) -> Any:
    import torch

    copied = tensor.detach().to(device="cpu", dtype=torch.float32 if old.is_floating_point() else old.dtype, copy=True).contiguous()
    return torch.nn.Parameter(copied, requires_grad=False) if isinstance(old, torch.nn.Parameter) else copied


def _drop_lower_heads(network: nn.Module) -> None:
    """Replace the heads of deep supervision, which never run, so that neither weights nor exports carry them."""
    import torch

    decoder: Any = network.decoder
    for number in range(len(decoder.seg_layers) - 1):
        decoder.seg_layers[number] = torch.nn.Identity()


def _is_lower_head(name: str, wanted: Collection[str]) -> bool:
    """Tell whether a name is of a head below the last one that the network has."""
    match = _LOWER_HEAD.match(name)
    last = max((int(found[1]) for known in wanted if (found := _LOWER_HEAD.match(known))), default=-1)
    return match is not None and int(match[1]) < last


def _arguments(architecture: Architecture) -> dict[str, Any]:
    """Return the arguments with classes in place of their names, and deep supervision off."""
    arguments = {key: value for key, value in architecture.arguments.items() if key != "deep_supervision"}
    for key in architecture.requires_import:
        if arguments.get(key) is not None:
            arguments[key] = _part(key, arguments[key])
    left = [key for key in _PARTS if isinstance(arguments.get(key), str)]
    if left:  # the plan forgets to say that this is the name of a class
        arguments |= {key: _part(key, arguments[key]) for key in left}
    return {**arguments, "deep_supervision": False}


def _part(key: str, name: Any) -> Callable[..., Any]:
    """Return the class of a dotted name; nothing is imported that is not on the list.

    Raises:
        ModelError: It is not on the list.
    """
    import torch
    from dynamic_network_architectures.building_blocks import residual

    known = _PARTS.get(key, ())
    module, _, own = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    place: Any = residual if module + "." == _BLOCKS else torch.nn if _TORCH.fullmatch(module + ".") else None
    if place is None or own not in known or (key == "block") != (place is residual):
        message = f"plans.json: {key} {name!r:.100} is not supported; supported: {', '.join(known) or 'none'}."
        raise ModelError(message, "Run this model with nnU-Net itself, or export its network to ONNX or TorchScript there.")
    part: Callable[..., Any] = getattr(place, own)
    return part
