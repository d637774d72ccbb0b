"""What does not fit together in the tasks that several readers do: second readings, their comparison, verification, adjudication."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.revision_changes import organs_with_revisions
from AtlasReviewLib.revision_files import ENDING
from AtlasReviewLib.task_states import ADJUDICATE, CHECKED, FINISHED, VERIFY
from AtlasReviewLib.worklist_rows import Event, Task
from AtlasReviewLib.worklist_rules import Rules
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError

Told = tuple[str, str, str, str]
"""Kind, where, text and remedy of a finding."""
_HANDS = ("take", "take over", "resume", "reopen")
_BACKUP = "Compare with a backup of the worklist; the masks are safe."


def check_team(cases: Collection[CaseFolder], tasks: Iterable[Task], events: Iterable[Event], rules: Rules) -> Iterator[Told]:
    """Yield what does not fit.

    Args:
        cases: Of the dataset folder.
        tasks: Of its worklist, second readings too.
        events: All of them.
        rules: Of the dataset.
    """
    by_key = {(task.case, task.organ, task.reading): task for task in tasks}
    by_name = {case.name: case for case in cases}
    for (case, organ, reading), task in by_key.items():
        yield from _check_stage(task, rules)
        if reading == 1:
            continue
        first = by_key.get((case, organ, 1))
        if first is None:
            text = "The list has a second reading of it, and no first one."
            yield ("second reading without a first", _where(task), text, _BACKUP)
        else:
            yield from _check_pair(first, task, by_name.get(case))
    yield from _check_hands(events)
    for folder in cases:
        for organ in organs_with_revisions(reading_case(folder, 2)) if by_key else []:
            if (folder.name, organ, 2) not in by_key:
                text = (
                    f"{reading_case(folder, 2).average.revisions(organ)} holds revisions of a second reading that the list does not have."
                )
                yield (
                    "second reading that the list does not know",
                    f"{folder.name}, {organ}",
                    text,
                    "Look at review.json, and build again.",
                )


def _where(task: Task) -> str:
    return f"{task.case}, {task.organ}"


def _check_stage(task: Task, rules: Rules) -> Iterator[Told]:
    if (task.stage == ADJUDICATE and not task.measured) or (task.stage in CHECKED and task.state in FINISHED):
        text = f"It is {task.state} and to {task.stage}, which never go together: somebody changed the row by hand."
        yield ("stage that does not fit", _where(task), text, _BACKUP)
    if task.stage == VERIFY and not rules.seniors():
        text = f"It waits for a reader of level {task.level}, and readers.json names none."
        yield ("nobody to verify", _where(task), text, "Name a senior in readers.json, or turn verification off and reopen the task.")


def _check_pair(first: Task, second: Task, case: CaseFolder | None) -> Iterator[Told]:
    where = _where(first)
    if not first.measured:
        if first.state in FINISHED and second.state in FINISHED:
            text = "Both readings are done, and nobody has compared them: the program that should have was killed."
            yield ("readings that were not compared", where, text, "Run: atlas worklist disagreements DATASET.")
        return
    try:
        measured = Measured.from_text(first.measured)
    except AtlasError as error:
        yield ("comparison that cannot be read", where, error.message, _BACKUP)
        return
    for reading, revision in enumerate(measured.revisions, start=1):
        file = None if case is None or not revision else reading_case(case, reading).average.revisions(first.organ) / f"{revision}{ENDING}"
        if file is not None and not file.is_file():
            text = f"Reading {reading} was compared as {file}, which is not there."
            yield ("lost reading", where, text, "Restore the file from a backup.")


def _check_hands(events: Iterable[Event]) -> Iterator[Told]:
    """Nobody may have had both readings of a task, nor have verified or adjudicated what they read."""
    hands: dict[tuple[str, str], dict[int, set[str]]] = {}
    checked: dict[tuple[str, str], set[str]] = {}
    authors: dict[tuple[str, str], set[str]] = {}
    for event in events:
        key = (event.case, event.organ)
        if event.kind == "to verify":
            authors.setdefault(key, set()).add(event.reader)
        if event.kind == "verified" and event.reader in authors.get(key, set()):
            checked.setdefault(key, set()).add(event.reader)
        if event.kind in ("disagree", "agree"):
            both = set.intersection(*hands.get(key, {}).values()) if len(hands.get(key, {})) > 1 else set()
            for name in sorted(both):
                text = f"{name} had both readings in hand before they were compared."
                yield ("reader of both readings", f"{key[0]}, {key[1]}", text, "Reopen the task for another reader.")
        if event.kind in _HANDS:
            hands.setdefault(key, {}).setdefault(event.reading, set()).add(event.reader)
    for key, names in checked.items():
        text = f"{', '.join(sorted(names))} verified what they had accepted themselves."
        yield ("own work verified", f"{key[0]}, {key[1]}", text, "Reopen the task for another reader.")
