"""nnU-Net's sliding window, finished plane by plane: sums in half precision exactly as nnU-Net keeps them, without the whole grid.

nnU-Net holds the sums of all classes for the whole image. Its windows come in ascending order along the first axis, so the planes
that no later window reaches are final: only as many planes as a window is thick are kept here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.network import Float32, Network

if TYPE_CHECKING:
    from torch import Tensor

Half = npt.NDArray[np.float16]
Progress = Callable[[float], None]
Place = tuple[slice, slice, slice]

_SIGMA = 1 / 8
_SCALE = 10  # half precision is finer far from 0


def window_starts(size: int, window: int, step: float) -> list[int]:
    """Return where windows begin along one axis: as few as a step of `step` windows needs, evenly spread.

    Args:
        size: Number of voxels, at least `window`.
        window: Window length in voxels.
        step: Largest distance of two windows, as a share of the window, 0 < step <= 1.
    """
    count = math.ceil((size - window) / (window * step)) + 1
    distance = (size - window) / (count - 1) if count > 1 else 0.0
    return [int(np.round(distance * number)) for number in range(count)]


@lru_cache(maxsize=2)
def importance(window: tuple[int, ...]) -> Half:
    """Return the weight of each voxel of a window: a Gaussian of sigma 1/8 window around its middle voxel, largest 10, never 0."""
    from scipy.ndimage import gaussian_filter

    weights = np.zeros(window)
    weights[tuple(n // 2 for n in window)] = 1
    weights = gaussian_filter(weights, [n * _SIGMA for n in window], 0, mode="constant", cval=0)
    weights /= weights.max() / _SCALE
    half: Half = weights.astype(np.float16)
    half[half == 0] = half[half > 0].min()
    return half


def flips(axes: Sequence[int] | None) -> list[tuple[int, ...]]:
    """Return the sets of spatial axes to flip, the empty one first; nnU-Net's order."""
    found: list[tuple[int, ...]] = [()]
    for count in range(1, len(axes or ()) + 1):
        found += list(combinations(axes or (), count))
    return found


def mirrored(network: Network, batch: Float32, axes: Sequence[int] | None) -> Float32:
    """Run a network on a batch and its flips, and average what it gives.

    Args:
        network: The network.
        batch: (1, C, *patch).
        axes: Spatial axes that may be flipped; None or empty runs it once.

    Returns:
        (channels, *patch), float32.
    """
    sets = flips(axes)
    total: Float32 = network.run(batch)[0]
    for flipped in sets[1:]:
        turned = tuple(axis + 2 for axis in flipped)
        result: Float32 = network.run(np.ascontiguousarray(np.flip(batch, turned)))[0]
        total += np.flip(result, tuple(axis - 1 for axis in turned))
    if len(sets) > 1:
        total /= len(sets)
    return total


class Sums(Protocol):
    """Weighted sums of logits over the planes that windows still reach, in half precision, wherever they are kept."""

    def add(self, place: Place, logits: Float32 | Tensor, weights: Float32) -> None:
        """Add logits (C, *window), which may be changed, times weights (window) at a place."""

    def take(self, planes: int, weights: Half) -> Half:
        """Return the first planes divided by their weights (planes, Y, Z), and move the rest to the front."""


class HalfSums:
    """`Sums` in host memory.

    Args:
        channels: Output channels of the network.
        shape: Planes of a window, and the image's shape along the other axes.
    """

    def __init__(self, channels: int, shape: tuple[int, int, int]) -> None:
        self._sums = np.zeros((channels, *shape), np.float16)
        self._add = _adder()

    def add(self, place: Place, logits: Float32 | Tensor, weights: Float32) -> None:
        """Add logits (C, *window), which are changed, times weights (window) at a place."""
        host = logits if isinstance(logits, np.ndarray) else logits.float().cpu().numpy()
        for channel, values in enumerate(host):
            self._add(self._sums[channel][place], np.multiply(values, weights, out=values))

    def take(self, planes: int, weights: Half) -> Half:
        """Return the first planes divided by their weights (planes, Y, Z), and move the rest to the front."""
        divisor = weights.astype(np.float32)
        finished = np.empty((len(self._sums), planes, *self._sums.shape[2:]), np.float16)
        for channel, sums in enumerate(self._sums):
            finished[channel] = sums[:planes].astype(np.float32) / divisor
            _shift(sums, planes)
        return finished


def _shift(array: Half, planes: int) -> None:
    array[: len(array) - planes] = array[planes:].copy()
    array[len(array) - planes :] = 0


def _adder() -> Callable[[Half, Float32], None]:
    """Return how float32 values are added to half-precision ones in place; Torch does it several times faster where it is there."""
    try:
        import torch
    except ImportError:
        return _add_with_numpy

    def add(sums: Half, values: Float32) -> None:
        torch.from_numpy(sums).add_(torch.from_numpy(values))

    return add


def _add_with_numpy(sums: Half, values: Float32) -> None:
    sums[...] = (sums.astype(np.float32) + values).astype(np.float16)


Planes = Iterator[tuple[int, list[Half]]]
Predict = Callable[[Float32, Place], "list[Float32 | Tensor] | None"]
"""A window (1, C, *window) and its place to the logits (channels, *window) of each fold; None where none are wanted."""


def merged_planes(
    image: Float32,
    window: tuple[int, int, int],
    step: float,
    predict: Predict,
    sums: Sequence[Sums],
    progress: Progress = lambda _: None,
) -> Planes:
    """Predict an image (C, X, Y, Z) in windows and merge them.

    Args:
        image: At least as large as the window.
        window: Its shape; the first may be 1, for networks that see one plane at a time.
        step: See `window_starts`.
        predict: See `Predict`.
        sums: One for each fold.
        progress: Told the finished share, 0..1.

    Yields:
        (first plane, logits (channels, n, Y, Z) of each fold), ascending, every plane once; voxels that no window has predicted
        are not a number.
    """
    size = image.shape[1:]
    starts = [window_starts(n, w, step) if w > 1 else list(range(n)) for n, w in zip(size, window, strict=True)]
    weights = importance(window) if window[0] > 1 else importance(window[1:])[None]
    weights32 = weights.astype(np.float32)
    total = np.zeros((window[0], *size[1:]), np.float16)
    count, done = math.prod(len(part) for part in starts), 0
    for number, x in enumerate(starts[0]):
        for y, z in product(starts[1], starts[2]):
            plane = (slice(y, y + window[1]), slice(z, z + window[2]))
            place: Place = (slice(0, window[0]), *plane)
            seen: Place = (slice(x, x + window[0]), *plane)
            folds = predict(np.ascontiguousarray(image[(None, slice(None), *seen)]), seen)
            if folds is not None:
                for one in sums:
                    one.add(place, folds.pop(0), weights32)  # and let go of it before the next window
                total[place] = (total[place].astype(np.float32) + weights32).astype(np.float16)
            done += 1
            progress(done / count)
        ready = (starts[0][number + 1] if number + 1 < len(starts[0]) else size[0]) - x
        with np.errstate(invalid="ignore"):  # 0 / 0 where nothing was predicted
            yield x, [one.take(ready, total[:ready]) for one in sums]
        _shift(total, ready)
