"""The buttons of the open task with their keys: when each can be pressed, and why not when it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.panel_texts import heldText, taskDetails, taskHeading
from AtlasReviewLib.task_states import ASIDE, FINISHED, OWNED, VERIFY
from AtlasSegmentLib.panel_errors import displayable, guarded
from AtlasSegmentLib.panel_shortcuts import PanelShortcuts

if TYPE_CHECKING:
    from AtlasReviewLib.panel_review import ReviewPanel

_OVERLAP_ML = 0.05


class ReviewButtons:
    """Connects the buttons of a panel.

    Args:
        ui: The widgets of the panel.
        panel: Does what the buttons say.
    """

    def __init__(self, ui: Any, panel: ReviewPanel) -> None:
        self.ui, self._panel = ui, panel
        self.shortcuts = PanelShortcuts()
        keyed = (
            (ui.saveButton, panel.decisions.save, "Alt+S"),
            (ui.acceptButton, panel.decisions.accept, "Ctrl+Shift+A"),
            (ui.rejectButton, panel.decisions.reject, "Ctrl+Shift+R"),
            (ui.flagButton, panel.decisions.flag, "Ctrl+Shift+F"),
            (ui.skipButton, panel.decisions.skip, "Ctrl+Shift+K"),
            (ui.nextButton, lambda: panel.navigation.step(1), "PgDown"),
            (ui.previousButton, lambda: panel.navigation.step(-1), "PgUp"),
            (ui.nextUnfinishedButton, lambda: panel.navigation.step(1, unfinished=True), "Alt+PgDown"),
            (ui.previousUnfinishedButton, lambda: panel.navigation.step(-1, unfinished=True), "Alt+PgUp"),
            (ui.takeNextButton, panel.navigation.takeNext, ""),
            (ui.addOrganButton, panel.navigation.addOrgan, ""),
            (ui.takeOverButton, panel.decisions.takeOver, ""),
            (ui.handOverButton, panel.team.handOver, ""),
            (ui.sendBackButton, panel.team.sendBack, ""),
            (ui.reopenButton, panel.team.reopen, ""),
            (ui.putBackButton, panel.team.putBack, ""),
        )
        self._links = Links()
        for button, call, key in keyed:
            self._links.add(button, "clicked(bool)", guarded(call))
            if key:
                self.shortcuts.bind(key, button)
        for button, key in ((ui.nextSpotButton, "N"), (ui.previousSpotButton, "Shift+N"), (ui.overlayButton, "H"), (ui.maskButton, "M")):
            self.shortcuts.bind(key, button)
        self.shortcuts.bind("J", ui.worstSliceButton)
        self.shortcuts.bindCall("Shift+J", panel.quality.worst.previous)
        panel.carry.bindKeys(self.shortcuts)
        verdicts = (ui.saveButton, ui.acceptButton, ui.rejectButton, ui.flagButton, ui.skipButton)
        self._editing = (*verdicts, ui.handOverButton, ui.sendBackButton)
        self._walking = (ui.nextButton, ui.previousButton, ui.nextUnfinishedButton, ui.previousUnfinishedButton)
        self._looking = (ui.overlayButton, ui.maskButton, ui.nextSpotButton, ui.previousSpotButton)
        known = (*self._editing, *self._walking, *self._looking, ui.takeNextButton, ui.commentEdit)
        self._tips = {widget: widget.toolTip for widget in known}

    def reason(self) -> str:
        """Return why the open task cannot be changed, or ""."""
        task, worklist = self._panel.task.task, self._panel.context.worklist
        if task is None or worklist is None:
            return _("Open a task first.")
        if self._panel.task.opening is not None:
            return _("The task is being read.")
        if worklist.read_only:
            return _("The dataset folder cannot be written: you can only look.")
        if task.is_mine(self._panel.context.reader):
            return self._panel.task.broken
        return displayable(heldText(task))

    def update(self) -> None:
        """Enable what can be done now; the reason is the tool tip of what cannot."""
        panel, reason = self._panel, self.reason()
        for widget in (*self._editing, self.ui.commentEdit):
            self._enable(widget, reason)
        closed = "" if panel.context.worklist is not None else _("Open a dataset folder first.")
        for button in self._walking:
            self._enable(button, closed)
        self._enable(self.ui.takeNextButton, closed or panel.only.problem)
        only = panel.only.text()
        if only and self.ui.takeNextButton.enabled:
            self.ui.takeNextButton.setToolTip(_("{what}. Only: {filter}").format(what=self._tips[self.ui.takeNextButton], filter=only))
        session, nodes = panel.task.session, panel.task.nodes
        unread = "" if session is not None else _("Open a task first.")
        without = _("No attention map of this organ is shown.") if nodes is None or nodes.overlay is None else ""
        self._enable(self.ui.overlayButton, unread or without)
        self._enable(self.ui.maskButton, unread)
        spots = "" if session is not None and session.loaded.hot_spots else _("No hot spot is known for this organ.")
        for button in (self.ui.nextSpotButton, self.ui.previousSpotButton):
            self._enable(button, unread or spots)

    def _enable(self, widget: Any, reason: str) -> None:
        widget.setEnabled(not reason)
        widget.setToolTip(reason or self._tips[widget])

    def showNotice(self) -> None:
        """Show what is open, and what to know about it."""
        panel, task = self._panel, self._panel.task.task
        if task is None:
            self.ui.taskLabel.setText(_("No task is open."))
            self.ui.taskLabel.setToolTip("")
        else:
            self.ui.taskLabel.setText(displayable(taskHeading(task)))
            self.ui.taskLabel.setToolTip(displayable(taskDetails(task)))
        reason = self.reason()
        lines = [panel.task.problem] if panel.task.problem else []
        lines += self._toKnow(reason)
        self.ui.noticeLabel.setText(displayable("\n".join(lines)))
        self.ui.noticeLabel.setVisible(bool(lines))
        self._showLooking(reason)

    def _toKnow(self, reason: str) -> list[str]:
        session, nodes = self._panel.task.session, self._panel.task.nodes
        if session is None:
            return []
        lines = list(session.loaded.problems)
        if nodes is not None and not reason and not nodes.has_background:
            lines.append(_("The CT was removed from the scene; your edits are kept. Open another task and then this one to see it again."))
        overlap = session.loaded.overlap_ml
        if overlap >= _OVERLAP_ML and not reason:
            text = _("{volume:.2f} ml lie in other organs too. Erase there, or untick Keep out of neighbors to draw there.")
            lines.append(text.format(volume=overlap))
        return lines

    def _showLooking(self, reason: str) -> None:
        """Show the banner that says why the task is only for looking, with what can be done about it."""
        panel, task, session = self._panel, self._panel.task.task, self._panel.task.session
        shown = bool(reason) and task is not None and session is not None
        self.ui.lookingLabel.setText(reason if shown else "")
        self.ui.lookingFrame.setVisible(shown)
        mine = task is not None and task.is_mine(panel.context.reader)
        state = task.state if shown and task is not None and session is not None and not session.worklist.read_only else ""
        self.ui.takeOverButton.setVisible(state in OWNED and not mine)
        self.ui.reopenButton.setVisible(state in FINISHED)
        self.ui.putBackButton.setVisible(state in (*FINISHED, *ASIDE) or (not reason and panel.team.isAside()))
        self.ui.sendBackButton.setVisible(mine and task is not None and task.stage == VERIFY)

    def cleanup(self) -> None:
        """Let go of keys and buttons."""
        self.shortcuts.remove()
        self._links.cut()
