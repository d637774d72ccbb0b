"""Steps for tests of worker processes: those import this module by name, which they cannot do with a test file."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.progress import ProgressCallback


def name_of(item: str) -> str:
    """Name an item by itself."""
    return item


def act(item: str, progress: ProgressCallback) -> dict[str, Any] | None:
    """Do what the item says: fail, skip, run out of disk or memory, or return where it ran."""
    progress(0.5, "half")
    if item.startswith("bad"):
        message = f"{item}: cannot be used."
        raise InputError(message, "Mend it.")
    if item.startswith("disk"):
        raise OSError(28, "No space left on device", item)
    if item.startswith("memory"):
        raise MemoryError
    time.sleep(0.02 * (9 - int(item[-1])) if item[-1].isdigit() else 0)
    return None if item.startswith("skip") else {"item": item, "process": os.getpid()}


def die_or_mark(item: str, progress: ProgressCallback) -> dict[str, Any] | None:
    """Kill the worker as the system does when memory runs out, if the item says so; else leave a file behind."""
    path = Path(item)
    progress(0.0, path.name)
    if path.name == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text("done", encoding="utf-8")
    return {"file": path.name}
