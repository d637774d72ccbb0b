"""`slicer.i18n`: translated strings, with a language that a test may supply."""

from __future__ import annotations

import inspect
import logging
import re
from pathlib import Path

_translations: dict[tuple[str, str], str] = {}


def set_translations(translations: dict[tuple[str, str], str]) -> None:
    """Use these translations from now on: (context, text) -> text; {} is English. (Of the stand-in, not of Slicer.)"""
    _translations.clear()
    _translations.update(translations)


def translate(context: str, text: str) -> str:
    """Return the text in the current language of the application."""
    return _translations.get((context, text), text)


def getContext(sourceFile: str) -> str:
    """Return the context of a source file: its name, with the package before it when it lies in one."""
    path = Path(sourceFile)
    if not path.is_file():
        return path.name
    return f"{path.parent.name}.{path.stem}" if (path.parent / "__init__.py").is_file() else path.stem


def tr(text: str) -> str:
    """Return the text in the current language; the context is the caller's file.

    A translation that does not have the placeholders of the text is reported and not used.
    """
    if not isinstance(text, str):
        message = f"Only a string can be translated, not {text!r}."
        raise TypeError(message)
    frame = inspect.currentframe()
    caller = frame.f_back if frame else None
    context = getContext(caller.f_code.co_filename) if caller else ""
    translated = translate(context, text)
    if _placeholders(text) != _placeholders(translated):
        logging.warning("In context %r, translation of %r to %r is incorrect: placeholders do not match", context, text, translated)
        return text
    return translated


def _placeholders(text: str) -> set[str]:
    return set(re.findall(r"(?<!\{)\{([^{}]+)\}(?!\})", text))
