"""How many CPU threads a prediction takes: decided once in a process, before a network is loaded."""

from __future__ import annotations

import os
import sys

# For libraries that are loaded after `set_threads`, and for programs that are started.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
_chosen = 0


def cpu_count() -> int:
    """Return the cores that this process may use: those a job of a cluster was given, not those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def threads_for(jobs: int) -> int:
    """Return CPU threads for one prediction when `jobs` run side by side on this machine; at least 1."""
    return max(1, cpu_count() // max(1, jobs))


def set_threads(count: int) -> None:
    """Let this process use `count` CPU threads in each library that asks; 0 changes nothing.

    Dask gives its workers one thread for OpenMP, which is right for many tasks in a process and wrong for one network.
    """
    global _chosen  # noqa: PLW0603 - it is the process's
    if count <= 0 or count == _chosen:
        return
    _chosen = count
    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    if "torch" in sys.modules:  # loaded before: it has read the variables
        sys.modules["torch"].set_num_threads(count)


def default_threads() -> int:
    """Return what `set_threads` chose, or 0: the engine's own choice."""
    return _chosen
