"""When is it enough? The error that is still expected in what nobody has looked at, and how much reading brings it below a bound.

The expected error of a mask is the sum over its voxels of the calibrated probability that they are wrong (AtlasQualityLib.error_map).
It says nothing of what all models are sure of and wrong about; an uncalibrated one tells the order, not the volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

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
    open_tasks = [task for task in known if task.state not in FINISHED]
    errors = sorted((task for task in open_tasks if not math.isnan(task.expected_error_mm3)), key=lambda task: -task.expected_error_mm3)
    everything = sum(task.expected_error_mm3 for task in known if not math.isnan(task.expected_error_mm3)) / _ML
    left = sum(task.expected_error_mm3 for task in errors) / _ML
    unknown = len(open_tasks) - len(errors)
    if bound_ml is None or unknown:
        return RemainingError(everything, left, unknown, bound_ml)
    rest, count, minutes = left, 0, 0.0
    for task in errors:
        if rest <= bound_ml:
            break
        rest, count, minutes = rest - task.expected_error_mm3 / _ML, count + 1, minutes + task.minutes
    return RemainingError(everything, left, unknown, bound_ml, count, minutes)
