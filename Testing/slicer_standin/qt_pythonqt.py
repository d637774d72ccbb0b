"""What PythonQt and Qt 5 have beside properties and signals: ``name``, ``className()``, ``delete()``, ``exec_()``, ``QVariant``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets
from PySide6.QtCore import QObject


class QTextCodec:
    """The little of Qt 5's text codec that Qt 6 dropped and Slicer's Python uses."""

    def __init__(self, name: str = "UTF-8") -> None:
        self._name = name

    @staticmethod
    def codecForUtfText(_data: Any, _default: Any = None) -> QTextCodec:
        """Return the UTF-8 codec."""
        return QTextCodec()

    def toUnicode(self, data: Any) -> str:
        """Return the bytes as text."""
        return bytes(data).decode(self._name, "replace")


class BoolResult:
    """``qt.BoolResult()``: PythonQt's stand-in for a ``bool*`` argument, such as the last one of ``QInputDialog.getText``."""

    def __init__(self) -> None:
        self._value = False

    def set(self, value: bool) -> None:
        """Store what C++ would write."""
        self._value = value

    def __bool__(self) -> bool:
        return self._value


EXTRA_NAMES: dict[str, Any] = {"BoolResult": BoolResult, "QTextCodec": QTextCodec, "QVariant": lambda value=None: value}


def patch() -> None:
    """Add these to PySide6's classes, and keep what Qt stores away from the user's own folders."""
    QtCore.QStandardPaths.setTestModeEnabled(True)
    QObject.className, QObject.delete = _class_name, _delete
    QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
    for module in (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools):
        for cls in [getattr(module, name) for name in dir(module)]:
            if isinstance(cls, type) and "exec" in cls.__dict__:
                cls.exec_ = _exec(cls.__dict__["exec"])  # PySide6 has one too, which warns


def _class_name(self: QObject) -> str:
    return self.metaObject().className()


def _delete(self: QObject) -> None:
    shiboken6.delete(self)


def _exec(method: Any) -> Callable[..., Any]:
    def exec_(self: Any, *arguments: Any) -> Any:
        result = method.__get__(self, type(self))(*arguments)
        return int(result) if isinstance(result, int) else result

    return exec_
