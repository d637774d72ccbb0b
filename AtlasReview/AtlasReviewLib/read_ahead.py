"""Reads the next task while the reader works on this one, so that it opens at once. At most one task ahead is kept."""

from __future__ import annotations

from pathlib import Path

from AtlasReviewLib.background import Work
from AtlasReviewLib.review_case import FIRST, Load, ReviewCase, View, load_review_case

Key = tuple[Path, str, View]
_END_SECONDS = 10.0  # far more than reading one file takes


class ReadAhead:
    """Gives tasks from the background: the one wanted now, and one that is wanted next.

    Args:
        load: Reads a task; `load_review_case`.
    """

    def __init__(self, load: Load = load_review_case) -> None:
        self._load = load
        self._work: Work[ReviewCase] | None = None
        self._key: Key | None = None

    @property
    def key(self) -> Key | None:
        """Case folder, organ and view of the task that is read or ready, or None."""
        return self._key

    @property
    def reading(self) -> bool:
        """Tell whether a thread is at work."""
        return self._work is not None and not self._work.done

    def request(self, folder: Path, organ: str, known: ReviewCase | None = None, view: View = FIRST) -> Work[ReviewCase]:
        """Start reading a task unless it is being read or ready; any other one is given up.

        An error is kept until the task is taken, when it concerns somebody. One that failed or whose files changed since
        is read again by the next request after it was taken.
        """
        key = (Path(folder), organ, view)
        if self._work is not None and self._key == key and not self._work.cancelled:
            return self._work
        self.cancel()
        load = self._load
        self._key = key
        self._work = Work(lambda work: load(key[0], organ, work.progress, known, view))
        return self._work

    def take(self) -> ReviewCase:
        """Wait for the requested task, return it and keep nothing.

        Raises:
            AtlasError: As `load_review_case`.
            Cancelled: It was given up meanwhile.
            LookupError: Nothing was requested.
        """
        if self._work is None:
            raise LookupError
        work, self._work, self._key = self._work, None, None
        return work.result()

    def cancel(self) -> None:
        """Give up what is read or ready; returns at once, the thread ends at its next step."""
        if self._work is not None:
            self._work.cancel()
        self._work = self._key = None

    def close(self) -> None:
        """Give up what is read or ready, and wait until the thread has ended."""
        work = self._work
        self.cancel()
        if work is not None:
            work.join(_END_SECONDS)
