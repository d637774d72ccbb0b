"""One call at a time in a background thread, to be asked for its result: for reading files without blocking the panel.

The call may use arrays and files; nothing of MRML or Qt, which belong to the main thread. Python's cyclic garbage collector
runs in whichever thread happens to allocate, and would there destroy Qt and VTK objects that some panel left behind: it is
off while such a thread runs.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


_lock = threading.Lock()
_running: set[int] = set()
_was_enabled = False


def _pause_collection(number: int) -> None:
    global _was_enabled  # noqa: PLW0603 - the collector is one for all
    with _lock:
        if not _running and gc.isenabled():
            _was_enabled = True
            gc.disable()
        _running.add(number)


def resume_collection() -> None:
    """Turn the garbage collector on again when no call runs any more; to be called on the main thread, often."""
    global _was_enabled  # noqa: PLW0603
    if threading.current_thread() is not threading.main_thread():
        return
    with _lock:
        if not _running and _was_enabled:
            _was_enabled = False
            gc.enable()


class Cancelled(Exception):  # noqa: N818 - it is no error
    """Raised inside a call that was cancelled, to end it."""


class Work(Generic[T]):
    """A call that runs in a thread of its own.

    Args:
        call: Called with this object: it can report progress and ask whether it was cancelled.
    """

    def __init__(self, call: Callable[[Work[T]], T]) -> None:
        self._call = call
        self._cancelled = threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None
        self.fraction, self.text = 0.0, ""
        self._thread = threading.Thread(target=self._run, name="AtlasReview reader", daemon=True)
        _pause_collection(id(self))
        self._thread.start()

    @property
    def done(self) -> bool:
        """Tell whether it returned, failed or ended because it was cancelled."""
        ended = not self._thread.is_alive()
        resume_collection()
        return ended

    @property
    def cancelled(self) -> bool:
        """Tell whether `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the call to end at its next `check`; returns at once."""
        self._cancelled.set()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end, at most some seconds."""
        self._thread.join(seconds)
        resume_collection()

    def check(self) -> None:
        """End the call when it was cancelled; to be called from within it, often."""
        if self.cancelled:
            raise Cancelled

    def progress(self, fraction: float, text: str) -> None:
        """Note how far the call is, and end it when it was cancelled; to be called from within it."""
        self.check()
        self.fraction, self.text = fraction, text

    def result(self) -> T:
        """Wait for the end and return what the call returned.

        Raises:
            Cancelled: It was cancelled.
            Exception: What the call raised.
        """
        self.join()
        if self._error is not None:
            raise self._error
        if self.cancelled:
            raise Cancelled
        return self._result  # type: ignore[return-value]  # without an error there is a result

    def _run(self) -> None:
        try:
            self._result = self._call(self)
        except BaseException as error:
            self._error = error
        finally:
            del self._call  # what it holds, such as the arrays of an earlier case, is not needed any more
            with _lock:
                _running.discard(id(self))
