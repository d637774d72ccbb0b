"""The GUI edge: what goes wrong in a slot is shown once, as one message, and the panel stays usable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib.errors import AtlasError

_log = logging.getLogger(__name__)


def messageOf(error: AtlasError) -> str:
    """Return what is wrong and, in a paragraph of its own, the next step."""
    return f"{error.message}\n\n{error.remedy}" if error.remedy else error.message


@contextmanager
def shownErrors() -> Iterator[None]:
    """Show an error of the block in a dialog instead of raising it."""
    try:
        yield
    except AtlasError as error:
        slicer.util.errorDisplay(messageOf(error))
    except Exception as error:  # the edge of the panel: logged whole, shown in one line
        _log.exception("unexpected failure")
        slicer.util.errorDisplay(_("This did not work: {error}").format(error=error))
