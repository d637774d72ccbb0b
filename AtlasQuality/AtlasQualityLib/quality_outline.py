"""Where the organ really is: a decoder beside SegAE's head that draws it, from which the Dice of the mask follows.

A single number for a slice teaches a network little. Told for every pixel whether the organ is there, it learns from few cases what an
organ looks like, and the Dice of the mask against what it draws is most of the score; SegAE's head adds what the drawing gets wrong.
Published SegAE checkpoints have no such part. After QCResUNet (Medical Image Analysis 2025), which predicts a map of errors beside a Dice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from AtlasQualityLib.quality_embedding import FEATURES, NORM

if TYPE_CHECKING:
    from torch import Tensor, nn

STEP = 2
"""Pixels of a slice for each of the drawing, in rows and columns."""
_MOST_CHANNELS = 64
_EMPTY_PIXELS = 4.0
"""A slice without mask is taken to be wrongly empty when so many pixels of the organ are drawn in it; fewer count in part."""


def build_outline(channels: list[int]) -> nn.Module:
    """Return the decoder: from maps at 1/2, 1/4 .. 1/32 of the slice's size and the organ's embedding to logits at 1/2.

    Args:
        channels: Of the maps, finest first.
    """
    import torch
    from torch import nn

    class Outline(nn.Module):
        """See `build_outline`."""

        def __init__(self) -> None:
            super().__init__()
            self.told = nn.ModuleList(nn.Linear(FEATURES, 2 * count) for count in channels)
            made = channels[-1]
            steps = []
            for count in channels[-2::-1]:
                out = min(max(count, 16), _MOST_CHANNELS)
                steps.append(_step(made + count, out))
                made = out
            self.steps = nn.ModuleList(steps)
            self.out = nn.Conv2d(made, 1, 1)

        def forward(self, maps: list[Tensor], embedding: Tensor) -> Tensor:
            """Return logits (N, size / 2, size / 2) of a pixel's being the organ."""
            unit = embedding / NORM
            heard = []
            for tell, values in zip(self.told, maps, strict=True):
                scale, shift = tell(unit)[:, :, None, None].chunk(2, dim=1)
                heard.append(values * (1 + scale) + shift)
            drawn = heard[-1]
            for step, values in zip(self.steps, heard[-2::-1], strict=True):
                drawn = step(torch.cat([nn.functional.interpolate(drawn, scale_factor=2.0, mode="nearest"), values], dim=1))
            logits: Tensor = self.out(drawn)[:, 0]
            return logits

    return Outline()


def _step(given: int, made: int) -> nn.Module:
    from torch import nn

    return nn.Sequential(nn.Conv2d(given, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU())


def shrunk(planes: Tensor) -> Tensor:
    """Return masks (N, size, size), -1..1 as in `quality_slices`, as shares 0..1 of the drawing's pixels (N, size / 2, size / 2)."""
    from torch import nn

    result: Tensor = nn.functional.avg_pool2d((planes[:, None] + 1) / 2, STEP)[:, 0]
    return result


def drawn_dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the Dice (N,) of masks against what is drawn; of an empty one, how surely it is rightly empty.

    Args:
        logits: Of the drawing, (N, size / 2, size / 2).
        mask: Of the input, (N, size, size), -1..1.
    """
    import torch

    there, share = torch.sigmoid(logits), shrunk(mask)
    drawn, marked = there.sum(dim=(1, 2)), share.sum(dim=(1, 2))
    agreed = 2 * torch.minimum(there, share).sum(dim=(1, 2)) / (drawn + marked).clamp_min(1e-3)
    return torch.where(marked > 0, agreed, 1 - (drawn / _EMPTY_PIXELS).clamp(0, 1))
