"""The commands `atlas quality`: predict, evaluate, report, train, show, convert-embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasQualityLib import commands_quality_train
from AtlasQualityLib.commands_compare import TableOption
from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasQualityLib.quality_calibration import ScoreAgreement
from AtlasQualityLib.quality_card import card_lines
from AtlasQualityLib.quality_case import QualityOptions, quality_case, write_quality_table
from AtlasQualityLib.quality_embedding_files import convert_pickle, write_embeddings
from AtlasQualityLib.quality_evaluation import ScoredMask, agreement_of, rankings_of, scored_masks, with_dropout_maps
from AtlasQualityLib.quality_manifest import read_manifest
from AtlasQualityLib.quality_model import cached_quality_model, shipped_model
from AtlasQualityLib.quality_report import PICTURES, PredictedMask, predicted_masks, quality_report, worst_first
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import CaseFolder, find_cases, open_case
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.devices import DEVICES, device_of
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_bytes, write_text
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.nifti import read_grid
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

_SHOWN = 100
ModelOption = Annotated[
    Path | None,
    typer.Option(readable=False, help="Quality model: a folder, or a SegAE checkpoint. Default: the small one that comes along."),
]
EmbeddingsOption = Annotated[
    Path | None, typer.Option(readable=False, help=".npz of text embeddings in place of the model's own; a SegAE checkpoint needs one.")
]
DeviceOption = Annotated[str, typer.Option(help=f"Where the network runs: {', '.join(DEVICES)}.")]


def quality_app() -> typer.Typer:
    """Return the program `atlas quality`."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Predict how good masks are, without a reference.")
    app.command("predict")(predict_command)
    app.command("evaluate")(evaluate_command)
    app.command("report")(report_command)
    commands_quality_train.add_to(app)
    app.command("show")(show_command)
    app.command("convert-embeddings")(convert_command)
    return app


def predict_command(
    path: Annotated[list[Path], typer.Argument(readable=False, help="Case folders, or dataset folders for all their cases.")],
    model: ModelOption = None,
    embeddings: EmbeddingsOption = None,
    of: Annotated[str, typer.Option("--of", help="Score the masks of this model of the cases; the average's by default.")] = "",
    organ: Annotated[list[str] | None, typer.Option("--organ", help="Score only this organ; may be given several times.")] = None,
    table: Annotated[Path | None, typer.Option("--csv", readable=False, help="Also write one row a case, one column an organ.")] = None,
    device: DeviceOption = "auto",
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Predict the Dice of every mask, the worst first. Writes predicted_dice.json, which the worklist and the panels show.

    Example: atlas quality predict data/hospital --csv quality.csv
    """
    cases = find_cases(path)
    options = QualityOptions(of, tuple(organ or ()), force)
    source = (model or shipped_model()).absolute()
    step = partial(_predict, model=source, embeddings=embeddings and embeddings.absolute(), device=device_of(device), options=options)
    cached_quality_model(source, embeddings, device=device_of(device))  # what is wrong with it is said once, and before the first case
    with console.progress_bar("quality") as progress:
        outcomes = run_cases(cases, step, _case_name, jobs=jobs, scheduler=scheduler, progress=progress)
    rows = [(case, predicted_masks(case, of)) for case, outcome in zip(cases, outcomes, strict=True) if outcome.state != "failed"]
    if table is not None:
        write_quality_table(table, [(case.name, {mask.organ: mask.dice for mask in found}) for case, found in rows])
    if not as_json:
        _print_worst([mask for _, found in rows for mask in found], table)
    console.finish("quality", outcomes, as_json)


def _predict(
    case: CaseFolder,
    progress: ProgressCallback = ignore_progress,
    *,
    model: Path,
    embeddings: Path | None,
    device: Any,
    options: QualityOptions,
) -> dict[str, Any] | None:
    return quality_case(case, cached_quality_model(model, embeddings, device=device), options, progress)


def _print_worst(masks: Sequence[PredictedMask], table: Path | None) -> None:
    ranked = worst_first(masks)
    shown = [(m.case.name, m.organ, round(m.dice, 3), round(m.spread, 3), m.worst) for m in ranked[:_SHOWN] if m.dice is not None]
    if shown:
        console.print_table("Predicted Dice, the worst first", ("case", "organ", "predicted Dice", "spread", "worst slice"), shown)
    if len(ranked) > _SHOWN:
        console.print_line(f"... and {len(ranked) - _SHOWN} better ones; --csv FILE writes all of them")
    if empty := len(masks) - len(ranked):
        console.print_line(f"{empty} empty masks have no predicted Dice")
    if table is not None:
        console.print_line(f"wrote {table}")


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

    Example: atlas quality evaluate data/hospital --reference truth.nii.gz --table totalsegmentator_v2
    """
    opened = cached_quality_model((model or shipped_model()).absolute(), embeddings, device=device_of(device))
    rows: list[ScoredMask] = []
    with console.progress_bar("quality evaluate") as progress:
        for case in find_cases(path):
            labels = read_stated_labels(_reference(case, reference), table, read_grid(case.ct))
            rows += scored_masks(open_case(case.folder), labels, opened, progress)
    agreement, rankings = agreement_of(rows), rankings_of(rows)
    same = _over_the_same_masks(rows, rankings)
    if out is not None:
        names = list(asdict(rows[0]))
        write_text(out, csv_text([names, *([_cell(value) for value in asdict(row).values()] for row in rows)]))
    if as_json:
        others = {name: one.to_json() for name, one in rankings.items()}
        masks = [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(row).items()} for row in rows]
        fair = {"rankings_with_dropout_maps": {name: one.to_json() for name, one in same.items()}} if same else {}
        console.print_json({"agreement": agreement.to_json(), "rankings": others, **fair, "masks": masks})
        return
    worst = sorted(rows, key=lambda row: row.predicted)
    cells = [(row.case, row.masks, row.organ, round(row.predicted, 3), round(row.dice, 3)) for row in worst[:_SHOWN]]
    console.print_table("Predicted and true Dice, the worst predicted first", ("case", "masks", "organ", "predicted", "true"), cells)
    _print_agreement(agreement, rankings, same)
    if out is not None:
        console.print_line(f"wrote {out}")


def _print_agreement(agreement: ScoreAgreement, rankings: Mapping[str, ScoreAgreement], same: Mapping[str, ScoreAgreement]) -> None:
    interval = f"{agreement.low:.3f} to {agreement.high:.3f}, {agreement.interval}"
    console.print_line(
        f"{agreement.masks} masks of {agreement.cases} cases: Pearson {agreement.pearson:.3f} ({interval}), "
        f"Spearman {agreement.spearman:.3f}, mean absolute error {agreement.mae:.3f}, bias {agreement.bias:+.3f}"
    )
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


def report_command(
    path: Annotated[list[Path], typer.Argument(readable=False, help="Case folders, or dataset folders for all their cases.")],
    out: Annotated[Path, typer.Option(readable=False, help="Page to write.")] = Path("quality.html"),
    of: Annotated[str, typer.Option("--of", help="Of this model's masks; the average's by default.")] = "",
    pictures: Annotated[int, typer.Option(min=0, max=200, help="How many of the worst masks get a picture.")] = PICTURES,
) -> None:
    """Write a page with every mask by its predicted Dice, and pictures of the worst slices of the worst ones.

    Example: atlas quality report data/hospital --out quality.html
    """
    masks = [mask for case in find_cases(path) for mask in predicted_masks(case, of)]
    title = path[0].resolve().name if len(path) == 1 else f"{len(path)} folders"
    write_bytes(out, quality_report(title, masks, pictures))
    console.print_line(f"wrote {out}")


def show_command(
    model: Annotated[Path | None, typer.Argument(readable=False, help="Quality model; the small one that comes along by default.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Show a quality model and its card: what it was trained on, and how good it is on what it never saw.

    Example: atlas quality show
    """
    folder = model or shipped_model()
    manifest = read_manifest(folder)
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
        return
    about = {
        "name": manifest.name,
        "network": f"{manifest.backbone}, width {manifest.width}",
        "sees": f"{manifest.slices.kind} slices of {manifest.slices.size} x {manifest.slices.size}, {manifest.count} of a mask",
        "calibrated on": manifest.calibration.source or "nothing",
    }
    for line in (*card_lines(about), *card_lines(manifest.card)):
        console.print_line(line)


def convert_command(
    source: Annotated[Path, typer.Argument(readable=False, help="SegAE's label_embedding.pkl, or another pickle of names and vectors.")],
    out: Annotated[Path | None, typer.Option(readable=False, help="File to write; beside the source, ending .npz, by default.")] = None,
) -> None:
    """Rewrite a pickle of text embeddings as a safe .npz; nothing in the pickle is run.

    Example: atlas quality convert-embeddings label_embedding.pkl
    """
    target = out or source.with_suffix(".npz")
    if target.exists():
        message = f"{target}: is there already."
        raise InputError(message, "Choose another name with --out.")
    table = convert_pickle(source)
    write_embeddings(target, table)
    console.print_line(f"wrote {target} with {len(table.vectors)} names")


def _case_name(case: CaseFolder) -> str:
    return case.name
