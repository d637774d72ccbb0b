"""Who did how much: the history of a worklist, and what revisions changed, summed by reader, organ, dataset and day.

Days are UTC. Active minutes are those that the panel counted (see active_time), not time between two clicks. Nothing here is a guess: what
is not known is not counted, and the sums say of how many revisions they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from AtlasReviewLib.revision_changes import Change
from AtlasReviewLib.revision_files import split_id
from AtlasReviewLib.revisions import Revision
from AtlasReviewLib.task_states import ACCEPTED, FINISHED, FLAGGED, REJECTED, REVISED, SKIPPED
from AtlasReviewLib.worklist_rows import PROGRAM, Event, Task
from AtlasReviewLib.worklist_rules import ADJUDICATED_EVENT, SENT_BACK, STATE, TO_VERIFY, VERIFIED_EVENT

Key = Literal["dataset", "day", "reader", "organ"]
KEYS: tuple[Key, ...] = get_args(Key)


@dataclass
class Work:
    """What one reader did on one organ in one dataset on one day, or a sum of that.

    Attributes:
        dataset, day, reader, organ: Which; "" where summed over. The day is ISO, UTC.
        tasks: Different tasks that were worked on (a task on two days counts twice in a sum over days).
        minutes: Active time.
        revisions: Saved masks, of the reader whose name they have.
        accepted, rejected, flagged, skipped, reopened: Decisions.
        sent_back: Own work that somebody else rejected or sent back.
        verified: Own work that a senior verified.
        verifications: Work of others that this reader verified or sent back.
        adjudicated: Disagreements of others that this reader decided.
        measured: Revisions whose change is known; the next three are sums over them.
        voxels: Changed.
        ml: Changed.
        dice: Sum of the Dice with the mask before; see `mean_dice`.
    """

    dataset: str = ""
    day: str = ""
    reader: str = ""
    organ: str = ""
    tasks: int = 0
    minutes: float = 0.0
    revisions: int = 0
    accepted: int = 0
    rejected: int = 0
    flagged: int = 0
    skipped: int = 0
    reopened: int = 0
    sent_back: int = 0
    verified: int = 0
    verifications: int = 0
    adjudicated: int = 0
    measured: int = 0
    voxels: int = 0
    ml: float = 0.0
    dice: float = 0.0

    @property
    def mean_dice(self) -> float | None:
        """Mean Dice of the masks before and after a revision; None when no change is known."""
        return self.dice / self.measured if self.measured else None

    @property
    def minutes_each(self) -> float | None:
        """Active minutes for each decision; None without one, and where nobody counted minutes (work outside of the panel)."""
        decided = self.accepted + self.rejected
        return self.minutes / decided if decided and self.minutes else None

    def add(self, other: Work) -> None:
        """Add the sums of another one."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_SUMS = tuple(field.name for field in fields(Work) if field.name not in KEYS)
_BY_READER, _DRAWN = (STATE, TO_VERIFY), (REVISED, ACCEPTED)
_OF_MASKS = (*_BY_READER, VERIFIED_EVENT, ADJUDICATED_EVENT)
BLIND = "(blind reading)"
"""Stands for readers whose names are not told before both readings of a task are done."""
_REOPENED = ("reopen", "revisit")
_DECISIONS = {ACCEPTED: "accepted", REJECTED: "rejected", FLAGGED: "flagged", SKIPPED: "skipped"}


def works_of(dataset: str, events: Iterable[Event], changes: Iterable[tuple[str, Revision, Change]] = ()) -> list[Work]:
    """Return what was done in one dataset, a row for each day, reader and organ, in this order.

    Args:
        dataset: Its name.
        events: The history of its worklist, oldest first.
        changes: (organ, revision, what it changed) of its cases; a revision counts for the day and reader of its name.
    """
    found: dict[tuple[str, str, str], Work] = {}

    def work(day: str, reader: str, organ: str) -> Work:
        return found.setdefault((day, reader, organ), Work(dataset, day, reader, organ))

    tasks: dict[tuple[str, str, str], set[tuple[str, int]]] = defaultdict(set)
    last_author: dict[tuple[str, str, int], str] = {}
    counted: set[tuple[str, str, int, str]] = set()
    for event in events:
        if not event.organ or event.reader == PROGRAM:
            continue
        key = (event.time[:10], event.reader, event.organ)
        _count(work(*key), event)
        tasks[key].add((event.case, event.reading))
        task = (event.case, event.organ, event.reading)
        drawn = _drawn(event)
        if drawn is not None and (*task, event.revision) not in counted:
            counted.add((*task, event.revision))
            work(*drawn).revisions += 1
            tasks[drawn].add((event.case, event.reading))
        author = last_author.get(task, "")
        if author not in {"", event.reader}:
            _count_judged(work(event.time[:10], author, event.organ), event)
        if event.kind == TO_VERIFY or (event.kind in _BY_READER and event.state_after in _DRAWN and (event.revision or not author)):
            last_author[task] = event.reader if drawn is None or event.kind == TO_VERIFY else drawn[1]
    for key, cases in tasks.items():
        found[key].tasks = len(cases)
    for organ, revision, change in changes:
        _measure(work(_day(revision.time), revision.reader, organ), change)
    return [found[key] for key in sorted(found)]


def decided_days(tasks: Iterable[Task], events: Iterable[Event]) -> Counter[str]:
    """Return how many of the tasks that are decided now became so on each day (ISO, UTC): every task once, on its last day.

    Args:
        tasks: Of a worklist.
        events: Its history, oldest first.
    """
    since: dict[tuple[str, str, int], str] = {}
    for event in events:
        task = (event.case, event.organ, event.reading)
        if event.state_after not in FINISHED:
            since.pop(task, None)
        elif task not in since:
            since[task] = event.time[:10]
    done = (task for task in tasks if task.state in FINISHED)
    return Counter(since.get((task.case, task.organ, task.reading), task.changed[:10]) for task in done)


def nameless(event: Event) -> Event:
    """Return an event of a blind reading as it is counted before both are done: without who it was, and whose revision it names."""
    return event if event.reader == PROGRAM else replace(event, reader=BLIND, revision="")


def _count(work: Work, event: Event) -> None:
    work.minutes += event.seconds / 60
    work.reopened += event.kind in _REOPENED
    work.verifications += event.kind in (VERIFIED_EVENT, SENT_BACK)
    work.adjudicated += event.kind == ADJUDICATED_EVENT
    if event.kind not in _OF_MASKS:
        return
    after = ACCEPTED if event.kind == TO_VERIFY else event.state_after
    name = _DECISIONS.get(after)  # type: ignore[call-overload]
    if name is not None:
        setattr(work, name, getattr(work, name) + 1)


def _drawn(event: Event) -> tuple[str, str, str] | None:
    """Return (day, reader, organ) of the mask that an event names: a decision may name one that somebody else saved outside of the list."""
    if not event.revision or event.kind not in _OF_MASKS:
        return None
    time, reader = split_id(event.revision)
    if event.kind == ADJUDICATED_EVENT and reader != event.reader:  # a reading that was chosen: it counts where it was drawn
        return None
    return (event.time[:10], event.reader, event.organ) if reader in ("", event.reader) else (_day(time), reader, event.organ)


def _count_judged(author: Work, event: Event) -> None:
    """Count what somebody else says about the work of a reader."""
    author.verified += event.kind == VERIFIED_EVENT
    author.sent_back += event.kind == SENT_BACK or (event.kind == STATE and event.state_after == REJECTED)


def _measure(work: Work, change: Change) -> None:
    if change.voxels is None:
        return
    work.measured += 1
    work.voxels += change.voxels
    work.ml += change.ml
    work.dice += change.dice


def _day(time: str) -> str:
    """Return the ISO day of a revision's time, 20261121T070502.123456Z."""
    return f"{time[:4]}-{time[4:6]}-{time[6:8]}" if len(time) >= 8 else ""


def summed(works: Iterable[Work], by: Sequence[Key]) -> list[Work]:
    """Return sums over everything that is not in `by`, sorted by what is, in its order."""
    found: dict[tuple[str, ...], Work] = {}
    for work in works:
        key = tuple(getattr(work, name) for name in by)
        found.setdefault(key, Work(**dict(zip(by, key, strict=True)))).add(work)
    return [found[key] for key in sorted(found)]
