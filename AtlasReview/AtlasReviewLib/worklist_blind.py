"""What a person sees of tasks that two readers do blind to each other: of the other reading nothing before both are done.

While two readings disagree, whoever did neither sees no name, comment or revision of them either: the adjudicator judges masks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from AtlasReviewLib.task_states import ADJUDICATE, ASIDE, TAKEN, WAITING
from AtlasReviewLib.worklist_rows import PROGRAM, Event, Row, Task, has_read, task_of

if TYPE_CHECKING:
    from AtlasReviewLib.worklist_transaction import Transaction


@dataclass(frozen=True)
class Blind:
    """What one person may see of a list.

    Attributes:
        viewer: Name of the reader, "" for anybody.
        pairs: (case, organ) to both rows of the tasks that have something to hide.
    """

    viewer: str
    pairs: dict[tuple[str, str], tuple[Row, Row]]

    @classmethod
    def of(cls, db: Transaction, viewer: str, case: str | None = None) -> Blind:
        """Return it for the list, or the tasks of a case."""
        return cls(viewer, {(one["case_name"], one["organ"]): (one, two) for one, two in db.pairs(case) if is_open(one)})

    @classmethod
    def among(cls, viewer: str, rows: Iterable[Row]) -> Blind:
        """Return it for a few rows, both readings of each task among them."""
        by_key: dict[tuple[str, str], dict[int, Row]] = {}
        for row in rows:
            by_key.setdefault((row["case_name"], row["organ"]), {})[row["reading"]] = row
        return cls(viewer, {key: (two[1], two[2]) for key, two in by_key.items() if len(two) > 1 and is_open(two[1])})

    def tasks(self, tasks: Iterable[Task]) -> list[Task]:
        """Return the tasks as the viewer sees them, without those that they do not."""
        hidden = self.pairs  # most tasks are in no pair, and lists are long
        return [seen for task in tasks if (seen := self.task(task) if (task.case, task.organ) in hidden else task).present]

    def task(self, task: Task) -> Task:
        """Return a task as the viewer sees it; not `present` when they do not."""
        pair = self.pairs.get((task.case, task.organ))
        if pair is None:
            return task
        own, other = (pair[task.reading - 1], pair[2 - task.reading])
        if pair[0]["stage"] == ADJUDICATE:
            if has_read(own, self.viewer) or has_read(other, self.viewer):
                return task
            return blanked(task) if task.reading == 1 else replace(task, present=False)
        if has_read(own, self.viewer):
            return task
        if has_read(other, self.viewer):
            return replace(task, present=False)
        return _another_ones(task, self.viewer)

    def events(self, events: Iterable[Event]) -> list[Event]:
        """Return the events that the viewer may see."""
        return [event for event in events if self._sees(event)]

    def _sees(self, event: Event) -> bool:
        pair = self.pairs.get((event.case, event.organ))
        if pair is None or event.reader in (PROGRAM, self.viewer):
            return True
        adjudicated = pair[0]["stage"] == ADJUDICATE
        own, other = pair[event.reading - 1], pair[2 - event.reading]
        return has_read(own, self.viewer) or (adjudicated and has_read(other, self.viewer))


def not_compared(pairs: Iterable[tuple[Row, Row]]) -> frozenset[tuple[str, str]]:
    """Return (case, organ) of tasks whose two readings are not both done: what one of them did is nobody else's to know yet."""
    return frozenset((str(first["case_name"]), str(first["organ"])) for first, _ in pairs if not first["measured"])


def is_open(first: Row) -> bool:
    """Tell whether something of a task that is read twice has to be hidden: it is not compared yet, or not adjudicated."""
    return not first["measured"] or first["stage"] == ADJUDICATE


def blanked(task: Task) -> Task:
    """Return a task whose readings disagree without what says who did them; whoever adjudicates it is named."""
    if task.stage != ADJUDICATE:
        return task
    measured = json.loads(task.measured or "{}") | {"revisions": ["", ""], "readers": ["", ""], "order": [0, 0]}  # ids hold names
    return replace(task, author="", comment="", revision="", sha256="", measured=json.dumps(measured))


def shown_to(db: Transaction, row: Row, reader: str) -> Task:
    """Return a task that a reader changed and may not have in hand: a reading of somebody else without who, what and how."""
    task, other = task_of(row), db.other(row)
    if other is None or has_read(row, reader) or (row if row["reading"] == 1 else other)["measured"]:
        return blanked(task)
    return _nobodys(task)


def _another_ones(task: Task, viewer: str) -> Task:
    """Return a reading of somebody without who, what and how it was decided."""
    free = task.state in (WAITING, *ASIDE) and task.assignee in ("", viewer)
    return _nobodys(task) if free else replace(_nobodys(task), state=TAKEN, assignee="")


def _nobodys(task: Task) -> Task:
    return replace(task, reader="", session="", lease_until="", comment="", revision="", sha256="", author="", active_seconds=0.0)
