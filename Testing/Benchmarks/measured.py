"""Run a Python function in a process of its own and return seconds, peak memory and its result."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """Seconds of wall time, peak resident memory of the whole process in GB, and what the function returned."""

    seconds: float
    peak_gb: float
    result: Any


def _child(pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    start = time.perf_counter()
    result = function(*arguments)
    seconds = time.perf_counter() - start
    pipe.send((seconds, _peak_gb(), result))


def _peak_gb() -> float:
    """Return the peak resident memory of this process; ru_maxrss would count the parent's at the time of the fork."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def measure(function: Callable[..., Any], *arguments: Any) -> Measurement:
    """Run `function` in a fresh interpreter; peak memory is the kernel's own count."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        seconds, peak, result = ours.recv()
    except EOFError as error:
        process.join()
        message = f"{function.__name__} ended with exit code {process.exitcode}"
        raise RuntimeError(message) from error
    process.join()
    return Measurement(seconds, peak, result)
