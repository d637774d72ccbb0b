"""The weights of a trained network as safetensors, and as the beginning of another training, also of other organs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.errors import AtlasError, InputError, ModelError
from AtlasSegmentLib.files import read_json, write_bytes
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.model_manifest import FILE
from AtlasSegmentLib.train_network import NetworkRule
from AtlasSegmentLib.train_organs import Targets

if TYPE_CHECKING:
    from torch import nn

SAFETENSORS = "model.safetensors"
_SAME = ("architecture", "width", "depth")


def write_weights(network: nn.Module, path: Path, rule: NetworkRule) -> None:
    """Write weights as safetensors, with what the network is in its header. Raises ModelError and StorageError."""
    _require_safetensors(path)
    from safetensors.torch import save

    # Copies: MONAI's DynUNet has each of its parts under two names, which safetensors does not write otherwise.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    write_bytes(path, save(tensors, metadata={"network": json.dumps(asdict(rule), sort_keys=True)}))


def _require_safetensors(path: Path) -> None:
    try:
        import safetensors  # noqa: F401
    except ImportError as error:
        message = f"{path}: needs the package safetensors, which is not installed."
        raise ModelError(message, 'Run: pip install "slicer-atlas-annotator[torch]".') from error


def pretrained_weights(folder: Path, rule: NetworkRule, targets: Targets, network: nn.Module) -> dict[str, Any]:
    """Return weights for a network from a model folder that `atlas train` wrote.

    Organs that both have keep what was learned of them, wherever their channels are; new organs begin with the network's own weights.

    Args:
        folder: The model folder.
        rule: What the network was built from.
        targets: What it shall learn.
        network: The network, with fresh weights.

    Raises:
        ModelError: The folder has no such weights.
        InputError: They belong to a network of another width or depth.
    """
    weights, made, labels = _read(folder)
    for name in _SAME:
        if made.get(name) != getattr(rule, name):
            message = f"{folder}: its network has the {name} {made.get(name)}, the one to train {getattr(rule, name)}."
            raise InputError(message, f"Give --{name} {made.get(name)}.")
    channels = {structure_for(name).name: value for value, name in labels.items() if value}
    sources = [0, *(channels.get(name, -1) for name in targets.names)]
    result: dict[str, Any] = {}
    for name, own in network.state_dict().items():
        old, by_organ = weights.get(name), name in getattr(network, "by_channel", {})
        if old is None and by_organ:  # the other training had no deep supervision
            result[name] = own
            continue
        if old is None or old.shape[by_organ:] != own.shape[by_organ:]:
            message = f"{folder}: {SAFETENSORS} has no {name} of this network."
            raise ModelError(message, "Give --pretrained a model folder that `atlas train` wrote, as it wrote it.")
        result[name] = _by_organ(old, own.clone(), sources) if by_organ else old
    return result


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[int, str]]:
    """Return weights, network and labels of a model folder."""
    _require_safetensors(folder)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content = read_json(folder / FILE)
        made, labels = content["training"]["network"], {int(value): str(name) for value, name in content["labels"].items()}
        return load_file(folder / str(content["training"]["weights"])), made, labels
    except (OSError, SafetensorError, AtlasError, KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{folder}: holds no weights of `atlas train` ({type(error).__name__})."
        raise ModelError(message, "Give --pretrained a model folder that `atlas train` wrote.") from error


def _by_organ(old: Any, own: Any, sources: list[int]) -> Any:
    """Return the last layer's weights: those of known organs from `old`, a number of rows for each channel."""
    rows = len(own) // len(sources)
    for channel, source in enumerate(sources):
        if 0 <= source < len(old) // rows:
            own[channel * rows : (channel + 1) * rows] = old[source * rows : (source + 1) * rows]
    return own
