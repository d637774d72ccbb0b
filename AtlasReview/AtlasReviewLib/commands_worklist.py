"""The commands `atlas worklist`: who looks at which organ, on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from AtlasReviewLib import worklist_lists as lists
from AtlasReviewLib.commands_worklist_lists import (
    DatasetArgument,
    UrlOption,
    copy_command,
    export_command,
    import_command,
    init_command,
    opened,
    place_findings,
)
from AtlasReviewLib.commands_worklist_task import CaseOption, OrganOption, task_commands
from AtlasReviewLib.commands_worklist_team import team_commands
from AtlasReviewLib.in_words import counted
from AtlasReviewLib.task_states import FINISHED, STATES
from AtlasReviewLib.worklist import checked_reader
from AtlasReviewLib.worklist_asked import left_over
from AtlasReviewLib.worklist_merge import merge, open_worklist
from AtlasReviewLib.worklist_rows import Event, Task
from AtlasReviewLib.worklist_scan import scan_dataset
from AtlasReviewLib.worklist_view import ALL, UNFINISHED, counts, state_words
from AtlasSegmentLib import console
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_text


def worklist_app() -> typer.Typer:
    """Return the program `atlas worklist`."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who looks at which organ of which case, and what became of it.")
    for name, command in (
        ("build", build_command), ("list", list_command), *task_commands().items(), ("history", history_command),
        ("import", import_command), ("export", export_command), ("init", init_command), ("copy", copy_command), *team_commands().items(),
    ):  # fmt: skip
        app.command(name)(command)
    return app


def build_command(
    dataset: DatasetArgument,
    scores: Annotated[bool, typer.Option("--by-scores", help="Rank by the cases' scores again, after a list was imported.")] = False,
    findings: Annotated[
        Path | None, typer.Option(readable=False, help="Findings of atlas check --out: their tasks come earlier and say why.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Run the checks of atlas check now, and use their findings.")] = False,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Make the worklist of a dataset folder, or bring it up to date with its cases: nobody's work is lost.

    Example: atlas worklist build data/hospital
    """
    with console.progress_bar("worklist") as progress:
        worklist, scan = open_worklist(dataset, progress, url)
        if scores and lists.use_scores(worklist):
            merge(worklist, scan_dataset(dataset, progress))
        problems = list(scan.problems)
        if findings is not None or check:
            problems += place_findings(worklist, scan, findings, progress)
    tasks, second, left = worklist.tasks(), len(worklist.pairs()), left_over(worklist)
    worklist.close()
    place = worklist.store.place.shown
    found = {
        "place": place,
        "tasks": len(tasks),
        "second_readings": second,
        "states": counts(tasks),
        "left_over": left,
        "problems": problems,
    }
    if as_json:
        console.print_json(found)
    else:
        states = ", ".join(f"{number} {state}" for state, number in counts(tasks).items())
        told = f", {second} of them read twice: {counted(len(tasks) + second, 'reading')}" if second else ""
        for line in (f"{place}: {counted(len(tasks), 'task')} ({states}){told}", *left):
            console.print_line(line)
    for problem in problems:
        console.print_error(problem)
    if problems:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def list_command(
    dataset: DatasetArgument,
    state: Annotated[str, typer.Option(help=f"One of {', '.join((UNFINISHED, ALL, *STATES))}.")] = UNFINISHED,
    reader: Annotated[str, typer.Option(help="Only tasks that this reader has, decided or was handed, as they see them.")] = "",
    organ: OrganOption = [],  # noqa: B006 - typer reads the default, nobody changes it
    case: CaseOption = [],  # noqa: B006
    most: Annotated[int, typer.Option(min=1, help="Rows to print; a CSV file gets all.")] = 50,
    table: Annotated[Path | None, typer.Option("--csv", readable=False, help="Write all columns and rows to this file.")] = None,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """List tasks in the order of looking. Nothing is changed. Of tasks that two readers do, nothing is told before both are done.

    Example: atlas worklist list data/hospital --state flagged --csv flagged.csv
    """
    if state not in (UNFINISHED, ALL, *STATES):
        message = f"--state {state!r} is not known."
        raise InputError(message, f"Use one of {', '.join((UNFINISHED, ALL, *STATES))}.")
    with opened(dataset, url, read_only=True) as worklist:
        worklist.viewer = checked_reader(reader) if reader else ""
        tasks = [task for task in worklist.tasks() if _is_wanted(task, state, reader, organ, case)]
    if table is not None:
        write_text(table, lists.table_text(tasks))
    if as_json:
        console.print_json({"tasks": [dataclasses.asdict(task) for task in tasks]})
        return
    shown = tasks[:most]
    rows = [
        ("" if t.rank is None else t.rank, t.case, _organ(t), state_words(t), t.reader or t.assignee, t.comment, t.reason) for t in shown
    ]
    columns = ("#", "case", "organ", "state", "reader", "comment", "why")
    used = len(columns) if any(task.reason for task in shown) else len(columns) - 1
    console.print_table(_title(tasks, most), columns[:used], [row[:used] for row in rows])


def _title(tasks: Sequence[Task], most: int) -> str:
    """Return the number of tasks and of second readings, as `build` counts them."""
    second = sum(task.reading > 1 for task in tasks)
    told = counted(len(tasks) - second, "task") + (f" and {counted(second, 'second reading')}" if second else "")
    return told + (f", the first {most}" if len(tasks) > most else "")


def _organ(found: Task | Event) -> str:
    return found.organ if found.reading == 1 else f"{found.organ} (second reading)"


def _is_wanted(task: Task, state: str, reader: str, organs: Sequence[str], cases: Sequence[str]) -> bool:
    in_state = state == ALL or (task.state not in FINISHED if state == UNFINISHED else task.state == state)
    of_reader = not reader or reader in (task.reader, task.assignee)
    return in_state and of_reader and (not organs or task.organ in organs) and (not cases or task.case in cases)


def history_command(
    dataset: DatasetArgument,
    case: Annotated[str | None, typer.Argument(help="Only this case.")] = None,
    organ: Annotated[str | None, typer.Argument(help="Only this organ of it.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Print only so many of the newest events.")] = 200,
    reader: Annotated[str, typer.Option(help="As this reader sees it: with their own reading of tasks that two readers do.")] = "",
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Show everything that ever happened to a task, a case or the whole list, oldest first; nothing of readings that are not done.

    Example: atlas worklist history data/hospital scan liver
    """
    with opened(dataset, url, read_only=True) as worklist:
        worklist.viewer = checked_reader(reader) if reader else ""
        events = worklist.events(case, organ)[-most:]
    if as_json:
        console.print_json({"events": [dataclasses.asdict(event) for event in events]})
        return
    rows = [(e.time[:19].replace("T", " "), e.reader, e.case, _organ(e), e.kind, e.state_after, e.comment) for e in events]
    console.print_table(counted(len(events), "event"), ("UTC", "reader", "case", "organ", "event", "state", "comment"), rows)
