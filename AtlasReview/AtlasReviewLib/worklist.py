"""The worklist of a dataset folder: who looks at which organ of which case, and what became of it.

Every change is one transaction that reads the task, checks that it may be changed, writes it and appends an event, so
that two readers on one folder never get the same task and no state is lost.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from AtlasReviewLib import lease
from AtlasReviewLib.reader_session import this_session
from AtlasReviewLib.task_states import FINISHED, OWNED, REVISED, TAKEN, WAITING, State, require_verdict
from AtlasReviewLib.worklist_place import WorklistPlace, place_of
from AtlasReviewLib.worklist_rows import ANY, Changes, Event, Row, Task, TaskFilter, before, is_mine, require_free, taken_meanwhile, task_of
from AtlasReviewLib.worklist_store import open_store
from AtlasSegmentLib.errors import InputError, StorageError
from AtlasSegmentLib.names import safe_name

if TYPE_CHECKING:
    from AtlasReviewLib.worklist_transaction import Transaction

Clock = Callable[[], datetime]
_MOST_CHANGES = 200


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


class Worklist:
    """The tasks of one dataset folder.

    Args:
        folder: The dataset folder.
        read_only: Look only; every change raises StorageError.
        now: Clock, in UTC; a server has a clock of its own.
        url: Address of a PostgreSQL database; "" looks where `place_of` says.
        place: Where it is, if that is known.

    Raises:
        WorklistDamagedError, StorageError, DatasetError, InputError, AtlasError: As `open_store` and `place_of`.
    """

    def __init__(
        self, folder: Path, read_only: bool = False, now: Clock = utc_now, url: str = "", place: WorklistPlace | None = None
    ) -> None:
        self.folder, self.read_only, self._now = Path(folder), read_only, now
        self.store = open_store(place or place_of(self.folder, url), read_only, self._time_now)

    def close(self) -> None:
        """Give up what is held in memory, and connections to a server; a file is never held open."""
        self.store.close()

    def tasks(self, case: str | None = None) -> list[Task]:
        """Return the tasks whose case is there, of all cases or one, in the order of looking; those without a rank last, by name."""
        with self.store.reading() as db:
            return db.tasks(case)

    def task(self, case: str, organ: str) -> Task:
        """Return one task as it is now.

        Raises:
            DatasetError: There is none.
        """
        with self.store.reading() as db:
            return task_of(db.row(case, organ, keep=False))

    def last_event(self) -> int:
        """Return the number of the newest event: it grows with every change that anybody makes."""
        with self.store.reading() as db:
            return db.last_event()

    def changes(self, after: int) -> tuple[int, list[Task] | None]:
        """Return the number of the newest event, and the tasks that changed after the event of a number.

        None in place of the tasks says that the whole list has to be read again: tasks came or went, or got other places.
        """
        with self.store.reading() as db:
            keys = db.changed(after, _MOST_CHANGES)
            return db.last_event(), None if keys is None else [task_of(db.row(*key, keep=False)) for key in keys]

    def events(self, case: str | None = None, organ: str | None = None, after: int = 0) -> list[Event]:
        """Return the history, oldest first, of everything, one case or one task, after the event of a number."""
        with self.store.reading() as db:
            return db.events(case, organ, after)

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
            StorageError: The worklist cannot be written.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            lease.expire(db)
            row = db.next_row(reader, exclude.id if exclude is not None else -1, only)
            return None if row is None else task_of(lease.take(db, row, reader))

    def take(self, case: str, organ: str, reader: str, take_over: bool = False) -> Task:
        """Put a task into a reader's hands, until they give no sign of life for `lease.LEASE_SECONDS`.

        Args:
            case: Name of the case.
            organ: Name of the organ.
            reader: Who wants it.
            take_over: Take it although another reader has it; the history says so.

        Raises:
            TaskTakenError: Another reader, or another program of this one, has it, or it was handed to another one.
            InputError: It is finished.
            DatasetError: There is no such task, or the reader's name cannot be a file name.
            StorageError: The worklist cannot be written.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = lease.lapse(db, db.row(case, organ))
            if row["state"] in FINISHED:
                message = f"{case}, {organ}: is {row['state']} by {row['reader']}."
                raise InputError(message, "Reopen it to change it.")
            if not take_over:
                require_free(row, reader)
            return task_of(lease.take(db, row, reader))

    def heartbeat(self, task: Task, reader: str) -> Task:
        """Say that the program lives that has a task open; to be called every `lease.HEARTBEAT_SECONDS`.

        Tasks of others whose lease has run out go back to the list. A task of this program that did (the computer slept) is taken
        again when nobody had it since.

        Returns:
            The task as it is now, in other hands when somebody took it meanwhile.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = lease.renew(db, db.row(task.case, task.organ), reader)
            lease.expire(db)
            return task_of(row)

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
            row = db.row(task.case, task.organ)
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
            InputError: It is finished.
        """
        reader, to = self._writer(reader), checked_reader(to)
        with self.store.writing() as db:
            row = lease.lapse(db, db.row(task.case, task.organ))
            return task_of(lease.hand_over(db, row, reader, to, comment.strip()))

    def revisit(self, task: Task, reader: str, reason: str, to: str = "") -> Task:
        """Put a decided task, or one put aside, back on the list, for a named reader or anybody.

        Raises:
            TaskTakenError: Somebody has it.
            InputError: It waits already, or there is no reason.
        """
        reader, to = self._writer(reader), checked_reader(to) if to else ""
        with self.store.writing() as db:
            row = lease.lapse(db, db.row(task.case, task.organ))
            return task_of(lease.revisit(db, row, reader, reason, to))

    def set_state(self, task: Task, state: State, reader: str, comment: str = "", revision: str = "", sha256: str = "") -> Task:
        """Record what a reader did with the task in their hands.

        Args:
            task: The task.
            state: "revised" (a revision was saved), "accepted", "rejected", "flagged" or "skipped".
            reader: Who.
            comment: Needed to reject; an empty one keeps the comment that is there.
            revision: Id of the revision that was saved, or "".
            sha256: Its hash.

        Raises:
            TaskTakenError: Another reader took it over meanwhile.
            InputError: As `require_verdict`.
            StorageError: The worklist cannot be written.
        """
        reader, comment = self._writer(reader), comment.strip()
        with self.store.writing() as db:
            row = db.row(task.case, task.organ)
            require_verdict(row["state"], state, comment)
            if not is_mine(row, reader):
                raise taken_meanwhile(row)
            held: Changes = {"session": this_session(), "lease_until": lease.lease_end(db.time())}
            changes: Changes = {"state": state, **(held if state in OWNED else {"session": "", "lease_until": "", "assignee": ""})}
            changes |= {"comment": comment} if comment else {}
            changes |= {"revision": revision, "sha256": sha256} if revision else {}
            return task_of(db.change(row, "state", reader, changes, comment=comment, revision=revision, sha256=sha256))

    def reopen(self, task: Task, reader: str, comment: str = "") -> Task:
        """Take a finished task up again, at once; its history stays. `revisit` leaves it to whoever comes next.

        Raises:
            InputError: It is not finished.
            DatasetError, StorageError: As `take`.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = db.row(task.case, task.organ)
            if row["state"] not in FINISHED:
                message = f"{task.case}, {task.organ}: is {row['state']}, not finished."
                raise InputError(message, "Open it.")
            held: Changes = {"reader": reader, "session": this_session(), "lease_until": lease.lease_end(db.time())}
            changes = {**before(row), "state": REVISED if row["revision"] else TAKEN, **held}
            return task_of(db.change(row, "reopen", reader, changes, comment=comment.strip()))

    def add_seconds(self, task: Task, reader: str, seconds: float) -> None:
        """Add active time to a task, whoever has it now; less than a tenth of a second is not worth an event."""
        if seconds < 0.1 or not math.isfinite(seconds):
            return
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = db.row(task.case, task.organ)
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
            row = db.row(task.case, task.organ)
            if not is_mine(row, reader):
                raise taken_meanwhile(row)
            return task_of(step(db, row, reader))

    def require_writable(self) -> None:
        """Check that the list can be changed.

        Raises:
            StorageError: It was opened for looking only.
        """
        if self.read_only:
            message = f"{self.folder}: the dataset folder cannot be written, so the worklist is for looking only."
            raise StorageError(message, "Ask for write permission, or copy the dataset to a folder of your own.")

    def _writer(self, reader: str) -> str:
        self.require_writable()
        return checked_reader(reader)

    def _time_now(self) -> str:
        return self._now().astimezone(timezone.utc).isoformat(timespec="microseconds")


def checked_reader(reader: str) -> str:
    """Return a reader's name in the form in which names are compared.

    Raises:
        DatasetError: It cannot be part of a file name.
    """
    return safe_name(unicodedata.normalize("NFC", reader.strip()), "reader name")
