"""The commands `atlas quality`: predict, evaluate, report, train, show, convert-embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasQualityLib import commands_quality_evaluate, commands_quality_train
from AtlasQualityLib.commands_quality_evaluate import SHOWN, DeviceOption, EmbeddingsOption, ModelOption, empty_masks
from AtlasQualityLib.quality_card import card_lines
from AtlasQualityLib.quality_case import QualityOptions, quality_case, stored_results, write_quality_table
from AtlasQualityLib.quality_embedding_files import convert_pickle, write_embeddings
from AtlasQualityLib.quality_manifest import read_manifest
from AtlasQualityLib.quality_model import cached_quality_model, shipped_model
from AtlasQualityLib.quality_report import PICTURES, PredictedMask, predicted_masks, predicted_warnings, quality_report, worst_first
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import CaseFolder, find_cases
from AtlasSegmentLib.cases import CaseOutcome, run_cases
from AtlasSegmentLib.devices import device_of
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_bytes
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress


def quality_app() -> typer.Typer:
    """Return the program `atlas quality`."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Predict how good masks are, without a reference.")
    app.command("predict")(predict_command)
    commands_quality_evaluate.add_to(app)
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

    A mask without a voxel has no predicted Dice, since nothing can be said of it; it is named, and its "dice" is null in the JSON. A mask
    that cannot be read is named with its reason, the others are scored, and the exit code is 1.

    Example: atlas quality predict data/hospital --csv quality.csv
    """
    cases = find_cases(path)
    options = QualityOptions(of, tuple(organ or ()), force)
    source = (model or shipped_model()).absolute()
    step = partial(_predict, model=source, embeddings=embeddings and embeddings.absolute(), device=device_of(device), options=options)
    cached_quality_model(source, embeddings, device=device_of(device))  # what is wrong with it is said once, and before the first case
    with console.progress_bar("quality") as progress:
        outcomes = run_cases(cases, step, _case_name, jobs=jobs, scheduler=scheduler, progress=progress)
    outcomes = [_with_stored(case, outcome, of) for case, outcome in zip(cases, outcomes, strict=True)]
    rows = [(case, predicted_masks(case, of)) for case, outcome in zip(cases, outcomes, strict=True) if outcome.state != "failed"]
    if table is not None:
        write_quality_table(table, [(case.name, {mask.organ: mask.dice for mask in found}) for case, found in rows])
    if not as_json:
        _print_worst([mask for _, found in rows for mask in found], table)
    some_failed = _tell(outcomes)
    console.finish("quality", outcomes, as_json)
    if some_failed:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _with_stored(case: CaseFolder, outcome: CaseOutcome, of: str) -> CaseOutcome:
    """Return an outcome whose result is what is there, also where that was finished before."""
    return replace(outcome, result=stored_results(case, of)) if outcome.state == "skipped" else outcome


def _tell(outcomes: Sequence[CaseOutcome]) -> bool:
    """Print warnings, and the masks that could not be scored; return whether there are such."""
    failed = False
    for outcome in outcomes:
        results = outcome.result.get("results", {})
        for warning in results.get("warnings", ()):
            console.print_warning(warning)
        for organ, why in results.get("failed", {}).items():
            console.print_error(f"{outcome.name}: {organ} was not scored: {why['error']}", why["remedy"])
            failed = True
    return failed


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
    shown: list[tuple[object, ...]] = [
        (m.case.name, m.organ, round(m.dice, 3), round(m.spread, 3), m.worst) for m in ranked[:SHOWN] if m.dice is not None
    ]
    empty = [m for m in masks if m.dice is None]
    shown += [(m.case.name, m.organ, "empty", "", "") for m in empty[:SHOWN]]
    if shown:
        console.print_table("Predicted Dice, the worst first", ("case", "organ", "predicted Dice", "spread", "worst slice"), shown)
    if len(ranked) > SHOWN:
        console.print_line(f"... and {len(ranked) - SHOWN} better ones; --csv FILE writes all of them")
    if empty:
        console.print_line(empty_masks([f"{m.case.name}: {m.organ}" for m in empty]))
    if table is not None:
        console.print_line(f"wrote {table}")


def report_command(
    path: Annotated[list[Path], typer.Argument(readable=False, help="Case folders, or dataset folders for all their cases.")],
    out: Annotated[Path, typer.Option(readable=False, help="Page to write.")] = Path("quality.html"),
    of: Annotated[str, typer.Option("--of", help="Of this model's masks; the average's by default.")] = "",
    pictures: Annotated[int, typer.Option(min=0, max=200, help="How many of the worst masks get a picture.")] = PICTURES,
) -> None:
    """Write a page with every mask by its predicted Dice, and pictures of the worst slices of the worst ones.

    Example: atlas quality report data/hospital --out quality.html
    """
    cases = find_cases(path)
    masks = [mask for case in cases for mask in predicted_masks(case, of)]
    warnings = [warning for case in cases for warning in predicted_warnings(case, of)]
    for warning in warnings:
        console.print_warning(warning)
    title = path[0].resolve().name if len(path) == 1 else f"{len(path)} folders"
    write_bytes(out, quality_report(title, masks, pictures, warnings))
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
