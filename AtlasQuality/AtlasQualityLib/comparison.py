"""Compare a segmentation with a reference, organ by organ: which organs both have, how well they agree, and the table of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasQualityLib.csv_text import csv_text, no_formula, number_cell
from AtlasQualityLib.mask_set import MaskSet
from AtlasQualityLib.surface_metrics import Agreement, compare_masks
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_text
from AtlasSegmentLib.labels import Structure, catalog
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, is_empty, union

NOT_HERE = "not in the segmentation"
NOT_IN_REFERENCE = "not in the reference"
_METRICS = ("dice", "nsd_1mm", "nsd_2mm", "hd95_mm", "assd_mm")
_VOLUMES = ("volume_ml", "reference_ml", "difference_ml", "difference_percent")
COLUMNS = ("organ", *_METRICS, *_VOLUMES, "note")


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
        """Return the numbers by the names of COLUMNS, None where there is none (NaN too)."""
        found: Mapping[str, Any] = vars(self.agreement) if self.agreement is not None else {}
        result = {name: found.get(name) for name in (*_METRICS, *_VOLUMES)}
        result.update(volume_ml=self.volume_ml, reference_ml=self.reference_ml)
        return {name: None if value is None or value != value else value for name, value in result.items()}  # noqa: PLR0124 - NaN

    def to_json(self) -> dict[str, Any]:
        """Return organ, numbers and note by the names of COLUMNS."""
        return {"organ": self.organ, **self.numbers(), "note": self.note}


def compare(masks: MaskSet, reference: MaskSet, progress: ProgressCallback = ignore_progress) -> list[OrganComparison]:
    """Compare each organ of two sets on one grid.

    An organ that the other side has only as a whole is united to it (lung lobes to their lung, a tumor to its organ). An organ
    that both know but neither found is left out.

    Args:
        masks: The segmentation.
        reference: On the same grid, in any array order.
        progress: Told the finished share and the organ.

    Returns:
        Organs by name; after them those that one side lacks, without numbers and with a note.

    Raises:
        GeometryError: The grids differ; see `MaskSet.resampled`.
        InputError: The two share no organ.
    """
    ours = masks.united(_groups(masks.masks, reference.masks))
    theirs = reference.united(_groups(reference.masks, masks.masks)).onto(masks.grid)
    if not set(ours.masks) & set(theirs.masks):
        message = f"{masks.name} and {reference.name} share no organ: {_listed(ours.masks)} against {_listed(theirs.masks)}."
        raise InputError(message, "Check the label table of the reference and the names of the segments.")
    organs = sorted(organ for organ in {*ours.masks, *theirs.masks} if _is_found(ours, organ) or _is_found(theirs, organ))
    rows = []
    for number, organ in enumerate(organs):
        progress(number / len(organs), f"compare {organ}")
        rows.append(_row(organ, ours.masks.get(organ), theirs.masks.get(organ)))
    return sorted(rows, key=lambda row: row.agreement is None)


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


def _row(organ: str, mask: SparseVolume | None, reference: SparseVolume | None) -> OrganComparison:
    if mask is None or reference is None:
        return OrganComparison(organ, None, _volume_ml(mask), _volume_ml(reference), NOT_HERE if mask is None else NOT_IN_REFERENCE)
    box = union([mask.box, reference.box])
    a, b = (volume.within(box) if box != EMPTY_BOX else volume.crop for volume in (mask, reference))
    agreement = compare_masks(a, b, mask.grid.affine)
    return OrganComparison(organ, agreement, agreement.volume_ml, agreement.reference_ml)


def _volume_ml(mask: SparseVolume | None) -> float | None:
    return None if mask is None else int((mask.crop != 0).sum()) * mask.grid.voxel_volume_mm3 / 1000


def comparison_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows of `OrganComparison.to_json` as CSV with a header; unknown numbers are empty, infinite distances "inf"."""
    digits = {"dice": 4, "nsd_1mm": 4, "nsd_2mm": 4}
    numbers = (*_METRICS, *_VOLUMES)
    lines = [[no_formula(row["organ"]), *(number_cell(row[n], digits.get(n, 3)) for n in numbers), no_formula(row["note"])] for row in rows]
    return csv_text([list(COLUMNS), *lines])


def write_comparison(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of `OrganComparison.to_json` as CSV, atomically. Raises StorageError when that fails."""
    write_text(path, comparison_csv(rows))
