"""What the parts of the review panel share: the open worklist, who reads, and where edits go that cannot be kept in the dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_index import Rows, WorklistIndex
from AtlasReviewLib.worklist_rows import ANY, TaskFilter
from AtlasReviewLib.worklist_rules import Rules


@dataclass
class ReviewContext:
    """The open dataset.

    Attributes:
        worklist: Its worklist, or None.
        reader: Name of the reader, checked; "" while no dataset is open.
        fallback: Folder of the user for edits that cannot be kept in the dataset.
        index: The tasks as they were read last.
        only: Which tasks the reader wants to be given.
        order: Puts rows of the list into the order that the reader chose, or None.
        rules: How the dataset is reviewed, as it was when it was opened.
    """

    fallback: Path
    worklist: Worklist | None = None
    reader: str = ""
    index: WorklistIndex = field(default_factory=WorklistIndex)
    only: TaskFilter = ANY
    order: Callable[[WorklistIndex, Rows], Rows] | None = None
    rules: Rules = field(default_factory=Rules)

    @property
    def level(self) -> int:
        """Up to which level the reader may decide tasks."""
        return self.rules.may_up_to(self.reader)

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
