"""U-Nets of nnU-Net run with half the memory: the same operations on the same numbers, but nothing is held that is not needed any more.

In Python every caller holds its arguments until the call is over. Through the nested modules of a U-Net that keeps two or three of
its largest feature maps alive for nothing; here each is let go by the one that uses it last.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_CHAINS = {"StackedConvBlocks": "convs", "ConvDropoutNormReLU": "all_modules", "StackedResidualBlocks": "blocks", "Sequential": ""}
"""Modules that call others one after the other, and the attribute that holds these."""


def made_lean(network: nn.Module) -> nn.Module:
    """Let a PlainConvUNet or ResidualEncoderUNet without deep supervision run with less memory; changes and returns it."""
    network.forward = partial(_forward, network)
    return network


def _forward(network: Any, image: Tensor) -> Tensor:
    from torch import cat

    held = [image]
    skips = list(_encoded(network.encoder, held))
    del held, image
    held = [skips.pop()]
    for up, stage in zip(network.decoder.transpconvs, network.decoder.stages, strict=True):
        _run(up, held)
        held.append(cat((held.pop(), skips.pop()), 1))
        _run(stage, held)
    _run(network.decoder.seg_layers[-1], held)
    return held.pop()


def _encoded(encoder: Any, held: list[Tensor]) -> Iterator[Tensor]:
    """Yield the feature maps of the stages, from fine to coarse."""
    if getattr(encoder, "stem", None) is not None:
        _run(encoder.stem, held)
    for stage in encoder.stages:
        _run(stage, held)
        yield held[0]


def _run(module: nn.Module, held: list[Tensor]) -> None:
    """Replace the one held tensor by what a module makes of it."""
    for part in _parts(module):
        held.append(part(held.pop()))


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that a chain of modules calls one after the other."""
    kind = type(module).__name__
    if kind not in _CHAINS:
        yield module
        return
    children: Any = getattr(module, _CHAINS[kind]) if _CHAINS[kind] else module
    for child in children:
        yield from _parts(child)
