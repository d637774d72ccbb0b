"""The commands `atlas worklist` about one task: take it, say what became of it, give it to somebody."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Annotated, Any

import typer

from AtlasReviewLib.commands_worklist_lists import DatasetArgument, UrlOption, opened
from AtlasReviewLib.commands_worklist_team import CaseArgument, OrganArgument, ReaderOption, compare
from AtlasReviewLib.decided_mask import mask_to_note
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.task_states import FINISHED, VERDICTS, VERIFY
from AtlasReviewLib.where_to_look import WhereToLook, where_to_look
from AtlasReviewLib.worklist import Worklist, checked_reader
from AtlasReviewLib.worklist_asked import open_reading, own_reading, require_askable, require_reader, unknown_reader, why_theirs
from AtlasReviewLib.worklist_rows import Task, TaskFilter
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, InputError

HOURS = 12.0
_FEWEST_HOURS, _MOST_HOURS = 0.01, 24.0 * 366
OrganOption = Annotated[list[str], typer.Option("--organ", help="Only this organ; may be given several times.")]
CaseOption = Annotated[list[str], typer.Option("--case", help="Only this case; may be given several times.")]
LevelOption = Annotated[
    int | None, typer.Option(min=1, help="1: tasks to read, 2: tasks to verify or adjudicate; all that your level allows by default.")
]
ReadingOption = Annotated[
    int | None, typer.Option(min=1, max=2, help="2 for the second reading of a task that two readers do; the one that you have by default.")
]


def _hours(hours: float) -> float:
    """Check a number of hours before a task is taken for them. Raises InputError."""
    if not _FEWEST_HOURS <= hours <= _MOST_HOURS:  # nor is it so of what is no number
        message = f"--hours {hours:g}: a task cannot be yours for that long."
        raise InputError(message, f"Give {_FEWEST_HOURS:g} to {_MOST_HOURS:g} hours.")
    return hours


HoursOption = Annotated[float, typer.Option(callback=_hours, help="How long the task stays yours while you edit it in another program.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it stays in the history.")]


def task_commands() -> dict[str, Any]:
    """Return name to command."""
    return {
        "next": next_command, "take": take_command, "release": release_command,
        "decide": decide_command, "hand-over": hand_over_command, "reopen": reopen_command,
    }  # fmt: skip


def _print_task(task: Task, as_json: bool, words: str) -> None:
    if as_json:
        console.print_json(dataclasses.asdict(task))
    else:
        console.print_line(f"{task.case} {task.organ}{' (second reading)' if task.reading > 1 else ''}: {words}")


def _give(worklist: Worklist, task: Task, reader: str, hours: float, as_json: bool) -> None:
    """Let a reader keep a task that they took, and print it with where to look in it."""
    task = worklist.detach(task, reader, hours * 3600)
    try:
        places = where_to_look(CaseFolder(worklist.folder / task.case), task.organ)
    except AtlasError as error:  # the task is theirs all the same
        console.print_error(error.message)
        places = WhereToLook()
    why = why_theirs(worklist, task, reader)
    if as_json:
        console.print_json({**dataclasses.asdict(task), "why": why, **places.as_dict()})
        return
    _print_task(task, False, f"yours for {hours:g} {'hour' if hours == 1 else 'hours'}")
    for line in (*why, *places.lines(), *_then(worklist, task, reader)):
        console.print_line(f"  {line}")


def _then(worklist: Worklist, task: Task, reader: str) -> list[str]:
    """Return what to run next where that is not what it always is: for a second reading."""
    if task.reading == 1:
        return []
    end = f"--reader {shlex.quote(reader)} --reading {task.reading}"
    case = shlex.quote(str(worklist.folder / task.case))
    dataset, name = shlex.quote(str(worklist.folder)), shlex.quote(task.case)
    return [
        f"save a mask: atlas revise {case} {task.organ} --mask FILE {end}",
        f"then: atlas worklist decide {dataset} {name} {task.organ} accepted {end}",
    ]


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
    """Take the task where a look is worth most, and say where to look; nobody else is given it meanwhile.

    Example: atlas worklist next data/hospital --reader "Dr. Ada" --organ liver
    """
    only = TaskFilter(tuple(organ), tuple(case), level)
    with opened(dataset, url) as worklist:
        _note(unknown_reader(worklist, reader))
        task = worklist.take_next(reader, only=only)
        if task is None:
            require_askable(worklist, only, reader)
            if as_json:
                console.print_json(None)
            else:
                console.print_line("nothing is left")
            return
        _give(worklist, task, reader, hours, as_json)


def take_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    reader: ReaderOption,
    over: Annotated[bool, typer.Option("--take-over", help="Take it although another reader has it; the history says so.")] = False,
    hours: HoursOption = HOURS,
    reading: ReadingOption = None,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Take one task, and say where to look in it.

    Example: atlas worklist take data/hospital scan liver --reader "Dr. Ada"
    """
    with opened(dataset, url) as worklist:
        _note(unknown_reader(worklist, reader))
        task = worklist.take(case, organ, reader, over, reading or own_reading(worklist, case, organ, reader))
        _give(worklist, task, reader, hours, as_json)


def _note(text: str) -> None:
    if text:
        console.print_warning(text)


def release_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    reader: ReaderOption,
    reading: ReadingOption = None,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Give a task back that you took: it is again what it was before. One with a revision stays yours, free for you to open.

    Example: atlas worklist release data/hospital scan liver --reader "Dr. Ada"
    """
    with opened(dataset, url) as worklist:
        task = _mine(worklist, case, organ, reader, reading)
        worklist.leave(task, reader, keep=False)
        after = worklist.task(case, organ, task.reading)
        _print_task(after, as_json, f"is {after.state}{f' by {after.reader}' if after.reader else ''}")


def _mine(worklist: Worklist, case: str, organ: str, reader: str, reading: int | None) -> Task:
    """Return a task that the reader took before, now in the hands of this program; their own reading of it unless one is named."""
    worklist.viewer = reader = checked_reader(reader)
    reading = reading or own_reading(worklist, case, organ, reader)
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
    reading: ReadingOption = None,
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
        task = _mine(worklist, case, organ, reader, reading)
        noted = mask_to_note(reading_case(worklist.folder / case, task.reading), organ) if state in FINISHED else ()
        task = worklist.set_state(task, state, reader, comment, *noted)
        compare(worklist)
        _print_task(task, as_json, "waits to be verified" if task.stage == VERIFY else f"is {task.state} by {task.reader}")


def hand_over_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    to: Annotated[str, typer.Option(help="The reader who shall have it; nobody else is given it.")],
    reader: ReaderOption,
    comment: Annotated[str, typer.Option(help="A note for them.")] = "",
    reading: ReadingOption = None,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Hand a task to a named reader, who gets it next.

    Example: atlas worklist hand-over data/hospital scan liver --to "Dr. Bob" --reader "Dr. Ada"
    """
    with opened(dataset, url) as worklist:
        worklist.viewer = checked_reader(reader)
        require_reader(worklist, to)
        reading = reading or own_reading(worklist, case, organ, reader)
        task = worklist.hand_over(worklist.task(case, organ, reading), reader, to, comment)
        _print_task(task, as_json, f"waits for {task.assignee}")


def reopen_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    reason: ReasonOption,
    reader: ReaderOption,
    to: Annotated[str, typer.Option("--for", help="The reader who shall look again; anybody by default.")] = "",
    reading: ReadingOption = None,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Put a task that was decided or put aside back on the list; its history and its revisions stay.

    Example: atlas worklist reopen data/hospital scan liver --reason "the dome is cut off" --reader "Dr. Bob"
    """
    with opened(dataset, url) as worklist:
        worklist.viewer = checked_reader(reader)
        if to:
            require_reader(worklist, to)
        reading = reading or open_reading(worklist, case, organ, reader)
        task = worklist.revisit(worklist.task(case, organ, reading), reader, reason, to)
        _print_task(task, as_json, f"waits{f' for {to}' if to else ''}")
