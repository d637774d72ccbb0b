"""From planes of logits to what is kept of them: probabilities on the network's grid, and labels where they are decided on there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from AtlasSegmentLib.model_manifest import ModelManifest
from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Array, Grid
from AtlasSegmentLib.window_input import NetworkInput
from AtlasSegmentLib.window_labels import LabelPainter
from AtlasSegmentLib.window_stack import ChannelStack

FAINT = np.float32(5e-4)
"""Probabilities up to this are stored as 0 in both byte maps (255 * p < 1 and -255 p ln p < 1), so nothing is lost by skipping them."""
NOTHING = 80.0
"""Size of a logit that is certain: background's where no window was predicted (structures' are -80: probability 0 in float32 too)."""
DENSE_BYTES = 1 << 28
"""Channels that need more memory are kept as the boxes in which they are more than faint."""

Order = tuple[int, int, int]


def faint_limit(spec: ModelManifest) -> float:
    """Return up to which value of a channel its probability is faint."""
    return float(np.log(FAINT / (1 - FAINT))) if spec.output.decide == "logits" else float(FAINT)


def nothing_logits(spec: ModelManifest) -> Float32:
    """Return the logits (C,) of voxels where no window was predicted: background for certain."""
    logits = np.full(spec.channels, -NOTHING, np.float32)
    if spec.output.has_background:
        logits[0] = NOTHING
    return logits


class Kept:
    """What is kept of a model's planes.

    Args:
        spec: The model's.
        seen: What it was shown.
        order: Axes of the planes: see `ChannelStack`.

    Attributes:
        values: (C, X, Y, Z) on the grid of `seen`: probabilities, or logits where `ModelOutput.decide` says so.
        decided: (X, Y, Z), the most likely channel, where a softmax model decides on its own grid; else None.
        labels: The most likely channel of each voxel of the CT, where a softmax model decides there and `take` was given one.
    """

    def __init__(self, spec: ModelManifest, seen: NetworkInput, order: Order) -> None:
        self._spec, self._seen, self._order = spec, seen, order
        self.values = _storage(spec, seen, order)
        self._on_grid = spec.output.decide == "labels" and spec.output.activation == "softmax"
        self.decided: Array | None = np.zeros(seen.grid.shape, np.uint16, order="F") if self._on_grid else None
        self.labels: SparseVolume | None = None

    def take(self, planes: Iterable[tuple[int, Float32]], ct: Grid | None = None) -> None:
        """Keep all planes (first plane of the image, logits (C, n, ...)), and label the CT with them."""
        stored = self._stored(self._framed(planes))
        painter = None if ct is None or self._on_grid or self._spec.output.activation != "softmax" else self._painter(ct)
        if painter is not None:
            self.labels = painter.paint(stored, self._spec.channels - 1)
        for _ in stored:  # what the CT's voxels do not reach, or all
            pass
        if isinstance(self.values, ChannelStack):
            self.values.finish()

    def _painter(self, ct: Grid) -> LabelPainter | None:
        try:
            return LabelPainter(self._seen.grid, ct, self._order)
        except ValueError:  # a sheared CT: its masks are made class by class
            return None

    def _stored(self, planes: Iterable[tuple[int, Float32]]) -> Iterator[tuple[int, Float32]]:
        for first, values in planes:
            if self.decided is not None:
                self._part(self.decided, first, values.shape[1])[...] = values.argmax(axis=0)
            if isinstance(self.values, ChannelStack):
                self.values.add(first, values)
            else:
                self._part(self.values, first, values.shape[1])[...] = values
            yield first, values

    def _part(self, array: Array, first: int, count: int) -> Array:
        """Return planes of an array on the grid as a view with axes in `order`."""
        lead = array.ndim - 3
        turned: Array = array.transpose([*range(lead), *(lead + axis for axis in self._order)])
        return turned[(slice(None),) * lead + (slice(first, first + count),)]

    def _framed(self, planes: Iterable[tuple[int, Float32]]) -> Iterator[tuple[int, Float32]]:
        """Yield planes of the grid: probabilities, or logits, with the background around the image as zeros of all channels."""
        sides = [self._seen.place[axis] for axis in self._order]
        shape = [self._seen.grid.shape[axis] for axis in self._order]
        whole = all(side == slice(0, n) for side, n in zip(sides, shape, strict=True))
        empty = (self._spec.channels, 1, *shape[1:])
        for number in range(sides[0].start):
            yield number, np.zeros(empty, np.float32)
        for first, logits in planes:
            values = logits if self._spec.output.decide == "logits" else activated(logits, self._spec)
            if not whole:
                framed = np.zeros((*values.shape[:2], *shape[1:]), np.float32)
                framed[(slice(None), slice(None), *sides[1:])] = values
                values = framed
            yield sides[0].start + first, values
        for number in range(sides[0].stop, shape[0]):
            yield number, np.zeros(empty, np.float32)


def _storage(spec: ModelManifest, seen: NetworkInput, order: Order) -> Array | ChannelStack:
    """Return where values are kept: half precision as ever for models on "faces", all of float32 where MONAI's numbers are wanted."""
    dtype = np.float32 if spec.input.grid == "centers" or spec.input.patch is None else np.float16
    size = spec.channels * int(np.prod(seen.grid.shape)) * np.dtype(dtype).itemsize
    if size <= DENSE_BYTES:
        return np.zeros((spec.channels, *seen.grid.shape), dtype)
    softmax = spec.output.activation == "softmax"
    if spec.output.decide == "logits":
        whole, fill = (spec.channels if softmax else 0), -NOTHING
    else:
        whole, fill = int(softmax), 0.0
    return ChannelStack(spec.channels, seen.grid.shape, dtype, order=order, above=faint_limit(spec), fill=fill, whole=whole)


def activated(logits: Float32, spec: ModelManifest) -> Float32:
    """Turn logits (C, ...) into probabilities in place."""
    return softmax(logits) if spec.output.activation == "softmax" else sigmoid(logits)


def softmax(logits: Float32) -> Float32:
    """Turn logits (C, ...) into shares of one in place."""
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits


def sigmoid(logits: Float32) -> Float32:
    """Turn logits into probabilities in place."""
    np.clip(logits, -80, 80, out=logits)  # exp overflows float32 beyond that, and sigmoid is 0 or 1 there
    np.negative(logits, out=logits)
    np.exp(logits, out=logits)
    logits += 1
    return np.reciprocal(logits, out=logits)
