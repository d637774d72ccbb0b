"""Looking at the worklist of a dataset folder: tasks and history, as they count or as one person sees them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from AtlasReviewLib.assembly_levels import read_levels
from AtlasReviewLib.reader_name import checked_reader
from AtlasReviewLib.worklist_blind import Blind
from AtlasReviewLib.worklist_place import WorklistPlace, place_of
from AtlasReviewLib.worklist_rows import Event, Row, Task, task_of
from AtlasReviewLib.worklist_rules import Rules, require_begun, require_one_spelling, require_shown, rules_of
from AtlasReviewLib.worklist_store import open_store
from AtlasSegmentLib.errors import DatasetError, InputError, StorageError

__all__ = ["Clock", "WorklistLook", "checked_reader", "utc_now"]
Clock = Callable[[], datetime]
_MOST_CHANGES = 200


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


class WorklistLook:
    """The tasks of one dataset folder, to look at.

    Args:
        folder: The dataset folder.
        read_only: Look only; every change raises StorageError.
        now: Clock, in UTC; a server has a clock of its own.
        url: Address of a PostgreSQL database; "" looks where `place_of` says.
        place: Where it is, if that is known.
        viewer: Who looks: what this person must not see of tasks that two readers do is left out. None looks at what counts, the
            first readings, with nothing left out.

    Raises:
        WorklistDamagedError, StorageError, DatasetError, InputError, AtlasError: As `open_store` and `place_of`.
    """

    def __init__(
        self,
        folder: Path,
        read_only: bool = False,
        now: Clock = utc_now,
        url: str = "",
        place: WorklistPlace | None = None,
        viewer: str | None = None,
    ) -> None:
        self.folder, self.read_only, self._now = Path(folder), read_only, now
        self.viewer = viewer
        self._spelled: set[str] = set()
        self.store = open_store(place or place_of(self.folder, url), read_only, self._time_now)

    def close(self) -> None:
        """Give up what is held in memory, and connections to a server; a file is never held open."""
        self.store.close()

    def rules(self) -> Rules:
        """Return how the dataset is reviewed.

        Raises:
            InputError: review.json or readers.json is damaged.
        """
        return rules_of(self.folder)

    def tasks(self, case: str | None = None) -> list[Task]:
        """Return the tasks whose case is there, of all cases or one, in the order of looking; those without a rank last, by name.

        Second readings are among them when somebody looks (`viewer`), as far as they may be seen.
        """
        with self.store.reading() as db:
            if self.viewer is None:
                return db.tasks(case, second=False)
            return Blind.of(db, self.viewer, case).tasks(db.tasks(case))

    def every_task(self) -> list[Task]:
        """Return all tasks, second readings too, with nothing left out: for programs, not for readers."""
        with self.store.reading() as db:
            return db.tasks()

    def pairs(self, case: str | None = None) -> list[tuple[Row, Row]]:
        """Return (first, second) reading of tasks that are read twice, with nothing left out: for programs, not for readers."""
        with self.store.reading() as db:
            return list(db.pairs(case))

    def task(self, case: str, organ: str, reading: int = 1) -> Task:
        """Return one task as it is now.

        Raises:
            DatasetError: There is none.
            InputError: It is a reading that `viewer` must not see yet.
        """
        with self.store.reading() as db:
            task = task_of(db.row(case, organ, reading, keep=False))
            seen = task if self.viewer is None else Blind.of(db, self.viewer, case).task(task)
        if not seen.present and task.present:
            message = f"{case}, {organ}: two readers do it, blind to each other, and this reading is not {self.viewer or 'yours'}'s."
            raise InputError(message, "Both are shown when both are done.")
        return seen

    def may_compare(self, case: str, organ: str, reader: str, reading: int = 1) -> bool:
        """Tell whether a reader may be told how a mask differs from the one that counts, and whose that is.

        Not where two readings disagree and they did neither: they judge masks without knowing which one is whose. True where there is
        no such task.

        Raises:
            InputError: Two readers do it, blind to each other, and somebody else has done something on this reading.
        """
        with self.store.reading() as db:
            try:
                row = db.row(case, organ, reading, keep=False)
            except DatasetError:
                return True
            require_shown(db, row, reader)
            return require_begun(db, row, reader)

    def last_event(self) -> int:
        """Return the number of the newest event: it grows with every change that anybody makes."""
        with self.store.reading() as db:
            return db.last_event()

    def changes(self, after: int) -> tuple[int, list[Task] | None]:
        """Return the number of the newest event, and the tasks that changed after the event of a number.

        None in place of the tasks says that the whole list has to be read again: tasks came or went, or got other places. A task that
        `viewer` must not see (any more) is not `present`: it is to be taken out of what is shown.
        """
        with self.store.reading() as db:
            keys = db.changed(after, _MOST_CHANGES)
            last = db.last_event()
            if keys is None:
                return last, None
            if self.viewer is None:
                return last, [task_of(db.row(*key, keep=False)) for key in keys if key[2] == 1]
            rows = [db.row(*key, keep=False) for key in keys]
            rows += [other for row in rows if (other := db.other(row)) is not None]  # what may be seen of it can have changed
            blind = Blind.among(self.viewer, rows)
            return last, list({task.id: task for task in (blind.task(task_of(row)) for row in rows)}.values())

    def events(self, case: str | None = None, organ: str | None = None, after: int = 0) -> list[Event]:
        """Return the history, oldest first, of everything, one case or one task, after the event of a number.

        Of both readings; what `viewer` must not see is left out.
        """
        with self.store.reading() as db:
            events = db.events(case, organ, after)
            return events if self.viewer is None else Blind.of(db, self.viewer, case).events(events)

    def require_writable(self) -> None:
        """Check that the list can be changed.

        Raises:
            StorageError: It was opened for looking only.
        """
        if self.read_only:
            message = f"{self.folder}: the dataset folder cannot be written, so the worklist is for looking only."
            raise StorageError(message, "Ask for write permission, or copy the dataset to a folder of your own.")

    def named(self, reader: str) -> str:
        """Return a reader's name in the form in which names are stored, when it is not another spelling of one that is known.

        Raises:
            DatasetError: It cannot be part of a file name.
            InputError: The list or readers.json spells it otherwise, or readers.json is damaged.
        """
        name = checked_reader(reader)
        if name not in self._spelled:
            with self.store.reading() as db:
                require_one_spelling(db, name, read_levels(self.folder))
            self._spelled.add(name)
        return name

    def _time_now(self) -> str:
        return self._now().astimezone(timezone.utc).isoformat(timespec="microseconds")
