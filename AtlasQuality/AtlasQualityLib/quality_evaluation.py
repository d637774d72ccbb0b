"""How good predictions of quality are, where there is a reference: predicted against true Dice of every mask of a case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from AtlasQualityLib.mask_set import MaskSet, masks_of_case, masks_of_labels
from AtlasQualityLib.quality_calibration import ScoreAgreement, score_agreement
from AtlasQualityLib.quality_model import QualityModel
from AtlasQualityLib.quality_predict import MaskQuality, predict_quality
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import SparseVolume, read_sparse, union
from AtlasSegmentLib.volume import LabelVolume
from AtlasSegmentLib.volume_io import check_ct, read_volume

AVERAGE = "average"
RANKINGS = ("predicted Dice", "entropy", "inconsistency", "random")


@dataclass(frozen=True)
class ScoredMask:
    """A mask whose true Dice is known.

    Attributes:
        case: Name of the case.
        masks: Name of the model that drew it, or "average".
        organ: Its name.
        dice: True Dice, 0..1.
        predicted: Predicted Dice, 0..1.
        spread: See `quality_predict.MaskQuality`.
        entropy: Mean one-sided entropy over the mask, 0..0.37; NaN when the model left no entropy map.
        inconsistency: 1 - mean Dice with the other models' masks of the organ; NaN without others.
    """

    case: str
    masks: str
    organ: str
    dice: float
    predicted: float
    spread: float
    entropy: float = math.nan
    inconsistency: float = math.nan

    def trust(self, ranking: str, rng: np.random.Generator) -> float:
        """Return the number by which a ranking orders masks, larger for better ones."""
        return {"predicted Dice": self.predicted, "entropy": -self.entropy, "inconsistency": -self.inconsistency, "random": rng.random()}[
            ranking
        ]


def scored_masks(
    case: CaseFolder, reference: LabelVolume, model: QualityModel, progress: ProgressCallback = ignore_progress
) -> list[ScoredMask]:
    """Return every mask of a case, of each model and of the average, whose organ the reference knows.

    Masks and references that are both empty are right by definition and left out, since no quality of nothing is predicted; an
    empty mask of an organ that is there has true and predicted Dice 0.

    Raises:
        InputError: The case and the reference share no organ.
        AtlasError: As reading and `predict_quality`.
    """
    ct = read_volume(case.ct)
    check_ct(ct)
    truth = masks_of_labels(reference).onto(ct.grid)
    names = [*case.models(), *([AVERAGE] if case.average.organs() else [])]
    sets = {name: masks_of_case(case, "" if name == AVERAGE else name).onto(ct.grid) for name in names}
    result: list[ScoredMask] = []
    for number, (name, masks) in enumerate(sets.items()):
        organs = {organ: found for organ in masks.masks if (found := _reference_of(organ, truth)) is not None}
        if not organs:
            continue
        progress(number / len(sets), name)
        scored = predict_quality(ct, masks, model, list(organs))
        others = [other for key, other in sets.items() if key not in {name, AVERAGE}]
        folder = case.average if name == AVERAGE else case.backbone(name)
        for organ, quality in scored.items():
            row = _row((case.name, name, organ), masks.masks[organ], organs[organ], quality)
            if not math.isnan(row.dice):
                others_say = _inconsistency(masks.masks[organ], organ, others)
                result.append(replace(row, entropy=_mean_entropy(folder, organ, masks.masks[organ]), inconsistency=others_say))
    if not result:
        message = f"{reference.source}: the reference and the masks of {case.folder} share no organ."
        raise InputError(message, "Check the label table (--table).")
    return result


def _reference_of(organ: str, truth: MaskSet) -> SparseVolume | None:
    """Return the reference's mask of an organ, made of its parts where it knows only those; None when it knows neither."""
    if organ in truth.masks:
        return truth.masks[organ]
    parts = [name for name in truth.masks if structure_for(name).part_of == organ]
    return truth.united({organ: parts}).masks[organ] if parts else None


def _row(which: tuple[str, str, str], mask: SparseVolume, truth: SparseVolume, quality: MaskQuality) -> ScoredMask:
    predicted = 0.0 if math.isnan(quality.dice) else quality.dice
    return ScoredMask(*which, sparse_dice(mask, truth), predicted, quality.spread)


def _inconsistency(mask: SparseVolume, organ: str, others: Sequence[MaskSet]) -> float:
    found = [sparse_dice(mask, other.masks[organ]) for other in others if organ in other.masks]
    apart = [1 - value for value in found if not math.isnan(value)]
    return float(np.mean(apart)) if apart else math.nan


def sparse_dice(a: SparseVolume, b: SparseVolume) -> float:
    """Return the Dice of two masks of one grid; NaN when both are empty."""
    box = union([a.box, b.box])
    one, other = a.within(box) != 0, b.within(box) != 0
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else math.nan


def _mean_entropy(folder: LabelFolder, organ: str, mask: SparseVolume) -> float:
    """Return the mean entropy over the voxels of a mask and those beside it that have any; NaN without a map."""
    names = [name for name in folder.organs("entropy") if structure_for(name).name == organ]
    if not names:
        return math.nan
    entropy = read_sparse(folder.map("entropy", names[0]))
    size = int(np.count_nonzero(mask.crop))
    return float(entropy.crop.sum(dtype=np.float64)) / 255 / size if size else math.nan


def agreement_of(rows: Sequence[ScoredMask]) -> ScoreAgreement:
    """Return how predicted and true Dice agree."""
    return score_agreement([row.predicted for row in rows], [row.dice for row in rows], [row.case for row in rows])


def rankings_of(rows: Sequence[ScoredMask], seed: int = 0) -> dict[str, ScoreAgreement]:
    """Return how well each ranking orders the masks by their true Dice: over those for which all of them have a number.

    "entropy" is the total entropy per voxel of the mask, "inconsistency" one minus the mean Dice with the other models' masks.
    """
    kept = [row for row in rows if math.isfinite(row.entropy) and math.isfinite(row.inconsistency)]
    rng = np.random.default_rng(seed)
    true, cases = [row.dice for row in kept], [row.case for row in kept]
    return {name: score_agreement([row.trust(name, rng) for row in kept], true, cases) for name in RANKINGS}
