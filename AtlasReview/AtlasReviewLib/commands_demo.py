"""The command that shows the whole job on one CT: nothing needs to be given."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasReviewLib.demo_correction import Correction, correct_worst
from AtlasReviewLib.run_case import AGREEMENT_NOTE, CASES, RunRequest, rank, run_case
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import new_case
from AtlasSegmentLib.commands import DeviceOption, ModelOption, RoiOption, case_name_of
from AtlasSegmentLib.devices import DEVICES, device_of
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.labels import table_names
from AtlasSegmentLib.progress import part_of
from AtlasSegmentLib.sample_data import CHOICES, Sample, sample_ct, sample_folder
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, read_region
from AtlasSegmentLib.starter_models import starter_models
from AtlasSegmentLib.volume_io import read_volume

_REPORT = "report.html"
_EXACT = "The reference is what the phantom was drawn from: exact labels."
_SHARES = (0.15, 0.7, 0.72)
"""Of the progress: after the sample, the first run, and the correction."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("demo")(demo_command)


def demo_command(
    ct: Annotated[Path | None, typer.Option(readable=False, help="A CT of your own, in any format.")] = None,
    model: ModelOption = [],  # noqa: B006 - typer reads the default, nobody changes it
    roi: RoiOption = None,
    out: Annotated[Path, typer.Option(readable=False, help="Folder for cases/, assembled/ and the report.")] = Path("atlas-demo"),
    reference: Annotated[Path | None, typer.Option(readable=False, help="Reference label map on the CT's grid.")] = None,
    table: Annotated[str | None, typer.Option(help=f"Label table of the reference: {', '.join(table_names())}.")] = None,
    sample: Annotated[str, typer.Option(help=f"The CT where none is given: {', '.join(CHOICES)}.")] = CHOICES[0],
    device: DeviceOption = DEVICES[0],
    open_report: Annotated[bool, typer.Option("--open", help="Show the report in the browser.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Show the whole job: a CT, three models, their average, where it is probably wrong, one correction, assembly, a report.

    Without arguments a CT from Slicer's sample data is taken where the network allows, else a phantom; the three starter models come
    along. The correction is simulated and recorded as such. Everything is for demonstration only, not for clinical use.

    Example: atlas demo
    """
    choice = next((known for known in CHOICES if known == sample), None)
    if choice is None:
        message = f"--sample {sample!r} is not known."
        raise InputError(message, f"Use one of {', '.join(CHOICES)}.")
    models = tuple(model) or starter_models()
    with console.progress_bar("demo") as progress:
        given = Sample(ct, str(ct), reference) if ct is not None else sample_ct(sample_folder(), choice, part_of(progress, 0, _SHARES[0]))
        options = SegmentOptions(read_region(roi), all_entropies=True)  # attention for lungs and vertebrae, too
        case = new_case(out / CASES, case_name_of(given.ct, None if ct is not None else _name(given)))
        segment = SegmentRequest(case, given.ct, models, options, device=device_of(device))
        note = AGREEMENT_NOTE if ct is not None else _EXACT
        request = RunRequest(segment, out, out / _REPORT, reference=given.reference, table=table, reference_note=note)
        run_case(request, part_of(progress, _SHARES[0], _SHARES[1]))
        correction = _corrected(request)
        result = run_case(replace(request, notes=_notes(given, correction)), part_of(progress, _SHARES[2], 1.0))
        rank(out / CASES)
    if as_json:
        console.print_json({"ct": given.title, **result, "correction": None if correction is None else _facts(correction)})
    else:
        _tell(given, result, correction)
    if open_report:
        typer.launch(str(out / _REPORT))


def _name(sample: Sample) -> str:
    """Return the name of the case: that of the sample's file, or of its folder where the file is called ct."""
    stem = sample.ct.name.split(".")[0]
    return sample.ct.parent.name if stem == "ct" else stem


def _corrected(request: RunRequest) -> Correction | None:
    case = request.segment.case
    grid = read_volume(case.ct).grid
    reference = None if request.reference is None else read_stated_labels(request.reference, request.table, grid)
    return correct_worst(case, reference)


def _notes(sample: Sample, correction: Correction | None) -> tuple[str, ...]:
    """Return what the report says at its top: what this is, and what nobody looked at."""
    about = f"A demonstration of the whole job. The CT is {sample.title}."
    if correction is None:
        return (about, "No correction was simulated in this run; those of an earlier run are in the table of revisions.")
    return (about, f"One correction was simulated, nobody looked at it: {_told(correction)}. Its place is still among the hot spots.")


def _told(correction: Correction) -> str:
    spot = correction.spot
    place = f"{spot.organ}, {spot.place}" if spot.place else spot.organ
    change = (
        "" if math.isnan(correction.before) else f"; Dice of the {spot.organ} {correction.before:.3f} before, {correction.after:.3f} after"
    )
    return f"{place}, {correction.voxels} voxels as in {correction.source}{change}"


def _facts(correction: Correction) -> dict[str, Any]:
    place = correction.spot.place
    return {"organ": correction.spot.organ, "place": place, "source": correction.source, "voxels": correction.voxels}


def _tell(sample: Sample, result: dict[str, Any], correction: Correction | None) -> None:
    console.print_line(f"CT: {sample.title}")
    scores = sorted(result["organs"].items(), key=lambda item: -item[1]["heat_sum"])
    rows = [(organ, s["attention_mm3"] / 1000, s["expected_error_mm3"] / 1000, s["minutes_to_correct"]) for organ, s in scores]
    console.print_table("Where to look first (most attention first)", ("organ", "attention ml", "expected error ml", "minutes"), rows)
    if correction is None:
        console.print_line("no correction was simulated: nothing is marked, or the worst place was corrected before")
    else:
        console.print_line(f"simulated correction: {_told(correction)}")
    for key in ("case", "assembled", "report"):
        console.print_line(f"{key}: {Path(result[key]).absolute()}")
    console.print_line("For demonstration only, not for clinical use.")
