"""The table of tasks: filled, filtered, sorted, searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from AtlasReviewLib import worklist_view
from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.panel_texts import countsText, stateText, taskDetails
from AtlasReviewLib.worklist_rows import Task
from AtlasReviewLib.worklist_view import COLUMNS, FILTERS, Shown, shown_tasks
from AtlasSegmentLib.panel_errors import displayable, guarded

_WIDTHS = (32, 100, 94, 72, 84)
_STRETCHED = 1
_ROW_HEIGHT = 20


class WorklistPanel:
    """The section with the table.

    Args:
        ui: The widgets of the panel.
        onOpen: Called with a task that shall be opened.
    """

    def __init__(self, ui: Any, onOpen: Callable[[Task], None]) -> None:
        self.ui, self._onOpen = ui, onOpen
        self._tasks: list[Task] = []
        self._shown = Shown(())
        self._column, self._descending = "rank", False
        self._current: Task | None = None
        self._prepare()
        self._links = Links(
            (ui.searchEdit, "textChanged(QString)", self._refill),
            (ui.stateCombo, "currentIndexChanged(int)", self._refill),
            (ui.taskTable, "cellDoubleClicked(int,int)", guarded(self.openSelected)),
            (ui.openTaskButton, "clicked(bool)", guarded(self.openSelected)),
            (ui.taskTable, "itemSelectionChanged()", self._selected),
            (ui.taskTable.horizontalHeader(), "sectionClicked(int)", self._sortBy),
        )
        self._selected()

    def _prepare(self) -> None:
        table = self.ui.taskTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels([_("#"), _("Case"), _("Organ"), _("State"), _("Reader")])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
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

    def setTasks(self, tasks: Sequence[Task]) -> None:
        """Show other tasks, or the same ones as they are now."""
        self._tasks = list(tasks)
        self._refill()

    def setCurrent(self, task: Task | None) -> None:
        """Mark the open task."""
        self._current = task
        self._refill()

    @property
    def rows(self) -> Sequence[Task]:
        """The tasks in the table, in its order."""
        return self._shown.tasks

    def matching(self) -> Sequence[Task]:
        """Return all tasks that match the search, in the order of the table, whatever their state."""
        tasks = shown_tasks(self._tasks, worklist_view.ALL, self.ui.searchEdit.text, self._column, self._descending, len(self._tasks))
        return tasks.tasks

    def selected(self) -> Task | None:
        """Return the selected task."""
        row = self.ui.taskTable.currentRow()
        return self._shown.tasks[row] if 0 <= row < len(self._shown.tasks) else None

    def openSelected(self) -> None:
        """Open the selected task."""
        task = self.selected()
        if task is not None:
            self._onOpen(task)

    def cleanup(self) -> None:
        """Let go of the widgets."""
        self._links.cut()

    def _sortBy(self, column: int) -> None:
        name = COLUMNS[column]
        self._descending = not self._descending if name == self._column else False
        self._column = name
        order = qt.Qt.DescendingOrder if self._descending else qt.Qt.AscendingOrder
        self.ui.taskTable.horizontalHeader().setSortIndicator(column, order)
        self._refill()

    def _refill(self, *_arguments: Any) -> None:
        selected = self.selected()
        self._shown = shown_tasks(self._tasks, self.stateFilter, self.ui.searchEdit.text, self._column, self._descending)
        table = self.ui.taskTable
        table.blockSignals(True)
        table.setRowCount(len(self._shown.tasks))
        for row, task in enumerate(self._shown.tasks):
            self._fillRow(row, task)
        wanted = selected if selected is not None else self._current
        found = next((row for row, task in enumerate(self._shown.tasks) if wanted is not None and task.id == wanted.id), -1)
        if found >= 0:
            table.setCurrentCell(found, 0)
        else:
            table.clearSelection()
            table.setCurrentCell(-1, -1)
        table.blockSignals(False)
        counts = countsText(worklist_view.counts(self._tasks), self._shown.hidden)
        self.ui.countsLabel.setText(counts or _("No dataset is open."))
        self._selected()

    def _fillRow(self, row: int, task: Task) -> None:
        rank = "" if task.rank is None else str(task.rank)
        texts = (rank, task.case, task.organ, stateText(task.state), task.reader)
        is_current = self._current is not None and self._current.id == task.id
        tip = displayable(taskDetails(task))
        for column, text in enumerate(texts):
            item = self.ui.taskTable.item(row, column)
            if item is None:
                item = qt.QTableWidgetItem()
                self.ui.taskTable.setItem(row, column, item)
            item.setText(displayable(text))
            item.setToolTip(tip)
            font = item.font()
            font.setBold(is_current)
            item.setFont(font)

    def _selected(self) -> None:
        chosen = self.selected() is not None
        self.ui.openTaskButton.setEnabled(chosen)
        self.ui.addOrganButton.setEnabled(chosen)
