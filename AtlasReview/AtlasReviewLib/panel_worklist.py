"""The table of tasks: filtered, sorted, searched, scrolled; of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import qt
from slicer.i18n import tr as _

from AtlasReviewLib import worklist_view
from AtlasReviewLib.panel_context import ReviewContext
from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.panel_rows import LazyRows, RowText
from AtlasReviewLib.panel_texts import countsText, stateText, taskDetails, taskState
from AtlasReviewLib.worklist_index import Rows, WorklistIndex
from AtlasReviewLib.worklist_rows import Task
from AtlasReviewLib.worklist_view import COLUMNS, FILTERS
from AtlasSegmentLib.panel_errors import displayable, guarded

_WIDTHS = (44, 100, 90, 92, 80, 42)
_STRETCHED, _LEVEL = 1, 5


class WorklistPanel:
    """The section with the table.

    Args:
        ui: The widgets of the panel.
        context: Holds the tasks.
        onOpen: Called with a task that shall be opened.
    """

    def __init__(self, ui: Any, context: ReviewContext, onOpen: Callable[[Task], None]) -> None:
        self.ui, self._context, self._onOpen = ui, context, onOpen
        self._rows: Rows = np.zeros(0, np.intp)
        self._column, self._descending = "rank", False
        self._current: Task | None = None
        self._prepare()
        self._lazy = LazyRows(ui.taskTable, self._textOf)
        self._links = Links(
            (ui.searchEdit, "textChanged(QString)", self._onAsked),
            (ui.stateCombo, "currentIndexChanged(int)", self._onAsked),
            (ui.taskTable, "cellDoubleClicked(int,int)", guarded(self.openSelected)),
            (ui.openTaskButton, "clicked(bool)", guarded(self.openSelected)),
            (ui.taskTable, "itemSelectionChanged()", self._selected),
            (ui.taskTable.horizontalHeader(), "sectionClicked(int)", self._sortBy),
        )
        self._tips = {button: button.toolTip for button in (ui.openTaskButton, ui.addOrganButton)}
        self._find()

    def _prepare(self) -> None:
        table = self.ui.taskTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels([_("#"), _("Case"), _("Organ"), _("State"), _("Reader"), _("Level")])
        table.verticalHeader().setVisible(False)
        header = table.horizontalHeader()
        for column, width in enumerate(_WIDTHS):
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch if column == _STRETCHED else qt.QHeaderView.Interactive)
            table.setColumnWidth(column, width)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(0, qt.Qt.AscendingOrder)
        self.ui.stateCombo.clear()
        for name in FILTERS:
            self.ui.stateCombo.addItem(stateText(name), name)

    @property
    def stateFilter(self) -> str:
        """The chosen filter, one of worklist_view.FILTERS."""
        return str(self.ui.stateCombo.itemData(self.ui.stateCombo.currentIndex) or worklist_view.UNFINISHED)

    def setStateFilter(self, name: str) -> None:
        """Choose a filter; an unknown one changes nothing."""
        if name in FILTERS:
            self.ui.stateCombo.setCurrentIndex(FILTERS.index(name))

    @property
    def index(self) -> WorklistIndex:
        """All tasks."""
        return self._context.index

    def setIndex(self, index: WorklistIndex) -> None:
        """Show other tasks, or the same ones read again."""
        top, selected = self._taskAt(self._lazy.top), self.selected()
        self._context.index = index
        self._rows = self._rows[:0]  # they were positions in the other list
        self._find(top, selected)

    def change(self, changed: Iterable[Task]) -> bool:
        """Show some tasks as they are now. Returns False when the list has to be read again."""
        top, selected = self._taskAt(self._lazy.top), self.selected()
        known = self.index.update(changed)
        self._find(top, selected)
        return known

    def setCurrent(self, task: Task | None) -> None:
        """Mark the open task; the table goes where it is when it is another one than before."""
        before, self._current = self._current, task
        other = task is not None and (before is None or before.id != task.id)
        if other and self.index.place(task) in self._rows:
            self._select(task)
        self._lazy.refresh()

    @property
    def rows(self) -> Rows:
        """The tasks in the table, in its order: positions in `index`."""
        return self._rows

    def matching(self) -> Rows:
        """Return all tasks that match the search, in the order of the table, whatever their state."""
        text, only = self.ui.searchEdit.text, self._context.only
        return self._ordered(self.index.find(worklist_view.ALL, text, self._column, self._descending, only))

    def reorder(self) -> None:
        """Show the tasks in another order that the reader chose."""
        self._onAsked()

    def _ordered(self, rows: Rows) -> Rows:
        order = self._context.order
        if order is None or self._column != "rank":
            return rows
        return order(self.index, rows[::-1])[::-1] if self._descending else order(self.index, rows)

    def selected(self) -> Task | None:
        """Return the selected task."""
        return self._taskAt(int(self.ui.taskTable.currentRow()))

    def openSelected(self) -> None:
        """Open the selected task."""
        task = self.selected()
        if task is not None:
            self._onOpen(task)

    def cleanup(self) -> None:
        """Let go of the widgets."""
        self._lazy.cleanup()
        self._links.cut()

    def _taskAt(self, row: int) -> Task | None:
        return self.index.tasks[int(self._rows[row])] if 0 <= row < len(self._rows) else None

    def _sortBy(self, column: int) -> None:
        name = COLUMNS[column]
        self._descending = not self._descending if name == self._column else False
        self._column = name
        order = qt.Qt.DescendingOrder if self._descending else qt.Qt.AscendingOrder
        self.ui.taskTable.horizontalHeader().setSortIndicator(column, order)
        self._onAsked()

    def _onAsked(self, *_arguments: Any) -> None:
        """The reader chose another filter or order: show where the selected task is now, else the start."""
        selected = self.selected()
        self._find(None, selected if selected is not None else self._current)

    def _find(self, top: Task | None = None, selected: Task | None = None) -> None:
        """Show the tasks that match now.

        Args:
            top: The task at the upper edge, which stays there; None brings the selected one into sight.
            selected: The task to select.
        """
        rows = self._ordered(self.index.find(self.stateFilter, self.ui.searchEdit.text, self._column, self._descending))
        if len(rows) == len(self._rows) > 0 and bool((rows == self._rows).all()):
            self._lazy.refresh()  # neither scrolled nor selected anew
        else:
            self._rows = rows
            self.ui.taskTable.blockSignals(True)
            self._lazy.setCount(len(rows))
            self._select(selected, scroll=top is None)
            self.ui.taskTable.blockSignals(False)
            self._keepTop(top)
        self.ui.taskTable.setColumnHidden(_LEVEL, self.index.most_level <= 1 and not self._context.rules.policy.verify)
        counted = countsText(self.index.counts(), len(rows))
        self.ui.countsLabel.setText(counted or _("No dataset is open."))
        self._selected()

    def _keepTop(self, top: Task | None) -> None:
        if top is None:
            return
        place = self.index.place(top)
        found = np.flatnonzero(self._rows == place)
        if len(found):
            self._lazy.scrollTo(int(found[0]))

    def _select(self, task: Task | None, scroll: bool = True) -> None:
        table, place = self.ui.taskTable, self.index.place(task)
        found = np.flatnonzero(self._rows == place) if place >= 0 else self._rows[:0]
        table.setAutoScroll(scroll)  # else selecting a row brings it into sight
        if len(found):
            table.setCurrentCell(int(found[0]), 0)
        else:
            table.clearSelection()
            table.setCurrentCell(-1, -1)
        table.setAutoScroll(True)

    def _textOf(self, row: int) -> RowText:
        task = self.index.tasks[int(self._rows[row])]
        rank = "" if task.rank is None else str(task.rank)
        texts = (rank, task.case, task.organ, taskState(task), task.reader, str(task.level))
        is_current = self._current is not None and self._current.id == task.id
        return RowText([displayable(text) for text in texts], displayable(taskDetails(task)), is_current)

    def _selected(self) -> None:
        chosen = self.selected() is not None
        for button, tip in self._tips.items():
            button.setEnabled(chosen)
            button.setToolTip(tip if chosen else _("Select a task in the list first."))
