"""The command that compares a segmentation with a reference, organ by organ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasQualityLib.comparison import (
    COLUMNS,
    IN_NEITHER,
    PARTS_COLUMNS,
    PLACE_COLUMNS,
    SURFACE_COLUMNS,
    columns_of,
    compare,
    write_comparison,
)
from AtlasQualityLib.mask_set import MaskSet, masks_of_case, masks_of_labels
from AtlasQualityLib.metrics_detection import OVERLAP
from AtlasQualityLib.metrics_groups import SHORT_COLUMNS, group_agreements, groups_of, read_groups, write_groups
from AtlasQualityLib.surface_metrics import MetricOptions
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
ToleranceOption = Annotated[list[float] | None, typer.Option(help="Also give NSD at this tolerance in mm; can be repeated.")]
GroupsOption = Annotated[
    Path | None,
    typer.Option(readable=False, help='JSON file of groups to summarize, {"name": ["organ", ...]}, beside those of the catalog.'),
]


def compare_command(
    segmentation: Annotated[Path, typer.Argument(readable=False, help="Case folder (its average is compared) or label map.")],
    reference: Annotated[Path, typer.Option(readable=False, help="Reference on the same grid: a label map, a DICOM SEG or an RTSTRUCT.")],
    table: TableOption = None,
    own_table: Annotated[str | None, typer.Option(help="Label table of the segmentation, when it is a label map; as --table.")] = None,
    model: Annotated[str | None, typer.Option(help="Compare the masks of this model of the case in place of the average.")] = None,
    resample: Annotated[bool, typer.Option("--resample", help="Bring a reference on another grid here, nearest voxel.")] = False,
    tolerance: ToleranceOption = None,
    overlap: Annotated[float, typer.Option(help="IoU from which on a connected part counts as found.")] = OVERLAP,
    groups: GroupsOption = None,
    out: Annotated[
        Path | None, typer.Option(readable=False, help="Write all numbers as CSV, and those of groups to NAME_groups.csv.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Print all numbers and the groups, not the short table only.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Organs compared at a time; 0: one for each core, at most four.")] = 0,
    as_json: console.JsonOption = False,
) -> None:
    """Compare with a reference: Dice, surface Dice (NSD), HD95, ASSD and volumes of each organ; more with --all and --out.

    Distances are by surface element weighted by area, as DeepMind's surface-distance; those with "voxel" in their name as medpy.
    An organ that one side alone has counts, with Dice 0; one that neither has is named, and has no number.

    Example: atlas compare data/hospital/scan --reference truth.nii.gz --table totalsegmentator_v2 --out scores.csv
    """
    options = MetricOptions(tuple(dict.fromkeys(tolerance or ())), overlap)
    named = read_groups(groups) if groups is not None else {}
    masks = _masks(segmentation, own_table, model)
    truth = _reference(reference, table, masks.grid, resample=resample)
    with console.progress_bar("compare") as progress:
        onto = truth.resampled(masks.grid) if resample else truth
        rows = compare(masks, onto, progress, options=options, neither=True, threads=threads)
    organs = {row.organ: row.agreement for row in rows if row.agreement is not None}
    summaries = group_agreements(organs, {**groups_of(organs), **named})
    if out is not None:
        write_comparison(out, [row.to_json() for row in rows])
        write_groups(_groups_file(out), summaries)
    if as_json:
        found = {"organs": [_finite(row.to_json()) for row in rows], "groups": [_finite(group.to_json()) for group in summaries]}
        console.print_json({**found, "resampled": resample})
        return
    title = f"{masks.name} against {truth.name}"
    _print_organs(title, [row.to_json() for row in rows], show_all=show_all)
    if show_all or named:
        shown = summaries if show_all else [group for group in summaries if group.group in named]
        console.print_table("groups", SHORT_COLUMNS, _cells([group.to_json() for group in shown], SHORT_COLUMNS))
    if out is not None:
        console.print_line(f"wrote {out} and {_groups_file(out)}")


def _groups_file(out: Path) -> Path:
    return out.with_name(f"{out.stem}_groups{out.suffix}")


def _finite(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return cells with infinite numbers as text, which JSON can hold."""
    return {name: str(value) if value == float("inf") else value for name, value in cells.items()}


def _cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[tuple[object, ...]]:
    return [tuple(row[name] if row[name] is not None else "" for name in columns) for row in rows]


def _print_organs(title: str, rows: Sequence[Mapping[str, Any]], *, show_all: bool) -> None:
    """Print the short table and what it leaves out in one line, or every number in tables that fit on a screen."""
    absent = [row for row in rows if row["note"] == IN_NEITHER]
    found = [row for row in rows if row["note"] != IN_NEITHER]
    others = [name for name in columns_of(rows) if name.startswith("nsd_") and name not in COLUMNS]
    short = [*COLUMNS[:-1], *others, COLUMNS[-1]]
    console.print_table(title, short, _cells(found, short))
    if show_all:
        for theme, columns in (("place", PLACE_COLUMNS), ("surfaces", SURFACE_COLUMNS), ("connected parts", PARTS_COLUMNS)):
            console.print_table(theme, ("organ", *columns), _cells(found, ("organ", *columns)))
    if absent:
        console.print_line(f"{len(absent)} organs that both know were found in neither: {', '.join(row['organ'] for row in absent)}")


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
