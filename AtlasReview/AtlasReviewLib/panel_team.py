"""What readers do for each other: hand a task over, send it back, put it back on the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from AtlasReviewLib.panel_texts import stateText
from AtlasReviewLib.task_states import ASIDE, TAKEN, VERIFY, State
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.panel_errors import displayable

if TYPE_CHECKING:
    from AtlasReviewLib.panel_review import ReviewPanel
    from AtlasReviewLib.worklist_rows import Task


class TeamActions:
    """Does what the buttons say that give the open task to somebody.

    Args:
        panel: The review panel.
    """

    def __init__(self, panel: ReviewPanel) -> None:
        self._panel = panel

    @property
    def _comment(self) -> str:
        return str(self._panel.ui.commentEdit.text).strip()

    def readers(self) -> list[str]:
        """Return the other readers: those with a level, and those who have, had or are to get a task."""
        context = self._panel.context
        names = {*context.index.readers, *(context.rules.levels or {})}
        return sorted(names - {context.reader}, key=str.casefold)

    def handOver(self) -> None:
        """Give the open task to a named reader, after a question about edits that are no revision yet."""
        panel, worklist = self._panel, self._panel.context.worklist
        task = panel.task.task
        if task is None or worklist is None:
            return
        to = self._askReader(_("Hand over"), _("Who shall have {organ} of {case}?"), task)
        if not to or not self._savedFirst(to):
            return
        task = panel.task.task
        if task is None or not panel.task.autosave():
            return
        worklist.hand_over(task, panel.context.reader, to, self._comment)
        self._goOn(_("{organ} of {case} waits for {reader} now."), task, to)

    def _savedFirst(self, to: str) -> bool:
        """Offer to save what is no revision yet; False when it could not be saved."""
        panel = self._panel
        question = _("Your edits are no revision yet, so {reader} would not see them. Save them as a revision first?")
        if panel.hasUnsaved and slicer.util.confirmYesNoDisplay(displayable(question.format(reader=to))):
            panel.task.save(self._comment)
            return not panel.hasUnsaved
        return True

    def sendBack(self) -> None:
        """Give a task that is being verified back to the reader who did it; asks for a comment when there is none."""
        panel, worklist = self._panel, self._panel.context.worklist
        task = panel.task.task
        if task is None or worklist is None or task.stage != VERIFY:
            return
        comment = self._comment or self._ask(_("Send back"), _("What has {reader} to do?").format(reader=task.author or _("the reader")))
        if not comment or not panel.task.autosave():
            return
        worklist.send_back(task, panel.context.reader, comment)
        self._goOn(_("{organ} of {case} went back to {reader}."), task, task.author)

    def reopen(self) -> None:
        """Take the finished task up again, with a reason."""
        panel, worklist = self._panel, self._panel.context.worklist
        task = panel.task.task
        if task is None or worklist is None:
            return
        reason = self._reason(_("Reopen"), task, task.state)
        if reason:
            panel.navigation.open(worklist.reopen(task, panel.context.reader, reason))

    def putBack(self) -> None:
        """Put the task that was decided or put aside back on the list with a reason, for a named reader or anybody."""
        panel, worklist = self._panel, self._panel.context.worklist
        task = panel.task.task
        if task is None or worklist is None:
            return
        reason = self._reason(_("Put back on the list"), task, panel.task.stateBefore if self.isAside() else task.state)
        if not reason:
            return
        anybody = _("(anybody)")
        to = self._askReader(_("Put back on the list"), _("Who shall look at {organ} of {case} again?"), task, anybody)
        if not to or not panel.task.leave():
            return
        try:
            worklist.revisit(task, panel.context.reader, reason, "" if to == anybody else to)
        except AtlasError:
            panel.task.close()
            panel.refresh()
            raise
        panel.ui.commentEdit.setText("")
        panel.task.close()
        panel.refresh()
        panel.say(displayable(_("{organ} of {case} is on the list again.").format(organ=task.organ, case=task.case)))

    def isAside(self) -> bool:
        """Tell whether the open task was put aside until this reader opened it, which took it, and nothing was done to it since."""
        task = self._panel.task.task
        opened = task is not None and task.state == TAKEN and task.is_mine(self._panel.context.reader)
        return opened and self._panel.task.stateBefore in ASIDE

    def _goOn(self, message: str, task: Task, to: str) -> None:
        """Close the task, which is no more the reader's, say so, and open the next one where that is wanted."""
        panel = self._panel
        panel.ui.commentEdit.setText("")
        panel.task.leave(forced=True)
        panel.task.removeNodes()
        panel.refresh()
        if panel.ui.goOnCheckBox.checked:
            panel.navigation.step(1, unfinished=True, after=task)
        panel.say(displayable(message.format(organ=task.organ, case=task.case, reader=to or _("the reader"))))

    def _reason(self, title: str, task: Task, state: State) -> str:
        question = _("This task is {state} by {reader}. Why shall it be done again?")
        text = question.format(state=stateText(state), reader=task.reader or _("another reader"))
        return self._ask(title, displayable(text), self._comment)

    def _ask(self, title: str, question: str, text: str = "") -> str:
        """Return one line, "" when nothing was given."""
        line = qt.QInputDialog.getText(slicer.util.mainWindow(), title, question, qt.QLineEdit.Normal, text)
        return str(line or "").strip()

    def _askReader(self, title: str, question: str, task: Task, first: str = "") -> str:
        """Return a name that was chosen or typed, "" when none was."""
        names = [displayable(name) for name in (*([first] if first else []), *self.readers())] or [""]
        text = displayable(question.format(organ=task.organ, case=task.case))
        accepted = qt.BoolResult()
        name = qt.QInputDialog.getItem(slicer.util.mainWindow(), title, text, names, 0, True, accepted)
        return str(name or "").strip() if accepted else ""
