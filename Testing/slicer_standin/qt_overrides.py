"""Errors in Python methods that Qt calls (event filters, event handlers, size hints).

PySide6 lets such an exception come out of whatever call is running at that moment, or loses it. PythonQt prints it and goes on with a
default, and so does this: the exception becomes a fault.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, QSize

from . import faults

_DEFAULTS: dict[str, Callable[[], Any]] = {
    "event": lambda: False,
    "eventFilter": lambda: False,
    "sizeHint": QSize,
    "minimumSizeHint": QSize,
}


def guard_subclasses() -> None:
    """Guard these methods of every subclass of a Qt class that Python defines from now on."""
    QObject.__init_subclass__ = classmethod(_on_subclass)


def _on_subclass(cls: type, **_options: Any) -> None:
    for name, member in list(vars(cls).items()):
        if isinstance(member, types.FunctionType) and (name in _DEFAULTS or _is_handler(cls, name)):
            setattr(cls, name, _guarded(member, _DEFAULTS.get(name, lambda: None)))


def _is_handler(cls: type, name: str) -> bool:
    return name.endswith("Event") and any(base.__module__.startswith("PySide6") and hasattr(base, name) for base in cls.__mro__)


def _guarded(method: types.FunctionType, default: Callable[[], Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception as error:  # whatever a panel raises is a fault, and Qt needs an answer
            faults.record(error)
            return default()

    return guarded
