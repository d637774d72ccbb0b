"""Going from task to task: take the next one, step through the list, add an organ, say gracefully when nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from AtlasReviewLib import worklist_view
from AtlasReviewLib.panel_texts import leftOverText
from AtlasReviewLib.worklist_rows import Task
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
        """Open a task; the one that is being edited stays as it is. A comment stays with the task for which it was written."""
        panel = self._panel
        panel.say("")
        current = panel.task.task
        if panel.task.editable and panel.task.opening is None and current is not None and current.id == task.id:
            if then is not None:
                then()
            return
        other = current is None or current.id != task.id
        if panel.task.open(task, takeOver, then) and other:
            panel.ui.commentEdit.setText("")

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
        task = worklist.take_next(panel.context.reader, current)
        if task is None:
            panel.task.close()
            panel.ui.commentEdit.setText("")
            panel.say(self._leftOver())
        else:
            self.open(task)

    def step(self, step: int, unfinished: bool = False) -> None:
        """Open the task after (1) or before (-1) this one in the list, or the nearest one with work for this reader."""
        panel = self._panel
        tasks = panel.list.matching() if unfinished else panel.list.rows
        current = panel.task.task
        found = worklist_view.neighbor(tasks, current, step, panel.context.reader, unfinished)
        if found is None and unfinished and current is not None:  # once around
            found = worklist_view.neighbor(tasks, None, step, panel.context.reader, unfinished)
            found = None if found is not None and found.id == current.id else found
        if found is not None:
            self.open(found)
        else:
            panel.say(self._leftOver() if unfinished else _("This is the end of the list."))

    def ahead(self) -> Task | None:
        """Return the task that will probably be opened next."""
        panel = self._panel
        return worklist_view.neighbor(panel.list.matching(), panel.task.task, 1, panel.context.reader, unfinished=True)

    def _leftOver(self) -> str:
        worklist, current = self._panel.context.worklist, self._panel.task.task
        if worklist is None:
            return ""
        others = [task for task in worklist.tasks() if current is None or task.id != current.id]
        return leftOverText(worklist_view.left_over(others, self._panel.context.reader))

    def addOrgan(self) -> None:
        """Ask for an organ that no model predicted in the selected case, add it to the list and open it."""
        task, worklist = self._panel.list.selected(), self._panel.context.worklist
        if task is None or worklist is None:
            return
        from AtlasSegmentLib.labels import load_table

        known = {other.organ for other in worklist.tasks() if other.case == task.case}
        organs = [organ for organ in load_table("abdomenatlas").names() if organ not in known]
        text = _("Organ to add to {case}:").format(case=displayable(task.case))
        organ = qt.QInputDialog.getItem(slicer.util.mainWindow(), _("Add organ"), text, organs, 0, True)
        if organ:
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
