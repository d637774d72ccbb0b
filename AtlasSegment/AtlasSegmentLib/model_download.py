"""Downloads that can be cut at any byte: the part that came is kept, checked and continued; a wrong file never gets its name."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import AtlasError, InputError, ModelError, StorageError
from AtlasSegmentLib.files import read_json, storage_errors, sync_folder, write_json
from AtlasSegmentLib.model_catalogue import CatalogueFile
from AtlasSegmentLib.model_download_http import BY_HAND, Answer, CutError, RangeError, opened, shown
from AtlasSegmentLib.model_facts import size_text
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

FORMAT = "atlas-download/1"
PART, STATE = ".part", ".part.json"
_CHUNK = 1 << 18
CHECKSUMS = ("sha256", "sha1", "md5")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Downloaded:
    """A finished download.

    Attributes:
        path: The file.
        size: Its bytes.
        sha256: Its checksum.
        checked: Which published facts it was checked against: some of "size", "sha256", "sha1", "md5".
        resumed: Bytes that were there from an earlier start.
    """

    path: Path
    size: int
    sha256: str
    checked: tuple[str, ...]
    resumed: int


@dataclass(frozen=True)
class Patience:
    """How long a download is tried.

    Attributes:
        tries: Connections that may fail one after another without a single new byte.
        pause: Seconds before the second try; doubled for each further one.
        timeout: Seconds without a byte after which a connection counts as cut.
        sleep: Waits; replaced in tests.
    """

    tries: int = 5
    pause: float = 1.0
    timeout: float = 60.0
    sleep: Callable[[float], None] = time.sleep


PATIENT = Patience()


def download(file: CatalogueFile, target: Path, progress: ProgressCallback = ignore_progress, patience: Patience = PATIENT) -> Downloaded:
    """Download a file, or what is missing of it, and check it.

    What comes is written beside the target as NAME.part; it gets the target's name when size and checksums are right. A download that
    was cut, killed or interrupted goes on where it stopped, when the server still has the same file.

    Args:
        file: Its address and what is published about it.
        target: The final name; its folder is made.
        progress: Told the finished share (0 while the size is unknown) and the bytes.
        patience: How long to try.

    Raises:
        ModelError: The server refuses or has another file, the size or a checksum is wrong (what came is removed then), or the
            connection stays cut.
        StorageError: It cannot be written; what came is kept.
    """
    part, state = target.with_name(target.name + PART), target.with_name(target.name + STATE)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file():  # finished before, and what was to be made of it failed
        with suppress(ModelError):
            size, sums = checksums(target)
            return Downloaded(target, size, sums["sha256"], _check(file, size, sums), size)
    resumed = _kept(file, part, state)
    _fetch_all(file, part, state, progress, patience)
    progress(1.0, "check")
    size, sums = checksums(part)
    try:
        checked = _check(file, size, sums)
    except ModelError:
        _drop(part, state)
        raise
    with storage_errors(target):
        os.replace(part, target)  # noqa: PTH105 - the atomic call
        state.unlink(missing_ok=True)
        sync_folder(target.parent)
    return Downloaded(target, size, sums["sha256"], checked, resumed)


def _kept(file: CatalogueFile, part: Path, state: Path) -> int:
    """Return how many bytes of an earlier start can be continued; remove them when they belong to something else."""
    try:
        known = read_json(state) if state.is_file() else {}
    except InputError:
        known = {}
    mine = isinstance(known, dict) and known.get("format") == FORMAT and known.get("url") == file.url
    # Without a validator nothing but a published checksum could tell a file that was mixed from two.
    certain = mine and bool(known.get("validator") or any(getattr(file, kind) for kind in CHECKSUMS))
    if part.is_file() and certain:
        return part.stat().st_size
    _drop(part, state)
    return 0


def _drop(part: Path, state: Path) -> None:
    with storage_errors(part):
        part.unlink(missing_ok=True)
        state.unlink(missing_ok=True)


def _fetch_all(file: CatalogueFile, part: Path, state: Path, progress: ProgressCallback, patience: Patience) -> None:
    """Connect until the whole file is there."""
    failures = 0
    while not _is_whole(part, state):
        before = _size(part)
        try:
            _fetch(file, part, state, progress, patience.timeout)
        except RangeError:
            _drop(part, state)
            problem = f"{shown(file.url)}: the server refuses the rest of the file."
        except CutError as error:
            problem = str(error)
        else:
            return
        failures = 1 if _size(part) > before else failures + 1
        if failures >= patience.tries:
            kept = f" {size_text(_size(part))} of it are kept." if _size(part) else ""
            message = f"{problem}{kept}"
            raise ModelError(message, "Run the same command again: it goes on where it stopped.")
        _log.info("%s Trying again.", problem)
        patience.sleep(patience.pause * 2 ** (failures - 1))


def _fetch(file: CatalogueFile, part: Path, state: Path, progress: ProgressCallback, timeout: float) -> None:
    start = _size(part)
    validator = str(_state(state).get("validator") or "") if start else ""
    with opened(file.url, start, validator, timeout) as answer:
        _require_size(file, answer)
        _require_space(part, answer)
        _cut(part, answer.start)  # before the state names the new version: a kill in between must not mix two files
        write_json(state, {"format": FORMAT, "url": file.url, "validator": answer.validator, "total": answer.total})
        end = _write(part, answer, progress)
    if answer.total is not None and end != answer.total:
        text = f"{shown(file.url)}: the connection was cut after {end} of {answer.total} bytes."
        raise CutError(text)


def _cut(part: Path, size: int) -> None:
    with storage_errors(part), part.open("ab") as file:
        file.truncate(size)


def _write(part: Path, answer: Answer, progress: ProgressCallback) -> int:
    """Append what comes and return where it ended; a failing disk is told apart from a failing network."""
    position = answer.start
    with storage_errors(part):
        writer = part.open("ab")
    with writer:
        while chunk := answer.stream.read(_CHUNK):
            with storage_errors(part):
                writer.write(chunk)
            position += len(chunk)
            progress(*_share(position, answer.total))
        with storage_errors(part):
            writer.flush()
            os.fsync(writer.fileno())
    return position


def _share(position: int, total: int | None) -> tuple[float, str]:
    if total is None:
        return 0.0, size_text(position)
    return min(1.0, position / max(total, 1)), f"{size_text(position) or '0 B'} of {size_text(total)}"


def _require_size(file: CatalogueFile, answer: Answer) -> None:
    if file.size is not None and answer.total is not None and answer.total != file.size:
        message = f"{shown(file.url)}: the server's file has {answer.total} bytes, the catalogue says {file.size}: it is another version."
        raise ModelError(message, BY_HAND)


def _require_space(part: Path, answer: Answer) -> None:
    missing = (answer.total or 0) - answer.start
    with storage_errors(part):
        free = shutil.disk_usage(part.parent).free
    if missing > free:
        message = f"{part.parent}: {size_text(missing)} are needed, and {size_text(free) or 'nothing'} is free."
        raise StorageError(message, "Free space, or set ATLAS_MODELS to a folder on another drive.")


def _is_whole(part: Path, state: Path) -> bool:
    """Tell whether nothing is missing: killed between the last byte and the final name."""
    return _size(part) > 0 and _state(state).get("total") == _size(part)


def _check(file: CatalogueFile, size: int, sums: dict[str, str]) -> tuple[str, ...]:
    """Compare with what is published and return what could be compared. Raises ModelError."""
    expected = {"size": file.size, **{kind: getattr(file, kind) or None for kind in CHECKSUMS}}
    found: dict[str, Any] = {"size": size, **sums}
    wrong = next((kind for kind, value in expected.items() if value is not None and value != found[kind]), None)
    if wrong is not None:
        what = {"size": "size", "sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5"}[wrong]
        message = f"{shown(file.url)}: its {what} is {found[wrong]}, and {expected[wrong]} is published: damaged or another version."
        raise ModelError(message, "It was removed. Run the same command again; if that fails too, look at the model's page.")
    return tuple(kind for kind, value in expected.items() if value is not None)


def checksums(path: Path) -> tuple[int, dict[str, str]]:
    """Return the size of a file and its "sha256", "sha1" and "md5". Raises StorageError."""
    digests = {kind: hashlib.new(kind, usedforsecurity=kind == "sha256") for kind in CHECKSUMS}
    size = 0
    with storage_errors(path), path.open("rb") as file:
        while chunk := file.read(1 << 20):
            size += len(chunk)
            for digest in digests.values():
                digest.update(chunk)
    return size, {kind: digest.hexdigest() for kind, digest in digests.items()}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _state(state: Path) -> dict[str, Any]:
    try:
        found = read_json(state)
    except AtlasError:
        return {}
    return found if isinstance(found, dict) else {}
