"""Two readings of a task to be adjudicated: both masks, and the regions that only one of them has, the largest first. No MRML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.hot_spots import organ_box, place_in_words
from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.double_reading import NAMES, disagreement, readings
from AtlasReviewLib.review_case import read_mask_sparse
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib import geometry
from AtlasSegmentLib.components import find_components
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, is_empty, trimmed, union
from AtlasSegmentLib.volume import Grid, require_same_grid

Point = tuple[float, float, float]

_DECIMALS = 4  # of a mm


@dataclass(frozen=True)
class Difference:
    """One region where two masks differ.

    Attributes:
        center: RAS mm of the voxel of the region that is nearest to its centroid.
        volume_mm3: Volume of the region.
        place: Where it lies in what either mask holds, in the patient's directions, such as "upper pole, left side".
        in_a_share: Part of the region that mask A holds and B does not, 0..1; the rest is B's alone.
    """

    center: Point
    volume_mm3: float
    place: str
    in_a_share: float


@dataclass(frozen=True)
class Compared:
    """Two readings of a task.

    Attributes:
        masks: "A" and "B" to a mask, uint8 0/1 on the grid of the case.
        verdicts: "A" and "B" to "accepted" or "rejected".
        places: Where they differ.
        measured: How far they agree, or None.
    """

    masks: Mapping[str, SparseVolume]
    verdicts: Mapping[str, str]
    places: tuple[Difference, ...]
    measured: Measured | None


def read_compared(worklist: Worklist, task: Task, grid: Grid) -> Compared:
    """Read both masks of a task and find where they differ; it takes a moment.

    Args:
        worklist: The list.
        task: With two readings that were compared.
        grid: Of the case.

    Raises:
        InputError: The task has no such readings, or a mask is gone or is not the one that was compared.
        GeometryError: A mask lies on another grid.
        DatasetError: The case is gone.
    """
    masks, verdicts = {}, {}
    for reading in readings(worklist, task):
        empty = SparseVolume(grid, EMPTY_BOX, np.zeros((0, 0, 0), np.uint8))
        masks[str(reading.name)] = empty if reading.file is None else read_mask_sparse(reading.file, grid)
        verdicts[str(reading.name)] = reading.verdict
    a, b = (masks[name] for name in NAMES)
    return Compared(masks, verdicts, tuple(differences(a, b, task.organ)), disagreement(task))


def differences(a: SparseVolume, b: SparseVolume, organ: str = "", limit: int = 50) -> list[Difference]:
    """Return the regions (26-connected) where two masks differ, the largest first.

    Ties by place, so that the order does not depend on the array order of the masks, nor on which one is called A.

    Args:
        a, b: Masks on one grid, not 0 is inside.
        organ: Its name, for the words.
        limit: Regions at most.

    Raises:
        GeometryError: The masks lie on different grids.
    """
    require_same_grid(a.grid, b.grid)
    box = union([a.box, b.box])
    if is_empty(box):
        return []
    one, two = a.within(box) > 0, b.within(box) > 0
    components = find_components(one != two)
    start = [side.start for side in box]
    either = organ_box(trimmed(SparseVolume(a.grid, box, (one | two).astype(np.uint8))))
    voxels = np.argwhere(components.labels)
    numbers = components.labels[tuple(voxels.T)]
    in_a = one[tuple(voxels.T)]
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []
    found = [_difference(a, voxels[part] + start, in_a[part], either, organ) for part in parts]
    return sorted(found, key=lambda one: (-one.volume_mm3, one.center))[:limit]


def _difference(
    volume: SparseVolume,
    voxels: npt.NDArray[np.int64],
    in_a: npt.NDArray[np.bool_],
    either: Sequence[geometry.Matrix] | None,
    organ: str,
) -> Difference:
    points = geometry.apply_affine(volume.grid.affine, voxels).round(_DECIMALS) + 0.0
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1).round(_DECIMALS)
    x, y, z = points[np.lexsort((*points.T, distance))[0]]
    center = (float(x), float(y), float(z))
    words = "" if either is None else place_in_words(center, either[0], either[1], organ)
    size = round(len(voxels) * volume.grid.voxel_volume_mm3, _DECIMALS)
    return Difference(center, size, words, float(in_a.mean()))
