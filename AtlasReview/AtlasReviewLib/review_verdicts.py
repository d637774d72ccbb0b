"""What readers decided about the organs of a case, from the worklist of its dataset folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from AtlasReviewLib.task_states import ACCEPTED, FLAGGED, OPEN, REJECTED, SKIPPED, State
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_place import place_of
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib.case_folder import CaseFolder

VERDICTS = (ACCEPTED, REJECTED, FLAGGED)


@dataclass(frozen=True)
class Verdict:
    """A reader's decision about an organ.

    Attributes:
        state: "accepted", "rejected" or "flagged".
        reader: Who decided.
        comment: What the reader noted.
    """

    state: State
    reader: str
    comment: str = ""


def verdicts_of(case: CaseFolder) -> dict[str, Verdict]:
    """Return organ name to verdict; {} where the dataset has no worklist. Nothing is written.

    Raises:
        WorklistDamagedError, StorageError: The worklist cannot be read.
    """
    folder = case.folder.parent
    if not place_of(folder).exists:
        return {}
    worklist = Worklist(folder, read_only=True)
    try:
        tasks = worklist.tasks(case.name)
    finally:
        worklist.close()
    return {t.organ: Verdict(t.state, t.reader, t.comment) for t in tasks if t.state in VERDICTS}


@dataclass(frozen=True)
class ReviewCount:
    """How far the review of a dataset is: tasks by what became of them."""

    accepted: int
    rejected: int
    aside: int
    open: int


def count_tasks(tasks: Iterable[Task]) -> ReviewCount:
    """Count tasks by state."""
    count = Counter(task.state for task in tasks)
    aside = count[FLAGGED] + count[SKIPPED]
    return ReviewCount(count[ACCEPTED], count[REJECTED], aside, sum(count[state] for state in OPEN))
