"""One released case on the disk: files copied or linked from the assembled case, label maps renumbered, and a record of it.

Records lie beside the release, not in it: they hold the names that cases had before.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import atomic_path, copy_file, read_json, sha256_of, storage_errors, write_bytes, write_json
from AtlasSegmentLib.names import require_inside
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume

_RECORDS = ".atlas-release"
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}


@dataclass(frozen=True)
class PlannedFile:
    """One file of a release.

    Attributes:
        target: Relative POSIX path in the release.
        source: File of the assembled case to copy; None when `content` is given.
        values: Old to new label value, for a label map that is written anew; {} copies it as it is.
        content: Bytes of a small file.
    """

    target: str
    source: Path | None = None
    values: Mapping[int, int] = field(default_factory=dict)
    content: bytes = b""


def records_of(root: Path) -> Path:
    """Return the folder of what this program notes about a release: `.NAME.atlas-release` beside it."""
    return Path(root).with_name(f".{Path(root).name}{_RECORDS}")


def write_case(root: Path, name: str, manifest: Path, files: list[PlannedFile], *, link: bool) -> bool:
    """Write the files of one case into a release; nothing when they are there already.

    Args:
        root: Folder of the release.
        name: Of the case in the release.
        manifest: Of the assembled case: its hash decides whether the case changed.
        files: What to write.
        link: Make hard links to the assembled files, where the file system can; they are never opened for writing.

    Returns:
        Whether anything was written.

    Raises:
        DatasetError: A target would lie outside of the release.
        InputError, StorageError: A file cannot be read or written.
    """
    record = records_of(root) / "cases" / f"{name}.json"
    head = {"manifest": sha256_of(manifest), "files": [_described(file) for file in files]}
    if _is_current(root, record, head):
        return False
    record.unlink(missing_ok=True)
    digests = {file.target: _put(require_inside(root / file.target, root), file, link=link) for file in files}
    write_json(record, {**head, "sha256": digests})
    return True


def _described(file: PlannedFile) -> list[Any]:
    return [file.target, sorted([old, new] for old, new in file.values.items()), file.content.decode("utf-8", "replace")]


def _is_current(root: Path, record: Path, head: Mapping[str, Any]) -> bool:
    if not record.is_file():
        return False
    try:
        found = read_json(record)
        digests = found["sha256"]
        same = all(found[part] == head[part] for part in head)
        return same and all((root / name).is_file() and sha256_of(root / name) == digest for name, digest in digests.items())
    except (AtlasError, KeyError, TypeError, AttributeError):
        return False


def _put(target: Path, file: PlannedFile, *, link: bool) -> str:
    if file.source is None:
        write_bytes(target, file.content)
    elif file.values:
        _renumber(file.source, target, file.values)
    else:
        put_file(file.source, target, link=link)
    return sha256_of(target)


def write_changed(path: Path, text: str) -> None:
    """Write a text file, unless it says the same already: what did not change keeps its time. Raises StorageError."""
    data = text.encode("utf-8", "backslashreplace")
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)


def json_text(value: Any) -> str:
    """Return a value as the JSON text of a file."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def put_file(source: Path, target: Path, *, link: bool) -> None:
    """Copy a file, or link it where that is wanted and possible. Raises InputError, StorageError."""
    if target.is_file() and not target.is_symlink() and (not link or target.samefile(source)) and sha256_of(target) == sha256_of(source):
        return
    if not link or not _linked(source, target):
        copy_file(source, target)


def _linked(source: Path, target: Path) -> bool:
    if source.is_symlink():  # the link itself would be linked
        return False
    if target.exists() and target.samefile(source):
        return True
    try:
        with atomic_path(target) as temporary:
            try:
                os.link(source, temporary)
            except OSError as error:
                if error.errno in _NO_LINKS:
                    raise _NoLinkError from error
                raise
    except _NoLinkError:
        return False
    return True


class _NoLinkError(Exception):
    """The file system has no hard links, or the two folders are on different ones."""


def _renumber(source: Path, target: Path, values: Mapping[int, int]) -> None:
    labels = read_nifti(source)
    table = np.zeros(int(labels.array.max(initial=0)) + 1, np.uint8)
    for old, new in values.items():
        if old < table.size:
            table[old] = new
    array = np.asfortranarray(table[labels.array])
    write_nifti(target, Volume(array, labels.affine, str(target), labels.header))


def remove_others(root: Path, kept: set[str]) -> int:
    """Remove the files of cases that an earlier run released and this one does not; return how many cases that were."""
    removed = 0
    for record in sorted((records_of(root) / "cases").glob("*.json")):
        if record.stem in kept:
            continue
        for name in read_json(record).get("sha256", {}):
            path = require_inside(root / name, root)
            with storage_errors(path):
                path.unlink(missing_ok=True)
        with storage_errors(record):
            record.unlink()
        removed += 1
    return removed


def require_ours(root: Path, assembled: Path, layout: str) -> dict[str, str]:
    """Check that a release may be written into a folder, and return the names of cases that it gave before.

    Raises:
        DatasetError: It lies inside of the assembled dataset or around it, or holds something else than a release of this layout.
    """
    root, assembled = Path(root).resolve(), Path(assembled).resolve()
    if root.is_relative_to(assembled) or assembled.is_relative_to(root):
        message = f"{root}: the release would lie among its own sources ({assembled})."
        raise DatasetError(message, "Choose a folder beside the assembled dataset.")
    record = records_of(root) / "release.json"
    if not root.exists():
        return {}
    if record.is_file():
        content = read_json(record)
        if isinstance(content, dict) and content.get("layout") == layout:
            return {str(case): str(name) for case, name in content.get("names", {}).items()}
        message = f"{root}: holds a release of another layout."
        raise DatasetError(message, "Choose another folder for this one.")
    if not root.is_dir() or any(root.iterdir()):
        message = f"{root}: is not empty, and there is no record of a release ({record})."
        raise DatasetError(message, "Choose a new folder; nothing in this one was changed.")
    return {}
