"""One piece for each label: what a neighbor cuts off goes to the label around it; what the border of the scan cuts off stays."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.components import Box


def keep_connected(labels: npt.NDArray[np.uint8], many: Collection[int] = ()) -> int:
    """Give all but the largest piece (26 neighbors) of each label to the label that surrounds it most, in place.

    A piece at the border of the volume hangs together with the rest outside of it, so it is left alone.

    Args:
        labels: (X, Y, Z).
        many: Values of structures that are several pieces in people too; they are left alone.

    Returns:
        How many voxels changed.
    """
    import cc3d
    from scipy import ndimage

    pieces, count = cc3d.connected_components(labels, connectivity=26, return_N=True)
    if count == 0:
        return 0
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    boxes: list[Box] = ndimage.find_objects(pieces)
    owner = np.zeros(count + 1, labels.dtype)
    for piece, box in enumerate(boxes, start=1):
        owner[piece] = labels[box][pieces[box] == piece][0]
    largest: dict[int, int] = {}
    for piece in range(1, count + 1):
        value = int(owner[piece])
        if value not in largest or sizes[piece] > sizes[largest[value]]:
            largest[value] = piece
    changed = 0
    stray = [piece for piece in range(1, count + 1) if largest[int(owner[piece])] != piece and owner[piece] not in many]
    stray = [piece for piece in stray if not _at_border(boxes[piece - 1], labels.shape)]
    for piece in sorted(stray, key=lambda number: sizes[number]):
        changed += _absorb(labels, pieces, piece, boxes[piece - 1])
    return changed


def _at_border(box: Box, shape: tuple[int, ...]) -> bool:
    return any(side.start == 0 or side.stop == size for side, size in zip(box, shape, strict=True))


def _absorb(labels: npt.NDArray[np.uint8], pieces: npt.NDArray[Any], piece: int, box: Box) -> int:
    """Give a piece to the label that most of its neighbors have."""
    from scipy import ndimage

    wide = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
    mine = pieces[wide] == piece
    around = ndimage.binary_dilation(mine, np.ones((3, 3, 3), bool)) & ~mine
    neighbors = labels[wide][around]
    value = np.bincount(neighbors).argmax() if neighbors.size else 0
    labels[wide][mine] = value
    return int(np.count_nonzero(mine))
