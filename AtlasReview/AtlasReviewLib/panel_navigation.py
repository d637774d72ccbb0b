"""Going from task to task: take the next one, step through the list, add an organ, say gracefully when nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from AtlasReviewLib.panel_texts import leftOverText
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.panel_errors import displayable

if TYPE_CHECKING:
    from AtlasReviewLib.panel_review import ReviewPanel


class Navigation:
    """Opens tasks of a panel.

    Args:
        panel: The review panel.
    """

    def __init__(self, panel: ReviewPanel) -> None:
        self._panel = panel

    def open(self, task: Task, takeOver: bool = False, then: Callable[[], None] | None = None) -> None:
        """Open a task; the one that is being edited stays as it is. A comment stays with the task for which it was written.

        Raises:
            AtlasError: This reader must not have it, or the list cannot be read; no task is open then.
        """
        panel = self._panel
        panel.say("")
        current = panel.task.task
        if panel.task.editable and panel.task.opening is None and current is not None and current.id == task.id:
            if then is not None:
                then()
            return
        other = current is None or current.id != task.id
        try:
            if panel.task.open(task, takeOver, then) and other:
                panel.ui.commentEdit.setText("")
        except AtlasError:
            panel.task.close()
            panel.refresh()
            raise
        panel.refresh()

    def takeNext(self) -> None:
        """Take the task where a look is worth most."""
        panel, worklist = self._panel, self._panel.context.worklist
        if worklist is None:
            return
        if worklist.read_only:
            self.step(1)
            return
        current = panel.task.task
        if not panel.task.leave():
            return
        try:
            task = panel.gain.takeNext(worklist, current)
        except AtlasError:
            panel.task.close()
            panel.refresh()
            raise
        if task is None:
            panel.refresh()
            panel.task.close()
            panel.ui.commentEdit.setText("")
            panel.say(self._leftOver())
        else:
            self.open(task)

    def step(self, step: int, unfinished: bool = False, after: Task | None = None) -> None:
        """Open the task after (1) or before (-1) this one in the list, or the nearest one with work for this reader.

        Args:
            step: 1 or -1.
            unfinished: Only tasks with work for this reader.
            after: Begin at this task instead of the open one.
        """
        panel = self._panel
        current = after or panel.task.task
        found = self._neighbor(current, step, unfinished)
        if found is None and unfinished and step > 0 and current is not None:  # once around
            found = self._neighbor(None, step, unfinished)
            found = None if found is not None and found.id == current.id else found
        if found is not None:
            self.open(found)
        elif unfinished:
            panel.say(self._leftOver() if step > 0 else _("No unfinished task lies before this one."))
        else:
            panel.say(_("This is the end of the list.") if step > 0 else _("This is the beginning of the list."))

    def ahead(self) -> Task | None:
        """Return the task that will probably be opened next."""
        return self._neighbor(self._panel.task.task, 1, unfinished=True)

    def _neighbor(self, current: Task | None, step: int, unfinished: bool) -> Task | None:
        panel, context = self._panel, self._panel.context
        rows = panel.list.matching() if unfinished else panel.list.rows
        return context.index.neighbor(rows, current, step, context.reader, context.level, unfinished)

    def _leftOver(self) -> str:
        context = self._panel.context
        left = context.index.left_over(context.reader, context.level, self._panel.task.task, context.only)
        return leftOverText(left, self._panel.only.text())

    def addOrgan(self) -> None:
        """Ask for an organ that no model predicted in the selected case, add it to the list and open it."""
        task, worklist = self._panel.list.selected(), self._panel.context.worklist
        if task is None or worklist is None:
            return
        from AtlasSegmentLib.labels import load_table

        known = self._panel.context.index.organs_of(task.case)
        organs = [organ for organ in load_table("abdomenatlas").names() if organ not in known]
        text = _("Organ to add to {case}:").format(case=displayable(task.case))
        accepted = qt.BoolResult()  # a dialog that is cancelled returns the first organ too
        organ = qt.QInputDialog.getItem(slicer.util.mainWindow(), _("Add organ"), text, organs, 0, True, accepted)
        if accepted and organ:
            self.addNamedOrgan(task.case, str(organ))

    def addNamedOrgan(self, case: str, organ: str) -> None:
        """Add an organ to a case and open it. Raises AtlasError when it is no name of an organ."""
        worklist = self._panel.context.worklist
        if worklist is None:
            return
        from AtlasReviewLib.organ_names import known_organ
        from AtlasSegmentLib.case_folder import CaseFolder

        name = known_organ(CaseFolder(self._panel.context.folder / case), organ)
        self.open(worklist.add(case, name, self._panel.context.reader))
