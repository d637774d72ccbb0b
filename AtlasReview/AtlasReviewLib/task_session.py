"""One task while it is open: what is saved, what is not, and what each verdict does with it. No MRML, no Qt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from AtlasReviewLib.autosave import Autosave, AutosaveFile, autosaves_of_task, utc_now
from AtlasReviewLib.decided_mask import mask_to_note
from AtlasReviewLib.file_stamp import stamp
from AtlasReviewLib.review_case import OrganMask, ReviewCase, read_mask_sparse, same_mask, sparse_of
from AtlasReviewLib.revisions import UNKNOWN_READER, Revision, current_revision, save_revision
from AtlasReviewLib.task_states import ACCEPTED, FINISHED, REVISED, State, require_verdict
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Task, TaskTakenError
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError, StorageError
from AtlasSegmentLib.sparse import SparseVolume, is_empty
from AtlasSegmentLib.volume import Volume

_log = logging.getLogger(__name__)


class TaskSession:
    """An open task of a reader.

    Args:
        worklist: The list that the task is on.
        loaded: What was read of it.
        task: The task as it is in the list.
        reader: Who opened it.
        fallback: Folder of the user for edits of datasets that cannot be written.
        now: Clock, in UTC.
    """

    def __init__(
        self, worklist: Worklist, loaded: ReviewCase, task: Task, reader: str, fallback: Path, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.worklist, self.loaded, self.task, self.reader = worklist, loaded, task, reader
        self._fallback, self._now = fallback, now
        self._autosave = AutosaveFile(loaded.case, task.organ, reader, fallback, now) if self.editable else None
        self._kept: SparseVolume | None = None
        self._unlisted: tuple[Revision, str] | None = None  # a revision, with its comment, that the list does not know yet
        self.outdated = False
        """The mask on the disk was found to be another one than was opened: open the task again."""

    @property
    def editable(self) -> bool:
        """Tell whether the reader has the task in hand and the list can be written."""
        return not self.worklist.read_only and self.task.is_mine(self.reader)

    @property
    def saved(self) -> SparseVolume:
        """The mask that is on the disk as the current one."""
        return self.loaded.baseline.mask

    def sparse(self, mask: Volume) -> SparseVolume:
        """Return a mask of the scene as the box that it fills."""
        return sparse_of(mask.array, self.loaded.grid)

    def is_changed(self, mask: SparseVolume) -> bool:
        """Tell whether a mask has other voxels than the one on the disk."""
        return not same_mask(mask, self.saved)

    def unsaved(self) -> list[Autosave]:
        """Return earlier unsaved edits of this reader for this task that can be recovered, the newest first."""
        return autosaves_of_task(self.loaded.case, self.task.organ, self.reader, self._fallback) if self.editable else []

    def recovered(self, autosave: Autosave) -> None:
        """Note that the edits of an autosave are in the scene now."""
        if self._autosave is not None:
            self._autosave.adopt(autosave)

    def autosave(self, mask: SparseVolume) -> Path | None:
        """Put the edits on the disk; nothing is written when they are there already or there are none.

        Raises:
            StorageError: They cannot be written anywhere.
        """
        if self._autosave is None:
            return None
        if not self.is_changed(mask):
            self._autosave.remove()  # all was undone, or is a revision: the same voxels are on the disk as a mask
            self._kept = None
            return None
        if self._kept is not None and same_mask(mask, self._kept):
            return None
        file = self._autosave.write(mask)
        self._kept = mask
        return file

    def save(self, mask: SparseVolume, comment: str = "", allow_empty: bool = False) -> Task:
        """Save the mask as a revision when it differs from the one on the disk, and say so in the list.

        Raises:
            TaskTakenError: Another reader took the task over; nothing was saved as a revision.
            InputError: The mask is empty where the one on the disk is not, without `allow_empty`; or somebody else
                changed the one on the disk since it was opened.
            StorageError: The disk is full or the folder cannot be written. A revision that was written all the same is
                told to the list by the next `save`, `decide` or `leave`.
            DatasetError: The case is gone.
        """
        self._require_mine()
        self._require_current()
        self._tell_list()
        if self.is_changed(mask):
            self._save(mask, comment, allow_empty)
        return self.task

    def decide(self, state: State, mask: SparseVolume, comment: str = "", allow_empty: bool = False) -> Task:
        """Accept (what is not saved is saved first), reject, flag or skip the task.

        Edits of a task that is rejected, flagged or skipped stay on the disk as unsaved ones.

        Raises:
            InputError: A rejection has no comment; or as `save` (whoever flags or skips says nothing about the mask).
            TaskTakenError, StorageError, DatasetError: As `save`.
        """
        self._require_mine()
        require_verdict(self.task.state, state, comment)
        if state in FINISHED:
            self._require_current()
        self._tell_list()
        if state == ACCEPTED:
            self.save(mask, comment, allow_empty)
        else:
            self.autosave(mask)
        noted = mask_to_note(self.loaded.case, self.task.organ) if state in FINISHED else ()
        self.task = self.worklist.set_state(self.task, state, self.reader, comment, *noted)
        return self.task

    def send_back(self, mask: SparseVolume, comment: str) -> Task:
        """Send a task that is being verified back to its reader; edits that are not saved stay on the disk as unsaved ones.

        Raises:
            InputError: It is not being verified, or there is no comment.
            TaskTakenError, StorageError, DatasetError: As `save`.
        """
        self._require_mine()
        self._tell_list()
        self.autosave(mask)
        self.task = self.worklist.send_back(self.task, self.reader, comment)
        return self.task

    def leave(self, mask: SparseVolume | None) -> None:
        """Close the task: unsaved edits go to the disk, and a task that was only looked at goes back to the list.

        Raises:
            StorageError: The edits cannot be written; the task stays the reader's.
        """
        if not self.editable:
            return
        if mask is not None:
            self.autosave(mask)
        try:
            self._tell_list()
        except AtlasError as error:
            _log.warning("a revision is not in the list yet: %s", error)
        keep = self._unlisted is not None or (self._autosave is not None and self._autosave.exists)
        self.worklist.leave(self.task, self.reader, keep)

    def heartbeat(self) -> Task:
        """Say in the list that the task is open here; return the task as it is now, in other hands when somebody took it.

        Raises:
            StorageError: The list cannot be written right now; the lease goes on for a while without.
        """
        now = self.worklist.heartbeat(self.task, self.reader)
        if now.is_mine(self.reader):
            self.task = now
        return now

    def _require_mine(self) -> None:
        if self.worklist.read_only:
            message = f"{self.worklist.folder}: the dataset folder cannot be written."
            raise StorageError(message, "Ask for write permission, or copy the dataset to a folder of your own.")
        now = self.heartbeat()
        if not now.is_mine(self.reader):
            message = f"{now.case}, {now.organ}: is in the hands of {now.reader or 'nobody'} by now ({now.state})."
            raise TaskTakenError(message, "Your edits are kept; agree with each other, then take it over.", now)
        if not self.loaded.case.folder.is_dir():
            message = f"{self.loaded.case.folder}: the case is not there any more."
            raise DatasetError(message, "Put it back, then save again; your edits stay in the editor.")

    def _require_current(self) -> None:
        """Let nobody supersede or accept a mask that they did not see."""
        case, organ = self.loaded.case, self.task.organ
        paths = {case.average.revised_mask(organ), self.loaded.baseline.file} - {None}
        changed = [path for path in paths if path is not None and self.loaded.stamps.get(str(path), stamp(path)) != stamp(path)]
        if not changed or self._is_same_on_disk():
            return
        self.outdated = True
        current = current_revision(case, organ)
        who = current.reader if current is not None and current.reader != UNKNOWN_READER else "another program"
        message = f"{case.name}: the mask of {organ} was changed on disk meanwhile by {who}."
        raise InputError(message, "Open the task again; your unsaved edits are kept and offered there.")

    def _is_same_on_disk(self) -> bool:
        """Tell whether the mask that counts has the voxels that were opened, such as after a copy of the folder."""
        revised, file = self.loaded.case.average.revised_mask(self.task.organ), self.loaded.baseline.file
        path = revised if revised.is_file() else file
        try:
            return path is not None and same_mask(read_mask_sparse(path, self.loaded.grid), self.saved)
        except AtlasError:
            return False

    def _tell_list(self) -> None:
        """Note a revision in the list that could not be noted when it was written."""
        if self._unlisted is not None:
            revision, comment = self._unlisted
            self.task = self.worklist.set_state(self.task, REVISED, self.reader, comment, revision.id, revision.sha256)
            self._unlisted = None

    def _save(self, mask: SparseVolume, comment: str, allow_empty: bool) -> None:
        case, organ, grid = self.loaded.case, self.task.organ, self.loaded.grid
        empty_before = is_empty(self.saved.box)
        volume = Volume(mask.dense(), grid.affine, f"{organ} in the editor", grid.header)
        revision = save_revision(case, organ, volume, self.reader, comment=comment, now=self._now, allow_empty=allow_empty or empty_before)
        revised = case.average.revised_mask(organ)
        stamps = {**self.loaded.stamps, str(revised): stamp(revised)}
        organs = {**self.loaded.organs, organ: OrganMask(mask, revised, True)}
        self.loaded = replace(self.loaded, organs=organs, stamps=stamps)
        if self._autosave is not None:
            self._autosave.remove()
        self._kept = None
        self._unlisted = (revision, comment)
        self._tell_list()


def voxels_of(mask: SparseVolume) -> int:
    """Return the number of voxels inside a mask."""
    return int(np.count_nonzero(mask.crop))
