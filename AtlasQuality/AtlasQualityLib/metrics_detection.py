"""Detection by component: which connected parts of a reference (lesions, vertebrae, stones) a mask has found.

A part is a 26-connected component. A part of the mask matches one of the reference when their IoU reaches a threshold; each part
matches at most one, and as many as possible do (maximum bipartite matching), so that the order in which parts are numbered does not
matter. A reference part that is predicted in two pieces is therefore found at most once, and the other piece is a false positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from AtlasQualityLib.metrics_nearest import Int64
from AtlasQualityLib.metrics_runs import Runs, components_of, runs_of, shared_voxels
from AtlasQualityLib.surface_table import Float64
from AtlasSegmentLib.components import Mask
from AtlasSegmentLib.errors import InputError

OVERLAP = 0.1
"""IoU from which on a part counts as found, unless another one is asked for."""
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ComponentDetection:
    """How many parts were found.

    Attributes:
        found: Parts of the reference that match one of the mask.
        missed: Parts of the reference that match none.
        false_positives: Parts of the mask that match none.
    """

    found: int
    missed: int
    false_positives: int

    @property
    def precision(self) -> float:
        """Share of the mask's parts that are right, 0..1; NaN when the mask has none."""
        return _share(self.found, self.found + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the reference's parts that were found, 0..1; NaN when the reference has none."""
        return _share(self.found, self.found + self.missed)

    @property
    def f1(self) -> float:
        """2 found / (2 found + missed + false positives), 0..1; NaN when neither side has a part."""
        return _share(2 * self.found, 2 * self.found + self.missed + self.false_positives)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def require_overlap(overlap: float) -> None:
    """Check the IoU from which on a part counts as found. Raises InputError when it is not above 0 and up to 1."""
    if not 0 < overlap <= 1:
        message = f"the overlap from which on a part counts as found is {overlap}."
        raise InputError(message, "Give a number above 0 and up to 1, such as 0.1 or 0.5.")


def detect_components(mask: Mask, reference: Mask, overlap: float = OVERLAP) -> ComponentDetection:
    """Match the parts of two masks.

    Args:
        mask: bool (X, Y, Z).
        reference: The same shape.
        overlap: IoU from which on two parts match, above 0 and up to 1.

    Raises:
        InputError: `overlap` is out of range.
    """
    return match_components(runs_of(np.ascontiguousarray(mask)), runs_of(np.ascontiguousarray(reference)), overlap)


def match_components(ours: Runs, theirs: Runs, overlap: float = OVERLAP) -> ComponentDetection:
    """Match the parts of two masks of one shape, given as runs; arguments and errors as `detect_components`."""
    require_overlap(overlap)
    (count, component), (reference_count, reference_component) = components_of(ours), components_of(theirs)
    if not count or not reference_count:
        return ComponentDetection(0, reference_count, count)
    sizes = _sums(component, ours.lengths, count), _sums(reference_component, theirs.lengths, reference_count)
    one, two, shared = shared_voxels(ours, theirs)
    pairs, group = np.unique(component[one] * reference_count + reference_component[two], return_inverse=True)
    found = _matches(np.divmod(pairs, reference_count), _sums(group, shared, len(pairs)), sizes, overlap)
    return ComponentDetection(found, reference_count - found, count - found)


def _sums(numbers: Int64, voxels: Int64, count: int) -> Float64:
    """Return the voxels of each of `count` numbers together."""
    return np.bincount(numbers, voxels, count).astype(np.float64)


def _matches(pairs: tuple[Int64, Int64], shared: Float64, sizes: tuple[Float64, Float64], overlap: float) -> int:
    """Return how many parts can be matched one to one, from the voxels that pairs of them share and the sizes of all."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    one, two = pairs
    fits = shared / (sizes[0][one] + sizes[1][two] - shared) >= overlap - _ROUNDING
    edges = csr_array((np.ones(int(fits.sum()), np.uint8), (one[fits], two[fits])), shape=(len(sizes[0]), len(sizes[1])))
    return int((maximum_bipartite_matching(edges, perm_type="column") >= 0).sum())
