"""In which order a network sees its examples, and how each is varied: both follow from the seed and the step alone.

So a run that was stopped anywhere goes on with exactly the batches it would have had, without a random state to be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from AtlasQualityLib.quality_embedding import Embedding
from AtlasQualityLib.quality_pairs import from_bytes
from AtlasQualityLib.quality_pairs_store import PairSet
from AtlasQualityLib.quality_slices import CHANNELS, Float32
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.train_random import generator
from AtlasSegmentLib.volume import Array

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Augmentation:
    """How much examples are varied in training; 0 switches a part off.

    Attributes:
        turn: Degrees, to either side.
        zoom: Share, larger or smaller.
        shift: Share of the image's side.
        contrast: Share by which the CT's contrast changes.
        brightness: Of the CT, in HU.
        noise: Standard deviation of the strongest noise added to the CT, HU.
        flips: Mirror paired organs in half of all cases and call them by their partner's name.
    """

    turn: float = 10.0
    zoom: float = 0.12
    shift: float = 0.05
    contrast: float = 0.2
    brightness: float = 25.0
    noise: float = 25.0
    flips: bool = False


NONE = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_HU = 1 / 100  # the CT's -200..200 HU are -2..2


def batches(numbers: Array, batch: int, seed: int, epoch: int) -> list[Array]:
    """Return the examples of each step of an epoch: all, in a new order, the last batch joined to the one before when it is one alone.

    Args:
        numbers: Examples to learn from.
        batch: Examples of one step.
        seed: Of the order.
        epoch: From 0.
    """
    order = numbers[generator(seed, "order", epoch).permutation(len(numbers))]
    parts = [order[start : start + batch] for start in range(0, len(order), batch)]
    if len(parts) > 1 and len(parts[-1]) == 1:  # batch normalization and ranking need two
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def share_of(batch: Array, rank: int, ranks: int) -> Array:
    """Return the examples of a batch that one of several processes works on: every `ranks`-th, as many for each.

    What does not divide is filled up from the batch's beginning.
    """
    most = -(-len(batch) // ranks)
    return np.resize(batch, most * ranks)[rank::ranks]


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        images: Float32 (n, 2, size, size).
        embeddings: Float32 (n, 512).
        targets: Float32 (n,).
        truth: The reference in the same crops, float32 (n, size, size), -1..1.
    """

    images: torch.Tensor
    embeddings: Float32
    targets: Float32
    truth: torch.Tensor


def plain_batch(pairs: PairSet, numbers: Array, embedding: Embedding) -> Batch:
    """Return examples as they are."""
    import torch

    planes = torch.from_numpy(from_bytes(pairs.images(numbers)))
    return _batch(planes, pairs.organs(numbers), pairs, numbers, embedding)


def _batch(planes: torch.Tensor, organs: list[str], pairs: PairSet, numbers: Array, embedding: Embedding) -> Batch:
    vectors = np.stack([embedding(organ) for organ in organs])
    return Batch(planes[:, :CHANNELS].contiguous(), vectors, pairs.columns["target"][numbers], planes[:, CHANNELS])


def varied_batch(pairs: PairSet, numbers: Array, embedding: Embedding, how: Augmentation, rng: np.random.Generator) -> Batch:
    """Return examples, each turned, zoomed, shifted and changed in contrast by chance.

    Args:
        pairs: The data set.
        numbers: Which of its slices.
        embedding: Organ name to its numbers.
        how: How much.
        rng: Decides all of it.
    """
    import torch

    count = len(numbers)
    images = torch.from_numpy(from_bytes(pairs.images(numbers)))
    organs = pairs.organs(numbers)
    flipped = rng.random(count) < (0.5 if how.flips else 0.0)
    partners = [structure_for(organ).partner if flip else None for organ, flip in zip(organs, flipped, strict=True)]
    mirror = np.array([-1.0 if partner else 1.0 for partner in partners])
    if how.turn or how.zoom or how.shift or how.flips:
        images = _moved(images, _matrices(how, mirror, rng))
    images[:, 0] = _shaded(images[:, 0], how, rng)
    named = [partner or organ for partner, organ in zip(partners, organs, strict=True)]
    return _batch(images, named, pairs, numbers, embedding)


def _matrices(how: Augmentation, mirror: Array, rng: np.random.Generator) -> Float32:
    """Return (n, 2, 3): where each pixel is taken from, in coordinates -1..1."""
    count = len(mirror)
    angle = np.deg2rad(rng.uniform(-how.turn, how.turn, count))
    zoom = np.exp(rng.uniform(-1, 1, count) * np.log1p(how.zoom))
    result = np.empty((count, 2, 3), np.float32)
    result[:, 0, 0], result[:, 0, 1] = np.cos(angle) / zoom * mirror, -np.sin(angle) / zoom
    result[:, 1, 0], result[:, 1, 1] = np.sin(angle) / zoom * mirror, np.cos(angle) / zoom
    result[:, :, 2] = rng.uniform(-2 * how.shift, 2 * how.shift, (count, 2))
    return result


def _moved(images: torch.Tensor, matrices: Float32) -> torch.Tensor:
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    grid = affine_grid(torch.from_numpy(matrices), list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _shaded(ct: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    import torch

    count = len(ct)
    contrast = np.exp(rng.uniform(-1, 1, count) * np.log1p(how.contrast)).astype(np.float32)[:, None, None]
    brightness = (rng.uniform(-1, 1, count) * how.brightness * _HU).astype(np.float32)[:, None, None]
    result = ct * torch.from_numpy(contrast) + torch.from_numpy(brightness)
    if how.noise:
        strength = (rng.uniform(0, 1, count) ** 2 * how.noise * _HU).astype(np.float32)[:, None, None]
        result = result + torch.from_numpy(rng.standard_normal(tuple(ct.shape), np.float32) * strength)
    return result.clamp(-2, 2)
