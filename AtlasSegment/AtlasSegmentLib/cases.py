"""The same step over many cases: here one after another or overlapped, or on Dask workers; a failed case never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from AtlasSegmentLib.case_cluster import local_client, remote_client
from AtlasSegmentLib.case_outcome import CaseOutcome, CaseStep, Item, guarded
from AtlasSegmentLib.case_pipeline import run_overlapped
from AtlasSegmentLib.case_workers import run_on_workers
from AtlasSegmentLib.cpu_threads import threads_for
from AtlasSegmentLib.gpu_resources import visible_gpus
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.worker_setup import WorkerSetup, own_version

__all__ = ["CaseOutcome", "CaseStep", "run_cases", "threads_for"]
_log = logging.getLogger(__name__)
Outcomes = Generator[tuple[int, CaseOutcome], None, None]


def run_cases(
    items: Sequence[Item],
    step: CaseStep[Item],
    name_of: Callable[[Item], str],
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: ProgressCallback = ignore_progress,
    overlap: bool = False,
    gpu: bool = False,
) -> list[CaseOutcome]:
    """Run a step over items.

    Args:
        items: Usually cases.
        step: See `CaseStep`.
        name_of: Names an item in progress and outcome.
        jobs: Worker processes on this machine; 1 runs in this process.
        scheduler: Address of a Dask scheduler to use instead, such as "tcp://host:8786".
        progress: Told the finished share of all items; from several threads, one after another, with `overlap`.
        overlap: In this process, let several items overlap; for steps that go through `case_pipeline.TURNS`.
        gpu: The step runs networks: workers of a scheduler that offer a GPU are taken before others.

    Returns:
        One outcome for each item, in the order of `items`. A KeyboardInterrupt passes, when what runs has cleaned up.

    Raises:
        InputError: Workers are asked for and dask.distributed is not installed or cannot be reached.
        ClusterError: The scheduler is lost in between; or a worker has another version of this program.
    """
    if scheduler is not None or (jobs > 1 and len(items) > 1):
        ended = _on_workers(items, step, name_of, min(jobs, len(items)), scheduler, progress, gpu=gpu)
    elif overlap and len(items) > 1:
        ended = run_overlapped(items, step, name_of, progress)
    else:
        ended = _one_by_one(items, step, name_of, progress)
    outcomes: dict[int, CaseOutcome] = {}
    told: set[str] = set()
    with closing(ended):
        for number, outcome in ended:
            outcomes[number] = outcome
            if outcome.details and outcome.details not in told:  # once, when ten thousand cases fail alike
                told.add(outcome.details)
                _log.error("%s failed unexpectedly\n%s", outcome.name, outcome.details)
    return [outcomes[number] for number in range(len(items))]


def _one_by_one(items: Sequence[Item], step: CaseStep[Item], name_of: Callable[[Item], str], progress: ProgressCallback) -> Outcomes:
    for number, item in enumerate(items):
        name = name_of(item)

        def of_all(fraction: float, message: str, number: int = number, name: str = name) -> None:
            progress((number + fraction) / len(items), f"{name}: {message}")

        of_all(0.0, "start")
        outcome = guarded(item, step, name, of_all)
        of_all(1.0, outcome.state)
        yield number, outcome


def _on_workers(
    items: Sequence[Item],
    step: CaseStep[Item],
    name_of: Callable[[Item], str],
    jobs: int,
    scheduler: str | None,
    progress: ProgressCallback,
    *,
    gpu: bool,
) -> Outcomes:
    is_remote = scheduler is not None
    setup = WorkerSetup(own_version(), 0 if is_remote else threads_for(jobs), tuple(visible_gpus()) if gpu and not is_remote else ())
    with (
        remote_client(scheduler) if scheduler is not None else local_client(jobs) as client,
        closing(run_on_workers(client, items, step, name_of, setup, gpu=gpu and is_remote)) as ended,
    ):
        progress(0.0, f"{len(items)} to do")
        for count, (number, outcome) in enumerate(ended, start=1):
            progress(count / len(items), f"{outcome.name}: {outcome.state}")
            yield number, outcome
