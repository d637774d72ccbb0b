"""Probabilities as the bytes AbdomenAtlas stores: one-sided entropy and soft predictions, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.volume import Array

Bytes = npt.NDArray[np.uint8]

MAX_ENTROPY = float(np.exp(-1.0))
"""Largest one-sided entropy -p ln p, reached at p = 1/e; its byte is 93."""


def one_sided_entropy(probability: Array) -> Array:
    """Return -p ln p (natural log, 0 at p = 0) for p in [0, 1]; same shape, float.

    This is AbdomenAtlas' definition (torch.special.entr of one sigmoid), not the binary entropy: it is largest at
    p = 0.368 and asymmetric.
    """
    safe = np.maximum(probability, np.finfo(np.float32).tiny)  # its -p ln p is 1e-36, below every byte
    entropy: Array = np.log(safe)
    entropy *= safe
    return np.negative(entropy, out=entropy)


def entropy_bytes(probability: Array) -> Bytes:
    """Return trunc(255 * one-sided entropy), uint8, at most 93."""
    return (one_sided_entropy(probability) * 255).astype(np.uint8)


def soft_bytes(probability: Array) -> Bytes:
    """Return trunc(255 * p), uint8."""
    return (np.clip(probability, 0, 1) * 255).astype(np.uint8)


def _low_branch() -> Array:
    """Probability below 1/e for each entropy byte, at the middle of the interval that the byte stands for."""
    p = np.linspace(0, MAX_ENTROPY, 1 << 16)
    entropy = one_sided_entropy(p)
    levels = (np.arange(256) + 0.5) / 255
    levels[0] = 0
    return np.interp(np.minimum(levels, MAX_ENTROPY), entropy, p).astype(np.float32)


def probability_from_bytes(soft: Bytes, entropy: Bytes) -> npt.NDArray[np.float32]:
    """Return the probability that two stored maps stand for, float32.

    The soft prediction is zero away from the cleaned mask, but the entropy is not: there its lower branch (p < 1/e)
    gives the probability back. A fragment that post-processing removed is thereby read as unlikely, which is what
    removing it says.
    """
    from_soft = ((np.arange(256) + 0.5) / 255).astype(np.float32).clip(0, 1)
    return np.where(soft > 0, from_soft[soft], _LOW_BRANCH[entropy])


_LOW_BRANCH = _low_branch()
