"""The GUI edge: what goes wrong in a slot is shown once, with cause and next step, and the panel stays usable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib.errors import AtlasError

_log = logging.getLogger(__name__)


def displayable(text: str) -> str:
    """Return a text that Qt can show: what is no character (half of a surrogate pair, NUL) is replaced."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def errorText(error: BaseException, gap: str = "\n\n") -> str:
    """Return what to show for an error: message and next step with `gap` between them."""
    if isinstance(error, AtlasError):
        return displayable(gap.join(part for part in (error.message, error.remedy) if part))
    return displayable(_("Something unexpected happened: {error}").format(error=repr(error)))


def showError(error: BaseException) -> None:
    """Show an error in one dialog; what is not one of ours goes to the log with its traceback."""
    if not isinstance(error, AtlasError):
        _log.error("a panel failed", exc_info=error)
    slicer.util.errorDisplay(errorText(error))


@contextmanager
def shownErrors() -> Iterator[None]:
    """Show an error of the block in a dialog instead of raising it."""
    try:
        yield
    except Exception as error:  # the edge of the panel: whatever it is, it is shown
        showError(error)


def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a slot that shows what `call` raises and ignores what the signal passes."""

    def slot(*_arguments: Any) -> None:
        with shownErrors():
            call()

    return slot
