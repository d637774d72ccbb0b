"""The commands of assembled datasets: assemble, release, card, verify."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.assembly_dataset import assembled_cases, finish_dataset, manifests, verdicts_of_dataset
from AtlasReviewLib.assembly_options import AssemblyOptions, read_paint_order
from AtlasReviewLib.assembly_verify import VerifyRequest, sample_of, verify_plainly
from AtlasReviewLib.dataset_card import JSON_NAME as CARD
from AtlasReviewLib.dataset_card import CardOptions, collect_card, unused_licenses, write_card
from AtlasReviewLib.release_dataset import LAYOUTS, ReleaseOptions, release_dataset
from AtlasReviewLib.release_layout import VERSIONS
from AtlasReviewLib.release_sums import NAME as SUMS
from AtlasReviewLib.release_sums import SumsReport, check_sums, write_sums
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import CaseFolder, find_cases
from AtlasSegmentLib.cases import CaseOutcome, run_cases
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

VersionOption = Annotated[str, typer.Option("--release", help=f"Layout of the AbdomenAtlas release: {' or '.join(VERSIONS)}.")]
DatasetOption = Annotated[str | None, typer.Option("--dataset-id", help='Dataset that original labels are of, such as "04" (LiTS).')]
AssembledArgument = Annotated[Path, typer.Argument(readable=False, help="Folder of an assembled dataset.")]
TitleOption = Annotated[str, typer.Option("--name", help="Name of the dataset.")]
AnonymousOption = Annotated[bool, typer.Option("--anonymous-readers", help='Write "reader 1", ... instead of names.')]
LicenseOption = Annotated[
    list[str],
    typer.Option("--license", metavar="PART=LICENSE", help='"dataset=...", "ct=...", "original 04=..." or "model NAME=..."; repeat it.'),
]
_TITLE = "Atlas Annotator dataset"
_SHOWN = 100


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("assemble")(assemble_command)
    app.command("release")(release_command)
    app.command("card")(card_command)
    app.command("verify")(verify_command)


@dataclass(frozen=True)
class AssemblyRequest:
    """One case and what decides its assembly; small, as it travels to workers."""

    case: CaseFolder
    out: Path
    release: str
    dataset: str | None
    force: bool
    options: AssemblyOptions


def assemble_command(
    path: Annotated[list[Path], typer.Argument(readable=False, help="Case folders, or dataset folders for all their cases.")],
    out: Annotated[Path, typer.Option(readable=False, help="Folder of the assembled dataset, outside the sources.")],
    release: VersionOption = VERSIONS[-1],
    dataset_id: DatasetOption = None,
    paint_order: Annotated[
        Path | None,
        typer.Option("--paint-order", readable=False, help="Text file, one organ a line: the last one wins where organs overlap."),
    ] = None,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Assemble cases: original labels, else revisions (by level of the reader), else predictions; conflicts go to conflicts.csv.

    Example: atlas assemble data/hospital --out data/release --release 1.1 --jobs 4
    """
    order = read_paint_order(paint_order) if paint_order is not None else ()
    cases = find_cases(path)
    requests = _requests(cases, AssemblyRequest(cases[0], out, release, dataset_id, force, AssemblyOptions(order)))
    with console.progress_bar("assemble") as progress:
        outcomes = run_cases(requests, assemble_briefly, _case_name, jobs=jobs, scheduler=scheduler, progress=progress)
    done = [case for case, outcome in zip(cases, outcomes, strict=True) if outcome.state != "failed"]
    if done:
        finish_dataset(out, done)
    console.finish("assemble", outcomes, as_json)


def _requests(cases: Sequence[CaseFolder], like: AssemblyRequest) -> list[AssemblyRequest]:
    """Return a request for each case; the worklist of a dataset folder is read once for all of its cases."""
    verdicts = {folder: verdicts_of_dataset(folder) for folder in {case.folder.parent for case in cases}}
    return [
        replace(like, case=case, options=replace(like.options, verdicts=verdicts[case.folder.parent].get(case.name, {}))) for case in cases
    ]


def assemble_briefly(request: AssemblyRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any] | None:
    """Assemble a case as a step of `run_cases`; of the manifest only a summary is returned, so that ten thousand cases take no memory."""
    r = request
    found = assemble_case(r.case, r.out, r.release, dataset=r.dataset, force=r.force, options=r.options, progress=progress)
    if found.skipped:
        return None
    organs = found.manifest["organs"].values()
    return {
        "folder": str(found.folder),
        "sources": dict(Counter(organ["source"] for organ in organs)),
        "conflict_voxels": sum(conflict["voxels"] for conflict in found.manifest["conflicts"]),
        "notes": found.manifest["notes"],
    }


def _case_name(request: AssemblyRequest) -> str:
    return request.case.name


def release_command(
    assembled: AssembledArgument,
    out: Annotated[Path, typer.Option(readable=False, help="Folder of the release, beside the assembled dataset.")],
    layout: Annotated[str, typer.Option(help=f"One of {', '.join(LAYOUTS)}.")] = LAYOUTS[0],
    name: TitleOption = _TITLE,
    prefix: Annotated[str, typer.Option(help="Number the cases with this prefix, such as BDMAP_, instead of keeping names.")] = "",
    link: Annotated[bool, typer.Option("--link", help="Hard links to the assembled files instead of copies: do not edit them.")] = False,
    anonymous_readers: AnonymousOption = False,
    licenses: LicenseOption = [],  # noqa: B006 - typer reads the default, nobody changes it
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Release an assembled dataset as AbdomenAtlas, nnU-Net raw dataset or BIDS derivative, with card and SHA256SUMS.

    Example: atlas release data/assembled --out nnUNet_raw/Dataset501_Atlas --layout nnunet
    """
    options = ReleaseOptions(layout, name, prefix, link, CardOptions(anonymous_readers, parse_licenses(licenses)))
    with console.progress_bar("release") as progress:
        outcomes, summary = release_dataset(assembled, out, options, jobs=jobs, scheduler=scheduler, progress=progress)
    if not as_json and summary["left_out_organs"]:
        console.print_line(f"left out, as not every case has them: {', '.join(summary['left_out_organs'])}")
    if not as_json:
        console.print_line(f"names of the cases before: {summary['names']}")
    _warn_of_unused(read_json(out / CARD), options.card.licenses) if (out / CARD).is_file() else None
    console.finish("release", outcomes, as_json)


def _warn_of_unused(card: Mapping[str, Any], licenses: Mapping[str, str]) -> None:
    for part in unused_licenses(card, licenses):
        console.print_warning(f"--license {part!r}: the dataset has no such part, so that its license is not in the card.")


def card_command(
    assembled: AssembledArgument,
    name: TitleOption = _TITLE,
    anonymous_readers: AnonymousOption = False,
    licenses: LicenseOption = [],  # noqa: B006 - typer reads the default, nobody changes it
    as_json: console.JsonOption = False,
) -> None:
    """Write DATASET_CARD.md, dataset_card.json and SHA256SUMS of an assembled dataset.

    Example: atlas card data/assembled --license "original 04=CC BY-NC-ND 4.0"
    """
    named = parse_licenses(licenses)
    card = collect_card(manifests(assembled_cases(assembled)), CardOptions(anonymous_readers, named))
    _warn_of_unused(card, named)
    paths = [*write_card(assembled, card, name)]
    with console.progress_bar("card") as progress:
        paths.append(write_sums(assembled, progress))
    if as_json:
        console.print_json(card)
        return
    for path in paths:
        console.print_line(f"wrote {path}")


def parse_licenses(texts: Sequence[str]) -> dict[str, str]:
    """Return part to license of "PART=LICENSE" texts. Raises InputError."""
    found = {}
    for text in texts:
        part, separator, name = text.partition("=")
        known = part in {"dataset", "ct"} or part.startswith(("original ", "model "))
        if not separator or not name.strip() or not known:
            message = f"--license {text!r} is not PART=LICENSE."
            raise InputError(message, 'Use "dataset=...", "ct=...", "original 04=..." or "model NAME=...".')
        found[part] = name.strip()
    return found


def verify_command(
    assembled: AssembledArgument,
    sample: Annotated[int, typer.Option(min=0, help="Number of cases to derive again.")] = 10,
    all_cases: Annotated[bool, typer.Option("--all", help="Derive every case again.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same sample.")] = 0,
    sources: Annotated[Path | None, typer.Option(readable=False, help="Where the dataset folder is now, if it was moved.")] = None,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Derive a random sample of assembled cases again from their sources, voxel by voxel, and check SHA256SUMS. Exit 1 on a difference.

    Example: atlas verify data/assembled --sample 20 --seed 7
    """
    chosen = sample_of(assembled_cases(assembled), None if all_cases else sample, seed)
    requests = [VerifyRequest(folder, assembled.resolve(), sources) for folder in chosen]
    with console.progress_bar("verify") as progress:
        outcomes = run_cases(requests, verify_plainly, _folder_name, jobs=jobs, scheduler=scheduler, progress=progress)
        has_sums = (assembled / SUMS).is_file()
        report = check_sums(assembled, progress) if has_sums else SumsReport()
    differences = [found for outcome in outcomes for found in outcome.result.get("differences", [])]
    _print_verified(outcomes, differences, report if has_sums else None, as_json)
    for outcome in outcomes:
        if outcome.state == "failed":
            console.print_error(outcome.error, outcome.remedy)
    if differences or not report.is_whole or any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _folder_name(request: VerifyRequest) -> str:
    return request.folder.folder.name


def _print_verified(outcomes: Sequence[CaseOutcome], differences: list[dict[str, Any]], sums: SumsReport | None, as_json: bool) -> None:
    if as_json:
        names = [outcome.name for outcome in outcomes]
        console.print_json({"cases": names, "differences": differences, "sha256sums": vars(sums) if sums is not None else None})
        return
    rows = [(d["case"], d["file"], d["voxel"] or "-", d["expected"], d["found"], d["message"]) for d in differences[:_SHOWN]]
    if rows:
        console.print_table("Differences", ("case", "file", "voxel", "expected", "found", "what"), rows)
    console.print_line(f"verify: {len(outcomes)} cases derived again, {len(differences)} differences")
    if sums is None:
        console.print_line(f"there is no {SUMS}; write it with: atlas card FOLDER")
        return
    for what, names in (("changed", sums.changed), ("missing", sums.missing), ("not listed", sums.unlisted)):
        for name in names[:_SHOWN]:
            console.print_line(f"{SUMS}: {what}: {name!r}")
    console.print_line(f"{SUMS}: {sums.checked} files are as listed")
