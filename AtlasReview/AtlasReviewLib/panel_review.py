"""The review panel: its sections put together, its buttons and keys, its clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasReviewLib import scene
from AtlasReviewLib.autosave import Autosave
from AtlasReviewLib.background import resume_collection
from AtlasReviewLib.lease import HEARTBEAT_SECONDS
from AtlasReviewLib.panel_activity import ActivityFilter
from AtlasReviewLib.panel_assemble import AssemblePanel
from AtlasReviewLib.panel_buttons import ReviewButtons
from AtlasReviewLib.panel_context import ReviewContext, userFolder
from AtlasReviewLib.panel_dataset import DatasetPanel
from AtlasReviewLib.panel_decisions import Decisions
from AtlasReviewLib.panel_editor import EditorPanel
from AtlasReviewLib.panel_navigation import Navigation
from AtlasReviewLib.panel_recovery import RecoveryBanner
from AtlasReviewLib.panel_restore import SceneRestore
from AtlasReviewLib.panel_spots import SpotPanel
from AtlasReviewLib.panel_task import TaskPanel
from AtlasReviewLib.panel_texts import clockText
from AtlasReviewLib.panel_worklist import WorklistPanel
from AtlasReviewLib.task_states import OWNED
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.panel_errors import displayable

TICK_MILLISECONDS = 1000
AUTOSAVE_SECONDS, REFRESH_SECONDS = 60.0, 5.0


class ReviewPanel:
    """Everything below the panel of AtlasReview.

    Args:
        ui: The widgets of AtlasReview.ui.
        parameters: Returns the parameter node wrapper of the scene, or None while the scene is closed.
    """

    def __init__(self, ui: Any, parameters: Callable[[], Any]) -> None:
        self.ui, self.parameters = ui, parameters
        self.context = ReviewContext(userFolder())
        self.navigation, self.decisions = Navigation(self), Decisions(self)
        self.list = WorklistPanel(ui, self.navigation.open)
        self.editor = EditorPanel(ui, self._onOtherSegment)
        self.task = TaskPanel(self.context, self.editor, ui.taskProgress, self.update)
        self.spots = SpotPanel(ui, self.task)
        self.recovery = RecoveryBanner(ui, self.decisions.recover)
        self.dataset = DatasetPanel(ui, self.context, self.closeDataset, self._onOpened)
        self.assemble = AssemblePanel(ui, self.context, self._openCase, lambda: self.hasUnsaved)
        self.activity = ActivityFilter(self.task.activeTime.activity)
        self.restore = SceneRestore(self)
        self.buttons = ReviewButtons(ui, self)
        self._message = ""
        self._seen = -1
        self._offeredFor: Any = None
        self._nextAutosave = self._nextRefresh = self._nextHeartbeat = 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK_MILLISECONDS)
        self._timer.connect("timeout()", self.tick)
        self._timer.start()
        slicer.app.connect("aboutToQuit()", self._onQuit)
        self.update()

    # The module is opened, left, destroyed

    def enter(self) -> None:
        """Put keys and clock in force."""
        self.editor.enter()
        self.buttons.shortcuts.install()
        self.activity.install()
        if self.nodesShown is not None and self.task.nodes is not None and self.task.nodes.whole:
            scene.hide_others(self.task.nodes)
        if self.task.editable:
            self.task.activeTime.start()
        self.refresh()

    def exit(self) -> None:
        """Keep unsaved edits and take everything out of force; the task stays open."""
        self.task.autosave()
        scene.show_others()
        self.task.countTime()
        self.task.activeTime.stop()
        self.activity.remove()
        self.buttons.shortcuts.remove()
        self.editor.exit()

    def cleanup(self) -> None:
        """Keep unsaved edits, give the task back, let go of everything."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self.tick)
        slicer.app.disconnect("aboutToQuit()", self._onQuit)
        self.activity.cleanup()
        self.buttons.cleanup()
        self.task.cleanup()
        self.assemble.cleanup()
        self.dataset.cleanup()
        self.recovery.cleanup()
        self.list.cleanup()
        self.spots.cleanup()
        self.editor.cleanup()

    def _onQuit(self) -> None:
        self.task.leave(forced=True)

    def sceneClosing(self) -> None:
        """Keep unsaved edits before the nodes vanish."""
        self.task.sceneClosing()
        self.editor.sceneClosing()

    def sceneClosed(self) -> None:
        """Show an empty panel; the dataset stays open."""
        self.editor.sceneClosed()
        self.refresh(force=True)
        self.update()

    # The dataset

    def closeDataset(self) -> bool:
        """Close the open task, and forget what was offered; False when its edits could not be kept."""
        if not self.task.close():
            return False
        self.recovery.clear()
        return True

    def _onOpened(self, autosaves: Sequence[Autosave]) -> None:
        self._message = ""
        self.refresh(force=True)
        self.recovery.offer(autosaves)
        self.update()

    def refresh(self, force: bool = False) -> None:
        """Show the worklist as it is now, when anybody changed it."""
        worklist = self.context.worklist
        if worklist is None:
            self.list.setTasks([])
            return
        try:
            newest = worklist.last_event()
            if force or newest != self._seen:
                self._seen = newest
                self.list.setTasks(worklist.tasks())
        except AtlasError as error:
            self._message = displayable(str(error))

    # What is shown

    def say(self, message: str) -> None:
        """Show one line about what just happened."""
        self._message = message
        self.update()

    @property
    def hasUnsaved(self) -> bool:
        """Whether the open task differs from what is saved."""
        mask = self.task.mask() if self.task.editable else None
        return mask is not None and self.task.session is not None and self.task.session.is_changed(mask)

    def _openCase(self) -> str:
        return self.task.task.case if self.task.task is not None else ""

    def _onOtherSegment(self) -> None:
        task = self.task.task
        if task is not None:
            self.say(_("Only {organ} can be edited in this task. Open the other organ's task to edit it.").format(organ=task.organ))

    def update(self) -> None:
        """Show what is open and what can be done with it."""
        self.refresh()
        task = self.task.task
        self.list.setCurrent(task)
        self.spots.update()
        self.buttons.update()
        self.buttons.showNotice()
        self._showStatus()
        self.assemble.update()
        self.restore.remember()
        session = self.task.session
        if session is not None and session is not self._offeredFor:  # a task was just opened
            self._offeredFor = session
            self.recovery.offer(session.unsaved(), again=True)
            if self.nodesShown is not None:
                scene.set_overlay_shown(self.nodesShown, self.ui.overlayButton.checked)
                scene.set_mask_shown(self.nodesShown, self.ui.maskButton.checked)
            self.task.readAhead(self.navigation.ahead())

    @property
    def nodesShown(self) -> Any:
        """The nodes of the open task, or None."""
        return self.task.nodes if self.task.session is not None else None

    def _showStatus(self) -> None:
        parts = [self._message] if self._message else []
        task = self.task.task
        if task is not None and task.state in OWNED and self.task.session is not None:
            if self.task.touched:
                parts.append(_("Edited."))
            parts.append(_("Active time {time}.").format(time=clockText(task.active_seconds + self.task.activeTime.seconds)))
        self.ui.statusLabel.setText(" ".join(parts))

    def tick(self) -> None:
        """Once a second: show the time, keep edits every minute, look for what others changed."""
        now = time.monotonic()
        resume_collection()
        self._showStatus()
        if now >= self._nextAutosave:
            self._nextAutosave = now + AUTOSAVE_SECONDS
            if self.task.touched:
                self.task.autosave()
        if now >= self._nextHeartbeat:
            self._nextHeartbeat = now + HEARTBEAT_SECONDS
            message = self.task.heartbeat()
            if message:
                self.say(displayable(message))
        if now >= self._nextRefresh:
            self._nextRefresh = now + REFRESH_SECONDS
            self.refresh()
