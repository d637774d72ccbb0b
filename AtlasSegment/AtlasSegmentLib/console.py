"""What every `atlas` command shares: options, progress on stderr, results on stdout, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from AtlasSegmentLib.cases import CaseOutcome
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.progress import ProgressCallback

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130
EXIT_ERROR = 2
_FILE_WIDTH = 160

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
JobsOption = Annotated[int, typer.Option("--jobs", min=1, help="Cases worked on side by side on this machine.")]
SchedulerOption = Annotated[str | None, typer.Option(help="Address of a Dask scheduler to use instead of --jobs.")]
PartOption = Annotated[str | None, typer.Option(metavar="K/N", help="Only the K-th of N parts of the cases, for job arrays; K from 1.")]
OverlapOption = Annotated[
    bool, typer.Option("--overlap/--no-overlap", help="Read and write other cases while the network runs on one; takes more memory.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Do it again even when the same result is there.")]


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressCallback]:
    """Show a progress bar on stderr and yield its callback; on a plain stream it stays silent until the end."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=1.0)

        def update(fraction: float, message: str) -> None:
            bar.update(task, completed=fraction, description=f"{label} · {escape(message)}")

        yield update


def escape(text: str) -> str:
    """Return text that rich prints as it is, also when it holds [brackets]; what would command the terminal is left out."""
    from rich.markup import escape as rich_escape

    return rich_escape(plain(text))


def plain(text: str) -> str:
    """Return text in which nothing but line breaks and tabs commands a terminal: comments and names can hold anything."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; numbers that are not finite become null."""
    typer.echo(json.dumps(_finite(value), ensure_ascii=False, indent=1, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout; numbers are right-aligned."""
    table = Table(title=escape(title), title_justify="left")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(escape(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(f"{cell:.3f}" if isinstance(cell, float) else str(cell)) for cell in row))
    console = Console()
    (console if console.is_terminal else Console(width=_FILE_WIDTH)).print(table)


_EMPTY = frozenset({"", "0", "0.0", "0.000", "–"})  # noqa: RUF001 - a dash in a table means "there is none"


def print_wide_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], keys: int = 1) -> None:
    """Print a table of many numbers on stdout, without columns that are 0 or empty in every row.

    Where it is wider than the terminal, each row is printed as a paragraph of its own, so that no word and no number is broken.

    Args:
        title: Above it.
        columns: Names of the columns.
        rows: Their cells.
        keys: How many columns at the beginning say what the row is about; these stay.
    """
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    kept = [index for index in range(len(columns)) if index < keys or any(row[index] not in _EMPTY for row in cells)]
    widths = [max(map(len, [*columns[index].split(), *(row[index] for row in cells)]), default=0) for index in kept]
    console = Console()
    console = console if console.is_terminal else Console(width=_FILE_WIDTH)
    if sum(widths) + 3 * len(kept) + 1 > console.width:
        print_line(title)
        for row in cells:
            said = ", ".join(f"{columns[index]} {row[index]}" for index in kept[keys:] if row[index] not in _EMPTY)
            print_line(f"  {', '.join(row[:keys])}: {said or 'nothing'}")
        return
    table = Table(title=escape(title), title_justify="left")
    for index, width in zip(kept, widths, strict=True):
        table.add_column(columns[index], justify="left" if index < keys else "right", width=width)
    for row in cells:
        table.add_row(*(escape(row[index]) for index in kept))
    console.print(table)


def print_line(text: str) -> None:
    """Print one line on stdout."""
    typer.echo(plain(text))


def finish(step: str, outcomes: Sequence[CaseOutcome], as_json: bool) -> None:
    """Print what became of all cases and leave with the exit code that says so: 0, 1 (some failed) or 2 (all failed)."""
    counts = {state: sum(o.state == state for o in outcomes) for state in ("done", "skipped", "failed")}
    if as_json:
        print_json({"step": step, **counts, "cases": [asdict(outcome) for outcome in outcomes]})
    else:
        print_line(f"{step}: {counts['done']} done, {counts['skipped']} skipped (finished before), {counts['failed']} failed")
    for outcome in outcomes:
        if outcome.state == "failed":
            print_error(outcome.error, outcome.remedy)
    if counts["failed"]:
        raise typer.Exit(EXIT_ERROR if counts["failed"] == len(outcomes) else EXIT_SOME_FAILED)


def print_error(message: str, remedy: str = "") -> None:
    """Print a failure as one line on stderr."""
    typer.echo(plain(" ".join(f"atlas: error: {message} {remedy}".split())), err=True)


def print_warning(message: str) -> None:
    """Print what a person should know as one line on stderr; nothing failed."""
    typer.echo(plain(" ".join(f"atlas: warning: {message}".split())), err=True)


def fail(error: AtlasError) -> NoReturn:
    """Print an error as one line and leave with exit code 2."""
    print_error(error.message, error.remedy)
    sys.exit(EXIT_ERROR)
