"""The worklist of a dataset folder: who looks at which organ of which case, and what became of it.

Every change is one transaction that reads the task, checks that it may be changed, writes it and appends an event, so
that two readers on one folder never get the same task and no state is lost.
"""

from __future__ import annotations

import math
import sqlite3
import unicodedata
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from AtlasReviewLib.reader_session import this_session
from AtlasReviewLib.task_states import FINISHED, OWNED, REVISED, TAKEN, WAITING, State, require_verdict
from AtlasReviewLib.worklist_rows import (
    Changes,
    Event,
    Task,
    append_event,
    before,
    event_of,
    is_mine,
    next_row,
    require_free,
    row_of,
    taken_meanwhile,
    task_of,
)
from AtlasReviewLib.worklist_store import NAME, WorklistStore
from AtlasSegmentLib.errors import InputError, StorageError
from AtlasSegmentLib.names import safe_name

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


class Worklist:
    """The tasks of one dataset folder.

    Args:
        folder: The dataset folder.
        read_only: Look only; every change raises StorageError.
        now: Clock, in UTC.

    Raises:
        WorklistDamagedError, StorageError, DatasetError: As `WorklistStore`.
    """

    def __init__(self, folder: Path, read_only: bool = False, now: Clock = utc_now) -> None:
        self.folder, self.read_only, self._now = Path(folder), read_only, now
        self.store = WorklistStore(self.folder / NAME, read_only)

    def close(self) -> None:
        """Give up what is held in memory; nothing else stays open."""
        self.store.close()

    def tasks(self) -> list[Task]:
        """Return every task whose case is there, in the order of looking; those without a rank last, by name."""
        with self.store.reading() as db:
            rows = db.execute("SELECT * FROM task WHERE present = 1 ORDER BY rank IS NULL, rank, case_name, organ")
            return [task_of(row) for row in rows]

    def task(self, case: str, organ: str) -> Task:
        """Return one task as it is now.

        Raises:
            DatasetError: There is none.
        """
        with self.store.reading() as db:
            return task_of(row_of(db, case, organ))

    def last_event(self) -> int:
        """Return the number of the newest event: it grows with every change that anybody makes."""
        with self.store.reading() as db:
            return int(db.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0])

    def events(self, case: str | None = None, organ: str | None = None) -> list[Event]:
        """Return the history, oldest first, of everything, one case or one task."""
        with self.store.reading() as db:
            rows = db.execute(
                "SELECT * FROM event WHERE (:case IS NULL OR case_name = :case) AND (:organ IS NULL OR organ = :organ) ORDER BY id",
                {"case": case, "organ": organ},
            )
            return [event_of(row) for row in rows]

    def take_next(self, reader: str, exclude: Task | None = None) -> Task | None:
        """Give the reader the next task: one that waits, else one they have begun, else one that somebody skipped.

        Args:
            reader: Who asks.
            exclude: The task they have open now.

        Returns:
            The task, now in the reader's hands, or None when nothing is left.

        Raises:
            DatasetError: The reader's name cannot be a file name.
            StorageError: The worklist cannot be written.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = next_row(db, reader, exclude.id if exclude is not None else -1)
            return None if row is None else self._take(db, row, reader)

    def take(self, case: str, organ: str, reader: str, take_over: bool = False) -> Task:
        """Put a task into a reader's hands.

        Args:
            case: Name of the case.
            organ: Name of the organ.
            reader: Who wants it.
            take_over: Take it although another reader has it; the history says so.

        Raises:
            TaskTakenError: Another reader, or another program of this one, has it.
            InputError: It is finished.
            DatasetError: There is no such task, or the reader's name cannot be a file name.
            StorageError: The worklist cannot be written.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = row_of(db, case, organ)
            if row["state"] in FINISHED:
                message = f"{case}, {organ}: is {row['state']} by {row['reader']}."
                raise InputError(message, "Reopen it to change it.")
            if not take_over:
                require_free(row, reader)
            return self._take(db, row, reader)

    def leave(self, task: Task, reader: str, keep: bool) -> None:
        """Close a task: it goes back to what it was before it was taken, or stays the reader's with `keep`.

        Nothing happens when it is not in the hands of this reader and program.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = row_of(db, task.case, task.organ)
            if not is_mine(row, reader):
                return
            if keep or row["state"] != TAKEN:
                self._update(db, row, "leave", reader, {"session": ""})
            else:
                earlier: Changes = {"state": row["previous_state"], "reader": row["previous_reader"], "session": ""}
                self._update(db, row, "release", reader, earlier)

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
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = row_of(db, task.case, task.organ)
            require_verdict(row["state"], state, comment)
            if not is_mine(row, reader):
                raise taken_meanwhile(row)
            changes: Changes = {"state": state, "session": this_session() if state in OWNED else ""}
            if comment.strip():
                changes["comment"] = comment.strip()
            if revision:
                changes |= {"revision": revision, "sha256": sha256}
            self._update(db, row, "state", reader, changes, comment=comment.strip(), revision=revision, sha256=sha256)
            return task_of(row_of(db, task.case, task.organ))

    def reopen(self, task: Task, reader: str, comment: str = "") -> Task:
        """Take a finished task up again; its history stays.

        Raises:
            InputError: It is not finished.
            DatasetError, StorageError: As `take`.
        """
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = row_of(db, task.case, task.organ)
            if row["state"] not in FINISHED:
                message = f"{task.case}, {task.organ}: is {row['state']}, not finished."
                raise InputError(message, "Open it.")
            changes = {**before(row), "state": REVISED if row["revision"] else TAKEN, "reader": reader, "session": this_session()}
            self._update(db, row, "reopen", reader, changes, comment=comment.strip())
            return task_of(row_of(db, task.case, task.organ))

    def add_seconds(self, task: Task, reader: str, seconds: float) -> None:
        """Add active time to a task, whoever has it now; less than a tenth of a second is not worth an event."""
        if seconds < 0.1 or not math.isfinite(seconds):
            return
        reader = self._writer(reader)
        with self.store.writing() as db:
            row = row_of(db, task.case, task.organ)
            self._update(db, row, "seconds", reader, {"active_seconds": row["active_seconds"] + seconds}, seconds=seconds)

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
            time = self.time_now()
            added = db.execute(
                "INSERT INTO task (case_name, organ, reason, changed) VALUES (?, ?, ?, ?) ON CONFLICT (case_name, organ) DO NOTHING",
                (case, organ, f"added by {reader}", time),
            )
            if added.rowcount:
                append_event(db, time, reader, case, organ, "add", state_after=WAITING)
            return task_of(row_of(db, case, organ))

    def _writer(self, reader: str) -> str:
        if self.read_only:
            message = f"{self.folder}: the dataset folder cannot be written, so the worklist is for looking only."
            raise StorageError(message, "Ask for write permission, or copy the dataset to a folder of your own.")
        return checked_reader(reader)

    def time_now(self) -> str:
        """Return the time now as the worklist stores it."""
        return self._now().astimezone(timezone.utc).isoformat(timespec="microseconds")

    def _take(self, db: sqlite3.Connection, row: sqlite3.Row, reader: str) -> Task:
        if is_mine(row, reader):
            return task_of(row)
        if row["state"] in OWNED:
            changes: Changes = {"reader": reader, "session": this_session()}
        else:
            changes = {**before(row), "state": TAKEN, "reader": reader, "session": this_session()}
        kind = "take over" if row["state"] in OWNED and row["reader"] != reader else "take"
        self._update(db, row, kind, reader, changes)
        return task_of(row_of(db, row["case_name"], row["organ"]))

    def _update(self, db: sqlite3.Connection, row: sqlite3.Row, kind: str, reader: str, changes: Changes, **event: str | float) -> None:
        """Write some columns of a task and the event that says so."""
        time = self.time_now()
        names = ", ".join(f"{name} = :{name}" for name in changes)
        db.execute(f"UPDATE task SET {names}, changed = :time WHERE id = :id", {**changes, "time": time, "id": row["id"]})
        after = changes.get("state", row["state"])
        append_event(db, time, reader, row["case_name"], row["organ"], kind, state_before=row["state"], state_after=after, **event)


def checked_reader(reader: str) -> str:
    """Return a reader's name in the form in which names are compared.

    Raises:
        DatasetError: It cannot be part of a file name.
    """
    return safe_name(unicodedata.normalize("NFC", reader.strip()), "reader name")
