"""Release an assembled dataset in one of three layouts, with its card and SHA256SUMS; the table of names stays beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from AtlasReviewLib import release_bids, release_nnunet
from AtlasReviewLib.assembly_dataset import assembled_cases, manifests
from AtlasReviewLib.dataset_card import CardOptions, collect_card, write_card
from AtlasReviewLib.release_files import PlannedFile, json_text, records_of, remove_others, require_ours, write_case, write_changed
from AtlasReviewLib.release_layout import ReleaseFolder
from AtlasReviewLib.release_names import assign_names, checked_prefix, letters_and_digits, names_csv, plain_identifier, unchanged
from AtlasReviewLib.release_sums import NAME as SUMS
from AtlasReviewLib.release_sums import write_sums
from AtlasSegmentLib.cases import CaseOutcome, run_cases
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.files import read_json, storage_errors
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.run_record import software_versions

ABDOMENATLAS, NNUNET, BIDS = "abdomenatlas", "nnunet", "bids"
LAYOUTS = (ABDOMENATLAS, NNUNET, BIDS)
_RULES: Mapping[str, Callable[[str], str]] = {ABDOMENATLAS: unchanged, NNUNET: plain_identifier, BIDS: letters_and_digits}
_FORMAT = "atlas-release/1"


@dataclass(frozen=True)
class ReleaseOptions:
    """Attributes:
    layout: One of LAYOUTS.
    name: Name of the dataset, for people.
    prefix: Number the cases with this prefix (BDMAP_) instead of keeping their names.
    link: Hard links to the assembled files where possible, instead of copies.
    card: What the card shows.
    """

    layout: str = ABDOMENATLAS
    name: str = "Atlas Annotator dataset"
    prefix: str = ""
    link: bool = False
    card: CardOptions = field(default_factory=CardOptions)


@dataclass(frozen=True)
class ReleaseRequest:
    """One case: the assembled one, its name in the release, and the organs of the dataset (for nnU-Net)."""

    folder: ReleaseFolder
    name: str
    root: Path
    options: ReleaseOptions
    organs: Mapping[str, int]


def release_dataset(
    assembled: Path,
    root: Path,
    options: ReleaseOptions,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: ProgressCallback = ignore_progress,
) -> tuple[list[CaseOutcome], dict[str, Any]]:
    """Write a release; cases that are there and unchanged are skipped, those that are gone are removed.

    Args:
        assembled: Folder of an assembled dataset.
        root: Folder of the release; new, or made by this function before.
        options: Layout and the rest.
        jobs, scheduler: As `run_cases`.

    Returns:
        (outcome of each case, summary). The card and SHA256SUMS are written when no case failed.

    Raises:
        InputError: No such layout, or a folder name or prefix that it does not allow.
        DatasetError: Nothing is assembled, cases of different releases, or the folder holds something else.
    """
    if options.layout not in LAYOUTS:
        message = f"There is no layout {options.layout!r}."
        raise InputError(message, f"Use one of {', '.join(LAYOUTS)}.")
    if options.layout == NNUNET:
        release_nnunet.require_name(root)
    folders = assembled_cases(assembled)
    root = Path(root).resolve()
    known = require_ours(root, assembled, options.layout)
    _require_one_table(folders)
    organs, dropped = _organs(folders) if options.layout == NNUNET else ({}, [])
    prefix = checked_prefix(options.prefix, letters_only=options.layout == BIDS)
    names = assign_names([folder.folder.name for folder in folders], _RULES[options.layout], known, prefix)
    record = {"format": _FORMAT, "layout": options.layout, "names": {**known, **names}}
    write_changed(records_of(root) / "release.json", json_text(record))
    removed = remove_others(root, set(names.values()))
    requests = [ReleaseRequest(folder, names[folder.folder.name], root, options, organs) for folder in folders]
    outcomes = run_cases(requests, release_case, request_name, jobs=jobs, scheduler=scheduler, progress=progress)
    summary = {"layout": options.layout, "folder": str(root), "cases": len(names), "removed": removed, "left_out_organs": dropped}
    summary["names"] = str(records_of(root) / "cases.csv")
    if any(outcome.state == "failed" for outcome in outcomes):
        with storage_errors(root):
            (root / SUMS).unlink(missing_ok=True)  # of an earlier run: it would not be true any longer
    else:
        _finish(root, folders, names, organs, options)
    return outcomes, summary


def request_name(request: ReleaseRequest) -> str:
    """Return the name of a request, for people."""
    return request.folder.folder.name


def release_case(request: ReleaseRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any] | None:
    """Write one case of a release; None when it is there already."""
    progress(0.0, "write")
    files = _files(request, read_json(request.folder.manifest))
    written = write_case(request.root, request.name, request.folder.manifest, files, link=request.options.link)
    return {"name": request.name, "files": len(files)} if written else None


def _files(request: ReleaseRequest, manifest: Mapping[str, Any]) -> list[PlannedFile]:
    folder, name = request.folder, request.name
    if request.options.layout == NNUNET:
        return release_nnunet.case_files(folder, name, request.organs, manifest)
    if request.options.layout == BIDS:
        return release_bids.case_files(folder, name, manifest)
    organs = [safe_name(organ, "organ name") for organ in sorted(manifest["organs"])]
    masks = [PlannedFile(f"{name}/segmentations/{organ}.nii.gz", folder.mask(organ)) for organ in organs]
    return [PlannedFile(f"{name}/ct.nii.gz", folder.ct), PlannedFile(f"{name}/combined_labels.nii.gz", folder.combined), *masks]


def _require_one_table(folders: list[ReleaseFolder]) -> None:
    tables: dict[str, str] = {}
    for manifest in manifests(folders):
        tables.setdefault(str(manifest["parameters"]["label_table"]), str(manifest["name"]))
    if len(tables) > 1:
        listed = ", ".join(f"{table} ({case})" for table, case in sorted(tables.items()))
        message = f"The cases are assembled with different label tables: {listed}."
        raise DatasetError(message, "Assemble all of them with the same --release.")


def _organs(folders: list[ReleaseFolder]) -> tuple[dict[str, int], list[str]]:
    """Return the organs that every case has, with their values, and those that only some have."""
    brief = [{"organs": {name: {"value": organ["value"]} for name, organ in m["organs"].items()}} for m in manifests(folders)]
    shared = release_nnunet.common_organs(brief)
    if not shared:
        message = "There is no organ that every case has, and nnU-Net needs the same labels in all of them."
        raise DatasetError(message, "Segment and assemble all cases with the same models.")
    return shared, sorted({name for manifest in brief for name in manifest["organs"]} - set(shared))


def _finish(root: Path, folders: list[ReleaseFolder], names: Mapping[str, str], organs: Mapping[str, int], options: ReleaseOptions) -> None:
    version = software_versions().get("slicer-atlas-annotator", "source checkout")
    facts = {"name": options.name, "version": version, "license": options.card.licenses.get("dataset", "")}
    if options.layout == NNUNET:
        more = {"name": options.name, "licence": facts["license"] or "see DATASET_CARD.md", "converted_by": "Atlas Annotator"}
        release_nnunet.write_dataset_json(root, organs, len(names), more)
    elif options.layout == BIDS:
        release_bids.write_dataset_files(root, names, facts)
    write_changed(records_of(root) / "cases.csv", names_csv(names))
    write_card(root, collect_card(manifests(folders), options.card), options.name)
    write_sums(root)
