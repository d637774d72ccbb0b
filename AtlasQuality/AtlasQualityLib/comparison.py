"""Compare a segmentation with a reference, organ by organ: which organs both have, how well they agree, and the table of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.csv_text import csv_text, no_formula, number_cell
from AtlasQualityLib.mask_set import MaskSet
from AtlasQualityLib.metrics_labels import side_by_side
from AtlasQualityLib.surface_metrics import NEITHER, Agreement, MetricOptions, compare_masks
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_text
from AtlasSegmentLib.labels import Structure, catalog
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, box_shape, is_empty, union

NOT_HERE = "not in the segmentation"
NOT_IN_REFERENCE = "not in the reference"
_METRICS = ("dice", "nsd_1mm", "nsd_2mm", "hd95_mm", "assd_mm")
_VOLUMES = ("volume_ml", "reference_ml", "difference_ml", "difference_percent")
COLUMNS = ("organ", *_METRICS, *_VOLUMES, "note")
"""What fits on a screen."""
IN_NEITHER = "found in neither"
SURFACE_COLUMNS = ("hd_mm", "hd_voxel_mm", "hd95_voxel_mm", "assd_voxel_mm", "assd_voxel_pooled_mm")
PLACE_COLUMNS = ("presence", "iou", "centroid_mm", "right_mm", "front_mm", "head_mm")
PARTS_COLUMNS = ("parts_found", "parts_missed", "parts_false_positives", "parts_precision", "parts_recall", "parts_f1")
ALL_COLUMNS = (*COLUMNS[:-1], *PLACE_COLUMNS, *SURFACE_COLUMNS, *PARTS_COLUMNS, "note")
"""What a table file has; beside it the NSD at other tolerances, such as nsd_3mm."""
_SHARES = ("dice", "iou", "parts_precision", "parts_recall", "parts_f1")
_TEXTS = ("organ", "presence", "note")


@dataclass(frozen=True)
class OrganComparison:
    """One organ of a segmentation and of a reference.

    Attributes:
        organ: Canonical name.
        agreement: The numbers; None when one side does not know the organ.
        volume_ml: Volume in the segmentation, None when it does not know the organ.
        reference_ml: The same of the reference.
        note: Why there are no numbers, NOT_HERE or NOT_IN_REFERENCE; else "".
    """

    organ: str
    agreement: Agreement | None
    volume_ml: float | None
    reference_ml: float | None
    note: str = ""

    def numbers(self) -> dict[str, float | None]:
        """Return the numbers by the names of ALL_COLUMNS and of `nsd_name`, None where there is none (NaN too)."""
        found: dict[str, float | None] = dict.fromkeys(name for name in ALL_COLUMNS if name not in _TEXTS)
        if self.agreement is not None:
            found.update(self.agreement.numbers())
        found.update(volume_ml=self.volume_ml, reference_ml=self.reference_ml)
        return {name: None if value is None or math.isnan(value) else value for name, value in found.items()}

    def to_json(self) -> dict[str, Any]:
        """Return organ, presence, numbers and note by the names of `numbers`."""
        presence = self.agreement.presence if self.agreement is not None else ""
        return {"organ": self.organ, "presence": presence, **self.numbers(), "note": self.note}


def compare(
    masks: MaskSet,
    reference: MaskSet,
    progress: ProgressCallback = ignore_progress,
    *,
    options: MetricOptions | None = None,
    neither: bool = False,
    threads: int = 0,
) -> list[OrganComparison]:
    """Compare each organ of two sets on one grid.

    An organ that the other side has only as a whole is united to it (lung lobes to their lung, a tumor to its organ).

    Args:
        masks: The segmentation.
        reference: On the same grid, in any array order.
        progress: Told the finished share and the organ.
        options: Tolerances and overlap.
        neither: Give a row, noted as IN_NEITHER, to each organ that both know and neither found; else these are left out.
        threads: Organs compared at a time; 0 for as many as there are cores, at most four. The result does not depend on it.

    Returns:
        Organs by name; after them those found in neither, and those that one side lacks, without numbers and with a note.

    Raises:
        GeometryError: The grids differ; see `MaskSet.resampled`.
        InputError: The two share no organ.
    """
    ours = masks.united(_groups(masks.masks, reference.masks))
    theirs = reference.united(_groups(reference.masks, masks.masks)).onto(masks.grid)
    if not set(ours.masks) & set(theirs.masks):
        message = f"{masks.name} and {reference.name} share no organ: {_listed(ours.masks)} against {_listed(theirs.masks)}."
        raise InputError(message, "Check the label table of the reference and the names of the segments.")
    known = {*ours.masks} & {*theirs.masks} if neither else set()
    found = {organ for organ in {*ours.masks, *theirs.masks} if _is_found(ours, organ) or _is_found(theirs, organ)}
    organs = sorted(found | known)
    pairs = [(organ, ours.masks.get(organ), theirs.masks.get(organ)) for organ in organs]
    costs = [float(np.prod([*box_shape(union([mask.box for mask in pair[1:] if mask is not None]))])) for pair in pairs]
    rows: list[OrganComparison] = []
    progress(0.0, f"compare {organs[0]}" if organs else "compare")
    for row in side_by_side(lambda pair: _row(*pair, options), pairs, costs, threads):
        rows.append(row)
        progress(len(rows) / len(organs), f"compare {organs[min(len(rows), len(organs) - 1)]}")
    return sorted(rows, key=lambda row: (row.agreement is None, row.note == IN_NEITHER))


def _groups(own: Iterable[str], other: Iterable[str]) -> dict[str, list[str]]:
    """Return each organ to compare to the names of its parts: the nearest whole that the other side has, else the name itself."""
    known = set(other)
    groups: dict[str, list[str]] = {}
    for organ in own:
        whole = next((name for name in _with_wholes(organ) if name in known), organ)
        groups.setdefault(whole, []).append(organ)
    return groups


def _with_wholes(name: str | None) -> Iterator[str]:
    while name:
        yield name
        structure: Structure | None = catalog().get(name)
        name = structure.part_of if structure is not None else None


def _is_found(masks: MaskSet, organ: str) -> bool:
    return organ in masks.masks and not is_empty(masks.masks[organ].box)


def _listed(organs: Iterable[str]) -> str:
    names = sorted(organs)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"


def _row(organ: str, mask: SparseVolume | None, reference: SparseVolume | None, options: MetricOptions | None) -> OrganComparison:
    if mask is None or reference is None:
        return OrganComparison(organ, None, _volume_ml(mask), _volume_ml(reference), NOT_HERE if mask is None else NOT_IN_REFERENCE)
    box = union([mask.box, reference.box])
    a, b = (volume.within(box) if box != EMPTY_BOX else volume.crop for volume in (mask, reference))
    agreement = compare_masks(a, b, mask.grid.affine, options)
    note = IN_NEITHER if agreement.presence == NEITHER else ""
    return OrganComparison(organ, agreement, agreement.volume_ml, agreement.reference_ml, note)


def _volume_ml(mask: SparseVolume | None) -> float | None:
    return None if mask is None else int((mask.crop != 0).sum()) * mask.grid.voxel_volume_mm3 / 1000


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return ALL_COLUMNS and, before the note, the NSD at other tolerances that rows of `OrganComparison.to_json` have."""
    others = {name: None for row in rows for name in row if name not in ALL_COLUMNS}
    return [*ALL_COLUMNS[:-1], *others, ALL_COLUMNS[-1]]


def comparison_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows of `OrganComparison.to_json` as CSV with a header; unknown numbers are empty, infinite distances "inf"."""
    lines = list(rows)
    columns = columns_of(lines)
    return csv_text([columns, *([_cell(name, row.get(name)) for name in columns] for row in lines)])


def _cell(name: str, value: Any) -> object:
    if name in _TEXTS:
        return no_formula(value or "")
    return number_cell(value, 4 if name in _SHARES or name.startswith("nsd_") else 3)


def write_comparison(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of `OrganComparison.to_json` as CSV, atomically. Raises StorageError when that fails."""
    write_text(path, comparison_csv(rows))
