"""CTK's widgets that fold away: ctkCollapsibleButton and ctkCollapsibleGroupBox."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QPaintEvent, QShowEvent
from PySide6.QtWidgets import QAbstractButton, QGroupBox, QSizePolicy, QStyle, QStyleOption, QStyleOptionButton, QStylePainter, QWidget

from .qt_loader import register
from .stored_property import stored

_UNLIMITED = 16777215


class _Fold:
    """Hides the children while collapsed and shows those again that the panel had not hidden itself."""

    def __init__(self, widget: QWidget) -> None:
        self._widget, self._hidden = widget, set()

    def apply(self, collapsed: bool, height: int) -> None:
        children = [child for child in self._widget.children() if isinstance(child, QWidget)]
        if collapsed:
            folded = {child for child in children if not child.isHidden()}
            self._hidden |= folded
            for child in folded:
                child.hide()
            self._widget.setMaximumHeight(height)
            return
        self._widget.setMaximumHeight(_UNLIMITED)
        for child in self._hidden & set(children):
            child.show()
        self._hidden = set()


@register
class ctkCollapsibleButton(QAbstractButton):
    """A titled section that its button opens and closes."""

    contentsCollapsed = Signal(bool)
    flat, setFlat = stored("flat", bool, False)
    contentsFrameShape, setContentsFrameShape = stored("contentsFrameShape", int, 0)
    contentsFrameShadow, setContentsFrameShadow = stored("contentsFrameShadow", int, 0)
    contentsLineWidth, setContentsLineWidth = stored("contentsLineWidth", int, 1)
    contentsMidLineWidth, setContentsMidLineWidth = stored("contentsMidLineWidth", int, 0)
    collapsedHeight, setCollapsedHeight = stored("collapsedHeight", int, 10)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(next((value for value in arguments if isinstance(value, QWidget)), None))
        self.setText(next((value for value in arguments if isinstance(value, str)), ""))
        self._header = self.fontMetrics().height() + 10
        self._fold = _Fold(self)
        self.setContentsMargins(0, self._header, 0, 0)
        self.setSizePolicy(QSizePolicy.Preferred, QSizePolicy.Preferred)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._on_toggled)

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.isChecked(), setCollapsed)

    def _on_toggled(self, opened: bool) -> None:
        self._fold.apply(not opened, self._header)
        self.updateGeometry()
        self.contentsCollapsed.emit(not opened)

    def showEvent(self, event: QShowEvent) -> None:
        if not self.isChecked():  # children may have come since
            self._fold.apply(True, self._header)
        super().showEvent(event)

    def hitButton(self, position: QPoint) -> bool:
        return position.y() <= self._header

    def sizeHint(self) -> QSize:
        layout = self.layout()
        size = layout.totalSizeHint() if layout is not None else QSize(0, 0)
        return size.expandedTo(QSize(120, self._header))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QStylePainter(self)
        frame = QStyleOptionButton()
        frame.initFrom(self)
        frame.rect = QRect(0, 0, self.width, self._header - 4)
        frame.state |= QStyle.State_Raised
        painter.drawControl(QStyle.CE_PushButtonBevel, frame)
        arrow = QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QRect(6, 4, 12, self._header - 12)
        painter.drawPrimitive(QStyle.PE_IndicatorArrowDown if self.isChecked() else QStyle.PE_IndicatorArrowRight, arrow)
        title = QRect(24, 0, self.width - 24, self._header - 4)
        painter.drawItemText(title, int(Qt.AlignVCenter | Qt.AlignLeft | Qt.TextShowMnemonic), self.palette, self.enabled, self.text)


@register
class ctkCollapsibleGroupBox(QGroupBox):
    """A group box whose check mark folds it."""

    collapsedHeight, setCollapsedHeight = stored("collapsedHeight", int, 14)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._fold = _Fold(self)
        self.setCheckable(True)
        self.toggled.connect(self._on_toggled)

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.isChecked(), setCollapsed)

    def _on_toggled(self, opened: bool) -> None:
        self._fold.apply(not opened, self.fontMetrics().height() + 8)

    def showEvent(self, event: QShowEvent) -> None:
        if not self.isChecked():
            self._on_toggled(False)
        super().showEvent(event)
