"""How long a job still takes, from the progress it has told."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

_WARM_UP_SECONDS = 2.0
_WARM_UP_FRACTION = 0.03
_SAMPLES = 60


class RemainingTime:
    """Estimates the remaining seconds of a job.

    The speed is the median of the mean speeds since each of the last samples: one long or short step changes it little. No answer is
    given while there is too little to go by, and when a step takes longer than all the rest should.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)
        self._start: tuple[float, float] | None = None

    def update(self, now: float, fraction: float) -> None:
        """Take a piece of progress.

        Args:
            now: Seconds on any clock that never goes back.
            fraction: Finished share, 0..1. One that is smaller than before starts a new measurement, one that is no number is passed over.
        """
        if not math.isfinite(fraction):
            return
        share = min(max(fraction, 0.0), 1.0)
        if self._start is None or share < self._samples[-1][1]:
            self._samples.clear()
            self._start = (now, share)
            self._samples.append(self._start)
        elif share > self._samples[-1][1]:
            self._samples.append((now, share))

    def seconds(self, now: float) -> float | None:
        """Return the seconds that remain at the time `now`, None when they cannot be told."""
        if self._start is None:
            return None
        last_time, last = self._samples[-1]
        if last >= 1.0:
            return 0.0
        if now - self._start[0] < _WARM_UP_SECONDS or last - self._start[1] < _WARM_UP_FRACTION:
            return None
        spans = [(last_time - time, last - share) for time, share in [self._start, *list(self._samples)[:-1]] if last_time > time]
        speed = median(share / time for time, share in spans) if spans else 0.0
        if speed <= 0.0:
            return None
        left = (1.0 - last) / speed - (now - last_time)
        return left if left > 0.0 else None


def rounded_seconds(seconds: float) -> int:
    """Return a duration as people say it: whole seconds below 10 s, steps of 5 s below 1 min, of 30 s below 10 min, then minutes; >= 1."""
    step = next(step for limit, step in ((10, 1), (60, 5), (600, 30), (math.inf, 60)) if seconds < limit)
    return max(1, round(seconds / step) * step)
