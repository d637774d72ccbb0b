"""The masks in one file of another program: one mask, a label map with a table, or a segmentation of Slicer with names and layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from AtlasReviewLib.case_masks import Mask, as_binary, on_grid
from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.export_table import table_paths
from AtlasSegmentLib.label_files import table_of_file
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.volume import Array, Grid, Volume
from AtlasSegmentLib.volume_io import label_values, read_volume, suffix_of

_SEGMENT = re.compile(r"^Segment(?P<number>\d+)_(?P<key>Name|LabelValue|Layer)$")
_ITK_SNAP = re.compile(r'^\s*(?P<value>\d+)(\s+[\d.]+){6}\s+"(?P<name>.*)"\s*$')
_SLICER_COLORS = re.compile(r"^\s*(?P<value>\d+)\s+(?P<name>\S+)(\s+[\d.]+){3,4}\s*$")
_TABLE_ENDINGS = (".label", ".txt", ".ctbl")
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_WHOLE = 1e-3  # of a voxel
_MOST_DIGITS = 10


@dataclass(frozen=True)
class Part:
    """One mask of a file.

    Attributes:
        name: What the file calls it; "" when only the file's name says it.
        cut_out: Returns the mask, 0/1 or bool, (X, Y, Z): a file of many organs is too large to hold them all at once.
        may_be_cut: Outside of its box it is empty, as Slicer stores segments.
    """

    name: str
    cut_out: Callable[[], Volume]
    may_be_cut: bool = False


def is_table(path: Path) -> bool:
    """Tell whether a file only says what the values of a label map beside it mean."""
    return path.name.lower().endswith((*_TABLE_ENDINGS, ".json", ".csv"))


def parts_of(path: Path, table: str | None, is_organ: bool) -> list[Part]:
    """Return the masks of a file; a damaged one gives none.

    Args:
        path: NIfTI, NRRD (also a segmentation of Slicer), MHA or MHD; opened for reading only.
        table: What the values of label maps mean: name of a table of this program, or a file: JSON of this program, label description
            of ITK-SNAP, color table of Slicer. None looks beside the file.
        is_organ: The name of the file is that of an organ.

    Raises:
        InputError, LabelError: The file or its table cannot be read, or nobody says what its values mean.
    """
    segments = _slicer_header(path) if path.suffix.lower() in (".nrrd", ".nhdr") else {}
    if segments:
        return _slicer_parts(path, segments, is_organ)
    volume = read_volume(path)
    values = [value for value in label_values(volume.array) if value] if not is_organ else []
    if is_organ or (values in ([], [1]) and not _has_table(path, table)):
        return [Part("", lambda: volume)]
    names = stated_table(path, table)
    names.require_values(values, str(path))
    return [Part(names.name_of(value), partial(_with_value, volume, value)) for value in values]


def _with_value(volume: Volume, value: int) -> Volume:
    return volume.with_array(volume.array == value)


def stated_table(path: Path, table: str | None) -> LabelTable:
    """Return what the values of a label map mean. Raises InputError or LabelError when nobody says it."""
    beside = [path.with_name(path.name[: -len(suffix_of(path.name))] + ending) for ending in _TABLE_ENDINGS]
    chosen = Path(table) if table is not None else next((file for file in beside if file.is_file()), None)
    if chosen is None or not chosen.name.lower().endswith(_TABLE_ENDINGS):
        return table_of_file(path, table)
    try:
        lines = chosen.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        message = f"{chosen}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error
    found = [match for line in lines if (match := _ITK_SNAP.match(line) or _SLICER_COLORS.match(line)) and int(match["value"])]
    if not found:
        message = f"{chosen}: is neither a label description of ITK-SNAP nor a color table of Slicer."
        raise InputError(message, "Export it again from that program, or name another table with --table.")
    return LabelTable(chosen.name, chosen.name, {int(match["value"]): match["name"] for match in found})


def _has_table(path: Path, table: str | None) -> bool:
    stem = path.name[: -len(suffix_of(path.name))]
    return table is not None or table_paths(path)[1].is_file() or any(path.with_name(stem + end).is_file() for end in _TABLE_ENDINGS)


def placed(part: Part, grid: Grid) -> Mask:
    """Return a mask in the array order of a grid; flipped and permuted axes are turned, what Slicer cut out is put in its place.

    Raises:
        GeometryError: Its voxels are not those of the grid: the message has the numbers of both.
        InputError: It is no mask.
    """
    mask = part.cut_out()
    try:
        whole = _box(mask, grid) if part.may_be_cut else None
        turned = on_grid(mask, whole or grid)
    except (GeometryError, np.linalg.LinAlgError) as error:
        message = f"{mask.source}: does not lie on the grid of the case. It has {_told(mask)}; the case has {_told(grid)}."
        raise GeometryError(message, "Resample it onto the CT of the case first: atlas resample MASK NEW --like CT --labels.") from error
    binary = as_binary(turned.array, str(mask.source))
    if whole is None:
        return binary
    full = np.zeros(grid.shape, np.bool_, order="F")
    start = np.rint(np.linalg.solve(grid.affine, np.asarray(whole.affine)[:, 3]))[:3].astype(int)
    full[tuple(slice(first, first + size) for first, size in zip(start, binary.shape, strict=True))] = binary
    return full


def _box(mask: Volume, grid: Grid) -> Grid | None:
    """Return the box of the grid that a cut-out mask fills; None for a mask of another size or place, and for one of the whole grid."""
    ends = np.array(np.meshgrid(*[(0, size - 1) for size in mask.shape], [1], indexing="ij")).reshape(4, -1)
    corners = np.linalg.solve(np.asarray(grid.affine), np.asarray(mask.affine) @ ends)[:3]
    first, last = corners.min(axis=1), corners.max(axis=1)
    low, high = np.rint(first).astype(int), np.rint(last).astype(int)
    size = tuple(int(n) for n in high - low + 1)
    inside = (low >= 0).all() and (high < grid.shape).all() and size != tuple(grid.shape)
    if not inside or max(np.abs(first - low).max(), np.abs(last - high).max()) > _WHOLE or sorted(size) != sorted(mask.shape):
        return None
    shift = np.eye(4)
    shift[:3, 3] = low
    shape: tuple[int, int, int] = (size[0], size[1], size[2])
    return Grid(shape, np.asarray(grid.affine) @ shift, grid.source, grid.header)


def _told(volume: Volume | Grid) -> str:
    affine = np.asarray(volume.affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    size = "x".join(map(str, volume.shape))
    code = geometry.orientation_of(volume.affine)
    return f"{size} voxels of {_numbers(spacing)} mm ({code}), the first at {_numbers(affine[:3, 3])} mm"


def _numbers(values: Array) -> str:
    return ", ".join(f"{value + 0.0:.4g}" for value in values)


def _slicer_header(path: Path) -> dict[int, dict[str, str]]:
    """Return number to name, value and layer of the segments that Slicer wrote into an NRRD file; {} for any other file."""
    reader = _nrrd_reader(path)
    segments: dict[int, dict[str, str]] = {}
    for key in reader.GetMetaDataKeys():
        match = _SEGMENT.match(key)
        if match:
            segments.setdefault(int(match["number"]), {})[match["key"]] = reader.GetMetaData(key)
    return segments


def _nrrd_reader(path: Path) -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        message = f"{path}: reading this format needs SimpleITK, which is not installed."
        raise InputError(message, 'Run: pip install "slicer-atlas-annotator[formats]".') from error
    sitk: Any = SimpleITK
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        message = f"{path}: cannot be read, it is damaged or of another format."
        raise InputError(message, "Copy or export the file again.") from error
    return reader


def _slicer_parts(path: Path, segments: Mapping[int, Mapping[str, str]], is_organ: bool) -> list[Part]:
    import SimpleITK

    try:
        image = _nrrd_reader(path).Execute()
    except RuntimeError as error:
        message = f"{path}: cannot be read, it is truncated or damaged."
        raise InputError(message, "Copy or export the file again.") from error
    if image.GetDimension() != 3:
        message = f"{path}: expected a 3-D segmentation, got {image.GetDimension()}-D."
        raise InputError(message, "Export the segmentation again.")
    array = SimpleITK.GetArrayFromImage(image)  # z, y, x and the layers
    layers = array[..., None] if array.ndim == 3 else array
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    parts = []
    for number, segment in sorted(segments.items()):
        layer, value = _number(segment.get("Layer", "0")), _number(segment.get("LabelValue", "1"))
        if not 0 <= layer < layers.shape[-1] or value < 1:  # 0 is what lies around all segments
            message = f"{path}: segment {number} has no layer and value that are in the file."
            raise InputError(message, "Export the segmentation again.")
        name = "" if is_organ and len(segments) == 1 else segment.get("Name", "")
        parts.append(Part(name, partial(_segment, layers[..., layer], value, _RAS @ lps, str(path)), may_be_cut=True))
    return parts


def _number(text: str) -> int:
    """Return a whole number, -1 for anything else."""
    return int(text) if text.strip().isdecimal() and len(text) < _MOST_DIGITS else -1


def _segment(layer: Array, value: int, affine: Array, source: str) -> Volume:
    return Volume((layer == value).transpose(), affine, source)
