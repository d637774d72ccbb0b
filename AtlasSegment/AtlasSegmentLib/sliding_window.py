"""Overlapping windows merged with Gaussian weights, finished plane by plane along the first axis.

Positions and weights follow MONAI's sliding_window_inference in its Gaussian mode (sigma = 0.125 of the window), which
AbdomenAtlas uses; logits are merged, the activation comes afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from AtlasSegmentLib.model import Float32

_SIGMA = 0.125


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Return where windows begin along one axis; the last one ends at the border.

    Args:
        size: Number of voxels, at least `window`.
        window: Window length in voxels.
        overlap: Share of a window that the next one covers again, 0 <= overlap < 1.
    """
    interval = max(1, int(window * (1 - overlap))) if window != size else size
    count = math.ceil(max(0, size - window) / interval) + 1
    return sorted({min(i * interval, size - window) for i in range(count)})


def gaussian_weights(window: Sequence[int]) -> Float32:
    """Return the weight of each voxel of a window, (X, Y, Z) float32, largest (1) at the center, never zero."""
    weights = np.ones((1, 1, 1))
    for axis, n in enumerate(window):
        distance = np.arange(n) - (n - 1) / 2
        profile = np.exp(-0.5 * (distance / (_SIGMA * n)) ** 2)
        shape = [1, 1, 1]
        shape[axis] = n
        weights = weights * profile.reshape(shape)
    weights /= weights.max()
    return np.maximum(weights, max(1e-3, weights[weights > 0].min())).astype(np.float32)


def sliding_window(
    image: Float32,
    window: Sequence[int],
    overlap: float,
    predict: Callable[[Float32], Float32],
    progress: Callable[[float], None] = lambda _: None,
) -> Iterator[tuple[int, Float32]]:
    """Predict an image in overlapping windows.

    Only the planes that later windows still reach are kept, so memory is channels x window x Y x Z.

    Args:
        image: (X, Y, Z); padded with its smallest value where it is smaller than the window.
        window: Window shape.
        overlap: See `window_starts`.
        predict: (window) -> (C, window).
        progress: Told the finished share, 0..1.

    Yields:
        (first x, merged logits (C, n, Y, Z)) in ascending order, covering every plane once.
    """
    padding = [(max(0, w - n) // 2, max(0, w - n) - max(0, w - n) // 2) for n, w in zip(image.shape, window, strict=True)]
    padded = np.pad(image, padding, constant_values=image.min())
    starts = [window_starts(n, w, overlap) for n, w in zip(padded.shape, window, strict=True)]
    for first, logits in _merged(padded, window, starts, predict, progress):
        begin, stop = max(first, padding[0][0]), min(first + logits.shape[1], padding[0][0] + image.shape[0])
        if begin < stop:
            y, z = (slice(padding[a][0], padding[a][0] + image.shape[a]) for a in (1, 2))
            yield begin - padding[0][0], logits[:, begin - first : stop - first, y, z]


def _merged(
    image: Float32,
    window: Sequence[int],
    starts: list[list[int]],
    predict: Callable[[Float32], Float32],
    progress: Callable[[float], None],
) -> Iterator[tuple[int, Float32]]:
    weights = gaussian_weights(window)
    depth = window[0]
    total, weight_sum = None, np.zeros((depth, *image.shape[1:]), np.float32)
    done, count = 0, math.prod(len(s) for s in starts)
    for number, x in enumerate(starts[0]):
        for y, z in ((y, z) for y in starts[1] for z in starts[2]):
            plane = (slice(y, y + window[1]), slice(z, z + window[2]))
            logits = predict(np.ascontiguousarray(image[(slice(x, x + depth), *plane)]))
            if total is None:
                total = np.zeros((logits.shape[0], *weight_sum.shape), np.float32)
            total[(slice(None), slice(None), *plane)] += logits * weights
            weight_sum[(slice(None), *plane)] += weights
            done += 1
            progress(done / count)
        ready = (starts[0][number + 1] if number + 1 < len(starts[0]) else image.shape[0]) - x
        if total is not None:
            merged: Float32 = (total[:, :ready] / weight_sum[:ready]).astype(np.float32, copy=False)
            yield x, merged
            total[:, : depth - ready] = total[:, ready:]
            total[:, depth - ready :] = 0
        weight_sum[: depth - ready] = weight_sum[ready:].copy()
        weight_sum[depth - ready :] = 0
