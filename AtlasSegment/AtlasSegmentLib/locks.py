"""A lock between processes that the system itself releases when its holder dies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from AtlasSegmentLib.files import make_folder, storage_errors

_POLL_SECONDS = 0.05


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold `path` locked during the block; wait while another process holds it.

    The file stays behind, empty: removing it would let two holders in.

    Raises:
        StorageError: The file cannot be made.
    """
    with storage_errors(path):
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(descriptor)
        yield
    finally:
        os.close(descriptor)  # which also releases it


def _acquire(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            except OSError:
                time.sleep(_POLL_SECONDS)
            else:
                return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)
