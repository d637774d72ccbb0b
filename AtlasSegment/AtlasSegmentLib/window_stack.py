"""Values of many channels on one grid, kept as the boxes in which they matter; in a temporary file when they are many."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.components import Box, bounding_box, grow_box
from AtlasSegmentLib.errors import StorageError
from AtlasSegmentLib.sparse import box_shape, intersection, is_empty, relative, union
from AtlasSegmentLib.volume import Array

_IN_MEMORY = 1 << 30  # bytes; what comes after them lies in a temporary file


@dataclass(frozen=True)
class _Part:
    box: Box
    values: Array | None  # None: in the file
    offset: int = 0


class ChannelStack:
    """Channels of a grid that arrive plane by plane.

    Every voxel whose value exceeds `above`, and every neighbor of one (26 neighbors), comes back as it was given; others may come back
    as `fill`.

    Args:
        channels: How many.
        shape: (X, Y, Z) of the grid.
        order: Which of the grid's axes are the axes of the planes that arrive; they arrive along the first of these.
        dtype: In which they are kept.
        above: Values up to this need not be kept.
        fill: What stands for them.
        whole: Keep every value of the first so many channels.
        in_memory: Bytes to keep in memory at most.
    """

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int, int],
        dtype: npt.DTypeLike,
        *,
        order: tuple[int, int, int] = (0, 1, 2),
        above: float = 0.0,
        fill: float = 0.0,
        whole: int = 0,
        in_memory: int = _IN_MEMORY,
    ) -> None:
        self.shape = (channels, *shape)
        self.dtype = np.dtype(dtype)
        self._order, self._back = order, tuple(int(axis) for axis in np.argsort(order))
        self._planes = tuple(shape[axis] for axis in order)
        self._above, self._fill, self._whole, self._in_memory = above, fill, whole, in_memory
        self._parts: list[list[_Part]] = [[] for _ in range(channels)]
        self._found: list[list[Box]] = [[] for _ in range(channels)]
        self._waiting: tuple[int, Array] | None = None
        self._before: list[Box | None] = [None] * channels
        self._now: list[Box | None] = [None] * channels
        self._bytes = 0
        self._file: IO[bytes] | None = None

    def add(self, first: int, values: Array) -> None:
        """Take the planes that follow, from plane `first` on: (C, n, ...) with axes in `order`; they must not change later."""
        kept = values.astype(self.dtype, copy=False)
        found = [self._box_in(first, channel) for channel in kept]
        if self._waiting is not None:
            self._keep(*self._waiting, after=found)
            self._before = self._now
        self._waiting, self._now = (first, kept), found
        for boxes, box in zip(self._found, found, strict=True):
            boxes.extend([] if box is None else [box])

    def finish(self) -> None:
        """Say that there are no more planes."""
        if self._waiting is not None:
            self._keep(*self._waiting, after=[None] * len(self._parts))
            self._waiting = None

    def found(self, channel: int) -> Box | None:
        """Return the box of values above the limit, or None when there is none."""
        box = union(self._found[channel])
        return None if is_empty(box) else _permuted(box, self._back)

    def crop(self, channel: int, box: Box) -> Array:
        """Return the values of a channel in a box of the grid."""
        wanted = _permuted(box, self._order)
        result = np.full(box_shape(wanted), self._fill, self.dtype)
        for part in self._parts[channel]:
            shared = intersection(part.box, wanted)
            if shared is not None:
                result[relative(shared, wanted)] = self._values(part)[relative(shared, part.box)]
        return result.transpose(self._back)

    def _box_in(self, first: int, planes: Array) -> Box | None:
        box = bounding_box(planes > np.float32(self._above))
        return None if box is None else (slice(box[0].start + first, box[0].stop + first), box[1], box[2])

    def _keep(self, first: int, values: Array, after: list[Box | None]) -> None:
        planes = slice(first, first + values.shape[1])
        for channel, near in enumerate(zip(self._before, self._now, after, strict=True)):
            box: Box | None = (planes, slice(0, self._planes[1]), slice(0, self._planes[2]))
            if channel >= self._whole:
                boxes = [part for part in near if part is not None]
                box = intersection(grow_box(union(boxes), 1, self._planes), box) if boxes and box is not None else None
            if box is not None:
                self._store(channel, box, values[channel][(slice(box[0].start - first, box[0].stop - first), *box[1:])])

    def _store(self, channel: int, box: Box, values: Array) -> None:
        if self._bytes + values.nbytes <= self._in_memory:
            self._bytes += values.nbytes
            self._parts[channel].append(_Part(box, values.copy()))
            return
        try:
            file = self._opened()
            file.seek(0, 2)
            self._parts[channel].append(_Part(box, None, file.tell()))
            file.write(np.ascontiguousarray(values).tobytes())
        except OSError as error:
            message = f"Probabilities that do not fit into memory cannot be kept in {tempfile.gettempdir()} ({error.strerror or error})."
            raise StorageError(message, "Free space there, or let TMPDIR name a folder with more of it.") from error

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="atlas-probabilities-")  # noqa: SIM115 - lives as long as this object
            weakref.finalize(self, self._file.close)
        return self._file

    def _values(self, part: _Part) -> Array:
        if part.values is not None:
            return part.values
        file, shape = self._opened(), box_shape(part.box)
        file.seek(part.offset)
        return np.frombuffer(file.read(int(np.prod(shape)) * self.dtype.itemsize), self.dtype).reshape(shape)


def _permuted(box: Box, order: Sequence[int]) -> Box:
    return (box[order[0]], box[order[1]], box[order[2]])
