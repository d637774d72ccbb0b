"""A table of any length: only the rows that can be seen are filled with text, when they come into sight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import qt

from AtlasReviewLib.panel_links import Links

ROW_HEIGHT = 20
_BEYOND = 12


@dataclass(frozen=True)
class RowText:
    """What a row shows.

    Attributes:
        cells: Text of each column.
        tip: Tool tip of the row.
        bold: Whether it stands out.
    """

    cells: Sequence[str]
    tip: str = ""
    bold: bool = False


class LazyRows:
    """Fills a QTableWidget.

    Args:
        table: Its rows are all as high as ROW_HEIGHT.
        textOf: Returns what a row shows.
    """

    def __init__(self, table: Any, textOf: Callable[[int], RowText]) -> None:
        self._table, self._textOf = table, textOf
        self._shown: dict[int, RowText] = {}
        self._count = 0
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        bar = table.verticalScrollBar()  # a table that grows lets its bar scroll less far
        self._links = Links((bar, "valueChanged(int)", self._onMoved), (bar, "rangeChanged(int,int)", self._onMoved))

    @property
    def top(self) -> int:
        """The first row in sight; 0 in an empty table."""
        return max(0, int(self._table.rowAt(0)))

    def setCount(self, count: int) -> None:
        """Have so many rows, all of them new."""
        self._shown.clear()
        self._count = count  # first: the table scrolls while it gets shorter, and asks for rows that are gone
        self._table.setRowCount(count)
        self.refresh()

    def refresh(self) -> None:
        """Show the rows in sight as they are now."""
        top = self.top
        in_sight = int(self._table.viewport().height) // ROW_HEIGHT + 1
        for row in range(max(0, top - _BEYOND), min(self._count, top + in_sight + _BEYOND)):
            self._fill(row, self._textOf(row))

    def scrollTo(self, row: int) -> None:
        """Bring a row to the upper edge, as far as the table is long enough."""
        self._table.scrollTo(self._table.model().index(row, 0), qt.QAbstractItemView.PositionAtTop)

    def cleanup(self) -> None:
        """Let go of the table."""
        self._links.cut()

    def _onMoved(self, *_arguments: Any) -> None:
        self.refresh()

    def _fill(self, row: int, text: RowText) -> None:
        if self._shown.get(row) == text:
            return
        self._shown[row] = text
        for column, cell in enumerate(text.cells):
            item = self._table.item(row, column)
            if item is None:
                item = qt.QTableWidgetItem()
                self._table.setItem(row, column, item)
            item.setText(cell)
            item.setToolTip(text.tip)
            font = item.font()
            if bool(font.bold()) != text.bold:
                font.setBold(text.bold)
                item.setFont(font)
