"""Folders that are whole or absent, as `files` has it for files: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import TEMPORARIES, is_stale, storage_errors, sync_folder, temporary_beside


@contextmanager
def new_folder(folder: Path, option: str = "--out") -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` when the block ends well, and is removed otherwise.

    What killed programs left beside it is removed too.

    Args:
        folder: The final name.
        option: With which a user chooses another one, for the message.

    Raises:
        InputError: `folder` is there already.
        StorageError: It cannot be made.
    """
    folder = Path(folder)
    if folder.exists():
        message = f"{folder}: is there already."
        raise InputError(message, f"Choose another folder with {option}; nothing is overwritten.")
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in filter(is_stale, folder.parent.glob(TEMPORARIES)):
            shutil.rmtree(left, ignore_errors=True)  # files among them are `atomic_path`'s to remove
        temporary = temporary_beside(folder)
        temporary.mkdir()
    try:
        yield temporary
        with storage_errors(folder):
            sync_folder(temporary)
            os.replace(temporary, folder)  # noqa: PTH105 - the atomic call this function is about
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
