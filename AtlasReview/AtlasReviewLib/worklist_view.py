"""Which tasks of a worklist are shown, in which order, and which one comes next from where the reader is."""

from __future__ import annotations

import collections
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from AtlasReviewLib.task_states import ASIDE, FINISHED, OPEN, OWNED, STATES, WAITING
from AtlasReviewLib.worklist_rows import Task

MOST_ROWS = 500
"""A table with more rows is slow, and nobody reads it: search narrows it down."""
UNFINISHED, ALL = "unfinished", "all"
FILTERS = (UNFINISHED, ALL, *STATES)
_NUMBER = re.compile(r"[0-9]+")
COLUMNS = ("rank", "case", "organ", "state", "reader")


@dataclass(frozen=True)
class Shown:
    """What the table shows.

    Attributes:
        tasks: The rows.
        hidden: Tasks that match too but are too many to show.
    """

    tasks: tuple[Task, ...]
    hidden: int = 0


def shown_tasks(
    tasks: Sequence[Task],
    states: str = UNFINISHED,
    search: str = "",
    column: str = "rank",
    descending: bool = False,
    most: int = MOST_ROWS,
) -> Shown:
    """Filter and sort tasks.

    Args:
        tasks: In the order of looking, as `Worklist.tasks` gives them.
        states: One of FILTERS.
        search: Words that must all be part of case, organ, state or reader; case and accents do not count.
        column: One of COLUMNS to sort by; "rank" is the order of looking.
        descending: Turn the order around.
        most: Rows at most.
    """
    words = _folded(search).split()
    kept = [task for task in tasks if _has_state(task, states) and all(word in _text(task) for word in words)]
    if column != "rank":
        kept.sort(key=_KEYS[column])
    if descending:
        kept.reverse()
    return Shown(tuple(kept[:most]), max(0, len(kept) - most))


_KEYS: dict[str, Callable[[Task], tuple[str | int, ...]]] = {
    "case": lambda task: _natural(task.case),
    "organ": lambda task: (task.organ,),
    "state": lambda task: (STATES.index(task.state),),
    "reader": lambda task: (_folded(task.reader),),
}


def _natural(text: str) -> tuple[str | int, ...]:
    """Return a key by which case10 comes after case9."""
    return (_NUMBER.sub(lambda match: match[0].zfill(20), _folded(text)), text)


def _folded(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()


def _text(task: Task) -> str:
    return _folded(" ".join((task.case, task.organ, task.organ.replace("_", " "), task.state, task.reader)))


def _has_state(task: Task, states: str) -> bool:
    if states == ALL:
        return True
    return task.state not in FINISHED if states == UNFINISHED else task.state == states


def neighbor(tasks: Sequence[Task], current: Task | None, step: int, reader: str = "", unfinished: bool = False) -> Task | None:
    """Return the task that comes after (step 1) or before (-1) the current one, or None at the end of the list.

    Args:
        tasks: The list that is walked through. The current task may be missing in it, such as after a verdict: then the
            place where it would be counts.
        current: The task that is open, or None to begin at the start (or the end).
        step: 1 or -1.
        reader: Who asks.
        unfinished: Pass over tasks that are finished, put aside, or in the hands of another reader.
    """
    places = {task.id: number for number, task in enumerate(tasks)}
    if current is None:
        start = -1 if step > 0 else len(tasks)
    elif current.id in places:
        start = places[current.id]
    else:
        after = sum(_rank_key(task) < _rank_key(current) for task in tasks)
        start = after - 1 if step > 0 else after
    candidates = range(start + 1, len(tasks)) if step > 0 else range(start - 1, -1, -1)
    wanted = (tasks[number] for number in candidates)
    return next((task for task in wanted if not unfinished or can_continue(task, reader)), None)


def can_continue(task: Task, reader: str) -> bool:
    """Tell whether there is work for this reader: the task waits for them or anybody, or they have begun it."""
    return (task.state == WAITING and task.assignee in ("", reader)) or (task.state in OWNED and task.reader == reader)


def _rank_key(task: Task) -> tuple[bool, int, str, str]:
    return (task.rank is None, task.rank or 0, task.case, task.organ)


def counts(tasks: Sequence[Task]) -> dict[str, int]:
    """Return state to number of tasks, in the order of STATES; states without a task are left out."""
    found = collections.Counter(task.state for task in tasks)
    return {state: found[state] for state in STATES if found[state]}


def left_over(tasks: Sequence[Task], reader: str) -> tuple[int, int, int]:
    """Return how many tasks nobody finished: open for this reader, in other hands, put aside."""
    mine = sum(can_continue(task, reader) for task in tasks)
    others = sum(task.state in OPEN and not can_continue(task, reader) for task in tasks)
    return mine, others, sum(task.state in ASIDE for task in tasks)


def known(number: float) -> bool:
    """Tell whether a number of a task is known."""
    return not math.isnan(number)
