"""Maps that an earlier run of a step left and the next one will not write again: they must not be taken for its results."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from AtlasSegmentLib.case_folder import LabelFolder
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json, storage_errors
from AtlasSegmentLib.names import safe_name


def recorded_organs(record: Path) -> dict[str, dict[str, Any]]:
    """Return organ to results of the run that `record` (run.json) is of; empty without one, or when another program made it."""
    if not record.is_file():
        return {}
    try:
        organs = read_json(record)["results"]["organs"]
        return {safe_name(name, "organ name"): entry for name, entry in organs.items() if isinstance(entry, dict)}
    except (AtlasError, KeyError, TypeError, AttributeError):
        return {}


def remove_outdated(folder: LabelFolder, record: Path, kinds: Collection[str], wanted: Collection[tuple[str, str]]) -> None:
    """Remove the maps that the recorded run wrote and that are not wanted now; call it before `Step.begin`.

    Args:
        folder: Where the maps lie.
        record: run.json of the earlier run. Files that it does not list are never touched.
        kinds: Kinds of map that the step owns, such as "segmentations".
        wanted: (kind, organ) of all maps that the step is about to write.
    """
    for organ in recorded_organs(record):
        for kind in kinds:
            path = folder.map(kind, organ)
            if (kind, organ) not in wanted:
                with storage_errors(path):
                    path.unlink(missing_ok=True)
