"""Unsaved edits on the disk: a hidden mask beside the revisions of its organ, never a revision itself.

`average/revisions/<organ>/.autosave_<reader>.nii.gz` with a .json of the same name that says what it is. Both are written
whole or not at all. Where the dataset folder cannot be written they go to a folder of the user. One that another program
wrote, or an earlier one that nobody recovered, is put aside under a name with its time and never overwritten.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from AtlasReviewLib.double_reading_case import SECOND, SecondCase
from AtlasReviewLib.file_stamp import Stamp, stamp
from AtlasReviewLib.reader_session import this_session
from AtlasReviewLib.review_case import read_mask_sparse, same_mask
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, StorageError
from AtlasSegmentLib.files import read_json, sha256_of, storage_errors, sync_folder, write_json
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.sparse import SparseVolume, read_sparse, write_sparse
from AtlasSegmentLib.volume import Grid

_PREFIX, _ENDING = ".autosave_", ".nii.gz"
_ASIDE = re.compile(r"^(?P<reader>.+)~(?P<time>\d{8}T\d{6}\.\d{6}Z)$", re.DOTALL)
_TIME = "%Y%m%dT%H%M%S.%fZ"
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Autosave:
    """Unsaved edits that were found on the disk.

    Attributes:
        file: The mask, uint8 0/1 on the grid of the case.
        case: Folder of the case.
        organ: Name of the organ.
        reader: Whose edits these are.
        time: UTC of the last write, ISO 8601.
        voxels: Foreground voxels, or None where the note beside it is missing or of another write.
        session: The program that wrote it, or "".
        reading: 1, or 2 for edits of a second reading.
    """

    file: Path
    case: Path
    organ: str
    reader: str
    time: str
    voxels: int | None = None
    session: str = ""
    reading: int = 1


class AutosaveFile:
    """Where the edits of one open task go.

    Args:
        case: The case.
        organ: The organ.
        reader: Who edits.
        fallback: Folder of the user for datasets that cannot be written.
        now: Clock, in UTC.
    """

    def __init__(self, case: CaseFolder, organ: str, reader: str, fallback: Path, now: Clock = utc_now) -> None:
        self._case, self._organ, self._now = case, organ, now
        self._reader = _reader_name(reader)
        name = f"{_PREFIX}{self._reader}{_ENDING}"
        self._files = (case.average.revisions(organ) / name, _place(fallback, case, organ) / name)
        self._mine: dict[Path, Stamp] = {}
        self._aside: dict[Path, Stamp] = {}

    @property
    def exists(self) -> bool:
        """Tell whether this program has edits of the task on the disk."""
        return bool(self._mine)

    def adopt(self, autosave: Autosave) -> None:
        """Take over edits that were recovered: later writes may replace them, and `remove` removes them.

        Edits that had been put aside are not replaced, and `remove` removes them only when they are the current revision by then.
        """
        file = autosave.file
        if file in self._files:
            self._mine[file] = stamp(file)
        elif file.parent in {own.parent for own in self._files} and _is_of(file, self._reader):
            self._aside[file] = stamp(file)

    def write(self, mask: SparseVolume) -> Path:
        """Write the edits, in the case or where that fails in the folder of the user; return the file.

        Raises:
            StorageError: Neither can be written; the earlier edits on the disk are whole.
        """
        try:
            return self._write(self._files[0], mask)
        except StorageError as first:
            try:
                return self._write(self._files[1], mask)
            except StorageError as second:
                message = f"{first.message} Nor could the edits be kept in your own folder: {second.message}"
                raise StorageError(message, "Free space, then save the revision.") from second

    def _write(self, file: Path, mask: SparseVolume) -> Path:
        if file == self._files[0] and not self._case.folder.is_dir():
            message = f"{self._case.folder}: the case is not there any more."
            raise StorageError(message, "Put it back.")
        self._put_others_aside(file)
        write_sparse(file, mask)
        self._mine[file] = stamp(file)
        note = {
            "case": str(self._case.folder),
            "organ": self._organ,
            "reading": _reading_of(self._case),
            "reader": self._reader,
            "session": this_session(),
            "time": self._now().astimezone(timezone.utc).isoformat(timespec="seconds"),
            "voxels": int(np.count_nonzero(mask.crop)),
            "sha256": sha256_of(file),
        }
        write_json(_note_of(file), note)
        self._remove(next(other for other in self._files if other != file))
        return file

    def _put_others_aside(self, file: Path) -> None:
        """Rename what is there and was not written by this program: it may be all that is left of somebody's work."""
        found = stamp(file)
        if found[1] < 0 or found == self._mine.get(file):
            return
        time = datetime.fromtimestamp(found[2] / 1e9, timezone.utc).strftime(_TIME)
        aside = file.with_name(f"{_PREFIX}{self._reader}~{time}{_ENDING}")
        with storage_errors(aside):
            with suppress(FileNotFoundError):
                os.replace(_note_of(file), _note_of(aside))  # noqa: PTH105 - atomic
            os.replace(file, aside)  # noqa: PTH105
            sync_folder(file.parent)

    def remove(self) -> None:
        """Remove the edits of this program: they are a revision now, or the reader does not want them."""
        for file in self._files:
            self._remove(file)
        for file, adopted in list(self._aside.items()):
            if stamp(file) != adopted:
                del self._aside[file]
            elif self._is_revision(file):
                del self._aside[file]
                _unlink(file)

    def _is_revision(self, file: Path) -> bool:
        """Tell whether edits have the voxels of the current revision."""
        revised = self._case.average.revised_mask(self._organ)
        if not revised.is_file():
            return False
        try:
            grid = read_sparse(revised).grid
            return same_mask(read_mask_sparse(file, grid), read_mask_sparse(revised, grid))
        except AtlasError:  # damaged, or of another CT: it is not known to be a revision
            return False

    def _remove(self, file: Path) -> None:
        mine = self._mine.pop(file, None)
        if mine is not None and stamp(file) == mine:
            _unlink(file)


def _unlink(file: Path) -> None:
    with suppress(OSError):
        file.unlink(missing_ok=True)
        _note_of(file).unlink(missing_ok=True)


def find_autosaves(dataset: Path, reader: str, fallback: Path) -> list[Autosave]:
    """Return the unsaved edits of a reader in a dataset, the newest first; masks are not read.

    Raises:
        DatasetError: The reader's name cannot be a file name.
    """
    name = _reader_name(reader)
    found = [
        _found(path, path.parents[3], path.parent.name, reading)
        for reading, place in ((1, "average"), (2, SECOND))
        for path in _files(dataset.glob(f"*/{place}/revisions"), name)
    ]
    root = dataset.resolve()
    for path in _files(fallback.glob("*"), name):
        note = _read_note(path)
        case = Path(str(note.get("case", "")))
        if case.parent == root:
            found.append(_found(path, case, path.parent.name, 2 if note.get("reading") == 2 else 1))
    return sorted(found, key=lambda autosave: autosave.time, reverse=True)


def autosaves_of_task(case: CaseFolder, organ: str, reader: str, fallback: Path) -> list[Autosave]:
    """Return the unsaved edits of a reader for one task, the newest first."""
    name = _reader_name(reader)
    folders = [case.average.revisions(organ), _place(fallback, case, organ)]
    paths = [path for folder in folders for path in folder.glob(f"{_PREFIX}*{_ENDING}") if _is_of(path, name)]
    return sorted((_found(path, case.folder, organ, _reading_of(case)) for path in paths), key=lambda autosave: autosave.time, reverse=True)


def read_autosave(autosave: Autosave, grid: Grid) -> SparseVolume:
    """Read unsaved edits.

    Raises:
        InputError: The file is gone or damaged.
        GeometryError: It lies on another grid: the CT was exchanged.
    """
    return read_mask_sparse(autosave.file, grid)


def discard_autosave(autosave: Autosave) -> None:
    """Remove unsaved edits that the reader does not want.

    Raises:
        StorageError: The folder cannot be written.
    """
    with storage_errors(autosave.file):
        autosave.file.unlink(missing_ok=True)
        _note_of(autosave.file).unlink(missing_ok=True)


def _reader_name(reader: str) -> str:
    return safe_name(unicodedata.normalize("NFC", reader.strip()), "reader name")


def _reading_of(case: CaseFolder) -> int:
    return 2 if isinstance(case, SecondCase) else 1


def _place(fallback: Path, case: CaseFolder, organ: str) -> Path:
    shown = str(case.folder / SECOND if _reading_of(case) == 2 else case.folder)
    digest = hashlib.sha256(shown.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return fallback / digest / organ


def _files(places: Iterator[Path], reader: str) -> list[Path]:
    return [path for place in places for path in place.glob(f"*/{_PREFIX}*{_ENDING}") if _is_of(path, reader)]


def _is_of(path: Path, reader: str) -> bool:
    name = unicodedata.normalize("NFC", path.name.removeprefix(_PREFIX).removesuffix(_ENDING))
    aside = _ASIDE.match(name)
    return name == reader or (aside is not None and aside["reader"] == reader)


def _found(path: Path, case: Path, organ: str, reading: int) -> Autosave:
    name = path.name.removeprefix(_PREFIX).removesuffix(_ENDING)
    aside = _ASIDE.match(name)
    reader = aside["reader"] if aside else name
    written = datetime.fromtimestamp(max(0.0, stamp(path)[2] / 1e9), timezone.utc).isoformat(timespec="seconds")
    note = _read_note(path)
    if not note:
        return Autosave(path, case, organ, reader, written, reading=reading)
    voxels = note["voxels"] if isinstance(note.get("voxels"), int) else None
    return Autosave(
        path,
        case,
        organ,
        reader,
        str(note.get("time") or written),
        voxels if isinstance(voxels, int) else None,
        str(note.get("session", "")),
        reading,
    )


def _note_of(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(_ENDING) + ".json")


def _read_note(file: Path) -> dict[str, Any]:
    """Return the note beside a mask, {} when it is missing, damaged or, after a kill between both, of an earlier mask."""
    try:
        note = read_json(_note_of(file))
        return note if isinstance(note, dict) and note.get("sha256") == sha256_of(file) else {}
    except AtlasError:
        return {}
