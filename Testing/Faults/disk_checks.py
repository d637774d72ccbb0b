"""What a kill must not do to the disk, checked with other readers than the program's own."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

_TIMES = ("started", "finished")
_WHEN = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?( ?UTC|Z|\+00:00)?")
_RUN_TIMES = re.compile(rb"(<td>[-0-9T:.+]+</td>){2}<td class=\"n\">[0-9.]+</td>")  # started, finished, seconds
_LOG_COLUMNS = 8
_SCORE_COLUMNS = 12


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return file, hidden ones too, to (size, time of change)."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def visible(folder: Path) -> list[str]:
    """Return the files with a final name, relative, sorted."""
    return sorted(name for name in listing(folder) if not Path(name).name.startswith("."))


def unreadable(folder: Path) -> list[str]:
    """Return every file with a final name that is not whole, with the reason."""
    problems = []
    for name in visible(folder):
        try:
            _read(folder / name)
        except (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as error:
            problems.append(f"{name}: {error}")
    return problems


def _read(path: Path) -> None:
    if path.name.endswith(".nii.gz"):
        gzip.decompress(path.read_bytes())  # to the checksum at the end
        np.asarray(nib.load(path).dataobj)
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".csv":
        _read_csv(path)
    elif path.suffix == ".html" and not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        message = "the page has no end"
        raise ValueError(message)


def _read_csv(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines(), strict=True))
    is_log = path.name == "log.csv"
    if is_log and not text.endswith("\n"):
        rows = rows[:-1]  # appended to: the next append leaves a torn line alone
    wanted = {_LOG_COLUMNS} if is_log else {_SCORE_COLUMNS} if path.name.endswith("_scores.csv") else set(range(1, 99))
    wrong = next((row for row in rows if len(row) not in wanted), None)
    if wrong is not None or not rows or (not is_log and not text.endswith("\n")):
        message = f"a table with a broken row: {wrong}"
        raise ValueError(message)


def content(folder: Path) -> dict[str, str]:
    """Return file to digest of its content: voxels and headers unpacked, JSON and pages without the times of a run."""
    return {name: hashlib.sha256(_content(folder / name)).hexdigest() for name in visible(folder)}


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        if path.name.endswith(".gz"):
            return gzip.decompress(data)
        if path.suffix == ".json":
            return json.dumps(_without_times(json.loads(data))).encode()
    except (OSError, EOFError, ValueError, zlib.error):  # damaged: it differs from any whole file
        return data
    return _WHEN.sub(b"", _RUN_TIMES.sub(b"", data)) if path.suffix == ".html" else data


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in _TIMES}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def differences(expected: dict[str, str], found: dict[str, str], is_revision: bool = False) -> list[str]:
    """Return what differs; revisions and their log are not compared where each run adds one."""
    names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if is_revision:
        names = [name for name in names if "/revisions/" not in name]
    reasons = {(True, True): "differs", (True, False): "is missing", (False, True): "is too many"}
    return [f"{name} {reasons[name in expected, name in found]}" for name in names]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def revision_hashes(folder: Path) -> dict[str, str]:
    """Return revision file to SHA-256."""
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in folder.rglob("revisions/*/[!.]*.nii.gz")}


def originals(folder: Path) -> dict[str, str]:
    """Return file to SHA-256 of all that came in and of all revisions."""
    names = [name for name in visible(folder) if name.startswith("inputs/") or Path(name).name in {"ct.nii.gz", "original_label.nii.gz"}]
    kept = [name for name in names if "release/" not in name and "assembled/" not in name]  # copies, made again from these
    return {**{name: _sha256(folder / name) for name in kept}, **revision_hashes(folder)}


def changed(expected: dict[str, str], folder: Path) -> list[str]:
    """Return the files that no longer have their bytes."""
    return [name for name, digest in expected.items() if not (folder / name).is_file() or _sha256(folder / name) != digest]


def acknowledged(out: str) -> dict[str, str]:
    """Return file name to SHA-256 of the revisions that a command said it has saved (its --json output)."""
    try:
        revisions = json.loads(out).get("revisions", [])
    except (ValueError, AttributeError):  # killed before it said anything
        return {}
    return {Path(revision["file"]).name: revision["sha256"] for revision in revisions}


def lost_revisions(saved: dict[str, str], folder: Path) -> list[str]:
    """Return the saved revisions (by file name) that are gone or have other bytes."""
    present = {Path(name).name: digest for name, digest in revision_hashes(folder).items()}
    return [name for name, digest in saved.items() if present.get(Path(name).name) != digest]
