"""The network of `atlas train`: a U-Net on blocks of 2 x 2 x 2 voxels, small enough to be trained on a CPU.

The eight voxels of a block are channels of one place (space to depth), so that all convolutions run on an eighth of the places, and the
last layer gives logits of all eight again: borders stay as fine as the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from AtlasSegmentLib.errors import InputError, ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

Architecture = Literal["block-unet", "dynunet"]
ARCHITECTURES: tuple[Architecture, ...] = ("block-unet", "dynunet")
BLOCK = 2
_LAST = (".head.2.", ".sides.", ".output_block.", ".deep_supervision_heads.", ".super_head.")
_MOST_WIDTH = 8  # times the first
_HIDDEN = 4  # the same, of the layer that sees the voxels of a block once more and tells them apart


@dataclass(frozen=True)
class NetworkRule:
    """What a network is made of.

    Attributes:
        channels: Output channels, background included.
        width: Channels of the first level; each level has twice as many, at most eight times.
        depth: Levels.
        deep: Deep supervision: every level of the decoder gives logits in training.
        architecture: "block-unet", described above, or "dynunet": MONAI's DynUNet (nnU-Net's network), slower and finer.
    """

    channels: int
    width: int = 16
    depth: int = 4
    deep: bool = False
    architecture: Architecture = "block-unet"

    def __post_init__(self) -> None:
        if not (1 <= self.width <= 512 and 2 <= self.depth <= 6 and self.channels >= 2):
            message = f"A network of width {self.width}, depth {self.depth} and {self.channels} channels cannot be built."
            raise InputError(message, "Give a --width of 1 to 512 and a --depth of 2 to 6.")

    @property
    def divisor(self) -> int:
        """What the size of a patch must be a multiple of."""
        return int((1 if self.architecture == "dynunet" else BLOCK) * 2 ** (self.depth - 1))

    def require_patch(self, size: int) -> None:
        """Check the size of patches. Raises InputError."""
        if size < 2 * self.divisor or size % self.divisor:
            message = f"A patch of {size} voxels does not fit a network of depth {self.depth}."
            raise InputError(message, f"Give a --patch that is a multiple of {self.divisor}, at least {2 * self.divisor}.")


def build_network(rule: NetworkRule) -> nn.Module:
    """Return the network, its weights drawn by Torch's global generator; (N, 1, X, Y, Z) -> (N, channels, X, Y, Z) logits.

    With `deep`, in training mode, a list: logits at full size, then of coarser levels. Its `by_channel` names the weights whose first
    axis belongs to the output channels.

    Raises:
        ModelError: MONAI is needed and not installed.
    """
    network = _dynunet(rule) if rule.architecture == "dynunet" else _block_unet(rule)
    names = [name for name in network.state_dict() if any(part in f".{name}" for part in _LAST)]
    network.by_channel = frozenset(names)  # type: ignore[assignment]
    return network


def _widths(rule: NetworkRule) -> list[int]:
    return [min(rule.width * 2**level, rule.width * _MOST_WIDTH) for level in range(rule.depth)]


def _dynunet(rule: NetworkRule) -> nn.Module:
    try:
        from monai.networks.nets.dynunet import DynUNet
    except ImportError as error:
        message = "The network dynunet needs MONAI, which is not installed."
        raise ModelError(message, 'Run: pip install "slicer-atlas-annotator[monai]".') from error
    from torch import nn

    steps = [2] * (rule.depth - 1)

    class Wrapped(nn.Module):
        """DynUNet, whose stack of logits becomes a list."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = DynUNet(
                *(3, 1, rule.channels, [3] * rule.depth, [1, *steps], steps),
                filters=_widths(rule),
                norm_name=("INSTANCE", {"affine": True}),
                deep_supervision=rule.deep,
                deep_supr_num=max(1, rule.depth - 2),
            )

        def forward(self, image: torch.Tensor) -> Any:
            """Return logits."""
            found = self.inner(image)
            return list(found.unbind(1)) if self.training and rule.deep else found

    return Wrapped()


def _block_unet(rule: NetworkRule) -> nn.Module:
    from torch import nn

    class Block(nn.Sequential):
        """Twice: convolution, normalization, leaky ReLU."""

        def __init__(self, before: int, after: int) -> None:
            parts: list[nn.Module] = []
            for wide in (before, after):
                convolution = nn.Conv3d(wide, after, 3, padding=1, bias=False)
                parts += [convolution, nn.InstanceNorm3d(after, affine=True), nn.LeakyReLU(0.01, inplace=True)]
            super().__init__(*parts)

    class BlockUNet(nn.Module):
        """See the top of this file."""

        def __init__(self) -> None:
            super().__init__()
            widths, places = _widths(rule), BLOCK**3
            finer = list(pairwise(widths))
            self.stem = nn.Sequential(nn.Conv3d(places, widths[0], 1), nn.LeakyReLU(0.01, inplace=True))
            self.encoder = nn.ModuleList([Block(a, b) for a, b in [(widths[0], widths[0]), *finer]])
            self.up = nn.ModuleList([nn.Conv3d(b, a, 1) for a, b in finer])
            self.decoder = nn.ModuleList([Block(2 * a, a) for a, _ in finer])
            inner, outer = _HIDDEN * widths[0], places * rule.channels
            self.head = nn.Sequential(nn.Conv3d(widths[0] + places, inner, 1), nn.LeakyReLU(0.01, inplace=True), nn.Conv3d(inner, outer, 1))
            self.sides = nn.ModuleList([nn.Conv3d(a, rule.channels, 1) for a, _ in finer if rule.deep])

        def forward(self, image: torch.Tensor) -> Any:
            """Return logits."""
            return _block_forward(self, image, rule)

    return BlockUNet()


def _block_forward(network: Any, image: torch.Tensor, rule: NetworkRule) -> Any:
    import torch
    from torch.nn import functional

    blocks = to_blocks(image)
    features = network.stem(blocks)
    skips: list[torch.Tensor] = []
    for level, block in enumerate(network.encoder):
        features = block(functional.avg_pool3d(features, 2) if level else features)
        skips.append(features)
    features = skips.pop()
    sides: list[torch.Tensor] = []
    for level in reversed(range(rule.depth - 1)):
        features = functional.interpolate(network.up[level](features), scale_factor=2.0, mode="nearest")
        features = network.decoder[level](torch.cat([features, skips.pop()], 1))
        if network.training and rule.deep:
            sides.append(network.sides[level](features))
    logits = from_blocks(network.head(torch.cat([features, blocks], 1)), rule.channels)
    return [logits, *reversed(sides)] if network.training and rule.deep else logits


def to_blocks(image: Any) -> Any:
    """Return (N, 8, X/2, Y/2, Z/2) for (N, 1, X, Y, Z)."""
    _, _, x, y, z = (int(n) for n in image.shape)
    parts = image.reshape(-1, x // BLOCK, BLOCK, y // BLOCK, BLOCK, z // BLOCK, BLOCK)
    return parts.permute(0, 2, 4, 6, 1, 3, 5).reshape(-1, BLOCK**3, x // BLOCK, y // BLOCK, z // BLOCK)


def from_blocks(features: Any, channels: int) -> Any:
    """Return (N, channels, 2X, 2Y, 2Z) for (N, channels * 8, X, Y, Z)."""
    _, _, x, y, z = (int(n) for n in features.shape)
    parts = features.reshape(-1, channels, BLOCK, BLOCK, BLOCK, x, y, z)
    return parts.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(-1, channels, BLOCK * x, BLOCK * y, BLOCK * z)


def parameters_of(network: nn.Module) -> int:
    """Return the number of weights."""
    return sum(parameter.numel() for parameter in network.parameters())
