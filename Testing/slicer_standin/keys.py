"""Keys as a user presses them: real key events, through the focus and Qt's shortcut map."""

from __future__ import annotations

from typing import Any

import shiboken6
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeySequence, QShortcutEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QMainWindow, QWidget

from . import faults

_MODIFIER_KEYS = {Qt.Key_Shift, Qt.Key_Control, Qt.Key_Alt, Qt.Key_Meta}
_DIALOG_KEYS = {Qt.Key_Escape, Qt.Key_Return, Qt.Key_Enter}


class _Watcher(QObject):
    """Sees every event of the application and notes where the key went."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcut = False
        self.receiver: Any = None
        self.button: QAbstractButton | None = None
        self.key = Qt.Key_unknown

    def eventFilter(self, receiver: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Shortcut and isinstance(event, QShortcutEvent):
            self.shortcut = True
            self.button = receiver if isinstance(receiver, QAbstractButton) else None
            if event.isAmbiguous():
                faults.record(f"the shortcut {event.key().toString()} is ambiguous: several own it, so none of them reacts")
        elif event.type() == QEvent.KeyPress and isinstance(receiver, QWidget) and event.key() not in _MODIFIER_KEYS:
            self.receiver, self.key = receiver, event.key()
        return False

    def pressing(self) -> bool:
        """Whether a button is down: a mnemonic shows the click for a moment before the button reacts."""
        return self.button is not None and shiboken6.isValid(self.button) and self.button.down

    def taken(self) -> str:
        if self.shortcut:
            return "shortcut"
        # An ignored key travels up to the window; only dialogs do something with keys there.
        if self.receiver is None or (self.receiver.isWindow() and not (isinstance(self.receiver, QDialog) and self.key in _DIALOG_KEYS)):
            return ""
        return "widget"


def press(sequence: str, widget: QWidget | None = None) -> str:
    """Press and release keys such as "Ctrl+Shift+A" or "N" and return who took them.

    Args:
        sequence: key sequence in portable text; several chords are separated by ", ".
        widget: gets the focus first; None for the widget that has it (or the main window).

    Returns:
        "shortcut" when a shortcut, action or mnemonic reacted, "widget" when the focused widget or one of its parents used the key,
        "" when nobody wanted it.
    """
    window = _focus(widget)
    watcher = _Watcher()
    application = QApplication.instance()
    application.installEventFilter(watcher)
    try:
        keys = QKeySequence(sequence)
        for index in range(keys.count()):
            chord = keys[index]
            QTest.keyClick(window.windowHandle(), chord.key(), chord.keyboardModifiers())
            application.processEvents()
            while watcher.pressing():
                QTest.qWait(10)
    finally:
        application.removeEventFilter(watcher)
    return watcher.taken()


def type_text(text: str, widget: QWidget) -> None:
    """Type the text into the widget, letter by letter, as a user does (shortcuts may take letters away)."""
    for letter in text:
        QTest.keyClick(_focus(widget).windowHandle(), letter)
    QApplication.processEvents()


def _focus(widget: QWidget | None) -> QWidget:
    target = widget or QApplication.focusWidget() or QApplication.activeWindow() or _main_window()
    window = target.window()
    if not window.visible:
        window.show()
    window.activateWindow()
    QTest.qWaitForWindowActive(window)
    if widget is not None:
        widget.setFocus()
    return window


def _main_window() -> QWidget:
    windows = [window for window in QApplication.topLevelWidgets() if isinstance(window, QMainWindow)]
    if not windows:
        message = "no widget has the focus and there is no main window"
        raise RuntimeError(message)
    return windows[0]
