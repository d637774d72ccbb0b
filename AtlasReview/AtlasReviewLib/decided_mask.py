"""Which mask a decision is about: it is noted with the decision, so that a mask that is saved later does not take its place."""

from __future__ import annotations

from AtlasReviewLib.revisions import complete, current_revision, predicted_mask
from AtlasReviewLib.worklist_rows import Row, Task
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.files import sha256_of


def mask_to_note(case: CaseFolder, organ: str) -> tuple[str, str]:
    """Return id and sha256 of the mask that counts now; ("", its hash) is the prediction, ("", "") no mask at all.

    A mask that another program put in place has no id and would be lost by the next save of somebody else: it is kept as a revision of
    "unknown" first.

    Raises:
        LabelError, DatasetError, StorageError: As `save_revision`.
    """
    current = current_revision(case, organ)
    if current is not None and not current.id:
        current = complete(case, organ)
    if current is not None:
        return current.id, current.sha256
    predicted = predicted_mask(case, organ)
    return "", "" if predicted is None else sha256_of(predicted)


def noted_mask(task: Task | Row) -> str | None:
    """Return the id of the revision that was decided on, "" for the prediction; None where an older program did not note it."""
    revision, sha256 = (task.revision, task.sha256) if isinstance(task, Task) else (task["revision"], task["sha256"])
    return revision or ("" if sha256 else None)
