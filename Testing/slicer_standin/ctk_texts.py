"""CTK's widgets for text, and its message box."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, QSettings, QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QLineEdit, QMessageBox, QSizePolicy, QTextBrowser, QWidget

from .qt_loader import register
from .stored_property import stored


@register
class ctkSearchBox(QLineEdit):
    """A line edit with a magnifier and a button that clears it."""

    showSearchIcon, setShowSearchIcon = stored("showSearchIcon", bool, False)
    alwaysShowClearIcon = Property(bool, lambda self: self.__dict__.get("_always", False))

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setClearButtonEnabled(True)
        self.setPlaceholderText("Search...")

    def setAlwaysShowClearIcon(self, show: bool) -> None:
        self.__dict__["_always"] = show


@register
class ctkFittedTextBrowser(QTextBrowser):
    """A text as high as its content, which may have more text behind "Show details"."""

    collapsed, setCollapsed = stored("collapsed", bool, True, after="_show_text")
    showDetailsText, setShowDetailsText = stored("showDetailsText", str, "Show details...", after="_show_text")
    hideDetailsText, setHideDetailsText = stored("hideDetailsText", str, "Hide details.", after="_show_text")
    disableMouseScroll, setDisableMouseScroll = stored("disableMouseScroll", bool, True)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._more = ""
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self.document.documentLayout().documentSizeChanged.connect(lambda _size: self.updateGeometry())

    def setCollapsibleText(self, text: str) -> None:
        """Show the first paragraph, and the rest when not collapsed."""
        self._more = text
        self._show_text(None)

    setCollapsibleHtml = setCollapsiblePlainText = setCollapsibleText

    def collapsibleText(self) -> str:
        return self._more

    def sizeHint(self) -> QSize:
        # A copy: the text has no width before it is shown, and giving it one would ask for this hint again.
        copy = self.document.clone()
        copy.setTextWidth(max(self.viewport().width, 200))
        return QSize(200, round(copy.size.height()) + 2 * self.frameWidth)

    def minimumSizeHint(self) -> QSize:
        return QSize(50, self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.updateGeometry()

    def _show_text(self, _value: Any) -> None:
        if self._more:
            teaser, _, rest = self._more.partition("<br>")
            shown = (
                f"{teaser} {self.showDetailsText}" if self.collapsed and rest else f"{self._more} {self.hideDetailsText if rest else ''}"
            )
            self.setHtml(shown)


@register
class ctkMessageBox(QMessageBox):
    """A message box with "Don't show this message again", remembered under a settings key."""

    dontShowAgainSettingsKey = Property(str, lambda self: self._key, lambda self, key: self.setDontShowAgainSettingsKey(key))
    dontShowAgainVisible = Property(bool, lambda self: not self._again.isHidden(), lambda self, show: self.setDontShowAgainVisible(show))
    dontShowAgain = Property(bool, lambda self: self._again.isChecked(), lambda self, on: self._again.setChecked(on))

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._key = ""
        self._again = QCheckBox("Don't show this message again", self)
        self._again.hide()
        self.connect("finished(int)", self._on_finished)

    def setDontShowAgainSettingsKey(self, key: str) -> None:
        """Use this settings key; a box answered with "don't show again" before is answered the same way without being shown."""
        self._key = key
        self._again.setChecked(bool(key) and int(QSettings().value(key, -1)) != -1)
        self.setDontShowAgainVisible(bool(key))

    def setDontShowAgainVisible(self, visible: bool) -> None:
        if visible:
            self.setCheckBox(self._again)
        self._again.setVisible(visible)

    def exec_(self) -> int:
        """Return the remembered button, or ask."""
        if self._key and self._again.isChecked():
            return int(QSettings().value(self._key, QMessageBox.Ok))
        return super().exec_()

    def _on_finished(self, button: int) -> None:
        if self._key and self._again.isChecked():
            QSettings().setValue(self._key, button)
