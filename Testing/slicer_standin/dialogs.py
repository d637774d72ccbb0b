"""Dialogs of Qt that are answered by the test instead of a user; ``slicer.util``'s dialogs come here too, through Qt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QAbstractButton,
    QColorDialog,
    QDialog,
    QFileDialog,
    QFontDialog,
    QInputDialog,
    QLabel,
    QMenu,
    QMessageBox,
    QWidget,
)

from .answers import Answers
from .qt_pythonqt import BoolResult

answers = Answers()

_KINDS = {QMessageBox.Information: "info", QMessageBox.Warning: "warning", QMessageBox.Critical: "error"}
# Qt adds this button to a box with a detailed text; it answers nothing.
_DETAIL_BUTTONS = {"Show Details...", "Hide Details..."}
_EXISTS: dict[str, Callable[[Path], bool]] = {"folder": Path.is_dir, "file": Path.exists, "files": Path.exists}


def install() -> None:
    """Replace what waits for a user in Qt's dialogs."""
    for cls, run in ((QDialog, _run_dialog), (QMessageBox, _run_message_box), (QMenu, _run_menu)):
        cls.exec = cls.exec_ = run
    QFileDialog.exec = QFileDialog.exec_ = QInputDialog.exec = QInputDialog.exec_ = _run_dialog
    for name, icon in (("information", "Information"), ("warning", "Warning"), ("critical", "Critical"), ("question", "Question")):
        setattr(QMessageBox, name, staticmethod(_static_box(getattr(QMessageBox, icon))))
    QMessageBox.about = staticmethod(lambda _parent, _title, text: answers.shown.append(("info", text)))
    for name, kind in (
        ("getText", "text"),
        ("getMultiLineText", "text"),
        ("getItem", "item"),
        ("getInt", "number"),
        ("getDouble", "number"),
    ):
        setattr(QInputDialog, name, staticmethod(_input(kind, _cancelled_input(name))))
    for name, kind in (
        ("getExistingDirectory", "folder"),
        ("getOpenFileName", "file"),
        ("getOpenFileNames", "files"),
        ("getSaveFileName", "save"),
    ):
        setattr(QFileDialog, name, staticmethod(_path(kind)))
    for cls, name in ((QColorDialog, "getColor"), (QFontDialog, "getFont"), (QMessageBox, "aboutQt")):
        setattr(cls, name, staticmethod(_not_answered(f"{cls.__name__}.{name}")))
    QDesktopServices.openUrl = staticmethod(_open_url)


def _run_message_box(box: QMessageBox, *_: Any) -> int:
    text = "\n".join(filter(None, (box.text, box.informativeText)))
    if box.detailedText:
        answers.details.append(box.detailedText)
    buttons = [button for button in box.buttons() if _plain(button.text) not in _DETAIL_BUTTONS]
    if len(buttons) <= 1 and box.icon in _KINDS:
        answers.shown.append((_KINDS[box.icon], text))
        return _click(box, buttons[0]) if buttons else int(QMessageBox.Ok)
    if not buttons:
        box.addButton(QMessageBox.Ok)
        buttons = box.buttons()
    wanted = answers.take("question", text)
    chosen = _button_by_text(box, wanted) if isinstance(wanted, str) else _standard_button(box, wanted)
    if chosen is None:
        answers.fail(f"the question {text!r} has no button {wanted!r}; it has {[_plain(button.text) for button in buttons]}")
    return _click(box, chosen)


def _click(box: QMessageBox, button: QAbstractButton) -> int:
    button.click()
    return int(box.result())


def _standard_button(box: QMessageBox, names: tuple[str, ...]) -> QAbstractButton | None:
    found = (QMessageBox.button(box, getattr(QMessageBox, name)) for name in names)
    return next((button for button in found if button is not None), None)


def _button_by_text(box: QMessageBox, text: str) -> QAbstractButton | None:
    return next((button for button in box.buttons() if _plain(button.text) == text), None)


def _plain(text: str) -> str:
    return text.replace("&", "")


def _static_box(icon: QMessageBox.Icon) -> Callable[..., QMessageBox.StandardButton]:
    usual = QMessageBox.Yes | QMessageBox.No if icon == QMessageBox.Question else QMessageBox.Ok

    def ask(parent: QWidget | None, title: str, text: str, buttons: Any = usual, default: Any = None) -> QMessageBox.StandardButton:
        box = QMessageBox(icon, title, text, QMessageBox.StandardButton(buttons), parent)
        if default is not None:
            box.setDefaultButton(QMessageBox.StandardButton(default))
        return QMessageBox.StandardButton(box.exec_())

    return ask


def _run_dialog(dialog: QDialog, *_: Any) -> int:
    interactive = [child for child in dialog.findChildren(QWidget) if not isinstance(child, QLabel)]
    if not interactive:  # slicer.util.delayDisplay: a text that goes away by itself
        answers.shown.append(("message", "\n".join(label.text for label in dialog.findChildren(QLabel))))
        return int(QDialog.Accepted)
    use = answers.take("dialog", dialog.windowTitle)
    finished: list[int] = []
    dialog.connect("finished(int)", finished.append)
    dialog.show()
    accepted = use(dialog)
    if not finished:
        dialog.done(QDialog.Rejected if accepted is False else QDialog.Accepted)
    dialog.disconnect("finished(int)", finished.append)
    return finished[-1]


def _run_menu(menu: QMenu, *_: Any) -> Any:
    actions = [action for action in menu.actions() if not action.isSeparator()]
    labels = [_plain(action.text) for action in actions]
    wanted = answers.take("menu", ", ".join(labels))
    if wanted is None:
        return None
    if wanted not in labels or not actions[labels.index(wanted)].enabled:
        answers.fail(f"the menu has no enabled entry {wanted!r}; it has {labels}")
    action = actions[labels.index(wanted)]
    action.trigger()
    return action


def _cancelled_input(name: str) -> Callable[[list[Any]], Any]:
    """Return how Qt computes the value of a cancelled input dialog from the arguments after the label."""
    if name in {"getInt", "getDouble"}:
        return lambda rest: rest[0] if rest else 0
    if name == "getItem":
        return lambda rest: rest[0][rest[1] if len(rest) > 1 else 0]
    return lambda _rest: ""


def _input(kind: str, cancelled: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def ask(_parent: QWidget | None, _title: str, label: str, *rest: Any) -> Any:
        answer = answers.take(kind, label)
        for accepted in (value for value in rest if isinstance(value, BoolResult)):
            accepted.set(answer is not None)
        if kind == "item" and answer is not None and answer not in rest[0] and not (len(rest) < 3 or rest[2]):
            answers.fail(f"the list {label!r} has no {answer!r}; it has {list(rest[0])}")
        return cancelled(list(rest)) if answer is None else answer

    return ask


def _path(kind: str) -> Callable[..., Any]:
    def ask(_parent: QWidget | None = None, title: str = "", *_: Any, **_options: Any) -> Any:
        answer = answers.take(kind, title)
        for path in filter(None, answer if isinstance(answer, list) else [answer]):
            if kind in _EXISTS and not _EXISTS[kind](Path(path)):
                answers.fail(f"the {kind} dialog {title!r} can not return {path}: it does not exist")
        return "" if answer is None else answer

    return ask


def _not_answered(name: str) -> Callable[..., None]:
    return lambda *_: answers.fail(f"the stand-in has no answer for {name}")


def _open_url(url: QUrl | str) -> bool:
    answers.opened.append(url if isinstance(url, str) else url.toString())
    return True
