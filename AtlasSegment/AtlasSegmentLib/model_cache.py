"""Models kept warm: each is loaded once in a process, whatever thread asks first, and loaded again when its files change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from AtlasSegmentLib.cpu_threads import default_threads
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.model import Model, load_model

LEAST = 4
"""Models that are kept at least; more when one request names more."""
Files = tuple[tuple[str, int, int], ...]
Key = tuple[Path, int, Device, Files]


class ModelCache:
    """The models of this process, the ones that were used last.

    Args:
        load: (folder, threads, device) -> model.
    """

    def __init__(self, load: Callable[[Path, int, Device], Model]) -> None:
        self._load = load
        self._models: OrderedDict[Key, Model] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, folder: Path, threads: int, device: Device, room: int = LEAST) -> Model:
        """Return a model, loaded when these very files are not loaded already.

        Args:
            folder: Its folder.
            threads: CPU threads for one prediction; 0 takes what the process was set to.
            device: Where it shall run.
            room: How many models are used in turn; those beyond it that were not used for the longest time are let go.

        Raises:
            ModelError: It cannot be loaded.
        """
        folder = folder.resolve()
        threads = threads or default_threads()
        key = (folder, threads, device, files_of(folder))
        with self._lock:  # two threads that load one model would need the memory of two
            model = self._models.pop(key, None)
            if model is None:
                self._forget(folder, threads, device, max(room, LEAST))
                model = self._load(folder, threads, device)
            self._models[key] = model
            return model

    def _forget(self, folder: Path, threads: int, device: Device, room: int) -> None:
        """Make room before the new model is loaded; an older state of the same files goes first."""
        for key in [key for key in self._models if key[:3] == (folder, threads, device)]:
            del self._models[key]
        while len(self._models) >= room:
            self._models.popitem(last=False)

    def clear(self) -> None:
        """Let all models go."""
        with self._lock:
            self._models.clear()


def files_of(folder: Path) -> Files:
    """Return (path, size, time of change) of the files of a model: those in its folder and one level below, where folds are."""
    found = (entry for pattern in ("*", "*/*") for entry in folder.glob(pattern) if entry.is_file())
    return tuple(sorted((str(entry.relative_to(folder)), entry.stat().st_size, entry.stat().st_mtime_ns) for entry in found))


MODELS = ModelCache(load_model)


def cached_model(folder: Path, threads: int, device: Device = "auto", room: int = LEAST) -> Model:
    """Load a model, or return it when this process has loaded these very files already; see `ModelCache.get`. Raises ModelError."""
    return MODELS.get(folder, threads, device, room)
