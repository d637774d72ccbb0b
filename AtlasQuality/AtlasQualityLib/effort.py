"""How long a person needs to correct an organ: a simple model, until measured times replace it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from AtlasSegmentLib import geometry
from AtlasSegmentLib.sparse import SparseVolume, is_empty


@dataclass(frozen=True)
class EditingTime:
    """Speed of an editor; the defaults are assumptions, not measurements.

    Attributes:
        open_seconds: To open the organ and see what is wrong.
        slice_seconds: To go to one slice and start there.
        cm2_seconds: To draw one square centimeter of correction.
        slice_threshold_mm2: A slice is touched when its expected error is larger than this.
    """

    open_seconds: float = 20.0
    slice_seconds: float = 4.0
    cm2_seconds: float = 3.0
    slice_threshold_mm2: float = 25.0


def minutes_to_correct(error: SparseVolume, time: EditingTime) -> float:
    """Return the minutes that correcting the expected error takes; 0 when there is none.

    Args:
        error: Probability of error at each voxel, float32.
        time: The editor's speed.
    """
    if is_empty(error.box):
        return 0.0
    order, _ = geometry.reorientation(geometry.orientation_of(error.grid.affine), "RAS")
    axial = order[2]
    thickness = geometry.spacing_of(error.grid.affine)[axial]
    across = tuple(axis for axis in range(3) if axis != axial)
    area = error.crop.sum(axis=across, dtype=np.float64) * error.grid.voxel_volume_mm3 / thickness
    touched = area > time.slice_threshold_mm2
    if not touched.any():
        return time.open_seconds / 60
    drawn = float(area[touched].sum()) / 100
    return (time.open_seconds + time.slice_seconds * int(touched.sum()) + time.cm2_seconds * drawn) / 60
