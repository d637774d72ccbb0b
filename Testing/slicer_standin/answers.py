"""Scripted answers to dialogs: a test says beforehand what the user will do, and looks afterwards at what was shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import faults


class UnansweredDialogError(AssertionError):
    """A dialog asked something for which the test has no (or another) answer."""


class Answers:
    """Answers in the order in which the dialogs will ask.

    Attributes:
        shown: what the user saw, as (kind, text). Kinds: "info", "warning", "error" (no answer needed), "question", "text", "item",
            "number", "folder", "file", "files", "save", "dialog", "menu", and "message" (a popup that closes by itself).
        details: the detailed texts of message boxes that had one.
        opened: addresses handed to the desktop (``qt.QDesktopServices.openUrl``); nothing is opened.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget prepared answers and what was shown."""
        self._queue: deque[tuple[str, Any]] = deque()
        self.shown: list[tuple[str, str]] = []
        self.details: list[str] = []
        self.opened: list[str] = []

    def yes(self) -> None:
        """Answer a message box with Yes, OK, Retry or Save, whichever it has."""
        self._queue.append(("question", ("Yes", "Ok", "Retry", "Save", "Open", "Apply")))

    def no(self) -> None:
        """Answer a message box with No, Cancel or Close, whichever it has (in this order)."""
        self._queue.append(("question", ("No", "Cancel", "Close", "Discard", "Abort")))

    def cancel(self) -> None:
        """Answer a message box with Cancel."""
        self._queue.append(("question", ("Cancel",)))

    def button(self, text: str) -> None:
        """Answer a message box with the button that shows this text (without the & of its mnemonic)."""
        self._queue.append(("question", text))

    def text(self, value: str | None) -> None:
        """Answer ``QInputDialog.getText`` (or getMultiLineText); None cancels it."""
        self._queue.append(("text", value))

    def item(self, value: str | None) -> None:
        """Answer ``QInputDialog.getItem``; None cancels it."""
        self._queue.append(("item", value))

    def number(self, value: float | None) -> None:
        """Answer ``QInputDialog.getInt`` or ``getDouble``; None cancels it."""
        self._queue.append(("number", value))

    def folder(self, path: Path | str | None) -> None:
        """Answer ``QFileDialog.getExistingDirectory``; None cancels it."""
        self._queue.append(("folder", None if path is None else str(path)))

    def file(self, path: Path | str | None) -> None:
        """Answer ``QFileDialog.getOpenFileName``; None cancels it."""
        self._queue.append(("file", None if path is None else str(path)))

    def files(self, paths: list[Path] | list[str]) -> None:
        """Answer ``QFileDialog.getOpenFileNames``; an empty list cancels it."""
        self._queue.append(("files", [str(path) for path in paths]))

    def save(self, path: Path | str | None) -> None:
        """Answer ``QFileDialog.getSaveFileName``; None cancels it."""
        self._queue.append(("save", None if path is None else str(path)))

    def dialog(self, use: Callable[[Any], Any]) -> None:
        """Answer ``exec_()`` of a panel's own QDialog: ``use(dialog)`` fills it in and clicks its buttons.

        When ``use`` neither accepts nor rejects the dialog, it is accepted unless ``use`` returns False.
        """
        self._queue.append(("dialog", use))

    def menu(self, text: str | None) -> None:
        """Answer ``QMenu.exec_()`` with the action of this text; None closes the menu."""
        self._queue.append(("menu", text))

    def unused(self) -> list[tuple[str, Any]]:
        """Return the answers that no dialog has asked for."""
        return list(self._queue)

    def take(self, kind: str, text: str) -> Any:
        """Note that a dialog of ``kind`` asks ``text`` and return its answer; raises UnansweredDialogError when there is none."""
        self.shown.append((kind, text))
        if not self._queue:
            self.fail(f"nobody answered the {kind} dialog: {text!r}")
        expected, answer = self._queue.popleft()
        if expected != kind:
            self.fail(f"a {kind} dialog asked {text!r}, but the next answer is for a {expected} dialog: {answer!r}")
        return answer

    def fail(self, message: str) -> None:
        """Record the message as a fault (the panel may catch the exception) and raise UnansweredDialogError."""
        error = UnansweredDialogError(message)
        faults.record(error)
        raise error
