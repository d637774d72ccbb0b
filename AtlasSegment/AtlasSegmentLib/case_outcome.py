"""What became of one case; the one edge where anything that a case's own data does to the program becomes an outcome."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

Item = TypeVar("Item")
CaseStep = Callable[[Item, ProgressCallback], "dict[str, Any] | None"]
"""What is done for one item; returns a result, or None when it was done before. Must be picklable for workers."""


class WorkStoppedError(BaseException):
    """The work of a thread is no longer wanted; raised by its progress callback, so that its temporary files are removed."""


@dataclass(frozen=True)
class CaseOutcome:
    """What became of one item.

    Attributes:
        name: The item, for people.
        state: "done", "skipped" (finished before) or "failed".
        result: What the step returned.
        error: Message of the failure.
        remedy: The next step.
        details: Traceback of a failure that nobody foresaw, else "".
    """

    name: str
    state: Literal["done", "skipped", "failed"]
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    remedy: str = ""
    details: str = ""


def guarded(item: Item, step: CaseStep[Item], name: str, progress: ProgressCallback = ignore_progress) -> CaseOutcome:
    """Run one item and turn whatever goes wrong into an outcome, so that the other items are not stopped.

    This is the edge of a case, as the GUI has one: among ten thousand scans some will break a library in a way that nobody
    foresaw, and the night's work must not end there. The traceback is kept. KeyboardInterrupt, SystemExit and `WorkStoppedError`
    are no failures of the case and pass.
    """
    try:
        result = step(item, progress)
    except AtlasError as error:
        return CaseOutcome(name, "failed", error=error.message, remedy=error.remedy)
    except MemoryError:
        return CaseOutcome(name, "failed", error=f"{name}: not enough memory.", remedy="Use fewer --jobs, --no-overlap, or an ROI.")
    except OSError as error:
        return CaseOutcome(name, "failed", error=f"{name}: {error}.", remedy="Check the disk and permissions, then run again.")
    except Exception as error:  # see above
        first = next(iter(str(error).strip().splitlines()), "")
        what = f"{type(error).__name__}: {first}" if first else type(error).__name__
        message = f"{name}: the work failed unexpectedly ({what})."
        return CaseOutcome(
            name, "failed", error=message, remedy="The traceback is above; please report it.", details=traceback.format_exc()
        )
    return CaseOutcome(name, "skipped") if result is None else CaseOutcome(name, "done", result)
