"""Errors that nobody would see: exceptions in slots, timers, event filters and VTK observers, and warnings printed by Qt.

PySide6 and VTK hand such an exception to ``sys.excepthook`` and go on. Here it is kept, and ``check()`` raises it at the end of the test.
"""

from __future__ import annotations

import re
import sys
import traceback
from types import TracebackType

from PySide6 import QtCore

ALLOWED_QT_MESSAGES = (
    # The offscreen platform has no window manager, so a window asked to come to the front stays where it is.
    r"This plugin does not support (raise|propagateSizeHints|setParent)\(",
    # A minimal machine has few fonts or none.
    r"QFontDatabase: Cannot find font directory",
    r"Populating font family aliases took",
)

_faults: list[str] = []
_allowed = [re.compile(pattern) for pattern in ALLOWED_QT_MESSAGES]
_LEVELS = {QtCore.QtMsgType.QtWarningMsg: "Qt warning", QtCore.QtMsgType.QtCriticalMsg: "Qt critical message"}


def record(fault: BaseException | str) -> None:
    """Keep an exception (with its traceback) or a text as a fault."""
    _faults.append(fault if isinstance(fault, str) else "".join(traceback.format_exception(fault)).rstrip())


def reported() -> list[str]:
    """Return the faults since the last ``clear()``, each a text with its traceback."""
    return list(_faults)


def clear() -> None:
    """Forget all faults."""
    _faults.clear()


def check() -> None:
    """Raise an AssertionError that shows all faults, and forget them; do nothing when there are none."""
    faults = reported()
    clear()
    if faults:
        message = f"{len(faults)} fault(s) in slots, timers, event filters, observers or Qt:\n\n" + "\n\n".join(faults)
        raise AssertionError(message)


def install() -> None:
    """Record exceptions that reach ``sys.excepthook`` and Qt's warnings from now on."""
    sys.excepthook = _on_exception
    QtCore.qInstallMessageHandler(_on_qt_message)


def _on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    record(error.with_traceback(trace))
    sys.__excepthook__(kind, error, trace)


def _on_qt_message(level: QtCore.QtMsgType, _context: QtCore.QMessageLogContext, text: str) -> None:
    if level in _LEVELS and not any(pattern.search(text) for pattern in _allowed):
        where = "".join(traceback.format_stack(sys._getframe(1), limit=6)).rstrip()
        record(f"{_LEVELS[level]}: {text}\n{where}")
