"""Networks of MONAI that bundles may name: a short list, built with plain arguments alone."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.monai_config import Component, problem
from AtlasSegmentLib.weights_match import require_match

if TYPE_CHECKING:
    from torch import Tensor, nn

NETWORKS = (
    *("AttentionUnet", "BasicUNet", "DynUNet", "SegResNet", "SegResNetDS", "SwinUNETR"),
    *("UNet", "UNETR", "VNet"),
)
"""Classes of monai.networks.nets that need nothing but numbers and names."""

_MODULE = re.compile(r"(monai\.networks\.nets\.(\w+\.)?)?(?P<name>\w+)")
_OBSOLETE = {"SwinUNETR": {"img_size"}, "SegResNet": {"norm_name"}}
"""Arguments of earlier versions that say nothing that the weights do not say."""
_LARGEST_ARGUMENT = 65536
_EXTRA = 'Run: pip install "slicer-atlas-annotator[monai]".'
_ELSE = "Put the bundle's models/model.ts (TorchScript) beside its configs, or export the network to TorchScript with MONAI itself."


def is_listed(part: Component) -> bool:
    """Tell whether a network is on the list."""
    return _name(part) in NETWORKS


def _name(part: Component) -> str:
    match = _MODULE.fullmatch(part.target)
    return match["name"] if match else ""


def build_network(part: Component) -> nn.Module:
    """Return the network that a config describes, without weights.

    Raises:
        ModelError: It is not on the list, its arguments are no plain values or do not fit, or MONAI is not installed.
    """
    if not is_listed(part):
        raise problem(part, f"this network is not supported; supported: {', '.join(NETWORKS)}.", _ELSE)
    try:
        import torch
        from monai.networks import nets
    except ImportError as error:
        message = f"{part.config.path}: needs the package {error.name or 'monai'}, which is not installed."
        raise ModelError(message, _EXTRA) from error
    kind = getattr(nets, _name(part))
    arguments = _arguments(part, inspect.signature(kind))
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # arguments that MONAI will rename; the weights decide whether they fit
            network: nn.Module = kind(**arguments)
    except (TypeError, ValueError, AssertionError, LookupError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise problem(part, f"it cannot be built with these arguments ({error!s:.200}).", "Mend the config, or copy it again.") from error
    return network.eval().requires_grad_(False)


def _arguments(part: Component, signature: inspect.Signature) -> dict[str, Any]:
    arguments = {}
    for name in part.names():
        if name in _OBSOLETE.get(_name(part), ()) and name not in signature.parameters:
            continue
        value = part.argument(name)
        if name not in signature.parameters:
            raise problem(part, f"the installed MONAI knows no argument {name!r} of it.", "Install the MONAI that metadata.json names.")
        if not _is_plain(value):
            raise problem(part, f"{name} = {value!r:.80} is no plain value.", _ELSE)
        arguments[name] = value
    if arguments.get("spatial_dims", 3) != 3:
        raise problem(part, f"spatial_dims = {arguments['spatial_dims']!r}: only networks for volumes are supported.", _ELSE)
    return arguments


def _is_plain(value: Any) -> bool:
    """Tell whether a value holds texts and numbers of sensible size alone."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, str | bool) or (isinstance(value, int | float) and abs(value) <= _LARGEST_ARGUMENT)


def load_by_name(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> nn.Module:
    """Copy weights into a network by name.

    Args:
        network: Changed in place.
        weights: Name to tensor.
        path: Their file, for messages.

    Raises:
        ModelError: Weights are missing, left over or of another shape; the network stays as it was.
    """
    require_match(network.state_dict(), weights, path, "", "Give the weights and the description of one training.")
    network.load_state_dict(dict(weights), strict=True)
    return network
