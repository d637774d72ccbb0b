"""Cases on Dask workers: submitted in a window that moves over the list, so that ten thousand cost the scheduler no more than fifty."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from AtlasSegmentLib.case_cluster import Workers, lacks_package
from AtlasSegmentLib.case_outcome import CaseOutcome, CaseStep, Item
from AtlasSegmentLib.worker_setup import ClusterError, WorkerSetup, work

_log = logging.getLogger(__name__)
_POLL_SECONDS = 1.0


def run_on_workers(
    client: Any, items: Sequence[Item], step: CaseStep[Item], name_of: Callable[[Item], str], setup: WorkerSetup, *, gpu: bool
) -> Generator[tuple[int, CaseOutcome], None, None]:
    """Run a step on the workers of a client.

    Yields:
        (number of the item, what became of it), as they end.

    Raises:
        ClusterError: The scheduler is lost, or a worker is not as this program.

    When the consumer stops (Ctrl-C), running cases are canceled: they end at their next progress report and clean up.
    """
    from distributed import CancelledError, KilledWorker

    run = _Run(client, Workers(client, gpu=gpu))
    left = iter(range(len(items)))
    suspects: list[int] = []
    done = 0

    def submit(number: int) -> None:
        run.submit(number, work, items[number], step, name_of(items[number]), setup)

    try:
        while True:
            run.workers.refresh()
            for number in _taken(left, run.room):
                submit(number)
            if not run.pending:
                break
            for number, future in run.finished():
                if isinstance(future.exception(), KilledWorker):
                    suspects.append(number)
                else:
                    done += 1
                    yield number, _outcome_of(future, name_of(items[number]))
        # A dying worker also fails the cases that waited on it. Each runs again, alone: then only the one that kills fails.
        for number in suspects:
            submit(number)
            while run.pending:
                run.workers.refresh()
                for _, future in run.finished():
                    done += 1
                    yield number, _outcome_of(future, name_of(items[number]))
    except (CancelledError, OSError, TimeoutError) as error:
        message = f"{client.scheduler.address if client.scheduler else 'Dask'}: the scheduler was lost after {done} of {len(items)} cases."
        raise ClusterError(message, "Start it and its workers again, then run the same command: finished cases are skipped.") from error
    finally:
        run.cancel()


class _Run:
    """The futures of one run, and none that is not needed any longer."""

    def __init__(self, client: Any, workers: Workers) -> None:
        self._client, self.workers = client, workers
        self.pending: dict[Any, int] = {}

    @property
    def room(self) -> int:
        """How many more may be submitted now."""
        return max(0, self.workers.window - len(self.pending))

    def submit(self, number: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Submit the work of one item."""
        future = self._client.submit(function, *arguments, pure=False, resources=self.workers.demand)
        self.pending[future] = number

    def finished(self) -> list[tuple[int, Any]]:
        """Wait a little and return what has ended, the oldest first. Raises CancelledError when the scheduler is lost."""
        from distributed import wait

        try:
            done = wait(list(self.pending), timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return []
        return sorted(((self.pending.pop(future), future) for future in done), key=lambda pair: pair[0])

    def cancel(self) -> None:
        """Tell the scheduler that the rest is not wanted any longer."""
        from distributed import CancelledError

        futures = list(self.pending)
        self.pending.clear()
        if futures and self._client.status == "running":
            try:
                self._client.cancel(futures, force=True)
            except (CancelledError, OSError, TimeoutError) as error:
                _log.info("%d cases were not canceled (%r).", len(futures), error)


def _taken(numbers: Iterator[int], count: int) -> Iterator[int]:
    for _ in range(count):
        number = next(numbers, None)
        if number is None:
            return
        yield number


def _outcome_of(future: Any, name: str) -> CaseOutcome:
    from distributed import KilledWorker

    error = future.exception()
    if error is None:
        outcome: CaseOutcome = future.result()
        return outcome
    if isinstance(error, ClusterError):
        raise error
    _log.info("%s failed on its worker: %r", name, error)
    if isinstance(error, KilledWorker):
        message = f"{name}: its worker process was killed; the system and Dask do that when memory runs out."
        return CaseOutcome(name, "failed", error=message, remedy="Give workers more memory, use fewer --jobs, or an ROI; then run again.")
    for cause in (error, error.__cause__):
        if isinstance(cause, ImportError):  # of the step itself: what a case's data raise is an outcome
            who = f"{name}: its worker or the scheduler"
            raise lacks_package(who, cause) from error
    return CaseOutcome(name, "failed", error=f"{name}: its worker failed ({type(error).__name__}).", remedy="Run again; use fewer --jobs.")
