"""How long work tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[float, str], None]
"""Called with the finished share, 0..1, and the stage."""


def ignore_progress(fraction: float, message: str) -> None:
    """Report nothing."""


def part_of(progress: ProgressCallback, low: float, high: float) -> ProgressCallback:
    """Return a callback for a part of some work, whose finished share 0..1 is shown as low..high of the whole."""
    return lambda share, text: progress(low + (high - low) * share, text)
