"""Cases overlapped in one process: while the network runs on one, the next is read and the one before is written.

A case is worked on by one thread from its first stage to its last, and stages of the same kind take turns: at any moment one case
is prepared, one is computed and one is finished. A case holds its turn until it has the next one, so nothing piles up between
stages, and no more than `ALIVE` cases are in memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from AtlasSegmentLib.case_outcome import CaseOutcome, CaseStep, Item, WorkStoppedError, guarded
from AtlasSegmentLib.interrupts import held_interrupts
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

ALIVE = 3
"""Cases in memory at the same time: one in each stage."""
_POLL_SECONDS = 0.2
Prepared = TypeVar("Prepared")
Computed = TypeVar("Computed")
Finished = TypeVar("Finished")


class Turns:
    """Who may prepare, compute and finish now. Every process has one of them, `TURNS`, for all its threads."""

    def __init__(self, alive: int = ALIVE) -> None:
        self._alive = threading.BoundedSemaphore(alive)
        self._prepare, self._compute, self._finish = threading.Lock(), threading.Lock(), threading.Lock()

    def run(
        self,
        prepare: Callable[[], Prepared | None],
        compute: Callable[[Prepared], Sequence[Callable[[], Computed]]],
        finish: Callable[[Computed], Finished],
    ) -> list[Finished]:
        """Take one case through its stages.

        Args:
            prepare: Reads what the network needs; None when there is nothing to compute.
            compute: Gives the pieces of work, each computed when it is called. Their number is known before, so that a case
                whose last piece is written ends without waiting for the network once more.
            finish: Resamples and writes a piece; it is forgotten before the next is computed.

        Returns:
            What `finish` returned for each piece.

        Raises:
            What a stage raises; the turns pass on.
        """
        with self._alive:
            with _held(self._prepare) as prepare_turn:
                prepared = prepare()
                if prepared is None:
                    return []
                pieces = deque(compute(prepared))
                del prepared  # from now on the pieces decide how long it lives
                self._compute.acquire()
                prepare_turn.release()
            finished = [self._next(pieces, finish)]
            while pieces:
                self._compute.acquire()
                finished.append(self._next(pieces, finish))
            return finished

    def _next(self, pieces: deque[Callable[[], Computed]], finish: Callable[[Computed], Finished]) -> Finished:
        """Compute the next piece with the turn that is held, and finish it."""
        with _held(self._compute, is_taken=True) as compute_turn:
            piece = pieces.popleft()()
            self._finish.acquire()
            compute_turn.release()
        with _held(self._finish, is_taken=True):
            return finish(piece)


TURNS = Turns()


class _Turn:
    def __init__(self, lock: threading.Lock) -> None:
        self._lock: threading.Lock | None = lock

    def release(self) -> None:
        """Let the next one have it; once is enough."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


@contextmanager
def _held(lock: threading.Lock, *, is_taken: bool = False) -> Iterator[_Turn]:
    """Hold a lock until the block ends or gives it away."""
    if not is_taken:
        lock.acquire()
    turn = _Turn(lock)
    try:
        yield turn
    finally:
        turn.release()


def run_overlapped(
    items: Sequence[Item],
    step: CaseStep[Item],
    name_of: Callable[[Item], str],
    progress: ProgressCallback = ignore_progress,
    *,
    alive: int = ALIVE,
) -> Generator[tuple[int, CaseOutcome], None, None]:
    """Run a step on items in `alive` threads; a step that goes through `TURNS` overlaps its stages, and one that does not runs as it is.

    Args:
        items: Taken in their order; no more than `alive` are begun and not finished.
        step: See `CaseStep`.
        name_of: Names an item.
        progress: Told the finished share of all items.
        alive: Threads, and so items in memory.

    Yields:
        (number of the item, what became of it), as they end.

    When the consumer stops (Ctrl-C), the running steps end at their next progress report and clean up, and nothing new begins.
    """
    board = _Board(len(items), progress)
    waiting = iter(range(len(items)))
    running: dict[Future[CaseOutcome], int] = {}

    def begin(pool: ThreadPoolExecutor) -> None:
        number = next(waiting, None)
        if number is not None:
            name = name_of(items[number])
            running[pool.submit(guarded, items[number], step, name, board.callback(number, name))] = number

    with held_interrupts() as interrupts, ThreadPoolExecutor(alive, "atlas-case") as pool:
        try:
            for _ in range(alive):
                begin(pool)
            while running:
                done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                interrupts.check()
                for future in sorted(done, key=running.__getitem__):
                    number = running.pop(future)
                    outcome = future.result()
                    board.finish(number, outcome)
                    yield number, outcome
                    begin(pool)
        finally:
            board.stop()


class _Board:
    """Progress of several items told as one share that never goes back, and the wish to stop."""

    def __init__(self, count: int, progress: ProgressCallback) -> None:
        self._count, self._progress = count, progress
        self._shares: dict[int, float] = {}
        self._finished = 0
        self._told = 0.0
        self._is_stopped = False
        self._lock = threading.Lock()

    def callback(self, number: int, name: str) -> ProgressCallback:
        """Return the progress callback of one item."""

        def tell(fraction: float, message: str) -> None:
            if self._is_stopped:
                raise WorkStoppedError
            with self._lock:
                self._shares[number] = fraction
                self._tell(f"{name}: {message}")

        return tell

    def finish(self, number: int, outcome: CaseOutcome) -> None:
        """Count an item as finished."""
        with self._lock:
            self._shares.pop(number, None)
            self._finished += 1
            self._tell(f"{outcome.name}: {outcome.state}")

    def stop(self) -> None:
        """Make every callback raise WorkStoppedError from now on."""
        self._is_stopped = True

    def _tell(self, text: str) -> None:
        self._told = max(self._told, (self._finished + sum(self._shares.values())) / self._count)
        self._progress(min(1.0, self._told), text)


def run_staged(
    prepare: Callable[[], Prepared | None],
    compute: Callable[[Prepared], Sequence[Callable[[], Computed]]],
    finish: Callable[[Computed], Finished],
) -> list[Finished]:
    """Take one case through its stages with the turns of this process; see `Turns.run`."""
    return TURNS.run(prepare, compute, finish)
