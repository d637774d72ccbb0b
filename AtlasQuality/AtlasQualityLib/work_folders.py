"""Folders for files that panel and child process share; none is left behind."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path


class WorkFolders:
    """Makes folders below one place and removes them.

    Args:
        place: The folder of temporary files.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._folders: list[tuple[str, Path]] = []

    def make(self, purpose: str) -> Path:
        """Return a new empty folder; of the same purpose only the one before is kept, as it may still be shown."""
        folder = Path(tempfile.mkdtemp(prefix=f"AtlasQuality-{purpose}-", dir=self._place))
        for entry in [entry for entry in self._folders if entry[0] == purpose][:-1]:
            self._remove(entry)
        self._folders.append((purpose, folder))
        return folder

    def remove(self) -> None:
        """Remove all of them."""
        for entry in list(self._folders):
            self._remove(entry)

    def _remove(self, entry: tuple[str, Path]) -> None:
        shutil.rmtree(entry[1], ignore_errors=True)
        self._folders.remove(entry)
