"""The commands of AtlasReview: revise, run; and those of its other files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from AtlasReviewLib import commands_demo, commands_release, commands_simulate, revisions
from AtlasReviewLib.assembly_dataset import finish_dataset
from AtlasReviewLib.commands_doctor import doctor_command
from AtlasReviewLib.commands_progress import progress_command
from AtlasReviewLib.commands_revised import import_revised_command
from AtlasReviewLib.commands_rounds import round_command
from AtlasReviewLib.commands_worklist import worklist_app
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.reader_name import checked_reader
from AtlasReviewLib.release_layout import VERSIONS
from AtlasReviewLib.revise_listed import revise_listed
from AtlasReviewLib.run_case import ASSEMBLED, CASES, RunRequest, rank, run_case
from AtlasReviewLib.worklist_asked import reading_of_case
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import CaseFolder, new_case, open_case
from AtlasSegmentLib.cases import CaseOutcome, run_cases, threads_for
from AtlasSegmentLib.commands import (
    AllOrgansOption,
    CaseOption,
    DeviceOption,
    ModelOption,
    NoPostprocessOption,
    OriginalOption,
    PresetOption,
    RoiOption,
    SeriesOption,
    case_name_of,
)
from AtlasSegmentLib.devices import DEVICES, device_of
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.inference_settings import settings_for
from AtlasSegmentLib.labels import table_names
from AtlasSegmentLib.model_manifest import FILE
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, read_region
from AtlasSegmentLib.volume_io import read_volume

VersionOption = Annotated[str, typer.Option("--release", help=f"Layout of the AbdomenAtlas release: {' or '.join(VERSIONS)}.")]
DatasetOption = Annotated[str | None, typer.Option("--dataset-id", help='Dataset that original labels are of, such as "04" (LiTS).')]
OutOption = Annotated[Path, typer.Option(readable=False, help="Folder for cases/, assembled/ and the report.")]
ReferenceOption = Annotated[Path | None, typer.Option(readable=False, help="Reference label map on the CT's grid: report the agreement.")]
TableOption = Annotated[str | None, typer.Option(help=f"Label table of the reference: {', '.join(table_names())}.")]
PREDICTION = "prediction"
REPORT = "report.html"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.command("revise")(revise_command)
    app.command("import-revised")(import_revised_command)
    app.command("run")(run_command)
    app.command("progress")(progress_command)
    app.command("round")(round_command)
    app.command("doctor")(doctor_command)
    app.add_typer(worklist_app(), name="worklist")
    for commands in (commands_demo, commands_release, commands_simulate):
        commands.add_to(app)


def revise_command(
    case: Annotated[Path, typer.Argument(readable=False, help="Case folder.")],
    organ: Annotated[str, typer.Argument(help="Organ, such as liver.")],
    mask: Annotated[Path | None, typer.Option(readable=False, help="Corrected mask (0/1) on the grid of the case, any format.")] = None,
    reader: Annotated[str, typer.Option(help="Who made it.")] = "",
    comment: Annotated[str, typer.Option(help="A note for the log.")] = "",
    roll_back: Annotated[str | None, typer.Option(help=f'Id of a revision to make current again, or "{PREDICTION}".')] = None,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Take an empty mask although the organ is not empty now.")] = False,
    reading: Annotated[
        int | None, typer.Option(min=1, max=2, help="2 for the second reading of a task that two readers do; the one you have by default.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Save a corrected mask, or go back to an older one, and show the history; nothing is ever overwritten or lost.

    Where the dataset has a worklist, the task must be free or yours, and the list is told; reopen a decided one first.

    Example: atlas revise data/hospital/scan liver --mask liver.nii.gz --reader "Dr. Ada"
    """
    reading = reading or reading_of_case(open_case(case), organ, reader)
    folder = reading_case(open_case(case), reading)
    if mask is not None and roll_back is not None:
        message = "--mask and --roll-back cannot be done at once."
        raise InputError(message, "Give one of them.")
    if mask is None and roll_back is None and (reader or comment):
        message = "There is nothing to save."
        raise InputError(message, "Add --mask FILE or --roll-back ID, or leave out --reader and --comment to see the history.")
    if (mask is not None or roll_back is not None) and not reader:
        message = "A revision needs the name of its reader."
        raise InputError(message, "Add --reader NAME.")
    reader = checked_reader(reader) if reader else ""

    def save() -> None:
        if mask is not None:
            revisions.save_revision(folder, organ, read_volume(mask), reader, comment=comment, allow_empty=allow_empty)
        elif roll_back is not None:
            revisions.roll_back(folder, organ, None if roll_back == PREDICTION else roll_back, reader, comment=comment)

    sees_all = True
    with console.progress_bar("revise") as progress:
        progress(0.1, "read")
        if reader:
            sees_all = revise_listed(folder, organ, reader, reading, comment, save)
    _print_history(folder, organ, as_json, "" if sees_all else reader)


def _print_history(case: CaseFolder, organ: str, as_json: bool, only: str = "") -> None:
    found = [revision for revision in revisions.history(case, organ) if only in ("", revision.reader)]
    if as_json:
        console.print_json({"case": str(case.folder), "organ": organ, "revisions": [{**vars(r), "file": str(r.file)} for r in found]})
        return
    rows = [("*" if r.is_current else "", r.id, r.reader, str(r.voxels if r.voxels is not None else "?"), r.comment) for r in found]
    rows.append(("" if any(r.is_current for r in found) else "*", PREDICTION, "models", "", ""))
    console.print_table(f"{case.name}: {organ} (* is current)", ("", "id", "reader", "voxels", "comment"), rows)


def run_command(
    ct: Annotated[list[Path], typer.Argument(readable=False, help="CTs: files in any format, or DICOM folders.")],
    out: OutOption,
    model: ModelOption = [],  # noqa: B006 - typer reads the default, nobody changes it
    case: CaseOption = None,
    roi: RoiOption = None,
    original: OriginalOption = None,
    dataset_id: DatasetOption = None,
    series: SeriesOption = None,
    all_organs: AllOrgansOption = False,
    no_postprocess: NoPostprocessOption = False,
    device: DeviceOption = DEVICES[0],
    preset: PresetOption = "balanced",
    release: VersionOption = VERSIONS[-1],
    reference: ReferenceOption = None,
    table: TableOption = None,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Do it all: segment with every model, average, attention, priority, assemble, report.

    Example: atlas run scan.nii.gz --model models/a --model models/b --roi abdomen.mrk.json --out results
    """
    if not model:
        message = "No model given."
        raise InputError(message, f"Add --model FOLDER (a folder with {FILE}), once for each model.")
    if len(ct) > 1 and (case or original or reference):
        message = f"--case, --original and --reference belong to one CT, and {len(ct)} are given."
        raise InputError(message, "Run those CTs one at a time.")
    options = SegmentOptions(read_region(roi), all_organs, not no_postprocess, force, settings_for(preset))
    threads = threads_for(jobs) if jobs > 1 and len(ct) > 1 else 0
    folders = [new_case(out / CASES, case_name_of(path, case)) for path in ct]
    segments = [
        SegmentRequest(folder, path, tuple(model), options, original, series, threads, dataset_id, device_of(device))
        for folder, path in zip(folders, ct, strict=True)
    ]
    reports = [out / (REPORT if len(ct) == 1 else f"reports/{segment.case.name}.html") for segment in segments]
    requests = [RunRequest(s, out, report, release, dataset_id, reference, table) for s, report in zip(segments, reports, strict=True)]
    if len({request.segment.case.folder for request in requests}) < len(requests):
        message = "Two of the CTs have the same file name, so they would become one case."
        raise InputError(message, "Run them one at a time with --case NAME.")
    with console.progress_bar("run") as progress:
        outcomes = run_cases(requests, run_case, _request_name, jobs=jobs, scheduler=scheduler, progress=progress)
    if any(outcome.state != "failed" for outcome in outcomes):
        rank(out / CASES)
        finish_dataset(out / ASSEMBLED, [request.segment.case for request in requests])
    if not as_json:
        _print_runs(outcomes)
    console.finish("run", outcomes, as_json)


def _request_name(request: RunRequest) -> str:
    return request.segment.case.name


def _print_runs(outcomes: list[CaseOutcome]) -> None:
    rows = [
        (o.name, organ, s["attention_mm3"] / 1000, s["expected_error_mm3"] / 1000, s["minutes_to_correct"])
        for o in outcomes
        for organ, s in sorted(o.result.get("organs", {}).items(), key=lambda item: -item[1]["heat_sum"])
    ]
    if rows:
        console.print_table("Where to look first", ("case", "organ", "attention ml", "expected error ml", "minutes"), rows)
    for outcome in outcomes:
        for key in ("case", "assembled", "report"):
            if key in outcome.result:
                console.print_line(f"{key}: {outcome.result[key]}")
