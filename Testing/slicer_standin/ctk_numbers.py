"""CTK's widgets for one number."""

from __future__ import annotations

from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtWidgets import QDoubleSpinBox, QSlider, QWidget

from .ctk_forward import bare_row, forwarded
from .qt_loader import register
from .stored_property import stored

_STEPS = 10000


@register
class ctkDoubleSpinBox(QWidget):
    """A spin box; the signal with text of CTK's is left out."""

    valueChanged = Signal(float)
    decimalsChanged = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QDoubleSpinBox(self)
        bare_row(self, self._box)
        self._box.valueChanged.connect(self.valueChanged.emit)

    value, setValue = forwarded("_box", "value", float)
    minimum, setMinimum = forwarded("_box", "minimum", float)
    maximum, setMaximum = forwarded("_box", "maximum", float)
    singleStep, setSingleStep = forwarded("_box", "singleStep", float)
    decimals, setDecimals = forwarded("_box", "decimals", int)
    prefix, setPrefix = forwarded("_box", "prefix", str)
    suffix, setSuffix = forwarded("_box", "suffix", str)
    readOnly, setReadOnly = forwarded("_box", "readOnly", bool)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._box.setRange(minimum, maximum)

    def spinBox(self) -> QDoubleSpinBox:
        """Return the inner spin box."""
        return self._box


@register
class ctkSliderWidget(QWidget):
    """Slider and spin box of one number."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)
    NoSynchronize, SynchronizeWidth, SynchronizeDecimals = 0, 1, 2

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Horizontal, self), QDoubleSpinBox(self)
        self._slider.setRange(0, _STEPS)
        self._box.setRange(0.0, 99.0)
        bare_row(self, self._slider, self._box)
        self._moving = False
        self._box.valueChanged.connect(self._on_box)
        self._slider.valueChanged.connect(self._on_slider)

    value, setValue = forwarded("_box", "value", float)
    singleStep, setSingleStep = forwarded("_box", "singleStep", float)
    decimals, setDecimals = forwarded("_box", "decimals", int)
    prefix, setPrefix = forwarded("_box", "prefix", str)
    suffix, setSuffix = forwarded("_box", "suffix", str)
    pageStep, setPageStep = stored("pageStep", float, 10.0)
    tickInterval, setTickInterval = stored("tickInterval", float, 0.0)
    tracking, setTracking = stored("tracking", bool, True)
    synchronizeSiblings, setSynchronizeSiblings = stored("synchronizeSiblings", int, 3)
    spinBoxVisible, setSpinBoxVisible = stored("spinBoxVisible", bool, True, after="_show_box")

    def setRange(self, minimum: float, maximum: float) -> None:
        self._box.setRange(minimum, maximum)
        self._place_slider()

    def setMinimum(self, minimum: float) -> None:
        self._box.setMinimum(minimum)
        self._place_slider()

    def setMaximum(self, maximum: float) -> None:
        self._box.setMaximum(maximum)
        self._place_slider()

    minimum = Property(float, lambda self: self._box.minimum, setMinimum)
    maximum = Property(float, lambda self: self._box.maximum, setMaximum)

    def slider(self) -> QSlider:
        """Return the inner slider; its positions are 0 to 10000 whatever the range is."""
        return self._slider

    def spinBox(self) -> QDoubleSpinBox:
        """Return the inner spin box."""
        return self._box

    def _show_box(self, visible: bool) -> None:
        self._box.setVisible(visible)

    def _place_slider(self) -> None:
        span = self._box.maximum - self._box.minimum
        self._moving = True
        self._slider.setValue(round((self._box.value - self._box.minimum) / span * _STEPS) if 0 < span < float("inf") else 0)
        self._moving = False

    def _on_box(self, value: float) -> None:
        self._place_slider()
        self.valueChanged.emit(value)

    def _on_slider(self, position: int) -> None:
        if not self._moving:
            self._box.setValue(self._box.minimum + (self._box.maximum - self._box.minimum) * position / _STEPS)
            self.valueIsChanging.emit(self._box.value)


@register
class ctkDoubleSlider(ctkSliderWidget):
    """A slider of a real number, without a box."""

    sliderMoved = Signal(float)
    sliderPressed, sliderReleased = Signal(), Signal()

    def __init__(self, *arguments: object) -> None:
        super().__init__(next((value for value in arguments if isinstance(value, QWidget)), None))
        self._box.setDecimals(10)
        self._box.hide()
        self.setOrientation(next((value for value in arguments if isinstance(value, Qt.Orientation)), Qt.Vertical))
        self.valueIsChanging.connect(self.sliderMoved.emit)

    orientation, setOrientation = forwarded("_slider", "orientation", int)
