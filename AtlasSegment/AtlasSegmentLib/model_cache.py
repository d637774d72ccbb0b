"""Models kept warm: each is loaded once in a process, whatever thread asks first, and loaded again when its files change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

from AtlasSegmentLib.cpu_threads import default_threads
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.model import Model, load_model

LEAST = 4
"""Models that are kept at least; more when one request names more."""
Kept = TypeVar("Kept")
Files = tuple[tuple[str, int, int], ...]


class ModelCache:
    """The models of this process, the ones that were used last."""

    def __init__(self) -> None:
        self._models: OrderedDict[Hashable, tuple[Files, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, files: Files, load: Callable[[], Kept], room: int = LEAST) -> Kept:
        """Return a model, loaded when it is not there or its files have changed.

        Args:
            key: What tells it from others: folder, threads, device.
            files: State of its files; see `files_of`.
            load: Loads it; one thread at a time, since two that load one model would need the memory of two.
            room: How many models are used in turn; those beyond it that were not used for the longest time are let go.

        Raises:
            What `load` raises.
        """
        with self._lock:
            state, model = self._models.pop(key, (None, None))
            if state != files:
                model = None  # the old one goes before the new one comes
                while len(self._models) >= max(room, LEAST):
                    self._models.popitem(last=False)
                model = load()
            self._models[key] = (files, model)
            result: Kept = model  # type: ignore[assignment]  # of this key's load
            return result


def files_of(folder: Path) -> Files:
    """Return (path, size, time of change) of the files of a model: those in its folder and one level below, where folds are."""
    found = (entry for pattern in ("*", "*/*") for entry in folder.glob(pattern) if entry.is_file())
    return tuple(sorted((str(entry.relative_to(folder)), entry.stat().st_size, entry.stat().st_mtime_ns) for entry in found))


MODELS = ModelCache()


def cached_model(folder: Path, threads: int, device: Device = "auto", room: int = LEAST) -> Model:
    """Load a model, or return it when this process has loaded these very files already.

    Args:
        folder: Model folder.
        threads: CPU threads for one prediction; 0 takes what the process was set to.
        device: Where it shall run.
        room: See `ModelCache.get`.

    Raises:
        ModelError: It cannot be loaded.
    """
    folder = folder.resolve()
    threads = threads or default_threads()
    return MODELS.get((folder, threads, device), files_of(folder), lambda: load_model(folder, threads, device), room)
