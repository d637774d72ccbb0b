"""The command that compares a segmentation with a reference, organ by organ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from AtlasQualityLib.comparison import COLUMNS, compare, write_comparison
from AtlasQualityLib.mask_set import MaskSet, masks_of_case, masks_of_labels
from AtlasSegmentLib import console
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import GeometryError
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.labels import table_names
from AtlasSegmentLib.volume import Grid

_TABLES = ", ".join(table_names())
TableOption = Annotated[
    str | None,
    typer.Option(help=f"Table of the reference: {_TABLES}, or a JSON file. Default: the one beside it, or AbdomenAtlas'."),
]


def compare_command(
    segmentation: Annotated[Path, typer.Argument(readable=False, help="Case folder (its average is compared) or label map.")],
    reference: Annotated[Path, typer.Option(readable=False, help="Reference on the same grid: a label map, a DICOM SEG or an RTSTRUCT.")],
    table: TableOption = None,
    own_table: Annotated[str | None, typer.Option(help="Label table of the segmentation, when it is a label map; as --table.")] = None,
    model: Annotated[str | None, typer.Option(help="Compare the masks of this model of the case in place of the average.")] = None,
    resample: Annotated[bool, typer.Option("--resample", help="Bring a reference on another grid here, nearest voxel.")] = False,
    out: Annotated[Path | None, typer.Option(readable=False, help="Also write the table as CSV.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Compare with a reference: Dice, surface Dice (NSD) at 1 and 2 mm, HD95, ASSD and volumes of each organ.

    Example: atlas compare data/hospital/scan --reference truth.nii.gz --table totalsegmentator_v2 --out scores.csv
    """
    masks = _masks(segmentation, own_table, model)
    truth = _reference(reference, table, masks.grid, resample=resample)
    with console.progress_bar("compare") as progress:
        rows = compare(masks, truth.resampled(masks.grid) if resample else truth, progress)
    cells = [row.to_json() for row in rows]
    if out is not None:
        write_comparison(out, cells)
    if as_json:
        finite = [{k: str(v) if v == float("inf") else v for k, v in cell.items()} for cell in cells]
        console.print_json({"organs": finite, "resampled": resample})
        return
    shown = [tuple(cell[name] if cell[name] is not None else "" for name in COLUMNS) for cell in cells]
    console.print_table(f"{masks.name} against {truth.name}", COLUMNS, shown)
    if out is not None:
        console.print_line(f"wrote {out}")


def _reference(path: Path, table: str | None, grid: Grid, *, resample: bool) -> MaskSet:
    """Read a reference; a DICOM object is read onto the grid where it lies on it."""
    try:
        return masks_of_labels(read_stated_labels(path, table, grid))
    except GeometryError:
        if not resample:
            raise
    return masks_of_labels(read_stated_labels(path, table))


def _masks(path: Path, table: str | None, model: str | None) -> MaskSet:
    if path.is_dir():
        return masks_of_case(open_case(path), model or "")
    return masks_of_labels(read_stated_labels(path, table))
