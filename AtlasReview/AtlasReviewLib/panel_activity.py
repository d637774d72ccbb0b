"""Sees whether the reader does something: an event filter on the application that looks and never keeps an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer


def _activeTypes() -> tuple[int, ...]:
    # A key that is a shortcut comes as ShortcutOverride and never as KeyPress.
    names = ("KeyPress", "ShortcutOverride", "MouseButtonPress", "MouseButtonRelease", "MouseMove", "Wheel", "TabletMove", "TabletPress")
    return tuple(int(getattr(qt.QEvent, name)) for name in names)


class ActivityFilter(qt.QObject):  # type: ignore[misc]  # Qt has no types here
    """Calls a function for every key, click, wheel turn and mouse move in the application.

    Args:
        onActivity: Called without arguments; must be quick.
    """

    def __init__(self, onActivity: Callable[[], None]) -> None:
        qt.QObject.__init__(self)
        self._onActivity: Callable[[], None] | None = onActivity
        self._types = _activeTypes()
        self._installed = False

    def install(self) -> None:
        """Begin to look; again does nothing."""
        if not self._installed:
            slicer.app.installEventFilter(self)
            self._installed = True

    def remove(self) -> None:
        """Stop to look; again does nothing."""
        if self._installed:
            slicer.app.removeEventFilter(self)
            self._installed = False

    def cleanup(self) -> None:
        """Stop, and forget whom to tell."""
        self.remove()
        self._onActivity = None

    def eventFilter(self, _receiver: Any, event: Any) -> bool:
        """Note what the reader does; every event goes on to where it was going."""
        if self._onActivity is not None and int(event.type()) in self._types:
            self._onActivity()
        return False
