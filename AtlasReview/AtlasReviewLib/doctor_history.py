"""Does the history of a worklist explain its tasks? Every state must follow from the one before, the last one must be the task's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

from AtlasReviewLib.worklist_rows import Event, Task

Told = tuple[str, str, str, str]
"""Kind, where, text and remedy of a finding."""

_RESTORE = "Compare with a backup of the worklist; the masks are safe, and their own logs say who saved what."


def check_history(tasks: Iterable[Task], events: Iterable[Event]) -> Iterator[Told]:
    """Yield what the history does not explain.

    Args:
        tasks: Of the worklist.
        events: All of them, oldest first.
    """
    events = list(events)
    yield from _check_order(events)
    last: dict[tuple[str, str, int], str] = {}
    seconds: dict[tuple[str, str, int], float] = {}
    for event in events:
        key = (event.case, event.organ, event.reading)
        if not event.organ:
            continue
        seconds[key] = seconds.get(key, 0.0) + event.seconds
        before = last.get(key)
        if before is not None and event.state_before and event.state_before != before:
            found = f"Event {event.id} ({event.kind}, {event.time[:19]}) finds it {event.state_before}"
            text = f"{found}, but it was {before}: an event is missing."
            yield ("gap in the history", f"{event.case}, {event.organ}", text, _RESTORE)
        last[key] = event.state_after or event.state_before or before or ""
    for task in tasks:
        key = (task.case, task.organ, task.reading)
        yield from _check_task(task, last.get(key), seconds.get(key, 0.0))


def _check_task(task: Task, last: str | None, seconds: float) -> Iterator[Told]:
    where = f"{task.case}, {task.organ}"
    if last is None:
        yield ("task without a history", where, f"It is {task.state}, and no event says how it came into the list.", _RESTORE)
    elif last and last != task.state:
        yield ("state without an event", where, f"It is {task.state}, but its last event left it {last}.", _RESTORE)
    if not math.isclose(task.active_seconds, seconds, rel_tol=1e-6, abs_tol=0.5):
        text = f"It counts {task.active_seconds:.0f} s of work, and its events {seconds:.0f} s."
        yield ("time without events", where, text, _RESTORE)


def _check_order(events: list[Event]) -> Iterator[Told]:
    for first, second in pairwise(events):
        if second.id and second.id <= first.id:
            text = f"Event {second.id} comes after event {first.id}."
            yield ("events out of order", "worklist", text, _RESTORE)
