"""The module ``qt`` as Slicer has it: PySide6's classes in one name space, behaving as PythonQt's."""

from __future__ import annotations

import types

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets
from PySide6.QtCore import QEvent, QObject

from . import qt_loader, qt_overrides, qt_pythonqt, qt_signals
from .qt_properties import patch_class, patch_value_class

# Qt 5.15 has not got these, so a module that uses one would fail in Slicer 5.10 and 5.12.
QT6_CLASSES = {"QKeyCombination", "QPermission", "QStringView", "QAnyStringView", "QUtf8StringView"}

_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)


def namespace() -> types.ModuleType:
    """Patch PySide6 and return the module ``qt``."""
    _patch_all()
    qt_pythonqt.patch()
    qt_overrides.guard_subclasses()
    module = types.ModuleType("qt", __doc__)
    for source in _MODULES:
        names = {name: getattr(source, name) for name in dir(source) if not name.startswith("_") and name not in QT6_CLASSES}
        module.__dict__.update({name: value for name, value in names.items() if name not in module.__dict__})
    module.__dict__.update(qt_pythonqt.EXTRA_NAMES, QUiLoader=qt_loader.UiLoader)
    return module


def _patch_all() -> None:
    hooks = {"connect": qt_signals.connect, "disconnect": qt_signals.disconnect}
    done: set[type] = {object, shiboken6.Object}

    def patch(cls: type) -> None:
        if cls in done:
            return
        done.add(cls)
        for base in cls.__bases__:
            patch(base)
        if issubclass(cls, QObject):
            patch_class(cls, hooks)
        elif not issubclass(cls, QEvent):  # PySide6 hands events to Python on every key and mouse move
            patch_value_class(cls)

    for source in _MODULES:
        for cls in [getattr(source, name) for name in dir(source)]:
            if isinstance(cls, type) and issubclass(cls, shiboken6.Object):
                patch(cls)
