"""Unsaved edits that a reader left a moment ago: back in the editor when their task is opened again, not in the banner."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from AtlasReviewLib.reader_session import this_session
from AtlasReviewLib.task_session import TaskSession
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.sparse import SparseVolume

if TYPE_CHECKING:
    from AtlasReviewLib.panel_review import ReviewPanel

_log = logging.getLogger(__name__)
Key = tuple[str, str, int]


class LeftEdits:
    """Remembers on which mask the edits of each task began since the dataset was opened.

    Args:
        panel: The review panel.
    """

    def __init__(self, panel: ReviewPanel) -> None:
        self._panel = panel
        self._bases: dict[Key, str] = {}
        self._seen: SparseVolume | None = None

    def remember(self, session: TaskSession | None) -> None:
        """Note which mask the edits of the open task begin with; to be called after every change, cheap."""
        if session is not None and session.editable and session.saved is not self._seen:
            self._seen = session.saved
            self._bases[_key(session)] = _digest(session.saved)

    def bring(self, session: TaskSession) -> None:
        """Put edits of a task that was just opened into the editor where they began with the mask that is there; offer all others."""
        unsaved, offered = session.unsaved(), self._panel.recovery
        newest = unsaved[0] if unsaved else None
        if newest is None or newest.session != this_session() or self._bases.get(_key(session)) != _digest(session.saved):
            offered.offer(unsaved, again=True)
            return
        offered.offer(unsaved[1:], again=True)
        try:
            self._panel.decisions.recover(newest)
        except AtlasError as error:  # it is offered, and whoever wants it is told why it cannot be used
            _log.warning("unsaved edits could not be brought back: %s", error)
            offered.offer([newest], again=True)

    def clear(self) -> None:
        """Forget all, as when another dataset is opened."""
        self._bases, self._seen = {}, None


def _key(session: TaskSession) -> Key:
    return session.task.case, session.task.organ, session.task.reading


def _digest(mask: SparseVolume) -> str:
    """Return what tells masks apart."""
    return hashlib.blake2b(repr((mask.box, mask.crop.shape)).encode() + mask.crop.tobytes("F"), digest_size=16).hexdigest()
