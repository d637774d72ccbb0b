"""Keys go the way of a user's keys: shortcut map first, then the focused widget."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def qt(slicer_app: object) -> ModuleType:  # noqa: ARG001
    import qt

    return qt


@pytest.fixture
def window(qt: ModuleType) -> Iterator[SimpleNamespace]:
    """A window with a line edit, a button and a shortcut N."""
    top = qt.QMainWindow()
    box = qt.QWidget()
    layout = qt.QVBoxLayout(box)
    edit, button, got = qt.QLineEdit(), qt.QPushButton("Sa&ve"), []
    layout.addWidget(edit)
    layout.addWidget(button)
    top.setCentralWidget(box)
    shortcut = qt.QShortcut(top)
    shortcut.setKey(qt.QKeySequence("N"))
    shortcut.connect("activated()", lambda: got.append("N"))
    button.connect("clicked()", lambda: got.append("saved"))
    yield SimpleNamespace(top=top, edit=edit, button=button, got=got, shortcut=shortcut)
    top.delete()


def test_a_shortcut_reacts_when_a_button_has_the_focus(window: SimpleNamespace, press: Any) -> None:
    assert press("N", window.button) == "shortcut"
    assert window.got == ["N"]


def test_a_line_edit_keeps_its_letters(window: SimpleNamespace, press: Any) -> None:
    assert press("N", window.edit) == "widget"
    assert (window.edit.text, window.got) == ("n", [])


def test_a_key_that_nobody_wants_is_reported(window: SimpleNamespace, press: Any) -> None:
    assert press("F9", window.button) == ""


def test_modifiers_belong_to_the_sequence(window: SimpleNamespace, press: Any) -> None:
    assert press("Shift+N", window.button) == ""
    assert press("Ctrl+Shift+N", window.button) == ""
    assert window.got == []


def test_a_mnemonic_clicks_its_button(window: SimpleNamespace, press: Any) -> None:
    assert press("Alt+V", window.edit) == "shortcut"
    assert window.got == ["saved"]


def test_the_space_bar_goes_to_the_focused_button(window: SimpleNamespace, press: Any) -> None:
    assert press("Space", window.button) == "widget"
    assert window.got == ["saved"]


def test_a_disabled_shortcut_does_nothing(window: SimpleNamespace, press: Any) -> None:
    window.shortcut.enabled = False
    assert press("N", window.button) == ""


def test_a_shortcut_of_two_owners_is_a_fault(window: SimpleNamespace, press: Any, qt: ModuleType) -> None:
    from slicer_standin import faults

    qt.QShortcut(qt.QKeySequence("N"), window.top)
    press("N", window.button)
    assert "ambiguous" in faults.reported()[0]
    faults.clear()


def test_typing_fills_a_line_edit(window: SimpleNamespace) -> None:
    from slicer_standin import keys

    keys.type_text("spleen N", window.edit)
    assert (window.edit.text, window.got) == ("spleen N", [])


def test_a_filter_written_in_python_can_take_a_key(window: SimpleNamespace, press: Any, qt: ModuleType) -> None:
    class Swallow(qt.QObject):
        def eventFilter(self, _watched: Any, event: Any) -> bool:  # noqa: N802
            return event.type() == qt.QEvent.KeyPress and event.key() == qt.Qt.Key_A

    swallow = Swallow()
    window.edit.installEventFilter(swallow)
    press("A", window.edit)
    press("B", window.edit)
    assert window.edit.text == "b"


def test_an_action_with_a_key_counts_as_shortcut(window: SimpleNamespace, press: Any, qt: ModuleType) -> None:
    action = qt.QAction("Next", window.top)
    action.setShortcut(qt.QKeySequence("PgDown"))
    action.connect("triggered()", lambda: window.got.append("next"))
    window.top.addAction(action)
    assert press("PgDown", window.button) == "shortcut"
    assert window.got == ["next"]
