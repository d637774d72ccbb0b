"""The commands `atlas worklist` about whole lists: import, export, and those of a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from AtlasReviewLib import worklist_lists as lists
from AtlasReviewLib.in_words import counted
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_copy import copy_to_server
from AtlasReviewLib.worklist_merge import merge
from AtlasReviewLib.worklist_place import FILE, checked_url, place_of
from AtlasReviewLib.worklist_scan import Scan
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import find_cases
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.progress import ProgressCallback

ROLE = "atlas_readers"
DatasetArgument = Annotated[Path, typer.Argument(readable=False, help="Dataset folder.")]
UrlOption = Annotated[str, typer.Option("--url", help="Address of a PostgreSQL database, if ATLAS_WORKLIST or worklist.json does not say.")]
FormArgument = Annotated[str, typer.Argument(help=f"Form of the list: {' or '.join(lists.FORMS)}.")]
ListArgument = Annotated[Path, typer.Argument(readable=False, help="The CSV file.")]


@contextmanager
def opened(dataset: Path, url: str, read_only: bool = False) -> Iterator[Worklist]:
    """Yield the worklist of a dataset folder; a command that asks for one task does not read all cases again."""
    place = place_of(dataset, url)
    if not place.exists:
        message = f"{dataset}: there is no worklist."
        raise InputError(message, f"Run: atlas worklist build {dataset}.")
    worklist = Worklist(dataset, read_only=read_only and not place.url, url=url)
    try:
        yield worklist
    finally:
        worklist.close()


def place_findings(worklist: Worklist, scan: Scan, file: Path | None, progress: ProgressCallback) -> list[str]:
    """Let findings of a file, or of checks that are run now, place tasks; return what they name that is not there."""
    from AtlasQualityLib.checks import check_case
    from AtlasReviewLib.worklist_findings import apply_findings, read_findings_file

    problems, found = [], [] if file is None else read_findings_file(file)
    cases = [] if file is not None else find_cases([worklist.folder])
    for number, case in enumerate(cases):
        progress(number / len(cases), f"check {case.name}")
        try:
            found += check_case(case)
        except AtlasError as error:
            problems.append(error.message)
    applied = apply_findings(worklist, found)
    merge(worklist, scan)
    return [*problems, *applied.problems]


def import_command(
    dataset: DatasetArgument,
    form: FormArgument,
    file: ListArgument,
    known_only: Annotated[bool, typer.Option("--known-only", help="Pass over names that are not in the worklist.")] = False,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Let a list say the order of looking: AbdomenAtlas' priority.csv or attention_size.csv. A name that is not there changes nothing.

    Example: atlas worklist import data/hospital priority data/hospital/priority.csv
    """
    with opened(dataset, url) as worklist:
        found = lists.import_list(worklist, form, file, known_only=known_only)
    if as_json:
        console.print_json(dataclasses.asdict(found))
    else:
        told = f"{counted(found.ranked, 'task')} ordered by {file.name}; {found.unranked} that it does not name come after them"
        console.print_line(f"{told}; {counted(len(found.unknown), 'name')} passed over" if found.unknown else told)


def export_command(dataset: DatasetArgument, form: FormArgument, file: ListArgument, url: UrlOption = "") -> None:
    """Write the order of looking as AbdomenAtlas' priority.csv or attention_size.csv.

    Example: atlas worklist export data/hospital attention-size attention_size.csv
    """
    with opened(dataset, url, read_only=True) as worklist:
        lines = lists.export_list(worklist, form, file)
    console.print_line(f"{file}: {lines} lines")


def copy_command(
    dataset: DatasetArgument,
    url: Annotated[str, typer.Argument(help="Address of the database, as its owner.")],
    as_json: console.JsonOption = False,
) -> None:
    """Carry worklist.sqlite to a server with all states and the whole history; the file stays as it is. Nobody may be reviewing.

    Example: atlas worklist copy data/hospital "postgresql://owner@server.example/atlas?sslmode=verify-full"
    """
    tasks, events = copy_to_server(dataset, url)
    if as_json:
        console.print_json({"tasks": tasks, "events": events})
    else:
        console.print_line(f"{tasks} tasks and {events} events were copied. Now say in {dataset / FILE} where the list is.")


def init_command(
    url: Annotated[str, typer.Argument(help="Address of the database, as its owner: postgresql://owner@server/atlas?sslmode=verify-full")],
    role: Annotated[str, typer.Option(help="Role of the readers, for the statements that are printed.")] = ROLE,
    as_json: console.JsonOption = False,
) -> None:
    """Make the tables of a shared worklist in a PostgreSQL database, or bring them up to date, and print the rights of readers.

    Example: atlas worklist init "postgresql://owner@server.example/atlas?sslmode=verify-full"
    """
    from AtlasReviewLib.worklist_migrate import VERSION
    from AtlasReviewLib.worklist_postgres import grants, initialize

    address = checked_url(url, "the address")
    before, statements = initialize(address), grants(address, role)
    if as_json:
        console.print_json({"version_before": before, "version": VERSION, "grants": statements})
        return
    done = "was made" if before == 0 else "is up to date" if before == VERSION else f"was brought from version {before} to {VERSION}"
    console.print_line(f"-- The worklist {done}. Give readers these rights, and no others:")
    for statement in statements:
        console.print_line(statement)
