"""Files that are whole or absent: temporary file, flush, fsync, rename, fsync of the folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import InputError, StorageError

_STALE_SECONDS = 86400
TEMPORARIES = ".atlas-*.tmp"
_TEMPORARY = re.compile(r"^\.atlas-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}(\.\w+)*\.tmp$")


def _host() -> str:
    """Return where process ids are counted: containers may share a host name while each has its own numbers."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path; absent beside Linux
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


@contextmanager
def atomic_path(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; move it there when the block ends well, remove it otherwise.

    The file is flushed to the disk before it gets its final name, so a reader sees the old content, the new content or
    nothing, never a part. The folder is made when it is missing, and cleared of what killed writers left in it.

    Args:
        path: The final name.
        suffix: Put before ".tmp" for writers that choose a format by file name, such as ".mha".

    Raises:
        StorageError: The file cannot be written; nothing is left behind.
    """
    path = Path(path)
    with storage_errors(path):
        make_folder(path.parent)
        _remove_stale(path.parent.glob(TEMPORARIES))
        temporary = temporary_beside(path, suffix)
    try:
        with storage_errors(path):
            yield temporary
            sync_file(temporary)
            os.replace(temporary, path)  # noqa: PTH105 - the atomic call this function is about
            sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """Return a new name in the folder of `path` that tells which process writes there; see `is_stale`."""
    return path.parent / f".atlas-{_host()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}.tmp"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names `path` and the cause."""
    try:
        yield
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror or error})."
        remedy = "Free space or choose another folder, then run the command again; finished work is kept."
        if error.errno == errno.ENAMETOOLONG:
            remedy = "Choose a shorter name."
        raise StorageError(message, remedy) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, and flush their names: what is put there is then not lost with them."""
    missing = []
    for place in (folder, *folder.parents):
        if place.is_dir():
            break
        missing.append(place)
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def sync_file(path: Path) -> None:
    """Flush the bytes of a file to the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk (not needed and not possible on Windows, nor on some shared folders)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system has no such call
            raise
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with LF line ends, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON in the given key order, atomically."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # A file name that is not UTF-8 on the disk holds lone surrogates: as a \udcXX escape it stays valid JSON.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It is missing, unreadable, not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8").removeprefix("\ufeff"))  # some editors put a byte order mark there
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error
    except ValueError as error:
        message = f"{path}: is not valid JSON ({error})."
        raise InputError(message, "Restore the file or remove it and run the step again.") from error
    except RecursionError as error:
        message = f"{path}: is nested too deeply to be read as JSON."
        raise InputError(message, "Restore the file or remove it and run the step again.") from error


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of `source` to `target` atomically; `source` is opened for reading only."""
    try:
        with Path(source).open("rb") as reader, atomic_path(target) as temporary, temporary.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
    except OSError as error:
        message = f"{source}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
            return digest.hexdigest()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error


def remove_stale_temporaries(folder: Path) -> int:
    """Remove what killed writers left under `folder` and return how many files that were.

    A file is stale when its writer ran on this machine and is gone, or when it is older than a day.
    """
    return _remove_stale(Path(folder).rglob(TEMPORARIES))


def stale_temporaries(folder: Path) -> list[Path]:
    """Return what `remove_stale_temporaries` would remove, sorted."""
    return sorted(path for path in Path(folder).rglob(TEMPORARIES) if is_stale(path))


def _remove_stale(paths: Iterable[Path]) -> int:
    removed = 0
    for path in paths:
        with suppress(OSError):
            if is_stale(path):
                path.unlink()
                removed += 1
    return removed


def is_stale(path: Path) -> bool:
    """Tell whether a temporary file or folder was left by a writer that is gone, or is older than a day."""
    match = _TEMPORARY.match(path.name)
    with suppress(OSError):
        return match is not None and (_is_dead(match) or time.time() - path.stat().st_mtime > _STALE_SECONDS)
    return False


def _is_dead(match: re.Match[str]) -> bool:
    if match["host"] != _host() or int(match["pid"]) == os.getpid():
        return False
    if os.name == "nt":  # os.kill(pid, 0) would end the process there
        return False
    try:
        os.kill(int(match["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
