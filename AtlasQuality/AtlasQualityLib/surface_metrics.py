"""How well two masks agree: overlap, surfaces by two conventions, volumes, place, and parts found; every number has one name here.

Distances without "voxel" in their name are by surface element, as DeepMind's `surface-distance` (see `metrics_elements`); those with it
are by surface voxel, as medpy (see `metrics_voxels`). Both stand side by side since published tables use either.

Edge cases: two empty masks give NaN everywhere (there is nothing to compare) but in volumes and counts; where one alone is empty,
Dice, IoU and NSD are 0, the distances infinite, and the difference of centroids NaN. `Agreement.presence` says which of these it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.metrics_detection import OVERLAP, ComponentDetection, match_components, require_overlap
from AtlasQualityLib.metrics_elements import (
    Surfaces,
    average_distance,
    robust_hausdorff,
    surface_dice,
    surface_distances,
    surfaces_of,
)
from AtlasQualityLib.metrics_pair import MaskPair, mask_pair
from AtlasQualityLib.metrics_runs import runs_of, shared_voxels
from AtlasQualityLib.metrics_voxels import voxel_distances_of
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.volume import Array

__all__ = [
    "BOTH",
    "EXTRA",
    "MISSED",
    "NEITHER",
    "TOLERANCES_MM",
    "Agreement",
    "MetricOptions",
    "Surfaces",
    "average_distance",
    "compare_masks",
    "compare_pair",
    "nsd_name",
    "robust_hausdorff",
    "surface_dice",
    "surface_distances",
]

TOLERANCES_MM = (1.0, 2.0)
BOTH, MISSED, EXTRA, NEITHER = "both", "missed", "extra", "neither"
"""Which of mask and reference have a voxel: both, the reference alone, the mask alone, none."""


@dataclass(frozen=True)
class MetricOptions:
    """What can be chosen.

    Attributes:
        tolerances: Tolerances of NSD in mm, beside 1 and 2.
        overlap: IoU from which on a part counts as found, above 0 and up to 1.

    Raises:
        InputError: A tolerance is negative or no number, or the overlap is out of range.
    """

    tolerances: tuple[float, ...] = ()
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        require_overlap(self.overlap)
        for tolerance in self.tolerances:
            if not (math.isfinite(tolerance) and tolerance >= 0):
                message = f"the tolerance of a surface Dice is {tolerance} mm."
                raise InputError(message, "Give millimeters, such as 3.")


@dataclass(frozen=True)
class Agreement:
    """Agreement of a mask with a reference.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|), 0..1; NaN when both are empty.
        iou: |A and B| / |A or B|, 0..1; NaN when both are empty.
        nsd_1mm, nsd_2mm: Share of both surfaces that lies within 1 or 2 mm of the other one, 0..1; NaN when both are empty.
        hd_mm, hd95_mm: All, or 95 %, of the area of each surface lies within this distance of the other; infinite when one is empty,
            NaN when both are.
        assd_mm: Mean of the two average distances, weighted by area; infinite or NaN as hd95_mm.
        hd_voxel_mm: Largest distance of a surface voxel, in both directions; this and what follows infinite or NaN as hd95_mm.
        hd95_voxel_mm: 95th percentile of the distances of all surface voxels of both masks.
        assd_voxel_mm: Mean of the mean distances of the two directions.
        assd_voxel_pooled_mm: Mean of the distances of all surface voxels of both masks.
        volume_ml, reference_ml: Volumes.
        difference_ml: Volume of the mask minus that of the reference.
        difference_percent: The same in percent of the reference; NaN when the reference is empty.
        centroid_mm: Distance of the centroids; NaN when one mask is empty.
        shift_mm: Centroid of the mask minus that of the reference along the axes of the coordinates: to the right, front and head
            where an affine to RAS was given, along the array axes where voxel sizes were; NaN as centroid_mm.
        parts: Connected parts found, missed and wrongly added.
        presence: BOTH, MISSED, EXTRA or NEITHER.
        other_nsd: Tolerance in mm to NSD, for the tolerances that were asked for.
    """

    dice: float
    iou: float
    nsd_1mm: float
    nsd_2mm: float
    hd_mm: float
    hd95_mm: float
    assd_mm: float
    hd_voxel_mm: float
    hd95_voxel_mm: float
    assd_voxel_mm: float
    assd_voxel_pooled_mm: float
    volume_ml: float
    reference_ml: float
    difference_ml: float
    difference_percent: float
    centroid_mm: float
    shift_mm: tuple[float, float, float]
    parts: ComponentDetection
    presence: str
    other_nsd: Mapping[float, float] = field(default_factory=dict)

    def numbers(self) -> dict[str, float]:
        """Return every number by its name in tables; shift_mm as right_mm, front_mm and head_mm, parts_... of the parts."""
        found = {name: value for name, value in vars(self).items() if isinstance(value, (int, float))}
        found.update(zip(("right_mm", "front_mm", "head_mm"), self.shift_mm, strict=True))
        found.update({f"parts_{name}": getattr(self.parts, name) for name in _PARTS})
        found.update({nsd_name(tolerance): value for tolerance, value in self.other_nsd.items()})
        return found


_PARTS = ("found", "missed", "false_positives", "precision", "recall", "f1")


def nsd_name(tolerance_mm: float) -> str:
    """Return the column of NSD at a tolerance, such as nsd_3mm."""
    return f"nsd_{tolerance_mm:g}mm"


def compare_masks(mask: Array, reference: Array, axes: npt.ArrayLike, options: MetricOptions | None = None) -> Agreement:
    """Compare two masks of one grid.

    Args:
        mask: (X, Y, Z), 0 is outside; any dtype and memory order.
        reference: The same.
        axes: Voxel sizes in mm (3,), or an affine (3, 3) or (4, 4) whose columns are the steps of the array axes in mm.
        options: Tolerances and overlap.

    Raises:
        GeometryError: The shapes differ, or the axes have no volume.
    """
    return compare_pair(mask_pair(mask, reference, axes), options)


def compare_pair(pair: MaskPair, options: MetricOptions | None = None) -> Agreement:
    """Compare two masks that are cropped already; see `compare_masks`."""
    chosen = options or MetricOptions()
    surfaces, voxels = surfaces_of(pair), voxel_distances_of(pair)
    ours, theirs = runs_of(pair.mask), runs_of(pair.reference)
    size, reference_size, both = int(ours.lengths.sum()), int(theirs.lengths.sum()), int(shared_voxels(ours, theirs)[2].sum())
    total = size + reference_size
    shift = pair.axes @ (ours.centroid() - theirs.centroid())
    return Agreement(
        dice=2 * both / total if total else math.nan,
        iou=both / (total - both) if total else math.nan,
        nsd_1mm=surface_dice(surfaces, TOLERANCES_MM[0]),
        nsd_2mm=surface_dice(surfaces, TOLERANCES_MM[1]),
        hd_mm=robust_hausdorff(surfaces, 100),
        hd95_mm=robust_hausdorff(surfaces),
        assd_mm=average_distance(surfaces),
        hd_voxel_mm=voxels.hausdorff(),
        hd95_voxel_mm=voxels.hausdorff_95(),
        assd_voxel_mm=voxels.mean_of_both(),
        assd_voxel_pooled_mm=voxels.pooled_mean(),
        volume_ml=size * pair.voxel_ml,
        reference_ml=reference_size * pair.voxel_ml,
        difference_ml=(size - reference_size) * pair.voxel_ml,
        difference_percent=100 * (size - reference_size) / reference_size if reference_size else math.nan,
        centroid_mm=float(np.linalg.norm(shift)),
        shift_mm=(float(shift[0]), float(shift[1]), float(shift[2])),
        parts=match_components(ours, theirs, chosen.overlap),
        presence=_presence(size, reference_size),
        other_nsd={tolerance: surface_dice(surfaces, tolerance) for tolerance in chosen.tolerances if tolerance not in TOLERANCES_MM},
    )


def _presence(size: int, reference_size: int) -> str:
    if size and reference_size:
        return BOTH
    return EXTRA if size else MISSED if reference_size else NEITHER
