"""A strip under a slice view: shows numbers and scores of its slices, follows the view, and leads it there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasQualityLib import panel_strip_picture as picture
from AtlasQualityLib.slice_scores import ScoredSlice, SliceProfile, band_at
from AtlasSegmentLib.scene import matrix_of

VIEWS = {"Red": (243, 74, 51), "Yellow": (237, 213, 76), "Green": (110, 176, 75)}
"""Slice views that get a strip, with Slicer's colors of them."""


class _Mouse(qt.QObject):  # type: ignore[misc]  # Qt has no types here
    """Tells where a strip is pressed, dragged or asked about, and when its size changes; events go on to where they were going."""

    def __init__(self, strip: SliceStrip) -> None:
        qt.QObject.__init__(self)
        self._strip = strip

    def eventFilter(self, _receiver: Any, event: Any) -> bool:
        kind = event.type()
        if kind == qt.QEvent.Resize:
            self._strip.repaint()
        elif kind == qt.QEvent.ToolTip:
            self._strip.tell(int(event.pos().x()))
        elif self._leads(kind, event):
            place = event.position() if hasattr(event, "position") else event.pos()  # Qt 6 and Qt 5
            self._strip.go(int(place.x()))
        return False

    @staticmethod
    def _leads(kind: Any, event: Any) -> bool:
        if kind == qt.QEvent.MouseButtonPress:
            return bool(event.button() == qt.Qt.LeftButton)
        return bool(kind == qt.QEvent.MouseMove and event.buttons() & qt.Qt.LeftButton)


class SliceStrip:
    """The strip of one slice view.

    Args:
        view: Name of the view, such as "Red".
        label: QLabel with the picture.
        text: QLabel with what the slice of the view holds.
        caption: Returns that text for a strip and the position of its view, mm.
    """

    def __init__(self, view: str, label: Any, text: Any, caption: Callable[[SliceStrip, float], str]) -> None:
        self.view, self.label, self._text, self._caption = view, label, text, caption
        self.profile: SliceProfile | None = None
        self.marks = picture.Marks()
        self._base: Any = None
        self._tip = str(label.toolTip)
        self._mouse = _Mouse(self)
        label.installEventFilter(self._mouse)

    @property
    def node(self) -> Any:
        """The slice node, or None."""
        return slicer.mrmlScene.GetSingletonNode(self.view, "vtkMRMLSliceNode")

    def normal(self) -> tuple[float, float, float]:
        """Return the direction across the view's slices, RAS."""
        column = matrix_of(self.node.GetSliceToRAS())[:3, 2]
        return (float(column[0]), float(column[1]), float(column[2]))

    def repaint(self) -> None:
        """Draw all anew, and the place of the view over it."""
        self._base = None if self.profile is None else picture.base_picture(self.profile, max(self.label.width, 1), self.marks)
        self.follow()

    def follow(self) -> None:
        """Draw where the view is."""
        node = self.node
        if self.profile is None or self._base is None or node is None:
            self.label.clear()
            self._text.setText("")
            return
        offset = float(node.GetSliceOffset())
        self.label.setPixmap(picture.with_view(self._base, self.profile, offset, VIEWS[self.view]))
        self._text.setText(self._caption(self, offset))

    def go(self, column: int) -> None:
        """Bring the view to the slice under a pixel column."""
        offset = None if self.profile is None else picture.offset_at(self.profile, column, self.label.width)
        if offset is not None and self.node is not None:
            self.node.SetSliceOffset(offset)

    def tell(self, column: int) -> None:
        """Make the tool tip say what the slice under a pixel column scored."""
        offset = None if self.profile is None else picture.offset_at(self.profile, column, self.label.width)
        found = None if offset is None else band_at(self.marks.bands, offset)
        told = "" if found is None else scoreText(found.slice)
        self.label.toolTip = "\n\n".join(part for part in (told, self._tip) if part)

    def cleanup(self) -> None:
        """Let go of the label."""
        self.label.removeEventFilter(self._mouse)
        self.profile = self._base = None
        self.marks = picture.Marks()


def scoreText(one: ScoredSlice) -> str:
    """Return one line about a slice: its number from the feet, where it lies, and what it scored."""
    side = _("S {mm:.1f} mm") if one.position_mm >= 0 else _("I {mm:.1f} mm")
    place = side.format(mm=abs(one.position_mm))
    text = (
        _("Axial slice {index} ({place}): score {score:.2f}")
        if one.has_mask
        else _("Axial slice {index} ({place}) has no mask; score {score:.2f} for being rightly empty")
    )
    return str(text.format(index=one.index, place=place, score=one.score))
