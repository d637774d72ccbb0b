"""Dropout switched on in networks that otherwise stay in evaluation: what MC dropout samples from.

Dropout at prediction time makes each run of a network a sample of the networks that its training has averaged (Gal & Ghahramani,
"Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep Learning", ICML 2016). Only dropout layers are switched;
normalization keeps its statistics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.network import Network

if TYPE_CHECKING:
    from torch import nn

_SCRIPTED = frozenset({"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"})


def dropout_layers(networks: Iterable[Network]) -> list[nn.Module]:
    """Return the dropout layers (torch.nn.Dropout and its kin) that drop something when they are switched on.

    Networks of ONNX files have none: they are folded away when such a file is written. TorchScript files have those that were scripted;
    traced and frozen ones are fixed as they were then.
    """
    from AtlasSegmentLib.torch_network import TorchNetwork

    modules = [network.module for network in networks if isinstance(network, TorchNetwork)]
    return [layer for module in modules for layer in module.modules() if _drops(layer)]


def _drops(layer: Any) -> bool:
    import torch
    from torch.nn.modules.dropout import _DropoutNd

    if isinstance(layer, torch.jit.ScriptModule):
        # the share is a constant that only scripted layers keep; a traced layer's code has "off" written into it
        return layer.original_name in _SCRIPTED and getattr(layer, "p", 0) > 0 and "self.training" in str(layer.code)
    return isinstance(layer, _DropoutNd) and layer.p > 0


@contextlib.contextmanager
def dropout_on(networks: Iterable[Network], seed: int) -> Iterator[None]:
    """Let the dropout layers of networks drop, the same units for the same seed.

    Afterwards the layers, and Torch's random numbers, are as before.

    Args:
        networks: Those without dropout stay as they are.
        seed: 0 <= seed < 2^64.
    """
    import torch

    found = list(networks)
    before = [(layer, layer.training) for layer in dropout_layers(found)]
    gpus = {device for network in found if (device := getattr(network, "torch_device", None)) is not None and device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(gpus, key=str)):
        torch.manual_seed(seed)
        try:
            for layer, _ in before:
                layer.train()
            yield
        finally:
            for layer, training in before:
                layer.train(training)
