"""Overlapping windows merged with weights, finished plane by plane along the first axis.

Positions and weights follow MONAI's sliding_window_inference (Gaussian: sigma = 0.125 of the window), which AbdomenAtlas uses; logits
are merged, the activation comes afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.network import Float32

Weights = Literal["gaussian", "gaussian_unscaled", "constant"]
Padding = Literal["minimum", "constant", "edge", "reflect"]
Bools = npt.NDArray[np.bool_]

_SIGMA = 0.125
_LEAST = 1e-3
_PLANES = 8  # yielded together: what is made of them is small beside what waits for later windows


@dataclass(frozen=True)
class WindowRules:
    """What else decides where windows lie and how they are merged.

    Attributes:
        weights: See `window_weights`.
        padding: See `ModelInput.padding`.
        padding_value: For the padding "constant".
        air: (X, Y, Z), true where the image holds nothing but air: windows in which all of it is true are not predicted.
        nothing: (C,) logits of voxels that no predicted window covers; needed with `air`.
    """

    weights: Weights = "gaussian"
    padding: Padding = "minimum"
    padding_value: float = 0.0
    air: Bools | None = None
    nothing: Float32 | None = None


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


def window_weights(window: Sequence[int], kind: Weights) -> Float32:
    """Return the weight of each voxel of a window, (X, Y, Z) float32; see `ModelInput.weights`."""
    if kind == "constant":
        return np.ones(window, np.float32)
    return gaussian_weights(window, scaled=kind == "gaussian")


def gaussian_weights(window: Sequence[int], *, scaled: bool = True) -> Float32:
    """Return the weight of each voxel of a window, (X, Y, Z) float32, largest at the center (there 1 when `scaled`), never zero."""
    weights = np.ones((1, 1, 1))
    for axis, n in enumerate(window):
        distance = np.arange(n) - (n - 1) / 2
        profile = np.exp(-0.5 * (distance / (_SIGMA * n)) ** 2)
        shape = [1, 1, 1]
        shape[axis] = n
        weights = weights * profile.reshape(shape)
    if scaled:
        weights /= weights.max()
    return np.maximum(weights, max(_LEAST, weights[weights > 0].min())).astype(np.float32)


def sliding_window(
    image: Float32,
    window: Sequence[int],
    overlap: float,
    predict: Callable[[Float32], Float32],
    progress: Callable[[float], None] = lambda _: None,
    *,
    rules: WindowRules | None = None,
) -> Iterator[tuple[int, Float32]]:
    """Predict an image in overlapping windows.

    Only the planes that later windows still reach are kept, so memory is channels x window x Y x Z.

    Args:
        image: (X, Y, Z); padded where it is smaller than the window.
        window: Window shape.
        overlap: See `window_starts`.
        predict: (window) -> (C, window).
        progress: Told the finished share, 0..1.
        rules: What else decides.

    Yields:
        (first x, merged logits (C, n, Y, Z)) in ascending order, covering every plane once.
    """
    rules = rules or WindowRules()
    padding = [(max(0, w - n) // 2, max(0, w - n) - max(0, w - n) // 2) for n, w in zip(image.shape, window, strict=True)]
    padded = _padded(image, padding, rules)
    air = None if rules.air is None else np.pad(rules.air, padding, constant_values=True)
    merged = _Merged(padded, window, [window_starts(n, w, overlap) for n, w in zip(padded.shape, window, strict=True)], rules, air)
    for first, logits in merged.planes(predict, progress):
        begin, stop = max(first, padding[0][0]), min(first + logits.shape[1], padding[0][0] + image.shape[0])
        if begin < stop:
            y, z = (slice(padding[a][0], padding[a][0] + image.shape[a]) for a in (1, 2))
            yield begin - padding[0][0], logits[:, begin - first : stop - first, y, z]


def _padded(image: Float32, padding: list[tuple[int, int]], rules: WindowRules) -> Float32:
    if not any(map(any, padding)):
        return image
    mode: Any = "constant" if rules.padding == "minimum" else rules.padding
    value = {"minimum": image.min(), "constant": rules.padding_value}.get(rules.padding)
    padded: Float32 = np.pad(image, padding, mode, **({} if value is None else {"constant_values": value}))
    return padded


@dataclass
class _Merged:
    """Windows of a padded image on their way to merged planes."""

    image: Float32
    window: Sequence[int]
    starts: list[list[int]]
    rules: WindowRules
    air: Bools | None

    def planes(self, predict: Callable[[Float32], Float32], progress: Callable[[float], None]) -> Iterator[tuple[int, Float32]]:
        """Yield (first plane, merged logits (C, n, Y, Z)) as they are finished."""
        weights = window_weights(self.window, self.rules.weights)
        depth = self.window[0]
        total, weight_sum = None, np.zeros((depth, *self.image.shape[1:]), np.float32)
        done, count = 0, math.prod(len(s) for s in self.starts)
        for number, x in enumerate(self.starts[0]):
            for y, z in product(self.starts[1], self.starts[2]):
                plane = (slice(y, y + self.window[1]), slice(z, z + self.window[2]))
                place = (slice(x, x + depth), *plane)
                if self.air is None or not self.air[place].all():
                    logits = predict(np.ascontiguousarray(self.image[place]))
                    if total is None:
                        total = np.zeros((logits.shape[0], *weight_sum.shape), np.float32)
                    total[(slice(None), slice(None), *plane)] += logits * weights
                    weight_sum[(slice(None), *plane)] += weights
                done += 1
                progress(done / count)
            ready = (self.starts[0][number + 1] if number + 1 < len(self.starts[0]) else self.image.shape[0]) - x
            for first in range(0, ready, _PLANES):
                planes = slice(first, min(first + _PLANES, ready))
                yield x + first, self._finished(None if total is None else total[:, planes], weight_sum[planes])
            if total is not None:
                total[:, : depth - ready] = total[:, ready:]
                total[:, depth - ready :] = 0
            weight_sum[: depth - ready] = weight_sum[ready:].copy()
            weight_sum[depth - ready :] = 0

    def _finished(self, total: Float32 | None, weight_sum: Float32) -> Float32:
        """Return sums as means; voxels that no window has covered are nothing."""
        nothing = np.zeros(0, np.float32) if self.rules.nothing is None else self.rules.nothing
        if total is None:
            return np.ascontiguousarray(np.broadcast_to(nothing[:, None, None, None], (len(nothing), *weight_sum.shape)))
        if self.air is None:
            merged: Float32 = (total / weight_sum).astype(np.float32, copy=False)
            return merged
        empty = weight_sum == 0
        merged = (total / np.where(empty, np.float32(1), weight_sum)).astype(np.float32, copy=False)
        merged[:, empty] = nothing[:, None]
        return merged
