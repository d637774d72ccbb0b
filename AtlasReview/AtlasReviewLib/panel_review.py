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
from AtlasReviewLib.panel_adjudicate import AdjudicationPanel
from AtlasReviewLib.panel_assemble import AssemblePanel
from AtlasReviewLib.panel_buttons import ReviewButtons
from AtlasReviewLib.panel_carry import CarryPanel
from AtlasReviewLib.panel_context import ReviewContext, userFolder
from AtlasReviewLib.panel_dataset import DatasetPanel
from AtlasReviewLib.panel_decisions import Decisions
from AtlasReviewLib.panel_editor import EditorPanel
from AtlasReviewLib.panel_gain import GainPanel
from AtlasReviewLib.panel_left import LeftEdits
from AtlasReviewLib.panel_navigation import Navigation
from AtlasReviewLib.panel_only import OnlyPanel
from AtlasReviewLib.panel_profile import ProfilePanel
from AtlasReviewLib.panel_quality import QualityPanel
from AtlasReviewLib.panel_recovery import RecoveryBanner
from AtlasReviewLib.panel_restore import SceneRestore
from AtlasReviewLib.panel_spots import SpotPanel
from AtlasReviewLib.panel_sync import News, WorklistSync
from AtlasReviewLib.panel_task import TaskPanel
from AtlasReviewLib.panel_team import TeamActions
from AtlasReviewLib.panel_texts import clockText
from AtlasReviewLib.panel_worklist import WorklistPanel
from AtlasReviewLib.task_states import OWNED
from AtlasReviewLib.worklist_index import WorklistIndex
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
        self.navigation, self.decisions, self.team = Navigation(self), Decisions(self), TeamActions(self)
        self.list = WorklistPanel(ui, self.context, self.navigation.open)
        self.only = OnlyPanel(ui, self.context, self.update)
        self.gain = GainPanel(ui, self.context, self.list.reorder)
        self.editor = EditorPanel(ui, self._onOtherSegment)
        self.task = TaskPanel(self.context, self.editor, ui.taskProgress, self.update)
        self.spots = SpotPanel(ui, self.task)
        self.adjudicate = AdjudicationPanel(ui, self.context, self.task, self.spots)
        self.carry = CarryPanel(ui, self.task, self.say)
        self.profile = ProfilePanel(ui, self.task, self.carry)
        self.quality = QualityPanel(ui, self.task, self.profile)
        self.recovery = RecoveryBanner(ui, self.decisions.recover)
        self.left = LeftEdits(self)
        self.dataset = DatasetPanel(ui, self.context, self.closeDataset, self._onOpened)
        self.sync = WorklistSync(self.context, self._onNews, self.dataset.setTrouble)
        self.assemble = AssemblePanel(ui, self.context, self._openCase, lambda: self.hasUnsaved)
        self.activity = ActivityFilter(self.task.activeTime.activity)
        self.restore = SceneRestore(self)
        self.buttons = ReviewButtons(ui, self)
        self._message = ""
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
        self.adjudicate.enter()
        if self.nodesShown is not None and self.task.nodes is not None and self.task.nodes.whole:
            scene.hide_others(self.task.nodes)
        if self.task.editable:
            self.task.activeTime.start()
        self.sync.ask()

    def exit(self) -> None:
        """Keep unsaved edits and take everything out of force; the task stays open."""
        self.carry.discard()
        self.adjudicate.exit()
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
        self.carry.cleanup()
        self.quality.cleanup()
        self.profile.cleanup()
        self.adjudicate.cleanup()
        self.task.cleanup()
        self.assemble.cleanup()
        self.sync.cleanup()
        self.dataset.cleanup()
        self.recovery.cleanup()
        self.only.cleanup()
        self.list.cleanup()
        self.gain.cleanup()
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
        self.sync.ask()
        self.update()

    # The dataset

    def closeDataset(self) -> bool:
        """Close the open task, and forget what was offered; False when its edits could not be kept."""
        if not self.task.close():
            return False
        self.recovery.clear()
        self.left.clear()
        self.sync.stop()
        self.list.setIndex(WorklistIndex())
        return True

    def _onOpened(self, autosaves: Sequence[Autosave], news: News) -> None:
        self._message = ""
        self.sync.begin(news)
        self.only.update()
        self.recovery.offer(autosaves)
        self.update()

    def refresh(self) -> None:
        """Show the worklist as it is now, after something that the reader did to it."""
        self.sync.now()

    def _onNews(self, news: News) -> None:
        if news.index is not None:
            self.list.setIndex(news.index)
            self.only.update()
        elif news.changed and not self.list.change(news.changed):
            self.sync.readAgain()
        self._onHeld(news)
        if news.held is not None or news.index is not None or news.changed:
            self.update()

    def _onHeld(self, news: News) -> None:
        """Let the open task be what the list says, unless the reader did something with it since the list was asked."""
        session, held = self.task.session, news.held
        if held is None or session is None or session.task is not news.asked:
            return
        if held.is_mine(session.reader):
            session.task = held
            return
        self.task.autosave(told=False)
        if held.reader == session.reader and held.state not in OWNED:  # the answer to a decision was lost, the decision was not
            session.task = held
            self._message = _("What you decided has arrived.")
        else:
            text = _("This task is in the hands of {reader} by now. Your edits are kept.")
            self._message = displayable(text.format(reader=held.reader or _("nobody")))

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
        task = self.task.task
        self.list.setCurrent(task)
        self.gain.update()
        self.spots.update()
        self.carry.update()
        self.profile.update()
        self.quality.update()
        self.buttons.update()
        self.adjudicate.update()
        self.buttons.showNotice()
        self._showStatus()
        self.assemble.update()
        self.restore.remember()
        session = self.task.session
        if session is not None and session is not self._offeredFor:  # a task was just opened
            self._offeredFor = session
            self.left.bring(session)
            if self.nodesShown is not None:
                scene.set_overlay_shown(self.nodesShown, self.ui.overlayButton.checked)
                scene.set_mask_shown(self.nodesShown, self.ui.maskButton.checked)
            self.task.readAhead(self.navigation.ahead())
        self.left.remember(session)

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
        self.carry.update()  # the mask may have been drawn on
        self.profile.tick()
        self._showStatus()
        if now >= self._nextAutosave:
            self._nextAutosave = now + AUTOSAVE_SECONDS
            if self.task.touched:
                self.task.autosave()
        if self.context.worklist is not None and now >= self._nextRefresh and not self.sync.running:
            beat = now >= self._nextHeartbeat
            self._nextRefresh = now + REFRESH_SECONDS
            self._nextHeartbeat = now + HEARTBEAT_SECONDS if beat else self._nextHeartbeat
            self.sync.ask(self.task.session if beat else None)
