"""CTK's widget for a range of numbers."""

from __future__ import annotations

from PySide6.QtCore import Property, QRect, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QDoubleSpinBox, QWidget

from .ctk_forward import bare_row
from .qt_loader import register
from .stored_property import stored


class _Bar(QWidget):
    """Draws which part of the whole range is chosen."""

    def paintEvent(self, _event: QPaintEvent) -> None:
        owner = self.parent()
        span = (owner.maximum - owner.minimum) or 1.0
        left, right = (round((value - owner.minimum) / span * self.width) for value in (owner.minimumValue, owner.maximumValue))
        painter = QPainter(self)
        painter.fillRect(QRect(0, self.height // 2 - 2, self.width, 4), self.palette.mid())
        painter.fillRect(QRect(left, self.height // 2 - 2, right - left, 4), self.palette.highlight())


@register
class ctkRangeWidget(QWidget):
    """Two numbers in a range; moving one beyond the other takes the other with it."""

    valuesChanged = Signal(float, float)
    minimumValueChanged, maximumValueChanged = Signal(float), Signal(float)
    rangeChanged = Signal(float, float)

    singleStep, setSingleStep = stored("singleStep", float, 1.0, after="_style_boxes")
    decimals, setDecimals = stored("decimals", int, 2, after="_style_boxes")
    prefix, setPrefix = stored("prefix", str, "", after="_style_boxes")
    suffix, setSuffix = stored("suffix", str, "", after="_style_boxes")
    tracking, setTracking = stored("tracking", bool, True)
    symmetricMoves, setSymmetricMoves = stored("symmetricMoves", bool, False)
    tickInterval, setTickInterval = stored("tickInterval", float, 0.0)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._range = self._values = (0.0, 99.0)
        self._boxes = (QDoubleSpinBox(self), QDoubleSpinBox(self))
        self._bar = _Bar(self)
        bare_row(self, self._boxes[0], self._bar, self._boxes[1])
        self.layout().setStretch(1, 1)
        self._show()
        self._boxes[0].connect("valueChanged(double)", self.setMinimumValue)
        self._boxes[1].connect("valueChanged(double)", self.setMaximumValue)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._range = (min(minimum, maximum), max(minimum, maximum))
        self.setValues(*self._values)
        self._show()
        self.rangeChanged.emit(*self._range)

    def setMinimum(self, minimum: float) -> None:
        self.setRange(minimum, max(minimum, self._range[1]))

    def setMaximum(self, maximum: float) -> None:
        self.setRange(min(maximum, self._range[0]), maximum)

    def setValues(self, low: float, high: float) -> None:
        before = self._values
        self._values = tuple(sorted(min(max(value, self._range[0]), self._range[1]) for value in (low, high)))
        self._show()
        if self._values[0] != before[0]:
            self.minimumValueChanged.emit(self._values[0])
        if self._values[1] != before[1]:
            self.maximumValueChanged.emit(self._values[1])
        if self._values != before:
            self.valuesChanged.emit(*self._values)

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self._values[1]))

    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(value, self._values[0]), value)

    minimum = Property(float, lambda self: self._range[0], setMinimum)
    maximum = Property(float, lambda self: self._range[1], setMaximum)
    minimumValue = Property(float, lambda self: self._values[0], setMinimumValue)
    maximumValue = Property(float, lambda self: self._values[1], setMaximumValue)

    def _show(self) -> None:
        for box, value in zip(self._boxes, self._values, strict=True):
            was = box.blockSignals(True)
            box.setRange(*self._range)
            box.setValue(value)
            box.blockSignals(was)
        self._bar.update()

    def _style_boxes(self, _value: object) -> None:
        for box in self._boxes:
            was = box.blockSignals(True)
            box.singleStep, box.decimals, box.prefix, box.suffix = self.singleStep, self.decimals, self.prefix, self.suffix
            box.blockSignals(was)
        self._show()
