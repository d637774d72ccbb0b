"""The command `atlas export`: a case, a label map or a DICOM segmentation as label map, masks, DICOM SEG or RTSTRUCT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.dicom_record import recorded_slices
from AtlasSegmentLib.dicom_seg import SegDetails
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.export_formats import (
    DICOM_OBJECTS,
    ENDINGS,
    ORGANS,
    OWN_VALUES,
    SEG_NRRD,
    TABLES,
    ExportOutcome,
    ExportRequest,
    export_organs,
    with_ending,
)
from AtlasSegmentLib.export_organs import Organ
from AtlasSegmentLib.export_source import dicom_slices_of, model_of_case, organs_of_case, organs_of_label_map
from AtlasSegmentLib.volume import Grid

_FORMATS = tuple(kind for kind in ENDINGS if kind != SEG_NRRD)


def export_command(
    source: Annotated[
        Path, typer.Argument(readable=False, help="Case folder, a label map (.nii.gz, .nrrd, .mha), a DICOM SEG or RTSTRUCT.")
    ],
    out: Annotated[Path, typer.Option(readable=False, help="File to write; for --format organs a folder.")],
    kind: Annotated[str, typer.Option("--format", help=f"One of {', '.join(_FORMATS)}.")] = "nifti",
    values: Annotated[str, typer.Option(help=f"Values of a label map: {', '.join(TABLES)}, or another table.")] = OWN_VALUES,
    model: Annotated[str | None, typer.Option(help="Export this model's masks instead of the average and its revisions.")] = None,
    table: Annotated[str | None, typer.Option(help="What the values of the given label map mean: a table, or a JSON file.")] = None,
    dicom: Annotated[
        Path | None, typer.Option(readable=False, help="Folder of the CT's DICOM slices, for dicom-seg and rtstruct, in or out.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Which series of that folder: its number, its UID or the end of it.")] = None,
    accept_losses: Annotated[bool, typer.Option("--accept-losses", help="Write a label map that cannot hold everything.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that are there.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Write the organs of a case, label map or DICOM segmentation as one label map, one mask an organ, DICOM SEG or RTSTRUCT.

    Example: atlas export data/hospital/scan --format dicom-seg --dicom scan-dicom --out scan_seg.dcm
    """
    if kind not in _FORMATS:
        message = f"There is no export format {kind!r}."
        raise InputError(message, f"Use one of {', '.join(_FORMATS)}.")
    slices = _slices(source, dicom, series) if kind in DICOM_OBJECTS else []
    organs, grid, details = _organs(source, model, table, dicom, series)
    path = out if kind == ORGANS else with_ending(out, kind)
    request = ExportRequest(kind, path, values, replace, accept_losses, str(source), tuple(slices), details)
    with console.progress_bar("export") as progress:
        outcome = export_organs(organs, grid, request, progress)
    _report(outcome, as_json)


def _slices(source: Path, dicom: Path | None, series: str | None) -> list[Path]:
    found = dicom_slices_of(dicom, series) if dicom is not None else recorded_slices(source)
    if not found:
        message = "A DICOM segmentation refers to the CT's DICOM slices."
        raise InputError(message, "Add --dicom FOLDER with the slices that the CT was read from.")
    return found


def _organs(
    source: Path, model: str | None, table: str | None, dicom: Path | None, series: str | None
) -> tuple[list[Organ], Grid, SegDetails]:
    if source.is_dir():
        case = open_case(source)
        organs, grid = organs_of_case(case, model)
        algorithm, corrected = model_of_case(case, model)
        return organs, grid, SegDetails(case.name, "SEMIAUTOMATIC" if corrected else "AUTOMATIC", algorithm)
    if model is not None:
        message = f"{source}: is a label map, and --model {model} names a model of a case."
        raise InputError(message, "Give the case folder, or leave --model out.")
    organs, grid = organs_of_label_map(source, table, dicom, series)
    return organs, grid, SegDetails(source.name, "SEMIAUTOMATIC")


def _report(outcome: ExportOutcome, as_json: bool) -> None:
    if not outcome.files:
        message = f"The label map cannot hold everything: {' '.join(outcome.remarks)} Nothing was written."
        raise InputError(message, "Add --accept-losses, or use --format organs, which keeps every mask whole.")
    if as_json:
        files = [str(path) for path in outcome.files]
        console.print_json({"files": files, "bytes": outcome.bytes, "organs": outcome.organs, "remarks": list(outcome.remarks)})
        return
    for path in outcome.files:
        console.print_line(f"{path} ({path.stat().st_size} bytes)")
    for remark in outcome.remarks:
        console.print_line(remark)
