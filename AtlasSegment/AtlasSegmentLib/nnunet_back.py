"""From logits on the network's grid back to the image: the same labels as resampling every class, for a part of the work.

nnU-Net resamples the logits of all classes to the image and takes the largest. Interpolated linearly, a class that lies above
another one at every corner of a block lies above it everywhere inside. So each block of a few voxels needs only the classes that no
other one outdoes: one in the depth of an organ, two or three at its border, however many classes the model has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.nnunet_resample import LinearAxis, Orders, Shape3, linear_axis
from AtlasSegmentLib.nnunet_window import Half
from AtlasSegmentLib.volume import Array

_BLOCK = 8  # voxels of the network's grid along each edge
_RIVALS = 4  # classes that others are compared with
_TIE = np.float32(2.0**-9)  # of the value: nearer ones may become equal in half precision, where the first class wins

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Blocks:
    """How blocks of the network's grid become blocks of the image.

    Attributes:
        axes: Neighbors and weights along each axis.
    """

    axes: tuple[LinearAxis, LinearAxis, LinearAxis]

    @classmethod
    def between(cls, source: Shape3, target: Shape3, orders: Orders) -> Blocks:
        """Make them for a resize from one shape to another with order 0 or 1 along each axis."""
        x, y, z = (linear_axis(n, m, order) for n, m, order in zip(source, target, orders, strict=True))
        return cls((x, y, z))

    @cached_property
    def shape(self) -> Shape3:
        """Shape of the image."""
        x, y, z = (len(axis.lower) for axis in self.axes)
        return (x, y, z)

    @cached_property
    def samples(self) -> tuple[list[slice], list[slice], list[slice]]:
        """Which voxels of the network's grid each block needs, for each axis."""
        x, y, z = ([slice(first, min(first + _BLOCK + 1, axis.source)) for first in range(0, axis.source, _BLOCK)] for axis in self.axes)
        return x, y, z

    @cached_property
    def voxels(self) -> tuple[list[slice], list[slice], list[slice]]:
        """Which voxels of the image each block gives, for each axis; may be none."""
        x, y, z = ([_between(axis.lower, part.start) for part in parts] for axis, parts in zip(self.axes, self.samples, strict=True))
        return x, y, z

    def part(self, block: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        """Return which voxels of the network's grid a block needs."""
        x, y, z = (parts[index] for parts, index in zip(self.samples, block, strict=True))
        return (x, y, z)

    def place(self, block: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        """Return which voxels of the image a block gives."""
        x, y, z = (parts[index] for parts, index in zip(self.voxels, block, strict=True))
        return (x, y, z)

    @staticmethod
    def holding(samples: slice) -> slice:
        """Return the blocks that hold voxels of the network's grid."""
        return slice(samples.start // _BLOCK, (samples.stop - 1) // _BLOCK + 1)

    def interpolated(self, values: Float32, block: tuple[int, int, int]) -> Float32:
        """Return values (K, samples) of a block interpolated to (K, voxels), rounded to half precision as nnU-Net keeps them."""
        for number, (axis, index) in enumerate(zip(self.axes, block, strict=True)):
            where = self.voxels[number][index]
            lower = axis.lower[where] - self.samples[number][index].start
            values = _interpolate(values, number + 1, lower, axis.weight[where])
        return values.astype(np.float16).astype(np.float32)


def _between(lower: npt.NDArray[np.intp], first: int) -> slice:
    start, stop = np.searchsorted(lower, [first, first + _BLOCK])
    return slice(int(start), int(stop))


def _interpolate(values: Float32, axis: int, lower: npt.NDArray[np.intp], weight: Float32) -> Float32:
    low = values.take(lower, axis=axis)
    if not weight.any():
        return low
    high = values.take(np.minimum(lower + 1, values.shape[axis] - 1), axis=axis)
    high -= low
    high *= weight.reshape([-1 if number == axis else 1 for number in range(4)])
    low += high
    return low


Decide = Callable[[Float32, "Callable[[Float32], Float32]"], "Array | int"]
"""Logits (C, samples) of a block, and how values of it are interpolated, to labels (voxels), or the one label of the whole block."""


def largest(logits: Float32, interpolated: Callable[[Float32], Float32]) -> Array | int:
    """Return the class with the largest interpolated logit; the first of equal ones."""
    classes = contenders(logits)
    if len(classes) == 1:
        return int(classes[0])
    values = interpolated(logits[classes])
    best, labels = values[0], np.full(values.shape[1:], classes[0], np.uint16)
    for number, value in zip(classes[1:], values[1:], strict=True):
        wins = value > best
        labels[wins] = number
        np.maximum(best, value, out=best)
    return labels


def contenders(logits: Float32, margin: float = 0.0) -> npt.NDArray[np.intp]:
    """Return the classes that no single other one exceeds by `margin` all over a block, ascending.

    Args:
        logits: (C, X, Y, Z).
        margin: In logits.
    """
    flat = logits.reshape(len(logits), -1)
    top, counts = np.unique(flat.argmax(axis=0), return_counts=True)
    tie = _TIE * float(np.abs(flat[top]).max())
    beaten = np.zeros(len(flat), bool)
    for rival in top[np.argsort(-counts, kind="stable")[:_RIVALS]]:
        beaten |= (flat[rival] - flat).min(axis=1) > margin + tie
    return np.flatnonzero(~beaten)


def painted(order: Sequence[int]) -> Decide:
    """Return how regions become labels: each where its probability exceeds one half, later ones over earlier ones.

    Args:
        order: The label of each region, in the order of the channels.
    """

    def decide(logits: Float32, interpolated: Callable[[Float32], Float32]) -> Array | int:
        low, high = logits.min(axis=(1, 2, 3)), logits.max(axis=(1, 2, 3))
        labels: Array | int = 0
        for channel, value in enumerate(order):
            if low[channel] > 0:
                labels = value
            elif high[channel] > 0:
                inside = interpolated(logits[channel : channel + 1])[0] > 0
                labels = np.where(inside, np.uint16(value), np.asarray(labels, np.uint16))
        return labels

    return decide


LabelSlab = Callable[[Array, Half, int], None]
"""Writes labels (voxels) into an array, from the logits (C, samples, Y, Z) of a slab of blocks and its number."""


def on_host(blocks: Blocks, decide: Decide) -> LabelSlab:
    """Return what decides the labels of slabs block by block."""
    return partial(_decide_slab, blocks=blocks, decide=decide)


def labels_of(planes: Iterable[tuple[int, Half]], blocks: Blocks, label_slab: LabelSlab, dtype: type[np.unsignedinteger]) -> Array:
    """Return labels on the image's grid from planes of logits as they are finished.

    Args:
        planes: (first plane, logits (C, n, Y, Z)), ascending.
        blocks: From the network's grid to the image's.
        label_slab: See `LabelSlab`.
        dtype: Of the labels.

    Returns:
        (X, Y, Z).
    """
    labels = np.zeros(blocks.shape, dtype)
    for number, slab in slabs(planes, blocks):
        label_slab(labels[blocks.voxels[0][number]], slab, number)
    return labels


def slabs(planes: Iterable[tuple[int, Half]], blocks: Blocks) -> Iterable[tuple[int, Half]]:
    """Yield (number of a block along the first axis, the logits (C, samples, Y, Z) that it needs) as soon as they are there."""
    parts, number = list(blocks.samples[0]), 0
    held, first = None, 0
    for start, logits in planes:
        if held is None:
            held, first = logits, start
        else:
            held = np.concatenate([held, logits], axis=1)
        while number < len(parts) and parts[number].stop <= first + held.shape[1]:
            yield number, held[:, parts[number].start - first : parts[number].stop - first]
            number += 1
        if number < len(parts):
            done = parts[number].start - first
            held, first = held[:, done:], first + done


def _decide_slab(labels: Array, slab: Half, x: int, blocks: Blocks, decide: Decide) -> None:
    if not labels.size:
        return
    wide = slab.astype(np.float32)
    for y, columns in enumerate(blocks.samples[1]):
        for z, rows in enumerate(blocks.samples[2]):
            place = (slice(None), blocks.voxels[1][y], blocks.voxels[2][z])
            if labels[place].size:
                block = (x, y, z)
                labels[place] = decide(wide[:, :, columns, rows], partial(blocks.interpolated, block=block))
