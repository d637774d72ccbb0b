"""Keys of a panel: in force while its module is open, printed on the buttons, and never one that Slicer or its peers take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import qt
import slicer

_ARROWS = ("Left", "Right", "Up", "Down")
_SEGMENT_EDITOR = ("Q", "W", "Z", "Y", "I", "Ctrl+Z", "Ctrl+Y", "Esc", "Space", *map(str, range(10)), *(f"Shift+{n}" for n in range(10)))
_SLICE_VIEWS = ("B", "F", "V", "R", "G", "T", "[", "]", "{", "}", *_ARROWS, *(f"Shift+{arrow}" for arrow in _ARROWS))
_VIEWS_3D = ("Shift+PgDown", "Shift+PgUp")
_APPLICATION = tuple(f"Ctrl+{key}" for key in "FOSWHBG012345")
_OTHER_MODULES = ("P", "S", "L", "E", "Del", "Ctrl+N", "Ctrl+P")
TAKEN = frozenset((*_SEGMENT_EDITOR, *_SLICE_VIEWS, *_VIEWS_3D, *_APPLICATION, *_OTHER_MODULES))
"""Keys, in Qt's portable text, that Slicer or a widely used module binds."""


class PanelShortcuts:
    """The shortcuts of one panel.

    Call `install` when the module is entered and `remove` when it is left and when the panel is destroyed. A key does what a
    click on its button would, so nothing happens while the button is disabled. Letters typed into a field go to the field.
    """

    def __init__(self) -> None:
        self._calls: dict[str, tuple[Callable[[], Any], bool]] = {}
        self._installed: list[Any] = []

    @property
    def keys(self) -> list[str]:
        """The bound keys."""
        return list(self._calls)

    @property
    def installed(self) -> bool:
        """Whether the keys are in force."""
        return bool(self._installed)

    def bind(self, key: str, button: Any, *, repeat: bool = False) -> None:
        """Let a key click a button, and print the key, which is not translated, on it.

        Args:
            key: Qt's portable text, such as "M" or "Ctrl+Shift+A".
            button: Its text gets the key.
            repeat: Go on while the key is held down.

        Raises:
            ValueError: Slicer or another module takes the key, or this panel does already, or it is no key.
        """
        text = self._add(key, lambda: button.click() if button.enabled else None, repeat)
        button.setText(f"{button.text} ({text})")

    def bindCall(self, key: str, call: Callable[[], Any], *, repeat: bool = False) -> None:
        """Let a key call a function. Raises ValueError as `bind`."""
        self._add(key, call, repeat)

    def install(self) -> None:
        """Put the keys in force in the main window; again does nothing."""
        window = slicer.util.mainWindow()
        if window is None or self._installed:
            return
        for key, (call, repeat) in self._calls.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.setContext(qt.Qt.WindowShortcut)
            shortcut.setAutoRepeat(repeat)
            shortcut.connect("activated()", call)
            self._installed.append(shortcut)

    def remove(self) -> None:
        """Take the keys out of force and delete their shortcuts; again does nothing."""
        for shortcut in self._installed:
            shortcut.setEnabled(False)  # deleteLater waits for the event loop, and a key may come before
            shortcut.disconnect("activated()")
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._installed = []

    def _add(self, key: str, call: Callable[[], Any], repeat: bool) -> str:
        text = str(qt.QKeySequence(key).toString())
        if not text or key != text:
            message = f"{key!r} is no key in Qt's portable text (Qt reads it as {text!r})"
            raise ValueError(message)
        self._refuse_taken(text, self._calls)
        self._calls[text] = (call, repeat)
        return text

    @staticmethod
    def _refuse_taken(text: str, own: Iterable[str]) -> None:
        if text in TAKEN:
            message = f"the key {text} is taken by Slicer or a module that many use"
            raise ValueError(message)
        if text in own:
            message = f"the key {text} is bound twice"
            raise ValueError(message)
