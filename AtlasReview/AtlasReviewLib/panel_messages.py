"""How the review panel says that something went wrong: once, with cause and next step, and it stays usable."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib.errors import AtlasError

_log = logging.getLogger(__name__)


def printable(text: str) -> str:
    """Return a text that Qt can show: half surrogates, as in file names that are not UTF-8, are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def errorText(error: BaseException) -> str:
    """Return what to show for an error: message and next step."""
    if isinstance(error, AtlasError):
        return printable("\n".join(part for part in (error.message, error.remedy) if part))
    return printable(_("Something unexpected happened: {error}").format(error=repr(error)))


def showError(error: BaseException) -> None:
    """Show an error in one dialog; what is not one of ours goes to the log with its traceback."""
    if not isinstance(error, AtlasError):
        _log.error("the review panel failed", exc_info=error)
    slicer.util.errorDisplay(errorText(error))


def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a slot that shows what `call` raises and ignores what the signal passes."""

    def slot(*_arguments: Any) -> None:
        try:
            call()
        except Exception as error:  # the edge of the panel: shown once
            showError(error)

    return slot
