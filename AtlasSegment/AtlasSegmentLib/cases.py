"""The same step over many cases: here one after another, or on Dask workers; a failed case never stops the others."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

_log = logging.getLogger(__name__)
Item = TypeVar("Item")
CaseStep = Callable[[Item, ProgressCallback], "dict[str, Any] | None"]
"""What is done for one item; returns a result, or None when it was done before. Must be picklable for workers."""


@dataclass(frozen=True)
class CaseOutcome:
    """What became of one item.

    Attributes:
        name: The item, for people.
        state: "done", "skipped" (finished before) or "failed".
        result: What the step returned.
        error: Message of the failure.
        remedy: The next step.
    """

    name: str
    state: Literal["done", "skipped", "failed"]
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    remedy: str = ""


def run_cases(
    items: Sequence[Item],
    step: CaseStep[Item],
    name_of: Callable[[Item], str],
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: ProgressCallback = ignore_progress,
) -> list[CaseOutcome]:
    """Run a step over items.

    Args:
        items: Usually cases.
        step: See `CaseStep`.
        name_of: Names an item in progress and outcome.
        jobs: Worker processes on this machine; 1 runs in this process.
        scheduler: Address of a Dask scheduler to use instead, such as "tcp://host:8786".
        progress: Told the finished share of all items.

    Returns:
        One outcome for each item, in the order of `items`.

    Raises:
        InputError: Workers are asked for and dask.distributed is not installed or cannot be reached.
    """
    if scheduler is None and (jobs <= 1 or len(items) <= 1):
        return [_run_here(item, step, name_of(item), n, len(items), progress) for n, item in enumerate(items)]
    return _run_on_workers(items, step, name_of, jobs, scheduler, progress)


def _run_here(item: Item, step: CaseStep[Item], name: str, number: int, count: int, progress: ProgressCallback) -> CaseOutcome:
    def of_all(fraction: float, message: str) -> None:
        progress((number + fraction) / count, f"{name}: {message}")

    of_all(0.0, "start")
    outcome = _guarded(item, step, name, of_all)
    of_all(1.0, outcome.state)
    return outcome


def _guarded(item: Item, step: CaseStep[Item], name: str, progress: ProgressCallback = ignore_progress) -> CaseOutcome:
    """Run one item and turn what can go wrong with a case's data or disk into an outcome."""
    try:
        result = step(item, progress)
    except AtlasError as error:
        return CaseOutcome(name, "failed", error=error.message, remedy=error.remedy)
    except OSError as error:
        return CaseOutcome(name, "failed", error=f"{name}: {error}.", remedy="Check the disk and permissions, then run again.")
    except MemoryError:
        return CaseOutcome(name, "failed", error=f"{name}: not enough memory.", remedy="Use fewer --jobs, or an ROI.")
    return CaseOutcome(name, "skipped") if result is None else CaseOutcome(name, "done", result)


def _run_on_workers(
    items: Sequence[Item],
    step: CaseStep[Item],
    name_of: Callable[[Item], str],
    jobs: int,
    scheduler: str | None,
    progress: ProgressCallback,
) -> list[CaseOutcome]:
    with _client(min(jobs, len(items)), scheduler) as client:
        from distributed import KilledWorker, as_completed

        futures = [client.submit(_guarded, item, step, name_of(item), pure=False) for item in items]
        numbers = {future.key: number for number, future in enumerate(futures)}
        outcomes: dict[int, CaseOutcome] = {}

        def finish(number: int, future: Any) -> None:
            outcomes[number] = _outcome_of(future, name_of(items[number]))
            progress(len(outcomes) / len(items), f"{outcomes[number].name}: {outcomes[number].state}")

        progress(0.0, f"{len(items)} to do")
        suspects = []
        for future in as_completed(futures):
            if isinstance(future.exception(), KilledWorker):
                suspects.append(numbers[future.key])
            else:
                finish(numbers[future.key], future)
        # A dying worker also fails the cases that waited on it. Each runs again, alone: then only the one that kills fails.
        for number in suspects:
            finish(number, client.submit(_guarded, items[number], step, name_of(items[number]), pure=False))
    return [outcomes[number] for number in range(len(items))]


def _outcome_of(future: Any, name: str) -> CaseOutcome:
    error = future.exception()
    if error is None:
        outcome: CaseOutcome = future.result()
        return outcome
    _log.warning("%s failed on its worker: %r", name, error)
    return CaseOutcome(name, "failed", error=f"{name}: its worker failed ({type(error).__name__}).", remedy="Run again; use fewer --jobs.")


@contextmanager
def _client(jobs: int, scheduler: str | None) -> Iterator[Any]:
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        message = "Worker processes need dask.distributed, which is not installed."
        raise InputError(message, 'Run: pip install "slicer-atlas-annotator[cluster]", or use --jobs 1.') from error
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="20s")
        except (OSError, TimeoutError, ValueError) as error:
            message = f"{scheduler}: no Dask scheduler answers there ({error})."
            raise InputError(message, "Start one with: dask scheduler, and give its tcp:// address.") from error
        with client:
            yield client
        return
    quiet = {"distributed.worker.daemon": False, "distributed.admin.log-format": "%(message)s"}
    once = {"distributed.scheduler.allowed-failures": 0}  # what a killed worker held is tried again by _run_on_workers
    with (
        dask.config.set({**quiet, **once}),
        LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR) as cluster,
        Client(cluster) as client,
    ):
        yield client


def threads_for(jobs: int) -> int:
    """Return CPU threads for one prediction when `jobs` run side by side on this machine; at least 1."""
    return max(1, (os.cpu_count() or 1) // max(1, jobs))
