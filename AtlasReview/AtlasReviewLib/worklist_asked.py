"""What a command line that asks for tasks has to be told: which reading is theirs, names that are close, and why a task came to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from AtlasReviewLib.assembly_levels import READERS_FILE
from AtlasReviewLib.in_words import counted
from AtlasReviewLib.organ_names import known_organ
from AtlasReviewLib.review_policy import SENIOR
from AtlasReviewLib.task_states import ADJUDICATE, ASIDE, FINISHED, VERIFY
from AtlasReviewLib.worklist import Worklist, checked_reader
from AtlasReviewLib.worklist_place import place_of
from AtlasReviewLib.worklist_rows import Event, Task, TaskFilter, has_read
from AtlasReviewLib.worklist_rules import SENT_BACK, STATE
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.names import close_names

_CAME_BY = {SENT_BACK: "sent back by", "revisit": "reopened by", "hand over": "handed over by"}
_DECISIONS = (STATE, "to verify", "verified", "adjudicated", "agree", "disagree", *_CAME_BY)


def own_reading(worklist: Worklist, case: str, organ: str, reader: str) -> int:
    """Return which reading of a task is a reader's: 2 when they have had the second one or were handed it, else 1."""
    reader = checked_reader(reader)
    for one, two in worklist.pairs(case):
        if one["organ"] == organ and not has_read(one, reader) and (has_read(two, reader) or two["assignee"] == reader):
            return 2
    return 1


def reading_of_case(case: CaseFolder, organ: str, reader: str) -> int:
    """Return `own_reading` of an organ of a case folder; 1 without a reader, or where there is no worklist.

    Raises:
        LabelError: There is no such organ.
        StorageError: The worklist cannot be opened.
    """
    place = place_of(case.folder.parent)
    if not reader or not place.exists:
        return 1
    worklist = Worklist(case.folder.parent, place=place)
    try:
        return own_reading(worklist, case.name, known_organ(case, organ), reader)
    finally:
        worklist.close()


def open_reading(worklist: Worklist, case: str, organ: str, reader: str) -> int:
    """Return which reading of a task can be opened again for a reader: their own one; the first one once both were compared."""
    compared = any(one["organ"] == organ and one["measured"] for one, _ in worklist.pairs(case))
    return 1 if compared else own_reading(worklist, case, organ, reader)


def require_askable(worklist: Worklist, only: TaskFilter, reader: str) -> None:
    """Check that tasks can be asked for: a typing error must not look like the end of the work.

    Raises:
        InputError: The list has no such case or organ, or the reader's level does not allow tasks of the wanted one.
    """
    if only.organs or only.cases:
        tasks = worklist.every_task()
        _require_among(only.cases, {task.case for task in tasks}, "case")
        _require_among(only.organs, {task.organ for task in tasks}, "organ")
    rules = worklist.rules()
    if only.level is not None and only.level > rules.may_up_to(reader):
        message = f"{reader} has level {rules.level_of(reader)}, and tasks of level {only.level} are asked for."
        raise InputError(message, f"Leave out --level; levels of readers are in {READERS_FILE} of the dataset folder.")


def _require_among(wanted: Iterable[str], names: Collection[str], what: str) -> None:
    for name in wanted:
        if name not in names:
            message = f"The worklist has no {what} {name!r}."
            raise InputError(message, close_names(name, names) or "Show what it has: atlas worklist list DATASET --state all.")


def unknown_reader(worklist: Worklist, reader: str) -> str:
    """Return why a name may be a typing error, or "": readers.json is there without it, and nobody of this name has worked here."""
    levels = worklist.rules().levels
    if levels is None or reader in levels:
        return ""
    with worklist.store.reading() as db:
        known = db.knows(reader)
    return "" if known else f"{READERS_FILE} names no reader {reader!r}. {close_names(reader, levels)}".strip()


def require_reader(worklist: Worklist, to: str) -> None:
    """Check that a task is not handed to a name that nobody has.

    Raises:
        InputError: readers.json is there without it, and nobody of this name has worked here.
        DatasetError: It cannot be part of a file name.
    """
    problem = unknown_reader(worklist, checked_reader(to))
    if problem:
        raise InputError(problem, f"Write the name as it is there, or add it with its level to {READERS_FILE} in the dataset folder.")


def left_over(worklist: Worklist) -> list[str]:
    """Return what an earlier policy asked for and the one of now does not, and what becomes of it: work that was begun is finished."""
    policy, tasks = worklist.rules().policy, worklist.every_task()
    lines = []
    verify = sum(task.stage == VERIFY for task in tasks)
    if verify and not policy.verify:
        waits = f"{counted(verify, 'task')} still {'waits' if verify == 1 else 'wait'} to be verified, as an earlier policy asked"
        lines.append(f"{waits}: a reader of level {SENIOR} does that; what is accepted from now on is final.")
    unread = sum(
        task.reading > 1 and task.present and task.state not in FINISHED and not policy.is_doubled(task.case, task.organ) for task in tasks
    )
    if unread:
        begun = f"{counted(unread, 'second reading')} of an earlier policy {'is' if unread == 1 else 'are'} open"
        lines.append(f"{begun}: atlas worklist build removes those that nobody has begun, the others are finished and compared.")
    return lines


def why_theirs(worklist: Worklist, task: Task, reader: str) -> list[str]:
    """Return lines that tell the reader who has a task what it is about: who sent it back and why, what checks found."""
    events = [event for event in _events_for(worklist, task, reader) if event.reading == task.reading]
    last = next((event for event in reversed(events) if event.kind in _DECISIONS), None)
    lines = [_came(last)] if last is not None else []
    if task.stage == VERIFY:
        lines.append(f"to verify: accepted by {task.author}{f': {task.comment}' if task.comment else ''}")
    elif task.stage == ADJUDICATE:
        lines.append("to adjudicate: its two readings disagree; see atlas worklist disagreements")
    with worklist.store.reading() as db:
        finding = str(db.row(task.case, task.organ, task.reading, keep=False)["finding"])
    lines.append(f"found by atlas check: {finding}" if finding else "")
    return [line for line in lines if line]


def _events_for(worklist: Worklist, task: Task, reader: str) -> list[Event]:
    """Return the history as the reader may see it."""
    before, worklist.viewer = worklist.viewer, checked_reader(reader)
    try:
        return worklist.events(task.case, task.organ)
    finally:
        worklist.viewer = before


def _came(event: Event) -> str:
    if event.kind in _CAME_BY:
        between = " " if event.comment.startswith("to ") and event.kind != "revisit" else ": "
        return f"{_CAME_BY[event.kind]} {event.reader}{between}{event.comment}"
    if event.kind == STATE and event.state_after in ASIDE:
        return f"{event.state_after} by {event.reader}{f': {event.comment}' if event.comment else ''}"
    return ""
