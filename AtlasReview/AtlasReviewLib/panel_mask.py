"""The mask of the open task: taken out of the editor, put into it, and kept on the disk while it is not saved."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from slicer.i18n import tr as _

from AtlasReviewLib import scene_mask
from AtlasReviewLib.autosave import Autosave, read_autosave
from AtlasReviewLib.panel_editor import EditorPanel
from AtlasReviewLib.scene import TaskNodes
from AtlasReviewLib.task_session import TaskSession
from AtlasSegmentLib.errors import AtlasError, GeometryError
from AtlasSegmentLib.panel_errors import errorText, showError
from AtlasSegmentLib.sparse import SparseVolume

_log = logging.getLogger(__name__)


class TaskMask:
    """What is in the editor.

    Args:
        editor: The embedded Segment Editor.
        onChanged: Called when the mask was put there from elsewhere.
    """

    def __init__(self, editor: EditorPanel, onChanged: Callable[[], None]) -> None:
        self._editor, self._onChanged = editor, onChanged
        self.session: TaskSession | None = None
        self.nodes: TaskNodes | None = None
        self._kept: Any = None  # the stamp of what is on the disk
        self._told = ""

    def _isKept(self) -> None:
        """Note that the mask is on the disk as it is in the editor now."""
        self._kept, self._told = self.stamp, ""

    @property
    def editable(self) -> bool:
        """Whether the open task can be edited."""
        return self.session is not None and self.session.editable and not self.broken

    @property
    def broken(self) -> str:
        """Why the open task has to be opened again before it can be changed, or ""."""
        if self.session is not None and self.session.outdated:
            return _("The mask was changed on disk meanwhile. Open the task again; unsaved edits are offered there.")
        if self.nodes is None or not self.nodes.whole:
            return _("The nodes of this task were removed from the scene. Open it again; unsaved edits are offered there.")
        return ""

    def mask(self) -> SparseVolume | None:
        """Return the mask in the editor, or None when no task is open or its nodes are gone."""
        if self.session is None or self.nodes is None or not self.nodes.whole:
            return None
        return scene_mask.edited_mask(self.nodes, self.session.loaded)

    def autosave(self, told: bool = True) -> bool:
        """Put unsaved edits on the disk; say so (`told`) when that fails, once for each cause, and return False."""
        session = self.session
        if session is None or not session.editable:
            return True
        try:
            mask = self._maskToKeep()
            if mask is not None:
                session.autosave(mask)
        except AtlasError as error:
            _log.error("unsaved edits could not be kept: %s", error)
            is_new, self._told = errorText(error) != self._told, errorText(error)
            if told and is_new:
                showError(error)
            return False
        self._isKept()
        return True

    def _maskToKeep(self) -> SparseVolume | None:
        """Return the mask in the editor; where it cannot be placed over the CT, or was removed, as it was drawn; None if it is kept."""
        if self.session is None or self.nodes is None:
            return None
        with suppress(GeometryError):
            if self.nodes.whole:
                return self.mask()
        kept = scene_mask.kept_mask(self.nodes, self.session.loaded) if self.stamp != self._kept else None
        return None if kept is None else self.session.sparse(kept)

    @property
    def stamp(self) -> Any:
        """A number that differs after every change of the organ; cheap."""
        return None if self.nodes is None else scene_mask.segment_stamp(self.nodes)

    @property
    def touched(self) -> bool:
        """Whether the organ was changed since it was last put on the disk; cheap."""
        return self.editable and self.stamp != self._kept

    def recover(self, autosave: Autosave) -> None:
        """Put unsaved edits into the editor, as one step that can be undone. Raises AtlasError."""
        if self.session is None or self.nodes is None or not self.editable:
            return
        mask = read_autosave(autosave, self.session.loaded.grid)
        self._editor.saveStateForUndo()
        scene_mask.put_mask(self.nodes, mask)
        self.session.recovered(autosave)
        self._onChanged()

    def putMask(self, mask: SparseVolume) -> None:
        """Put a mask into the editor, as one step that can be undone."""
        if self.nodes is not None and self.editable:
            self._editor.saveStateForUndo()
            scene_mask.put_mask(self.nodes, mask)
            self._onChanged()

    def _keep(self, session: TaskSession, forced: bool) -> None:
        """Put the edits on the disk before the task is closed. Raises AtlasError while the reader can still do something."""
        touched = self.stamp != self._kept
        mask = self._maskToKeep()
        if mask is not None:
            session.autosave(mask)
        self._kept = self.stamp
        if touched and not forced:
            self.mask()  # says so when it cannot be placed over the CT
