"""Waits for work in a background thread without blocking: a timer asks, and the panel is told on the main thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from AtlasReviewLib.background import Cancelled, Work
from AtlasSegmentLib.panel_threads import WAITING_SHARE, letThreadsRun

_POLL_MILLISECONDS = 20
_END_SECONDS = 10.0


class PanelWork:
    """One work at a time; a new one gives up the one before.

    Args:
        progressBar: QProgressBar with 1000 steps, visible only while something takes longer than a moment.
    """

    def __init__(self, progressBar: Any) -> None:
        self._bar = progressBar
        self._work: Work[Any] | None = None
        self._onDone: Callable[[Any], None] | None = None
        self._onFailed: Callable[[Exception], None] | None = None
        self._polls = 0
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._poll)

    @property
    def running(self) -> bool:
        """Tell whether something is awaited."""
        return self._work is not None

    def wait(self, work: Work[Any], onDone: Callable[[Any], None], onFailed: Callable[[Exception], None]) -> None:
        """Call `onDone` with the result, or `onFailed` with the error; at once when it is there already."""
        self.cancel()
        self._work, self._onDone, self._onFailed, self._polls = work, onDone, onFailed, 0
        if work.done:
            self._finish()
        else:
            self._timer.start()

    def cancel(self) -> None:
        """Give up; nobody is told."""
        if self._work is not None:
            self._work.cancel()
        self._stop()

    def cleanup(self) -> None:
        """Give up, wait until the thread has ended, and let go of the timer."""
        work = self._work
        self.cancel()
        if work is not None:
            work.join(_END_SECONDS)
        self._timer.disconnect("timeout()", self._poll)

    def _poll(self) -> None:
        letThreadsRun(WAITING_SHARE)
        if self._work is None:
            return
        if self._work.done:
            self._finish()
            return
        self._polls += 1
        if self._polls > 3:  # a bar that only flashes says nothing
            self._bar.setVisible(True)
            self._bar.setValue(round(1000 * self._work.fraction))

    def _stop(self) -> None:
        self._timer.stop()
        self._bar.setVisible(False)
        self._work = self._onDone = self._onFailed = None

    def _finish(self) -> None:
        work, onDone, onFailed = self._work, self._onDone, self._onFailed
        self._stop()
        if work is None or onDone is None or onFailed is None:
            return
        try:
            result = work.result()
        except Cancelled:
            return
        except Exception as error:  # whatever the thread met is shown by the panel
            onFailed(error)
            return
        onDone(result)
