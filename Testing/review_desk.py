"""A reader at the review panel of the stand-in: opens datasets and tasks, draws, looks at the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Desk:
    """A reader at the panel.

    Args:
        widget: The panel's Python object.
        wait_until: Runs the event loop until something holds.
    """

    def __init__(self, widget: Any, wait_until: Callable[..., None]) -> None:
        self.widget, self.panel, self.ui, self.wait = widget, widget.panel, widget.ui, wait_until

    def open(self, folder: Path, reader: str = "Ada") -> None:
        """Open a dataset folder and wait until it was read."""
        self.ui.folderPath.setCurrentPath(str(folder))
        self.ui.readerEdit.setText(reader)
        self.ui.openButton.click()
        self.wait(lambda: not self.panel.dataset.opening)

    def ready(self) -> None:
        """Wait until the task is shown."""
        self.wait(lambda: self.panel.task.opening is None)

    def click(self, button: Any) -> None:
        """Press a button and wait until what it opens is shown."""
        assert button.enabled, button.toolTip
        button.click()
        self.ready()

    def take_next(self) -> None:
        """Press Take next."""
        self.click(self.ui.takeNextButton)

    def go_to(self, case: str, organ: str) -> None:
        """Double-click the row of a task."""
        row = next(number for number, row in enumerate(self.rows) if row[1:3] == (case, organ))
        self.ui.taskTable.setCurrentCell(row, 0)
        self.ui.taskTable.cellDoubleClicked.emit(row, 0)
        self.ready()

    def stroke(self, effect: str = "Paint", center: tuple[float, float, float] | None = None, radius: float = 8.0) -> None:
        """Make one stroke with a brush of the Segment Editor, at the first hot spot unless told otherwise."""
        from slicer_standin.segment_editor_effects import stroke

        editor = self.ui.segmentEditor
        editor.setActiveEffectByName(effect)
        stroke(editor.activeEffect(), center or self.panel.task.session.loaded.hot_spots[0].center, radius)

    def mask(self) -> Any:
        """Return the mask in the editor, dense."""
        return self.panel.task.mask().dense()

    def voxels(self) -> int:
        """Return the size of the mask in the editor."""
        return int(np.count_nonzero(self.mask()))

    def show(self, states: str) -> None:
        """Choose a filter of the table."""
        self.panel.list.setStateFilter(states)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The texts of the table; of a long one that is not filled yet, `rows_until` returns the first."""
        return self.rows_until(self.ui.taskTable.rowCount)

    def rows_until(self, count: int) -> list[tuple[str, ...]]:
        """Return the texts of the first rows of the table."""
        table = self.ui.taskTable
        return [tuple(table.item(row, column).text() for column in range(5)) for row in range(min(count, table.rowCount))]

    @property
    def name(self) -> str:
        """Case, organ and state of the open task, or ""."""
        task = self.panel.task.task
        return "" if task is None else f"{task.case} {task.organ} {task.state}"

    @property
    def status(self) -> str:
        """The line below the buttons."""
        return str(self.ui.statusLabel.text)

    @property
    def notice(self) -> str:
        """What the panel says about the open task; "" while it says nothing."""
        said = [(self.ui.lookingFrame, self.ui.lookingLabel), (self.ui.noticeLabel, self.ui.noticeLabel)]
        return "\n".join(str(label.text) for frame, label in said if not frame.isHidden())
