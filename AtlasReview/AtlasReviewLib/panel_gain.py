"""What the reader is given first, as a visible choice, and when it is enough: the expected error in what nobody has decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from AtlasReviewLib.gain_order import FEWEST_TASKS, ReaderSpeed, by_gain, gains_of, reader_speed
from AtlasReviewLib.panel_context import ReviewContext
from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.remaining_error import RemainingError, remaining_of
from AtlasReviewLib.task_states import CHECKED, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_index import Rows, WorklistIndex
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib.panel_errors import guarded

LISTED, GAIN = "list", "gain"
_ORDER_KEY, _BOUND_KEY = "AtlasReview/order", "AtlasReview/stopBoundMl"
_MOST = 100
"""Tasks that are asked for at once before the list's own order is taken: others may have them by now."""


class GainPanel:
    """The choice of the order, and the stop rule.

    Args:
        ui: The widgets of the panel.
        context: The open dataset; its `order` is set here.
        onOrder: Called when the reader chose another order.
    """

    def __init__(self, ui: Any, context: ReviewContext, onOrder: Callable[[], None]) -> None:
        self.ui, self._context, self._onOrder = ui, context, onOrder
        self._index: WorklistIndex | None = None
        self._reader = ""
        self._gain = self._error = self._minutes = np.zeros(0)
        self._speed = ReaderSpeed()
        self._told: Any = None
        ui.orderCombo.clear()
        ui.orderCombo.addItem(_("Order of the list"), LISTED)
        ui.orderCombo.addItem(_("Expected gain per minute"), GAIN)
        settings = slicer.app.userSettings()
        ui.orderCombo.setCurrentIndex(1 if settings.value(_ORDER_KEY) == GAIN else 0)
        ui.stopBoundSpin.setValue(_number(settings.value(_BOUND_KEY)))
        self._links = Links(
            (ui.orderCombo, "currentIndexChanged(int)", guarded(self._orderChosen)),
            (ui.stopBoundSpin, "valueChanged(double)", guarded(self._boundChosen)),
        )
        context.order = self.ordered
        self.update()

    @property
    def chosen(self) -> str:
        """LISTED or GAIN."""
        return str(self.ui.orderCombo.itemData(self.ui.orderCombo.currentIndex))

    @property
    def bound(self) -> float | None:
        """Expected error in ml that may stay, or None."""
        value = float(self.ui.stopBoundSpin.value)
        return value if value > 0 else None

    def ordered(self, index: WorklistIndex, rows: Rows) -> Rows:
        """Return rows of the list in the chosen order."""
        if self.chosen != GAIN:
            return rows
        self._measure(index)
        return by_gain(self._gain, rows)

    def _measure(self, index: WorklistIndex, again: bool = False) -> None:
        """Look at numbers and speed anew when there is another list or reader."""
        if not again and index is self._index and self._reader == self._context.reader and len(self._gain) == len(index):
            return
        tasks = index.tasks
        self._index, self._reader = index, self._context.reader
        self._speed = reader_speed(tasks, self._reader)
        self._error, self._minutes = index.expected_error_mm3, index.minutes
        self._gain = gains_of(self._error, self._minutes, index.of_organs(self._speed.organs, 1.0), self._speed)
        self._told = None

    def takeNext(self, worklist: Worklist, current: Task | None) -> Task | None:
        """Take the next task for the reader in the chosen order; who may have which task is the worklist's to say. Raises AtlasError."""
        context = self._context
        if self.chosen == GAIN:
            self._measure(context.index, again=True)
            taken = worklist.take_first(self._candidates(current), context.reader, context.only.level)
            if taken is not None:
                return taken
        return worklist.take_next(context.reader, current, context.only)

    def _candidates(self, current: Task | None) -> list[Task]:
        """Return waiting tasks in the order in which to ask for them: handed ones, those to decide on others' work, then by gain."""
        context, index = self._context, self._context.index
        waiting = index.find(WAITING, only=context.only)
        known = waiting[~np.isnan(self._gain[waiting])]
        rows = [*waiting[[index.tasks[int(row)].stage in CHECKED for row in waiting]][:_MOST], *by_gain(self._gain, known)]
        handed = [row for row in waiting if index.tasks[int(row)].assignee == context.reader]
        free = [index.tasks[int(row)] for row in dict.fromkeys((*handed, *rows))]
        wanted = [task for task in free if task.assignee in ("", context.reader) and (current is None or task.id != current.id)]
        return wanted[: 2 * _MOST]

    def remaining(self) -> RemainingError | None:
        """Return what is left to expect in the open dataset."""
        index = self._context.index
        if self._context.worklist is None or not len(index):
            return None
        self._measure(index)
        return remaining_of(self._error, self._minutes, index.unfinished, self.bound, lambda row: index.tasks[row].organ)

    def update(self) -> None:
        """Say how much error is left to expect, and whose speed the order is from; looks only when something was decided."""
        context = self._context
        seen = (id(context.index), tuple(context.index.counts().items()), self.bound, self.chosen, context.reader, context.worklist is None)
        if seen == self._told:
            return
        found = self.remaining()
        self._told = seen
        self.ui.stopLabel.setText("" if found is None else found.told())
        for widget in (self.ui.stopLabel, self.ui.stopFrame):
            widget.setVisible(found is not None and found.all_ml > 0)
        self.ui.orderNoteLabel.setText(self._note())
        self.ui.orderNoteLabel.setVisible(self.chosen == GAIN and found is not None)

    def _note(self) -> str:
        if self._speed.measured:
            return str(_("By your own speed, measured on {count} tasks.").format(count=self._speed.tasks))
        text = _("By an assumed speed: your own counts from {needed} decided tasks on; there are {count}.")
        return str(text.format(needed=FEWEST_TASKS, count=self._speed.tasks))

    def _orderChosen(self) -> None:
        slicer.app.userSettings().setValue(_ORDER_KEY, self.chosen)
        self._measure(self._context.index, again=True)
        self._onOrder()
        self.update()

    def _boundChosen(self) -> None:
        slicer.app.userSettings().setValue(_BOUND_KEY, float(self.ui.stopBoundSpin.value))
        self.update()

    def cleanup(self) -> None:
        """Let go of everything."""
        self._links.cut()
        self._context.order = None


def _number(value: Any) -> float:
    """Return a stored number; 0 for anything else that settings may hold."""
    try:
        return max(float(value), 0.0)
    except (TypeError, ValueError):
        return 0.0
