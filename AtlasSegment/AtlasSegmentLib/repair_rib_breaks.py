"""Broken ribs: pieces that a gap separates and that continue each other are one rib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from AtlasSegmentLib.repair_rib_pieces import SIDE_BY_SIDE_MM, RibPiece, RibVoxels, describe

_MOST_GAP = 8  # bins of angle: a quarter of the way around the chest
_REACH = 4  # bins at an end that tell which way a rib runs
_LEAST = 2
SPECK_SHARE = 0.02
"""What is smaller than this share of the largest piece is no rib and continues none."""


def join_broken(voxels: RibVoxels, pieces: Sequence[RibPiece]) -> tuple[RibVoxels, list[RibPiece]]:
    """Join the pieces of broken ribs.

    Two pieces are one rib when each, drawn on over the gap, meets the other within half the height of a rib gap (9 mm). Those that
    meet best are joined first, and each end is used once.

    Returns:
        The voxels with new piece numbers, and the pieces, the largest first.
    """
    ribs = [piece for piece in pieces if piece.voxels >= SPECK_SHARE * pieces[0].voxels]
    pairs = sorted((miss, a.number, b.number) for a in ribs for b in ribs if (miss := _miss(a, b)) is not None)
    follows: dict[int, int] = {}
    led: set[int] = set()
    for _, a, b in pairs:
        if a not in follows and b not in led:
            follows[a] = b
            led.add(b)
    if not follows:
        return voxels, list(pieces)
    first = np.arange(len(pieces))
    for start in [n for n in range(len(pieces)) if n not in led]:
        number = start
        while number in follows:
            number = follows[number]
            first[number] = start
    joined = replace(voxels, piece=np.unique(first[voxels.piece], return_inverse=True)[1])
    return joined, describe(joined)


def _miss(a: RibPiece, b: RibPiece) -> float | None:
    """Return by how many mm two pieces miss each other over the gap from a's front end to b's back end; None if they are two ribs."""
    front, back = int(np.flatnonzero(a.count)[-1]), int(np.flatnonzero(b.count)[0])
    # One bin may be shared: the break can lie inside it.
    if a.right is not b.right or a is b or not 0 <= back - front <= _MOST_GAP or int(np.flatnonzero(b.count)[-1]) <= front:
        return None
    slopes = [slope for slope in (_slope(a, front), _slope(b, back)) if slope is not None]
    if not slopes:
        return None
    gap, rise = back - front, b.height[back] - a.height[front]
    misses = [abs(rise - slope * gap) for slope in slopes]
    return max(misses) if max(misses) <= SIDE_BY_SIDE_MM else None


def _slope(piece: RibPiece, end: int) -> float | None:
    """Return the rise in mm a bin near an end of a piece, None when it is too short to tell."""
    bins = np.flatnonzero(piece.count)
    near = bins[np.abs(bins - end) < _REACH]
    if len(near) < _LEAST:
        return None
    return float(np.polyfit(near, piece.height[near], 1, w=np.sqrt(piece.count[near]))[0])
