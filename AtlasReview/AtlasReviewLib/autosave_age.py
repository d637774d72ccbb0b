"""Whether somebody has saved a revision since unsaved edits were written, so that they may be out of date."""

from __future__ import annotations

from datetime import datetime, timezone

from AtlasReviewLib.autosave import Autosave
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.revision_files import ENDING, is_revision, split_id

_TIME = "%Y%m%dT%H%M%S.%fZ"


def newer_revision(autosave: Autosave) -> tuple[str, str] | None:
    """Return (UTC in ISO 8601, reader) of the newest revision of the organ when it was saved after these edits; cheap."""
    folder = reading_case(autosave.case, autosave.reading).average.revisions(autosave.organ)
    newest = max((split_id(path) for path in folder.glob(f"*{ENDING}") if is_revision(path)), default=None)
    if newest is None:
        return None
    try:
        time = datetime.strptime(newest[0], _TIME).replace(tzinfo=timezone.utc, microsecond=0)
        edited = datetime.fromisoformat(autosave.time)
        return (time.isoformat(timespec="seconds"), newest[1]) if time > edited else None
    except (ValueError, TypeError):  # a note that a person changed
        return None
