"""Connections of a panel with its widgets, to be cut together at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Entry = tuple[Any, str, Callable[..., Any]]


class Links:
    """Connects signals with slots.

    Args:
        entries: (widget, signal in Qt's notation, slot) of each.
    """

    def __init__(self, *entries: Entry) -> None:
        self._entries: list[Entry] = []
        for entry in entries:
            self.add(*entry)

    def add(self, widget: Any, signal: str, slot: Callable[..., Any]) -> None:
        """Connect one more."""
        widget.connect(signal, slot)
        self._entries.append((widget, signal, slot))

    def cut(self) -> None:
        """Disconnect all; again does nothing."""
        for widget, signal, slot in self._entries:
            widget.disconnect(signal, slot)
        self._entries = []
