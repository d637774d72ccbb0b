"""Where a correction that was carried to a slice meets the outline of that slice: no gaps, and no crumbs. No MRML.

The outline moves from slice to slice, so that what is carried may lie a little beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

_EIGHT = np.ones((3, 3), np.bool_)


def without_seams(found: Mask, shown: Mask, whole: Mask) -> Mask:
    """Close the gaps that a carried correction left between itself and the outline of a slice, and drop what it cut off.

    Holes and pieces that the slice had before stay as they are.

    Args:
        found: The slice with the correction, (A, B).
        shown: The slice before it.
        whole: The outlines interpolated between the corrected slices: gaps are closed inside, and pieces dropped outside of them.

    Returns:
        Bool, (A, B).
    """
    from scipy.ndimage import binary_fill_holes, label

    gaps = binary_fill_holes(found) & ~found & whole & ~(binary_fill_holes(shown) & ~shown)
    pieces, count = label(found, _EIGHT)
    before, _ = label(shown, _EIGHT)
    sizes = np.bincount(before[shown], minlength=1)
    kept = np.zeros(count + 1, np.bool_)
    kept[np.unique(pieces[found & whole])] = True
    for number in np.flatnonzero(~kept[1:]) + 1:
        piece = pieces == number
        kept[number] = np.count_nonzero(piece) == sizes[before[piece].max()]  # it was a piece of its own
    return np.asarray((found & kept[pieces]) | gaps)
