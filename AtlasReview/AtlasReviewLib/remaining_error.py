"""When is it enough? The error that is still expected in what nobody has looked at, and how much reading brings it below a bound.

The expected error of a mask is the sum over its voxels of the calibrated probability that they are wrong (AtlasQualityLib.error_map).
It says nothing of what all models are sure of and wrong about; an uncalibrated one tells the order, not the volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasReviewLib.task_states import FINISHED
from AtlasReviewLib.worklist_rows import Task

_ML = 1000.0


@dataclass(frozen=True)
class RemainingError:
    """What is left to expect.

    Attributes:
        all_ml: Expected error of all masks before anybody looked.
        left_ml: Expected error of the masks that are not decided yet.
        unknown: Undecided tasks whose expected error nobody knows; they are not in the sums.
        bound_ml: The bound that was asked for, or None.
        tasks: Undecided tasks to read, worst first, until the rest is below the bound; 0 when it is already; None without a bound, or when
            the unknown ones forbid to say.
        minutes: That reading them is expected to take, NaN where it is not known.
    """

    all_ml: float
    left_ml: float
    unknown: int
    bound_ml: float | None = None
    tasks: int | None = None
    minutes: float = math.nan

    @property
    def may_stop(self) -> bool:
        """Whether what is left is below the bound."""
        return self.tasks == 0

    def told(self) -> str:
        """Say it in one or two sentences."""
        share = f" ({self.left_ml / self.all_ml:.0%} of the {self.all_ml:.1f} ml at the beginning)" if self.all_ml else ""
        text = f"Expected error in what nobody has decided: {self.left_ml:.1f} ml{share}."
        if self.unknown:
            text += f" Of {self.unknown} more task{'s' if self.unknown > 1 else ''} it is not known."
        if self.bound_ml is None or self.tasks is None:
            return text
        if self.may_stop:
            return f"{text} That is below {self.bound_ml:g} ml: you can stop."
        minutes = "" if math.isnan(self.minutes) else f", about {self.minutes:.0f} minutes"
        return f"{text} {self.tasks} more task{'s' if self.tasks > 1 else ''}{minutes} bring it below {self.bound_ml:g} ml."


def remaining_error(tasks: Iterable[Task], bound_ml: float | None = None) -> RemainingError:
    """Return what is left to expect.

    Args:
        tasks: Of a worklist.
        bound_ml: How much expected error may stay in what nobody reads.
    """
    known = [task for task in tasks if task.present]
    error = np.fromiter((task.expected_error_mm3 for task in known), np.float64, len(known))
    minutes = np.fromiter((task.minutes for task in known), np.float64, len(known))
    is_open = np.fromiter((task.state not in FINISHED for task in known), np.bool_, len(known))
    return remaining_of(error, minutes, is_open, bound_ml)


def remaining_of(
    error_mm3: npt.NDArray[np.float64], minutes: npt.NDArray[np.float64], is_open: npt.NDArray[np.bool_], bound_ml: float | None = None
) -> RemainingError:
    """Return the same from numbers of all tasks, for lists that are long.

    Args:
        error_mm3: Expected error of each task, (N,), cubic mm; NaN where it is not known.
        minutes: Expected editing time, (N,); NaN where it is not known.
        is_open: Nobody decided it yet, (N,).
        bound_ml: As above.
    """
    sure = ~np.isnan(error_mm3)
    everything = float(error_mm3[sure].sum()) / _ML
    rows = np.flatnonzero(is_open & sure)
    rows = rows[np.argsort(-error_mm3[rows], kind="stable")]
    read = np.cumsum(error_mm3[rows]) / _ML  # what is gone after the worst one, the worst two, ...
    left = float(read[-1]) if len(rows) else 0.0
    unknown = int(np.count_nonzero(is_open & ~sure))
    if bound_ml is None or unknown:
        return RemainingError(everything, left, unknown, bound_ml)
    below = np.flatnonzero(left - np.concatenate([[0.0], read]) <= bound_ml)
    count = int(below[0]) if len(below) else len(rows)
    return RemainingError(everything, left, unknown, bound_ml, count, float(minutes[rows[:count]].sum()))
