"""Revisions that the worklist does not know: saved outside it, or by a program that ended before it could tell the list."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone

from AtlasReviewLib.revisions import current_revision
from AtlasReviewLib.task_states import REVISED
from AtlasReviewLib.worklist_rows import PROGRAM, Event, Task
from AtlasReviewLib.worklist_rules import ADJUDICATED_EVENT, SENT_BACK, STATE, TO_VERIFY, VERIFIED_EVENT
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError

KIND = "revision that the list does not know"
_DECISIONS = (STATE, TO_VERIFY, VERIFIED_EVENT, SENT_BACK, ADJUDICATED_EVENT)
"""A person had the mask before them and said what becomes of it. "agree" and "disagree" are computed: nobody looked."""
_TIME = "%Y%m%dT%H%M%S.%fZ"


def decided(events: Collection[Event]) -> dict[tuple[str, str, int], datetime]:
    """Return (case, organ, reading) to the time when a reader last decided on its mask, or when it was listed with a revision.

    Leases do not count, nor does what the program does by itself, nor putting a task back on the list: whoever does that need not look.
    """
    return {
        (event.case, event.organ, event.reading): datetime.fromisoformat(event.time)
        for event in events
        if event.time and (_is_decision(event) or (event.kind == "add" and event.state_after == REVISED))
    }


def _is_decision(event: Event) -> bool:
    return event.kind in _DECISIONS and event.reader != PROGRAM


def unlisted_revision(case: CaseFolder, task: Task, named: Collection[str], last: datetime | None) -> str:
    """Return what is wrong when the mask that counts is a revision the list never heard of, and "" otherwise.

    Args:
        case: The case of the task.
        task: The task.
        named: Ids of the revisions that the history of the task names.
        last: When somebody last said what became of it; a revision from before was seen then.
    """
    try:
        current = current_revision(case, task.organ)
    except AtlasError:  # the revisions themselves are a finding then
        return ""
    if current is None or not current.id or current.id == task.revision or current.id in named:
        return ""
    saved = datetime.strptime(current.time, _TIME).replace(tzinfo=timezone.utc)
    if last is not None and saved <= last:
        return ""
    listed = f"revision {task.revision}" if task.revision else "no revision"
    how = "it was saved outside the list, or its program was killed"
    return f"Revision {current.id} counts now, and the list ({task.state}) names {listed}: {how}."
