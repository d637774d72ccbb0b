"""A Qt property with storage, for the widgets of the stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Property

_CONVERTED = (bool, int, float, str, list)
_QT_TYPES = {list: "QStringList"}


def stored(
    name: str, type_: type, default: Any = None, after: str | None = None, notify: str | None = None
) -> tuple[Property, Callable[[Any, Any], None]]:
    """Return a Qt property that remembers its value, and its setter.

    ``collapsed, setCollapsed = stored("collapsed", bool, False)`` in a class body declares both.

    Args:
        name: name of the property.
        type_: bool, int, float, str, list (of str) or a Qt value class.
        default: the value before the first assignment; a list is copied for each widget.
        after: name of a method called with the value after every assignment.
        notify: name of a signal emitted with the value when it changed.
    """
    key = "_stored_" + name

    def read(self: Any) -> Any:
        return self.__dict__.setdefault(key, list(default)) if isinstance(default, list) else self.__dict__.get(key, default)

    def write(self: Any, value: Any) -> None:
        value = type_(value) if type_ in _CONVERTED else value
        changed = read(self) != value
        self.__dict__[key] = value
        if after:
            getattr(self, after)(value)
        if changed and notify:
            getattr(self, notify).emit(value)

    write.__name__ = "set" + name[0].upper() + name[1:]
    return Property(_QT_TYPES.get(type_, type_), read, write), write
