"""What the parts of the review panel share: the open worklist, who reads, and where edits go that cannot be kept in the dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from AtlasReviewLib.worklist import Worklist


@dataclass
class ReviewContext:
    """The open dataset.

    Attributes:
        worklist: Its worklist, or None.
        reader: Name of the reader, checked; "" while no dataset is open.
        fallback: Folder of the user for edits that cannot be kept in the dataset.
    """

    fallback: Path
    worklist: Worklist | None = None
    reader: str = ""

    @property
    def folder(self) -> Path:
        """The dataset folder, links followed."""
        if self.worklist is None:
            raise LookupError
        return self.worklist.folder.resolve()


def userFolder() -> Path:
    """Return the folder beside Slicer's settings where unsaved edits go when a dataset folder cannot be written."""
    settings: Any = slicer.app.userSettings()
    return Path(settings.fileName()).parent / "AtlasAnnotator" / "autosave"
