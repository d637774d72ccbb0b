"""The commands of AtlasQuality: average, attention, priority, evaluate, compare."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasQualityLib import commands_checks, evaluation
from AtlasQualityLib.attention import RULE, AttentionOptions, attention_case
from AtlasQualityLib.average import AverageOptions, average_case
from AtlasQualityLib.commands_compare import TableOption, compare_command
from AtlasQualityLib.commands_quality import quality_app
from AtlasQualityLib.error_map import Calibration, read_calibration, write_calibration
from AtlasQualityLib.priority import (
    ORDERS,
    CasePriority,
    CaseScores,
    Order,
    OrganScore,
    prioritize,
    rank_agreement,
    read_scores,
    write_priority,
)
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import CaseFolder, find_cases, open_case
from AtlasSegmentLib.cases import CaseOutcome, run_cases
from AtlasSegmentLib.commands import AllOrgansOption, NoPostprocessOption
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

CasesArgument = Annotated[list[Path], typer.Argument(readable=False, help="Case folders, or dataset folders for all their cases.")]
ModelsOption = Annotated[list[str] | None, typer.Option("--model", help="Name of a model to use; all that predicted the case by default.")]
CalibrationOption = Annotated[Path | None, typer.Option(readable=False, help="Calibration curve made by atlas evaluate --calibration.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.command("average")(average_command)
    app.command("attention")(attention_command)
    app.command("priority")(priority_command)
    app.command("evaluate")(evaluate_command)
    app.command("compare")(compare_command)
    commands_checks.add_to(app)
    app.add_typer(quality_app(), name="quality")


def average_command(
    path: CasesArgument,
    model: ModelsOption = None,
    no_postprocess: NoPostprocessOption = False,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Average the models of each case: mean soft prediction above one half, cleaned.

    Example: atlas average data/hospital
    """
    step = partial(_average, options=AverageOptions(tuple(model) if model else None, not no_postprocess, force))
    with console.progress_bar("average") as progress:
        outcomes = run_cases(find_cases(path), step, _case_name, jobs=jobs, scheduler=scheduler, progress=progress)
    console.finish("average", outcomes, as_json)


def attention_command(
    path: CasesArgument,
    model: ModelsOption = None,
    rule: Annotated[str, typer.Option(help=f'Definition of the attention maps: "{RULE}".')] = RULE,
    all_organs: AllOrgansOption = False,
    parts: Annotated[bool, typer.Option("--parts", help="Also write inconsistency, uncertainty and overlap maps.")] = False,
    error_maps: Annotated[bool, typer.Option(help="Also write expected-error maps and volumes.")] = True,
    calibration: CalibrationOption = None,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Make the maps that show where each organ's average mask is probably wrong.

    Example: atlas attention data/hospital --parts
    """
    if rule != RULE:
        message = f"--rule {rule!r} is not known."
        raise InputError(message, f"Use --rule {RULE}; other orders of the same maps are made by atlas priority --order.")
    curve = read_calibration(calibration) if calibration is not None else Calibration()
    options = AttentionOptions(tuple(model) if model else None, all_organs, parts, error_maps, curve, force=force)
    with console.progress_bar("attention") as progress:
        step = partial(_attend, options=options)
        outcomes = run_cases(find_cases(path), step, _case_name, jobs=jobs, scheduler=scheduler, progress=progress)
    console.finish("attention", outcomes, as_json)


def _average(case: CaseFolder, progress: ProgressCallback = ignore_progress, *, options: AverageOptions) -> dict[str, Any] | None:
    return average_case(case, options, progress)


def _attend(case: CaseFolder, progress: ProgressCallback = ignore_progress, *, options: AttentionOptions) -> dict[str, Any] | None:
    return attention_case(case, options, progress)


def _case_name(case: CaseFolder) -> str:
    return case.name


def priority_command(
    path: CasesArgument,
    order: Annotated[str, typer.Option(help=f"One of {', '.join(ORDERS)}.")] = ORDERS[0],
    name: Annotated[str, typer.Option(help="Name of the list.")] = "priority",
    compare: Annotated[bool, typer.Option("--compare", help="Also tell how far the orders agree.")] = False,
    jobs: console.JobsOption = 1,
    as_json: console.JsonOption = False,
) -> None:
    """Rank cases, and the organs of each, by how much there is to correct; writes NAME.csv and NAME_scores.csv.

    The order "predicted-dice" needs `atlas quality predict` and no attention; the others need `atlas attention`.

    Example: atlas priority data/hospital --order gain --compare
    """
    chosen = next((known for known in ORDERS if known == order), None)
    if chosen is None:
        message = f"--order {order!r} is not known."
        raise InputError(message, f"Use one of {', '.join(ORDERS)}.")
    safe_name(name, "name of the priority list")
    cases = find_cases(path)
    with console.progress_bar("priority") as progress:
        outcomes = run_cases(cases, partial(_scores, order=chosen), _case_name, jobs=jobs, progress=progress)
    scores = {case.folder: _scores_of(case, outcome) for case, outcome in zip(cases, outcomes, strict=True) if outcome.state == "done"}
    ranked = prioritize(list(scores.values()), chosen)
    files = _write_lists(scores, chosen, name, {one.resolve() for one in path})
    agreement = rank_agreement(list(scores.values())) if compare else {}
    if ranked or as_json:
        _print_priority(ranked, chosen, agreement, files, as_json)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        console.print_error(outcome.error, outcome.remedy)
    if failed:
        raise typer.Exit(console.EXIT_ERROR if len(failed) == len(outcomes) else console.EXIT_SOME_FAILED)


def _scores(case: CaseFolder, progress: ProgressCallback = ignore_progress, *, order: Order) -> dict[str, Any]:
    progress(0.0, "read scores")
    return {"organs": [vars(score) for score in read_scores(case, order).organs]}


def _scores_of(case: CaseFolder, outcome: CaseOutcome) -> CaseScores:
    return CaseScores(case.dataset, case.name, tuple(OrganScore(**organ) for organ in outcome.result["organs"]))


def _write_lists(scores: dict[Path, CaseScores], order: Order, name: str, named: set[Path]) -> list[Path]:
    """Write one list into each dataset folder, with the cases of that folder alone (two may have the same name).

    Only into folders that were named themselves: a few cases of a dataset must not replace the list of all.
    """
    written: list[Path] = []
    for folder in dict.fromkeys(case.parent for case in scores if case.parent in named):
        own = [found for case, found in scores.items() if case.parent == folder]
        written.extend(write_priority(folder, name, prioritize(own, order)))
    return written


def _print_priority(ranked: list[CasePriority], order: Order, agreement: dict[str, float], files: list[Path], as_json: bool) -> None:
    if as_json:
        cases = [{"dataset": c.dataset, "case": c.case, "score": c.score, "organs": [vars(o) for o in c.organs]} for c in ranked]
        console.print_json({"order": order, "files": [str(f) for f in files], "cases": cases, "spearman": agreement})
        return
    organs = [organ for case in ranked for organ in case.organs]
    if order == "predicted-dice":  # the worst mask of all first, whatever its case
        organs.sort(key=lambda organ: (organ.predicted_dice, organ.dataset, organ.case, organ.organ))
    with_dice = order == "predicted-dice" or any(not math.isnan(organ.predicted_dice) for organ in organs)
    numbers = {
        **({"predicted Dice": [organ.predicted_dice for organ in organs]} if with_dice else {}),
        "attention voxels": [organ.attention_voxels for organ in organs],
        "attention ml": [organ.attention_mm3 / 1000 for organ in organs],
        "expected error ml": [organ.expected_error_mm3 / 1000 for organ in organs],
        "minutes": [organ.minutes_to_correct for organ in organs],
    }
    cells = [["" if math.isnan(value) else value for value in column] for column in numbers.values()]
    rows = [(number + 1, o.case, o.organ, *(column[number] for column in cells)) for number, o in enumerate(organs)]
    console.print_table(f"Priority by {order}", ("rank", "case", "organ", *numbers), rows)
    if agreement:
        console.print_table("Agreement of the orders (Spearman)", ("orders", "rho"), list(agreement.items()))
    for file in files:
        console.print_line(f"wrote {file}")


def evaluate_command(
    case: Annotated[Path, typer.Argument(readable=False, help="Case folder.")],
    reference: Annotated[Path, typer.Option(readable=False, help="Reference on the CT's grid: a label map, a DICOM SEG or an RTSTRUCT.")],
    table: TableOption = None,
    calibration: Annotated[Path | None, typer.Option(readable=False, help="Also fit a calibration curve and write it here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Compare a case with a reference: Dice per organ and model, and how well attention finds the errors.

    Example: atlas evaluate data/hospital/scan --reference truth.nii.gz --table totalsegmentator_v2
    """
    folder = open_case(case)
    labels = read_stated_labels(reference, table, evaluation.case_grid(folder))
    found = evaluation.evaluate_case(folder, labels)
    if calibration is not None:
        write_calibration(calibration, evaluation.calibrate(folder, labels))
    if as_json:
        content = {"dice": found.dice, "attention": vars(found.attention), "organs": found.organs, "wrong_voxels": found.wrong_voxels}
        console.print_json({**content, "expected_error": vars(found.expected_error) if found.expected_error else None})
        return
    organs = sorted({organ for values in found.dice.values() for organ in values})
    rows = [(organ, *(values.get(organ, float("nan")) for values in found.dice.values())) for organ in organs]
    console.print_table("Dice against the reference", ("organ", *found.dice), rows)
    maps = {"attention (binary)": found.attention, "expected error": found.expected_error}
    table_rows = [(name, d.auroc, d.sensitivity, d.specificity, d.precision) for name, d in maps.items() if d is not None]
    title = f"Finding the {found.wrong_voxels} wrong voxels of the average ({', '.join(found.organs)})"
    console.print_table(title, ("map", "AUROC", "sensitivity", "specificity", "precision"), table_rows)
