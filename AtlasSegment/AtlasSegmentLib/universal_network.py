"""AbdomenAtlas' universal model as a network: a backbone, and for each class three tiny convolutions that a text embedding makes.

The embedding of a class (512 numbers of a language model) and the pooled deepest features of the window give the weights of three
1x1x1 convolutions, which turn eight feature maps into the logit of the class. Names of parameters are those of the published
checkpoints, without "module.".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn

Architecture = Literal["universal-unet", "universal-swinunetr"]
ARCHITECTURES: tuple[Architecture, ...] = ("universal-unet", "universal-swinunetr")
TEXT_FEATURES = 512
_CONDITION = 256
_MAPS = 8
_GROUPS = 16
_WEIGHTS = (_MAPS * _MAPS, _MAPS * _MAPS, _MAPS)
_BIASES = (_MAPS, _MAPS, 1)
_UNET = (64, 128, 256, 512)
_SWIN = 48

Features = Callable[["Tensor"], "tuple[Tensor, Tensor]"]
"""An image (N, 1, X, Y, Z) to (deepest features, features at full resolution)."""


def universal_network(architecture: Architecture, classes: int) -> nn.Module:
    """Return the network without trained weights: (N, 1, X, Y, Z) -> logits (N, classes, X, Y, Z).

    Sizes of the image must be multiples of 8 (U-Net) or 32 (SwinUNETR).

    Args:
        architecture: One of ARCHITECTURES.
        classes: Rows of the text embedding.
    """
    if architecture == "universal-unet":
        backbone, features = _unet()
        return _assembled(backbone, features, _UNET[-1], _UNET[0], classes)
    backbone, features = _swin_unetr()
    return _assembled(backbone, features, _SWIN * 16, _SWIN, classes)


def _assembled(backbone: nn.Module, features: Features, deepest: int, full: int, classes: int) -> nn.Module:
    import torch
    from torch import nn

    class UniversalNetwork(nn.Module):
        """See the module's text."""

        organ_embedding: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone
            self.precls_conv = nn.Sequential(nn.GroupNorm(_GROUPS, full), nn.ReLU(), nn.Conv3d(full, _MAPS, 1))
            pool = (nn.GroupNorm(_GROUPS, deepest), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Conv3d(deepest, _CONDITION, 1))
            self.GAP = nn.Sequential(*pool)
            self.text_to_vision = nn.Linear(TEXT_FEATURES, _CONDITION)
            self.controller = nn.Conv3d(2 * _CONDITION, sum(_WEIGHTS) + sum(_BIASES), 1)
            self.register_buffer("organ_embedding", torch.zeros(classes, TEXT_FEATURES))

        def forward(self, image: Tensor) -> Tensor:
            """Return logits (N, classes, X, Y, Z), one class computed after the other into the result."""
            deep, shallow = features(image)
            text = torch.relu(self.text_to_vision(self.organ_embedding))
            pooled, maps = self.GAP(deep), self.precls_conv(shallow)
            logits: Tensor = maps.new_empty((len(image), classes, *image.shape[2:]))
            for number in range(len(image)):
                condition = torch.cat([pooled[number].flatten().expand(classes, -1), text], dim=1)
                parameters = self.controller(condition[:, :, None, None, None]).flatten(1)
                for organ in range(classes):
                    logits[number, organ] = _head(maps[number : number + 1], parameters[organ])
            return logits

    return UniversalNetwork()


def _head(maps: Tensor, parameters: Tensor) -> Tensor:
    """Return the logit (X, Y, Z) of one class from feature maps (1, 8, X, Y, Z) by its 153 parameters: all weights, then all biases."""
    import torch
    from torch.nn.functional import conv3d

    parts = torch.split(parameters, [*_WEIGHTS, *_BIASES])
    for layer, (weight, bias) in enumerate(zip(parts[:3], parts[3:], strict=True)):
        maps = conv3d(maps, weight.view(-1, _MAPS, 1, 1, 1), bias)
        maps = maps if layer == 2 else torch.relu_(maps)
    return maps[0, 0]


def _unet() -> tuple[nn.Module, Features]:
    from torch import nn
    from torch.nn.functional import max_pool3d

    def unit(before: int, after: int) -> nn.Module:
        parts = {"conv1": nn.Conv3d(before, after, 3, padding=1), "bn1": nn.BatchNorm3d(after), "activation": nn.ReLU()}
        return nn.Sequential(OrderedDict(parts))

    backbone = nn.ModuleDict()
    for before, after in pairwise((1, *_UNET)):
        middle = after // 2 if before == 1 else before
        backbone[f"down_tr{after}"] = nn.ModuleDict({"ops": nn.Sequential(unit(before, middle), unit(middle, after))})
    for after, before in pairwise(_UNET):
        parts = {"up_conv": nn.ConvTranspose3d(before, before, 2, stride=2)}
        backbone[f"up_tr{after}"] = nn.ModuleDict({**parts, "ops": nn.Sequential(unit(before + after, after), unit(after, after))})

    def features(image: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        levels: list[Tensor] = []
        for level in _UNET:
            image = backbone[f"down_tr{level}"]["ops"](max_pool3d(levels[-1], 2) if levels else image)  # type: ignore[index]
            levels.append(image)
        result = levels[-1]
        for level, skip in zip(reversed(_UNET[:-1]), reversed(levels[:-1]), strict=True):
            up = backbone[f"up_tr{level}"]
            result = up["ops"](torch.cat([up["up_conv"](result), skip], dim=1))  # type: ignore[index]
        return levels[-1], result

    return backbone, features


def _swin_unetr() -> tuple[nn.Module, Features]:
    from monai.networks.nets.swin_unetr import SwinUNETR

    backbone = SwinUNETR(in_channels=1, out_channels=1, feature_size=_SWIN)
    del backbone.out  # the heads take its place

    def features(image: Tensor) -> tuple[Tensor, Tensor]:
        hidden = backbone.swinViT(image, backbone.normalize)
        deepest = backbone.encoder10(hidden[4])
        result = backbone.decoder5(deepest, hidden[3])
        result = backbone.decoder4(result, backbone.encoder4(hidden[2]))
        result = backbone.decoder3(result, backbone.encoder3(hidden[1]))
        result = backbone.decoder2(result, backbone.encoder2(hidden[0]))
        return deepest, backbone.decoder1(result, backbone.encoder1(image))

    return backbone, features
