"""Maps that an earlier run of a step left and the next one will not write again: they must not be taken for its results."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import read_json, sha256_of, storage_errors
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


def changed_masks(folder: LabelFolder) -> list[str]:
    """Return the organs whose mask is not the one that the recorded run wrote: somebody changed it in place."""
    entries = recorded_organs(folder.run_record).items()
    written = [(organ, entry["sha256"], folder.mask(organ)) for organ, entry in entries if "sha256" in entry]
    return [organ for organ, digest, mask in written if mask.is_file() and sha256_of(mask) != digest]


def models_newer_than_average(case: CaseFolder) -> list[str]:
    """Return the models that predicted the case again after it was averaged; empty when another program averaged it."""
    try:
        record = read_json(case.average.run_record) if case.average.run_record.is_file() else {}
        kind = "segmentations" if len(record["parameters"]["models"]) == 1 else "soft_pred"
        inputs = [(*role.split("/", 1), entry["sha256"]) for role, entry in record["inputs"].items()]
        files = [(model, digest, case.backbone(model).map(kind, organ)) for model, organ, digest in inputs]
    except (AtlasError, KeyError, TypeError, ValueError, AttributeError):
        return []
    return sorted({model for model, digest, path in files if path.is_file() and sha256_of(path) != digest})


def require_current_average(case: CaseFolder) -> None:
    """Check that the average is of the predictions as they are now.

    Raises:
        DatasetError: A model predicted the case again since.
    """
    newer = models_newer_than_average(case)
    if newer:
        message = f"{case.folder}: the average is older than the predictions of {', '.join(newer)}."
        raise DatasetError(message, "Run: atlas average CASE.")
