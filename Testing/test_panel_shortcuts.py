"""Keys of a panel: in force while its module is open, printed on the buttons, none that Slicer takes, and typing is never disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")


@pytest.fixture
def shortcuts(slicer_app: Any) -> Iterator[Any]:  # noqa: ARG001
    """Return an empty set of shortcuts."""
    from AtlasSegmentLib.panel_shortcuts import PanelShortcuts

    made = PanelShortcuts()
    yield made
    made.remove()


@pytest.fixture
def button(slicer_app: Any) -> Iterator[Any]:  # noqa: ARG001
    """Return a button in the main window that counts its clicks in `clicks`."""
    import qt

    widget = qt.QPushButton("Show", slicer.util.mainWindow())
    yield widget
    widget.deleteLater()


@pytest.fixture
def clicks(button: Any) -> list[bool]:
    """Return a list that grows with each click."""
    found: list[bool] = []
    button.connect("clicked(bool)", found.append)
    return found


Press = Callable[..., str]


def test_a_key_clicks_its_button_while_it_is_installed_and_not_before_or_after(
    shortcuts: Any, button: Any, clicks: list[bool], press: Press
) -> None:
    shortcuts.bind("M", button)
    assert press("M") == ""
    shortcuts.install()
    assert press("M") == "shortcut"
    assert len(clicks) == 1
    shortcuts.remove()
    assert press("M") == ""
    assert len(clicks) == 1
    shortcuts.install()
    press("M")
    assert len(clicks) == 2


def test_the_key_is_printed_on_the_button_untranslated(shortcuts: Any, button: Any) -> None:
    shortcuts.bind("Ctrl+Shift+A", button)
    assert button.text == "Show (Ctrl+Shift+A)"


def test_a_disabled_button_is_not_clicked(shortcuts: Any, button: Any, clicks: list[bool], press: Press) -> None:
    shortcuts.bind("M", button)
    shortcuts.install()
    button.enabled = False
    press("M")
    assert clicks == []


def test_a_key_can_call_a_function(shortcuts: Any, press: Press) -> None:
    called: list[int] = []
    shortcuts.bindCall("Shift+N", lambda: called.append(1))
    shortcuts.install()
    press("N")
    assert called == []
    press("Shift+N")
    assert called == [1]


def test_letters_typed_into_a_field_go_to_the_field(shortcuts: Any, button: Any, clicks: list[bool], press: Press) -> None:
    import qt

    edit = qt.QLineEdit(slicer.util.mainWindow())
    edit.show()
    shortcuts.bind("M", button)
    shortcuts.install()
    for letter in "MOM":
        assert press(letter, edit) == "widget"
    assert (edit.text.upper(), clicks) == ("MOM", [])
    edit.deleteLater()


def test_other_keys_are_not_swallowed(shortcuts: Any, button: Any, press: Press) -> None:
    import qt

    other = qt.QShortcut(qt.QKeySequence("J"), slicer.util.mainWindow())
    heard: list[int] = []
    other.connect("activated()", lambda: heard.append(1))
    shortcuts.bind("M", button)
    shortcuts.install()
    press("J")
    assert heard == [1]
    other.deleteLater()


TAKEN_BY_SLICER = (
    *"QWZYIBFVRGTPSLE0123456789[]{}",
    *("Ctrl+Z", "Ctrl+Y", "Esc", "Space", "Shift+1", "Shift+0", "Left", "Right", "Up", "Down", "Del", "Shift+PgDown"),
    *(f"Ctrl+{key}" for key in "FOSWHBGNP012345"),
)


@pytest.mark.parametrize("key", TAKEN_BY_SLICER)
def test_a_key_that_slicer_or_a_common_module_takes_is_refused(shortcuts: Any, button: Any, key: str) -> None:
    with pytest.raises(ValueError, match="taken"):
        shortcuts.bind(key, button)
    assert button.text == "Show"


CHOSEN = (
    "M",
    "O",
    "H",
    "N",
    "Shift+N",
    ".",
    ",",
    "Alt+S",
    "Ctrl+Shift+A",
    "Ctrl+Shift+R",
    "Ctrl+Shift+F",
    "Ctrl+Shift+K",
    "PgDown",
    "PgUp",
)


@pytest.mark.parametrize("key", [*CHOSEN, "Alt+PgDown", "Alt+PgUp"])
def test_the_keys_of_the_three_panels_are_free(shortcuts: Any, button: Any, key: str) -> None:
    shortcuts.bind(key, button)
    assert shortcuts.keys == [key]


@pytest.mark.parametrize("key", ["", "m", "Ctrl+Shift+", "nonsense", "ctrl+m"])
def test_what_is_no_key_in_qts_own_spelling_is_refused(shortcuts: Any, button: Any, key: str) -> None:
    with pytest.raises(ValueError, match="portable"):
        shortcuts.bind(key, button)


def test_a_key_is_bound_once(shortcuts: Any, button: Any) -> None:
    shortcuts.bind("M", button)
    with pytest.raises(ValueError, match="twice"):
        shortcuts.bindCall("M", button.click)


def test_installing_and_removing_twice_leaves_nothing(shortcuts: Any, button: Any, wait_until: Callable[..., None]) -> None:
    import qt

    def count() -> int:
        return len(slicer.util.mainWindow().findChildren(qt.QShortcut))

    before = count()
    shortcuts.bind("M", button)
    for _ in range(2):
        shortcuts.install()
    assert (count(), shortcuts.installed) == (before + 1, True)
    for _ in range(2):
        shortcuts.remove()
    assert (count(), shortcuts.installed) == (before, False)
    wait_until(lambda: count() == before)


def test_a_held_key_acts_once_unless_it_shall_repeat(shortcuts: Any, button: Any) -> None:
    import qt

    shortcuts.bind("M", button)
    shortcuts.bindCall(".", button.click, repeat=True)
    shortcuts.install()
    repeats = {shortcut.key.toString(): shortcut.autoRepeat for shortcut in slicer.util.mainWindow().findChildren(qt.QShortcut)}
    assert (repeats["M"], repeats["."]) == (False, True)
