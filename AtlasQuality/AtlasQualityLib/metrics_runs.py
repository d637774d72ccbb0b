"""Masks as runs of voxels along the last axis: a mask of ten million voxels has some ten thousand of them.

Connected components, overlaps and centroids come from the runs, without an array of numbers for every voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from AtlasQualityLib.metrics_nearest import Int64
from AtlasQualityLib.surface_table import Float64
from AtlasSegmentLib.components import Mask

_SLAB_VOXELS = 1 << 20
_ROWS_AFTER = ((0, 1), (1, -1), (1, 0), (1, 1))
"""The neighbors of a row that come after it; the other four are the same pairs from the other side."""


@dataclass(frozen=True)
class Runs:
    """The runs of a mask, in C order.

    Attributes:
        shape: Shape of the mask.
        rows: (n, 2) first and second index of each run.
        starts: Its first voxel along the last axis, (n,).
        stops: The voxel after its last one.
    """

    shape: tuple[int, ...]
    rows: Int64
    starts: Int64
    stops: Int64

    @property
    def lengths(self) -> Int64:
        """Voxels of each run."""
        return self.stops - self.starts

    def centroid(self) -> Float64:
        """Return the mean index of the voxels, float64 (3,); NaN when there is none."""
        lengths = self.lengths
        if not lengths.size:
            return np.full(3, np.nan)
        twice = [2 * self.rows[:, 0] @ lengths, 2 * self.rows[:, 1] @ lengths, (self.starts + self.stops - 1) @ lengths]
        return np.array(twice) / (2 * int(lengths.sum()))  # whole numbers until here: exact

    def _keys(self, step: tuple[int, int] = (0, 0)) -> Int64:
        """Return where each run's row begins on one line, with a gap between rows; `step` rows further on."""
        first, second = self.rows[:, 0] + step[0], self.rows[:, 1] + step[1]
        return np.asarray((first * (self.shape[1] + 2) + second) * (self.shape[2] + 2))


def runs_of(mask: Mask) -> Runs:
    """Return the runs of a mask, bool (X, Y, Z), C order."""
    rows, starts, stops = [], [], []
    length, width, depth = mask.shape
    thick = max(1, _SLAB_VOXELS // max(1, width * depth))
    for first in range(0, length, thick):
        slab = mask[first : first + thick]
        line = np.zeros(len(slab) * width * (depth + 1) + 1, np.bool_)  # one voxel of outside before each row and at the end
        line[:-1].reshape(len(slab), width, depth + 1)[:, :, 1:] = slab
        edges = np.flatnonzero(line[1:] != line[:-1])
        row, start = np.divmod(edges[0::2], depth + 1)
        rows.append(np.column_stack([row // width + first, row % width]) if width else np.zeros((0, 2), np.int64))
        starts.append(start)
        stops.append(edges[1::2] - row * (depth + 1))
    if not rows:
        none = np.zeros(0, np.int64)
        return Runs(mask.shape, np.zeros((0, 2), np.int64), none, none)
    return Runs(mask.shape, np.concatenate(rows), np.concatenate(starts), np.concatenate(stops))


def touching(one: Runs, two: Runs, step: tuple[int, int], reach: int) -> tuple[Int64, Int64]:
    """Return pairs (index in `one`, index in `two`) of runs whose rows are `step` apart and that come within `reach` voxels.

    Args:
        one: Runs.
        two: Runs of a mask of the same shape.
        step: What is added to the row of a run of `one` to find that of `two`.
        reach: 0 for runs that share a voxel, 1 for such as touch too.
    """
    own, other = one._keys(step), two._keys()
    # Runs of a row neither overlap nor touch, so that starts and stops both ascend.
    first = np.searchsorted(other + two.stops, own + one.starts - reach, side="right")
    last = np.searchsorted(other + two.starts, own + one.stops + reach, side="left")
    counts = np.maximum(last - first, 0)
    left = np.repeat(np.arange(len(counts)), counts)
    begins = np.cumsum(counts) - counts
    return left, np.arange(len(left)) - np.repeat(begins - first, counts)


def components_of(runs: Runs) -> tuple[int, Int64]:
    """Return the number of 26-connected components of a mask, and the component of each of its runs, 0...; in no special order."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    count = len(runs.starts)
    if not count:
        return 0, np.zeros(0, np.int64)
    pairs = [touching(runs, runs, step, 1) for step in _ROWS_AFTER]
    one, two = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    graph = csr_array((np.ones(len(one), np.bool_), (one, two)), shape=(count, count))
    number, component = connected_components(graph, directed=False)
    return int(number), component.astype(np.int64)


def shared_voxels(one: Runs, two: Runs) -> tuple[Int64, Int64, Int64]:
    """Return (index in `one`, index in `two`, voxels shared) of the runs that overlap."""
    left, right = touching(one, two, (0, 0), 0)
    shared = np.minimum(one.stops[left], two.stops[right]) - np.maximum(one.starts[left], two.starts[right])
    return left, right, shared
