"""The command that closes an active-learning round."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasReviewLib.round_curve import MEAN, write_curve
from AtlasReviewLib.round_split import read_patients
from AtlasReviewLib.rounds import DATALIST, RoundOptions, agreement, close_round, read_round, round_folders
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_blind import is_open
from AtlasReviewLib.worklist_place import place_of
from AtlasSegmentLib import console
from AtlasSegmentLib.errors import DatasetError

_SHOWN = 10
"""Cases that are named in a warning."""


def round_command(
    dataset: Annotated[Path, typer.Argument(readable=False, help="Dataset folder with a worklist.")],
    show: Annotated[bool, typer.Option("--show", help="Only show the rounds that were closed.")] = False,
    validation: Annotated[float, typer.Option(help="Share of the patients that validate; earlier rounds keep their split.")] = 0.2,
    patients: Annotated[Path | None, typer.Option(readable=False, help="CSV case,patient: no patient is in both parts.")] = None,
    seed: Annotated[int, typer.Option(help="Another number gives another split.")] = 0,
    version: Annotated[str, typer.Option(help="Values of the label maps: AbdomenAtlas 1.0 or 1.1.")] = "1.1",
    note: Annotated[str, typer.Option(help="A note for the record, such as the name of the model.")] = "",
    as_json: console.JsonOption = False,
) -> None:
    """Close a round: freeze what was accepted, write the list to fine-tune with, and draw how agreement grew.

    Then fine-tune, predict with the new model, run average and attention: the worklist ranks what is left by the new predictions.

    Example: atlas round data/hospital --patients patients.csv --note "before fine-tuning unet-2"
    """
    if not show:
        folder = _close(dataset, RoundOptions(version, validation, seed, read_patients(patients) if patients else None, note))
        console.print_line(f"closed {folder}") if not as_json else None
    rounds = [read_round(folder) for folder in round_folders(dataset)]
    if not rounds:
        message = f"{dataset}: no round was closed yet."
        raise DatasetError(message, "Close one: atlas round DATASET")
    rows = agreement(rounds)
    files = [] if show else write_curve(dataset, rows)
    if as_json:
        last = rounds[-1]
        console.print_json({"round": last["number"], "accepted": len(last["accepted"]), "agreement": rows, "files": list(map(str, files))})
        return
    _print(rounds, rows)
    for file in files:
        console.print_line(f"wrote {file}")


def _close(dataset: Path, options: RoundOptions) -> Path:
    if not place_of(dataset).exists:
        message = f"{dataset}: has no worklist."
        raise DatasetError(message, "Open the folder in Atlas Review first, or run: atlas worklist build FOLDER")
    worklist = Worklist(dataset, read_only=True)
    try:
        unsettled = {(one["case_name"], one["organ"]) for one, _ in worklist.pairs() if is_open(one)}  # nobody has compared its readings
        tasks = [task for task in worklist.tasks() if (task.case, task.organ) not in unsettled]
    finally:
        worklist.close()
    with console.progress_bar("round") as progress:
        return close_round(dataset, tasks, options, progress)


def _print(rounds: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    last = rounds[-1]
    parts = list(last["split"].values())
    console.print_line(
        f"Round {last['number']}: {len(last['accepted'])} accepted organs of {len(last['models'])} cases; "
        f"{parts.count('training')} cases train, {parts.count('validation')} validate ({DATALIST})."
    )
    alone = last.get("without_patient", [])
    if alone:
        more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
        named = f"{', '.join(alone[:_SHOWN])}{more}"
        console.print_warning(f"--patients does not name {named}: each was taken for a patient of its own, who may be in both parts.")
    shown = [(row["round"], row["organ"] or MEAN, f"{row['dice']:.3f}", row["count"], f"{row['untouched']:.0%}") for row in rows]
    console.print_table("Dice of the predictions with what was accepted", ("round", "organ", "Dice", "new organs", "not changed"), shown)
