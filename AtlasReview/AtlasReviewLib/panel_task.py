"""The open task: reading it in the background, showing it, keeping its edits, and what each button does with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasReviewLib import scene
from AtlasReviewLib.active_time import ActiveTime
from AtlasReviewLib.background import Work
from AtlasReviewLib.double_reading import view_of
from AtlasReviewLib.panel_background import PanelWork
from AtlasReviewLib.panel_context import ReviewContext
from AtlasReviewLib.panel_editor import EditorPanel
from AtlasReviewLib.panel_mask import TaskMask
from AtlasReviewLib.panel_watch import NodeWatch
from AtlasReviewLib.read_ahead import ReadAhead
from AtlasReviewLib.review_case import ReviewCase, is_current
from AtlasReviewLib.task_session import TaskSession
from AtlasReviewLib.task_states import FINISHED, WAITING, State
from AtlasReviewLib.worklist_rows import Task, TaskTakenError
from AtlasSegmentLib.errors import AtlasError, InputError, StorageError
from AtlasSegmentLib.panel_errors import errorText, showError
from AtlasSegmentLib.panel_threads import letThreadsRun
from AtlasSegmentLib.sparse import SparseVolume, is_empty

_log = logging.getLogger(__name__)
_AHEAD_MILLISECONDS = 50
Call = Callable[[], None]


class TaskPanel(TaskMask):
    """The task that is open, if there is one.

    Args:
        context: Worklist, reader and folders of the panel.
        editor: The embedded Segment Editor.
        progressBar: Shown while a task is read.
        onChanged: Called when the task, its state or what is known of it changed.
        clock: Seconds for the active time, or None for the machine's.
    """

    def __init__(
        self, context: ReviewContext, editor: EditorPanel, progressBar: Any, onChanged: Call, clock: Callable[[], float] | None = None
    ) -> None:
        super().__init__(editor, onChanged)
        self._context = context
        self._ahead, self._work = ReadAhead(), PanelWork(progressBar)
        self.activeTime = ActiveTime() if clock is None else ActiveTime(clock)
        self.opening: Task | None = None
        self.stateBefore: State = WAITING
        self.problem = ""
        self._loaded: ReviewCase | None = None
        self._afterOpen: Call | None = None
        self._watch = NodeWatch(self.autosave, self._onNodesRemoved)
        self._aheadTimer = qt.QTimer()
        self._aheadTimer.setInterval(_AHEAD_MILLISECONDS)
        self._aheadTimer.connect("timeout()", self._letReadAhead)

    @property
    def task(self) -> Task | None:
        """The open task, or the one that is being opened."""
        return self.opening or (self.session.task if self.session is not None else None)

    def _onNodesRemoved(self) -> None:
        self.autosave()
        self._editor.setEditable(self.editable)
        self._onChanged()

    def open(self, task: Task, take_over: bool = False, then: Call | None = None) -> bool:
        """Close the open task and open another one; it is taken when it is free, and shown for looking when it is not.

        Returns:
            False when the open task could not be closed: its edits could not be kept anywhere.

        Raises:
            AtlasError: This reader must not see it, such as the other reading of a task of theirs, or the list cannot be read.
        """
        if not self.leave():
            return False
        worklist = self._context.worklist
        if worklist is None:
            return False
        self.problem = ""
        task = worklist.task(task.case, task.organ, task.reading)
        self.stateBefore = task.state
        if not worklist.read_only and task.state not in FINISHED:
            with suppress(TaskTakenError):  # then it is shown read-only, with whose it is
                task = worklist.take(task.case, task.organ, self._context.reader, take_over, task.reading)
        self.opening, self._afterOpen = task, then
        self._read(task, self._loaded)
        self._onChanged()
        return True

    def _read(self, task: Task, known: ReviewCase | None) -> None:
        self._work.wait(self._requested(task, known), self._onRead, self._onFailed)

    def _requested(self, task: Task, known: ReviewCase | None) -> Work[ReviewCase]:
        """Have a task read in the background as this reader may see it."""
        context = self._context
        if context.worklist is None:
            raise LookupError
        view = view_of(context.worklist, task, context.reader)
        return self._ahead.request(context.folder / task.case, task.organ, known, view)

    def _onRead(self, loaded: ReviewCase) -> None:
        task, worklist = self.opening, self._context.worklist
        self._ahead.cancel()
        if task is None or worklist is None:
            return
        if not is_current(loaded):  # somebody saved meanwhile
            self._read(task, loaded)
            return
        try:
            self.nodes = scene.show_task(loaded, self.nodes, self._loaded)
            self.session = TaskSession(worklist, loaded, task, self._context.reader, self._context.fallback)
        except Exception as error:  # the panel goes on with the next task
            self._onFailed(error)
            return
        self._loaded, self.opening = loaded, None
        self._editor.attach(self.nodes, self.session.editable)
        scene.hide_others(self.nodes)
        self._isKept()
        self._watch.watch(self.nodes)
        if self.session.editable:
            self.activeTime.start()
        then, self._afterOpen = self._afterOpen, None
        self._onChanged()
        if then is not None:
            then()

    def _onFailed(self, error: Exception) -> None:
        task, self.opening, self._afterOpen = self.opening, None, None
        self._ahead.cancel()
        self.removeNodes()
        self.problem = errorText(error, gap="\n")
        if not isinstance(error, AtlasError):
            _log.error("a task could not be opened", exc_info=error)
        if task is not None:
            self._giveBack(task)
        self._onChanged()

    def _giveBack(self, task: Task) -> None:
        """Put a task that was never shown back on the list, as far as the list can be written."""
        worklist = self._context.worklist
        if worklist is None or worklist.read_only:
            return
        try:
            worklist.leave(task, self._context.reader, keep=False)
        except AtlasError as error:
            _log.warning("the task could not be given back: %s", error)

    def readAhead(self, task: Task | None) -> None:
        """Read a task in the background, as it will probably be opened next."""
        if task is not None and self.opening is None and self._context.worklist is not None:
            with suppress(AtlasError):  # whatever it is, it is said when the task is opened
                self._requested(task, self._loaded)
                self._aheadTimer.start()

    def _letReadAhead(self) -> None:
        """Give the thread that reads ahead its share; nobody waits for it."""
        letThreadsRun()
        if not self._ahead.reading:
            self._aheadTimer.stop()

    def save(self, comment: str) -> None:
        """Save the mask as a revision; asks before an organ is emptied. Raises AtlasError."""
        self._decided(lambda session, mask, empty: session.save(mask, comment, empty))

    def decide(self, state: State, comment: str) -> None:
        """Accept, reject, flag or skip. Raises AtlasError."""
        self._decided(lambda session, mask, empty: session.decide(state, mask, comment, empty))

    def _decided(self, act: Callable[[TaskSession, SparseVolume, bool], Task]) -> None:
        session, mask = self.session, self.mask()
        if session is None or mask is None:
            self.autosave(told=False)
            message = self.broken if session is not None else _("No task is open.")
            raise InputError(message, _("Open the task."))
        empties = is_empty(mask.box) and not is_empty(session.saved.box)
        organ = session.task.organ
        question = _("The mask of {organ} is empty. Is this organ really absent in this case?").format(organ=organ)
        if empties and not slicer.util.confirmYesNoDisplay(question):
            return
        try:
            act(session, mask, empties)
        except AtlasError:
            self.autosave(told=False)  # the mask stays in the editor, and a copy of it goes to the disk
            raise
        finally:
            self.countTime()
            self._editor.setEditable(self.editable)
            self._onChanged()

    def countTime(self) -> None:
        """Write the active time so far to the list."""
        session = self.session
        if session is None or session.worklist.read_only:
            return
        try:
            session.worklist.add_seconds(session.task, session.reader, self.activeTime.take())
        except AtlasError as error:
            _log.warning("active time was not written: %s", error)

    def leave(self, forced: bool = False) -> bool:
        """Close the open task: edits go to the disk, a task that was only looked at goes back to the list.

        Args:
            forced: Close it also when that fails, as at the end of the program.

        Returns:
            False when the edits could not be kept and the task stays open.
        """
        self._cancelOpening()
        session = self.session
        if session is None:
            return True
        self.countTime()
        kept = False
        try:
            if session.editable:
                self._keep(session, forced)
            kept = True
            session.leave(None)
        except AtlasError as error:
            _log.error("the task could not be closed: %s", error)
            if not forced:
                showError(error)
            if not forced and (not kept or isinstance(error, StorageError)):
                return False
        self.activeTime.stop()
        self._watch.stop()
        self.session = None
        self._editor.detach()
        return True

    def _cancelOpening(self) -> None:
        task, self.opening, self._afterOpen = self.opening, None, None
        self._work.cancel()
        if task is not None:
            self._giveBack(task)

    def close(self, forced: bool = False) -> bool:
        """Close the open task and remove its nodes. Returns as `leave`."""
        if not self.leave(forced):
            return False
        self._ahead.cancel()
        self.problem = ""
        self.removeNodes()
        self._onChanged()
        return True

    def removeNodes(self) -> None:
        """Remove the nodes of the task that was open last, and show again what was hidden for it."""
        if self.nodes is not None:
            scene.remove_task(self.nodes)
            scene.show_others()
        self.nodes = self._loaded = None

    def sceneClosing(self) -> None:
        """Keep the edits before the nodes vanish."""
        self.leave(forced=True)
        self.nodes = self._loaded = None
        self.problem = ""

    def cleanup(self) -> None:
        """Close the task, end the threads, let go of the timer."""
        self.close(forced=True)
        self._work.cleanup()
        self._ahead.close()
        self._aheadTimer.stop()
        self._aheadTimer.disconnect("timeout()", self._letReadAhead)
