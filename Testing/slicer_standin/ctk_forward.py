"""Properties of a composed widget that live in one of its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Property


def forwarded(part: str, name: str, type_: type) -> tuple[Property, Callable[[Any, Any], None]]:
    """Return property and setter of ``name`` that read and write the same property of ``self.<part>``."""

    def read(self: Any) -> Any:
        return getattr(getattr(self, part), name)

    def write(self: Any, value: Any) -> None:
        setattr(getattr(self, part), name, value)

    return Property(type_, read, write), write


def bare_row(widget: Any, *parts: Any) -> None:
    """Lay the parts out in one row without margins."""
    from PySide6.QtWidgets import QHBoxLayout

    row = QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        row.addWidget(part)
