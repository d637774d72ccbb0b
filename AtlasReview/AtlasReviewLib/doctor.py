"""What does not fit together in a dataset: files of revisions, their log, the worklist and its history. Nothing is changed by looking.

Each finding says what is wrong, how that comes about, and what to do. Some can be repaired without losing anything: a revision that
a killed program left unfinished, a file without its line in the log, files that no writer will ever finish. All others need a person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from AtlasReviewLib.doctor_blind import SOMEBODY, Nameless, blind_tasks, where_of
from AtlasReviewLib.doctor_history import check_history
from AtlasReviewLib.doctor_team import check_team
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.reader_session import may_be_alive
from AtlasReviewLib.revision_changes import organs_with_revisions
from AtlasReviewLib.revision_files import is_revision
from AtlasReviewLib.revision_log import ROLLBACK, read_log
from AtlasReviewLib.revision_unlisted import KIND as UNLISTED
from AtlasReviewLib.revision_unlisted import decided, unlisted_revision
from AtlasReviewLib.revisions import LOG_NAME, Revision, complete, history, unfinished_revision
from AtlasReviewLib.task_states import OWNED
from AtlasReviewLib.worklist_rows import Event, Task
from AtlasReviewLib.worklist_rules import Rules
from AtlasSegmentLib.case_folder import CaseFolder, find_cases
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import remove_stale_temporaries, sha256_of, stale_temporaries


@dataclass(frozen=True)
class Finding:
    """Something that does not fit together.

    Attributes:
        kind: Short name of what is wrong, the same for the same fault.
        where: Case and organ, or a file.
        text: What is wrong and how it comes about.
        remedy: What to do.
        repair: Mends it without losing anything, or None where a person must decide.
    """

    kind: str
    where: str
    text: str
    remedy: str
    repair: Callable[[], object] | None = field(default=None, compare=False)


def examine(dataset: Path, tasks: Iterable[Task], events: Iterable[Event], rules: Rules | None = None) -> Iterator[Finding]:
    """Yield everything that does not fit together, case by case, then the worklist.

    Args:
        dataset: The dataset folder.
        tasks: Of its worklist, second readings too; none where it has no worklist.
        events: Its history, oldest first.
        rules: How it is reviewed.
    """
    known = {case.name: case for case in find_cases([dataset])}
    tasks, events = list(tasks), list(events)
    blind = blind_tasks(tasks)
    nameless = Nameless(known, blind, tasks, events)
    for found in _examine(known, tasks, events, rules or Rules(), blind):
        yield replace(found, text=nameless.text(found.text), remedy=nameless.text(found.remedy))


def _examine(
    known: dict[str, CaseFolder], tasks: list[Task], events: list[Event], rules: Rules, blind: Collection[tuple[str, str]]
) -> Iterator[Finding]:
    for case in known.values():
        for reading in (1, 2):
            view = reading_case(case, reading)
            for organ in organs_with_revisions(view):
                yield from check_revisions(view, organ, reading)
        yield from _leftovers(case)
    yield from _check_tasks(known, tasks, events, blind)
    yield from (Finding(*told) for told in check_history(tasks, events))
    yield from (Finding(*told) for told in check_team(known.values(), tasks, events, rules))


def check_revisions(case: CaseFolder, organ: str, reading: int = 1) -> Iterator[Finding]:
    """Yield what is wrong with the revisions of one organ; `case` holds those of that reading."""
    where, folder = where_of(case.name, organ, reading), case.average.revisions(organ)
    try:
        revisions, unfinished = history(case, organ), unfinished_revision(case, organ)
    except AtlasError as error:
        yield Finding("unreadable revisions", where, error.message, error.remedy)
        return
    entries = read_log(folder / LOG_NAME)

    def finish() -> object:
        return complete(case, organ)

    yield from _lost_and_changed(where, folder, revisions, {entry.file: entry.sha256 for entry in entries if entry.action != ROLLBACK})
    unlogged = [revision.id for revision in revisions if revision.id and revision.file.name not in {entry.file for entry in entries}]
    for identifier in unlogged:
        text = f"{folder / identifier}.nii.gz has no line in {LOG_NAME}: its writer was killed just after it."
        yield Finding("revision without a log line", where, text, "Repair writes the line.", finish)
    if unfinished is not None:
        what = f"the revision {unfinished}" if unfinished else "the prediction"
        text = f"The last event made {what} current, but {case.average.revised_mask(organ).name} is another one: its writer was killed."
        yield Finding("unfinished revision", where, text, "Repair makes it current; the other one stays among the revisions.", finish)
    elif any(not revision.id for revision in revisions):
        text = f"{case.average.revised_mask(organ).name} was put there by another program and is not among the revisions."
        yield Finding("mask of another program", where, text, "Repair keeps it as a revision of 'unknown'.", finish)
    torn = _torn_lines(folder / LOG_NAME, len(entries))
    if torn:
        text = f"{folder / LOG_NAME}: {torn} line{'s' if torn > 1 else ''} cannot be read: written half, or changed by hand."
        yield Finding("damaged log line", where, text, "Nothing is lost but who wrote which note: the files say when and who.")


def _lost_and_changed(where: str, folder: Path, revisions: list[Revision], logged: dict[str, str]) -> Iterator[Finding]:
    there = {revision.file.name for revision in revisions}
    for name in sorted(set(logged) - there - {""}):
        text = f"{folder / name} is in {LOG_NAME} and not on the disk: somebody deleted or moved it."
        yield Finding("lost revision", where, text, "Restore the file from a backup.")
    for revision in revisions:
        expected = logged.get(revision.file.name, "")
        if revision.id and expected and sha256_of(revision.file) != expected:
            text = f"{revision.file}: its bytes are not those that were saved (sha256 {expected[:12]} in {LOG_NAME})."
            yield Finding("changed revision", where, text, "Restore the file from a backup; revisions are never changed by this program.")


def _torn_lines(log: Path, readable: int) -> int:
    if not log.is_file():
        return 0
    lines = [line for line in log.read_bytes().split(b"\n") if line.strip()]
    return max(0, len(lines) - 1 - readable)  # the first one is the header


def _leftovers(case: CaseFolder) -> Iterator[Finding]:
    stale = stale_temporaries(case.folder)
    if stale:
        text = f"{len(stale)} unfinished file{'s' if len(stale) > 1 else ''} of killed writers, such as {stale[0].name}."
        yield Finding("unfinished files", case.name, text, "Repair removes them.", lambda: remove_stale_temporaries(case.folder))


def _check_tasks(
    cases: dict[str, CaseFolder], tasks: list[Task], events: list[Event], blind: Collection[tuple[str, str]]
) -> Iterator[Finding]:
    hashes: dict[tuple[str, str, int], dict[str, str]] = defaultdict(dict)
    for event in events:
        if event.revision and event.sha256:
            hashes[event.case, event.organ, event.reading][event.revision] = event.sha256
    last = decided(events)
    for task in tasks:
        where = where_of(task.case, task.organ, task.reading)
        if task.case not in cases:
            text = f"The worklist has it ({task.state}), but there is no case folder {task.case}."
            yield Finding("task without a case", where, text, "Put the case back; opening the list hides the task until then.")
            continue
        view, named = reading_case(cases[task.case], task.reading), hashes[task.case, task.organ, task.reading]
        yield from _check_files(where, view, task, named)
        told = unlisted_revision(view, task, named, last.get((task.case, task.organ, task.reading)))
        if told:
            yield Finding(UNLISTED, where, told, "Open the task, look at the mask and accept it: then the list names it.")
        if task.state in OWNED and task.session and not may_be_alive(task.session):
            who = SOMEBODY if (task.case, task.organ) in blind else task.reader
            text = f"It is {task.state} by {who}, whose program has ended without giving it back."
            yield Finding("task of a dead program", where, text, "The same reader can open it again; everybody else takes it over.")


def _check_files(where: str, case: CaseFolder, task: Task, hashes: dict[str, str]) -> Iterator[Finding]:
    folder = case.average.revisions(task.organ)
    for identifier in sorted({*hashes, *([task.revision] if task.revision else [])}):
        file = folder / f"{identifier}.nii.gz"
        if not is_revision(file) or not file.is_file():
            text = f"The worklist says that the revision {identifier} was saved, and {file} is not there."
            yield Finding("lost revision of a task", where, text, "Restore the file from a backup, or reopen the task and save it again.")
        elif hashes.get(identifier) and sha256_of(file) != hashes[identifier]:
            text = f"{file}: its bytes are not those that the worklist saw when it was saved."
            yield Finding(
                "changed revision of a task", where, text, "Restore the file from a backup, or reopen the task and save it again."
            )
