"""Which part of which case a network sees at each step, and how it is varied: both follow from the seed and the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.train_cubes import AIR, Cube
from AtlasSegmentLib.train_organs import Targets
from AtlasSegmentLib.train_random import generator
from AtlasSegmentLib.volume import Array


@dataclass(frozen=True)
class Variation:
    """How much patches are varied; 0 switches a part off. Shares are probabilities.

    Attributes:
        moved: Share of the patches that are turned and zoomed.
        turn: Degrees about each axis, to either side.
        zoom: Share, larger or smaller, together and for each axis half of it alone.
        contrast, brightness: Share and HU by which all gray values change.
        organs: Standard deviation in HU by which each organ's gray values are shifted, in half of the patches (contrast phases).
        gamma: Exponents up to 1 + gamma, in a quarter of the patches.
        noise: Largest standard deviation in HU.
        blurred, coarse, cut: Share of the patches that are blurred, seen through thicker slices, or end at a random height.
        flips: Mirror left and right in half of the patches, with sides exchanged.
    """

    moved: float = 0.6
    turn: float = 12.0
    zoom: float = 0.2
    contrast: float = 0.15
    brightness: float = 20.0
    organs: float = 15.0
    gamma: float = 0.3
    noise: float = 40.0
    blurred: float = 0.15
    coarse: float = 0.15
    cut: float = 0.15
    flips: bool = False


NONE = Variation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class PatchRule:
    """How patches are drawn.

    Attributes:
        size: Voxels along each axis.
        organs: Share of the patches that are centered on an organ, each organ of the case alike; others lie anywhere in the body.
        variation: See there.
    """

    size: int = 96
    organs: float = 0.7
    variation: Variation = field(default_factory=Variation)


@dataclass(frozen=True)
class Patches:
    """What one step learns from.

    Attributes:
        hu: Float32 (n, size, size, size).
        labels: uint8, the same shape: channels, 255 says nothing.
        known: bool (n, channels).
    """

    hu: Float32
    labels: Array
    known: Array


def chosen_cases(count: int, batch: int, seed: int, step: int) -> list[int]:
    """Return the cases of a step: all cases in turn, in a new order each time round.

    Args:
        count: Number of cases.
        batch: Patches in one step.
        seed: Of the order.
        step: From 0.
    """
    result = []
    for number in range(step * batch, (step + 1) * batch):
        turn, place = divmod(number, count)
        result.append(int(generator(seed, "order", turn).permutation(count)[place]))
    return result


def draw(cubes: Sequence[Cube], rule: PatchRule, targets: Targets, batch: int, seed: int, step: int) -> Patches:
    """Return the patches of a step.

    Args:
        cubes: Training cases.
        rule: How they are drawn and varied.
        targets: The channels.
        batch: How many.
        seed: Decides all, together with `step`.
        step: From 0.
    """
    found = [
        _patch(cubes[case], rule, targets, generator(seed, "patch", step, number))
        for number, case in enumerate(chosen_cases(len(cubes), batch, seed, step))
    ]
    hu, labels, known = zip(*found, strict=True)
    return Patches(np.stack(hu), np.stack(labels), np.stack(known))


def _patch(cube: Cube, rule: PatchRule, targets: Targets, rng: np.random.Generator) -> tuple[Float32, Array, Array]:
    how, size = rule.variation, rule.size
    center = _center(cube, rule, rng)
    matrix = _matrix(how, rng)
    hu, labels = _crop(cube, center, size) if matrix is None else _moved(cube, center, size, matrix)
    known = np.array(cube.known)
    if how.flips and rng.random() < 0.5:
        hu, labels, known = _mirrored(hu, labels, known, targets)
    hu = _shaded(hu, labels, how, targets.channels, rng)
    if rng.random() < how.cut:
        _cut(hu, labels, rng)
    return hu, labels, known


def _center(cube: Cube, rule: PatchRule, rng: np.random.Generator) -> Array:
    """Return a voxel: of an organ, moved by up to a quarter of the patch, or of the body."""
    organs = [channel for channel in cube.places if channel]
    pick = rng.random()
    channel = int(rng.choice(organs)) if organs and pick < rule.organs else 0
    places = cube.places.get(channel, np.zeros(0, np.int64))
    flat = int(places[rng.integers(len(places))]) if len(places) else int(rng.integers(np.prod(cube.shape)))
    center = np.array(np.unravel_index(flat, cube.shape), np.float64)
    jitter = rng.uniform(-rule.size / 4, rule.size / 4, 3)
    return np.asarray(_drawn_in(center + jitter, cube.shape, rule.size))


def _drawn_in(center: Array, shape: Sequence[int], size: int) -> Array:
    """Move a patch into the image as far as it goes."""
    half = size / 2
    low, high = np.full(3, half), np.array(shape) - half
    return np.where(low <= high, np.clip(center, np.minimum(low, high), np.maximum(low, high)), np.array(shape) / 2)


def _matrix(how: Variation, rng: np.random.Generator) -> Array | None:
    """Return (3, 3): steps in the source for a step in the patch; None leaves it as it is."""
    if rng.random() >= how.moved or not (how.turn or how.zoom):
        return None
    angles = np.deg2rad(rng.uniform(-how.turn, how.turn, 3))
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    zoom = np.exp(rng.uniform(-1, 1) * np.log1p(how.zoom) + rng.uniform(-1, 1, 3) * np.log1p(how.zoom / 2))
    return np.asarray(matrix * zoom)


def _crop(cube: Cube, center: Array, size: int) -> tuple[Float32, Array]:
    start = np.rint(center - size / 2).astype(int)
    return _filled(cube, start, start + size)


def _filled(cube: Cube, start: Array, stop: Array) -> tuple[Float32, Array]:
    """Return a box of a cube; what lies outside of it is air."""
    low, high = np.clip(start, 0, cube.shape), np.clip(stop, 0, cube.shape)
    inside = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    place = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, start, strict=True))
    shape = tuple(int(n) for n in stop - start)
    hu, labels = np.full(shape, AIR, np.float32), np.zeros(shape, np.uint8)
    hu[place], labels[place] = cube.ct[inside], cube.labels[inside]
    return hu, labels


def _moved(cube: Cube, center: Array, size: int, matrix: Array) -> tuple[Float32, Array]:
    """Return a patch that lies turned and zoomed in the case: linear in HU, the nearest voxel's label."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    reach = np.abs(matrix).sum(axis=1) * size / 2
    start, stop = np.floor(center - reach).astype(int) - 1, np.ceil(center + reach).astype(int) + 2
    hu, labels = _filled(cube, start, stop)
    extent = (stop - start).astype(np.float64)
    theta = np.empty((3, 4))  # torch counts axes from the last, and from -1 to 1 between the faces
    theta[:, :3] = (matrix * size / extent[:, None])[::-1, ::-1]
    theta[:, 3] = (2 * (center - start) / extent - 1)[::-1]
    grid = affine_grid(torch.from_numpy(theta[None]).float(), [1, 1, size, size, size], align_corners=False)
    sampled = grid_sample(torch.from_numpy(hu)[None, None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    nearest = grid_sample(torch.from_numpy(labels.astype(np.float32))[None, None], grid, "nearest", "border", align_corners=False)
    return sampled[0, 0].numpy(), nearest[0, 0].numpy().astype(np.uint8)


def _mirrored(hu: Float32, labels: Array, known: Array, targets: Targets) -> tuple[Float32, Array, Array]:
    """Exchange left and right: of the image, of the organs, and of what is known."""
    table = np.arange(256, dtype=np.uint8)
    table[: targets.channels] = targets.partners
    return np.ascontiguousarray(hu[::-1]), np.ascontiguousarray(table[labels[::-1]]), known[list(targets.partners)]


def _shaded(hu: Float32, labels: Array, how: Variation, channels: int, rng: np.random.Generator) -> Float32:
    """Return other gray values: of organs, of all, softer, noisier, through thicker slices."""
    if how.organs and rng.random() < 0.5:
        shift = np.zeros(256, np.float32)
        shift[1:channels] = rng.normal(0, how.organs, channels - 1)
        hu = hu + shift[labels]
    if how.contrast or how.brightness:
        scale, offset = np.exp(rng.uniform(-1, 1) * np.log1p(how.contrast)), rng.uniform(-1, 1) * how.brightness
        hu = np.where(hu > np.float32(AIR / 2), hu * np.float32(scale) + np.float32(offset), hu)
    if how.gamma and rng.random() < 0.25:
        exponent = np.exp(rng.uniform(-1, 1) * np.log1p(how.gamma))
        share = np.clip((hu + np.float32(200)) / np.float32(500), 0, 1)  # soft tissue, -200 to 300 HU
        hu = hu + np.float32(500) * (share ** np.float32(exponent) - share)
    if rng.random() < how.blurred:
        hu = _blurred(hu, rng)
    if how.noise and rng.random() < 0.5:
        hu = hu + rng.standard_normal(hu.shape, np.float32) * np.float32(rng.uniform() ** 2 * how.noise)
    if rng.random() < how.coarse:
        hu = _coarse(hu, rng)
    return np.ascontiguousarray(hu, np.float32)


def _blurred(hu: Float32, rng: np.random.Generator) -> Float32:
    import torch

    soft = torch.nn.functional.avg_pool3d(torch.from_numpy(hu)[None, None], 3, 1, 1, count_include_pad=False)[0, 0].numpy()
    share = np.float32(rng.uniform(0.3, 1.0))
    result: Float32 = hu + share * (soft - hu)
    return result


def _coarse(hu: Float32, rng: np.random.Generator) -> Float32:
    """Average over thicker slices along one axis, mostly from feet to head, and interpolate back."""
    import torch
    from torch.nn.functional import interpolate

    axis = int(rng.choice(3, p=[0.15, 0.15, 0.7]))
    shape = list(hu.shape)
    shape[axis] = max(2, round(shape[axis] / rng.uniform(1.5, 3)))
    small = interpolate(torch.from_numpy(np.ascontiguousarray(hu))[None, None], size=shape, mode="trilinear", align_corners=False)
    result: Float32 = interpolate(small, size=list(hu.shape), mode="trilinear", align_corners=False)[0, 0].numpy()
    return result


def _cut(hu: Float32, labels: Array, rng: np.random.Generator) -> None:
    """Let the scan be a slab of a random height: air above and below."""
    size = hu.shape[2]
    height = int(rng.integers(max(1, size // 8), size))
    below = int(rng.choice((0, size - height, rng.integers(size - height + 1))))
    for outside in (slice(0, below), slice(below + height, None)):
        hu[:, :, outside], labels[:, :, outside] = AIR, 0
