"""atlas-store.json: which files of a model's folder this program put there, from where, with which checksums, on which terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.files import read_json, sha256_of, write_json

FORMAT = "atlas-store/1"
FILE = "atlas-store.json"
Origin = Literal["download", "archive", "copy"]


@dataclass(frozen=True)
class StoredSource:
    """What a model came from.

    Attributes:
        address: URL, or path of an archive or folder on this machine.
        size: Bytes of the file; 0 for a folder.
        sha256: Of the file; "" for a folder.
        checked: Published facts that it was checked against: some of "size", "sha256", "sha1", "md5".
    """

    address: str
    size: int = 0
    sha256: str = ""
    checked: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredFile:
    """A file that the store put there: bytes and checksum."""

    size: int
    sha256: str


@dataclass(frozen=True)
class StoreRecord:
    """What is known about a folder that the store made.

    Attributes:
        name: Its name, that of its folder.
        origin: How it came.
        sources: From where.
        files: POSIX path inside the folder to what was put there.
        version: Of the catalogue, or "".
        license: On which terms, or "".
        accepted: When a person agreed to the terms (UTC), or "" when nobody was asked.
        added: When it was added (UTC).
    """

    name: str
    origin: Origin
    sources: tuple[StoredSource, ...]
    files: dict[str, StoredFile] = field(default_factory=dict)
    version: str = ""
    license: str = ""
    accepted: str = ""
    added: str = ""

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files.values())


@dataclass(frozen=True)
class Installed:
    """A model that the store made.

    Attributes:
        folder: Its folder, directly inside the store.
        record: What the store knows about it.
    """

    folder: Path
    record: StoreRecord


def now() -> str:
    """Return the time as the record writes it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def files_in(folder: Path) -> dict[str, StoredFile]:
    """Return what is in a folder, the record excepted. Raises InputError."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / FILE)
    return {path.relative_to(folder).as_posix(): StoredFile(path.stat().st_size, sha256_of(path)) for path in paths}


def write_record(folder: Path, record: StoreRecord) -> None:
    """Write the record of a folder. Raises StorageError."""
    write_json(folder / FILE, {"format": FORMAT, **asdict(record)})


def read_record(folder: Path) -> StoreRecord | None:
    """Return the record of a folder, or None when the store did not make it.

    Raises:
        ModelError: There is a record that cannot be understood, or one that names files outside the folder.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content: Any = read_json(path)
        if content.pop("format") != FORMAT:
            raise ValueError(FORMAT)
        sources = tuple(StoredSource(**{**source, "checked": tuple(source["checked"])}) for source in content.pop("sources"))
        files = {_inside(name): StoredFile(int(file["size"]), str(file["sha256"])) for name, file in content.pop("files").items()}
        record = StoreRecord(sources=sources, files=files, **content)
    except (AtlasError, AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"{path}: cannot be understood, so it is not known which files belong to the model."
        raise ModelError(message, f"Delete the folder {folder} yourself, then add the model again.") from error
    return record


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or ":" in name:
        raise ValueError(name)
    return name


def changed_files(folder: Path, record: StoreRecord) -> Sequence[str]:
    """Return the files that are missing or not what the store put there, with the reason. Raises InputError."""
    wrong: list[str] = []
    for name, stored in record.files.items():
        path = folder.joinpath(*name.split("/"))
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif path.stat().st_size != stored.size:
            wrong.append(f"{name} has {path.stat().st_size} bytes, {stored.size} were stored")
        elif sha256_of(path) != stored.sha256:
            wrong.append(f"{name} has another SHA-256 than the one stored")
    return wrong
