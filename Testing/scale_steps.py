"""Steps for tests of clusters; workers import this module by name."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib import model_cache
from AtlasSegmentLib.cpu_threads import default_threads
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.progress import ProgressCallback
from AtlasSegmentLib.segment_request import SegmentRequest, segment

KILLER = "killer"


def name_of(item: Any) -> str:
    """Name a path or a request by its case."""
    return item.case.name if isinstance(item, SegmentRequest) else Path(item).name


def where(item: str, progress: ProgressCallback) -> dict[str, Any]:
    """Tell in which process it ran, what it was set up with, and which GPU it sees."""
    progress(0.0, item)
    time.sleep(0.05)
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return {"process": os.getpid(), "threads": default_threads(), "openmp": os.environ.get("OMP_NUM_THREADS", ""), "gpu": gpu}


def which_model(item: str, progress: ProgressCallback) -> dict[str, Any]:
    """Tell the process and the identity of its model; `item` is the model's folder, a "?" and anything."""
    progress(0.0, item)
    folder = Path(item.partition("?")[0])
    models = [model_cache.cached_model(folder, 0, "cpu") for _ in range(2)]
    return {"process": os.getpid(), "models": sorted({id(model) for model in models})}


def write_slowly(item: str, progress: ProgressCallback) -> dict[str, Any] | None:
    """Write a file in 40 small steps; None when it is there."""
    path = Path(item)
    if path.exists():
        return None
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for number in range(40):
            progress(number / 40, "write")
            file.write("x")
            file.flush()
            time.sleep(0.02)
    return {"file": path.name}


def segment_until_killed(request: SegmentRequest, progress: ProgressCallback) -> dict[str, Any] | None:
    """Segment a case; that of the name KILLER takes its worker with it when half of its files are written."""

    def tell(fraction: float, message: str) -> None:
        progress(fraction, message)
        if request.case.name == KILLER and fraction > 0.85:
            os.kill(os.getpid(), signal.SIGKILL)

    return segment(request, tell)


def eat_memory(item: str, progress: ProgressCallback) -> dict[str, Any]:
    """Take more and more memory when the name says so, as a CT that is too large does."""
    eaten = []
    while Path(item).name == KILLER:
        progress(0.0, "eat")
        eaten.append(np.ones(4_000_000))
        time.sleep(0.01)
    return {}


def run_out_of_memory(item: str, progress: ProgressCallback) -> dict[str, Any]:
    """Ask for more memory than the process may have."""
    progress(0.0, item)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, hard))
    try:
        return {"sum": float(np.ones(1 << 32).sum())}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def fail_unforeseen(item: str, progress: ProgressCallback) -> dict[str, Any]:
    """Fail as a library does on data that nobody has thought of, when the name says so."""
    progress(0.0, item)
    return {"tenth": 1 / item.count("x")}
