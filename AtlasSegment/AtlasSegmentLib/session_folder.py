"""A folder for results that nobody asked to keep: one for each session, removed at its end, or by a later session after a crash."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = "AtlasAnnotator-"
_NAME = re.compile(rf"{_PREFIX}(?P<pid>\d+)-[A-Za-z0-9_]+")
_STALE_SECONDS = 7 * 86400.0


def make_session_folder(parent: Path) -> Path:
    """Return a new folder below `parent` that is removed when this process ends; what dead sessions left there goes first.

    Raises:
        OSError: It cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*"):
        if is_stale(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_stale(folder: Path) -> bool:
    """Tell whether a folder was made by a session that is over."""
    match = _NAME.fullmatch(folder.name)
    if match is None or folder.is_symlink() or not folder.is_dir() or int(match["pid"]) == os.getpid():
        return False
    with suppress(OSError):
        if os.name == "nt":  # os.kill(pid, 0) would end the process there, so age has to tell
            return time.time() - folder.stat().st_mtime > _STALE_SECONDS
        try:
            os.kill(int(match["pid"]), 0)
        except ProcessLookupError:
            return True
    return False
