"""Corrected masks: every revision ever saved is kept, and `<organ>_revised.nii.gz` is the one that counts.

Order of writing, chosen so that a kill at any moment loses nothing: a mask that another program put in place is kept
among the revisions; the new revision file; its line in the log; `<organ>_revised.nii.gz`. No file is ever changed or
removed but `<organ>_revised.nii.gz`, and that one only after a file with the same bytes is among the revisions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from AtlasReviewLib.case_masks import as_binary, case_grid, on_grid, read_mask
from AtlasReviewLib.organ_names import known_organ
from AtlasReviewLib.revision_files import ENDING, next_time, remove_stale_claims, reserved, split_id
from AtlasReviewLib.revision_history import (
    LOG_NAME,
    UNKNOWN_READER,
    Revision,
    current_revision,
    found_revision,
    history,
    intended_revision,
    predicted_mask,
    unfinished_revision,
)
from AtlasReviewLib.revision_log import IMPORT, RECOVER, ROLLBACK, SAVE, LogEntry, append_entry, one_line, read_log
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import copy_file, remove_stale_temporaries, sha256_of, storage_errors, sync_folder
from AtlasSegmentLib.locks import exclusive
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume

__all__ = [
    "LOG_NAME",
    "UNKNOWN_READER",
    "Revision",
    "complete",
    "current_revision",
    "history",
    "predicted_mask",
    "roll_back",
    "save_revision",
    "unfinished_revision",
    "utc_now",
]
LOCK_NAME = ".lock"
Clock = Callable[[], datetime]
_logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


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
        return found_revision(case, organ, file.name.removesuffix(ENDING))


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
    target = None if revision_id is None else found_revision(case, organ, revision_id)
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
        target = None if not pending else found_revision(case, organ, pending)
        if target is not None and target.id != getattr(current_revision(case, organ), "id", ""):
            voxels = "" if target.voxels is None else str(target.voxels)
            comment = "finished after its program was killed"
            entry = LogEntry(next_time(folder, now), target.reader, ROLLBACK, target.file.name, target.sha256, voxels, base, comment)
            append_entry(folder / LOG_NAME, entry)
        _settle(case, organ, now)
        return current_revision(case, organ)


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
        intended = intended_revision(case, organ)
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


def _refuse_to_empty(case: CaseFolder, organ: str) -> None:
    revised, predicted = case.average.revised_mask(organ), predicted_mask(case, organ)
    current = revised if revised.is_file() else predicted
    if current is not None and _count(case, current) != "0":
        message = f"The new mask of {organ} is empty, but {current} is not."
        raise InputError(message, "If the organ is really absent in this case, say so with --allow-empty.")
