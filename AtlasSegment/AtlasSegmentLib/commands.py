"""The commands of AtlasSegment: segment, export, resample, info."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasSegmentLib import commands_phantom, commands_train, console
from AtlasSegmentLib.case_folder import CaseFolder, find_cases, new_case, open_case
from AtlasSegmentLib.case_info import describe_case, describe_grid
from AtlasSegmentLib.case_parts import parse_part
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.commands_export import export_command
from AtlasSegmentLib.commands_merge import merge_command
from AtlasSegmentLib.commands_model import model_app
from AtlasSegmentLib.commands_predict import add_to as add_predict
from AtlasSegmentLib.commands_repair import repair_command
from AtlasSegmentLib.commands_resample import resample_command
from AtlasSegmentLib.datalist import read_datalist
from AtlasSegmentLib.devices import DEVICES, device_of
from AtlasSegmentLib.dicom_info import describe_dicom
from AtlasSegmentLib.errors import AtlasError, InputError, ModelError
from AtlasSegmentLib.inference_settings import PRESETS, settings_for
from AtlasSegmentLib.mc_dropout import DropoutPasses
from AtlasSegmentLib.model_kinds import describe_model, kind_of
from AtlasSegmentLib.model_manifest import FILE, read_manifest
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, read_region, segment_briefly
from AtlasSegmentLib.starter_models import named_models
from AtlasSegmentLib.volume_io import read_volume, strip_suffix

# readable=False here and below: what cannot be read is said by our own readers, in one line and with the next step.
ModelOption = Annotated[
    list[Path],
    typer.Option(
        "--model",
        readable=False,
        callback=named_models,
        help="Model folder (with model.json), or the name of a starter model; give it several times for several models.",
    ),
]
RoiOption = Annotated[str | None, typer.Option("--roi", help='Slicer markups ROI file (.mrk.json), or "whole" for the whole image.')]
SeriesOption = Annotated[str | None, typer.Option(help="SeriesInstanceUID (or its end) when a DICOM folder holds several.")]
OriginalOption = Annotated[
    Path | None, typer.Option(readable=False, help="Labels that came with the dataset, in its own values, on the CT's grid.")
]
AllOrgansOption = Annotated[bool, typer.Option("--all-organs", help="Attention for every organ, not only AbdomenAtlas' nine targets.")]
CaseOption = Annotated[str | None, typer.Option("--case", help="Name of the case; by default that of the CT file.")]
DeviceOption = Annotated[str, typer.Option(help=f"Where the models run: {', '.join(DEVICES)}.")]
PresetOption = Annotated[str, typer.Option(help=f"What the prediction may cost: {', '.join(PRESETS)}.")]
StepOption = Annotated[
    float | None, typer.Option(help="Distance of sliding windows as a share of the window, such as 0.5; by default the preset's.")
]
MirrorOption = Annotated[bool | None, typer.Option("--mirror/--no-mirror", help="Average over mirror images; by default the preset's.")]
NoPostprocessOption = Annotated[bool, typer.Option("--no-postprocess", help="Keep the masks as the models give them.")]

DropoutPassesOption = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", help="Predict N more times with dropout, and write MC-dropout maps beside the entropy maps; 0 is off."
    ),
]
DropoutSeedOption = Annotated[int, typer.Option(min=0, help="Of the random numbers of --dropout-passes: the same seed, the same maps.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.command("segment")(segment_command)
    app.command("export")(export_command)
    app.command("resample")(resample_command)
    app.command("merge")(merge_command)
    app.command("repair")(repair_command)
    app.command("info")(info_command)
    app.add_typer(model_app(), name="model")
    add_predict(app)
    commands_phantom.add_to(app)
    commands_train.add_to(app)


_NO_NAMES = {"dicom", "dcm", "ct", "image", "images", "imaging", "series", "scan", "dicomdir"}


def case_name_of(source: Path, wanted: str | None) -> str:
    """Return the name of a new case: as wanted, else that of the CT's file or DICOM folder, or of the folder above what all call alike."""
    path = source.absolute()  # of the link, where it is one: stores name their files by hash
    names = [strip_suffix(path.name), *(part.name for part in list(path.parents)[:2] if part.name)]
    return wanted or next((name for name in names if name.casefold() not in _NO_NAMES), names[0])


def is_case(path: Path) -> bool:
    """Tell whether a path is a case folder rather than an image."""
    try:
        open_case(path)
    except AtlasError:
        return False
    return True


def segment_command(
    ct: Annotated[
        list[Path] | None, typer.Argument(readable=False, help="CTs (files or DICOM folders), case folders, or dataset folders.")
    ] = None,
    model: ModelOption = [],  # noqa: B006 - typer reads the default, nobody changes it
    out: Annotated[Path | None, typer.Option(readable=False, help="Dataset folder for new cases.")] = None,
    case: CaseOption = None,
    roi: RoiOption = None,
    datalist: Annotated[
        Path | None, typer.Option("--list", readable=False, help="Dataset list: one image a line, relative to --data-root.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(readable=False, help="Folder that the list's paths start from.")] = None,
    original: OriginalOption = None,
    series: SeriesOption = None,
    all_organs: AllOrgansOption = False,
    no_postprocess: NoPostprocessOption = False,
    dropout_passes: DropoutPassesOption = 0,
    dropout_seed: DropoutSeedOption = 0,
    device: DeviceOption = DEVICES[0],
    preset: PresetOption = "balanced",
    step: StepOption = None,
    mirror: MirrorOption = None,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    part: console.PartOption = None,
    overlap: console.OverlapOption = True,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Predict organ masks, soft predictions and entropies with one or several models.

    Example: atlas segment scan.nii.gz --model models/a --model models/b --roi abdomen.mrk.json --out data/hospital
    """
    settings = settings_for(preset, step=step, mirror=mirror)
    options = SegmentOptions(read_region(roi), all_organs, not no_postprocess, force, settings, DropoutPasses(dropout_passes, dropout_seed))
    targets = _listed(datalist, data_root, out) if datalist else _targets(ct or [], out, case)
    if not model:
        message = "No model given."
        raise InputError(message, f"Add --model FOLDER (a folder with {FILE}), once for each model.")
    if original is not None and len(targets) != 1:
        message = f"--original belongs to one CT, and {len(targets)} cases are named."
        raise InputError(message, "Segment that case alone, or name labels in a --list.")
    if part is not None:
        targets = parse_part(part).of(targets, _target_key)
    requests = [
        SegmentRequest(folder, source, tuple(model), options, original or label, series, device=device_of(device))
        for folder, source, label in targets
    ]
    run = partial(run_cases, jobs=jobs, scheduler=scheduler, overlap=overlap, gpu=device != "cpu")
    with console.progress_bar("segment") as progress:
        outcomes = run(requests, segment_briefly, _request_name, progress=progress)
    console.finish("segment", outcomes, as_json)


def _request_name(request: SegmentRequest) -> str:
    return request.case.name


Target = tuple[CaseFolder, Path, Path | None]


def _target_key(target: Target) -> str:
    return str(target[0].folder)


def _targets(paths: list[Path], out: Path | None, name: str | None) -> list[Target]:
    """Return (case, CT, label) for what was named: images become cases below `out`, case and dataset folders stay where they are."""
    if not paths:
        message = "No CT given."
        raise InputError(message, "Name a CT file, a DICOM folder, a case folder or a dataset folder, or give --list.")
    if name is not None and len(paths) != 1:
        message = f"--case {name!r} names one case, and {len(paths)} images are given."
        raise InputError(message, "Give one CT at a time with --case.")
    if out is None:
        image = next((path for path in paths if path.is_file()), None)
        if image is not None:
            message = f"{image}: is an image, and no folder for its case is given."
            raise InputError(message, "Add --out DATASET_FOLDER; the case goes to <out>/<case>.")
        return [(case, case.ct, None) for case in find_cases(paths)]
    targets: list[Target] = [(new_case(out, case_name_of(path, name)), path, None) for path in paths]
    if len({case.folder for case, _, _ in targets}) < len(targets):
        message = "Two of the CTs have the same file name, so they would become one case."
        raise InputError(message, "Segment them one at a time with --case NAME.")
    return targets


def _listed(datalist: Path, data_root: Path | None, out: Path | None) -> list[Target]:
    if data_root is None or out is None:
        message = f"{datalist}: a list needs --data-root (where its paths start) and --out."
        raise InputError(message, "Add both; cases go to <out>/<dataset>/<case>.")
    return [(new_case(out / entry.dataset, entry.name), entry.image, entry.label) for entry in read_datalist(datalist, data_root)]


def info_command(
    path: Annotated[list[Path], typer.Argument(readable=False, help="Case folders, dataset folders, model folders or images.")],
    jobs: console.JobsOption = 1,
    as_json: console.JsonOption = False,
) -> None:
    """Tell what is in a case, dataset, model or image, and what is missing.

    Example: atlas info data/hospital
    """
    with console.progress_bar("info") as progress:
        found = [item for one in path for item in _describe(one, jobs, progress)]
    if as_json:
        console.print_json({"items": found})
        return
    for item in found:
        _print_item(item)


def _describe(path: Path, jobs: int, progress: ProgressCallback) -> list[dict[str, Any]]:
    if (path / FILE).is_file():
        spec = read_manifest(path)
        needs = "a region of interest" if spec.needs_roi else "nothing beside the CT"
        return [{"model": spec.name, "title": spec.title, "license": spec.license, "organs": spec.table.names(), "needs": needs}]
    if path.is_dir() and not is_case(path) and kind_of(path) not in {"unknown", "atlas"}:
        return [_describe_model(path)]
    if (path.is_file() or (path.is_dir() and not is_case(path) and not _has_cases(path))) and (dicom := describe_dicom(path)):
        return dicom
    if path.is_file() or (path.is_dir() and not is_case(path) and not _has_cases(path)):
        volume = read_volume(path)
        values = {"min": float(volume.array.min()), "max": float(volume.array.max()), "dtype": str(volume.array.dtype)}
        return [{"image": str(path), **describe_grid(volume.grid), **values}]
    outcomes = run_cases(find_cases([path]), _describe_one, _case_name, jobs=jobs, progress=progress)
    return [outcome.result or {"case": outcome.name, "missing": [outcome.error]} for outcome in outcomes]


def _describe_model(path: Path) -> dict[str, Any]:
    facts = describe_model(path)
    if facts.problem:
        raise ModelError(facts.problem, facts.remedy)
    needs = "a region of interest" if facts.needs_roi else "nothing beside the CT"
    return {"model": facts.name, "title": facts.title, "license": facts.license, "organs": list(facts.organs), "needs": needs}


def _describe_one(case: CaseFolder, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    progress(0.0, "read")
    return describe_case(case)


def _case_name(case: CaseFolder) -> str:
    return case.name


def _has_cases(path: Path) -> bool:
    try:
        return bool(find_cases([path]))
    except AtlasError:
        return False


def _print_item(item: dict[str, Any]) -> None:
    title = item.get("case") or item.get("model") or item.get("image") or ""
    rows = []
    for key, value in item.items():
        if isinstance(value, dict) and key == "models":
            shown = "; ".join(f"{name} ({len(model['organs'])} organs)" for name, model in value.items()) or "none"
        elif isinstance(value, dict):
            shown = ", ".join(f"{k} {v}" for k, v in value.items())
        else:
            shown = (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
        rows.append((key, shown))
    console.print_table(str(title), ("what", "value"), rows)
