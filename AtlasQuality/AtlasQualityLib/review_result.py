"""What the child process found in a case, as the panel uses it: maps by kind and organ, rows of the table, hot spots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.hot_spots import HotSpot
from AtlasQualityLib.organ_table import OrganRow
from AtlasQualityLib.overlay_maps import COMBINED, SHOWN_KINDS, OverlayMap, read_overlay
from AtlasSegmentLib.volume import Grid, Volume


@dataclass(frozen=True)
class ReviewResult:
    """The answer of `tasks.review_files`.

    Attributes:
        case: Path of the case folder.
        work: Folder of the maps that are ready to be shown.
        grid: Their grid; None when there are no maps.
        maps: Maps by (kind, organ).
        rows: Rows of the table of organs.
        spots: Hot spots, the worst first.
        models: Names of the models.
    """

    case: str
    work: Path
    grid: Grid | None
    maps: Mapping[tuple[str, str], OverlayMap]
    rows: Sequence[OrganRow]
    spots: Sequence[HotSpot]
    models: Sequence[str]

    @classmethod
    def from_json(cls, answer: Mapping[str, Any], work: Path) -> ReviewResult:
        """Make it from what the task returned."""
        grid = answer["grid"]
        if grid is not None:
            x, y, z = grid["shape"]
            grid = Grid((x, y, z), np.array(grid["affine"]), str(answer["case"]))
        maps = [OverlayMap.from_json(entry) for entry in answer["maps"]]
        spots = [HotSpot(**{**spot, "center": tuple(spot["center"]), "voxel": tuple(spot["voxel"])}) for spot in answer["spots"]]
        rows = [OrganRow.from_json(row) for row in answer["organs"]]
        return cls(str(answer["case"]), work, grid, {(m.kind, m.organ): m for m in maps}, rows, spots, answer["models"])

    def kinds(self) -> list[str]:
        """Return the kinds of map that there are."""
        return [kind for kind in SHOWN_KINDS if (kind, COMBINED) in self.maps]

    def organs(self, kind: str) -> list[str]:
        """Return the organs that have a map of a kind, in the order of the table."""
        return [row.organ for row in self.rows if (kind, row.organ) in self.maps]

    def volume(self, kind: str, organ: str) -> Volume | None:
        """Return a map, uint8 0..100 in its own box; None when there is none or it marks nothing. Raises as `read_overlay`."""
        shown = self.maps.get((kind, organ))
        return read_overlay(self.work, shown, self.grid) if shown is not None and self.grid is not None else None


def merged_rows(segments: Sequence[tuple[str, str]], rows: Sequence[OrganRow]) -> list[tuple[str, OrganRow]]:
    """Join the segments of a segmentation with the rows of its case.

    Args:
        segments: (segment id, canonical structure) in the order of the segmentation.
        rows: Rows of the case; their volumes are left out, as the segmentation may have been edited since.

    Returns:
        (segment id, row): first the organs of the case in its order ("" where the segmentation lacks one), then other segments.
    """
    ids = {structure: identifier for identifier, structure in reversed(segments)}
    of_case = {row.structure for row in rows}
    known = [(ids.get(row.structure, ""), replace(row, volume_ml=None if row.structure in ids else row.volume_ml)) for row in rows]
    return known + [(identifier, OrganRow("", structure)) for identifier, structure in segments if structure not in of_case]
