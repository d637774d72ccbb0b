"""What a training says of itself: its data, how predicted and true Dice of held-out masks agree, and the table of these masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.csv_text import csv_text, no_formula, number_cell
from AtlasQualityLib.quality_calibration import score_agreement
from AtlasQualityLib.quality_manifest import Curve
from AtlasQualityLib.quality_pairs import MODEL
from AtlasQualityLib.quality_pairs_find import PARTS, Part
from AtlasQualityLib.quality_pairs_names import KINDS
from AtlasQualityLib.quality_pairs_store import PairSet

_COLUMNS = ("case", "organ", "source", "part", "true_dice", "true_nsd_2mm", "score", "predicted_dice")


def data_facts(pairs: PairSet, cases: int) -> dict[str, Any]:
    """Return how many cases, organs, masks and slices there are, in each part."""
    facts: dict[str, Any] = {"cases": cases, "organs": len({mask.organ for mask in pairs.masks})}
    for part in PARTS:
        masks = [pairs.masks[mask] for mask in pairs.masks_of(part)]
        facts[part] = {
            "cases": len({mask.case for mask in masks}),
            "masks": len(masks),
            "of_models": sum(mask.source.startswith(MODEL) for mask in masks),
            "slices": len(pairs.slices_of(part)),
        }
    return facts


def figures_of(pairs: PairSet, part: Part, scores: np.ndarray[Any, Any], curve: Curve) -> dict[str, Any] | None:
    """Return how calibrated scores agree with the truth, for all masks of a part, those of models, and the others."""
    masks = [pairs.masks[mask] for mask in pairs.masks_of(part)]
    if not masks:
        return None
    predicted = curve(scores)
    kinds: dict[str, Callable[[str], bool]] = {
        "all": lambda _: True,
        "real_predictions": lambda source: source.startswith(MODEL),
        "synthetic_damage": lambda source: not source.startswith(MODEL) and source not in KINDS,
    }
    figures: dict[str, Any] = {}
    for name, belongs in kinds.items():
        own = [number for number, mask in enumerate(masks) if belongs(mask.source)]
        if own:
            found = score_agreement(predicted[own], [masks[number].dice for number in own], [masks[number].case for number in own])
            figures[name] = {k: round(v, 4) if isinstance(v, float) else v for k, v in found.to_json().items()}
    wrong = [number for number, mask in enumerate(masks) if mask.source in KINDS]
    if wrong:
        figures["wrong_names"] = wrong_names(predicted[wrong], [masks[number].dice for number in wrong])
    if part == "val":
        figures["note"] = (
            "The epoch was chosen and the calibration fitted on these masks: the figures of the test part are the honest ones."
        )
    return figures


def wrong_names(predicted: npt.NDArray[np.float64], dice: Sequence[float]) -> dict[str, Any]:
    """Return how low masks are put that bear another organ's name; their true Dice, about 0, leaves nothing to correlate with."""
    shares = {"mean_predicted": predicted.mean(), "mean_true": np.mean(dice), "share_above_one_half": (predicted > 0.5).mean()}
    return {"masks": len(dice), **{name: round(float(value), 4) for name, value in shares.items()}}


def mask_table(pairs: PairSet, scores: dict[Part, np.ndarray[Any, Any]], curve: Curve) -> str:
    """Return the held-out masks with their true and predicted Dice, as CSV."""
    rows: list[Sequence[object]] = [_COLUMNS]
    for part, values in scores.items():
        for mask, score in zip(pairs.masks_of(part), values, strict=True):
            one = pairs.masks[mask]
            texts = [no_formula(text) for text in (one.case, one.organ, one.source, one.part)]
            numbers = (one.dice, one.nsd, float(score), float(curve(score)))
            rows.append([*texts, *(number_cell(value, 4) for value in numbers)])
    return csv_text(rows)
