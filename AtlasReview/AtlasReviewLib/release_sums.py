"""SHA256SUMS: the hash of every file of a folder, in the form that `sha256sum -c` reads, strange names included."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import sha256_of, write_bytes
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

NAME = "SHA256SUMS"
_OURS = (".atlas-", ".assembling")  # temporary files, records and markers: not part of the data
_LINE = re.compile(rb"^(\\?)([0-9a-f]{64}) [ *](.+)$", re.DOTALL)
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}


@dataclass(frozen=True)
class SumsReport:
    """How a folder differs from its SHA256SUMS; relative POSIX paths, sorted.

    Attributes:
        checked: Number of files whose hash is right.
        changed: Another hash than listed.
        missing: Listed and not there.
        unlisted: There and not listed.
    """

    checked: int = 0
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing differs."""
        return not (self.changed or self.missing or self.unlisted)


def data_files(root: Path) -> Iterator[str]:
    """Yield the relative POSIX path of every file below a folder, but SHA256SUMS at its top and what this program keeps for itself.

    Links to folders are not followed.
    """
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(_OURS))
        for name in sorted(files):
            path = Path(folder, name).relative_to(root).as_posix()
            if path != NAME and not name.startswith(_OURS):
                yield path


def write_sums(root: Path, progress: ProgressCallback = ignore_progress) -> Path:
    """Hash every file below a folder and write SHA256SUMS at its top, sorted by name. Raises InputError and StorageError."""
    root = Path(root)
    names = sorted(data_files(root), key=os.fsencode)
    lines = []
    for number, name in enumerate(names):
        progress(number / len(names), f"hash {name}")
        lines.append(sum_line(sha256_of(root / name), name))
    path = root / NAME
    content = b"".join(lines)
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)
    return path


def sum_line(digest: str, name: str) -> bytes:
    """Return one line; a name with a backslash or line break is escaped and the line marked, as GNU coreutils does."""
    raw = os.fsencode(name)
    escaped = re.sub(rb"[\\\n\r]", lambda match: _ESCAPES[match[0]], raw)
    return (b"\\" if escaped != raw else b"") + digest.encode("ascii") + b"  " + escaped + b"\n"


def read_sums(path: Path) -> dict[str, str]:
    """Return relative path to SHA-256.

    Raises:
        InputError: The file is missing, or a line is not one of sha256sum.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Write it with: atlas card FOLDER.") from error
    return dict(_parsed(line, number, path) for number, line in enumerate(content.split(b"\n"), start=1) if line)


def _parsed(line: bytes, number: int, path: Path) -> tuple[str, str]:
    match = _LINE.match(line)
    if match is None:
        message = f"{path}: line {number} is not one of sha256sum."
        raise InputError(message, "Write the file again with: atlas card FOLDER.")
    name = match[3]
    if match[1]:
        name = re.sub(rb"\\[\\nr]", lambda escape: _UNESCAPES[escape[0]], name)
    return os.fsdecode(name), match[2].decode("ascii")


def check_sums(root: Path, progress: ProgressCallback = ignore_progress) -> SumsReport:
    """Compare every file of a folder with its SHA256SUMS. Raises InputError when that is missing or damaged."""
    root = Path(root)
    listed = read_sums(root / NAME)
    found = set(data_files(root))
    there = [name for name in listed if name in found]
    changed = []
    for number, name in enumerate(there):
        progress(number / len(there), f"check {name}")
        if sha256_of(root / name) != listed[name]:
            changed.append(name)
    missing = _sorted(name for name in listed if name not in found)
    return SumsReport(len(there) - len(changed), _sorted(changed), missing, _sorted(found - set(listed)))


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=os.fsencode)
