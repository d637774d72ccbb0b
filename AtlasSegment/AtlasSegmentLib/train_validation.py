"""How good a network is on held-out cases while it is trained: Dice of each organ on the network's own grid, by sliding window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.sliding_window import WindowRules, sliding_window
from AtlasSegmentLib.train_cubes import Cube
from AtlasSegmentLib.train_input import network_values
from AtlasSegmentLib.train_organs import IGNORED
from AtlasSegmentLib.volume import Array

if TYPE_CHECKING:
    from torch import nn

OVERLAP = 0.25


def predicted_labels(network: nn.Module, cube: Cube, size: int, overlap: float = OVERLAP) -> Array:
    """Return the most likely channel of each voxel of a cube, uint8; the network must be in evaluation mode."""
    import torch

    device: Any = next(network.parameters()).device
    result = np.zeros(cube.shape, np.uint8)

    def predict(window: Float32) -> Float32:
        with torch.inference_mode():
            found: Float32 = network(torch.from_numpy(window)[None, None].to(device))[0].float().cpu().numpy()
        return found

    image = network_values(np.asarray(cube.ct, np.float32))
    for first, logits in sliding_window(image, (size, size, size), overlap, predict, rules=WindowRules()):
        result[first : first + logits.shape[1]] = logits.argmax(0)
    return result


def dice_of(predicted: Array, labels: Array, known: Sequence[bool]) -> dict[int, float]:
    """Return the Dice coefficient of each channel that the reference knows and that is in one of the two.

    Args:
        predicted: Channels, (X, Y, Z).
        labels: Channels of the reference, the same shape; voxels of value 255 are left out.
        known: Of each channel.
    """
    size = max(len(known), IGNORED + 1)
    told = labels != IGNORED
    table = np.bincount(predicted[told].astype(np.int64) * size + labels[told], minlength=size * size).reshape(-1, size)
    result = {}
    for channel in range(1, len(known)):
        total = int(table[channel].sum() + table[:, channel].sum())
        if known[channel] and total:
            result[channel] = 2 * int(table[channel, channel]) / total
    return result


def mean_dice(cases: Sequence[dict[int, float]]) -> tuple[float, dict[int, float]]:
    """Return the mean over channels of the mean over cases, and the latter; NaN without any."""
    channels = sorted({channel for case in cases for channel in case})
    means = {channel: float(np.mean([case[channel] for case in cases if channel in case])) for channel in channels}
    return (float(np.mean(list(means.values()))) if means else float("nan")), means
