"""Predicted quality of a case folder: `predicted_dice.json` beside its masks, and SegAE's table of many cases."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasQualityLib.quality_case_masks import doubts_of, scorable_masks
from AtlasQualityLib.quality_model import QualityModel
from AtlasQualityLib.quality_predict import MaskQuality, predict_quality
from AtlasQualityLib.quality_training_cts import too_good, training_ct
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import read_json, write_json, write_text
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.run_record import Step
from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.volume_io import check_ct, read_volume

FORMAT = "atlas-predicted-dice/1"
FACTS = ("empty", "failed", "training_ct", "warnings")
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

    Beside "organs" and "details" it holds, where there is such: "empty", the masks without a voxel; "failed", masks that cannot be
    scored, with the reason of each; "training_ct", when the model was trained on this very CT; "warnings", sentences for people.

    Returns:
        The run record, or None when this very result was there already, whole.

    Raises:
        DatasetError: There are no masks, or no CT.
        AtlasError: As reading and `predict_quality`; of the first mask, when none can be scored.
    """
    options = options or QualityOptions()
    folder = case.backbone(options.backbone) if options.backbone else case.average
    if not case.ct.is_file():
        message = f"{case.folder}: there is no ct.nii.gz."
        raise DatasetError(message, "Predicted quality looks at the CT; copy it into the case folder.")
    organs = _organs(case, folder, options)
    target = folder.predicted_dice
    inputs = {"ct": case.ct, **{f"segmentations/{organ}": folder.mask(organ) for organ in organs}}
    record = quality_folder(case, options.backbone).run_record
    step = Step(record, "quality", inputs, _parameters(model))
    if not options.force and step.is_finished([target]) and _is_whole(target, record, model):
        return None
    progress(0.0, "read")
    ct = read_volume(case.ct)
    check_ct(ct)
    masks = scorable_masks(folder, organs, ct.grid, model)
    found = predict_quality(ct, masks.masks, model, progress=progress)
    step.begin()
    described = {masks.names[name]: described_quality(one) for name, one in found.items()}
    empty = [organ for organ, one in described.items() if one["dice"] is None]
    results = {"organs": described, **_kept(empty=empty, failed=dict(masks.failed), **_of_ct(case, ct, model))}
    write_json(target, _content(model, results))
    return step.finish({**results, "engine": model.scorer.engine})


def _of_ct(case: CaseFolder, ct: Volume, model: QualityModel) -> dict[str, Any]:
    """Return what is to be known of the CT: whether the model was trained on it, and why it may be no CT."""
    seen = training_ct(ct, model.manifest)
    warnings = [f"{case.name}: {doubt}" for doubt in doubts_of(ct)]
    if seen is not None:
        warnings.append(too_good(case.name, seen.part))
    return {"training_ct": {"name": seen.name, "part": seen.part} if seen is not None else None, "warnings": warnings}


def _kept(**facts: Any) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value}


def _content(model: QualityModel, results: Mapping[str, Any]) -> dict[str, Any]:
    described = results["organs"]
    dice = {organ: one["dice"] for organ, one in described.items() if one["dice"] is not None}
    facts = {name: results[name] for name in FACTS if name in results}
    return {"format": FORMAT, "model": model.manifest.name, "sha256": model.sha256, "organs": dice, "details": described, **facts}


def stored_results(case: CaseFolder, backbone: str = "") -> dict[str, Any]:
    """Return the run record of a case that was finished before; {} when it cannot be read."""
    try:
        record = read_json(quality_folder(case, backbone).run_record)
    except AtlasError:
        return {}
    return record if isinstance(record, dict) else {}


def _is_whole(target: Path, record: Path, model: QualityModel) -> bool:
    """Tell whether the file still holds what was written: the record has the same results, so a damaged or edited file shows."""
    try:
        return bool(read_json(target) == _content(model, read_json(record)["results"]))
    except (AtlasError, KeyError, TypeError, AttributeError):
        return False


def _organs(case: CaseFolder, folder: LabelFolder, options: QualityOptions) -> list[str]:
    there = folder.organs()
    if options.backbone and not there:
        message = f"{case.folder}: there are no masks of a model {options.backbone!r}."
        raise DatasetError(message, models_of(case))
    missing = [organ for organ in options.organs if organ not in there]
    if not there or missing:
        message = f"{folder.folder}: there are no masks{f' of {chr(44).join(missing)}' if there else ''}."
        raise DatasetError(message, f"Masks: {', '.join(there)}." if there else f"Run: atlas average {quoted(case.folder)}")
    return list(options.organs) or there


def models_of(case: CaseFolder) -> str:
    """Return the remedy for a model that a case does not have: what there is."""
    models = [name for name in case.models() if case.backbone(name).organs()]
    average = "the average's masks are taken without --of" if case.average.organs() else ""
    there = "; ".join(part for part in (f"Models of this case: {', '.join(models)}" if models else "", average) if part)
    return f"{there[:1].upper()}{there[1:]}." if there else "Run: atlas segment CT --out DATASET_FOLDER --model MODEL."


def quoted(path: Path) -> str:
    """Return a path as it is typed in a command."""
    return shlex.quote(str(path))


def _parameters(model: QualityModel) -> dict[str, Any]:
    manifest = model.manifest.model_dump(mode="json", exclude={"card", "training_cts"})
    return {"model": model.manifest.name, "sha256": model.sha256, "manifest": manifest}


def described_quality(quality: MaskQuality) -> dict[str, Any]:
    """Return a mask's quality as plain values: "dice" (None when the mask is empty), "score", "spread", "worst_slice", "slices"."""
    worst = quality.worst
    return {
        "dice": None if math.isnan(quality.dice) else round(quality.dice, 9),  # so many that different scores differ in it
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
