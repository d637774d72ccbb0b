"""Which task first: the expected error that reading it removes, for each minute that this reader is expected to need.

The error is the calibrated expected error of the mask (AtlasQualityLib.error_map). The minutes are those of the time model
(AtlasQualityLib.effort), until the reader has decided enough tasks: then seconds = opening + factor * modeled drawing is fitted to the
active time of those, and each organ gets a factor of its own, drawn toward 1 while there are few tasks of it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.effort import EditingTime
from AtlasReviewLib.task_states import FINISHED
from AtlasReviewLib.worklist_rows import Task

Float64 = npt.NDArray[np.float64]

FEWEST_TASKS = 10
"""Fewer decided tasks say too little about a reader."""
_PRIOR_TASKS = 5.0
_SHORTEST = 1.0  # seconds; no task takes less, and nothing is divided by zero
_MODEL_OPENING = EditingTime().open_seconds


@dataclass(frozen=True)
class ReaderSpeed:
    """How long a reader needs for a task.

    Attributes:
        opening: Seconds for any task.
        factor: Seconds for each second of drawing in the time model.
        organs: Organ to a factor on all of it.
        tasks: Decided tasks with a known active time that this is from.
    """

    opening: float = _MODEL_OPENING
    factor: float = 1.0
    organs: Mapping[str, float] = field(default_factory=dict)
    tasks: int = 0

    @property
    def measured(self) -> bool:
        """Whether it is the reader's own speed and not the assumed one."""
        return self.tasks >= FEWEST_TASKS

    def minutes(self, organ: str, modeled: float) -> float:
        """Return the minutes for a task of which the time model says `modeled` minutes; NaN where that is not known."""
        seconds = self.opening + self.factor * max(60 * modeled - _MODEL_OPENING, 0.0)
        return max(seconds * self.organs.get(organ, 1.0), _SHORTEST) / 60 if not math.isnan(modeled) else math.nan


def reader_speed(tasks: Iterable[Task], reader: str) -> ReaderSpeed:
    """Return the speed of a reader, measured on the tasks that they decided; the assumed one below ten of them.

    Args:
        tasks: Of a worklist.
        reader: Who.
    """
    own = [
        task
        for task in tasks
        if task.reader == reader and task.state in FINISHED and task.active_seconds >= _SHORTEST and not math.isnan(task.minutes)
    ]
    if len(own) < FEWEST_TASKS:
        return ReaderSpeed(tasks=len(own))
    drawing = np.maximum([60 * task.minutes - _MODEL_OPENING for task in own], 0.0)
    opening, factor = _fitted(drawing, np.array([task.active_seconds for task in own]))
    plain = ReaderSpeed(opening, factor)
    ratios: dict[str, list[float]] = defaultdict(list)
    for task in own:
        ratios[task.organ].append(math.log(task.active_seconds / (60 * plain.minutes(task.organ, task.minutes))))
    organs = {organ: math.exp(sum(found) / (len(found) + _PRIOR_TASKS)) for organ, found in ratios.items()}
    return ReaderSpeed(opening, factor, organs, len(own))


def _fitted(drawing: Float64, seconds: Float64) -> tuple[float, float]:
    """Return opening and factor, neither negative, by least squares."""
    spread = float(((drawing - drawing.mean()) ** 2).sum())
    factor = float(((drawing - drawing.mean()) * (seconds - seconds.mean())).sum()) / spread if spread else 0.0
    opening = float(seconds.mean() - factor * drawing.mean())
    if factor < 0 or not spread:
        return float(seconds.mean()), 0.0
    if opening < 0:
        return 0.0, float((drawing * seconds).sum() / (drawing**2).sum())
    return opening, factor


def gains(tasks: Sequence[Task], speed: ReaderSpeed) -> Float64:
    """Return cubic mm of expected error removed per minute, for each task, (N,); NaN where error or time is not known."""
    error = np.fromiter((task.expected_error_mm3 for task in tasks), np.float64, len(tasks))
    modeled = np.fromiter((task.minutes for task in tasks), np.float64, len(tasks))
    organs = np.fromiter((speed.organs.get(task.organ, 1.0) for task in tasks), np.float64, len(tasks))
    return gains_of(error, modeled, organs, speed)


def gains_of(error: Float64, modeled: Float64, organs: Float64, speed: ReaderSpeed) -> Float64:
    """Return the same as `gains` of expected errors in cubic mm, modeled minutes and the speed's factors of the organs, each (N,)."""
    seconds = (speed.opening + speed.factor * np.maximum(60 * modeled - _MODEL_OPENING, 0.0)) * organs
    return np.asarray(error / np.maximum(seconds, _SHORTEST) * 60)


def by_gain(gain: Float64, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return positions of tasks, the highest gain first; those without a known one last, and ties, in the order in which they came.

    Args:
        gain: As `gains` returns it, for all tasks.
        rows: Positions in it.
    """
    wanted = np.nan_to_num(gain[rows], nan=-1.0)
    return rows[np.argsort(-wanted, kind="stable")]
