"""Words of the list of tasks: what can be chosen to be shown, sorted by and searched, and whether a task is work for a reader."""

from __future__ import annotations

import collections
import math
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from AtlasReviewLib.task_states import ADJUDICATE, CHECKED, FINISHED, OWNED, STATES, VERIFY, WAITING
from AtlasReviewLib.worklist_rows import Task

UNFINISHED, ALL = "unfinished", "all"
FILTERS = (UNFINISHED, ALL, *STATES)
COLUMNS = ("rank", "case", "organ", "state", "reader", "level")
ANY_LEVEL = 1_000_000
_NUMBER = re.compile(r"[0-9]+")


@lru_cache(maxsize=4096)
def folded(text: str) -> str:
    """Return a text in which upper case and accents do not count."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()


def natural(text: str) -> tuple[str, str]:
    """Return a key by which case10 comes after case9."""
    return (_NUMBER.sub(lambda match: match[0].zfill(20), folded(text)), text)


def can_continue(task: Task, reader: str, level: int = ANY_LEVEL) -> bool:
    """Tell whether there is work for a reader of a level: the task waits for them or anybody, or they have begun it.

    Nobody verifies or adjudicates work of their own: its author is named then (and, where readings disagree, to its readers alone).
    """
    if task.state != WAITING:
        return task.state in OWNED and task.reader == reader
    own = (task.stage == VERIFY and task.author == reader) or (task.stage == ADJUDICATE and task.author != "")
    return task.assignee in ("", reader) and task.level <= level and not own


def state_words(task: Task) -> str:
    """Return the state of a task in words: what it waits for, and how it was checked."""
    if task.stage in CHECKED:
        return f"to {task.stage}" if task.state == WAITING else f"{task.state}, to {task.stage}"
    return f"{task.state}, {task.stage}" if task.stage and task.state in FINISHED else task.state


def counts(tasks: Iterable[Task]) -> dict[str, int]:
    """Return state to number of tasks, in the order of STATES; states without a task are left out."""
    found = collections.Counter(task.state for task in tasks)
    return {state: found[state] for state in STATES if found[state]}


def known(number: float) -> bool:
    """Tell whether a number of a task is known."""
    return not math.isnan(number)
