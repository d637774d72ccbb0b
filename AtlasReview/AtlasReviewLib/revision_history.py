"""Every revision of an organ, and the one that counts, read from the files and the log; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from AtlasReviewLib.organ_names import known_organ
from AtlasReviewLib.revision_files import ENDING, is_revision, split_id
from AtlasReviewLib.revision_log import IMPORT, RECOVER, ROLLBACK, SAVE, LogEntry, read_log
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import sha256_of

UNKNOWN_READER, LOG_NAME = "unknown", "log.csv"


@dataclass(frozen=True)
class Revision:
    """One saved mask of one organ.

    Attributes:
        id: `<UTC>_<reader>`, its file name without the ending; "" for a mask that another program put in place and that
            is not among the revisions yet (the next save or roll back keeps it).
        file: Its NIfTI file, uint8 0/1 on the grid of the case.
        time: UTC, 20261121T070502.123456Z; "" when id is "".
        reader: Who saved it; "unknown" when another program wrote it.
        sha256: Hash of the file.
        voxels: Foreground voxels; None where it was not recorded.
        base_sha256: Hash of the mask that was current before, or "".
        comment: What the reader noted.
        action: "save", "import" or "recover" (its writer was killed before the log line).
        is_current: It is what `<organ>_revised.nii.gz` holds.
    """

    id: str
    file: Path
    time: str
    reader: str
    sha256: str
    voxels: int | None = None
    base_sha256: str = ""
    comment: str = ""
    action: str = SAVE
    is_current: bool = False


def history(case: CaseFolder, organ: str) -> list[Revision]:
    """Return every revision of an organ, newest last; nothing is written.

    Made from the files and the log: a file without a line (its writer was killed) is listed too. A current mask that
    another program wrote comes last, with the id "".

    Raises:
        LabelError, DatasetError: As `save_revision`.
    """
    organ = known_organ(case, organ)
    revisions = _saved(case, organ)
    revised = case.average.revised_mask(organ)
    if not revised.is_file():
        return revisions
    digest = sha256_of(revised)
    same = [revision.id for revision in revisions if revision.sha256 == digest]
    if not same:
        return [*revisions, Revision("", revised, "", UNKNOWN_READER, digest, action=IMPORT, is_current=True)]
    intended = intended_revision(case, organ)
    chosen = intended if intended in same else same[-1]
    return [replace(revision, is_current=revision.id == chosen) for revision in revisions]


def current_revision(case: CaseFolder, organ: str) -> Revision | None:
    """Return the revision that counts, or None when it is the prediction. Raises as `history`."""
    return next((revision for revision in history(case, organ) if revision.is_current), None)


def unfinished_revision(case: CaseFolder, organ: str) -> str | None:
    """Return the id of a saved revision that a kill kept from becoming current ("" for the prediction), or None.

    Saving again or rolling back to it finishes the work. Raises as `history`.
    """
    organ = known_organ(case, organ)
    revisions = history(case, organ)
    current = next((revision for revision in revisions if revision.is_current), None)
    logged = {entry.file for entry in read_log(case.average.revisions(organ) / LOG_NAME)}
    if current is not None and current.file.name not in logged:  # what another program wrote counts as it is
        return None
    lost = [revision.id for revision in revisions if revision.file.name not in logged]
    if lost:  # every save and roll back logs the files before it, so this one is newer than the last event
        return lost[-1]
    intended = intended_revision(case, organ)
    return intended if intended is not None and intended != (current.id if current else "") else None


def _saved(case: CaseFolder, organ: str) -> list[Revision]:
    folder = case.average.revisions(organ)
    files = sorted(path for path in folder.glob(f"*{ENDING}") if is_revision(path))
    entries = {entry.file: entry for entry in read_log(folder / LOG_NAME) if entry.action != ROLLBACK}
    return [_revision(path, entries.get(path.name)) for path in files]


def _revision(path: Path, entry: LogEntry | None) -> Revision:
    time, reader = split_id(path)
    name = path.name.removesuffix(ENDING)
    if entry is None:
        return Revision(name, path, time, reader, sha256_of(path), action=RECOVER)
    voxels = int(entry.voxels) if entry.voxels.isdecimal() else None
    return Revision(name, path, time, reader, entry.sha256, voxels, entry.base_sha256, entry.comment, entry.action)


def found_revision(case: CaseFolder, organ: str, revision_id: str) -> Revision:
    """Return the revision of an id. Raises InputError when there is none; the message has the newest ones."""
    revisions = history(case, organ)
    for revision in revisions:
        if revision.id and revision.id == revision_id:
            return revision
    known = ", ".join(revision.id for revision in revisions[-5:] if revision.id) or "none"
    message = f"{case.average.revisions(organ)}: there is no revision {revision_id!r} (the newest: {known})."
    raise InputError(message, "List them with: atlas revise CASE ORGAN.")


def intended_revision(case: CaseFolder, organ: str) -> str | None:
    """Return the id that the last event of the log made current, "" for the prediction, None without an event."""
    entries = read_log(case.average.revisions(organ) / LOG_NAME)
    return next((entry.file.removesuffix(ENDING) for entry in reversed(entries) if entry.action != RECOVER), None)


def predicted_mask(case: CaseFolder, organ: str) -> Path | None:
    """Return the file of the predicted mask: the average's, or a single model's where there is no average; else None."""
    models = case.models()
    folders = [case.average, *([case.backbone(models[0])] if len(models) == 1 else [])]
    return next((folder.mask(organ) for folder in folders if folder.mask(organ).is_file()), None)
