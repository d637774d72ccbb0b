"""Which task a reader gets next: the SQL of `Worklist.take_next` and `Worklist.take_first`.

Handed to them; where two readings disagree; what waits to be verified; what waits to be read; what they have begun; what was skipped.
Each in the order of looking. Nobody gets work of their own to check, the other reading of a task they have read, or a level above theirs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, func, or_, select, true

from AtlasReviewLib.task_states import ADJUDICATE, CHECKED, OWNED, READ, REVISED, SKIPPED, VERIFY, WAITING
from AtlasReviewLib.worklist_schema import handed, task

_Place = tuple[ColumnElement[bool] | Any, ...]
_READER: BindParameter[str] = bindparam("reader")
_FREE = task.c.session.in_(bindparam("free", expanding=True))
_ORDER = (task.c.rank.asc().nulls_last(), task.c.case_name, task.c.organ, task.c.reading)


@cache
def next_statements(organs: bool, cases: bool, level: int | None, senior: bool) -> tuple[Select[Any], ...]:
    """Return where to look, in this order; made once, as that takes longer than to run them.

    Args:
        organs, cases: They are given, as parameters of these names.
        level: Only tasks of this level, a parameter too; None for all.
        senior: The reader may verify.
    """
    some: list[ColumnElement[bool]] = [task.c.organ.in_(bindparam("organs", expanding=True))] if organs else []
    some += [task.c.case_name.in_(bindparam("cases", expanding=True))] if cases else []
    mine = select(task).where(task.c.id != bindparam("exclude"), *some, *_allowed(level))
    places = [
        *_waiting(level, senior),
        (task.c.reader == _READER, task.c.state.in_(OWNED), _FREE),
        (task.c.state == SKIPPED, task.c.assignee == ""),
    ]
    return tuple(mine.where(*place).order_by(*_ORDER).limit(1).with_for_update(skip_locked=True, of=task) for place in places)


@cache
def first_statements(level: int | None, senior: bool) -> tuple[Select[Any], Select[Any]]:
    """Return how to find which of some tasks (`ids`) wait for the reader, and how to keep one of them (`id`) that still does."""
    waits = (*_allowed(level), or_(*(and_(*place) for place in _waiting(level, senior))))
    found = select(task.c.id).where(task.c.id.in_(bindparam("ids", expanding=True)), *waits)
    return found, select(task).where(task.c.id == bindparam("id"), *waits).with_for_update(skip_locked=True, of=task)


def _allowed(level: int | None) -> tuple[ColumnElement[bool] | Any, ...]:
    """Return: a task of the dataset that the reader may have."""
    wanted = () if level is None else (task.c.level == bindparam("level"),)
    here = (task.c.dataset == bindparam("dataset"), task.c.present == 1)
    return (*here, *wanted, ~(task.c.level > bindparam("own")), *_by_others())


def _waiting(level: int | None, senior: bool) -> list[_Place]:
    """Return which tasks wait for somebody, those that come first first."""
    anybody = (task.c.state == WAITING, task.c.assignee == "")
    return [
        (handed, task.c.assignee == _READER, task.c.state.in_((WAITING, REVISED)), _FREE),
        (*anybody, task.c.stage == ADJUDICATE),
        *([(*anybody, task.c.stage == VERIFY)] if senior and level != 1 else []),
        *([(*anybody, task.c.stage == READ)] if level in (None, 1) else []),
    ]


def _by_others() -> tuple[ColumnElement[bool], ...]:
    """Return: nobody checks what they read; nobody does both readings. Names are compared exactly, as LIKE would not in SQLite.

    `others` says the last one first, without a look at another row: a reader who did many first readings has many tasks to pass over.
    """
    other = task.alias("other")
    same = (other.c[name] == task.c[name] for name in ("dataset", "case_name", "organ"))
    # A scalar subquery: PostgreSQL would turn NOT EXISTS into a join with the whole list, to find one row.
    holds = (other.c.reader == _READER) & other.c.state.in_(OWNED) & other.c.stage.not_in(CHECKED)
    other_is_theirs = _names(other.c.readers) | (other.c.assignee == _READER) | holds
    other_is_unread = select(~other_is_theirs).where(*same, other.c.reading == 3 - task.c.reading).scalar_subquery()
    own_work = task.c.stage.in_(CHECKED) & _names(task.c.readers)
    return ~own_work, ~_names(task.c.others), func.coalesce(other_is_unread, true())


def _names(column: ColumnElement[str]) -> ColumnElement[bool]:
    """Return: the reader is among the names in a column. A comparison of lengths, as PostgreSQL guesses that few rows pass an equation,
    and would then rather sort the whole list than walk along its index until a row passes."""
    line: BindParameter[str] = bindparam("line")
    return func.length(func.replace(column, line, "")) < func.length(column)
