"""Ctrl-C at places of our choosing: Python raises it anywhere, also while a lock of the standard library is half taken, for ever."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class HeldInterrupts:
    """Whether Ctrl-C was pressed, and the place to act on it."""

    def __init__(self) -> None:
        self._is_pressed = False

    def check(self) -> None:
        """Raise KeyboardInterrupt when Ctrl-C was pressed since the last time."""
        if self._is_pressed:
            self._is_pressed = False
            raise KeyboardInterrupt

    def press(self, number: int, frame: FrameType | None) -> None:
        """Note a Ctrl-C; one more, before anybody acted on it, is raised at once: somebody is in a hurry."""
        if self._is_pressed:
            signal.default_int_handler(number, frame)
        self._is_pressed = True


@contextmanager
def held_interrupts() -> Iterator[HeldInterrupts]:
    """Hold Ctrl-C back during the block; `check` raises it, and so does the end of the block.

    Elsewhere than in the main thread, or where the program handles Ctrl-C itself, nothing is changed and nothing is noted.
    """
    held = HeldInterrupts()
    is_ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_ours:
        yield held
        return
    signal.signal(signal.SIGINT, held.press)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    held.check()
