"""Leases: a task is a reader's as long as their program says now and then that it lives; then the task comes back to the list.

These are steps within a transaction of the worklist. Unsaved edits of a reader whose lease ran out stay on the disk as theirs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from AtlasReviewLib.reader_session import this_session
from AtlasReviewLib.task_states import ADJUDICATE, ADJUDICATED, ASIDE, CHECKED, FINISHED, OWNED, READ, REVISED, TAKEN, WAITING
from AtlasReviewLib.worklist_rows import Changes, Row, TaskTakenError, before, has_read, is_mine, require_free, task_of, with_reader
from AtlasSegmentLib.errors import InputError

if TYPE_CHECKING:
    from AtlasReviewLib.worklist_transaction import Transaction

LEASE_SECONDS, HEARTBEAT_SECONDS = 300.0, 60.0
"""How long a task stays with a program that gives no sign of life, and how often a program gives one."""
EXPIRE = "expire"
_ASIDE_KINDS = ("seconds", "hide", "scores")  # events that are no change of hands


def lease_end(time: str, seconds: float | None = None) -> str:
    """Return the end of a lease that begins at a time of the worklist; of LEASE_SECONDS when no length is given."""
    return (datetime.fromisoformat(time) + timedelta(seconds=LEASE_SECONDS if seconds is None else seconds)).isoformat(
        timespec="microseconds"
    )


def lapse(db: Transaction, row: Row) -> Row:
    """Give back a task whose lease has run out; return the row as it is then."""
    time = db.time()
    is_late = row["lease_until"] and row["lease_until"] < time and row["session"] != this_session()
    return _expired(db, row) if is_late else row


def expire(db: Transaction) -> int:
    """Give back every task whose lease has run out; return how many."""
    rows = db.lapsed(db.time())
    for row in rows:
        _expired(db, row)
    return len(rows)


def _expired(db: Transaction, row: Row) -> Row:
    """The event is the reader's whose lease it was, so that their program can tell that nobody else had the task since."""
    comment = f"no sign of life until {row['lease_until'][:19].replace('T', ' ')} UTC"
    return db.change(row, EXPIRE, row["reader"], given_back(row), session=row["session"], comment=comment)


def given_back(row: Row) -> Changes:
    """Return the columns of a task that goes back to what it was; with a revision it stays its reader's, in no program's hands."""
    free: Changes = {"session": "", "lease_until": ""}
    return free if row["state"] != TAKEN else {**free, "state": row["previous_state"], "reader": row["previous_reader"]}


def take(db: Transaction, row: Row, reader: str, kind: str = "take") -> Row:
    """Put a task into the hands of a reader and this program, with a new lease."""
    if is_mine(row, reader):
        return extend(db, row)
    hold: Changes = {"reader": reader, "session": this_session(), "lease_until": lease_end(db.time())}
    if row["stage"] not in CHECKED and not has_read(row, reader):
        hold["readers"] = with_reader(row, reader)
        db.tell_other(row, reader)
    if row["assignee"] not in ("", reader):
        hold["assignee"] = ""
    if row["state"] in OWNED:
        return db.change(row, kind if row["reader"] == reader else "take over", reader, hold)
    kind = "take over" if "assignee" in hold else kind
    return db.change(row, kind, reader, {**before(row), "state": TAKEN, **hold})


def extend(db: Transaction, row: Row) -> Row:
    """Begin the lease anew. That is no event: it changes nothing but when the lease ends."""
    changes: Changes = {"lease_until": lease_end(db.time())}
    db.set(row, changes)
    return {**row, **changes}


def renew(db: Transaction, row: Row, reader: str) -> Row:
    """Extend the lease of a reader and this program; take the task again when it ran out and nobody had the task since.

    Returns:
        The row: in other hands when somebody else has the task by now.
    """
    if is_mine(row, reader):
        return extend(db, row)
    last = db.last_of(row, _ASIDE_KINDS)
    ours = last is not None and (last["kind"], last["reader"], last["session"]) == (EXPIRE, reader, this_session())
    return take(db, row, reader, "resume") if ours and row["session"] == "" else row


def detach(db: Transaction, row: Row, reader: str, seconds: float) -> Row:
    """Let a reader keep a task without a program that has it open, for a while: they edit it elsewhere."""
    keep: Changes = {"session": "", "lease_until": lease_end(db.time(), seconds)}
    db.set(row, keep)
    return {**row, **keep, "reader": reader}


def hand_over(db: Transaction, row: Row, reader: str, to: str, comment: str) -> Row:
    """Hand a task to a named reader: nobody else is given it, and they get it first.

    Raises:
        TaskTakenError: It is in the hands of somebody else.
        InputError: It is finished.
    """
    if row["state"] in FINISHED:
        message = f"{row['case_name']}, {row['organ']}: is {row['state']} by {row['reader']}."
        raise InputError(message, "Reopen it first.")
    if row["state"] in OWNED and row["reader"] != reader:
        require_free(row, reader)
    free: Changes = {"assignee": to, "session": "", "lease_until": ""}
    if row["state"] == REVISED:
        free["reader"] = to
        if row["stage"] not in CHECKED:  # theirs from now on, so that the other reading cannot be
            free["readers"] = with_reader(row, to)
            db.tell_other(row, to)
    else:
        free |= {**before(row), "state": WAITING, "reader": ""}
    told = f"to {to}{': ' if comment else ''}{comment}"
    return db.change(row, "hand over", reader, free, comment=told)


def revisit(db: Transaction, row: Row, reader: str, reason: str, to: str = "") -> Row:
    """Put a task that was decided or put aside back on the list, for a named reader or anybody.

    Raises:
        TaskTakenError: Somebody has it.
        InputError: It waits already, or no reason is given.
    """
    where = f"{row['case_name']}, {row['organ']}"
    if not reason.strip():
        message = f"{where}: there is no reason to open it again."
        raise InputError(message, "Say why in a few words.")
    if row["state"] in OWNED:
        message = f"{where}: is {row['state']} by {row['reader']}."
        raise TaskTakenError(message, "It has to be released first.", task_of(row))
    if row["state"] not in (*FINISHED, *ASIDE):
        message = f"{where}: is {row['state']}, neither decided nor put aside."
        raise InputError(message, "Take it.")
    changes: Changes = {**before(row), "state": WAITING, "reader": "", "assignee": to, **read_again(row)}
    return db.change(row, "revisit", reader, changes, comment=reason.strip())


def read_again(row: Row) -> Changes:
    """Return the columns of a decided task that is read again, by anybody; one put aside while it was checked goes on being checked.

    One that was adjudicated is adjudicated again: who did one of the readings cannot decide for it that way.
    """
    if row["state"] in FINISHED and row["stage"] == ADJUDICATED:
        return {"stage": ADJUDICATE, "previous_state": WAITING, "previous_reader": ""}
    return {"level": 1, "stage": READ} if row["state"] in FINISHED else {}
