"""Run a Python function in a process of its own and return seconds, peak memory above the imports, and its result."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
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
    pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, result))


def measure(function: Callable[..., Any], *arguments: Any) -> Measurement:
    """Run `function` in a fresh interpreter; peak memory is the kernel's ru_maxrss."""
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
