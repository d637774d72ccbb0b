"""Files of the store of models: what may be deleted, copied or swept away, and what is somebody else's."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from AtlasSegmentLib.files import storage_errors
from AtlasSegmentLib.model_store_record import FILE, Installed
from AtlasSegmentLib.names import require_inside


def files_below(folder: Path) -> list[Path]:
    """Return all files, also those behind links to folders; a link back up is followed once."""
    seen: set[Path] = set()
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = Path(parent).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found += [Path(parent) / name for name in sorted(names)]
    return found


def move_into(source: Path, content: Path) -> None:
    """Add what was unpacked to what is there; two files of one name are a broken entry of the catalogue."""
    with storage_errors(content):
        if not content.exists():
            source.rename(content)
            return
        for path in sorted(source.iterdir()):
            path.rename(content / path.name)


def clear_work(work: Path, *, keep_parts: bool) -> None:
    """Remove what is left of unpacking; finished archives and parts stay when they can be used again."""
    for path in list(work.iterdir()) if work.is_dir() else []:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif not keep_parts:
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):  # not empty: parts are kept in it
        work.rmdir()


def delete_recorded(model: Installed) -> list[str]:
    """Delete the files of a record, then the folders that became empty; return what is left.

    Raises:
        DatasetError: A folder of it has become a link that leads outside.
        StorageError: A file cannot be deleted.
    """
    for name in model.record.files:
        path = require_inside(model.folder.joinpath(*name.split("/")).parent, model.folder) / name.rpartition("/")[2]
        with storage_errors(path):
            path.unlink(missing_ok=True)
    for folder in sorted((path for path in model.folder.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True):
        with suppress(OSError):  # not empty: somebody keeps something in it
            folder.rmdir()
    left = others_in(model)
    with storage_errors(model.folder):
        (model.folder / FILE).unlink(missing_ok=True)
        if not left:
            model.folder.rmdir()
    return left


def others_in(model: Installed) -> list[str]:
    """Return what is in a model's folder and not in its record."""
    paths = (path for path in model.folder.rglob("*") if path != model.folder / FILE and (path.is_symlink() or not path.is_dir()))
    return sorted({path.relative_to(model.folder).as_posix() for path in paths} - {*model.record.files})
