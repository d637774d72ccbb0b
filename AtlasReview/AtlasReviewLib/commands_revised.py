"""The command that takes over masks which somebody revised in another program."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from AtlasReviewLib.commands_worklist_lists import DatasetArgument, UrlOption
from AtlasReviewLib.revised_folder import REFUSED, ImportOptions, Row, import_revised
from AtlasReviewLib.revision_log import neutralized, one_line
from AtlasSegmentLib import console
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_text


def import_revised_command(
    dataset: DatasetArgument,
    folder: Annotated[Path, typer.Argument(readable=False, help="Folder with the revised masks; it is only read.")],
    reader: Annotated[str, typer.Option(help="Who revised them.")],
    comment: Annotated[str, typer.Option(help="A note for the log.")] = "",
    table: Annotated[
        str | None, typer.Option(help="What the values of label maps mean: a table of Atlas, its JSON, or a table of ITK-SNAP or Slicer.")
    ] = None,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Take empty masks of organs that are not empty now.")] = False,
    over: Annotated[bool, typer.Option("--take-over", help="Take tasks that another reader has; the history says so.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    report: Annotated[Path | None, typer.Option("--csv", readable=False, help="Write the rows to this file, too.")] = None,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Take over masks that somebody revised in Slicer or ITK-SNAP: files named CASE_ORGAN.nii.gz, CASE/ORGAN.nii.gz, CASE.seg.nrrd, ...

    Each must lie on the grid of its case. Changed ones become revisions of that reader; exit code 1 when a mask is refused.

    Example: atlas import-revised data/hospital from-ada --reader "Dr. Ada" --dry-run
    """
    if report is not None and report.resolve().is_relative_to(folder.resolve()):
        message = f"{report}: lies in the folder that is only read."
        raise InputError(message, "Write the rows elsewhere.")
    options = ImportOptions(reader, comment, table, allow_empty, over, dry_run, url)
    with console.progress_bar("import-revised") as progress:
        rows = import_revised(dataset, folder, options, progress)
    if report is not None:
        write_text(report, rows_csv(rows))
    counts = Counter(row.state for row in rows)
    if as_json:
        console.print_json({"counts": dict(counts), "rows": [dataclasses.asdict(row) for row in rows]})
    else:
        shown = [(row.file, row.case, row.organ, row.state, "" if row.voxels is None else row.voxels, row.text) for row in rows]
        title = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no file"
        console.print_table(title, ("file", "case", "organ", "", "voxels changed", ""), shown)
    if counts[REFUSED]:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def rows_csv(rows: list[Row]) -> str:
    """Return the rows as CSV; no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(Row)])
    writer.writerows(
        ["" if cell is None else cell if isinstance(cell, int) else neutralized(one_line(cell)) for cell in dataclasses.astuple(row)]
        for row in rows
    )
    return text.getvalue()
