"""What the reader decides about the open task: save, accept, reject, flag, skip, take over, reopen, recover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from AtlasReviewLib.autosave import Autosave
from AtlasReviewLib.panel_texts import stateText
from AtlasReviewLib.task_states import ACCEPTED, FINISHED, FLAGGED, OWNED, REJECTED, SKIPPED, State
from AtlasSegmentLib.panel_errors import displayable

if TYPE_CHECKING:
    from AtlasReviewLib.panel_review import ReviewPanel
    from AtlasReviewLib.worklist_rows import Task


class Decisions:
    """Does what the buttons of the open task say.

    Args:
        panel: The review panel.
    """

    def __init__(self, panel: ReviewPanel) -> None:
        self._panel = panel

    @property
    def _comment(self) -> str:
        return str(self._panel.ui.commentEdit.text).strip()

    def save(self) -> None:
        """Save the mask as a revision."""
        panel = self._panel
        before = panel.task.task
        panel.task.save(self._comment)
        after = panel.task.task
        saved = before is not None and after is not None and before.revision != after.revision
        panel.say(_("Saved.") if saved else _("Nothing was changed since the last revision."))

    def accept(self) -> None:
        """The mask is right."""
        self._decide(ACCEPTED)

    def reject(self) -> None:
        """The mask cannot be used; asks for a comment when there is none."""
        if not self._comment:
            text = qt.QInputDialog.getText(slicer.util.mainWindow(), _("Reject"), _("What is wrong?"))
            if not text or not str(text).strip():
                return
            self._panel.ui.commentEdit.setText(str(text))
        self._decide(REJECTED)

    def flag(self) -> None:
        """Put the task aside with a question."""
        self._decide(FLAGGED)

    def skip(self) -> None:
        """Leave the task for later."""
        self._decide(SKIPPED)

    def _decide(self, state: State) -> None:
        panel = self._panel
        panel.task.decide(state, self._comment)
        panel.refresh()
        task = panel.task.task
        if task is not None and task.state not in OWNED:  # accepted, or to be verified by somebody else
            panel.ui.commentEdit.setText("")
            panel.sync.compare()
            if panel.ui.goOnCheckBox.checked:
                panel.navigation.step(1, unfinished=True)

    def takeOver(self) -> None:
        """Take the open task although another reader has it, after a question."""
        task = self._panel.task.task
        if task is None:
            return
        question = _("{reader} has this task. Take it over? Edits that {reader} did not save are not part of what you see.")
        if slicer.util.confirmYesNoDisplay(displayable(question.format(reader=task.reader or _("Another reader")))):
            self._panel.navigation.open(task, takeOver=True)

    def recover(self, autosave: Autosave) -> None:
        """Put unsaved edits into the editor; their task is opened first when it is not open."""
        panel, task = self._panel, self._panel.task.task
        wanted = (autosave.case.name, autosave.organ, autosave.reading)
        if task is not None and panel.task.editable and (task.case, task.organ, task.reading) == wanted:
            panel.task.recover(autosave)
            panel.recovery.withdraw(autosave)
            panel.say(_("The unsaved edits are in the editor. Save them as a revision, or undo to go back."))
            return
        worklist = panel.context.worklist
        if worklist is None:
            return
        found = worklist.task(*wanted)
        if found.state in FINISHED:
            if not _confirmedReopening(found):
                panel.recovery.offer([autosave], again=True)
                return
            found = worklist.reopen(found, panel.context.reader, "unsaved edits recovered")

        def opened() -> None:
            if panel.task.editable:
                self.recover(autosave)
            else:  # another reader has the task, as the notice says
                panel.recovery.offer([autosave], again=True)

        panel.navigation.open(found, then=opened)


def _confirmedReopening(task: Task) -> bool:
    question = _("This task is {state} by {reader}. Take it up again?").format(state=stateText(task.state), reader=task.reader)
    return bool(slicer.util.confirmYesNoDisplay(displayable(question)))
