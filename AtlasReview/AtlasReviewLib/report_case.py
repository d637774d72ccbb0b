"""What the report shows of a case: the CT, and one label map of the masks that count, read once for all pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from AtlasReviewLib.case_masks import case_grid, on_grid
from AtlasReviewLib.original_labels import OriginalLabels, original_class_values, original_labels
from AtlasReviewLib.report_views import as_sparse, extent
from AtlasSegmentLib import geometry, nifti
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.classes import abdomenatlas_table, class_of
from AtlasSegmentLib.components import bounding_box, largest_components
from AtlasSegmentLib.dataset_annotations import dataset_key
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.regions import BODY_HU, whole_box
from AtlasSegmentLib.sparse import SparseVolume, from_dense, is_empty, read_sparse
from AtlasSegmentLib.volume import Grid, Volume

_BORDER_MM = 8.0
_BODY_STEP_MM = 4.0


@dataclass
class ReportCase:
    """A case as the pictures need it.

    Attributes:
        case: Its folder.
        grid: Of the CT, or of the labels where there is no CT.
        ct: The CT in HU, or None.
        labels: Label map of the masks that count (original > revised > predicted); value i + 1 is `organs[i]`.
        organs: Names of the organs in the label map, in class order.
        sources: Organ to what its mask is: "original", "revised" or "predicted".
        original_ml: Organ to the volume of the original labels, where there are any.
        low, high: RAS mm (3,) of the box that pictures show: the body in the CT, or the whole grid.
        missing: What is not there, one sentence each.
    """

    case: CaseFolder
    grid: Grid
    ct: SparseVolume | None
    labels: SparseVolume
    organs: list[str]
    sources: dict[str, str] = field(default_factory=dict)
    original_ml: dict[str, float] = field(default_factory=dict)
    low: geometry.Matrix = field(default_factory=lambda: np.zeros(3))
    high: geometry.Matrix = field(default_factory=lambda: np.zeros(3))
    missing: list[str] = field(default_factory=list)


def read_report_case(case: CaseFolder, dataset: str | None = None) -> ReportCase:
    """Read what the pictures need; one CT and one label map stay in memory.

    Args:
        case: The case.
        dataset: Key of the dataset that the original labels are of; told by the folder names when None.

    Raises:
        DatasetError: The case has neither a CT nor labels.
        AtlasError: A file is damaged or lies on another grid.
    """
    grid = case_grid(case)
    missing: list[str] = []
    low, high = extent(grid)
    ct = None
    if case.ct.is_file():
        volume = nifti.read_nifti(case.ct)
        ct = as_sparse(volume)
        body = _body(volume)
        low, high = np.maximum(low, body.min(axis=0) - _BORDER_MM), np.minimum(high, body.max(axis=0) + _BORDER_MM)
    else:
        missing.append("There is no CT in the case folder: the pictures show labels without it.")
    original = _original(case, dataset or dataset_key(case.dataset, case.name), missing)
    report = ReportCase(case, grid, ct, from_dense(np.zeros((0, 0, 0), np.uint8), grid), [], low=low, high=high, missing=missing)
    _paint(report, original)
    return report


def _body(ct: Volume) -> geometry.Matrix:
    """Return corners, RAS mm (8, 3), of the largest part denser than air, without the table; of all when nothing is dense."""
    step = [max(1, int(_BODY_STEP_MM / size)) for size in ct.spacing]
    thin = largest_components(ct.array[:: step[0], :: step[1], :: step[2]] > BODY_HU, 1)
    box = bounding_box(thin)
    if box is None:
        return whole_box(ct.grid)
    ends = [(side.start * k, (side.stop - 1) * k) for side, k in zip(box, step, strict=True)]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(8, 3)
    return geometry.apply_affine(ct.affine, corners)


def _original(case: CaseFolder, key: str | None, missing: list[str]) -> tuple[OriginalLabels, frozenset[int]] | None:
    """Return the original labels and which classes they decide; None when there are none that can be read."""
    if not case.original_label.is_file():
        return None
    if key is None:
        missing.append("The original labels are left out: the dataset folder's name does not say which AbdomenAtlas dataset they are of.")
        return None
    try:
        return original_labels(case, key), original_class_values(key)
    except AtlasError as error:
        missing.append(f"The original labels are left out: {error.message.replace(str(case.folder), case.name)}")
        return None


def _paint(report: ReportCase, original: tuple[OriginalLabels, frozenset[int]] | None) -> None:
    case, table = report.case, abdomenatlas_table()
    folder = _predicted(report)
    decided = {table.name_of(value): value for value in sorted(original[1])} if original else {}
    names = {*folder.organs(), *case.average.revised_organs(), *decided}
    report.organs = sorted(names, key=lambda organ: (class_of(organ) or 1000, organ))
    dense = np.zeros(report.grid.shape, np.uint8 if len(report.organs) < 256 else np.uint16, order="F")
    for value, organ in enumerate(report.organs, start=1):
        if original is not None and organ in decided:
            mask = from_dense(original[0].mask(decided[organ]), report.grid)
            report.original_ml[organ] = millilitres(mask)
            report.sources[organ] = "original"
        else:
            revised = organ in case.average.revised_organs()
            mask = read_on(case.average.revised_mask(organ) if revised else folder.mask(organ), report.grid)
            report.sources[organ] = "revised" if revised else "predicted"
        if not is_empty(mask.box):
            dense[mask.box][mask.crop > 0] = value
    report.labels = from_dense(dense, report.grid)


def _predicted(report: ReportCase) -> LabelFolder:
    """Return the folder of predicted masks: the average, or the only model where there is no average (as assembly does)."""
    case, models = report.case, report.case.models()
    if case.average.organs():
        return case.average
    if len(models) == 1:
        report.missing.append(f"There is no average: the masks of the only model, {models[0]}, are drawn as they are.")
        return case.backbone(models[0])
    report.missing.append("There is no average yet, so that no predicted organ is drawn. Run: atlas average CASE.")
    return case.average


def read_on(path: Path, grid: Grid) -> SparseVolume:
    """Read a map; where its array order differs from `grid` (another program wrote it), turn it."""
    found = read_sparse(path)
    if geometry.same_grid(found.grid.shape, found.grid.affine, grid.shape, grid.affine):
        return found
    return from_dense(on_grid(nifti.read_nifti(path), grid).array, grid)


def millilitres(mask: SparseVolume) -> float:
    """Return the volume of a mask in ml."""
    return int(np.count_nonzero(mask.crop)) * mask.grid.voxel_volume_mm3 / 1000
