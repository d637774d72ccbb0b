"""What `atlas export` exports: the masks of a case folder, or the organs of a label map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.dicom_choice import choose, require_readable, scanned_path
from AtlasSegmentLib.dicom_labels import grid_of_series, read_label_object
from AtlasSegmentLib.dicom_reference import warn_of_another_ct
from AtlasSegmentLib.dicom_slices import scan_folder
from AtlasSegmentLib.errors import DatasetError, InputError, LabelError
from AtlasSegmentLib.export_organs import Organ, organs_of_labels
from AtlasSegmentLib.label_files import table_of_file
from AtlasSegmentLib.labels import load_table, structure_for
from AtlasSegmentLib.nifti import read_grid, read_nifti
from AtlasSegmentLib.volume import Array, Grid, require_same_grid
from AtlasSegmentLib.volume_io import is_label_object, read_label_volume


def organs_of_case(case: CaseFolder, model: str | None = None) -> tuple[list[Organ], Grid]:
    """Return the masks of a case as organs in the order of their AbdomenAtlas values, and the CT's grid.

    Args:
        case: The case.
        model: Its masks; by default the average's, with the newest revision of an organ in place of the prediction.

    Raises:
        DatasetError: The case has no masks of that kind.
        InputError: A file is damaged.
    """
    source = case.average if model is None else case.backbone(model)
    revised = set(case.average.revised_organs()) if model is None else set()
    names = sorted({*source.organs(), *revised})
    if not names:
        what = "no average" if model is None else f"no masks of the model {model!r}; it has {', '.join(case.models()) or 'none'}"
        message = f"{case.folder}: has {what}."
        raise DatasetError(message, "Run atlas segment and atlas average first, or name one of its models with --model.")
    paths = {name: source.revised_mask(name) if name in revised else source.mask(name) for name in names}
    grid = read_grid(case.ct if case.ct.is_file() else next(iter(paths.values())))
    organs = [Organ(name, structure_for(name), _mask_reader(path, grid), _abdomenatlas_value(name)) for name, path in paths.items()]
    return sorted(organs, key=lambda organ: (organ.value is None, organ.value or 0)), grid


def _abdomenatlas_value(name: str) -> int | None:
    try:
        return load_table("abdomenatlas").value_of(name)
    except LabelError:
        return None


def _mask_reader(path: Path, grid: Grid) -> Callable[[], Array]:
    def read() -> Array:
        volume = read_nifti(path)
        require_same_grid(volume, grid)
        return volume.array

    return read


def organs_of_label_map(
    path: Path, table: str | None = None, dicom: Path | None = None, series: str | None = None
) -> tuple[list[Organ], Grid]:
    """Return the organs of a label map, a DICOM SEG or an RTSTRUCT, and their grid; the DICOM objects name their organs themselves.

    Args:
        path: Any format that can be read.
        table: Name of a table, or a JSON file in its format; by default the table that an export left beside the label map.
        dicom: Folder of the CT's slices: a DICOM object is read onto its grid. Without it a SEG keeps its own grid.
        series: Which series of that folder.

    Raises:
        InputError: The file cannot be read, or no table is known for it.
        LabelError: A value that the table does not have.
    """
    if is_label_object(path):
        grid, ct = grid_of_series(dicom, series) if dicom is not None else (None, None)
        if ct is not None:
            warn_of_another_ct(path, ct)
        return read_label_object(path, grid)
    labels = read_label_volume(path, table_of_file(path, table))
    organs = organs_of_labels(labels)
    if not organs:
        message = f"{path}: holds no label, every voxel is background."
        raise InputError(message, "Give a label map with organs.")
    return organs, labels.grid


def dicom_slices_of(folder: Path, series: str | None = None) -> list[Path]:
    """Return the files of one series of slices in a folder and below: the named one, else the one that is chosen by rule.

    Args:
        folder: The folder, or its DICOMDIR.
        series: Number of the series, its UID or the end of it.

    Raises:
        InputError: No slices, no such series, several alike, or slices that are missing or doubled.
    """
    scan = scan_folder(scanned_path(Path(folder)))
    choice = choose(scan, series)
    require_readable(scan, choice)
    return list(dict.fromkeys(item.path for item in choice.stack.slices))


def model_of_case(case: CaseFolder, model: str | None) -> tuple[str, bool]:
    """Return (name of what drew the masks, whether a person corrected some)."""
    if model is not None:
        return model, False
    names = " + ".join(case.models())
    return names or "average", bool(case.average.revised_organs())
