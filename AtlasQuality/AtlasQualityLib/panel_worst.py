"""From the worst slice of an organ to the next worst: button, key, and what is said about the slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from AtlasQualityLib import panel_quality_model
from AtlasQualityLib.panel_strip import scoreText
from AtlasQualityLib.slice_scores import OrganQuality, ScoredSlice
from AtlasSegmentLib.panel_errors import guarded
from AtlasSegmentLib.scene import jump_to

Place = Callable[[ScoredSlice], tuple[float, float, float] | None]


class WorstSlices:
    """Goes through the scored slices of one organ, the worst first.

    Args:
        button: Goes to the next one; disabled while there is none.
        label: QLabel that says where it went.
        place: Returns where the mask lies in a slice, world RAS mm; None when it is gone.
        onGone: Called with the slice that was gone to.
    """

    def __init__(self, button: Any, label: Any, place: Place, onGone: Callable[[ScoredSlice], None]) -> None:
        self._button, self._label, self._place, self._onGone = button, label, place, onGone
        self._tip = str(button.toolTip)
        self._order: tuple[ScoredSlice, ...] = ()
        self._number = -1
        self._slot = guarded(self.next)
        button.connect("clicked(bool)", self._slot)
        self.show(None)

    def show(self, quality: OrganQuality | None) -> None:
        """Begin anew with the slices of an organ; None has none."""
        self._order = () if quality is None else quality.worst_first()
        self._number = -1
        self._label.setText("")
        self._label.setVisible(False)
        self._button.setEnabled(bool(self._order))
        self._button.setToolTip(self._tip if self._order else _("No slice of this organ has been scored."))

    def next(self) -> None:
        """Go to the worst slice, then to the next worst; after the last one comes the worst again."""
        self._go(1)

    def previous(self) -> None:
        """Go back to the slice that is worse."""
        self._go(-1)

    def again(self) -> None:
        """Go to the worst slice of all."""
        self._number = -1
        self._go(1)

    def _go(self, step: int) -> None:
        if not self._order:
            return
        start = self._number if self._number >= 0 or step > 0 else 0
        self._number = (start + step) % len(self._order)
        one = self._order[self._number]
        place = self._place(one)
        if place is not None:
            jump_to(place)
        text = _("Worst {number} of {count}: {slice}").format(number=self._number + 1, count=len(self._order), slice=scoreText(one))
        self._label.setText(text)
        self._label.setVisible(True)
        self._onGone(one)

    def cleanup(self) -> None:
        """Let go of the button."""
        self._button.disconnect("clicked(bool)", self._slot)


class SliceMenu:
    """The context menu of a strip or of a table of organs.

    Args:
        widget: Where it opens.
        worst: What it goes through.
        onColors: Called when the user chose other colors; None leaves them out of the menu.
    """

    def __init__(self, widget: Any, worst: WorstSlices, onColors: Callable[[], None] | None = None) -> None:
        self._widget, self._worst, self._onColors = widget, worst, onColors
        widget.setContextMenuPolicy(qt.Qt.CustomContextMenu)
        widget.connect("customContextMenuRequested(QPoint)", self._open)

    def _open(self, point: Any) -> None:
        menu = qt.QMenu(self._widget)
        calls: dict[str, Callable[[], None]] = {_("Jump to worst slice"): self._worst.again, _("Next worst slice"): self._worst.next}
        for text in calls:
            menu.addAction(text)
        names = panel_quality_model.paletteNames() if self._onColors is not None else {}
        if names:
            menu.addSeparator()
        for key, title in names.items():
            action = menu.addAction(title)
            action.setCheckable(True)
            action.setChecked(key == panel_quality_model.palette())
        chosen = menu.exec_(self._widget.mapToGlobal(point))
        text = "" if chosen is None else str(chosen.text)
        menu.deleteLater()
        if text in calls:
            guarded(calls[text])()
        elif text:
            panel_quality_model.setPalette(next(key for key, title in names.items() if title == text))
            if self._onColors is not None:
                self._onColors()

    def cleanup(self) -> None:
        """Let go of the widget."""
        self._widget.disconnect("customContextMenuRequested(QPoint)", self._open)
