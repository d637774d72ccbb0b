"""Dask workers to run cases on: started here, or those of a scheduler that runs elsewhere; asked who they are before the work."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.gpu_resources import demand
from AtlasSegmentLib.worker_setup import PROGRAM, ClusterError, dask_setup, other_version, versions

_log = logging.getLogger(__name__)
CONNECT_SECONDS = 20.0
_REFRESH_SECONDS = 5.0
_LEAST_WINDOW = 32


def _require_dask() -> None:
    try:
        import distributed  # noqa: F401 - the same here and in the workers
    except ImportError as error:
        message = "Worker processes need dask.distributed, which is not installed."
        raise InputError(message, 'Run: pip install "slicer-atlas-annotator[cluster]", or use --jobs 1.') from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's own log to itself, unless the program was asked to be verbose: what people need to know is said by this program."""
    if logging.getLogger().isEnabledFor(logging.INFO):
        yield
        return
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]  # which set levels of their own
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back. Processes that are started meanwhile never get it: the program alone acts on it, and ends them.

    Their own `dask_setup` would come too late for a Ctrl-C while they still import.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # a process of Python's own, whose start would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def local_client(jobs: int) -> Iterator[Any]:
    """Start worker processes on this machine and yield their client; they end with the block.

    Raises:
        InputError: dask.distributed is not installed.
    """
    _require_dask()
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.worker.daemon": False,
        "distributed.worker.profile.enabled": False,  # its samples grow with the number of cases
        "distributed.admin.log-format": "%(message)s",
        "distributed.worker.preload": [dask_setup.__module__],
        "distributed.scheduler.allowed-failures": 0,  # what a killed worker held is tried again, alone, by run_on_workers
        # Nothing of ours is in Dask's own memory, so it has nothing to spill, and a paused worker would wait for ever.
        **dict.fromkeys((f"distributed.worker.memory.{name}" for name in ("target", "spill", "pause")), False),
    }
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(dask.config.set(settings))
        with _without_interrupts():
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                silence_logs=logging.CRITICAL,
                # Two runs side by side: each has a status page of its own, for this machine alone, and Bokeh is not loaded for it.
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            )
            stack.enter_context(cluster)
            client = stack.enter_context(Client(cluster))
        yield client


@contextmanager
def remote_client(address: str) -> Iterator[Any]:
    """Connect to a scheduler and yield the client; scheduler and workers stay when the block ends.

    Raises:
        InputError: dask.distributed is not installed, or no scheduler answers there.
    """
    _require_dask()
    from distributed import Client

    with _quiet():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # versions that differ are told by Workers.refresh
                asyncio.run(_shake_hands(address))
                client = Client(address, timeout=CONNECT_SECONDS, name="atlas")
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()
            message = f"{address}: no Dask scheduler answers there ({reason[0] if reason else type(error).__name__})."
            raise InputError(message, "Start one with: dask scheduler, and give its tcp:// address.") from error
        try:
            yield client
        finally:
            with suppress(OSError, TimeoutError):
                client.close(timeout=2)


async def _shake_hands(address: str) -> None:
    """Meet a scheduler and leave. Dask's client would wait for ever when something else listens there and never answers."""
    from distributed.comm.core import connect
    from distributed.security import Security

    options = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=CONNECT_SECONDS, **options), CONNECT_SECONDS + 1)
    await comm.close()


class Workers:
    """The workers of a scheduler as they come and go.

    Args:
        client: Connected.
        gpu: Cases run networks: workers that offer a GPU are taken before others.
    """

    def __init__(self, client: Any, *, gpu: bool) -> None:
        self._client, self._gpu = client, gpu
        self._known: dict[str, Mapping[str, Any]] = {}
        self._asked: set[str] = set()
        self._refreshed = time.monotonic()
        self._is_waiting = False
        self._ours = versions()

    def refresh(self) -> None:
        """Ask the scheduler, when the last time is some seconds ago, which workers it has, and new workers for their versions.

        Raises:
            ClusterError: A worker has no Atlas Annotator, or another version of it: its results would not be ours.
        """
        now = time.monotonic()
        if not self._asked:
            self._check(_of_scheduler(self._client), "scheduler")
        elif self._known and now - self._refreshed < _REFRESH_SECONDS:
            return
        self._refreshed = now
        self._known = _workers_of(self._client)
        self._tell_waiting()
        new = [address for address in self._known if address not in self._asked]
        if new:
            self._check(self._client.run(versions, workers=new, on_error="return"), "worker")

    @property
    def slots(self) -> int:
        """Cases that can run now."""
        return sum(int(worker.get("nthreads", 1)) for worker in self._known.values())

    @property
    def window(self) -> int:
        """Cases to have submitted at a time: enough that no worker waits, few enough that the scheduler holds little."""
        return max(_LEAST_WINDOW, 2 * self.slots)

    @property
    def demand(self) -> dict[str, float] | None:
        """The resources to submit a case with."""
        return demand(worker.get("resources") or {} for worker in self._known.values()) if self._gpu else None

    def _tell_waiting(self) -> None:
        if not self._known and not self._is_waiting:
            _log.warning("The scheduler has no workers; waiting for some. Start one with: dask worker %s", self._client.scheduler.address)
        self._is_waiting = not self._known

    def _check(self, found: Mapping[str, Any], role: str) -> None:
        for address, theirs in found.items():
            self._asked.add(address)
            if isinstance(theirs, ImportError):
                who = f"{address}: this {role}"
                raise lacks_package(who, theirs)
            if isinstance(theirs, dict):
                self._compare(address, role, theirs)
            else:  # it has gone in between, or will tell with its first case
                _log.info("%s does not tell its versions (%r).", address, theirs)

    def _compare(self, address: str, role: str, theirs: Mapping[str, str]) -> None:
        if theirs.get(PROGRAM) != self._ours.get(PROGRAM):
            who = f"{address}: this {role}"
            raise other_version(who, theirs.get(PROGRAM), self._ours.get(PROGRAM))
        names = sorted(name for name in {*theirs, *self._ours} if theirs.get(name) != self._ours.get(name))
        if names and role == "worker":
            listed = ", ".join(f"{name} {theirs.get(name, 'missing')} (here {self._ours.get(name, 'missing')})" for name in names)
            _log.warning("%s: this worker has other versions: %s. Its results may differ in the last digits.", address, listed)


def lacks_package(who: str, error: ImportError) -> ClusterError:
    """Return the error to raise when a scheduler or worker lacks a package."""
    remedy = f'Start scheduler and workers in an environment like the one here: pip install "{PROGRAM}[all]".'
    return ClusterError(f"{who} lacks the package {error.name}.", remedy)


def _of_scheduler(client: Any) -> dict[str, Any]:
    """Return address -> versions of the scheduler, or what hindered it: tasks pass through its hands, so it needs the package too."""
    try:
        found = client.run_on_scheduler(versions)
    except (ImportError, RuntimeError, ValueError) as error:
        found = error
    return {client.scheduler.address: found}


def _workers_of(client: Any) -> dict[str, Mapping[str, Any]]:
    try:
        found = client.scheduler_info(n_workers=-1)
    except TypeError:  # older releases have no such parameter and tell all workers
        found = client.scheduler_info()
    workers: dict[str, Mapping[str, Any]] = dict(found["workers"])
    return workers
