"""Ribs as pieces: which voxels of all rib labels together are one bone, whatever they are called.

Seen from the axis of the chest a voxel has an angle (0 at the spine, 180 degrees at the breastbone) and a height, and there ribs are
curves that never cross. A piece begins as a 26-connected component of one label; pieces that touch are one rib unless they run
side by side over the same angles at different heights, which only neighboring ribs do.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.repair_midline import Midline
from AtlasSegmentLib.repair_sides import SPLIT_SHARE
from AtlasSegmentLib.repair_space import LabelSpace

BINS = 30  # of 6 degrees
SIDE_BY_SIDE_MM = 9.0
"""Curves this far apart over the same angles are two ribs; a rib itself is about 12 mm high."""
_THICK_MM = 10.0  # standard deviation of the height at one angle and distance from the axis: two ribs in one piece
_THICK_BINS = 3
_SHELL_MM = 25.0  # the first rib is a loop: its two arms have one angle but different distances

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RibVoxels:
    """All voxels of all ribs.

    Attributes:
        index: (N, 3), into the array of the `LabelSpace`.
        world: (N, 3), RAS mm.
        value: (N,) label.
        right: (N,) bool, right of the midline.
        bin: (N,) angle about the axis of the chest, 0..BINS-1.
        shell: (N,) distance from that axis in steps of 25 mm.
        piece: (N,) number of the piece that each voxel belongs to, counted from 0.
        border: (N,) bool, on a face of the image.
    """

    index: Ints
    world: Floats
    value: Ints
    right: npt.NDArray[np.bool_]
    bin: Ints
    shell: Ints
    piece: Ints
    border: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RibPiece:
    """One rib, or a part of it that nothing joins to the rest.

    Attributes:
        number: Number of the piece in `RibVoxels.piece`.
        right: On the patient's right.
        voxels: How many.
        count: (BINS,) voxels at each angle.
        height: (BINS,) mean RAS z in mm at each angle; 0 where there is no voxel.
        cut: Touches the end of the image.
        doubled: Is so thick that it must be two ribs.
    """

    number: int
    right: bool
    voxels: int
    count: Ints
    height: Floats
    cut: bool
    doubled: bool

    def apart(self, other: RibPiece) -> float | None:
        """Return the mean height of this piece above another over the angles that both have, mm; None without one."""
        return _apart(self.count, self.height, other.count, other.height)


def _apart(count_a: Ints, height_a: Floats, count_b: Ints, height_b: Floats) -> float | None:
    weight = np.minimum(count_a, count_b)
    return float((weight * (height_a - height_b)).sum() / weight.sum()) if weight.any() else None


def find_pieces(space: LabelSpace, values: list[int], midline: Midline) -> tuple[RibVoxels, list[RibPiece]]:
    """Return the voxels of the labels `values` and their pieces, the largest first."""
    index, value, piece = _components(space, values)
    world = space.world(index)
    right = midline.rightward(world[:, 0], world[:, 2]) > 0
    piece, right = _split_at_midline(piece, right)
    bins, shell = _around_axis(world, midline)
    joined = _join_touching(index, piece, right, _Curves(piece, bins, world[:, 2]))
    voxels = RibVoxels(index, world, value, right, bins, shell, joined, space.touches_border(index))
    return voxels, describe(voxels)


def _components(space: LabelSpace, values: list[int]) -> tuple[Ints, Ints, Ints]:
    """Return (index, label, number of the component) of every voxel of the labels."""
    index: list[Ints] = []
    value: list[Ints] = []
    piece: list[Ints] = []
    for label in values:
        for part in space.parts(label):
            index.append(np.argwhere(part.mask) + [side.start for side in part.box])
            value.append(np.full(part.voxels, label))
            piece.append(np.full(part.voxels, len(piece)))
    return np.concatenate(index), np.concatenate(value), np.concatenate(piece)


def _split_at_midline(piece: Ints, right: npt.NDArray[np.bool_]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return pieces of one side each: one that lies on both is split, one that hardly crosses stays whole."""
    size, on_right = np.bincount(piece), np.bincount(piece, right)
    split = np.minimum(on_right, size - on_right) >= SPLIT_SHARE * size
    side = np.where(split[piece], right, (2 * on_right > size)[piece])
    return np.unique(2 * piece + side, return_inverse=True)[1], side


def _around_axis(world: Floats, midline: Midline) -> tuple[Ints, Ints]:
    """Return the angle of each voxel about the axis of the chest, in bins and left and right alike, and its distance in shells."""
    low, high = np.percentile(world[:, 1], (1, 99))
    aside, ahead = np.abs(midline.rightward(world[:, 0], world[:, 2])), world[:, 1] - (low + high) / 2
    angle = np.arctan2(aside, -ahead)
    shell = np.hypot(aside, ahead) / _SHELL_MM
    return np.minimum((angle / np.pi * BINS).astype(np.int64), BINS - 1), shell.astype(np.int64)


class _Curves:
    """Voxel count and summed height of every piece at every angle; pieces can be joined."""

    def __init__(self, piece: Ints, bins: Ints, z: Floats) -> None:
        length = (int(piece.max()) + 1) * BINS
        code = piece * BINS + bins
        self.count: Ints = np.bincount(code, minlength=length).reshape(-1, BINS)
        self._sum = np.bincount(code, z, minlength=length).reshape(-1, BINS)

    def side_by_side(self, a: int, b: int) -> bool:
        """Tell whether two pieces run over the same angles at different heights."""
        heights = [self._sum[n] / np.maximum(self.count[n], 1) for n in (a, b)]
        apart = _apart(self.count[a], heights[0], self.count[b], heights[1])
        return apart is not None and abs(apart) > SIDE_BY_SIDE_MM

    def join(self, a: int, b: int) -> None:
        """Add piece b to piece a."""
        self.count[a] += self.count[b]
        self._sum[a] += self._sum[b]


def _join_touching(index: Ints, piece: Ints, right: npt.NDArray[np.bool_], curves: _Curves) -> Ints:
    """Return the pieces after joining those that touch and are one rib; numbers are consecutive."""
    parent = np.arange(len(curves.count))

    def root(number: int) -> int:
        while parent[number] != number:
            number = int(parent[number])
        return number

    first = np.unique(piece, return_index=True)[1]
    for a, b in _touching(index, piece):
        one, two = sorted((root(a), root(b)))
        if one != two and right[first[a]] == right[first[b]] and not curves.side_by_side(one, two):
            parent[two] = one
            curves.join(one, two)
    roots = np.array([root(number) for number in range(len(parent))])
    return np.unique(roots[piece], return_inverse=True)[1]


def _touching(index: Ints, piece: Ints) -> list[tuple[int, int]]:
    """Return the pairs of pieces with voxels next to each other (26-connectivity), those with the most contact first."""
    low = index.min(axis=0) - 1
    shape = index.max(axis=0) - low + 2
    grid = np.zeros(shape, np.int32)
    x, y, z = (index - low).T
    grid[x, y, z] = piece + 1
    codes = []
    for dx, dy, dz in [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]:
        other = grid[x + dx, y + dy, z + dz].astype(np.int64) - 1
        met = (other >= 0) & (other != piece)
        pair = np.sort(np.stack([piece[met], other[met]]), axis=0)
        codes.append(pair[0] * (int(piece.max()) + 1) + pair[1])
    found, contact = np.unique(np.concatenate(codes), return_counts=True)
    ordered = found[np.lexsort((found, -contact))].tolist()
    return [divmod(code, int(piece.max()) + 1) for code in ordered]


def describe(voxels: RibVoxels) -> list[RibPiece]:
    """Return the pieces that the voxels are numbered by, the largest first."""
    total = int(voxels.piece.max()) + 1
    code, z = voxels.piece * BINS + voxels.bin, voxels.world[:, 2]
    count = np.bincount(code, minlength=total * BINS)
    height = np.bincount(code, z, minlength=count.size) / np.maximum(count, 1)
    count, height = count.reshape(total, BINS), height.reshape(total, BINS)
    cut = np.bincount(voxels.piece, voxels.border, minlength=total) > 0
    thick = _thick_bins(voxels) >= _THICK_BINS
    right = voxels.right[np.unique(voxels.piece, return_index=True)[1]]
    pieces = [RibPiece(n, bool(right[n]), int(count[n].sum()), count[n], height[n], bool(cut[n]), bool(thick[n])) for n in range(total)]
    return sorted(pieces, key=lambda piece: (-piece.voxels, piece.number))


def _thick_bins(voxels: RibVoxels) -> Ints:
    """Return at how many angles each piece is thicker than a rib."""
    shells = int(voxels.shell.max()) + 1
    cell, where = np.unique((voxels.piece * BINS + voxels.bin) * shells + voxels.shell, return_inverse=True)
    size, z = np.bincount(where), voxels.world[:, 2]
    spread = np.sqrt(np.bincount(where, (z - (np.bincount(where, z) / size)[where]) ** 2) / size)
    thick = np.unique(cell[spread > _THICK_MM] // shells)
    return np.bincount(thick // BINS, minlength=int(voxels.piece.max()) + 1)
