"""Zip archives from elsewhere, unpacked so that nothing can land outside the folder, fill the disk or stay there by half."""

from __future__ import annotations

import os
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from AtlasSegmentLib.errors import AtlasError, InputError, ModelError, StorageError
from AtlasSegmentLib.files import storage_errors, sync_folder
from AtlasSegmentLib.model_facts import size_text
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

_CHUNK = 1 << 20
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_ENCRYPTED = 0x1
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*\.", re.IGNORECASE)
_UNTRUSTED = "Do not use this archive; get the model from its own page."


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold.

    Attributes:
        files: Number of entries.
        size: Bytes of all files together, unpacked.
        ratio: How many times larger than the archive they may be; networks hardly shrink, their descriptions do.
        free: Up to this many bytes any ratio is fine.
    """

    files: int = 20_000
    size: int = 64 << 30
    ratio: float = 100.0
    free: int = 64 << 20


LIMITS = ArchiveLimits()


def unpack(archive: Path, folder: Path, progress: ProgressCallback = ignore_progress, limits: ArchiveLimits = LIMITS) -> None:
    """Unpack a zip archive into a new folder; on any error the folder is removed again.

    Refused before the first byte is written: names with "..", absolute or drive paths, backslashes, links and other special files,
    names that differ only in case or Unicode form, encrypted entries, and more than `limits`. Hidden files and what
    file managers add are left out.

    Args:
        archive: The zip file.
        folder: Made; must not exist.
        progress: Told the finished share.
        limits: What it may hold.

    Raises:
        ModelError: It is no zip archive, is damaged, or is refused.
        StorageError: It cannot be written, or does not fit on the disk.
    """
    with _readable(archive), zipfile.ZipFile(archive) as opened:
        files = _checked(opened, archive, limits)
        total = sum(info.file_size for info in files.values())
        _require_fits(folder, total)
        with storage_errors(folder):
            folder.mkdir(parents=True)
        try:
            _write_all(opened, files, folder, total, progress)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Turn what zipfile raises for a damaged archive into a ModelError."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        message = f"{archive}: is no zip archive or is damaged ({error})."
        raise ModelError(message, "Download or copy it again.") from error
    except OSError as error:
        message = f"{archive}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error


def _checked(opened: zipfile.ZipFile, archive: Path, limits: ArchiveLimits) -> dict[str, zipfile.ZipInfo]:
    """Return path to entry of the files to unpack. Raises ModelError."""
    entries = opened.infolist()
    if len(entries) > limits.files:
        raise _refused(archive, f"it holds {len(entries)} entries, more than {limits.files}")
    files: dict[str, zipfile.ZipInfo] = {}
    for info in entries:
        parts = _parts(info, archive)
        if parts and not info.orig_filename.endswith("/"):
            name = "/".join(parts)
            if name in files:
                raise _refused(archive, f"{name!r} is in it twice")
            files[name] = info
    _require_distinct(files, archive)
    size = sum(info.file_size for info in files.values())
    packed = max(1, archive.stat().st_size)
    if size > limits.size or (size > limits.free and size / packed > limits.ratio):
        raise _refused(archive, f"its {size_text(packed)} would become {size_text(size)}")
    return files


def _parts(info: zipfile.ZipInfo, archive: Path) -> tuple[str, ...]:
    """Return the folders and the name of an entry, or () for one to leave out. Raises ModelError."""
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise _refused(archive, f"{info.filename!r} is a link or a special file")
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        what = "encrypted" if info.flag_bits & _ENCRYPTED else f"packed by method {info.compress_type}"
        message = f"{archive}: {info.filename!r} is {what}."
        raise ModelError(message, "Unpack it with another program, then add the folder.")
    name = info.orig_filename
    parts = tuple(name.removesuffix("/").split("/"))
    if name.startswith("/") or "\\" in name or any(part in {"", ".", ".."} for part in parts):
        raise _refused(archive, f"{name!r} could lead out of the folder")
    if any(part.startswith(".") or part in _JUNK for part in parts):
        return ()
    try:
        safe = tuple(safe_name(part, "name") for part in parts)
    except AtlasError as error:
        raise _refused(archive, f"{name!r} cannot be a file everywhere") from error
    if any(_RESERVED.fullmatch(part) for part in safe):
        raise _refused(archive, f"{name!r} cannot be a file on Windows")
    return safe


def _require_distinct(files: dict[str, zipfile.ZipInfo], archive: Path) -> None:
    """Refuse names that are one file or folder on some file systems, and a file where another entry needs a folder."""
    known: dict[str, str] = {}
    for name in files:
        parts = name.split("/")
        for length in range(1, len(parts) + 1):
            path = "/".join(parts[:length]) + ("" if length == len(parts) else "/")
            key = unicodedata.normalize("NFC", path).casefold().rstrip("/")
            if known.setdefault(key, path) != path:
                raise _refused(archive, f"{known[key]!r} and {path!r} are one name on some computers")


def _require_fits(folder: Path, size: int) -> None:
    parent = next(path for path in folder.absolute().parents if path.exists())
    free = shutil.disk_usage(parent).free
    if size > free:
        message = f"{parent}: {size_text(size)} are needed to unpack the model, and {size_text(free) or 'nothing'} is free."
        raise StorageError(message, "Free space, or set ATLAS_MODELS to a folder on another drive.")


def _write_all(opened: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], folder: Path, total: int, progress: ProgressCallback) -> None:
    done = 0
    for name, info in files.items():
        target = folder.joinpath(*name.split("/"))
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            writer = target.open("xb")
        with writer, opened.open(info) as reader:
            while chunk := reader.read(_CHUNK):
                with storage_errors(target):
                    writer.write(chunk)
                done += len(chunk)
                progress(done / max(total, 1), "unpack")
            with storage_errors(target):
                writer.flush()
                os.fsync(writer.fileno())
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(path)


def _refused(archive: Path, why: str) -> ModelError:
    return ModelError(f"{archive}: is not unpacked, because {why}.", _UNTRUSTED)
