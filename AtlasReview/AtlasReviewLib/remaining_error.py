"""When is it enough? The error that is still expected in what nobody has looked at, and how much reading brings it below a bound.

The expected error of a mask is the sum over its voxels of the calibrated probability that they are wrong (AtlasQualityLib.error_map).
It says nothing of what all models are sure of and wrong about; an uncalibrated one tells the order, not the volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasReviewLib.in_words import counted
from AtlasReviewLib.task_states import FINISHED
from AtlasReviewLib.worklist_rows import Task

_ML = 1000.0
_SHOWN = 5
"""Organs that are named in a sentence."""


@dataclass(frozen=True)
class RemainingError:
    """What is left to expect.

    Attributes:
        all_ml: Expected error of all masks before anybody looked.
        left_ml: Expected error of the masks that are not decided yet.
        unknown: Undecided tasks whose expected error nobody knows; they are not in the sums.
        bound_ml: The bound that was asked for, or None.
        tasks: Undecided tasks to read, worst first, until the rest is below the bound; 0 when it is already; None without a bound. The
            unknown ones are not among them.
        minutes: That reading them is expected to take, NaN where it is not known.
        unknown_organs: The organs of the unknown ones, by name.
    """

    all_ml: float
    left_ml: float
    unknown: int
    bound_ml: float | None = None
    tasks: int | None = None
    minutes: float = math.nan
    unknown_organs: tuple[str, ...] = ()

    @property
    def may_stop(self) -> bool:
        """Whether what is left is below the bound, and all of it is known."""
        return self.tasks == 0 and not self.unknown

    def told(self) -> str:
        """Say it in one or two sentences."""
        share = f" ({self.left_ml / self.all_ml:.0%} of the {self.all_ml:.1f} ml at the beginning)" if self.all_ml else ""
        text = f"Expected error in what nobody has decided: {self.left_ml:.1f} ml{share}."
        if self.bound_ml is not None and self.tasks is not None:
            text += f" {self._stop_told(self.tasks, self.bound_ml)}"
        return f"{text} {self._unknown_told()}" if self.unknown else text

    def _stop_told(self, tasks: int, bound_ml: float) -> str:
        if self.may_stop:
            return f"That is below {bound_ml:g} ml: you can stop."
        if not tasks:
            return f"That is below {bound_ml:g} ml, without the tasks of which it is not known."
        minutes = "" if math.isnan(self.minutes) else f", about {self.minutes:.0f} minutes"
        return f"{counted(tasks, 'more task')}{minutes} {'brings' if tasks == 1 else 'bring'} it below {bound_ml:g} ml."

    def _unknown_told(self) -> str:
        shown = ", ".join(self.unknown_organs[:_SHOWN])
        more = f" and {len(self.unknown_organs) - _SHOWN} more organs" if len(self.unknown_organs) > _SHOWN else ""
        named = f" ({shown}{more})" if shown else ""
        how = "atlas attention --all-organs, then atlas worklist build, make it known where models gave probabilities; read the others"
        return f"Of {counted(self.unknown, 'task')}{named} it is not known: {how}."


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
    return remaining_of(error, minutes, is_open, bound_ml, lambda row: known[row].organ)


def remaining_of(
    error_mm3: npt.NDArray[np.float64],
    minutes: npt.NDArray[np.float64],
    is_open: npt.NDArray[np.bool_],
    bound_ml: float | None = None,
    organ_of: Callable[[int], str] | None = None,
) -> RemainingError:
    """Return the same from numbers of all tasks, for lists that are long.

    Args:
        error_mm3: Expected error of each task, (N,), cubic mm; NaN where it is not known.
        minutes: Expected editing time, (N,); NaN where it is not known.
        is_open: Nobody decided it yet, (N,).
        bound_ml: As above.
        organ_of: Returns the organ of a task by its row, to name those of which nothing is known.
    """
    sure = ~np.isnan(error_mm3)
    everything = float(error_mm3[sure].sum()) / _ML
    rows = np.flatnonzero(is_open & sure)
    rows = rows[np.argsort(-error_mm3[rows], kind="stable")]
    read = np.cumsum(error_mm3[rows]) / _ML  # what is gone after the worst one, the worst two, ...
    left = float(read[-1]) if len(rows) else 0.0
    unknown = np.flatnonzero(is_open & ~sure)
    organs = tuple(sorted({organ_of(int(row)) for row in unknown})) if organ_of is not None else ()
    if bound_ml is None:
        return RemainingError(everything, left, len(unknown), unknown_organs=organs)
    below = np.flatnonzero(left - np.concatenate([[0.0], read]) <= bound_ml)
    count = int(below[0]) if len(below) else len(rows)
    return RemainingError(everything, left, len(unknown), bound_ml, count, float(minutes[rows[:count]].sum()), organs)
