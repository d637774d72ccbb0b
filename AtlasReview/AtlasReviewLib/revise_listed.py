"""A revision that is saved on the command line, in a dataset that has a worklist: the list is asked before, and told of it after."""

from __future__ import annotations

from collections.abc import Callable

from AtlasReviewLib.decided_mask import mask_to_note
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.organ_names import known_organ
from AtlasReviewLib.task_states import ADJUDICATE, FINISHED, OWNED, REVISED
from AtlasReviewLib.worklist import Worklist, checked_reader
from AtlasReviewLib.worklist_place import place_of
from AtlasReviewLib.worklist_rows import Task, has_read
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError

HOURS = 12.0
"""How long a task stays a reader's who edits it in another program."""


def revise_listed(case: CaseFolder, organ: str, reader: str, reading: int, comment: str, save: Callable[[], object]) -> bool:
    """Save a revision, or roll back, as the worklist of the dataset allows; without a worklist just do it.

    The task must be free, or in the hands of the reader; it stays theirs after that. An organ that nobody predicted is added.

    Args:
        case: The case.
        organ: Name of the organ.
        reader: Who.
        reading: 1, or 2 for the second reading.
        comment: Note for the list.
        save: Changes the mask that counts.

    Returns:
        Whether the reader may see who saved the other revisions: who adjudicates may not.

    Raises:
        TaskTakenError: Somebody else has the task.
        InputError: It is decided, the other reading is the reader's, or as `Worklist.take`.
        DatasetError: There is no such task, or the reader's name cannot be a file name.
        StorageError: The worklist cannot be written.
    """
    place = place_of(case.folder.parent)
    if not place.exists:
        save()
        return True
    organ, reader = known_organ(case, organ), checked_reader(reader)
    worklist = Worklist(case.folder.parent, place=place, viewer=reader)
    try:
        _require_own_reading(worklist, case.name, organ, reader, reading)
        if reading == 1:
            worklist.add(case.name, organ, reader)
        earlier = worklist.task(case.name, organ, reading)
        if earlier.state in FINISHED:
            message = f"{case.name}, {organ}: is {earlier.state} by {earlier.reader}."
            raise InputError(message, "Reopen it first: atlas worklist reopen.")
        task = worklist.take(case.name, organ, reader, reading=reading)
        try:
            save()
            noted = mask_to_note(reading_case(case, reading), organ)
            task = worklist.set_state(task, REVISED, reader, comment, *noted)
        finally:
            _give_back(worklist, task, earlier, reader)
        return task.stage != ADJUDICATE
    finally:
        worklist.close()


def _give_back(worklist: Worklist, task: Task, earlier: Task, reader: str) -> None:
    """Let the reader keep what they had taken before, also when nothing could be saved."""
    if earlier.state in OWNED and earlier.reader == reader:
        worklist.detach(task, reader, HOURS * 3600)
    else:
        worklist.leave(task, reader, keep=False)


def _require_own_reading(worklist: Worklist, case: str, organ: str, reader: str, reading: int) -> None:
    pair = next((pair for pair in worklist.pairs(case) if pair[0]["organ"] == organ), None)
    if pair is not None and has_read(pair[2 - reading], reader) and not has_read(pair[reading - 1], reader):
        message = f"{case}, {organ}: reading {3 - reading} of it is {reader}'s, not reading {reading}."
        raise InputError(message, f"Add --reading {3 - reading}.")
