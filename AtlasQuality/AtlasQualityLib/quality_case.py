"""Predicted quality of a case folder: `predicted_dice.json` beside its masks, and SegAE's table of many cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasQualityLib.mask_set import masks_of_case
from AtlasQualityLib.quality_model import QualityModel
from AtlasQualityLib.quality_predict import MaskQuality, predict_quality
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import read_json, write_json, write_text
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.run_record import Step
from AtlasSegmentLib.volume_io import check_ct, read_volume

FORMAT = "atlas-predicted-dice/1"
NOT_AVAILABLE = "n/a"


@dataclass(frozen=True)
class QualityOptions:
    """What to score.

    Attributes:
        backbone: Name of a model whose masks are scored; the average's when "".
        organs: Only these; all when empty.
        force: Do it again even when it is done.
    """

    backbone: str = ""
    organs: tuple[str, ...] = ()
    force: bool = False


def quality_folder(case: CaseFolder, backbone: str = "") -> LabelFolder:
    """Return the folder whose run.json records the predicted quality of a case's masks."""
    return LabelFolder((case.backbone(backbone) if backbone else case.average).folder / "quality")


def quality_case(
    case: CaseFolder, model: QualityModel, options: QualityOptions | None = None, progress: ProgressCallback = ignore_progress
) -> dict[str, Any] | None:
    """Write `average/predicted_dice.json` of a case (or that of one of its models).

    Returns:
        The run record, or None when this very result was there already, whole.

    Raises:
        DatasetError: There are no masks, or no CT.
        AtlasError: As reading and `predict_quality`.
    """
    options = options or QualityOptions()
    folder = case.backbone(options.backbone) if options.backbone else case.average
    if not case.ct.is_file():
        message = f"{case.folder}: there is no ct.nii.gz."
        raise DatasetError(message, "Predicted quality looks at the CT; copy it into the case folder.")
    organs = _organs(folder, options)
    target = folder.predicted_dice
    inputs = {"ct": case.ct, **{f"segmentations/{organ}": folder.mask(organ) for organ in organs}}
    record = quality_folder(case, options.backbone).run_record
    step = Step(record, "quality", inputs, _parameters(model))
    if not options.force and step.is_finished([target]) and _is_whole(target, record, model):
        return None
    progress(0.0, "read")
    ct = read_volume(case.ct)
    check_ct(ct)
    masks = masks_of_case(case, options.backbone)
    names = {structure_for(organ).name: organ for organ in organs}
    found = predict_quality(ct, masks, model, list(names), progress)
    step.begin()
    described = {names[name]: described_quality(one) for name, one in found.items()}
    write_json(target, _content(model, described))
    return step.finish({"organs": described, "engine": model.scorer.engine})


def _content(model: QualityModel, described: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    dice = {organ: one["dice"] for organ, one in described.items() if one["dice"] is not None}
    return {"format": FORMAT, "model": model.manifest.name, "sha256": model.sha256, "organs": dice, "details": described}


def _is_whole(target: Path, record: Path, model: QualityModel) -> bool:
    """Tell whether the file still holds what was written: the record has the same results, so a damaged or edited file shows."""
    try:
        return bool(read_json(target) == _content(model, read_json(record)["results"]["organs"]))
    except (AtlasError, KeyError, TypeError, AttributeError):
        return False


def _organs(folder: LabelFolder, options: QualityOptions) -> list[str]:
    there = folder.organs()
    missing = [organ for organ in options.organs if organ not in there]
    if not there or missing:
        message = f"{folder.folder}: there are no masks{f' of {chr(44).join(missing)}' if there else ''}."
        raise DatasetError(message, f"Masks: {', '.join(there)}." if there else "Run: atlas average CASE.")
    return list(options.organs) or there


def _parameters(model: QualityModel) -> dict[str, Any]:
    manifest = model.manifest.model_dump(mode="json", exclude={"card"})
    return {"model": model.manifest.name, "sha256": model.sha256, "manifest": manifest}


def described_quality(quality: MaskQuality) -> dict[str, Any]:
    """Return a mask's quality as plain values: "dice" (None when the mask is empty), "score", "spread", "worst_slice", "slices"."""
    worst = quality.worst
    return {
        "dice": None if math.isnan(quality.dice) else round(quality.dice, 6),
        "score": round(quality.score, 6),
        "spread": round(quality.spread, 6),
        "worst_slice": None if worst is None else worst.index,
        "slices": [
            {"index": one.index, "position_mm": round(one.position_mm, 3), "score": round(one.score, 6), "has_mask": one.has_mask}
            for one in quality.slices
        ],
    }


def write_quality_table(path: Path, rows: Sequence[tuple[str, Mapping[str, float | None]]]) -> None:
    """Write SegAE's table: column CT_Sample, then one for each organ, predicted Dice or "n/a" where there is no mask.

    Args:
        path: CSV.
        rows: (name of the case, organ to predicted Dice; None for an empty mask).
    """
    organs = list(dict.fromkeys(organ for _, values in rows for organ in values))
    lines = [["CT_Sample", *map(no_formula, organs)]]
    for case, values in rows:
        found = [values.get(organ) for organ in organs]
        lines.append([no_formula(case), *(NOT_AVAILABLE if value is None else f"{value:.6f}" for value in found)])
    write_text(path, csv_text(lines))
