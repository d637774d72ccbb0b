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
from AtlasReviewLib.commands_worklist_team import compare, team_commands
from AtlasReviewLib.task_states import ADJUDICATE, FINISHED, STATES, VERDICTS, VERIFY
from AtlasReviewLib.worklist import Worklist, checked_reader
from AtlasReviewLib.worklist_merge import merge, open_worklist
from AtlasReviewLib.worklist_rows import Event, Task, TaskFilter
from AtlasReviewLib.worklist_scan import scan_dataset
from AtlasReviewLib.worklist_view import ALL, UNFINISHED, counts
from AtlasSegmentLib import console
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_text

HOURS = 12.0
CaseArgument = Annotated[str, typer.Argument(help="Name of the case.")]
OrganArgument = Annotated[str, typer.Argument(help="Organ, such as liver.")]
ReaderOption = Annotated[str, typer.Option(help="Who.")]
OrganOption = Annotated[list[str], typer.Option("--organ", help="Only this organ; may be given several times.")]
CaseOption = Annotated[list[str], typer.Option("--case", help="Only this case; may be given several times.")]
LevelOption = Annotated[
    int | None, typer.Option(min=1, help="1: tasks to read, 2: tasks to verify or adjudicate; all that your level allows by default.")
]
ReadingOption = Annotated[int, typer.Option(min=1, max=2, help="2 for the second reading of a task that two readers do.")]
HoursOption = Annotated[float, typer.Option(min=0.01, help="How long the task stays yours while you edit it in another program.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it stays in the history.")]


def worklist_app() -> typer.Typer:
    """Return the program `atlas worklist`."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who looks at which organ of which case, and what became of it.")
    for name, command in (
        ("build", build_command), ("list", list_command), ("next", next_command), ("take", take_command), ("release", release_command),
        ("decide", decide_command), ("hand-over", hand_over_command), ("reopen", reopen_command), ("history", history_command),
        ("import", import_command), ("export", export_command), ("init", init_command), ("copy", copy_command),
    ):  # fmt: skip
        app.command(name)(command)
    for name, command in team_commands().items():
        app.command(name)(command)
    return app


def _print_task(task: Task, as_json: bool, words: str) -> None:
    if as_json:
        console.print_json(dataclasses.asdict(task))
    else:
        console.print_line(f"{task.case} {task.organ}: {words}")


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
    tasks, second = worklist.tasks(), len(worklist.pairs())
    worklist.close()
    place = worklist.store.place.shown
    found = {"place": place, "tasks": len(tasks), "second_readings": second, "states": counts(tasks), "problems": problems}
    if as_json:
        console.print_json(found)
    else:
        states = ", ".join(f"{number} {state}" for state, number in counts(tasks).items())
        console.print_line(f"{place}: {len(tasks)} tasks ({states}){f', {second} of them read twice' if second else ''}")
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
    rows = [("" if t.rank is None else t.rank, t.case, _organ(t), _state(t), t.reader or t.assignee, t.comment) for t in tasks[:most]]
    title = f"{len(tasks)} tasks" + (f", the first {most}" if len(tasks) > most else "")
    console.print_table(title, ("#", "case", "organ", "state", "reader", "comment"), rows)


def _organ(found: Task | Event) -> str:
    return found.organ if found.reading == 1 else f"{found.organ} (second reading)"


def _state(task: Task) -> str:
    return f"{task.state}, to {task.stage}" if task.stage in (VERIFY, ADJUDICATE) else task.state


def _is_wanted(task: Task, state: str, reader: str, organs: Sequence[str], cases: Sequence[str]) -> bool:
    in_state = state == ALL or (task.state not in FINISHED if state == UNFINISHED else task.state == state)
    of_reader = not reader or reader in (task.reader, task.assignee)
    return in_state and of_reader and (not organs or task.organ in organs) and (not cases or task.case in cases)


def next_command(
    dataset: DatasetArgument,
    reader: ReaderOption,
    organ: OrganOption = [],  # noqa: B006
    case: CaseOption = [],  # noqa: B006
    level: LevelOption = None,
    hours: HoursOption = HOURS,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Take the task where a look is worth most; nobody else is given it meanwhile.

    Example: atlas worklist next data/hospital --reader "Dr. Ada" --organ liver
    """
    with opened(dataset, url) as worklist:
        task = worklist.take_next(reader, only=TaskFilter(tuple(organ), tuple(case), level))
        if task is None:
            if as_json:
                console.print_json(None)
            else:
                console.print_line("nothing is left")
            return
        _print_task(worklist.detach(task, reader, hours * 3600), as_json, f"yours for {hours:g} hours")


def take_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    reader: ReaderOption,
    over: Annotated[bool, typer.Option("--take-over", help="Take it although another reader has it; the history says so.")] = False,
    hours: HoursOption = HOURS,
    reading: ReadingOption = 1,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Take one task.

    Example: atlas worklist take data/hospital scan liver --reader "Dr. Ada"
    """
    with opened(dataset, url) as worklist:
        task = worklist.take(case, organ, reader, over, reading)
        _print_task(worklist.detach(task, reader, hours * 3600), as_json, f"yours for {hours:g} hours")


def release_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    reader: ReaderOption,
    reading: ReadingOption = 1,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Give a task back that you took: it is again what it was before. One with a revision stays yours, free for you to open.

    Example: atlas worklist release data/hospital scan liver --reader "Dr. Ada"
    """
    with opened(dataset, url) as worklist:
        worklist.leave(_mine(worklist, case, organ, reader, reading), reader, keep=False)
        after = worklist.task(case, organ, reading)
        _print_task(after, as_json, f"is {after.state}{f' by {after.reader}' if after.reader else ''}")


def _mine(worklist: Worklist, case: str, organ: str, reader: str, reading: int) -> Task:
    """Return a task that the reader took before, now in the hands of this program."""
    worklist.viewer = checked_reader(reader)
    task = worklist.task(case, organ, reading)
    if task.reader != reader:
        message = f"{case}, {organ}: is {task.state}{f' by {task.reader}' if task.reader else ''}, not in the hands of {reader}."
        raise InputError(message, "Take it first.")
    return worklist.take(case, organ, reader, reading=reading)


def decide_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    state: Annotated[str, typer.Argument(help=f"One of {', '.join(VERDICTS[1:])}.")],
    reader: ReaderOption,
    comment: Annotated[str, typer.Option(help="A note; needed to reject.")] = "",
    reading: ReadingOption = 1,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Say what became of a task that you took. Save an edited mask first: atlas revise.

    Example: atlas worklist decide data/hospital scan liver accepted --reader "Dr. Ada"
    """
    if state not in VERDICTS[1:]:
        message = f"{state!r} is no decision."
        raise InputError(message, f"Use one of {', '.join(VERDICTS[1:])}.")
    with opened(dataset, url) as worklist:
        task = worklist.set_state(_mine(worklist, case, organ, reader, reading), state, reader, comment)
        compare(worklist)
        _print_task(task, as_json, "waits to be verified" if task.stage == VERIFY else f"is {task.state} by {task.reader}")


def hand_over_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    to: Annotated[str, typer.Option(help="The reader who shall have it; nobody else is given it.")],
    reader: ReaderOption,
    comment: Annotated[str, typer.Option(help="A note for them.")] = "",
    reading: ReadingOption = 1,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Hand a task to a named reader, who gets it next.

    Example: atlas worklist hand-over data/hospital scan liver --to "Dr. Bob" --reader "Dr. Ada"
    """
    with opened(dataset, url) as worklist:
        task = worklist.hand_over(worklist.task(case, organ, reading), reader, to, comment)
        _print_task(task, as_json, f"waits for {task.assignee}")


def reopen_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    reason: ReasonOption,
    reader: ReaderOption,
    to: Annotated[str, typer.Option("--for", help="The reader who shall look again; anybody by default.")] = "",
    reading: ReadingOption = 1,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Put a task that was decided or put aside back on the list; its history and its revisions stay.

    Example: atlas worklist reopen data/hospital scan liver --reason "the dome is cut off" --reader "Dr. Bob"
    """
    with opened(dataset, url) as worklist:
        task = worklist.revisit(worklist.task(case, organ, reading), reader, reason, to)
        _print_task(task, as_json, f"waits{f' for {to}' if to else ''}")


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
    console.print_table(f"{len(events)} events", ("UTC", "reader", "case", "organ", "event", "state", "comment"), rows)
