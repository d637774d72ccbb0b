"""Two readings of one task, blind to each other: what they changed, how far they agree, and the decision of a third reader.

Nothing here decides by itself: where two readings disagree, the task waits until somebody who did neither says which mask counts, or
draws another one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from AtlasReviewLib.assembly_levels import decide
from AtlasReviewLib.decided_mask import mask_to_note, noted_mask
from AtlasReviewLib.disagreement import Measured, agrees, measure
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.review_case import View
from AtlasReviewLib.revision_files import split_id
from AtlasReviewLib.revisions import current_revision, history, predicted_mask, roll_back, save_revision
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, FINISHED, REJECTED
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_blind import is_open
from AtlasReviewLib.worklist_rows import Row, Task, TaskTakenError, has_read
from AtlasReviewLib.worklist_rules import STATE
from AtlasReviewLib.worklist_settle import settle as settle_rows
from AtlasSegmentLib.case_folder import CaseFolder, open_case
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume_io import read_volume

Name = Literal["A", "B"]
NAMES: tuple[Name, Name] = ("A", "B")
CHOSEN = "adjudicated: reading "
"""How the comment of a reading that was chosen begins."""


@dataclass(frozen=True)
class ReadingMask:
    """The mask of one of two readings.

    Attributes:
        name: "A" or "B"; which reading it is says no order that means anything.
        reading: 1 or 2, for the program; not to be shown before the task is decided.
        file: The mask, 0/1 on the grid of the case; None where the reader left an organ empty that nobody predicted. Its name holds the
            reader's, so that it is not to be shown either.
        revised: The reader changed the prediction.
        verdict: "accepted" or "rejected".
        revision: Id of its revision, "" for the prediction; not to be shown either.
    """

    name: Name
    reading: int
    file: Path | None
    revised: bool
    verdict: str
    revision: str = ""


@dataclass(frozen=True)
class Settled:
    """What came of two readings that are done.

    Attributes:
        case, organ: Which task.
        measured: How far they agree; None where that could not be told.
        problem: Why not, or "".
    """

    case: str
    organ: str
    measured: Measured | None
    problem: str = ""


def view_of(worklist: Worklist, task: Task, reader: str) -> View:
    """Return what a reader sees of the case of a task; to be given to `load_review_case`."""
    blind = {
        one["organ"]
        for one, two in worklist.pairs(task.case)
        if is_open(one) and not (one["stage"] == ADJUDICATE and (has_read(one, reader) or has_read(two, reader)))
    }
    return View(task.reading, frozenset(blind - {task.organ}))


def settle(worklist: Worklist, progress: ProgressCallback = ignore_progress) -> list[Settled]:
    """Compare the readings of every task whose two readings are done, and write what comes of it.

    Where they agree the first one counts (and is verified, if the policy asks for that); where they do not, the task waits for a third
    reader. To be called after a decision and when a list is opened; doing it twice or at once in two programs changes nothing.

    Raises:
        StorageError: The worklist cannot be written.
    """
    due = [pair for pair in worklist.pairs() if not pair[0]["measured"] and all(row["state"] in FINISHED for row in pair)]
    found = []
    for number, (first, second) in enumerate(due):
        progress(number / len(due), f"{first['case_name']} {first['organ']}")
        found.append(_settle(worklist, first, second))
    return found


def _settle(worklist: Worklist, first: Row, second: Row) -> Settled:
    name, organ = str(first["case_name"]), str(first["organ"])
    rules = worklist.rules()
    try:
        measured = _measured(open_case(worklist.folder / name), first, second, worklist)
    except AtlasError as error:  # a mask is damaged or the case is away: it is told, and tried again the next time
        return Settled(name, organ, None, str(error))
    with worklist.store.writing() as db:
        settle_rows(db, first, second, measured, rules)
    return Settled(name, organ, measured)


def _measured(case: CaseFolder, first: Row, second: Row, worklist: Worklist) -> Measured:
    organ, policy = str(first["organ"]), worklist.rules().policy
    files, ids = [], []
    for reading, row in ((1, first), (2, second)):
        view, noted = reading_case(case, reading), noted_mask(row)
        if noted is None:  # decided with an older program: what counts now, by an id
            noted = mask_to_note(view, organ)[0]
        decision = decide(view, organ, None, noted, str(row["sha256"]))
        files.append(predicted_mask(case, organ) if decision.revision is None else decision.revision.file)
        ids.append(noted)
    verdicts = (str(first["state"]), str(second["state"]))
    found = measure(case, organ, (files[0], files[1]), predicted_mask(case, organ), policy)
    agree = agrees(found.dice, found.nsd, found.kappa, verdicts, policy)
    one, two = (str(row["author"] or row["reader"]) for row in (first, second))
    order = order_of(policy.seed, case.name, organ)
    return replace(found, verdicts=verdicts, revisions=(ids[0], ids[1]), agree=agree, readers=(one, two), order=order)


def disagreement(task: Task) -> Measured | None:
    """Return how far the two readings of a task agree; None where it is read once, or not twice yet.

    Raises:
        InputError: The list holds something else there.
    """
    return Measured.from_text(task.measured) if task.measured else None


def readings(worklist: Worklist, task: Task) -> tuple[ReadingMask, ReadingMask]:
    """Return the masks of both readings of a task, A and B, as they were when they were compared.

    Raises:
        InputError: The task has no two readings that are done, or a mask is not the one that was compared.
        DatasetError: The case is gone.
    """
    first = next((one for one, _ in worklist.pairs(task.case) if one["organ"] == task.organ), None)
    if first is None or not first["measured"]:
        message = f"{task.case}, {task.organ}: has no two readings that were compared."
        raise InputError(message, "List those that were: atlas worklist disagreements DATASET.")
    measured = Measured.from_text(first["measured"])  # what the task itself says may be without the names in it
    case = open_case(worklist.folder / task.case)
    order = order_in(measured, worklist.rules().policy.seed, task.case, task.organ)
    one, two = (_reading(case, task, name, reading, measured) for name, reading in zip(NAMES, order, strict=True))
    return one, two


def order_in(measured: Measured, seed: int, case: str, organ: str) -> tuple[int, int]:
    """Return which readings A and B are, as it was told when they were compared; lists of earlier versions did not note it."""
    return measured.order if all(measured.order) else order_of(seed, case, organ)


def order_of(seed: int, case: str, organ: str) -> tuple[int, int]:
    """Return which readings A and B become: told by the names of the task, so that the first one is A only half of the time."""
    digest = hashlib.sha256("\0".join((str(seed), "A", case, organ)).encode("utf-8", "surrogatepass")).digest()
    return (1, 2) if digest[0] % 2 else (2, 1)


def _reading(case: CaseFolder, task: Task, name: Name, reading: int, measured: Measured) -> ReadingMask:
    revision, verdict = measured.revisions[reading - 1], measured.verdicts[reading - 1]
    if not revision:
        return ReadingMask(name, reading, predicted_mask(case, task.organ), False, verdict)
    saved = next((found for found in history(reading_case(case, reading), task.organ) if found.id == revision), None)
    if saved is None or sha256_of(saved.file) != saved.sha256:
        message = f"{case.name}, {task.organ}: the mask of reading {name} is gone, or its bytes are not those that were saved."
        raise InputError(message, "Run atlas doctor, which names the file, and restore it from a backup.")
    return ReadingMask(name, reading, saved.file, True, verdict, saved.id)


def use(worklist: Worklist, task: Task, name: str, reader: str, comment: str = "") -> Task:
    """Decide for one of two readings: its mask counts from now on and is accepted, or rejected as its reader did.

    Who drew the mask stays its author: the first reading is in place already, a second one is saved beside it under its reader's name, and
    a prediction that the reader left as it was stays a prediction. Who adjudicated is in the list, and in the comment of the log.

    Args:
        worklist: The list.
        task: In the hands of the reader, to be adjudicated.
        name: "A" or "B".
        reader: The adjudicator.
        comment: Why.

    Raises:
        InputError: The task is not being adjudicated, or there is no such reading.
        TaskTakenError: It is in other hands.
        StorageError: The revision or the list cannot be written.
    """
    now = worklist.heartbeat(task, reader)
    if now.stage != ADJUDICATE or name not in NAMES:
        message = f"{task.case}, {task.organ}: {'is not being adjudicated' if now.stage != ADJUDICATE else f'has no reading {name!r}'}."
        raise InputError(message, "Give A or B for a task whose readings disagree: atlas worklist disagreements DATASET.")
    if not now.is_mine(reader):
        message = f"{task.case}, {task.organ}: is in the hands of {now.reader or 'nobody'} ({now.state})."
        raise TaskTakenError(message, "Take it first.", now)
    chosen = next(found for found in readings(worklist, now) if found.name == name)
    told = f"{CHOSEN}{name} was chosen{f'; {comment.strip()}' if comment.strip() else ''}"
    if chosen.verdict == REJECTED:
        return worklist.set_state(now, REJECTED, reader, "; ".join([told, *_reason(worklist, now, chosen.reading)]))
    case = open_case(worklist.folder / task.case)
    if chosen.file is None:
        message = f"{task.case}, {task.organ}: reading {name} has no mask."
        raise InputError(message, "Take the other one, draw one, or reject the task.")
    _put_in_place(case, task.organ, chosen, reader, told)
    return worklist.set_state(now, ACCEPTED, reader, told, *mask_to_note(case, task.organ))


def _put_in_place(case: CaseFolder, organ: str, chosen: ReadingMask, reader: str, told: str) -> None:
    if chosen.file is not None and chosen.revised and chosen.reading != 1:
        author = split_id(chosen.revision)[1]
        save_revision(case, organ, read_volume(chosen.file), author, comment=f"{told}, by {reader}", allow_empty=True)
        return
    current = current_revision(case, organ)
    if (current.id if current is not None else "") != chosen.revision:
        roll_back(case, organ, chosen.revision or None, reader, comment=told)


def _reason(worklist: Worklist, task: Task, reading: int) -> list[str]:
    """Return in words why the reader of a reading rejected it; [] where nobody said."""
    events = [event for event in worklist.events(task.case, task.organ) if event.reading == reading and event.kind == STATE]
    said = next((event.comment for event in reversed(events) if event.state_after == REJECTED), "")
    return [f"rejected as: {said}"] if said else []
