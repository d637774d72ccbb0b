"""Predictions that a network might have made of a phantom, and masks that a hurried reader might have drawn.

A prediction is the true surface pushed about by smooth noise, with leaks into neighbors and missed parts. Its probabilities are
calibrated by the way they are made: the surface gets the share of its own noise that lies inside, and a doubtful spot with
probability p is put where p says, inside the organ with that frequency and outside with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.components import Box, bounding_box, grow_box

Mask = npt.NDArray[np.bool_]
Probability = npt.NDArray[np.float32]
_MARGIN = 14.0  # mm around an organ that a prediction may reach


@dataclass(frozen=True)
class ErrorOptions:
    """How wrong predictions are.

    Attributes:
        surface: Deviation of the surface in mm, the median over organs.
        grain: How far along the surface the deviation stays the same, mm.
        spots: Doubtful spots for each 100 cm2 of surface.
        missing: Probability that an organ is hardly found at all.
    """

    surface: float = 1.6
    grain: float = 9.0
    spots: float = 1.2
    missing: float = 0.01


def predict(
    truth: Mask, spacing: npt.NDArray[np.float64], rng: np.random.Generator, options: ErrorOptions | None = None
) -> tuple[Box, Probability]:
    """Return a calibrated soft prediction of an organ.

    Args:
        truth: (X, Y, Z).
        spacing: (3,) mm.
        rng: Decides the errors.
        options: How wrong.

    Returns:
        A box of the grid, and the probability in it, float32; it is 0 elsewhere. An organ without a voxel gives an empty box.
    """
    options = options or ErrorOptions()
    found = bounding_box(truth)
    if found is None:
        return (slice(0, 0), slice(0, 0), slice(0, 0)), np.zeros((0, 0, 0), np.float32)
    from scipy import special

    margin = int(np.ceil(_MARGIN / spacing.min()))
    box = grow_box(found, margin, truth.shape)
    inside = truth[box]
    distance = signed_distance(inside, spacing)
    spread = options.surface * float(np.exp(rng.normal(0, 0.45)))
    moved = distance + spread * smooth_noise(inside.shape, spacing, options.grain, rng)
    probability = special.ndtr(moved / np.float32(spread) - np.float32(_lean(distance, spread))).astype(np.float32)
    area = np.count_nonzero(np.abs(distance) < spacing.mean() / 2 + 0.01) * float(spacing.prod()) ** (2 / 3) / 1e4
    for _ in range(int(rng.poisson(options.spots * max(area, 0.3)))):
        _doubt(probability, inside, distance, spacing, rng)
    if rng.random() < options.missing:
        probability *= np.float32(rng.uniform(0.2, 0.5))
    return box, probability


def _lean(distance: npt.NDArray[np.float32], spread: float) -> float:
    """Return by how many deviations a surface is rather further in: shells outside a round organ hold more voxels than those inside."""
    reach = 2 * max(spread, 0.5)
    outside = np.count_nonzero((distance < 0) & (distance > -reach)) + 1
    inside = np.count_nonzero((distance > 0) & (distance < reach)) + 1
    return float(np.clip(spread / reach * np.log(outside / inside), 0, 1))


def signed_distance(mask: Mask, spacing: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return mm from the surface, positive inside; the surface runs between voxels."""
    from scipy import ndimage

    half = float(spacing.min()) / 2
    inward = ndimage.distance_transform_edt(mask, sampling=spacing).astype(np.float32)
    outward = ndimage.distance_transform_edt(~mask, sampling=spacing).astype(np.float32)
    result: npt.NDArray[np.float32] = np.where(mask, inward - half, half - outward).astype(np.float32)
    return result


def smooth_noise(
    shape: tuple[int, ...], spacing: npt.NDArray[np.float64], grain: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return noise of unit deviation whose values agree over about `grain` mm, float32."""
    from scipy import ndimage

    white = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(white, grain / spacing / 2, mode="wrap")
    result: npt.NDArray[np.float32] = noise / max(float(noise.std()), 1e-6)
    return result


def _doubt(
    probability: Probability, inside: Mask, distance: npt.NDArray[np.float32], spacing: npt.NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Put a doubtful spot at the surface, in place: a leak or a gap when its probability is on the wrong side of one half."""
    surface = np.argwhere(inside & (distance < spacing.max()))
    if not len(surface):
        return
    p = float(rng.beta(1.4, 1.4))
    center = surface[rng.integers(len(surface))]
    radius = float(rng.uniform(5, 16))
    reach = np.ceil(radius / spacing).astype(int) + 1
    start, stop = np.maximum(center - reach, 0), np.minimum(center + reach + 1, inside.shape)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    axes = [(np.arange(a, b) - c) * s for a, b, c, s in zip(start, stop, center, spacing, strict=True)]
    away = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
    strength = np.clip((radius - away) / (0.3 * radius) + 0.5, 0, 1).astype(np.float32)
    within, beyond = float(strength[inside[window]].sum()), float(strength[~inside[window]].sum())
    is_in = rng.random() * (p * beyond + (1 - p) * within) < p * beyond  # more voxels lie on one side: it is chosen less often
    strength *= inside[window] if is_in else ~inside[window]
    probability[window] += strength * (np.float32(p) - probability[window])


def reader_mask(truth: Mask, spacing: npt.NDArray[np.float64], rng: np.random.Generator, surface: float = 1.5) -> Mask:
    """Return what a hurried reader draws, slice by slice along the last axis: uneven from slice to slice, ends left out, a slice forgotten.

    Args:
        truth: (X, Y, Z).
        spacing: (3,) mm.
        rng: Decides the errors.
        surface: Deviation of the outline in mm.
    """
    drawn = np.zeros_like(truth)
    found = bounding_box(truth)
    if found is None:
        return drawn
    box = grow_box(found, int(np.ceil(4 * surface / spacing.min())), truth.shape)
    inside = truth[box]
    plane = np.array([spacing[0], spacing[1]])
    slices = np.flatnonzero(inside.any(axis=(0, 1)))
    ends = rng.integers(0, max(1, min(3, len(slices) // 4)) + 1, 2)
    kept = slices[ends[0] : len(slices) - ends[1]]
    forgotten = rng.random(len(kept)) < 0.04
    for number in kept[~forgotten]:
        noise = surface * smooth_noise(inside.shape[:2], plane, 14.0, rng) + surface * float(rng.normal(0, 0.5))
        drawn[box][:, :, number] = signed_distance(inside[:, :, number], plane) + noise > 0
    return drawn
