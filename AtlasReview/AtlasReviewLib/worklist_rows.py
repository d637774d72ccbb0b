"""Rows of the worklist as `Task` and `Event`, and the questions that are asked about a row within a transaction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from AtlasReviewLib.reader_name import key_of
from AtlasReviewLib.reader_session import host_of, may_be_alive, this_session
from AtlasReviewLib.task_states import OWNED, TAKEN, Stage, State
from AtlasSegmentLib.errors import AtlasError

PROGRAM = "atlas"
"""Who writes events that no reader makes."""
Changes = dict[str, str | float]
Row = Mapping[Any, Any]
"""A row of a table: name of a column to its value."""


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
        reason: Why it has no rank, and what checks found.
        state: See task_states.
        reader: Who has it or decided it; "" while it waits.
        session: The program that has it open, or "".
        active_seconds: Time that was really spent on it, by all readers.
        comment: What the last reader noted.
        revision: Id of the last revision that was saved from here, or "".
        changed: UTC of the last change, ISO 8601.
        present: Its case is still in the folder.
        assignee: The reader whom it was handed to, "" for anybody.
        lease_until: UTC until when it stays in the hands of `session` without a sign of life, or "".
        level: 1 for every reader; 2 for readers who verify and adjudicate.
        round: Number of the round of review.
        reading: 1, or 2 for the second reading of a task that two readers do, blind to each other.
        stage: "", or "verify" and "adjudicate" where somebody else's work has to be looked at, and "verified" and "adjudicated" after.
        author: Who decided it as a reader, before somebody verified or adjudicated; "" before.
        measured: Of a first reading whose second one is done too: how far both agree, as disagreement.Measured writes it; else "".
        sha256: Of the mask of `revision`; with no revision that of the prediction that was decided on, or "".
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
    assignee: str = ""
    lease_until: str = ""
    level: int = 1
    round: int = 1
    reading: int = 1
    stage: Stage = ""
    author: str = ""
    measured: str = ""
    sha256: str = ""

    def is_mine(self, reader: str) -> bool:
        """Tell whether this reader, in this program, has the task in hand."""
        return self.state in OWNED and self.reader == reader and self.session == this_session()


@dataclass(frozen=True)
class Event:
    """One line of the history; `account` is who the database says it was, "" in a file, which knows no accounts."""

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
    id: int = 0
    session: str = ""
    sha256: str = ""
    account: str = ""
    reading: int = 1


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks a reader wants; empty is any.

    Attributes:
        organs, cases: Names.
        level: 1 for reading, 2 for verifying and adjudicating; None for all that the reader's own level allows.
    """

    organs: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    level: int | None = None


ANY = TaskFilter()
NUMBERS = ("priority", "attention_mm3", "expected_error_mm3", "minutes", "predicted_dice")
"""Columns that are NULL where a number is not known."""
TASK_COLUMNS = (
    *("id", "case_name", "organ", "rank", *NUMBERS, "reason", "state", "reader", "session", "active_seconds", "comment"),
    *("revision", "changed", "present", "assignee", "lease_until", "level", "round"),
    *("reading", "stage", "author", "measured", "sha256"),
)
"""Columns in the order of Task."""
_FIELDS = tuple(field.name for field in fields(Task))
EVENT_COLUMNS = (
    *("time", "reader", "case_name", "organ", "kind", "state_before", "state_after", "seconds", "revision", "comment"),
    *("id", "session", "sha256", "account", "reading"),
)
"""Columns in the order of Event."""


def task_from(values: Iterable[Any]) -> Task:
    """Return the Task of values in the order of TASK_COLUMNS; three times as fast as its constructor, as lists can be long."""
    task = object.__new__(Task)
    found = task.__dict__
    found.update(zip(_FIELDS, values, strict=True))
    for name in NUMBERS:
        if found[name] is None:
            found[name] = math.nan
    found["present"] = bool(found["present"])
    return task


def task_of(row: Row) -> Task:
    """Return a row of the table `task`."""
    return task_from(row[name] for name in TASK_COLUMNS)


def is_mine(row: Row, reader: str) -> bool:
    """Tell whether this reader, in this program, has the task in hand."""
    return row["state"] in OWNED and row["reader"] == reader and row["session"] == this_session()


def has_read(row: Row, reader: str) -> bool:
    """Tell whether a reader ever had a task in hand to read it, not to verify or adjudicate."""
    return f"\n{reader}\n" in row["readers"] or key_of(reader) in map(key_of, names_of(row))


def names_of(row: Row) -> list[str]:
    """Return who ever had a task in hand to read it."""
    return [name for name in row["readers"].split("\n") if name]


def with_reader(row: Row, reader: str) -> str:
    """Return the column `readers` with one more name."""
    return str(row["readers"]) if has_read(row, reader) else f"{row['readers'] or chr(10)}{reader}\n"


def require_free(row: Row, reader: str) -> None:
    """Check that a reader can take a task.

    Raises:
        TaskTakenError: Another reader has it, another program of this one that may still run, or it was handed to somebody else.
    """
    where = f"{row['case_name']}, {row['organ']}"
    if row["state"] not in OWNED:
        if row["assignee"] not in ("", reader):
            message = f"{where}: was handed to {row['assignee']}."
            raise TaskTakenError(message, "Look at it read-only, or take it over.", task_of(row))
        return
    if row["reader"] != reader:
        message = f"{where}: is {row['state']} by {row['reader']} since {row['changed'][:16].replace('T', ' ')} UTC."
        raise TaskTakenError(message, "Look at it read-only, or take it over.", task_of(row))
    if row["session"] != this_session() and may_be_alive(row["session"]):
        message = f"{where}: you have it open in another program on {host_of(row['session']) or 'another machine'}."
        raise TaskTakenError(message, "Close it there, or take it over.", task_of(row))


def taken_meanwhile(row: Row) -> TaskTakenError:
    """Return the error for a change of a task that is in other hands by now."""
    holder = row["reader"] or "nobody"
    message = f"{row['case_name']}, {row['organ']}: is in the hands of {holder} by now ({row['state']})."
    return TaskTakenError(message, "Your edits are kept; agree with each other, then take it over.", task_of(row))


def before(row: Row) -> Changes:
    """Return the columns that remember what a task was before it was taken."""
    return {"previous_state": row["state"], "previous_reader": row["reader"]} if row["state"] != TAKEN else {}
