"""The command `atlas resample`: bring an image or label map onto another grid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from AtlasSegmentLib import console, regions
from AtlasSegmentLib.case_info import describe_grid
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.markups import read_roi
from AtlasSegmentLib.resample import resample, resample_labels
from AtlasSegmentLib.volume import Grid, LabelVolume, Volume
from AtlasSegmentLib.volume_io import label_values, read_label_volume, read_volume, write_volume


def resample_command(
    image: Annotated[Path, typer.Argument(readable=False, help="Image or label map to resample.")],
    output: Annotated[Path, typer.Argument(readable=False, help="File to write; must not exist.")],
    like: Annotated[Path | None, typer.Option(readable=False, help="Image whose grid to take.")] = None,
    shape: Annotated[str | None, typer.Option(help='Number of voxels, such as "144x144x144".')] = None,
    spacing: Annotated[str | None, typer.Option(help='Voxel size in mm, such as "1.5x1.5x3".')] = None,
    orientation: Annotated[str | None, typer.Option(help='Orientation, such as "RAS"; by default that of the image.')] = None,
    roi: Annotated[Path | None, typer.Option(readable=False, help="Slicer markups ROI: only this box.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="It is a label map: interpolate label by label.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Resample an image (linear) or a label map (label by label) onto another grid.

    Example: atlas resample mask.nii.gz mask_on_ct.nii.gz --like ct.nii.gz --labels
    """
    if output.exists():
        message = f"{output}: is there already."
        raise InputError(message, "Choose another name; nothing is overwritten.")
    if like is not None and (shape or spacing or orientation or roi):
        message = f"--like {like} gives the whole grid, and --shape, --spacing, --orientation or --roi another one."
        raise InputError(message, "Give --like alone, or leave it out.")
    volume = read_volume(image)
    if like is not None:
        given = read_volume(like)
        grid = Grid(given.shape, given.affine, str(like), given.header)
    else:
        grid = _grid(volume, _numbers(shape, "shape"), _numbers(spacing, "spacing"), orientation, roi)
    result = resample_labels(_as_labels(image, volume), grid) if labels else resample(volume, grid, fill=_background(volume))
    write_volume(output, Volume(result.array, grid.affine, str(output), grid.header or volume.header))
    if as_json:
        console.print_json({"output": str(output), **describe_grid(grid)})
    else:
        console.print_line(f"{output}: {describe_grid(grid)}")


def _grid(volume: Volume, shape: list[float] | None, spacing: list[float] | None, orientation: str | None, roi: Path | None) -> Grid:
    if (shape is None) == (spacing is None):
        message = "The new grid is not defined."
        raise InputError(message, "Give exactly one of --like, --shape and --spacing.")
    box = regions.roi_box(volume.grid, read_roi(roi)) if roi is not None else regions.whole_box(volume.grid)
    code = orientation or volume.orientation
    if shape is not None:
        return regions.fitted_grid(volume.grid, code, box, [int(n) for n in shape])
    return regions.spaced_grid(volume.grid, code, box, spacing or [])


def _numbers(text: str | None, what: str) -> list[float] | None:
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.replace(",", "x").split("x")]
    except ValueError:
        numbers = []
    whole = what == "shape"
    if len(numbers) != 3 or not all(0 < n < math.inf and (n.is_integer() or not whole) for n in numbers):
        message = f"--{what} {text!r} is not three positive {'whole ' if whole else ''}numbers."
        raise InputError(message, f'Write them like "{"144x144x144" if whole else "1.5x1.5x3"}".')
    return numbers


def _as_labels(path: Path, volume: Volume) -> LabelVolume:
    """Read a label map whose table nobody told: every value is its own label."""
    if isinstance(volume, LabelVolume):  # a DICOM segmentation
        return volume
    values = [value for value in label_values(np.rint(volume.array)) if value > 0]
    return read_label_volume(path, LabelTable.from_labels(path.name, {value: f"label_{value}" for value in values}))


def _background(volume: Volume) -> float:
    """Return what an image shows where it ends: air for a CT, its smallest value otherwise."""
    return float(volume.array.min())
