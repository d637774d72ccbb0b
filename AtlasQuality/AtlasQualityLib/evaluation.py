"""How good masks, attention and error maps are where a reference exists: Dice per organ, and detection of wrong voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.attention import attention_folder
from AtlasQualityLib.error_map import STEPS, Calibration, fit_calibration
from AtlasSegmentLib import nifti
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.classes import class_of, paint
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.label_conversion import convert_labels
from AtlasSegmentLib.sparse import SparseVolume, read_sparse, union
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, reorient, require_same_grid


@dataclass(frozen=True)
class Detection:
    """How well a map finds wrong voxels.

    Attributes:
        auroc: Area under the ROC curve over all voxels (0.5 is chance).
        sensitivity: Share of wrong voxels where the map is not zero.
        specificity: Share of right voxels where the map is zero.
        precision: Share of marked voxels that are wrong.
    """

    auroc: float
    sensitivity: float
    specificity: float
    precision: float


@dataclass(frozen=True)
class Evaluation:
    """Agreement of a case with a reference.

    Attributes:
        dice: Model name (or "average") to organ to Dice, NaN when both are empty.
        attention: Detection by AbdomenAtlas' binary attention of all organs together.
        expected_error: Detection by the summed expected error of all organs; None when there are no such maps.
        organs: Organs that took part in the detection.
        wrong_voxels: Voxels where the average label differs from the reference, over `organs`.
    """

    dice: dict[str, dict[str, float]]
    attention: Detection
    expected_error: Detection | None
    organs: tuple[str, ...]
    wrong_voxels: int


def dice(a: Array, b: Array) -> float:
    """Return 2 |A and B| / (|A| + |B|) of two masks of one shape, NaN when both are empty."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / total if total else float("nan")


def evaluate_case(case: CaseFolder, reference: LabelVolume) -> Evaluation:
    """Compare a case with a reference on the CT's grid (its axes may be in another order); nothing is written.

    A voxel is wrong when the label that the average gives it differs from the reference's, among the organs that have
    attention and that the reference's table knows (an organ it does not find is counted as wrong; one it does not know is not).

    Raises:
        GeometryError: The reference is on another grid.
        InputError: The reference and the case share no organ.
    """
    truth = _by_class(case, reference)
    organs = [o for o in case.average.organs("attention") if class_of(o) in _known_classes(reference)]
    if not organs:
        message = f"{reference.source}: the reference and the attention of {case.folder} share no organ."
        raise InputError(message, "Check the label table (--table), and run atlas attention first.")
    wrong = _wrong_voxels(case, truth, organs)
    marked = _summed(case, "attention", organs, binary=True)
    expected = _summed(case, "expected_error", organs, binary=False)
    return Evaluation(
        {name: _dice_of(folder, truth, reference) for name, folder in _folders(case).items()},
        detection(marked, wrong),
        None if expected is None or not case.average.organs("expected_error") else detection(expected, wrong),
        tuple(organs),
        int(wrong.sum()),
    )


def calibrate(case: CaseFolder, reference: LabelVolume) -> Calibration:
    """Fit a calibration on one case: expected error of each organ against whether its average mask is wrong there.

    Raises:
        GeometryError: The reference is on another grid.
        InputError: There are no maps of organs that the reference knows, or they were made with a calibration already.
    """
    _require_uncalibrated(case)
    truth = _by_class(case, reference)
    expected, observed = [], []
    for organ in case.average.organs("expected_error"):
        if class_of(organ) in _known_classes(reference):
            error, mask = read_sparse(case.average.map("expected_error", organ)), read_sparse(case.average.mask(organ))
            box = union([error.box, mask.box])
            values, inside = error.within(box), mask.within(box) > 0
            spoken = (values > 0) | inside  # elsewhere no model says anything, and no curve is applied
            expected.append(values[spoken])
            observed.append((inside != (truth[box] == class_of(organ)))[spoken])
    if not expected:
        message = f"{case.folder}: there are no expected-error maps of organs that {reference.source} knows."
        raise InputError(message, "Run: atlas attention CASE.")
    return fit_calibration(np.concatenate(expected), np.concatenate(observed), f"{case.dataset}/{case.name}")


def _require_uncalibrated(case: CaseFolder) -> None:
    record = attention_folder(case).run_record
    curve = read_json(record).get("parameters", {}).get("calibration") if record.is_file() else None
    plain = Calibration()
    if curve is not None and curve[:2] != [list(plain.expected), list(plain.observed)]:
        message = f"{case.folder}: its expected-error maps are calibrated already (on {curve[2]}), so no curve can be fitted to them."
        raise InputError(message, "Run: atlas attention CASE without --calibration, then calibrate.")


def _folders(case: CaseFolder) -> dict[str, LabelFolder]:
    return {"average": case.average, **{name: case.backbone(name) for name in case.models()}}


def _known_classes(reference: LabelVolume) -> set[int]:
    table = reference.table
    own = {class_of(name) for name in table.names()} if table is not None else set()
    parts = {
        class_of(whole)
        for name in (table.names() if table else [])
        if table and (whole := table.structure_of(table.value_of(name)).part_of)
    }
    return {value for value in own | parts if value is not None}


def case_grid(case: CaseFolder) -> Grid:
    """Return the grid of the CT of a case, or of its average where the CT is not at hand."""
    return nifti.read_grid(case.ct if case.ct.is_file() else case.average.pseudo_label)


def _by_class(case: CaseFolder, reference: LabelVolume) -> Array:
    from AtlasSegmentLib.classes import abdomenatlas_table

    grid = case_grid(case)
    array, affine = reorient(reference.array, reference.affine, grid.orientation)
    turned = LabelVolume(array, affine, reference.source, reference.header, reference.table)
    require_same_grid(turned, grid)
    return convert_labels(turned, abdomenatlas_table()).array


def _dice_of(folder: LabelFolder, truth: Array, reference: LabelVolume) -> dict[str, float]:
    known = _known_classes(reference)
    found = {}
    for organ in folder.organs():
        value = class_of(organ)
        if value in known:
            mask = read_sparse(folder.mask(organ))
            inside, reference_size = truth[mask.box] == value, int(np.count_nonzero(truth == value))
            total = int(np.count_nonzero(mask.crop)) + reference_size
            found[organ] = 2 * int(np.count_nonzero((mask.crop > 0) & inside)) / total if total else float("nan")
    return found


def _wrong_voxels(case: CaseFolder, truth: Array, organs: Sequence[str]) -> npt.NDArray[np.bool_]:
    masks: dict[int | None, SparseVolume] = {class_of(organ): read_sparse(case.average.mask(organ)) for organ in organs}
    values = [value for value in masks if value is not None]
    painted = paint(masks, next(iter(masks.values())).grid).dense()
    wanted = np.where(np.isin(truth, values), truth, 0)
    return np.asarray(painted != wanted)


def _summed(case: CaseFolder, kind: str, organs: Sequence[str], *, binary: bool) -> npt.NDArray[np.uint16]:
    """Return the maps of all organs together, 0..65535: any organ's attention, or the summed error probability cut at 1."""
    total: npt.NDArray[np.uint16] | None = None
    for organ in organs:
        path = case.average.map(kind, organ)
        volume = read_sparse(path) if path.is_file() else None
        if volume is None:
            continue
        if total is None:
            total = np.zeros(volume.grid.shape, np.uint16)
        values = (volume.crop > 0).astype(np.uint16) if binary else np.round(volume.crop * STEPS).astype(np.uint16)
        total[volume.box] = (
            np.maximum(total[volume.box], values) if binary else np.minimum(total[volume.box].astype(np.uint32) + values, STEPS)
        )
    return np.zeros((0, 0, 0), np.uint16) if total is None else total


def detection(scores: npt.NDArray[np.uint16], wrong: npt.NDArray[np.bool_]) -> Detection:
    """Return how well `scores` (any shape, uint16) rank `wrong` voxels (same shape) above right ones; ties count half."""
    bad = np.bincount(scores[wrong], minlength=STEPS + 1).astype(np.float64)
    good = np.bincount(scores[~wrong], minlength=STEPS + 1).astype(np.float64)
    pairs = bad.sum() * good.sum()
    below = np.cumsum(good) - good
    marked = bad[1:].sum() + good[1:].sum()
    return Detection(
        float((bad * (below + good / 2)).sum() / pairs) if pairs else float("nan"),
        float(bad[1:].sum() / bad.sum()) if bad.sum() else float("nan"),
        float(good[0] / good.sum()) if good.sum() else float("nan"),
        float(bad[1:].sum() / marked) if marked else float("nan"),
    )
