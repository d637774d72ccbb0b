"""Rows of the worklist as `Task` and `Event`, and the questions that are asked about a row within a transaction."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from typing import Any

from AtlasReviewLib.reader_session import host_of, may_be_alive, this_session
from AtlasReviewLib.task_states import OWNED, SKIPPED, TAKEN, WAITING, State
from AtlasSegmentLib.errors import AtlasError, DatasetError

Changes = dict[str, str | float]


class TaskTakenError(AtlasError):
    """Somebody else has the task; `task` says who."""

    def __init__(self, message: str, remedy: str = "", task: Task | None = None) -> None:
        super().__init__(message, remedy)
        self.task = task


@dataclass(frozen=True)
class Task:
    """One organ of one case.

    Attributes:
        id: Number in this worklist.
        case, organ: Which.
        rank: Place in the order of looking, 1 first; None when nothing says where to look.
        priority, attention_mm3, expected_error_mm3, minutes, predicted_dice: NaN where they are not known.
        reason: Why it has no rank.
        state: See task_states.
        reader: Who has it or decided it; "" while it waits.
        session: The program that has it open, or "".
        active_seconds: Time that was really spent on it, by all readers.
        comment: What the last reader noted.
        revision: Id of the last revision that was saved from here, or "".
        changed: UTC of the last change, ISO 8601.
        present: Its case is still in the folder.
    """

    id: int
    case: str
    organ: str
    rank: int | None
    priority: float
    attention_mm3: float
    expected_error_mm3: float
    minutes: float
    predicted_dice: float
    reason: str
    state: State
    reader: str
    session: str
    active_seconds: float
    comment: str
    revision: str
    changed: str
    present: bool

    def is_mine(self, reader: str) -> bool:
        """Tell whether this reader, in this program, has the task in hand."""
        return self.state in OWNED and self.reader == reader and self.session == this_session()


@dataclass(frozen=True)
class Event:
    """One line of the history."""

    time: str
    reader: str
    case: str
    organ: str
    kind: str
    state_before: str
    state_after: str
    seconds: float
    revision: str
    comment: str


def task_of(row: sqlite3.Row) -> Task:
    """Return a row of the table `task`."""
    values: dict[str, Any] = {name: row[name] for name in _SAME}
    values |= {name: math.nan if row[name] is None else row[name] for name in NUMBERS}
    return Task(case=row["case_name"], present=bool(row["present"]), **values)


_SAME = ("id", "organ", "rank", "reason", "state", "reader", "session", "active_seconds", "comment", "revision", "changed")
NUMBERS = ("priority", "attention_mm3", "expected_error_mm3", "minutes", "predicted_dice")
"""Columns that are NULL where a number is not known."""


def event_of(row: sqlite3.Row) -> Event:
    """Return a row of the table `event`."""
    return Event(
        *(row[n] for n in ("time", "reader", "case_name", "organ", "kind", "state_before", "state_after", "seconds", "revision", "comment"))
    )


def row_of(db: sqlite3.Connection, case: str, organ: str) -> sqlite3.Row:
    """Return the row of a task.

    Raises:
        DatasetError: There is none.
    """
    row: sqlite3.Row | None = db.execute("SELECT * FROM task WHERE case_name = ? AND organ = ?", (case, organ)).fetchone()
    if row is None:
        message = f"{case}, {organ}: is not in the worklist."
        raise DatasetError(message, "Read the list again.")
    return row


def next_row(db: sqlite3.Connection, reader: str, exclude: int) -> sqlite3.Row | None:
    """Return the row of the task that a reader gets next, but not the one with the id `exclude`; None when nothing is left."""
    order = "ORDER BY rank IS NULL, rank, case_name, organ LIMIT 1"
    of_mine = f"SELECT * FROM task WHERE present = 1 AND id <> ? AND state IN {OWNED} AND reader = ? AND session IN ('', ?) {order}"
    for sql, values in (
        (f"SELECT * FROM task WHERE present = 1 AND id <> ? AND state = ? {order}", (exclude, WAITING)),
        (of_mine, (exclude, reader, this_session())),
        (f"SELECT * FROM task WHERE present = 1 AND id <> ? AND state = ? {order}", (exclude, SKIPPED)),
    ):
        row: sqlite3.Row | None = db.execute(sql, values).fetchone()
        if row is not None:
            return row
    return None


def is_mine(row: sqlite3.Row, reader: str) -> bool:
    """Tell whether this reader, in this program, has the task in hand."""
    return row["state"] in OWNED and row["reader"] == reader and row["session"] == this_session()


def require_free(row: sqlite3.Row, reader: str) -> None:
    """Check that a reader can take a task.

    Raises:
        TaskTakenError: Another reader has it, or another program of this one that may still run.
    """
    if row["state"] not in OWNED:
        return
    where = f"{row['case_name']}, {row['organ']}"
    if row["reader"] != reader:
        message = f"{where}: is {row['state']} by {row['reader']} since {row['changed'][:16].replace('T', ' ')} UTC."
        raise TaskTakenError(message, "Look at it read-only, or take it over.", task_of(row))
    if row["session"] != this_session() and may_be_alive(row["session"]):
        message = f"{where}: you have it open in another program on {host_of(row['session']) or 'another machine'}."
        raise TaskTakenError(message, "Close it there, or take it over.", task_of(row))


def taken_meanwhile(row: sqlite3.Row) -> TaskTakenError:
    """Return the error for a change of a task that is in other hands by now."""
    holder = row["reader"] or "nobody"
    message = f"{row['case_name']}, {row['organ']}: is in the hands of {holder} by now ({row['state']})."
    return TaskTakenError(message, "Your edits are kept; agree with each other, then take it over.", task_of(row))


def before(row: sqlite3.Row) -> Changes:
    """Return the columns that remember what a task was before it was taken."""
    return {"previous_state": row["state"], "previous_reader": row["reader"]} if row["state"] != TAKEN else {}


def append_event(db: sqlite3.Connection, time: str, reader: str, case: str, organ: str, kind: str, **values: str | float) -> None:
    """Append one event of this program."""
    columns = {"time": time, "reader": reader, "session": this_session(), "case_name": case, "organ": organ, "kind": kind, **values}
    names = ", ".join(columns)
    db.execute(f"INSERT INTO event ({names}) VALUES ({', '.join(f':{name}' for name in columns)})", columns)
