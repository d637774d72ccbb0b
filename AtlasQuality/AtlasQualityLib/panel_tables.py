"""Tables of the panel: sortable numbers, one selected row, and a key for each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qt


class Figure(str):
    """A number that is shown with more than itself, such as "0.87 ± 0.05": always of one form, so that its text sorts as it does."""

    __slots__ = ()


Cell = str | float | None
_KEY = qt.Qt.UserRole
_NAME_WIDTH = 96


class SortableTable:
    """A QTableWidget whose rows keep a key while the user sorts them.

    Args:
        table: The widget.
        columns: (title, tool tip) of each column.
        onSelected: Called with the key of a row that the user chooses.
        stretched: Number of the column that takes the room that is left.
    """

    def __init__(
        self, table: Any, columns: Sequence[tuple[str, str]], onSelected: Callable[[str], None] | None = None, stretched: int = 0
    ) -> None:
        self._table, self._columns, self._onSelected, self._silent = table, columns, onSelected, False
        table.setColumnCount(len(columns))
        for number, (title, tip) in enumerate(columns):
            item = qt.QTableWidgetItem(title)
            item.setToolTip(tip)
            table.setHorizontalHeaderItem(number, item)
        self._stretched = stretched
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setMinimumSectionSize(24)
        table.connect("itemSelectionChanged()", self._onSelectionChanged)

    def fill(self, rows: Sequence[tuple[str, Sequence[Cell]]], tips: Mapping[str, str] | None = None) -> None:
        """Show rows (key, cells) in the given order; a number is sorted by its value, None is an empty cell.

        Args:
            rows: The rows.
            tips: Key to a tool tip for the first cell, in place of its text.
        """
        self._silent = True
        self._table.setSortingEnabled(False)
        self._table.setRowCount(len(rows))
        for number, (key, cells) in enumerate(rows):
            for column, cell in enumerate(cells):
                item = _item(cell)
                if column == 0:
                    item.setData(_KEY, key)
                    item.setToolTip((tips or {}).get(key) or item.text())
                self._table.setItem(number, column, item)
        self._table.horizontalHeader().setSortIndicator(-1, qt.Qt.AscendingOrder)
        self._table.setSortingEnabled(True)
        self._table.clearSelection()
        self._fit()
        self._silent = False

    def _fit(self) -> None:
        """Give the stretched column the room that is left; where that is too little, a fixed width and a scroll bar."""
        header = self._table.horizontalHeader()
        shown = [number for number in range(len(self._columns)) if not self._table.isColumnHidden(number) and number != self._stretched]
        self._table.resizeColumnsToContents()
        others = sum(self._table.columnWidth(number) for number in shown)
        if others + _NAME_WIDTH <= self._table.viewport().width:
            header.setSectionResizeMode(self._stretched, qt.QHeaderView.Stretch)
        else:
            header.setSectionResizeMode(self._stretched, qt.QHeaderView.Interactive)
            self._table.setColumnWidth(self._stretched, _NAME_WIDTH)

    def setCell(self, key: str, column: int, cell: Cell, tip: str = "") -> None:
        """Change one cell of the row with this key, and its tool tip; the rows stay where they are."""
        row = self._rowOf(key)
        if row >= 0:
            self._table.setSortingEnabled(False)
            item = _item(cell)
            if tip:
                item.setToolTip(tip)
            self._table.setItem(row, column, item)

    def showColumn(self, column: int, shown: bool) -> None:
        """Show or hide a column."""
        self._table.setColumnHidden(column, not shown)
        self._fit()

    def select(self, key: str) -> None:
        """Select the row with this key (none when there is none) without a call of `onSelected`."""
        row = self._rowOf(key)
        if row == (self._table.currentRow() if self._table.selectedItems() else -1):
            return
        self._silent = True
        if row < 0:
            self._table.clearSelection()
        else:
            self._table.selectRow(row)
        self._silent = False

    def selectedKey(self) -> str:
        """Return the key of the selected row, "" without one."""
        items = self._table.selectedItems()
        return str(self._table.item(items[0].row(), 0).data(_KEY)) if items else ""

    def keys(self) -> list[str]:
        """Return the keys in the order that is shown."""
        return [str(self._table.item(row, 0).data(_KEY)) for row in range(self._table.rowCount)]

    def sortable(self) -> None:
        """Let the user sort again after `setCell`."""
        self._table.setSortingEnabled(True)

    def _rowOf(self, key: str) -> int:
        keys = self.keys()
        return keys.index(key) if key in keys else -1

    def _onSelectionChanged(self) -> None:
        key = self.selectedKey()
        if not self._silent and self._onSelected is not None and key:
            self._onSelected(key)


def _item(cell: Cell) -> Any:
    item = qt.QTableWidgetItem()
    if isinstance(cell, str):
        item.setText(cell)
        item.setToolTip(cell)
        if isinstance(cell, Figure):
            item.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
    elif cell is not None:
        item.setData(qt.Qt.DisplayRole, cell)
        item.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
    return item


def rounded(value: float | None, digits: int) -> float | None:
    """Return a number as a table shows it, None for None."""
    return None if value is None else round(float(value), digits)
