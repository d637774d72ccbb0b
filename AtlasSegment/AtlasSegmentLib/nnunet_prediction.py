"""What an nnU-Net model says about a CT: labels on its grid, and probabilities of each class when they are asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from AtlasSegmentLib.components import Box, grow_box
from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.nnunet_back import Blocks, contenders
from AtlasSegmentLib.nnunet_image import Layout
from AtlasSegmentLib.nnunet_window import Half
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, from_dense
from AtlasSegmentLib.volume import Array, Grid

if TYPE_CHECKING:
    from AtlasSegmentLib.nnunet_model import NnunetSpec

_FAINT_MARGIN = 8.0
"""A logit this far below another class's: a probability below 3.4e-4, which both byte maps store as 0."""
_NEGLIGIBLE_MARGIN = 14.0
"""Classes this far below another one add less than 1e-6 to the sum of a softmax."""
_IN_MEMORY = 1 << 30  # bytes of logits; more of them lie in a temporary file


@dataclass(frozen=True)
class NnunetPrediction:
    """See `prediction.Prediction`.

    Attributes:
        spec: The model's.
        grid: The network's grid.
        image: Grid of the CT, or of the part of it that was looked at, on the CT's axes.
        layout: Of `image`.
        labels: Label map on `image`.
        logits: (C, X, Y, Z) on the network's grid and nnU-Net's axes, half precision.
        blocks: From the network's grid to the crop of `layout`.
    """

    spec: NnunetSpec
    grid: Grid
    image: Grid
    layout: Layout
    labels: Array
    logits: Half
    blocks: Blocks
    _cache: dict[str, Float32] = field(default_factory=dict, repr=False, compare=False)

    def masks(self, ct: Grid) -> dict[int, SparseVolume]:
        """Return the mask of each label value on the CT's grid."""
        return {value: self._on_ct(self.labels == value, self._whole, ct) for value in self.spec.table.labels}

    def probability(self, ct: Grid, value: int) -> SparseVolume:
        """Return the probability of a label value on the CT's grid: softmax, or sigmoid of a region, of the interpolated logits."""
        return self.share(ct, self.spec.channel_of(value))

    def looked_at(self, ct: Grid) -> Box:
        """Return the voxels of the CT that lie in the part that was looked at."""
        from AtlasSegmentLib.nnunet_region import box_on

        turned, _, first = box_on(self.labels, self._whole, self.image, ct)
        x, y, z = (slice(start, start + size) for start, size in zip(first, turned.shape, strict=True))
        return (x, y, z)

    def share(self, ct: Grid, channel: int) -> SparseVolume:
        """Return the probability of an output channel on the CT's grid, float32; below about 3e-4 it may be 0."""
        found = self._block_range(channel)
        if found is None:
            return SparseVolume(ct, EMPTY_BOX, np.zeros((0, 0, 0), np.float32))
        box = tuple(
            slice(voxels[part.start].start, voxels[part.stop - 1].stop) for voxels, part in zip(self.blocks.voxels, found, strict=True)
        )
        crop = np.zeros(tuple(part.stop - part.start for part in box), np.float32)
        for block in _blocks(found):
            place = self.blocks.place(block)
            inner = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(place, box, strict=True))
            if crop[inner].size:
                crop[inner] = self._block_share(channel, block)
        offset = [part.start + own.start for part, own in zip(box, self.layout.crop, strict=True)]
        where = tuple(slice(first, first + size) for first, size in zip(offset, crop.shape, strict=True))
        axes = self.layout.axes_of_image
        return self._on_ct(self.layout.to_image(crop), (where[axes[0]], where[axes[1]], where[axes[2]]), ct)

    @property
    def _whole(self) -> Box:
        return (slice(0, self.image.shape[0]), slice(0, self.image.shape[1]), slice(0, self.image.shape[2]))

    def _on_ct(self, crop: Array, box: Box, ct: Grid) -> SparseVolume:
        """Return a crop of `image` on the CT's grid: an image with the CT's axes, or one that was reoriented."""
        from AtlasSegmentLib.nnunet_region import box_on

        return from_dense(*box_on(crop, box, self.image, ct))

    def _block_range(self, channel: int) -> tuple[slice, slice, slice] | None:
        """Return the box of blocks in which a class may be more than faint."""
        logits = self.logits[channel]
        lowest = np.float16(0) if self.spec.dataset.has_regions else self._top
        found = logits > lowest - np.float16(_FAINT_MARGIN)
        if not found.any():
            return None
        lines = [np.flatnonzero(found.any(axis=tuple(o for o in range(3) if o != axis))) for axis in range(3)]
        near = grow_box((_span(lines[0]), _span(lines[1]), _span(lines[2])), 1, logits.shape)
        return (self.blocks.holding(near[0]), self.blocks.holding(near[1]), self.blocks.holding(near[2]))

    @cached_property
    def _top(self) -> Half:
        """The largest logit at each voxel of the network's grid."""
        top: Half = self.logits[0].copy()
        for channel in self.logits[1:]:
            np.maximum(top, channel, out=top)
        return top

    def _block_share(self, channel: int, block: tuple[int, int, int]) -> Float32:
        values = self._block(block, [channel])
        if self.spec.dataset.has_regions:
            return _sigmoid(values[0])
        share: Float32 = np.exp(values[0] - self._normalizer[self.blocks.place(block)])
        return share

    @cached_property
    def _normalizer(self) -> Float32:
        """log of the sum of exp of all interpolated logits, on the crop."""
        result = np.zeros(self.blocks.shape, np.float32)
        every = tuple(slice(0, len(parts)) for parts in self.blocks.samples)
        for block in _blocks(every):
            place = self.blocks.place(block)
            if result[place].size:
                samples = self.logits[(slice(None), *self.blocks.part(block))].astype(np.float32)
                values = self.blocks.interpolated(samples[contenders(samples, _NEGLIGIBLE_MARGIN)], block)
                high = values.max(axis=0)
                result[place] = high + np.log(np.exp(values - high).sum(axis=0))
        return result

    def _block(self, block: tuple[int, int, int], channels: list[int]) -> Float32:
        samples = self.logits[(channels, *self.blocks.part(block))].astype(np.float32)
        return self.blocks.interpolated(samples, block)


def _blocks(ranges: Sequence[slice]) -> Iterator[tuple[int, int, int]]:
    x, y, z = (range(part.start, part.stop) for part in ranges)
    return product(x, y, z)


def _span(line: Array) -> slice:
    return slice(int(line[0]), int(line[-1]) + 1)


def _sigmoid(values: Float32) -> Float32:
    share: Float32 = (1 / (1 + np.exp(-values.clip(-80, 80)))).astype(np.float32, copy=False)
    return share


class LogitStore:
    """Logits that are kept while they pass by; in a temporary file when they are large, which ends with the object."""

    def __init__(self, channels: int, shape: tuple[int, int, int]) -> None:
        self._file = None
        if 2 * channels * int(np.prod(shape)) > _IN_MEMORY:
            self._file = tempfile.TemporaryFile(prefix="atlas-logits-")  # noqa: SIM115 - lives as long as the map of it
            self.array: Half = np.memmap(self._file, np.float16, "w+", shape=(channels, *shape))
        else:
            self.array = np.empty((channels, *shape), np.float16)

    def keep(self, planes: Iterable[tuple[int, Half]]) -> Iterator[tuple[int, Half]]:
        """Pass planes on and keep them."""
        for first, logits in planes:
            self.array[:, first : first + logits.shape[1]] = logits
            yield first, logits
