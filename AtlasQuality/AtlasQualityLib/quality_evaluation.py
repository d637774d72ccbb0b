"""How good predictions of quality are, where there is a reference: predicted against true Dice of every mask of a case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.mask_set import MaskSet, masks_of_case, masks_of_labels
from AtlasQualityLib.quality_calibration import ScoreAgreement, score_agreement
from AtlasQualityLib.quality_case_masks import doubts_of
from AtlasQualityLib.quality_model import QualityModel
from AtlasQualityLib.quality_predict import MaskQuality, predict_quality
from AtlasQualityLib.quality_training_cts import too_good, training_ct
from AtlasSegmentLib.case_folder import MC_DROPOUT, CaseFolder, LabelFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import SparseVolume, read_sparse, union
from AtlasSegmentLib.volume import LabelVolume
from AtlasSegmentLib.volume_io import check_ct, read_volume

AVERAGE = "average"
DROPOUT = "MC dropout"
RANKINGS = ("predicted Dice", "entropy", "inconsistency", DROPOUT, "random")


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
        mc_dropout: As `entropy`, of the mean of several predictions with dropout; NaN when the model left no such map.
        empty: The mask has no voxel, so that nothing is predicted of it; `predicted` is 0.
    """

    case: str
    masks: str
    organ: str
    dice: float
    predicted: float
    spread: float
    entropy: float = math.nan
    inconsistency: float = math.nan
    mc_dropout: float = math.nan
    empty: bool = False

    def trust(self, ranking: str, rng: np.random.Generator) -> float:
        """Return the number by which a ranking orders masks, larger for better ones."""
        if ranking == "random":
            return rng.random()
        return {
            "predicted Dice": self.predicted,
            "entropy": -self.entropy,
            "inconsistency": -self.inconsistency,
            DROPOUT: -self.mc_dropout,
        }[ranking]


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
                mask = masks.masks[organ]
                unsure = [_mean_entropy(folder, kind, organ, mask) for kind in ("entropy", MC_DROPOUT)]
                others_say = _inconsistency(mask, organ, others)
                result.append(replace(row, entropy=unsure[0], inconsistency=others_say, mc_dropout=unsure[1]))
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
    return ScoredMask(*which, sparse_dice(mask, truth), predicted, quality.spread, empty=math.isnan(quality.dice))


def ct_warnings(case: CaseFolder, model: QualityModel) -> list[str]:
    """Return what is to be known of the CT of a case: that it may be none, or that the model was trained on it. Raises as reading."""
    ct = read_volume(case.ct)
    seen = training_ct(ct, model.manifest)
    return [f"{case.name}: {doubt}" for doubt in doubts_of(ct)] + ([too_good(case.name, seen.part)] if seen is not None else [])


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


def _mean_entropy(folder: LabelFolder, kind: str, organ: str, mask: SparseVolume) -> float:
    """Return the entropy of a map of some kind over the voxels of a mask and those beside it that have any; NaN without a map."""
    names = [name for name in folder.organs(kind) if structure_for(name).name == organ]
    if not names:
        return math.nan
    entropy = read_sparse(folder.map(kind, names[0]))
    size = int(np.count_nonzero(mask.crop))
    return float(entropy.crop.sum(dtype=np.float64)) / 255 / size if size else math.nan


def agreement_of(rows: Sequence[ScoredMask]) -> ScoreAgreement:
    """Return how predicted and true Dice agree."""
    return score_agreement([row.predicted for row in rows], [row.dice for row in rows], [row.case for row in rows])


def rankings_of(rows: Sequence[ScoredMask], seed: int = 0) -> dict[str, ScoreAgreement]:
    """Return how well each ranking orders the masks by their true Dice.

    "entropy" is the total entropy per voxel of the mask, "inconsistency" one minus the mean Dice with the other models' masks: rankings
    are compared over the masks for which all of them have a number, and one that has none at all (inconsistency of a single model) is
    left out. "MC dropout", the total entropy of the mean of several predictions with dropout, is of the masks alone whose models have
    left such maps; give `with_dropout_maps(rows)` to have all rankings over these.
    """
    rng = np.random.default_rng(seed)
    trust = {name: np.array([row.trust(name, rng) for row in rows], np.float64) for name in RANKINGS}
    finite = {name: np.isfinite(values) for name, values in trust.items() if np.isfinite(values).any()}
    compared = np.all([there for name, there in finite.items() if name != DROPOUT], axis=0)
    chosen = {name: np.flatnonzero(compared & there) for name, there in finite.items()}
    return {name: _ranked(trust[name], rows, which) for name, which in chosen.items() if len(which)}


def with_dropout_maps(rows: Sequence[ScoredMask]) -> list[ScoredMask]:
    """Return the masks of models that have left MC-dropout maps."""
    return [row for row in rows if math.isfinite(row.mc_dropout)]


def _ranked(trust: npt.NDArray[np.float64], rows: Sequence[ScoredMask], which: npt.NDArray[np.intp]) -> ScoreAgreement:
    return score_agreement(trust[which], [rows[number].dice for number in which], [rows[number].case for number in which])
