"""log.csv of an organ's revisions: one line for each event, only ever appended to.

A line is one `os.write` to a file opened for appending, so that lines of two processes never mix. A process killed in
the middle leaves a torn last line: it is passed over when reading, and the next append begins on a line of its own.
"""

from __future__ import annotations

import csv
import io
import os
import re
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from AtlasSegmentLib.errors import InputError, StorageError
from AtlasSegmentLib.files import storage_errors, sync_file, sync_folder, temporary_beside

SAVE, IMPORT, RECOVER, ROLLBACK = "save", "import", "recover", "rollback"
_ACTIONS = (SAVE, IMPORT, RECOVER, ROLLBACK)
_FORMULA = re.compile("^'*[=+\\-@\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True)
class LogEntry:
    """One event.

    Attributes:
        time: UTC, as in the file names: 20261121T070502.123456Z.
        reader: Who did it.
        action: "save", "import" (a mask that another program wrote), "recover" (a file whose own line was lost when its
            writer was killed) or "rollback".
        file: Name of the revision that became current (for "recover": that was found); "" is the prediction.
        sha256: Hash of that file, 64 hex digits, or "".
        voxels: Foreground voxels, or "" where it is not known.
        base_sha256: Hash of the mask that was current before, or "".
        comment: Free text on one line.
    """

    time: str
    reader: str
    action: str
    file: str
    sha256: str = ""
    voxels: str = ""
    base_sha256: str = ""
    comment: str = ""


HEADER = tuple(field.name for field in fields(LogEntry))


def one_line(text: str) -> str:
    """Return `text` without line breaks, tabs and control characters; runs of spaces become one."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def neutralized(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: an apostrophe is put before = + - @."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def restored(cell: str) -> str:
    """Undo `neutralized`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def append_entry(log: Path, entry: LogEntry) -> None:
    """Append one event and flush it to the disk; the header is written first when the log is new.

    Raises:
        StorageError: The line could not be written whole.
    """
    with storage_errors(log):
        if not log.exists():
            _create(log)
        line = _encode([neutralized(one_line(cell)) for cell in astuple(entry)])
        descriptor = os.open(log, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            if _is_torn(descriptor):
                line = b"\n" + line
            written = os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if written != len(line):
        message = f"{log}: only {written} of {len(line)} bytes of the last line could be written."
        raise StorageError(message, "Free space, then save again; the revision file itself is kept.")


def read_log(log: Path) -> list[LogEntry]:
    """Return the events in the order they were written; [] when there is no log. Torn lines are passed over.

    Raises:
        InputError: The log is there but cannot be read.
    """
    try:
        data = log.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"{log}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check its permissions.") from error
    return [entry for line in data.split(b"\n") if (entry := _decode(line)) is not None]


def _create(log: Path) -> None:
    """Make the log with its header, whole from the first moment on; another process may be doing the same."""
    temporary = temporary_beside(log)
    try:
        temporary.write_bytes(_encode(HEADER))
        sync_file(temporary)
        with suppress(FileExistsError):
            os.link(temporary, log)
    except OSError:  # a file system without hard links, such as exFAT
        with suppress(FileExistsError), log.open("xb") as file:
            file.write(_encode(HEADER))
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(log.parent)


def _encode(cells: tuple[str, ...] | list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def _decode(line: bytes) -> LogEntry | None:
    try:
        cells = next(csv.reader([line.decode("utf-8", "surrogateescape").rstrip("\r")], strict=True), [])
    except csv.Error:
        return None
    if len(cells) != len(HEADER) or cells[2] not in _ACTIONS:
        return None
    return LogEntry(*map(restored, cells))


def _is_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return False
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) != b"\n"
