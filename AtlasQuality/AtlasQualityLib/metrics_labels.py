"""Compare many labels of two label maps at once: their boxes are found in one pass, then each label is compared within its box."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.metrics_boxes import label_boxes
from AtlasQualityLib.metrics_nearest import grid_steps
from AtlasQualityLib.metrics_pair import cropped_pair
from AtlasQualityLib.surface_metrics import Agreement, MetricOptions, compare_pair
from AtlasSegmentLib.components import Box
from AtlasSegmentLib.cpu_threads import cpu_count
from AtlasSegmentLib.errors import GeometryError
from AtlasSegmentLib.sparse import EMPTY_BOX, box_shape, union
from AtlasSegmentLib.volume import Array

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_MOST = 4  # each works on an organ of its own, which takes up to about ten bytes a voxel of its box


def compare_labels(
    labels: Array,
    reference: Array,
    axes: npt.ArrayLike,
    values: Iterable[int] | None = None,
    options: MetricOptions | None = None,
    threads: int = 0,
) -> dict[int, Agreement]:
    """Compare each label of two label maps of one grid.

    Args:
        labels: Whole numbers 0..65535, 0 is background; (X, Y, Z), any memory order.
        reference: The same shape, with the same meaning of its values.
        axes: Voxel sizes in mm (3,), or an affine (3, 3) or (4, 4) whose columns are the steps of the array axes in mm.
        values: Labels to compare, also such as occur in neither; by default all that occur in one of the two.
        options: Tolerances and overlap.
        threads: Labels compared at a time; 0 for as many as there are cores, at most four. The result does not depend on it.

    Returns:
        Agreement by label, ascending.

    Raises:
        GeometryError: The shapes differ, or the axes have no volume.
        InputError: A label map has other values.
    """
    if labels.shape != reference.shape:
        message = f"two label maps to compare have shapes {labels.shape} and {reference.shape}."
        raise GeometryError(message, "Resample one onto the grid of the other first: atlas resample ONE NEW --like OTHER --labels.")
    grid_steps(axes)  # an error before the work
    ours, theirs = label_boxes(labels), label_boxes(reference)
    wanted = sorted({*ours, *theirs} if values is None else set(values))
    boxes = {value: union([ours.get(value, EMPTY_BOX), theirs.get(value, EMPTY_BOX)]) for value in wanted}

    def compare_label(value: int) -> Agreement:
        box: Box = boxes[value]
        return compare_pair(cropped_pair(labels[box] == value, reference[box] == value, axes), options)

    costs = [int(np.prod(box_shape(boxes[value]))) for value in wanted]
    return dict(zip(wanted, side_by_side(compare_label, wanted, costs, threads), strict=True))


def side_by_side(
    function: Callable[[_Item], _Result], items: Sequence[_Item], costs: Sequence[float], threads: int = 0
) -> Iterator[_Result]:
    """Yield function(item) for each item, in order; the costly ones are started first, so that no thread is left with one at the end.

    Args:
        function: Called in threads.
        items: What it is called with.
        costs: Of each item; any unit.
        threads: How many at a time; 0 for as many as there are cores, at most four.
    """
    with ThreadPoolExecutor(threads if threads > 0 else min(_MOST, cpu_count())) as pool:
        started = {index: pool.submit(function, items[index]) for index in sorted(range(len(items)), key=lambda index: -costs[index])}
        try:
            for index in range(len(items)):
                yield started.pop(index).result()
        finally:
            for future in started.values():
                future.cancel()
