"""Dice and cross-entropy of partially labeled cases: the marginal loss.

What a reference cannot tell may lie anywhere in its background. So for such a case the probabilities of its unknown organs are added to
background's, and the loss looks at the sum: a network that finds an unknown organ there is neither rewarded nor punished (marginal loss;
Shi et al., Medical Image Analysis 2021, doi 10.1016/j.media.2021.101979). Voxels of value 255 count for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from AtlasSegmentLib.train_organs import IGNORED

if TYPE_CHECKING:
    import torch

_SMOOTH = 1e-5
_NEVER = -1e4  # a logit whose probability is 0 in every precision


def marginal_logits(logits: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return logits in which background holds the probability of all organs that are unknown, and these have none.

    Args:
        logits: (N, C, X, Y, Z).
        known: Bool (N, C); background is known.
    """
    import torch

    if bool(known.all()):
        return logits
    shape = (*known.shape, 1, 1, 1)
    merged = (~known).reshape(shape).clone()
    merged[:, 0] = True
    background = torch.logsumexp(logits.masked_fill(~merged, float("-inf")), 1, keepdim=True)
    rest = logits[:, 1:].masked_fill(~known[:, 1:].reshape(len(known), -1, 1, 1, 1), _NEVER)
    return torch.cat([background, rest], 1)


def dice_ce(logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the soft Dice loss, over the batch, of the organs that are known, and the cross-entropy.

    Args:
        logits: Float32 (N, C, X, Y, Z).
        labels: Int64 (N, X, Y, Z), 255 says nothing.
        known: Bool (N, C).
    """
    import torch

    told = labels != IGNORED
    truth = torch.where(told, labels, 0)
    log_shares = torch.log_softmax(marginal_logits(logits, known), 1)
    log_true = log_shares.gather(1, truth[:, None])[:, 0]
    entropy = -(log_true * told).sum() / told.sum().clamp(min=1)
    count = logits.shape[1]
    # Sums of each patch and channel, without a one-hot copy of the labels, which would take longer than the network.
    shares = log_shares.exp() if bool(told.all()) else log_shares.exp() * told[:, None]
    flat = truth.flatten(1)
    counted = told.flatten(1).to(shares.dtype)
    both = torch.zeros(len(flat), count, device=logits.device, dtype=shares.dtype).scatter_add(1, flat, log_true.exp().flatten(1) * counted)
    true = torch.zeros_like(both).scatter_add(1, flat, counted)
    total = shares.flatten(2).sum(2) + true
    weight = known.to(shares.dtype)
    dice = (2 * (both * weight).sum(0) + _SMOOTH) / ((total * weight).sum(0) + _SMOOTH)
    organs = known.any(0)
    organs[0] = False
    return 1 - dice[organs].mean(), entropy


def supervised(outputs: object, labels: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `dice_ce` of one output, or of several of falling size, each counting half as much as the one before (deep supervision)."""
    import torch

    if isinstance(outputs, torch.Tensor):
        return dice_ce(outputs.float(), labels, known)
    if not isinstance(outputs, list):
        raise TypeError(type(outputs).__name__)
    weights = [0.5**level for level in range(len(outputs))]
    dice = entropy = torch.zeros((), device=labels.device)
    for weight, logits in zip(weights, outputs, strict=True):
        step = labels.shape[-1] // logits.shape[-1]
        fine = labels if step == 1 else labels[:, step // 2 :: step, step // 2 :: step, step // 2 :: step]
        one, two = dice_ce(logits.float(), fine, known)
        dice, entropy = dice + one * (weight / sum(weights)), entropy + two * (weight / sum(weights))
    return dice, entropy
