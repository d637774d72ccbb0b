"""The buttons of the open task with their keys: when each can be pressed, and why not when it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.panel_texts import stateText, taskDetails, taskHeading
from AtlasReviewLib.task_states import FINISHED, OWNED
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
            (ui.reopenButton, panel.decisions.reopen, ""),
        )
        self._links = Links()
        for button, call, key in keyed:
            self._links.add(button, "clicked(bool)", guarded(call))
            if key:
                self.shortcuts.bind(key, button)
        for button, key in ((ui.nextSpotButton, "N"), (ui.previousSpotButton, "Shift+N"), (ui.overlayButton, "H"), (ui.maskButton, "M")):
            self.shortcuts.bind(key, button)
        self._tips = {button: button.toolTip for button in self._editing()}

    def _editing(self) -> tuple[Any, ...]:
        ui = self.ui
        return (ui.saveButton, ui.acceptButton, ui.rejectButton, ui.flagButton, ui.skipButton)

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
        if task.state in FINISHED:
            text = _("This task is {state} by {reader}. Reopen it to change it.")
        elif task.state in OWNED:
            text = _("{reader} has this task ({state}). You can only look.")
        else:
            text = _("This task is {state}. Open it again to go on with it.")
        return displayable(text.format(state=stateText(task.state), reader=task.reader))

    def update(self) -> None:
        """Enable what can be done now; the reason is the tool tip of what cannot."""
        reason = self.reason()
        for button, tip in self._tips.items():
            button.setEnabled(not reason)
            button.setToolTip(reason or tip)
        self.ui.commentEdit.setEnabled(not reason)
        is_open = self._panel.context.worklist is not None
        for button in (self.ui.nextButton, self.ui.previousButton, self.ui.nextUnfinishedButton, self.ui.previousUnfinishedButton):
            button.setEnabled(is_open)
        self.ui.takeNextButton.setEnabled(is_open)
        shown = self._panel.task.session is not None
        self.ui.overlayButton.setEnabled(shown and self._panel.task.nodes is not None and self._panel.task.nodes.overlay is not None)
        self.ui.maskButton.setEnabled(shown)

    def showNotice(self) -> None:
        """Show what is open, and what to know about it."""
        panel, task = self._panel, self._panel.task.task
        if task is None:
            self.ui.taskLabel.setText(_("No task is open."))
        else:
            self.ui.taskLabel.setText(displayable(taskHeading(task)))
            self.ui.taskLabel.setToolTip(displayable(taskDetails(task)))
        lines = [panel.task.problem] if panel.task.problem else []
        reason = self.reason()
        if reason and task is not None and panel.task.session is not None:
            lines.append(reason)
        session, nodes = panel.task.session, panel.task.nodes
        if session is not None and nodes is not None and not reason and not nodes.has_background:
            lines.append(_("The CT was removed from the scene; your edits are kept. Open another task and then this one to see it again."))
        if session is not None:
            lines += session.loaded.problems
            overlap = session.loaded.overlap_ml
            if overlap >= _OVERLAP_ML and not reason:
                text = _("{volume:.2f} ml lie in other organs too. Erase there, or untick Keep out of neighbors to draw there.")
                lines.append(text.format(volume=overlap))
        self.ui.noticeLabel.setText(displayable("\n".join(lines)))
        self.ui.noticeLabel.setVisible(bool(lines))
        locked = session is not None and not session.worklist.read_only and task is not None
        held = locked and task is not None and task.state in OWNED and not task.is_mine(panel.context.reader)
        self.ui.takeOverButton.setVisible(bool(held))
        self.ui.reopenButton.setVisible(bool(locked and task is not None and task.state in FINISHED))

    def cleanup(self) -> None:
        """Let go of keys and buttons."""
        self.shortcuts.remove()
        self._links.cut()
