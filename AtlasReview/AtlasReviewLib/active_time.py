"""How long a reader really worked: time counts while something happens, and stops after a while of nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

IDLE_SECONDS = 120.0
"""Long enough to read a slice without touching anything, short enough not to count a coffee."""


class ActiveTime:
    """A stop watch that is fed with events (a key, a click, a wheel turn) and counts between them.

    A gap longer than `idle_after` counts as `idle_after`: the reader was looking, then left. A clock that jumps back
    counts nothing.

    Args:
        clock: Seconds, such as `time.monotonic`.
        idle_after: Seconds of nothing after which nobody is there.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, idle_after: float = IDLE_SECONDS) -> None:
        self._clock, self._idle_after = clock, idle_after
        self._counted = self._taken = 0.0
        self._last: float | None = None

    @property
    def running(self) -> bool:
        """Tell whether it was started and not stopped."""
        return self._last is not None

    @property
    def idle(self) -> bool:
        """Tell whether nothing happened for longer than `idle_after`, or it is stopped."""
        return self._last is None or self._clock() - self._last > self._idle_after

    @property
    def seconds(self) -> float:
        """Active seconds since the start."""
        return self._counted + self._gap()

    def start(self) -> None:
        """Begin at zero."""
        self._counted = self._taken = 0.0
        self._last = self._clock()

    def activity(self) -> None:
        """Note that the reader did something; without effect when it is stopped."""
        if self._last is not None:
            self._counted += self._gap()
            self._last = self._clock()

    def take(self) -> float:
        """Return the active seconds since the start or the last take; taking often adds up to taking once."""
        total = self.seconds
        new = max(0.0, total - self._taken)
        self._taken = max(total, self._taken)
        return new

    def stop(self) -> float:
        """Stop, and return the active seconds since the last take."""
        new = self.take()
        self._last = None
        self._counted = self._taken = 0.0
        return new

    def _gap(self) -> float:
        if self._last is None:
            return 0.0
        return min(max(0.0, self._clock() - self._last), self._idle_after)
