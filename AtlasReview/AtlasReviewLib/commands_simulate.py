"""The command that replays a review with a perfect editor, to measure what an order of looking saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasReviewLib.report_figures import require_matplotlib
from AtlasReviewLib.simulation import Curve, PerfectEditor, replay
from AtlasReviewLib.simulation_carry import replay_carried
from AtlasReviewLib.simulation_case import AUTO, AXES, OrganPrediction, require_direction
from AtlasReviewLib.simulation_figure import simulation_png
from AtlasReviewLib.simulation_output import PICTURE, SUMMARY_COLUMNS, organ_rows, summary, write_tables
from AtlasReviewLib.simulation_read import organs_to_simulate, read_predictions, read_truth
from AtlasReviewLib.simulation_strategies import DESCRIPTIONS, ORACLE, RANDOM, STRATEGIES, available, strategy
from AtlasReviewLib.simulation_time import ReviewTime, measured_time
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import CaseFolder, find_cases
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_bytes
from AtlasSegmentLib.labels import load_table, table_names
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume_io import read_label_volume, strip_suffix

NOTE = (
    "A perfect editor replaces each opened slice by the reference's. Strategies see predictions only; expected-gain and carrying "
    "also what was corrected so far."
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("simulate")(simulate_command)


def simulate_command(
    path: Annotated[list[Path], typer.Argument(readable=False, help="Case folders, or dataset folders for all their cases.")],
    reference: Annotated[
        Path,
        typer.Option(
            readable=False, help="Reference label map; for several cases a folder that holds one named as each case (CASE.nii.gz, ...)."
        ),
    ],
    table: Annotated[str, typer.Option(help=f"Label table of the reference: {', '.join(table_names())}.")] = "abdomenatlas",
    strategies: Annotated[str, typer.Option(help=f"Which orders, with commas between: {', '.join(STRATEGIES)}. All by default.")] = "",
    organ: Annotated[list[str] | None, typer.Option("--organ", help="Only this organ; may be given several times.")] = None,
    slices: Annotated[str, typer.Option(help=f"Direction: {AUTO} (across the thickest spacing, else axial), {', '.join(AXES)}.")] = AUTO,
    carry: Annotated[bool, typer.Option("--carry", help="Also carry corrections to the slices between two corrected ones.")] = False,
    out: Annotated[Path | None, typer.Option(readable=False, help="Folder for CSV tables and the picture.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random orders.")] = 0,
    jobs: console.JobsOption = 1,
    as_json: console.JsonOption = False,
) -> None:
    """Replay a review with a perfect editor: error removed against slices, masks and minutes, for each order of looking.

    Example: atlas simulate data/hospital/scan --reference truth.nii.gz --table totalsegmentator_v2 --carry --out simulation
    """
    wanted = _wanted(strategies)
    cases = find_cases(path)
    if out is not None:
        require_matplotlib()
    step = _Reader(_references(cases, reference), table, tuple(organ or ()), slices)
    with console.progress_bar("simulate") as progress:
        outcomes = run_cases(cases, step, _name, jobs=jobs, progress=lambda share, text: progress(0.6 * share, text))
        done = [outcome.result for outcome in outcomes if outcome.state == "done"]
        result = _simulated(done, wanted, measured_time(cases[0].folder.parent), carry, seed, progress) if done else None
    if result is not None:
        _tell(result, reference, out, as_json)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        console.print_error(outcome.error, outcome.remedy)
    if failed:
        raise typer.Exit(console.EXIT_ERROR if len(failed) == len(outcomes) else console.EXIT_SOME_FAILED)


def _wanted(text: str) -> tuple[str, ...]:
    """Return the strategies that were asked for; empty for all that can be made."""
    wanted = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in wanted if name not in STRATEGIES]
    if unknown:
        message = f"--strategies {unknown[0]!r} is not known."
        raise InputError(message, f"Use some of {', '.join(STRATEGIES)}.")
    return wanted


def _references(cases: Sequence[CaseFolder], path: Path) -> dict[Path, Path]:
    """Return the reference of each case: `path` itself, or the file in it that is named as the case; missing ones are left out."""
    if not path.exists():
        message = f"{path}: there is no such reference."
        raise InputError(message, "Check the path.")
    files = {strip_suffix(file.name): file for file in sorted(path.iterdir())} if path.is_dir() else {}
    named = {case.folder: files[case.name] for case in cases if case.name in files}
    if named or len(cases) > 1:
        if not named:
            message = f"{path}: holds no reference named as one of the {len(cases)} cases."
            raise InputError(message, "Give a folder with CASE.nii.gz (or another format) for each case.")
        return named
    return {cases[0].folder: path}


def _name(case: CaseFolder) -> str:
    return case.name


class _Reader:
    """The step that reads a case and its reference; an object, so that worker processes can be given it."""

    def __init__(self, references: dict[Path, Path], table: str, organs: tuple[str, ...], slices: str) -> None:
        self._references, self._table, self._organs, self._slices = references, table, organs, slices
        load_table(table)  # what is unknown is an error before anything is read
        require_direction(slices)

    def __call__(self, case: CaseFolder, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
        """Return `organs` and `truth` of a case."""
        file = self._references.get(case.folder)
        if file is None:
            message = f"{case.folder}: no reference is named {case.name}."
            raise InputError(message, "Add it to the folder of --reference, or leave the case out.")
        reference = read_label_volume(file, load_table(self._table))
        organs = organs_to_simulate(case, reference, self._organs)
        found = read_predictions(case, organs, self._slices, progress)
        return {"organs": found.organs, "truth": read_truth(reference, organs, found.axes)}


@dataclass(frozen=True)
class _Result:
    """A finished simulation."""

    predictions: tuple[OrganPrediction, ...]
    curves: tuple[Curve, ...]
    left_out: tuple[str, ...]
    time: ReviewTime

    @property
    def cases(self) -> int:
        return len({prediction.case for prediction in self.predictions})


def _simulated(
    done: Sequence[dict[str, Any]], wanted: tuple[str, ...], time: ReviewTime, carry: bool, seed: int, progress: ProgressCallback
) -> _Result:
    predictions = tuple(prediction for one in done for prediction in one["organs"])
    editor = PerfectEditor(predictions, [mask for one in done for mask in one["truth"]])
    possible = available(predictions)
    for name in wanted:
        if name not in possible:
            strategy(name, predictions)  # says what is missing
    names = [name for name in possible if not wanted or name in {*wanted, ORACLE, RANDOM}]  # the bounds are always shown
    curves = []
    for number, name in enumerate(names):
        progress(0.6 + 0.1 * number / len(names), name)
        curves.append(replay(name, predictions, editor, time, seed))
    for number, name in enumerate(names if carry else ()):
        progress(0.7 + 0.3 * number / len(names), f"{name}, carried")
        curves.append(replay_carried(name, predictions, editor, time, seed))
    return _Result(predictions, tuple(curves), () if wanted else tuple(sorted(set(STRATEGIES) - set(possible))), time)


def _tell(result: _Result, reference: Path, out: Path | None, as_json: bool) -> None:
    rows, units = summary(result.curves), result.curves[0].units
    masks, cases = len(result.predictions), result.cases
    title = f"{cases} case{'s' * (cases > 1)}, {masks} mask{'s' * (masks > 1)}, {units} slices, against {reference.name}"
    timing = _timing(result.time)
    files: list[Path] = []
    if out is not None:
        files = [*write_tables(out, result.curves), out / PICTURE]
        write_bytes(out / PICTURE, simulation_png(result.curves, title, f"{NOTE} {timing}"))
    if as_json:
        names = dict.fromkeys(curve.strategy for curve in result.curves)
        about = {"cases": cases, "masks": masks, "units": units, "reference": reference, "time": vars(result.time.editing)}
        told = {"strategies": {name: DESCRIPTIONS[name] for name in names}, "left_out": list(result.left_out), "summary": rows}
        console.print_json({**about, "time_source": result.time.source, **told, "organs": organ_rows(result.curves), "files": files})
        return
    shown = [tuple("" if row[column] is None else row[column] for column in SUMMARY_COLUMNS) for row in rows]
    console.print_table(title, SUMMARY_COLUMNS, shown)
    left_out = [f"Left out, for what it looks at is not there: {', '.join(result.left_out)}."] if result.left_out else []
    for line in (NOTE, timing, *left_out, *(f"wrote {file}" for file in files)):
        console.print_line(line)


def _timing(time: ReviewTime) -> str:
    speed = time.editing
    return (
        f"Time {time.source}: {speed.open_seconds:.1f} s a mask, {speed.slice_seconds:.1f} s a slice, "
        f"{speed.cm2_seconds:.1f} s a square cm, {time.look_seconds:.1f} s to look at a carried slice."
    )
