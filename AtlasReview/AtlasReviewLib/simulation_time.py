"""How long a simulated review takes: the speed that readers of a dataset really had, else assumed numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.effort import EditingTime
from AtlasReviewLib.simulation_case import Stack, slice_axes
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.sparse import SparseVolume, read_sparse

Float64 = npt.NDArray[np.float64]

FEWEST_TASKS = 10
"""Fewer finished tasks say too little about a reader."""


@dataclass(frozen=True)
class ReviewTime:
    """Speed of the simulated reader.

    Attributes:
        editing: Seconds to open a mask the first time, to go to a slice, and to draw a square cm.
        look_seconds: To look at one slice that a carried correction changed; an assumption.
        source: Where `editing` is from, for the table.
    """

    editing: EditingTime = field(default_factory=EditingTime)
    look_seconds: float = 1.0
    source: str = "assumed"

    def minutes(self, first: npt.ArrayLike, drawn_mm2: npt.ArrayLike, looked: npt.ArrayLike = 0.0) -> Float64:
        """Return the minutes that have passed after each opened slice, (n,).

        Args:
            first: Whether its mask was opened for the first time.
            drawn_mm2: Corrected area, square mm.
            looked: Slices between that were changed with it and looked at.
        """
        drawing = self.editing.cm2_seconds * np.asarray(drawn_mm2, np.float64) / 100
        looking = self.look_seconds * np.asarray(looked, np.float64)
        seconds = self.editing.open_seconds * np.asarray(first, np.float64) + self.editing.slice_seconds + drawing + looking
        return np.asarray(np.cumsum(seconds) / 60)


@dataclass(frozen=True)
class EditedTask:
    """What one finished task took.

    Attributes:
        seconds: Active time.
        slices: Slices that were changed.
        cm2: Changed area over all slices, square cm.
    """

    seconds: float
    slices: int
    cm2: float


def fitted_time(tasks: Sequence[EditedTask]) -> EditingTime | None:
    """Return the speed that explains the times of tasks best (least squares, nothing negative); None below ten tasks.

    seconds = open + slice_seconds * slices + cm2_seconds * area. C. L. Lawson, R. J. Hanson, "Solving Least Squares
    Problems", Prentice-Hall 1974, chapter 23.
    """
    from scipy.optimize import nnls

    used = [task for task in tasks if np.isfinite(task.seconds) and task.seconds > 0]
    if len(used) < FEWEST_TASKS:
        return None
    factors = np.array([[1.0, task.slices, task.cm2] for task in used])
    opening, a_slice, a_cm2 = (float(x) for x in nnls(factors, np.array([task.seconds for task in used]))[0])
    return EditingTime(opening, a_slice, a_cm2)


def measured_time(folder: Path) -> ReviewTime:
    """Return the speed of the readers of a dataset folder, from the active seconds and revised masks of its worklist.

    Without a worklist, or with fewer than ten tasks that changed a mask, the assumed speed is returned; `source` says which.
    """
    from AtlasReviewLib.worklist_place import place_of

    try:
        if not place_of(folder).exists:
            return ReviewTime()
        tasks = edited_tasks(folder)
    except AtlasError as error:
        return ReviewTime(source=f"assumed ({error.message})")
    speed = fitted_time(tasks)
    if speed is None:
        return ReviewTime(source=f"assumed ({len(tasks)} measured tasks are fewer than {FEWEST_TASKS})")
    return ReviewTime(speed, source=f"measured on {len(tasks)} tasks")


def edited_tasks(folder: Path) -> list[EditedTask]:
    """Return what each revised task of a dataset took; tasks whose masks cannot be read are passed over.

    Raises:
        AtlasError: The worklist cannot be read.
    """
    from AtlasReviewLib.worklist import Worklist

    worklist = Worklist(folder, read_only=True)
    try:
        timed = [task for task in worklist.tasks() if task.active_seconds > 0]
    finally:
        worklist.close()
    found = []
    for task in timed:
        case = CaseFolder(folder / task.case)
        try:
            before, after = (_stack(read_sparse(path)) for path in (case.average.mask(task.organ), case.average.revised_mask(task.organ)))
        except AtlasError:
            continue  # never revised, or its prediction is gone
        if before.volume.grid.shape != after.volume.grid.shape:
            continue
        changed = before.pixels_beside(after)
        area = float(changed.sum()) * float(np.prod(np.diag(before.volume.grid.affine)[:2])) / 100
        found.append(EditedTask(task.active_seconds, int(np.count_nonzero(changed)), area))
    return found


def _stack(volume: SparseVolume) -> Stack:
    return Stack(slice_axes(volume.grid).turned(SparseVolume(volume.grid, volume.box, np.asarray(volume.crop > 0))))
