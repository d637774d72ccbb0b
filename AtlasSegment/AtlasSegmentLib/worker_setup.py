"""What happens in a worker process: set up once before its first case, and a case that ends when nobody wants it any longer."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from typing import Any

from AtlasSegmentLib.case_outcome import CaseOutcome, CaseStep, Item, WorkStoppedError, guarded
from AtlasSegmentLib.cpu_threads import set_threads
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.gpu_resources import gpu_of, take_gpu
from AtlasSegmentLib.run_record import software_versions

PROGRAM = "slicer-atlas-annotator"
_lock = threading.Lock()
_done: set[str] = set()


class ClusterError(AtlasError):
    """The scheduler or its workers cannot do the work of this program."""


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker process sets up before its first case.

    Attributes:
        version: Version of the program that sends the cases.
        threads: CPU threads for one network; 0: as many as the worker was given (`dask worker --nthreads`).
        gpus: GPUs of this machine to share out among its workers, by their numbers; empty leaves that to who started them.
    """

    version: str | None
    threads: int = 0
    gpus: tuple[str, ...] = field(default=())


def work(item: Item, step: CaseStep[Item], name: str, setup: WorkerSetup) -> CaseOutcome:
    """Run one case in a Dask worker; see `guarded`. What becomes of a case that was canceled is nobody's business.

    Raises:
        ClusterError: The worker has another version of this program: its results would not be ours.
    """
    worker = _worker()
    if worker is not None:
        _set_up(worker, setup)
    key = _task_key()

    def progress(fraction: float, message: str) -> None:
        del fraction, message  # the scheduler is not told: ten thousand cases would keep it busy
        if worker is not None and _is_unwanted(worker, key):
            raise WorkStoppedError

    return guarded(item, step, name, progress)


def other_version(who: str, theirs: str | None, ours: str | None) -> ClusterError:
    """Return the error to raise when a scheduler or worker has another version of this program."""
    told = [version or "(a source checkout)" for version in (theirs, ours)]
    remedy = "Install the same version there and here, then run again; finished work is kept."
    return ClusterError(f"{who} has Atlas Annotator {told[0]}, and this program is {told[1]}.", remedy)


def own_version() -> str | None:
    """Return the version of this program; None in a source checkout that is not installed."""
    return versions().get(PROGRAM)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers, as a worker has them."""
    return software_versions()


def dask_setup(worker: Any) -> None:
    """Called by Dask in the workers that this program starts: Ctrl-C reaches them too, and the program alone shall act on it."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _worker() -> Any:
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:  # not in a worker
        return None


def _set_up(worker: Any, setup: WorkerSetup) -> None:
    with _lock:
        if worker.id in _done:
            return
        if (found := own_version()) != setup.version:
            who = f"{worker.address}: this worker"
            raise other_version(who, found, setup.version)
        _done.add(worker.id)
        number = str(worker.name)
        gpu = gpu_of(int(number), list(setup.gpus)) if number.isdecimal() else None
        if gpu is not None:
            take_gpu(gpu)
        set_threads(setup.threads or int(worker.state.nthreads))


def _task_key() -> Any:
    import distributed.worker

    return getattr(getattr(distributed.worker, "thread_state", None), "key", None)


def _is_unwanted(worker: Any, key: Any) -> bool:
    """Tell whether the client has canceled the running task, or the worker is leaving."""
    task = worker.state.tasks.get(key)
    return task is None or task.state == "cancelled" or worker.status.name not in ("running", "paused", "closing_gracefully")
