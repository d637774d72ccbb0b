"""Names of revision files: `<UTC>_<reader>.nii.gz`, unique, and in the order in which they were saved."""

from __future__ import annotations

import os
import re
import time as _time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from AtlasSegmentLib.files import storage_errors

_STALE_SECONDS = 86400
ENDING = ".nii.gz"
_TIME = "%Y%m%dT%H%M%S.%fZ"
_NAME = re.compile(r"^(?P<time>\d{8}T\d{6}\.\d{6}Z)_(?P<reader>.+)\.nii\.gz$", re.DOTALL)


def is_revision(path: Path) -> bool:
    """Tell whether a file is named as a revision."""
    return _NAME.match(path.name) is not None


def split_id(path: Path | str) -> tuple[str, str]:
    """Return (time, reader) of a revision file, or of the id of a revision; ("", "") where it is neither."""
    match = _NAME.match(f"{path}{ENDING}" if isinstance(path, str) else path.name)
    return (match["time"], match["reader"]) if match else ("", "")


def next_time(folder: Path, now: Callable[[], datetime]) -> str:
    """Return the time now, or just after the newest revision in `folder` where the clock runs behind it."""
    time = now().astimezone(timezone.utc)
    newest = max((split_id(path)[0] for path in folder.glob(f"*{ENDING}")), default="")
    if newest >= time.strftime(_TIME):
        time = datetime.strptime(newest, _TIME).replace(tzinfo=timezone.utc) + timedelta(microseconds=1)
    return time.strftime(_TIME)


@contextmanager
def reserved(folder: Path, reader: str, now: Callable[[], datetime]) -> Iterator[Path]:
    """Yield the name of a revision file that no other process can be given, to be written atomically in the block.

    Raises:
        StorageError: The folder cannot be written.
    """
    reader = unicodedata.normalize("NFC", reader)
    while True:
        time = next_time(folder, now)
        file, claim = folder / f"{time}_{reader}{ENDING}", folder / f".{time}.claim"
        with storage_errors(file):
            try:
                os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                now = _later(time)
                continue
        try:
            if not any(split_id(path)[0] == time for path in folder.glob(f"{time}_*")):
                yield file
                return
        finally:
            claim.unlink(missing_ok=True)


def remove_stale_claims(folder: Path) -> None:
    """Remove the claims to names that killed writers left behind, a day later."""
    for claim in folder.glob(".*.claim"):
        with suppress(OSError):
            if _time.time() - claim.stat().st_mtime > _STALE_SECONDS:
                claim.unlink()


def _later(time: str) -> Callable[[], datetime]:
    after = datetime.strptime(time, _TIME).replace(tzinfo=timezone.utc) + timedelta(microseconds=1)
    return lambda: after
