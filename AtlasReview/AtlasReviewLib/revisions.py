"""Corrected masks: every revision ever saved is kept, and `<organ>_revised.nii.gz` is the one that counts.

Order of writing, chosen so that a kill at any moment loses nothing: a mask that another program put in place is kept
among the revisions; the new revision file; its line in the log; `<organ>_revised.nii.gz`. No file is ever changed or
removed but `<organ>_revised.nii.gz`, and that one only after a file with the same bytes is among the revisions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from AtlasReviewLib.case_masks import as_binary, case_grid, on_grid, read_mask
from AtlasReviewLib.organ_names import known_organ
from AtlasReviewLib.revision_files import ENDING, is_revision, next_time, remove_stale_claims, reserved, split_id
from AtlasReviewLib.revision_log import IMPORT, RECOVER, ROLLBACK, SAVE, LogEntry, append_entry, one_line, read_log
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import copy_file, remove_stale_temporaries, sha256_of, storage_errors, sync_folder
from AtlasSegmentLib.locks import exclusive
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume

UNKNOWN_READER, LOG_NAME, LOCK_NAME = "unknown", "log.csv", ".lock"
Clock = Callable[[], datetime]
_logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


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


def save_revision(
    case: CaseFolder,
    organ: str,
    mask: Volume,
    reader: str,
    *,
    comment: str = "",
    now: Clock = utc_now,
    allow_empty: bool = False,
) -> Revision:
    """Save a corrected mask and make it the current one.

    Args:
        case: The case; its CT says which grid the mask must lie on.
        organ: A structure of the AbdomenAtlas table, or one that the case has.
        mask: 0 and 1 of any dtype, (X, Y, Z); flipped or permuted axes are brought to the order of the case.
        reader: Who made it; a name that can be part of a file name.
        comment: Free text for the log.
        now: Clock, in UTC.
        allow_empty: Take an empty mask although the current one is not empty.

    Raises:
        InputError: The mask is not binary, or empty where the current one is not.
        GeometryError: The mask does not lie on the grid of the case.
        LabelError: No such organ.
        DatasetError: The organ's or reader's name cannot be a file name.
        StorageError: The disk is full or the folder cannot be written.
    """
    organ, reader = known_organ(case, organ), safe_name(reader, "reader name")
    grid = case_grid(case)
    binary = as_binary(on_grid(mask, grid).array, mask.source)
    voxels = int(np.count_nonzero(binary))
    if not voxels and not allow_empty:
        _refuse_to_empty(case, organ)
    with _locked(case, organ) as folder:
        base = _adopt(case, organ, now)
        with reserved(folder, reader, now) as file:
            write_nifti(file, Volume(binary.astype(np.uint8), grid.affine, str(file), grid.header))
        entry = LogEntry(split_id(file)[0], reader, SAVE, file.name, sha256_of(file), str(voxels), base, one_line(comment))
        append_entry(folder / LOG_NAME, entry)
        _settle(case, organ, now)
        return _found(case, organ, file.name.removesuffix(ENDING))


def roll_back(
    case: CaseFolder, organ: str, revision_id: str | None, reader: str = UNKNOWN_READER, *, comment: str = "", now: Clock = utc_now
) -> Revision | None:
    """Make an older revision current again, or with None the prediction. No revision is removed.

    Returns:
        The revision that is current now, None for the prediction.

    Raises:
        InputError: There is no such revision, or its bytes are not those that were saved; nothing is changed.
        LabelError: No such organ.
        DatasetError: The organ's or reader's name cannot be a file name.
        StorageError: The folder cannot be written.
    """
    organ, reader = known_organ(case, organ), safe_name(reader, "reader name")
    target = None if revision_id is None else _found(case, organ, revision_id)
    if target is not None and sha256_of(target.file) != target.sha256:
        message = f"{target.file}: its bytes are not those that were saved (sha256 {target.sha256[:12]} in the log)."
        raise InputError(message, "Restore the file from a backup, or choose another revision.")
    with _locked(case, organ) as folder:
        base = _adopt(case, organ, now)
        file, digest = (target.file.name, target.sha256) if target is not None else ("", "")
        voxels = "" if target is None or target.voxels is None else str(target.voxels)
        entry = LogEntry(next_time(folder, now), reader, ROLLBACK, file, digest, voxels, base, one_line(comment))
        append_entry(folder / LOG_NAME, entry)
        _settle(case, organ, now)
        return current_revision(case, organ)


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
    intended = _intended(case, organ)
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
    intended = _intended(case, organ)
    return intended if intended is not None and intended != (current.id if current else "") else None


def complete(case: CaseFolder, organ: str, now: Clock = utc_now) -> Revision | None:
    """Do what a killed program left undone: lines of the log, a mask of another program kept, the last event's mask made current.

    Returns:
        The revision that is current now, None for the prediction.

    Raises:
        LabelError, DatasetError, StorageError: As `save_revision`.
    """
    organ = known_organ(case, organ)
    pending = unfinished_revision(case, organ)
    with _locked(case, organ) as folder:
        base = _adopt(case, organ, now)
        target = None if not pending else _found(case, organ, pending)
        if target is not None and target.id != getattr(current_revision(case, organ), "id", ""):
            voxels = "" if target.voxels is None else str(target.voxels)
            comment = "finished after its program was killed"
            entry = LogEntry(next_time(folder, now), target.reader, ROLLBACK, target.file.name, target.sha256, voxels, base, comment)
            append_entry(folder / LOG_NAME, entry)
        _settle(case, organ, now)
        return current_revision(case, organ)


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


def _found(case: CaseFolder, organ: str, revision_id: str) -> Revision:
    revisions = history(case, organ)
    for revision in revisions:
        if revision.id and revision.id == revision_id:
            return revision
    known = ", ".join(revision.id for revision in revisions[-5:] if revision.id) or "none"
    message = f"{case.average.revisions(organ)}: there is no revision {revision_id!r} (the newest: {known})."
    raise InputError(message, "List them with: atlas revise CASE ORGAN.")


def _intended(case: CaseFolder, organ: str) -> str | None:
    """Return the id that the last event of the log made current, "" for the prediction, None without an event."""
    entries = read_log(case.average.revisions(organ) / LOG_NAME)
    return next((entry.file.removesuffix(ENDING) for entry in reversed(entries) if entry.action != RECOVER), None)


@contextmanager
def _locked(case: CaseFolder, organ: str) -> Iterator[Path]:
    """Yield the folder of an organ's revisions while no other process changes it, cleaned of what killed writers left."""
    folder = case.average.revisions(organ)
    with exclusive(folder / LOCK_NAME):
        remove_stale_claims(folder)
        for place in (folder, case.average.revised_mask(organ).parent):
            if place.is_dir():
                remove_stale_temporaries(place)
        yield folder


def _adopt(case: CaseFolder, organ: str, now: Clock) -> str:
    """Give every file its log line, keep a mask of another program as a revision; return the hash of the current mask."""
    folder, revised = case.average.revisions(organ), case.average.revised_mask(organ)
    logged = {entry.file for entry in read_log(folder / LOG_NAME)}
    revisions = history(case, organ)
    for revision in revisions:
        if revision.id and revision.file.name not in logged:
            action = IMPORT if revision.is_current else RECOVER
            append_entry(folder / LOG_NAME, LogEntry(revision.time, revision.reader, action, revision.file.name, revision.sha256))
    current = next((revision for revision in revisions if revision.is_current), None)
    if current is not None and not _is_kept(current):
        with reserved(folder, UNKNOWN_READER, now) as file:
            copy_file(revised, file)
        time, digest, voxels = split_id(file)[0], sha256_of(file), _count(case, file)
        append_entry(folder / LOG_NAME, LogEntry(time, UNKNOWN_READER, IMPORT, file.name, digest, voxels, "", f"from {revised.name}"))
        return digest
    if current is not None:
        return current.sha256
    predicted = predicted_mask(case, organ)
    return sha256_of(predicted) if predicted is not None else ""


def _is_kept(current: Revision) -> bool:
    """Tell whether the bytes of `_revised` are really among the revisions, not only in the log."""
    return bool(current.id) and sha256_of(current.file) == current.sha256


def _count(case: CaseFolder, file: Path) -> str:
    try:
        return str(int(np.count_nonzero(read_mask(file, case_grid(case)))))
    except AtlasError as error:  # it is kept as it is; whether it can be used is for whoever reads it
        _logger.warning("Kept %s although it cannot be used: %s", file, error)
        return ""


def _settle(case: CaseFolder, organ: str, now: Clock) -> None:
    """Make `_revised` hold what the last event says; look again, as another process may have saved meanwhile."""
    folder, revised = case.average.revisions(organ), case.average.revised_mask(organ)
    while True:
        intended = _intended(case, organ)
        current = current_revision(case, organ)
        if (current.id if current is not None else "") == intended or intended is None:
            return
        if current is not None and not _is_kept(current):
            _adopt(case, organ, now)
        elif intended:
            copy_file(folder / f"{intended}{ENDING}", revised)
        else:
            with storage_errors(revised), suppress(FileNotFoundError):
                revised.unlink()
                sync_folder(revised.parent)


def predicted_mask(case: CaseFolder, organ: str) -> Path | None:
    """Return the file of the predicted mask: the average's, or a single model's where there is no average; else None."""
    models = case.models()
    folders = [case.average, *([case.backbone(models[0])] if len(models) == 1 else [])]
    return next((folder.mask(organ) for folder in folders if folder.mask(organ).is_file()), None)


def _refuse_to_empty(case: CaseFolder, organ: str) -> None:
    revised, predicted = case.average.revised_mask(organ), predicted_mask(case, organ)
    current = revised if revised.is_file() else predicted
    if current is not None and _count(case, current) != "0":
        message = f"The new mask of {organ} is empty, but {current} is not."
        raise InputError(message, "If the organ is really absent in this case, say so with --allow-empty.")
