"""Errors that the panel raises on purpose, shown once; the panel goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import slicer

from AtlasSegmentLib.errors import AtlasError


@contextmanager
def shownErrors() -> Iterator[None]:
    """Show an AtlasError of the block in one dialog: what is wrong, and what to do next. Others are let through."""
    try:
        yield
    except AtlasError as error:
        slicer.util.errorDisplay("\n\n".join(part for part in (error.message, error.remedy) if part))
