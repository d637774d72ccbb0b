"""What readers decided about the organs of a case, from the worklist of its dataset folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from AtlasReviewLib.decided_mask import noted_mask
from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, FLAGGED, OPEN, REJECTED, SKIPPED, VERIFY, Stage, State
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_blind import not_compared
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
        final: Id of the revision that counts whatever the levels of readers are and whatever was saved since ("" is the prediction): the
            one that was accepted, verified or adjudicated, or, provisionally, the first reading's where two readings disagree. None where
            nothing was accepted, or the list of an older program does not say which mask.
        measured: How far two readings that disagree agree, in words, as long as nobody has adjudicated; else "".
        organ: Name of the task.
        sha256: Of the mask that was accepted, or "" where it was not noted.
        readings: 2 where two readers did the task, else 1.
        is_blind: Two readers do the task, blind to each other, and are not both done: who did what so far is not told.
    """

    state: State
    reader: str
    comment: str = ""
    stage: Stage = ""
    final: str | None = None
    measured: str = ""
    organ: str = ""
    sha256: str = ""
    is_blind: bool = False
    readings: int = 1

    @property
    def is_open(self) -> bool:
        """Tell whether two readings disagree and nobody has adjudicated."""
        return bool(self.measured)


def verdict_of(task: Task, blind: Collection[tuple[str, str]] = ()) -> Verdict | None:
    """Return what was decided about a task; None where nothing was.

    Args:
        task: The first reading.
        blind: (case, organ) of tasks whose two readings are not both done, see `worklist_blind.not_compared`.

    Raises:
        InputError: The list does not say how far its two readings agree.
    """
    if task.stage == ADJUDICATE:
        found = Measured.from_text(task.measured)
        return Verdict(task.state, "", "", task.stage, found.revisions[0], found.words(), task.organ)
    final = noted_mask(task) if task.state == ACCEPTED else None
    sha256 = "" if final is None else task.sha256
    if (task.case, task.organ) in blind:
        return Verdict(task.state, "", "", task.stage, final, organ=task.organ, sha256=sha256, is_blind=True)
    readings = 2 if task.measured else 1
    if task.stage == VERIFY and task.state in OPEN:  # a junior accepted it; what counts is what it was before
        return Verdict(ACCEPTED, task.author, task.comment, task.stage, organ=task.organ, readings=readings)
    if task.state not in VERDICTS:
        return None
    return Verdict(task.state, task.reader, task.comment, task.stage, final, organ=task.organ, sha256=sha256, readings=readings)


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
        tasks, blind = worklist.tasks(case.name), not_compared(worklist.pairs(case.name))
    finally:
        worklist.close()
    return {task.organ: verdict for task in tasks if (verdict := verdict_of(task, blind)) is not None}


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
