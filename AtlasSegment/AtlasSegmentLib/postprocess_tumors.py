"""Which parts of a predicted tumor or cyst are kept (AbdomenAtlas post-processing, classes 26 to 32)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from AtlasSegmentLib.components import Mask, bounding_box, box_dilate, box_erode, grow_box, largest_components, placed

REFERENCE_VOXEL_MM3 = 1.5**3
"""AbdomenAtlas states its thresholds as voxel counts on a 1.5 mm grid; one such voxel in cubic mm."""

_REGION_RADIUS = 2
"""The organ region is closed and then dilated by a cube of 5 voxels."""


@dataclass(frozen=True)
class TumorRule:
    """Keep the `keep` largest components with more than `min_voxels` (at 1.5 mm), if `organs` is set only near these.

    Attributes:
        keep: How many components may stay.
        min_voxels: A component must have strictly more than this many voxels of 1.5 mm, that is `min_volume_mm3`.
        organs: AbdomenAtlas classes whose union the tumor must lie in; empty for no such limit.
    """

    keep: int
    min_voxels: int
    organs: tuple[int, ...] = ()

    @property
    def min_volume_mm3(self) -> float:
        """A component must be strictly larger than this."""
        return self.min_voxels * REFERENCE_VOXEL_MM3


TUMOR_RULES = {
    26: TumorRule(5, 80, (2, 3)),
    27: TumorRule(20, 20, (6,)),
    28: TumorRule(1, 100),
    29: TumorRule(10, 80),
    30: TumorRule(10, 30),
    31: TumorRule(3, 100),
    32: TumorRule(20, 20),
}
"""By AbdomenAtlas class: kidney, liver, pancreas, hepatic vessel, lung and colon tumor, kidney cyst."""


def postprocess_tumor(tumor: Mask, organs: Sequence[Mask], rule: TumorRule, voxel_volume_mm3: float) -> Mask:
    """Return the part of a tumor mask that its rule keeps.

    Args:
        tumor: Raw mask, bool (X, Y, Z); not changed.
        organs: Raw masks of `rule.organs` on the same grid, as far as the model has them. With none of them the tumor is
            not limited to an organ; with empty ones nothing of it is kept, as in AbdomenAtlas. An organ mask must include its
            tumors (a model with exclusive labels must add them), for closing gives back only holes up to 4 voxels wide.
        rule: See TUMOR_RULES.
        voxel_volume_mm3: Volume of one voxel; the threshold is compared in cubic mm, so that it means the same at any spacing.
    """
    if rule.organs and organs:
        tumor = _inside_organs(tumor, organs, len(rule.organs))
    # Spacings come from float32 headers: a hair more keeps a component of exactly the threshold out at every spacing.
    more_than = rule.min_volume_mm3 / voxel_volume_mm3 * (1 + 1e-6)
    return largest_components(tumor, rule.keep, more_than)


def _inside_organs(tumor: Mask, organs: Sequence[Mask], keep: int) -> Mask:
    box = bounding_box(tumor)
    if box is None:
        return placed(tumor, None, None)
    union = organs[0] if len(organs) == 1 else np.logical_or.reduce(organs)
    main = largest_components(union, keep)
    # Closing and dilation look 3 radii far: nothing of the organ farther from the tumor can matter.
    near = grow_box(box, 3 * _REGION_RADIUS, tumor.shape)
    region = _region(main[near])
    inner = tuple(slice(b.start - n.start, b.stop - n.start) for b, n in zip(box, near, strict=True))
    return placed(tumor, box, tumor[box] & region[inner])


def _region(organ: Mask) -> Mask:
    """Close, then dilate; with a margin, for without it closing would cut an organ back where the image ends."""
    margin = 2 * _REGION_RADIUS
    padded = np.pad(organ, margin)
    closed = box_erode(box_dilate(padded, _REGION_RADIUS), _REGION_RADIUS)
    inner = slice(margin, -margin)
    return box_dilate(closed, _REGION_RADIUS)[inner, inner, inner]
