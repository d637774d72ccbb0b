"""What a worklist asks of its database within one transaction: every SQL statement of the program is here, with bound parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, bindparam, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from AtlasReviewLib.reader_session import this_session
from AtlasReviewLib.review_policy import SENIOR
from AtlasReviewLib.task_states import ADJUDICATE
from AtlasReviewLib.worklist_next import first_statements, next_statements
from AtlasReviewLib.worklist_rows import EVENT_COLUMNS, TASK_COLUMNS, Changes, Event, Row, Task, TaskFilter, task_from
from AtlasReviewLib.worklist_schema import UTC_TIME, event, leased, task
from AtlasSegmentLib.errors import DatasetError
from AtlasSegmentLib.names import close_names

_TASK = [task.c[name] for name in TASK_COLUMNS]
_EVENT = [event.c[name] for name in EVENT_COLUMNS]
_ORDER = (task.c.stage != ADJUDICATE, task.c.rank.asc().nulls_last(), task.c.case_name, task.c.organ, task.c.reading)
_EVENT_LOCK, _LIST_LOCK, _READER_LOCK = 1096043603, 1096043604, 1096043605  # any numbers that other programs do not use
_THIS = (task.c.dataset == bindparam("dataset"), task.c.case_name == bindparam("case"), task.c.organ == bindparam("organ"))
_ROW = select(task).where(*_THIS, task.c.reading == bindparam("reading"))
_ROW_TO_KEEP = _ROW.with_for_update()
_KEY = ("case_name", "organ", "reading")
_NAMED = ("dataset", *_KEY)  # a number that is there already is another conflict, which must not pass for "the task is there"
_MASK = ("revision", "sha256")
_PAIR = [
    task.c[name]
    for name in (*_KEY, "state", "stage", "level", "reader", "author", "readers", "assignee", "measured", *_MASK, "comment", "changed")
]
_NO_EVENT = {"reading": 1, "state_before": "", "state_after": "", "seconds": 0.0, "revision": "", "sha256": "", "comment": ""}


class Transaction:
    """One transaction on the tasks and events of one dataset.

    Args:
        connection: In a transaction.
        dataset: Key of the dataset.
        clock: Gives the time as it is stored; None asks the database server, as the clocks of readers differ.
    """

    def __init__(self, connection: Connection, dataset: str, clock: Callable[[], str] | None) -> None:
        self.connection, self.dataset, self._clock = connection, dataset, clock
        self._events: list[dict[str, Any]] = []
        self._time = ""

    def time(self) -> str:
        """Return the time now as the worklist stores it; a server is asked once in a transaction."""
        if self._clock is not None:
            return self._clock()
        self._time = self._time or str(self.connection.scalar(select(literal_column(UTC_TIME))))
        return self._time

    # Reading

    def tasks(self, case: str | None = None, second: bool = True) -> list[Task]:
        """Return the tasks whose case is there, of all cases or of one, in the order of looking; also second readings."""
        wanted = select(*_TASK).where(self._mine, task.c.present == 1).order_by(*_ORDER)
        wanted = wanted if case is None else wanted.where(task.c.case_name == case)
        wanted = wanted if second else wanted.where(task.c.reading == 1)
        return [task_from(values) for values in self.connection.execute(wanted)]

    def rows(self) -> Sequence[Row]:
        """Return every row of the dataset, also of cases that are gone, in the order of looking."""
        return self.connection.execute(select(task).where(self._mine).order_by(*_ORDER)).mappings().all()

    def row(self, case: str, organ: str, reading: int = 1, keep: bool = True) -> Row:
        """Return the row of a task; a server lets nobody else change it during this transaction, with `keep`.

        Raises:
            DatasetError: There is none.
        """
        wanted = {"dataset": self.dataset, "case": case, "organ": organ, "reading": reading}
        found = self.connection.execute(_ROW_TO_KEEP if keep else _ROW, wanted).mappings().first()
        if found is None:
            message = f"{case}, {organ}: {'is' if reading == 1 else 'its second reading is'} not in the worklist."
            raise DatasetError(message, self._close_to(case, organ))
        return found

    def _close_to(self, case: str, organ: str) -> str:
        """Return the next step for whoever asks for a task that is not there: the names that are close."""
        organs = set(self.connection.scalars(select(task.c.organ).where(self._mine, task.c.case_name == case)))
        cases = set() if organs else set(self.connection.scalars(select(task.c.case_name).where(self._mine).distinct()))
        return (close_names(organ, organs - {organ}) if organs else close_names(case, cases)) or "Read the list again."

    def other(self, row: Row) -> Row | None:
        """Return the row of the other reading of a task, or None when it is read once."""
        wanted = {"dataset": self.dataset, "case": row["case_name"], "organ": row["organ"], "reading": 3 - row["reading"]}
        found = self.connection.execute(_ROW, wanted).mappings().first()
        return found if found is not None and found["present"] else None

    def pairs(self, case: str | None = None) -> Sequence[tuple[Row, Row]]:
        """Return (first reading, second reading) of the tasks of all cases, or one, that are read twice."""
        second = task.alias()
        same = (second.c.dataset == task.c.dataset, second.c.case_name == task.c.case_name, second.c.organ == task.c.organ)
        there = (second.c.dataset == self.dataset, second.c.reading > 1, second.c.present == 1, task.c.reading == 1, task.c.present == 1)
        wanted = select(*_PAIR, *(second.c[column.name].label(f"second_{column.name}") for column in _PAIR)).where(*same, *there)
        wanted = wanted if case is None else wanted.where(second.c.case_name == case)
        found = self.connection.execute(wanted.order_by(second.c.case_name, second.c.organ)).mappings()
        return [({c.name: row[c.name] for c in _PAIR}, {c.name: row[f"second_{c.name}"] for c in _PAIR}) for row in found]

    def next_row(self, reader: str, exclude: int, only: TaskFilter, level: int) -> Row | None:
        """Return the row that a reader gets next, see `worklist_next`; None when nothing is left.

        Args:
            reader: Who asks.
            exclude: Id of a task that is not wanted, or -1.
            only: What is wanted.
            level: Of the reader.
        """
        given = {**self._asking(reader, level), "exclude": exclude, **asdict(only)}
        for statement in next_statements(bool(only.organs), bool(only.cases), only.level, level >= SENIOR):
            found = self.connection.execute(statement, given).mappings().first()
            if found is not None:
                return found
        return None

    def first_row(self, reader: str, ids: Sequence[int], only: int | None, level: int) -> Row | None:
        """Return the row of the first of some tasks that waits for a reader, by the rules of `next_row`; None when none does.

        Args:
            reader: Who asks.
            ids: Of the tasks, the most wanted one first.
            only: Level of the tasks that are wanted, None for all.
            level: Of the reader.
        """
        find, keep = first_statements(only, level >= SENIOR)
        given = {**self._asking(reader, level), "level": only}
        waiting = set(self.connection.scalars(find, {**given, "ids": list(ids)}))
        rows = (self.connection.execute(keep, {**given, "id": number}).mappings().first() for number in ids if number in waiting)
        return next((row for row in rows if row is not None), None)  # None: somebody else takes it right now

    def _asking(self, reader: str, level: int) -> dict[str, Any]:
        given = {"dataset": self.dataset, "reader": reader, "free": ("", this_session()), "own": level}
        return {**given, "line": f"\n{reader}\n"}

    def knows(self, reader: str) -> bool:
        """Tell quickly whether a reader has, decided or was handed a task, under exactly this name."""
        found = (select(task.c.id).where(self._mine, task.c[name] == reader).limit(1) for name in ("reader", "assignee"))
        return any(self.connection.execute(wanted).first() is not None for wanted in found)

    def reader_names(self) -> set[str]:
        """Return the names of everybody who ever changed a task, has one or was handed one."""
        found = [select(event.c.reader).where(event.c.dataset == self.dataset)]
        found += [select(task.c[name]).where(self._mine) for name in ("reader", "assignee")]
        return {name for wanted in found for name in self.connection.scalars(wanted.distinct()) if name}

    def one_program_of(self, reader: str) -> None:
        """Let no other program of a reader take a task until this transaction ends; nothing may be locked before.

        Two of them would not see that they take both readings of a task.
        """
        self._wait_for(_READER_LOCK, reader)

    def lapsed(self, time: str) -> Sequence[Row]:
        """Return rows that other programs held and whose lease has run out, but none that somebody changes right now."""
        late = (leased, task.c.lease_until < time, task.c.session != this_session())
        return self.connection.execute(select(task).where(self._mine, *late).with_for_update(skip_locked=True)).mappings().all()

    def events(self, case: str | None = None, organ: str | None = None, after: int = 0) -> list[Event]:
        """Return the history, oldest first, of everything, one case or one task, after a number."""
        wanted = select(*_EVENT).where(event.c.dataset == self.dataset, event.c.id > after).order_by(event.c.id)
        wanted = wanted if case is None else wanted.where(event.c.case_name == case)
        wanted = wanted if organ is None else wanted.where(event.c.organ == organ)
        return [Event(*values) for values in self.connection.execute(wanted)]

    def event_rows(self) -> Sequence[Row]:
        """Return every row of the history, oldest first."""
        return self.connection.execute(select(event).where(event.c.dataset == self.dataset).order_by(event.c.id)).mappings().all()

    def last_event(self) -> int:
        """Return the number of the newest event, 0 without one."""
        return int(self.connection.scalar(select(func.coalesce(func.max(event.c.id), 0)).where(event.c.dataset == self.dataset)) or 0)

    def changed(self, after: int, most: int) -> list[tuple[str, str, int]] | None:
        """Return the tasks of the events after a number; None when there are more than `most`, or one that moves the whole list."""
        wanted = select(event.c.case_name, event.c.organ, event.c.reading, event.c.kind)
        wanted = wanted.where(event.c.dataset == self.dataset, event.c.id > after)
        found = self.connection.execute(wanted.order_by(event.c.id).limit(most + 1)).all()
        if len(found) > most or any(not name or kind in ("add", "hide") for name, _, _, kind in found):
            return None
        return list(dict.fromkeys((name, organ, reading) for name, organ, reading, _ in found))

    def last_of(self, row: Row, kinds: Iterable[str]) -> Row | None:
        """Return the newest event of a task that is not of some kinds."""
        this = (event.c.dataset == self.dataset, *(event.c[name] == row[name] for name in _KEY))
        wanted = select(event).where(*this, event.c.kind.not_in(list(kinds))).order_by(event.c.id.desc()).limit(1)
        return self.connection.execute(wanted).mappings().first()

    # Writing

    def change(self, row: Row, kind: str, reader: str, changes: Changes, **values: str | float) -> Row:
        """Write some columns of a task and the event that says so; return the row as it is now."""
        time = self.time()
        after = {"state_before": row["state"], "state_after": changes.get("state", row["state"]), "reading": row["reading"]}
        self.set(row, {**changes, "changed": time})
        self.append(reader, row["case_name"], row["organ"], kind, **{"session": this_session(), **after, **values})
        return {**row, **changes, "changed": time}

    def set(self, row: Row, changes: Changes) -> None:
        """Write some columns of a task, without an event."""
        self.connection.execute(task.update().where(task.c.id == row["id"]).values(**changes))

    def tell_other(self, row: Row, reader: str) -> None:
        """Note with the other reading of a task who had this one, unless somebody else changes it right now: it only saves time."""
        same = (task.c[name] == row[name] for name in ("dataset", "case_name", "organ"))
        wanted = select(task.c.id, task.c.others).where(*same, task.c.reading == 3 - row["reading"]).with_for_update(skip_locked=True)
        other = self.connection.execute(wanted).first()
        if other is not None:
            self.connection.execute(task.update().where(task.c.id == other.id).values(others=f"{other.others}\n{reader}\n"))

    def add(self, values: Changes) -> bool:
        """Add a task unless it is there; tell whether it was added."""
        done = self.connection.execute(self._added(), {"dataset": self.dataset, **values}, execution_options={"preserve_rowcount": True})
        return done.rowcount == 1

    def add_many(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add tasks; those that are there stay as they are."""
        if rows:
            self.connection.execute(self._added(), [{"dataset": self.dataset, **row} for row in rows])

    def set_many(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the same columns of many tasks, each given with `case_name` and `organ`, and with `reading` where only one is meant."""
        if rows:
            columns = [name for name in rows[0] if name not in _KEY]
            wanted = task.update().where(self._mine, *(task.c[name] == bindparam(f"_{name}") for name in _KEY if name in rows[0]))
            given = [{f"_{name}": value for name, value in row.items()} for row in rows]
            self.connection.execute(wanted.values({name: bindparam(f"_{name}") for name in columns}), given)

    def append(self, reader: str, case: str, organ: str, kind: str, **values: str | float) -> None:
        """Append one event, of this program unless `session` says another; it is written when the transaction ends."""
        line = {"dataset": self.dataset, "reader": reader, "session": this_session(), "case_name": case, "organ": organ, "kind": kind}
        self._events.append({**line, **_NO_EVENT, **values, **({} if self._clock is None else {"time": self._clock()})})

    def flush(self) -> None:
        """Write the events. On a server one transaction after another does, so that their numbers follow the order of commits.

        Nothing else may be locked after that in this transaction, lest two of them wait for each other.
        """
        if not self._events:
            return
        self._wait_for(_EVENT_LOCK)
        self.connection.execute(event.insert(), self._events)
        self._events = []

    def alone(self) -> None:
        """Wait until no other program changes the list as a whole; readers go on with their tasks."""
        self._wait_for(_LIST_LOCK)

    def _wait_for(self, lock: int, reader: str = "") -> None:
        if self.connection.dialect.name == "postgresql":  # in SQLite nobody writes beside anyway
            key = f"{self.dataset}\n{reader}" if reader else self.dataset
            self.connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, lock))))

    def restore_events(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write events of an earlier file with the times that they had."""
        given = [{"dataset": self.dataset, **row} for row in rows]
        if given:
            self.connection.execute(event.insert(), given)

    @property
    def _mine(self) -> ColumnElement[bool]:
        return task.c.dataset == self.dataset

    def _added(self) -> Executable:
        if self.connection.dialect.name == "postgresql":
            return postgresql.insert(task).on_conflict_do_nothing(index_elements=_NAMED)
        return sqlite.insert(task).on_conflict_do_nothing(index_elements=_NAMED)
