"""The command that says how far a review is and who did it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from AtlasReviewLib.double_reading import CHOSEN
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.double_reading_statistics import COLUMNS as AGREEMENT_COLUMNS
from AtlasReviewLib.double_reading_statistics import Comparison, comparisons_of, not_compared, plain
from AtlasReviewLib.double_reading_statistics import cells as row_cells
from AtlasReviewLib.double_reading_statistics import summed as agreement
from AtlasReviewLib.progress_page import COLUMNS, Progress, cells, progress_page
from AtlasReviewLib.review_statistics import KEYS, Key, Work, decided_days, nameless, summed, works_of
from AtlasReviewLib.revision_changes import Change, changes_of, organs_with_revisions, remembered
from AtlasReviewLib.revision_log import neutralized, one_line
from AtlasReviewLib.revisions import Revision
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_blind import not_compared as blind_tasks
from AtlasReviewLib.worklist_place import place_of
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import find_cases
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.files import write_bytes, write_text
from AtlasSegmentLib.html_page import NOTHING, Number

_DEFAULT: tuple[Key, ...] = ("reader",)


def progress_command(
    datasets: Annotated[list[Path], typer.Argument(readable=False, help="Dataset folders with a worklist.")],
    by: Annotated[list[str], typer.Option(help=f"Rows of the table: {', '.join(KEYS)}; may be given several times.")] = list(_DEFAULT),  # noqa: B006
    since: Annotated[str | None, typer.Option(help="Only work from this day on (UTC), such as 2026-11-21.")] = None,
    bound: Annotated[float | None, typer.Option("--stop-at", min=0, help="Expected error in ml that may stay: says when to stop.")] = None,
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Read the masks to say how much was changed.")] = True,
    table: Annotated[
        Path | None, typer.Option("--csv", readable=False, help="Write every row as CSV: dataset, day, reader, organ.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--html", readable=False, help="Write progress.html, one file to send around.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Say how far a review is: per reader, organ, dataset and day, with active minutes and what was changed. Changes nothing.

    Example: atlas progress data/hospital --by reader --by organ --html progress.html
    """
    keys = _keys(by)
    first = _day(since)
    tasks: list[Task] = []
    works: list[Work] = []
    comparisons: list[Comparison] = []
    left = 0
    decided: Counter[str] = Counter()
    with console.progress_bar("progress") as bar:
        for number, folder in enumerate(datasets):
            bar(number / len(datasets), folder.name)
            found = _read(folder, masks=masks)
            tasks += found[0]
            works += [work for work in found[1] if work.day >= first]
            comparisons += found[2]
            left += found[3]
            decided += found[4]
    progress = Progress.of(tasks, works, datetime.now(timezone.utc).date(), bound, comparisons)
    progress = replace(progress, not_compared=left, decided=decided)
    title = f"Review of {', '.join(folder.absolute().name for folder in datasets)}"
    if table is not None:
        write_text(table, csv_text(works))
    if page is not None:
        write_bytes(page, progress_page(title, progress))
    _show(title, progress, keys, as_json)


def _keys(by: Sequence[str]) -> tuple[Key, ...]:
    wrong = [name for name in by if name not in KEYS]
    if wrong:
        message = f"--by {wrong[0]}: is no kind of row."
        raise InputError(message, f"Use {', '.join(KEYS)}.")
    return tuple(cast("Key", name) for name in dict.fromkeys(by))


def _day(since: str | None) -> str:
    if since is None:
        return ""
    try:
        return date.fromisoformat(since).isoformat()
    except ValueError as error:
        message = f"--since {since}: is no day."
        raise InputError(message, "Write it as 2026-11-21.") from error


def _read(folder: Path, *, masks: bool) -> tuple[list[Task], list[Work], list[Comparison], int, Counter[str]]:
    if not place_of(folder).exists:
        message = f"{folder}: has no worklist."
        raise DatasetError(message, "Open the folder in Atlas Review first, or run: atlas worklist build FOLDER")
    worklist = Worklist(folder, read_only=True)
    try:
        tasks, events, pairs = worklist.tasks(), worklist.events(), worklist.pairs()
    finally:
        worklist.close()
    blind = blind_tasks(pairs)
    with remembered(folder) as memory:
        changes = [change for *task, change in _changes(folder, memory) if tuple(task) not in blind] if masks else []
    name, told = folder.absolute().name, [nameless(event) if (event.case, event.organ) in blind else event for event in events]
    return tasks, works_of(name, told, changes), comparisons_of(name, pairs), not_compared(pairs), decided_days(tasks, events)


def _changes(folder: Path, memory: dict[str, Change]) -> Iterator[tuple[str, str, tuple[str, Revision, Change]]]:
    for whole in find_cases([folder]):
        second: set[tuple[str, str]] = set()
        for reading in (2, 1):
            case = reading_case(whole, reading)
            for organ in organs_with_revisions(case):
                for revision, change in changes_of(case, organ, memory):
                    drawn = (organ, revision.reader)
                    again = drawn in second and revision.comment.startswith(CHOSEN)  # a second reading, saved once more beside the first
                    if revision.id and not again:
                        yield case.name, organ, (organ, revision, change)
                    if reading == 2:
                        second.add(drawn)


def csv_text(works: Sequence[Work]) -> str:
    """Return every row as CSV; no cell is taken for a formula by a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*KEYS, *COLUMNS])
    for work in works:
        names = [neutralized(one_line(getattr(work, key))) for key in KEYS]
        writer.writerow([*names, *(_plain(cell) for cell in cells(work))])
    return text.getvalue()


def _plain(cell: Any) -> str:
    """Return a number without blanks between thousands, "" where it is not known."""
    if isinstance(cell, Number):
        return "" if str(cell) == NOTHING else f"{cell.value:.{cell.decimals}f}"
    return str(cell)


def _show(title: str, progress: Progress, keys: tuple[Key, ...], as_json: bool) -> None:
    rows = summed(progress.works, keys)
    end = progress.expected_end()
    if as_json:
        content: dict[str, Any] = {"tasks": dict(progress.states), "finished": progress.finished, "total": progress.total}
        found = [{**{key: getattr(row, key) for key in keys}, **_numbers(row)} for row in rows]
        content["agreement"] = [plain(row) for row in agreement(progress.comparisons)]
        content["remaining"] = {**vars(progress.remaining), "may_stop": progress.remaining.may_stop}
        console.print_json({**content, "expected_end": end.isoformat() if end else None, "rows": found})
        return
    console.print_line(f"{title}: {progress.finished} of {progress.total} tasks decided.")
    console.print_line(progress.remaining.told())
    if progress.team_told():
        console.print_line(progress.team_told())
    if end:
        console.print_line(f"At the pace of the last days with decisions it ends on {end.isoformat()}.")
    _show_agreement(progress)
    lines = [(*(getattr(row, key) for key in keys), *map(str, cells(row))) for row in rows]
    console.print_wide_table("What was done", (*keys, *COLUMNS), lines, len(keys))


def _show_agreement(progress: Progress) -> None:
    rows = [(" and ".join(row.readers), row.organ, *row_cells(row)) for row in agreement(progress.comparisons)]
    if rows:
        console.print_wide_table("Agreement of two readings", ("readers", "organ", *AGREEMENT_COLUMNS), rows, 2)


def _numbers(work: Work) -> dict[str, Any]:
    known = {name: value for name, value in vars(work).items() if name not in {*KEYS, "dice"}}
    return {**known, "mean_dice": work.mean_dice, "minutes_each": work.minutes_each}
