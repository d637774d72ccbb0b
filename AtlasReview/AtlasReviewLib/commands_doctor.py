"""The command that looks for what does not fit together in a dataset, and mends what can be mended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from AtlasReviewLib.doctor import Finding, examine
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_place import place_of
from AtlasReviewLib.worklist_rows import Event, Task
from AtlasReviewLib.worklist_rules import Rules
from AtlasSegmentLib import console
from AtlasSegmentLib.errors import AtlasError


def doctor_command(
    dataset: Annotated[Path, typer.Argument(readable=False, help="Dataset folder.")],
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended without losing anything.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Look for what kills, full disks and other programs left: revisions, logs, worklist and its history. Changes nothing by itself.

    Exit code 1 when something is found that is not mended.

    Example: atlas doctor data/hospital --repair
    """
    findings = findings_of(dataset)
    mended = [finding for finding in findings if repair and finding.repair is not None and _mend(finding)]
    left = findings_of(dataset) if mended else findings
    if as_json:
        shown = [
            {"kind": one.kind, "where": one.where, "text": one.text, "remedy": one.remedy, "repairable": bool(one.repair)} for one in left
        ]
        console.print_json({"findings": shown, "mended": len(mended)})
    else:
        _print(left, mended)
    if left:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def findings_of(dataset: Path) -> list[Finding]:
    """Return what does not fit together in a dataset folder and its worklist; nothing is changed. Raises as `Worklist`."""
    tasks: list[Task] = []
    events: list[Event] = []
    rules = Rules()
    if place_of(dataset).exists:
        worklist = Worklist(dataset, read_only=True)
        try:
            tasks, events, rules = worklist.every_task(), worklist.events(), worklist.rules()
        finally:
            worklist.close()
    return list(examine(dataset, tasks, events, rules))


def _mend(finding: Finding) -> bool:
    assert finding.repair is not None
    try:
        finding.repair()
    except AtlasError as error:
        console.print_error(f"{finding.where}: {error.message}", error.remedy)
        return False
    return True


def _print(left: list[Finding], mended: list[Finding]) -> None:
    for finding in mended:
        console.print_line(f"mended: {finding.where}: {finding.kind}")
    for finding in left:
        console.print_line(f"{finding.where}: {finding.kind}")
        console.print_line(f"    {finding.text} {finding.remedy}{' (--repair does it)' if finding.repair else ''}")
    repairable = sum(finding.repair is not None for finding in left)
    console.print_line(
        f"{len(left)} finding{'s' if len(left) != 1 else ''}, {repairable} of them can be repaired." if left else "Everything fits."
    )
