"""Revisions that the worklist does not know: saved outside it, or by a program that ended before it could tell the list."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone

from AtlasReviewLib.revisions import current_revision
from AtlasReviewLib.worklist_rows import Event, Task
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError

KIND = "revision that the list does not know"
_NO_DECISIONS = ("take", "take over", "resume", "release", "leave", "expire", "hand over", "seconds", "scores", "hide")
_TIME = "%Y%m%dT%H%M%S.%fZ"


def decided(events: Collection[Event]) -> dict[tuple[str, str, int], datetime]:
    """Return (case, organ, reading) to the time when somebody last said what became of the task; leases do not count."""
    return {
        (event.case, event.organ, event.reading): datetime.fromisoformat(event.time)
        for event in events
        if event.kind not in _NO_DECISIONS and event.time
    }


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
