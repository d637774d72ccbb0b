"""How much each revision changed: voxels, volume, and Dice with the mask before. Read once; remembered by the hashes of both files."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from AtlasReviewLib.case_masks import Mask, case_grid, read_mask
from AtlasReviewLib.revisions import Revision, history, predicted_mask
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json, sha256_of, write_json

MEMORY = ".revision_changes.json"
"""Remembered changes, in the dataset folder; it may be deleted at any time."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What one revision changed.

    Attributes:
        voxels: That were added or removed; None when the mask before is not there any more.
        ml: Their volume, NaN when it is not known.
        dice: Of the masks before and after, 0..1, 1 when both are empty; NaN when it is not known.
    """

    voxels: int | None
    ml: float
    dice: float


UNKNOWN = Change(None, math.nan, math.nan)


def changes_of(case: CaseFolder, organ: str, memory: dict[str, Change]) -> Iterator[tuple[Revision, Change]]:
    """Yield every revision of an organ with what it changed, oldest first.

    Args:
        case: The case.
        organ: The organ.
        memory: Changes by the hashes of both masks; read and added to.

    Raises:
        LabelError, DatasetError: As `revisions.history`.
    """
    revisions = history(case, organ)
    files = {revision.sha256: revision.file for revision in revisions}
    predicted = predicted_mask(case, organ)
    if predicted is not None and any(revision.base_sha256 not in files for revision in revisions):
        files.setdefault(sha256_of(predicted), predicted)
    for revision in revisions:
        yield revision, _change(case, revision, files, memory)


def _change(case: CaseFolder, revision: Revision, files: dict[str, Path], memory: dict[str, Change]) -> Change:
    before = files.get(revision.base_sha256)
    if revision.base_sha256 and before is None:
        return UNKNOWN
    key = f"{revision.base_sha256}:{revision.sha256}"
    if key not in memory:
        try:
            grid = case_grid(case)
            after = read_mask(revision.file, grid)
            first: Mask = np.zeros_like(after) if before is None else read_mask(before, grid)
        except AtlasError as error:
            _log.warning("%s: what it changed cannot be told (%s).", revision.file, error)
            return UNKNOWN
        voxels = int(np.count_nonzero(first ^ after))
        both = int(np.count_nonzero(first)) + int(np.count_nonzero(after))
        memory[key] = Change(voxels, voxels * grid.voxel_volume_mm3 / 1000, (both - voxels) / both if both else 1.0)
    return memory[key]


@contextlib.contextmanager
def remembered(dataset: Path) -> Iterator[dict[str, Change]]:
    """Yield the changes that were counted before, and keep what is new; a folder that cannot be written is none the worse."""
    memory = _read(dataset / MEMORY)
    known = len(memory)
    yield memory
    if len(memory) > known:
        with contextlib.suppress(AtlasError):
            write_json(dataset / MEMORY, {key: astuple(change) for key, change in memory.items()})


def _read(path: Path) -> dict[str, Change]:
    try:
        content = read_json(path) if path.is_file() else {}
        return {str(key): Change(int(voxels), float(ml), float(dice)) for key, (voxels, ml, dice) in content.items()}
    except (AtlasError, AttributeError, TypeError, ValueError, json.JSONDecodeError):
        return {}  # it only saves time


def organs_with_revisions(case: CaseFolder) -> Iterable[str]:
    """Return the organs that somebody ever saved a revision of."""
    folder = case.average.revisions("x").parent
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
