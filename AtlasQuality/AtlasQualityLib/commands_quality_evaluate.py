"""The command `atlas quality evaluate`: predicted against true Dice, where there is a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from AtlasQualityLib.commands_compare import TableOption
from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasQualityLib.quality_calibration import ScoreAgreement, interval_note
from AtlasQualityLib.quality_evaluation import (
    ScoredMask,
    agreement_of,
    ct_warnings,
    rankings_of,
    scored_masks,
    with_dropout_maps,
)
from AtlasQualityLib.quality_model import cached_quality_model, shipped_model
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import CaseFolder, find_cases, open_case
from AtlasSegmentLib.devices import DEVICES, device_of
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_text
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.nifti import read_grid

SHOWN = 100
_NAMED = 12
ModelOption = Annotated[
    Path | None,
    typer.Option(readable=False, help="Quality model: a folder, or a SegAE checkpoint. Default: the small one that comes along."),
]
EmbeddingsOption = Annotated[
    Path | None, typer.Option(readable=False, help=".npz of text embeddings in place of the model's own; a SegAE checkpoint needs one.")
]
DeviceOption = Annotated[str, typer.Option(help=f"Where the network runs: {', '.join(DEVICES)}.")]


def add_to(app: typer.Typer) -> None:
    """Add the command to the group `atlas quality`."""
    app.command("evaluate")(evaluate_command)


def evaluate_command(
    path: Annotated[list[Path], typer.Argument(readable=False, help="Case folders, or dataset folders for all their cases.")],
    reference: Annotated[str, typer.Option(help="Reference of a case: a file name inside each case folder, or the path of one file.")],
    table: TableOption = None,
    model: ModelOption = None,
    embeddings: EmbeddingsOption = None,
    out: Annotated[Path | None, typer.Option("--csv", readable=False, help="Also write a row for each mask.")] = None,
    device: DeviceOption = "auto",
    as_json: console.JsonOption = False,
) -> None:
    """Hold predicted against true Dice, of each model's masks and the average's, and compare the ranking with others.

    Those are entropy, inconsistency, chance and, where `atlas segment --dropout-passes` left its maps, MC dropout.

    The 95 % interval of Pearson's correlation draws cases again where there are five or more. Of fewer it is Fisher's z, which takes masks
    as independent: masks of one CT are not, so it is narrower than it should be.

    Example: atlas quality evaluate data/hospital --reference truth.nii.gz --table totalsegmentator_v2
    """
    opened = cached_quality_model((model or shipped_model()).absolute(), embeddings, device=device_of(device))
    rows: list[ScoredMask] = []
    warnings: list[str] = []
    with console.progress_bar("quality evaluate") as progress:
        for case in find_cases(path):
            labels = read_stated_labels(_reference(case, reference), table, read_grid(case.ct))
            rows += scored_masks(open_case(case.folder), labels, opened, progress)
            warnings += ct_warnings(case, opened)
    for warning in warnings:
        console.print_warning(warning)
    agreement, rankings = agreement_of(rows), rankings_of(rows)
    same = _over_the_same_masks(rows, rankings)
    if out is not None:
        names = list(asdict(rows[0]))
        write_text(out, csv_text([names, *([_cell(value) for value in asdict(row).values()] for row in rows)]))
    if as_json:
        others = {name: one.to_json() for name, one in rankings.items()}
        masks = [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(row).items()} for row in rows]
        fair = {"rankings_with_dropout_maps": {name: one.to_json() for name, one in same.items()}} if same else {}
        console.print_json({"agreement": agreement.to_json(), "rankings": others, **fair, "masks": masks, "warnings": warnings})
        return
    worst = sorted(rows, key=lambda row: row.predicted)
    cells = [(row.case, row.masks, row.organ, round(row.predicted, 3), round(row.dice, 3)) for row in worst[:SHOWN]]
    console.print_table("Predicted and true Dice, the worst predicted first", ("case", "masks", "organ", "predicted", "true"), cells)
    if empty := [f"{row.case}, {row.masks}: {row.organ}" for row in rows if row.empty]:
        console.print_line(f"{empty_masks(empty)} (counted as 0)")
    _print_agreement(agreement, rankings, same)
    if out is not None:
        console.print_line(f"wrote {out}")


def _print_agreement(agreement: ScoreAgreement, rankings: Mapping[str, ScoreAgreement], same: Mapping[str, ScoreAgreement]) -> None:
    interval = f"{agreement.low:.3f} to {agreement.high:.3f}, {agreement.interval}"
    console.print_line(
        f"{agreement.masks} masks of {agreement.cases} cases: Pearson {agreement.pearson:.3f} ({interval}), "
        f"Spearman {agreement.spearman:.3f}, mean absolute error {agreement.mae:.3f}, bias {agreement.bias:+.3f}"
    )
    if note := interval_note(agreement):
        console.print_line(note)
    for title, compared in (("Rankings against the true Dice", rankings), ("The same, over masks with MC-dropout maps", same)):
        cells = [(name, one.masks, one.pearson, one.spearman) for name, one in compared.items()]
        if cells:
            console.print_table(title, ("ranking", "masks", "Pearson", "Spearman"), cells)


def _over_the_same_masks(rows: Sequence[ScoredMask], rankings: Mapping[str, ScoreAgreement]) -> dict[str, ScoreAgreement]:
    """Return all rankings over the masks with MC-dropout maps, where other masks are ranked too; else nothing."""
    counts = {one.masks for one in rankings.values()}
    return rankings_of(with_dropout_maps(rows)) if len(counts) > 1 else {}


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else no_formula(value)


def _reference(case: CaseFolder, reference: str) -> Path:
    inside, given = case.folder / reference, Path(reference)
    if inside.is_file():
        return inside
    if given.exists():
        return given
    message = f"{case.folder}: there is no {reference}."
    raise InputError(message, "Give --reference the name of a file that lies in every case folder, or the path of one reference.")


def empty_masks(names: Sequence[str]) -> str:
    """Return one sentence that names masks without a voxel, the first ones of many."""
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return f"{len(names)} empty {'mask has' if len(names) == 1 else 'masks have'} no predicted Dice: {shown}"
