"""Whether a file is still the one that was read or written: told without reading it."""

from __future__ import annotations

from pathlib import Path

Stamp = tuple[str, int, int]
"""Path, size in bytes and time of change in ns; -1 for both of a file that is not there."""


def stamp(path: Path) -> Stamp:
    """Return what tells one version of a file from another without reading it: path, size, time of change in ns."""
    try:
        status = path.stat()
    except OSError:
        return (str(path), -1, -1)
    return (str(path), status.st_size, status.st_mtime_ns)
