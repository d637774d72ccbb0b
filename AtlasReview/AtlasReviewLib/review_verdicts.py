"""What readers decided about the organs of a case, from the worklist of its dataset folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, ADJUDICATED, FLAGGED, OPEN, REJECTED, SKIPPED, Stage, State
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_place import place_of
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib.case_folder import CaseFolder

VERDICTS = (ACCEPTED, REJECTED, FLAGGED)


@dataclass(frozen=True)
class Verdict:
    """A reader's decision about an organ.

    Attributes:
        state: "accepted", "rejected" or "flagged"; that of the task where two readings disagree and nobody has adjudicated.
        reader: Who decided.
        comment: What the reader noted.
        stage: As in the worklist, see task_states.STAGES.
        final: Id of the revision that counts whatever the levels of readers are ("" is the prediction), as two readings disagreed: the
            adjudicator's, or, provisionally, the first reading's. None where that was not so.
        measured: How far two readings that disagree agree, in words, as long as nobody has adjudicated; else "".
    """

    state: State
    reader: str
    comment: str = ""
    stage: Stage = ""
    final: str | None = None
    measured: str = ""

    @property
    def is_open(self) -> bool:
        """Tell whether two readings disagree and nobody has adjudicated."""
        return bool(self.measured)


def verdict_of(task: Task) -> Verdict | None:
    """Return what was decided about a task; None where nothing was.

    Raises:
        InputError: The list does not say how far its two readings agree.
    """
    if task.stage == ADJUDICATE:
        found = Measured.from_text(task.measured)
        return Verdict(task.state, "", "", task.stage, found.revisions[0], found.words())
    if task.state not in VERDICTS:
        return None
    return Verdict(task.state, task.reader, task.comment, task.stage, task.revision or None if task.stage == ADJUDICATED else None)


def verdicts_of(case: CaseFolder) -> dict[str, Verdict]:
    """Return organ name to verdict, also of readings that disagree; {} where the dataset has no worklist. Nothing is written.

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
    return {task.organ: verdict for task in tasks if (verdict := verdict_of(task)) is not None}


@dataclass(frozen=True)
class ReviewCount:
    """How far the review of a dataset is: tasks by what became of them."""

    accepted: int
    rejected: int
    aside: int
    open: int


def count_states(counts: Mapping[str, int]) -> ReviewCount:
    """Return how far a review is of the number of tasks in each state."""
    count = Counter(counts)
    aside = count[FLAGGED] + count[SKIPPED]
    return ReviewCount(count[ACCEPTED], count[REJECTED], aside, sum(count[state] for state in OPEN))
