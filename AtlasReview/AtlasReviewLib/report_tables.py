"""Tables of the report: CT, volumes, priority, hot spots, agreement with a reference, revisions, assembly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.evaluation import Detection, Evaluation
from AtlasQualityLib.hot_spots import HotSpot
from AtlasQualityLib.priority import Order, OrganScore, possible_orders, read_scores
from AtlasReviewLib.report_case import ReportCase
from AtlasReviewLib.report_legend import display_name, hex_color
from AtlasReviewLib.revisions import history
from AtlasSegmentLib import nifti
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.html_page import NOTHING, Cell, Content, Number, paragraph, table

NETWORK_REFERENCE = "The reference was made by a network as well: agreement with it is not accuracy."
"""A `reference_note` for references that no person drew."""
_ORDER_TITLES: dict[Order, str] = {
    "abdomenatlas": "AbdomenAtlas",
    "expected-error": "expected error",
    "gain": "gain",
    "predicted-dice": "predicted Dice",
}


def organ_cell(organ: str) -> Cell:
    """Return the name of an organ with its color."""
    return Cell(display_name(organ), hex_color(organ))


def ct_table(report: ReportCase) -> str:
    """Return size, spacing and orientation of the grid."""
    grid = report.grid
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    rows: list[list[Content]] = [
        ["Voxels", " × ".join(str(n) for n in grid.shape)],  # noqa: RUF001
        ["Spacing", " × ".join(f"{size:.3g}" for size in spacing) + " mm"],  # noqa: RUF001
        ["Extent", " × ".join(f"{n * size:.0f}" for n, size in zip(grid.shape, spacing, strict=True)) + " mm"],  # noqa: RUF001
        ["Orientation of the array", grid.orientation],
        ["Voxel volume", f"{grid.voxel_volume_mm3:.4g} mm³"],
    ]
    if report.ct is not None:
        rows.append(["Range of values", f"{report.ct.crop.min():.0f} to {report.ct.crop.max():.0f} HU"])
    return table(["CT" if report.ct is not None else "Label grid (no CT)", ""], rows)


def volume_table(report: ReportCase) -> str:
    """Return the volume in ml of each organ by each model, the average, and the revised and original masks."""
    case = report.case
    models = {name: _volumes(case.backbone(name)) for name in case.models()}
    average = _volumes(case.average)
    revised = {organ: _volume(case.average.revised_mask(organ)) for organ in case.average.revised_organs()}
    extra = {"revised": revised, "original": report.original_ml}
    shown = {**models, **({"average": average} if average else {}), **{name: found for name, found in extra.items() if found}}
    organs = sorted({organ for column in shown.values() for organ in column}, key=lambda organ: (class_of(organ) or 1000, organ))
    spread = len(models) > 1
    head = ["organ", *(f"{name} [ml]" for name in shown), *(["largest − smallest model [ml]", "of their mean [%]"] if spread else [])]  # noqa: RUF001
    rows: list[list[Content]] = []
    for organ in organs:
        values = [column[organ] for column in models.values() if organ in column]
        rows.append([organ_cell(organ), *(Number(column.get(organ), 1) for column in shown.values()), *(_spread(values) if spread else [])])
    return table(head, rows)


def _spread(values: Sequence[float]) -> list[Number]:
    if len(values) < 2:
        return [Number(None), Number(None)]
    width, mean = max(values) - min(values), sum(values) / len(values)
    return [Number(width, 1), Number(100 * width / mean if mean else None, 0)]


def _volumes(folder: LabelFolder) -> dict[str, float]:
    return {organ: _volume(folder.mask(organ)) for organ in folder.organs()}


def _volume(path: Path) -> float:
    """Count a mask slab by slab and return its volume in ml."""
    with nifti.open_slabs(path) as (grid, slabs):
        voxels = sum(int(np.count_nonzero(slab)) for _, slab in slabs)
    return voxels * grid.voxel_volume_mm3 / 1000


def priority_table(case: CaseFolder, missing: list[str]) -> str:
    """Return the organs of a case in AbdomenAtlas' order, with their rank in each order that can be made."""
    try:
        found = read_scores(case)
    except AtlasError as error:
        missing.append(f"There is no priority table: {error.message.replace(str(case.folder), case.name)} {error.remedy}")
        return ""
    scores = sorted(found.organs, key=lambda score: (-score.heat_sum, score.organ))
    orders = possible_orders([found])
    ranks = {order: _ranks(scores, order) for order in orders}
    units = ("attention [voxels]", "attention [ml]", "expected error [ml]", "time to correct [min]", "gain [ml/min]")
    head = ["organ", *units, *(f"rank by {_ORDER_TITLES[order]}" for order in orders)]
    return table(head, [[*_numbers(score), *(ranks[order].get(score.organ, NOTHING) for order in orders)] for score in scores])


def _numbers(score: OrganScore) -> list[Content]:
    return [
        organ_cell(score.organ),
        Number(score.attention_voxels),
        Number(score.attention_mm3 / 1000, 1),
        Number(score.expected_error_mm3 / 1000, 1),
        Number(score.minutes_to_correct, 1),
        Number(score.gain_mm3_per_minute / 1000, 2),
    ]


def _ranks(scores: Sequence[OrganScore], order: Order) -> dict[str, Number]:
    kept = [score for score in scores if score.key(order) > 0]  # NaN is not
    kept.sort(key=lambda score: (-score.key(order), score.organ))
    return {score.organ: Number(rank) for rank, score in enumerate(kept, start=1)}


def hot_spot_table(spots: Sequence[HotSpot]) -> str:
    """Return the hot spots with their places."""
    head = [
        "",
        "organ",
        "place (patient's directions)",
        "R, A, S [mm]",
        "volume [ml]",
        "in the mask [%]",
        "highest value [%]",
        "score [ml]",
    ]
    rows: list[list[Content]] = []
    for number, spot in enumerate(spots, start=1):
        position = ", ".join(f"{x:.0f}" for x in spot.center)
        sizes = [
            Number(spot.volume_mm3 / 1000, 1),
            Number(100 * spot.inside_share),
            Number(100 * spot.peak),
            Number(spot.score / 1000, 2),
        ]
        rows.append([Number(number), organ_cell(spot.organ), spot.place or NOTHING, position, *sizes])
    return table(head, rows)


def agreement(evaluation: Evaluation, note: str) -> list[str]:
    """Return Dice by model and organ, and how well attention and expected error find the wrong voxels."""
    organs = sorted({o for found in evaluation.dice.values() for o in found}, key=lambda organ: (class_of(organ) or 1000, organ))
    rows: list[list[Content]] = [
        [organ_cell(organ), *(Number(found.get(organ), 3) for found in evaluation.dice.values())] for organ in organs
    ]
    names = ", ".join(display_name(organ) for organ in evaluation.organs)
    wrong = f"{evaluation.wrong_voxels} voxels of the average differ from the reference, over {names}. How well the maps find them:"
    found = {"attention": evaluation.attention, "expected error": evaluation.expected_error}
    lines: list[list[Content]] = [[name, *_detection(value)] for name, value in found.items() if value is not None]
    head = ["map", "AUROC", "sensitivity", "specificity", "precision"]
    return [
        paragraph(note) if note else "",
        paragraph("Dice of each organ with the reference (1 is the same, 0 no overlap)."),
        table(["organ", *evaluation.dice], rows),
        paragraph(wrong),
        table(head, lines),
    ]


def _detection(value: Detection) -> list[Content]:
    return [Number(number, 3) for number in (value.auroc, value.sensitivity, value.specificity, value.precision)]


def revision_table(case: CaseFolder) -> str:
    """Return every revision of every organ with reader and comment."""
    folder = case.average.folder / "revisions"
    there = {path.name for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")}
    rows: list[list[Content]] = []
    for organ in sorted({*there, *case.average.revised_organs()}, key=lambda name: (class_of(name) or 1000, name)):
        for item in history(case, organ):
            counts = "yes" if item.is_current else "no"
            voxels = Number(math.nan if item.voxels is None else item.voxels)
            rows.append([organ_cell(organ), item.time or NOTHING, item.reader, voxels, item.comment, counts, item.sha256[:12]])
    return table(["organ", "time (UTC)", "reader", "voxels", "comment", "counts", "SHA-256"], rows)


def assembly_table(assembled: Mapping[str, Any]) -> list[str]:
    """Return what `atlas assemble` wrote in its manifest: where each organ of the assembled case is from."""
    rows: list[list[Content]] = [
        [organ_cell(organ), str(entry.get("source", NOTHING)), str(entry.get("by", "")), Number(entry.get("volume_ml"), 1)]
        for organ, entry in dict(assembled.get("organs", {})).items()
    ]
    left_out = [f"{entry.get('organ')}: {entry.get('reason')}" for entry in assembled.get("left_out", [])]
    notes = [*(str(note) for note in assembled.get("notes", [])), *(f"Left out, {line}." for line in left_out)]
    return [table(["organ", "source", "by", "volume [ml]"], rows), *(paragraph(note, "note") for note in notes)]
