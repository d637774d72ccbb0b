"""The worklist of a dataset folder: who looks at which organ of which case, and what became of it.

Every change is one transaction that reads the task, checks that it may be changed, writes it and appends an event, so
that two readers on one folder never get the same task and no state is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from AtlasReviewLib import lease, worklist_rules
from AtlasReviewLib.reader_session import this_session
from AtlasReviewLib.task_states import ADJUDICATE, FINISHED, OWNED, REVISED, TAKEN, WAITING, State, require_verdict
from AtlasReviewLib.worklist_blind import blanked, shown_to
from AtlasReviewLib.worklist_look import WorklistLook, checked_reader, utc_now
from AtlasReviewLib.worklist_rows import (
    ANY,
    Changes,
    Row,
    Task,
    TaskFilter,
    before,
    is_mine,
    require_free,
    taken_meanwhile,
    task_of,
    with_reader,
)
from AtlasReviewLib.worklist_rules import require_allowed, require_open_reading, require_shown
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.names import safe_name

if TYPE_CHECKING:
    from AtlasReviewLib.worklist_transaction import Transaction

__all__ = ["Worklist", "checked_reader", "utc_now"]


class Worklist(WorklistLook):
    """The tasks of one dataset folder, to look at and to work on; see `WorklistLook`."""

    def take_next(self, reader: str, exclude: Task | None = None, only: TaskFilter = ANY) -> Task | None:
        """Give the reader the next task: handed to them, else one that waits, else one they have begun, else one that was skipped.

        Args:
            reader: Who asks.
            exclude: The task they have open now.
            only: Which tasks they want.

        Returns:
            The task, now in the reader's hands, or None when nothing is left.

        Raises:
            DatasetError: The reader's name cannot be a file name.
            InputError: review.json or readers.json is damaged.
            StorageError: The worklist cannot be written.
        """
        reader, rules = self._writer(reader), self.rules()
        with self.store.writing() as db:
            db.one_program_of(reader)
            lease.expire(db)
            row = db.next_row(reader, exclude.id if exclude is not None else -1, only, rules.may_up_to(reader))
            return None if row is None else _shown(lease.take(db, row, reader))

    def take_first(self, tasks: Sequence[Task], reader: str, level: int | None = None) -> Task | None:
        """Give the reader the first of some tasks that waits and that they may have, by the rules of `take_next`.

        Args:
            tasks: The most wanted one first; they may be old, what counts is in the list.
            reader: Who asks.
            level: Of the tasks that they want, None for all.

        Returns:
            The task, now in the reader's hands, or None when none of them waits for them.

        Raises:
            DatasetError, InputError, StorageError: As `take_next`.
        """
        reader, rules = self._writer(reader), self.rules()
        with self.store.writing() as db:
            db.one_program_of(reader)
            lease.expire(db)
            row = db.first_row(reader, [task.id for task in tasks], level, rules.may_up_to(reader)) if tasks else None
            return None if row is None else _shown(lease.take(db, row, reader))

    def take(self, case: str, organ: str, reader: str, take_over: bool = False, reading: int = 1) -> Task:
        """Put a task into a reader's hands, until they give no sign of life for `lease.LEASE_SECONDS`.

        Args:
            case: Name of the case.
            organ: Name of the organ.
            reader: Who wants it.
            take_over: Take it although another reader has it; the history says so.
            reading: 1, or 2 for the second reading.

        Raises:
            TaskTakenError: Another reader, or another program of this one, has it, or it was handed to another one.
            InputError: It is finished, or as `worklist_rules.require_allowed` and `require_shown`.
            DatasetError: There is no such task, or the reader's name cannot be a file name.
            StorageError: The worklist cannot be written.
        """
        reader, rules = self._writer(reader), self.rules()
        with self.store.writing() as db:
            db.one_program_of(reader)
            row = lease.lapse(db, db.row(case, organ, reading))
            require_allowed(db, row, reader, rules)
            if not take_over or row["state"] in FINISHED:
                require_shown(db, row, reader)
            if row["state"] in FINISHED:
                message = f"{case}, {organ}: is {row['state']} by {row['reader']}."
                raise InputError(message, "Reopen it to change it.")
            if not take_over:
                require_free(row, reader)
            return _shown(lease.take(db, row, reader))

    def heartbeat(self, task: Task, reader: str) -> Task:
        """Say that the program lives that has a task open; to be called every `lease.HEARTBEAT_SECONDS`.

        Tasks of others whose lease has run out go back to the list. A task of this program that did (the computer slept) is taken
        again when nobody had it since.

        Returns:
            The task as it is now, in other hands when somebody took it meanwhile.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = lease.renew(db, _row(db, task), reader)
            lease.expire(db)
            return _shown(row)

    def detach(self, task: Task, reader: str, seconds: float) -> Task:
        """Let a reader keep the task in their hands without a program that has it open, for some seconds.

        Raises:
            TaskTakenError: Another reader took it over meanwhile.
        """
        return self._held(task, reader, lambda db, row, name: lease.detach(db, row, name, seconds))

    def leave(self, task: Task, reader: str, keep: bool) -> None:
        """Close a task: it goes back to what it was before it was taken, or stays the reader's with `keep`.

        Nothing happens when it is not in the hands of this reader and program.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = _row(db, task)
            if not is_mine(row, reader):
                return
            if keep or row["state"] != TAKEN:
                db.change(row, "leave", reader, {"session": "", "lease_until": ""})
            else:
                db.change(row, "release", reader, lease.given_back(row))

    def hand_over(self, task: Task, reader: str, to: str, comment: str = "") -> Task:
        """Hand a task to a named reader: they are given it first, and nobody else is.

        Raises:
            TaskTakenError: Another reader has it.
            InputError: It is finished, it is a blind reading of somebody else, or the named reader is not allowed to have it.
        """
        reader, to, rules = self._writer(reader), self.named(to), self.rules()
        with self.store.writing() as db:
            row = lease.lapse(db, _row(db, task))
            require_shown(db, row, reader)
            require_allowed(db, row, to, rules)
            return shown_to(db, lease.hand_over(db, row, reader, to, comment.strip()), reader)

    def revisit(self, task: Task, reader: str, reason: str, to: str = "") -> Task:
        """Put a decided task, or one put aside, back on the list, for a named reader or anybody.

        Raises:
            TaskTakenError: Somebody has it.
            InputError: It waits already, there is no reason, the named reader is not allowed to have it, it is a blind reading of
                somebody else, or a second reading that was compared with the first one.
        """
        reader, to, rules = self._writer(reader), self.named(to) if to else "", self.rules()
        with self.store.writing() as db:
            row = lease.lapse(db, _row(db, task))
            require_open_reading(db, row)
            require_shown(db, row, reader)
            if to:
                require_allowed(db, {**row, **lease.read_again(row)}, to, rules)
            return shown_to(db, lease.revisit(db, row, reader, reason, to), reader)

    def set_state(self, task: Task, state: State, reader: str, comment: str = "", revision: str | None = None, sha256: str = "") -> Task:
        """Record what a reader did with the task in their hands.

        Args:
            task: The task.
            state: "revised" (a revision was saved), "accepted", "rejected", "flagged" or "skipped".
            reader: Who.
            comment: Needed to reject; an empty one keeps the comment that is there, but a decision only keeps one of the reader's own.
            revision: Id of the revision that was saved or decided on, "" for the prediction; None keeps what is noted.
            sha256: Hash of that mask.

        Raises:
            TaskTakenError: Another reader took it over meanwhile, or its lease ran out.
            InputError: As `require_verdict`.
            StorageError: The worklist cannot be written.
        """
        reader, comment, rules = self._writer(reader), comment.strip(), self.rules()
        with self.store.writing() as db:
            row = _row(db, task)
            lost = task.is_mine(reader) and row["reader"] != reader  # the lease ran out; by now it may wait, or be decided
            if not is_mine(row, reader) and (lost or row["state"] in OWNED):
                raise taken_meanwhile(row)
            require_verdict(row["state"], state, comment)
            if state in FINISHED:
                require_allowed(db, row, reader, rules)
            kind, follows, told = worklist_rules.decided(db, row, reader, state, rules)
            held: Changes = {"session": this_session(), "lease_until": lease.lease_end(db.time())}
            changes: Changes = {"state": state, **(held if state in OWNED else worklist_rules.FREE), **follows}
            changes |= worklist_rules.comment_of(db, row, reader, state, comment)
            changes |= {"revision": revision, "sha256": sha256} if revision is not None else {}
            words = "; ".join(part for part in (comment, told) if part)
            return _shown(db.change(row, kind, reader, changes, comment=words, revision=revision or "", sha256=sha256))

    def send_back(self, task: Task, reader: str, comment: str) -> Task:
        """Send a task that a senior verifies back to the reader who did it; it waits for them, with the comment.

        Raises:
            TaskTakenError: It is in other hands.
            InputError: It is not being verified, or there is no comment.
            StorageError: The worklist cannot be written.
        """
        reader, comment = self._writer(reader), comment.strip()
        with self.store.writing() as db:
            row = _row(db, task)
            if not is_mine(row, reader):
                raise taken_meanwhile(row)
            told = f"to {row['author']}: {comment}"
            return task_of(db.change(row, worklist_rules.SENT_BACK, reader, worklist_rules.sent_back(row, comment), comment=told))

    def reopen(self, task: Task, reader: str, comment: str = "") -> Task:
        """Take a finished task up again, at once; its history stays. `revisit` leaves it to whoever comes next.

        Raises:
            InputError: It is not finished, it is a second reading that was compared with the first one, or as `require_allowed`.
            DatasetError, StorageError: As `take`.
        """
        reader, rules = self._writer(reader), self.rules()
        with self.store.writing() as db:
            db.one_program_of(reader)
            row = _row(db, task)
            require_open_reading(db, row)
            again = lease.read_again(row)
            require_allowed(db, {**row, **again}, reader, rules)
            require_shown(db, row, reader)
            if row["state"] not in FINISHED:
                message = f"{task.case}, {task.organ}: is {row['state']}, not finished."
                raise InputError(message, "Open it.")
            held: Changes = {"reader": reader, "session": this_session(), "lease_until": lease.lease_end(db.time())}
            read = {} if again.get("stage") == ADJUDICATE else {"readers": with_reader(row, reader)}
            changes = {**before(row), "state": REVISED if row["revision"] else TAKEN, **held, **again, **read}
            return _shown(db.change(row, "reopen", reader, changes, comment=comment.strip()))

    def add_seconds(self, task: Task, reader: str, seconds: float) -> None:
        """Add active time to a task, whoever has it now; less than a tenth of a second is not worth an event."""
        if seconds < 0.1 or not math.isfinite(seconds):
            return
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = _row(db, task)
            db.change(row, "seconds", reader, {"active_seconds": row["active_seconds"] + seconds}, seconds=seconds)

    def add(self, case: str, organ: str, reader: str) -> Task:
        """Add a task that nobody predicted, such as an organ that all models missed; the one that is there if it is.

        Raises:
            DatasetError: A name cannot be a file name.
            StorageError: The worklist cannot be written.
        """
        reader = self._writer(reader)
        safe_name(case, "case name")
        safe_name(organ, "organ name")
        with self.store.writing() as db:
            if db.add({"case_name": case, "organ": organ, "reason": f"added by {reader}", "changed": db.time()}):
                db.append(reader, case, organ, "add", state_after=WAITING)
            return task_of(db.row(case, organ))

    def _held(self, task: Task, reader: str, step: Callable[[Transaction, Row, str], Row]) -> Task:
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = _row(db, task)
            if not is_mine(row, reader):
                raise taken_meanwhile(row)
            return _shown(step(db, row, reader))

    def _writer(self, reader: str) -> str:
        self.require_writable()
        return self.named(reader)


def _row(db: Transaction, task: Task) -> Row:
    return db.row(task.case, task.organ, task.reading)


def _shown(row: Row) -> Task:
    """Return a row as the reader sees it who may have the task in hand."""
    return blanked(task_of(row))
