"""Python threads move on in Slicer although its event loop keeps the interpreter lock."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from AtlasSegmentLib.panel_threads import letThreadsRun

# Files with a timer that waits for a thread.
WAITING = ("AtlasSegment/AtlasSegmentLib/panel_job.py", "AtlasReview/AtlasReviewLib/panel_background.py")


@pytest.fixture
def lock_is_kept() -> Iterator[None]:
    """Let the main thread keep the interpreter lock until it gives it up, as it does in Slicer's event loop."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def busy(seconds: float) -> None:
    """Work in Python without giving the lock up."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.usefixtures("lock_is_kept")
def test_a_thread_moves_on_only_when_it_is_let() -> None:
    steps: list[int] = []
    go = threading.Event()

    def count() -> None:
        go.wait()
        for step in range(5):
            steps.append(step)
            time.sleep(0)  # as reading a pipe or unpacking a file does

    thread = threading.Thread(target=count)
    thread.start()
    letThreadsRun()
    go.set()
    busy(0.05)
    assert steps == []
    for _ in range(50):  # once is enough, unless other processes keep the thread from a core
        letThreadsRun()
        if len(steps) == 5:
            break
    assert steps == [0, 1, 2, 3, 4]
    thread.join()


@pytest.mark.parametrize("file", WAITING)
def test_every_timer_that_waits_for_a_thread_lets_it_run(repository: Path, file: str) -> None:
    assert "letThreadsRun(" in (repository / file).read_text(encoding="utf-8")
