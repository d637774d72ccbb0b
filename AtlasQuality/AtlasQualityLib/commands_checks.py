"""The command that looks for implausible masks before people do: atlas check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from AtlasQualityLib.checks import check_plainly
from AtlasQualityLib.checks_finding import ERROR, SEVERITIES, Finding, Severity, findings_csv, sorted_findings
from AtlasQualityLib.checks_rules import CheckOptions
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import CaseFolder, find_cases
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.files import write_text

_SHOWN = 200


def add_to(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("check")(check_command)


def check_command(
    path: Annotated[list[Path], typer.Argument(readable=False, help="Case folders, or dataset folders for all their cases.")],
    out: Annotated[Path | None, typer.Option(readable=False, help="Also write the findings to this CSV file.")] = None,
    model: Annotated[str, typer.Option(help="Check the masks of this model instead of the ones that count.")] = "",
    speck_ml: Annotated[float, typer.Option("--speck-ml", min=0.0, help="Ignore components and holes below this volume.")] = 0.5,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Find implausible masks: wrong grid, empty, twice, wrong side, volume, HU, too many pieces, holes. Exit code 1 when there are errors.

    Example: atlas check data/hospital --out findings.csv
    """
    step = partial(check_plainly, options=CheckOptions(speck_ml, model))
    with console.progress_bar("check") as progress:
        outcomes = run_cases(find_cases(path), step, _name, jobs=jobs, scheduler=scheduler, progress=progress)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    plain = [finding for outcome in outcomes for finding in outcome.result.get("findings", [])]
    findings = sorted_findings(Finding.from_plain(finding) for finding in plain)
    if out is not None:
        write_text(out, findings_csv(findings))
    counts = Counter(finding.severity for finding in findings)
    if as_json:
        kinds = {severity: counts[severity] for severity in SEVERITIES}
        failures = [{"case": o.name, "error": o.error, "remedy": o.remedy} for o in failed]
        console.print_json({"cases": len(outcomes), **kinds, "failed": failures, "findings": [vars(finding) for finding in findings]})
    else:
        _print(findings, len(outcomes), counts, out)
    for outcome in failed:
        console.print_error(outcome.error, outcome.remedy)
    if failed and len(failed) == len(outcomes):
        raise typer.Exit(console.EXIT_ERROR)
    if failed or counts[ERROR]:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _name(case: CaseFolder) -> str:
    return case.name


def _print(findings: list[Finding], cases: int, counts: Mapping[Severity, int], out: Path | None) -> None:
    rows = [(f.severity, f.case, f.organ or "-", f.kind, _place(f), f"{f.message} {f.remedy}") for f in findings[:_SHOWN]]
    if rows:
        console.print_table("Findings", ("severity", "case", "organ", "kind", "at (mm)", "what"), rows)
    if len(findings) > _SHOWN:
        console.print_line(f"... and {len(findings) - _SHOWN} more; --out FILE writes all of them")
    listed = ", ".join(f"{counts[severity]} {severity}s" for severity in SEVERITIES)
    console.print_line(f"check: {cases} cases, {listed}")
    if out is not None:
        console.print_line(f"wrote {out}")


def _place(finding: Finding) -> str:
    """Return the place as right or left, anterior or posterior, superior or inferior: a sign would be read as another convention's."""
    if finding.place is None:
        return ""
    sides = zip(finding.place, (("R", "L"), ("A", "P"), ("S", "I")), strict=True)
    return " ".join(f"{above if mm >= 0 else below} {abs(mm):.0f}" for mm, (above, below) in sides)
