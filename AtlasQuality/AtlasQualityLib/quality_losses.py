"""What the label-quality network is trained to make small: SegAE's weighted square error and its ranking of matched pairs.

Source of both: Quality Sentinel (arXiv 2406.00327), with one addition: a batch of one item has no pair, so its ranking loss is 0. A network
that draws the organ beside (`quality_outline`) learns the drawing too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.errors import InputError

if TYPE_CHECKING:
    import torch

RANK_MARGIN = 1e-4
_STEPS = ((0.3, 7.0), (0.5, 5.0), (0.7, 3.0), (0.9, 2.0))
"""Up to this Dice an item counts so many times; above the last one, once. Bad masks are rare and matter most."""


def weighted_mse(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return mean w(t) (p - t)^2 over items; w is 7 up to a true Dice of 0.3, then 5, 3, 2, and 1 above 0.9.

    Args:
        predicted: (N,), raw scores.
        target: (N,), true Dice, 0..1.
    """
    import torch

    weight = torch.ones_like(target)
    for limit, value in reversed(_STEPS):
        weight = torch.where(target <= limit, torch.full_like(target, value), weight)
    return torch.mean(weight * (predicted - target) ** 2)


def optimal_pairs(embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Return for each item the one it is compared with: none with itself, each taken once, as alike in organ as possible in all.

    Args:
        embeddings: (N, features), one for each item.

    Returns:
        (N,) int64; empty for fewer than two items, which have no pair.

    Raises:
        InputError: An embedding is zero or not finite.
    """
    from scipy.optimize import linear_sum_assignment

    count = len(embeddings)
    if count < 2:
        return np.zeros(0, np.int64)
    vectors = np.asarray(embeddings, np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(length).all() or not length.all():
        message = "an embedding of an organ is zero or not finite."
        raise InputError(message, "Write the embeddings again.")
    unit = vectors / length
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return np.asarray(linear_sum_assignment(similarity, maximize=True)[1], np.int64)


def rank_loss(predicted: torch.Tensor, target: torch.Tensor, pairs: npt.NDArray[np.int64]) -> torch.Tensor:
    """Return mean relu(-(p_i - p_j)(t_i - t_j) + 1e-4) over the pairs (i, pairs[i]); 0 where there are none.

    Args:
        predicted: (N,), raw scores.
        target: (N,), true Dice.
        pairs: From `optimal_pairs`.
    """
    import torch

    if not len(pairs):
        return predicted.sum() * 0.0
    other = torch.as_tensor(pairs, device=predicted.device)
    product = (predicted - predicted[other]) * (target - target[other])
    return torch.relu(RANK_MARGIN - product).mean()


def outline_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return what a drawing lacks: twice its cross-entropy plus one minus its Dice, mean over items.

    Args:
        logits: (N, rows, columns).
        truth: The same shape, share of each pixel that is the organ, 0..1.
    """
    import torch

    there = torch.sigmoid(logits)
    both = (there * truth).sum(dim=(1, 2))
    dice = (2 * both + 1) / (there.sum(dim=(1, 2)) + truth.sum(dim=(1, 2)) + 1)
    return 2 * torch.nn.functional.binary_cross_entropy_with_logits(logits, truth) + (1 - dice).mean()
