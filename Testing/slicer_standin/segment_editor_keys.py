"""The keys that Slicer's Segment Editor takes while its shortcuts are installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QWidget

PREVIOUS, NEXT = ("Q", "/", ",", ">"), ("W", "*", ".", "<")


def make_shortcuts(editor: Any, parent: QWidget) -> list[QShortcut]:
    """Return the shortcuts: 1-0 and Shift+1-0 effects, Esc none, Space the last one, Z Y undo and redo, Q W and others segments, I mask."""
    actions: dict[str, Callable[[], None]] = {}
    for index in range(1, 11):
        actions[str(index % 10)] = lambda index=index: _toggle(editor, index)
        actions[f"Shift+{index % 10}"] = lambda index=index: _toggle(editor, index + 10)
    actions["Esc"] = lambda: editor.setActiveEffect(None)
    actions["Space"] = lambda: _toggle_last(editor)
    for key in ("Z", "Ctrl+Z"):
        actions[key] = editor.undo
    for key in ("Y", "Ctrl+Y"):
        actions[key] = editor.redo
    actions.update(dict.fromkeys(PREVIOUS, editor.selectPreviousSegment))
    actions.update(dict.fromkeys(NEXT, editor.selectNextSegment))
    actions["I"] = editor.toggleSourceVolumeIntensityMaskEnabled
    return [_shortcut(key, action, parent) for key, action in actions.items()]


def _shortcut(key: str, action: Callable[[], None], parent: QWidget) -> QShortcut:
    shortcut = QShortcut(QKeySequence(key), parent)
    shortcut.activated.connect(action)
    return shortcut


def _toggle(editor: Any, index: int) -> None:
    effect = editor.effectByIndex(index)
    editor.setActiveEffect(None if effect is editor.activeEffect() else effect)


def _toggle_last(editor: Any) -> None:
    editor.setActiveEffect(None if editor.activeEffect() is not None else editor.effectByName(editor._last_effect))
