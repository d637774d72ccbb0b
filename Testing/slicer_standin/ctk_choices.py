"""CTK's combo boxes and buttons."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QCheckBox, QComboBox, QPushButton, QWidget

from .qt_loader import register
from .stored_property import stored


@register
class ctkComboBox(QComboBox):
    """A combo box with a text for "nothing chosen"."""

    defaultText, setDefaultText = stored("defaultText", str, "", after="_show_default")
    forceDefault, setForceDefault = stored("forceDefault", bool, False)
    AlwaysScroll, NeverScroll, ScrollWithFocus, ScrollWithNoPopup = 0, 1, 2, 4
    scrollWheelEffect, setScrollWheelEffect = stored("scrollWheelEffect", int, 0)

    def _show_default(self, text: str) -> None:
        self.setPlaceholderText(text)


@register
class ctkCheckableComboBox(QComboBox):
    """A combo box whose rows can be checked."""

    checkedIndexesChanged = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._checks: list[Qt.CheckState] = []
        self.setModel(QStandardItemModel(0, 1, self))
        self.model().rowsInserted.connect(self._make_checkable)
        self.model().dataChanged.connect(self._on_data)

    def checkableModel(self) -> QStandardItemModel:
        return self.model()

    def checkedIndexes(self) -> list[QModelIndex]:
        indexes = [self.model().index(row, 0) for row in range(self.count)]
        return [index for index in indexes if self.checkState(index) == Qt.Checked]

    def checkState(self, index: QModelIndex) -> Qt.CheckState:
        return self.model().itemFromIndex(index).checkState()

    def setCheckState(self, index: QModelIndex, state: int) -> None:
        self.model().itemFromIndex(index).setCheckState(Qt.CheckState(state))

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()

    def _make_checkable(self, _parent: QModelIndex, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setCheckable(True)
            item.setCheckState(Qt.Unchecked)

    def _on_data(self) -> None:
        checks = [self.checkState(self.model().index(row, 0)) for row in range(self.count)]
        if checks != self._checks:
            self._checks = checks
            self.checkedIndexesChanged.emit()


@register
class ctkCheckBox(QCheckBox):
    """A check box."""


@register
class ctkMenuButton(QPushButton):
    """A push button with a menu."""


@register
class ctkPushButton(QPushButton):
    """A push button that can elide its text."""

    elideMode, setElideMode = stored("elideMode", int, 3)
    buttonTextAlignment, setButtonTextAlignment = stored("buttonTextAlignment", int, 0x84)
    iconAlignment, setIconAlignment = stored("iconAlignment", int, 0x81)
