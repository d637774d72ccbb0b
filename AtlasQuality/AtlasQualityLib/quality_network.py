"""SegAE's network: a residual network looks at a CT slice with its mask, and the organ's name decides what of it counts.

Source: SegAE ("Quality Sentinel"; arXiv 2406.00327). Names of parameters are those of its published checkpoints, which hold a whole
ImageNet network beside: the parts of it that are never used (its stem and its classifier) are left out here and passed over in loading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from AtlasQualityLib.quality_embedding import FEATURES
from AtlasQualityLib.quality_outline import build_outline, drawn_dice
from AtlasQualityLib.quality_slices import CHANNELS
from AtlasSegmentLib.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

Backbone = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
BACKBONES: tuple[Backbone, ...] = get_args(Backbone)
WIDTH = 64
_BLOCKS: Mapping[Backbone, tuple[int, int, int, int]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
_PLAIN = ("resnet18", "resnet34")
_EXPANSION = 4
_HIDDEN = 50
UNUSED = ("net.conv1.", "net.bn1.", "net.fc.")
"""What published checkpoints hold and no network uses."""


def build_network(backbone: Backbone = "resnet50", width: int = WIDTH, *, outline: bool = False) -> nn.Module:
    """Return the network without trained weights.

    It takes images (N, 2, size, size) of `quality_slices.slice_input` and embeddings (N, 512), and gives the raw predicted Dice
    (N,), which may leave 0..1. The size is a multiple of 32.

    Args:
        backbone: Depth; 50 is SegAE's default.
        width: Channels of the first layer; 64 is SegAE's, fewer make a small network.
        outline: Also draw where the organ is; see `quality_outline`. `learn=True` in a call then gives its logits too, which
            training needs.

    Raises:
        ModelError: The backbone is not known, the width is no positive number, or Torch is not installed.
    """
    if backbone not in BACKBONES or width < 1:
        message = f"a quality network of backbone {backbone!r} and width {width} is not known."
        raise ModelError(message, f"Backbones: {', '.join(BACKBONES)}; the width is 64, or less for a small network.")
    try:
        from torch import nn
    except ImportError as error:
        message = "PyTorch is not installed, which this form of a quality model needs."
        raise ModelError(message, 'Run: pip install "slicer-atlas-annotator[torch]", or use a model with a model.onnx.') from error
    import torch

    features = width * 8 * (1 if backbone in _PLAIN else _EXPANSION)

    class QualityNetwork(nn.Module):
        """See `build_network`."""

        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(CHANNELS, width, 7, stride=2, padding=3)
            self.bn1 = nn.BatchNorm2d(width)
            self.net = _layers(backbone, width)
            self.attention1 = nn.Linear(features + FEATURES, features)
            self.fc1 = nn.Linear(features, _HIDDEN)
            self.attention2 = nn.Linear(features + FEATURES, _HIDDEN)
            self.fc2 = nn.Linear(_HIDDEN, 1)
            self.outline = build_outline([width, *(features >> number for number in (3, 2, 1, 0))]) if outline else None

        def forward(self, image: Tensor, embedding: Tensor, learn: bool = False) -> Any:
            """Return the raw predicted Dice (N,); to learn, (that, logits of the drawing (N, size / 2, size / 2) or None)."""
            maps = [torch.relu(self.bn1(self.conv1(image)))]
            values = nn.functional.max_pool2d(maps[0], 3, stride=2, padding=1)
            for number in (1, 2, 3, 4):
                values = self.net.get_submodule(f"layer{number}")(values)
                maps.append(values)
            pooled = values.mean(dim=(2, 3))
            condition = torch.cat([pooled, embedding], dim=1)
            hidden = self.fc1(self.attention1(condition) * pooled)
            score: Tensor = self.fc2(self.attention2(condition) * hidden)[:, 0]
            logits: Tensor | None = None
            if self.outline is not None:
                logits = self.outline(maps, embedding)
                score = score + drawn_dice(logits, image[:, 1])
            return (score, logits) if learn else score

    return QualityNetwork()


def _layers(backbone: Backbone, width: int) -> nn.Module:
    from torch import nn

    net = nn.Module()
    channels = width
    for number, count in enumerate(_BLOCKS[backbone]):
        blocks = []
        for index in range(count):
            block = _block(backbone, channels, width << number, 2 if number and not index else 1)
            blocks.append(block)
            channels = (width << number) * (1 if backbone in _PLAIN else _EXPANSION)
        net.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
    return net


def _block(backbone: Backbone, channels: int, planes: int, stride: int) -> nn.Module:
    from torch import nn

    is_plain = backbone in _PLAIN
    out = planes if is_plain else planes * _EXPANSION
    # A bottleneck halves the image in its 3x3 convolution, as the networks that ImageNet weights are published for do.
    shapes = [(planes, 3, stride), (planes, 3, 1)] if is_plain else [(planes, 1, 1), (planes, 3, stride), (out, 1, 1)]

    class Block(nn.Module):
        """Two or three convolutions beside a shortcut."""

        def __init__(self) -> None:
            super().__init__()
            given = channels
            for number, (made, size, step) in enumerate(shapes, 1):
                self.add_module(f"conv{number}", nn.Conv2d(given, made, size, stride=step, padding=size // 2, bias=False))
                self.add_module(f"bn{number}", nn.BatchNorm2d(made))
                given = made
            shortcut = (nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
            self.downsample = nn.Sequential(*shortcut) if stride > 1 or channels != out else None

        def forward(self, maps: Tensor) -> Tensor:
            """Return the maps after the block."""
            made = maps
            for number in range(1, len(shapes) + 1):
                made = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(made))
                made = made if number == len(shapes) else made.relu()
            return (made + (maps if self.downsample is None else self.downsample(maps))).relu()

    return Block()


def network_shape(weights: Mapping[str, Tensor]) -> tuple[Backbone, int]:
    """Return (backbone, width) of the network whose state_dict this is.

    Raises:
        ModelError: It is of no such network.
    """
    try:
        width = int(weights["conv1.weight"].shape[0])
        blocks = tuple(len({name.split(".")[2] for name in weights if name.startswith(f"net.layer{number}.")}) for number in (1, 2, 3, 4))
        is_plain = "net.layer1.0.conv3.weight" not in weights
    except (KeyError, IndexError, AttributeError):
        blocks, width, is_plain = (), 0, False
    for backbone, known in _BLOCKS.items():
        if blocks == known and is_plain == (backbone in _PLAIN):
            return backbone, width
    message = f"the weights are of no quality network (layers of {blocks or 'no'} blocks)."
    raise ModelError(message, f"Give a SegAE checkpoint of one of {', '.join(BACKBONES)}.")
