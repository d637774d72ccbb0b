"""Label maps on the disk with what their values mean beside them: which table a file has, and the files written with a new one."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.export import MergedLabels, label_map_paths, require_free, write_label_map
from AtlasSegmentLib.export_table import LabelEntry, table_paths
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import LabelTable, load_table, table_names
from AtlasSegmentLib.volume import Grid, LabelVolume
from AtlasSegmentLib.volume_io import is_label_object, read_label_volume, strip_suffix, suffix_of

_log = logging.getLogger(__name__)
WRITTEN = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def table_of_file(path: Path, table: str | None = None) -> LabelTable:
    """Return the table of a label map.

    Args:
        path: The label map.
        table: Name of a table ("autoorgan_rib" or "autoorgan-rib"), or a JSON file in the format of Resources/Labels; by default the
            JSON that lies beside the label map.

    Raises:
        InputError: No table is known for it.
        LabelError: There is no such table, or the JSON is none.
    """
    beside = table_paths(path)[1]
    if table is None and beside.is_file():
        table = str(beside)
    if table is None:
        message = f"{path}: nobody says what its values mean."
        raise InputError(message, f"Add --table with one of {', '.join(table_names())}, or a JSON file with the labels.")
    if table.lower().endswith(".json"):
        return LabelTable.from_json(read_json(Path(table)), table)
    return load_table(table.strip().lower().replace("-", "_"))


def read_stated_labels(path: Path, table: str | None, like: Grid | None = None) -> LabelVolume:
    """Read a label map with what its values mean.

    Args:
        path: A label map, or a DICOM SEG or RTSTRUCT.
        table: See `table_of_file`. None takes the table beside the file, the names in a DICOM object, or AbdomenAtlas' values, and says so.
        like: See `read_label_volume`.

    Raises:
        InputError, LabelError, GeometryError: As `table_of_file` and `read_label_volume`.
    """
    path = Path(path)
    if table is None and is_label_object(path):
        from AtlasSegmentLib.dicom_labels import label_map_of

        return label_map_of(path, None, like)
    if table is None and not table_paths(path)[1].is_file():
        if path.name != "pseudo_label.nii.gz":
            _log.warning("%s: nobody says what its values mean, so they are taken for AbdomenAtlas'; state another table if not.", path)
        table = "abdomenatlas"
    return read_label_volume(path, table_of_file(path, table), like)


def record_path(path: Path) -> Path:
    """Return where the run record of a label map lies: liver.nii.gz has liver_run.json."""
    return Path(path).with_name(f"{strip_suffix(Path(path).name)}_run.json")


def require_writable(path: Path, inputs: list[Path], *, overwrite: bool = False) -> None:
    """Check before the work that a label map can be written where it should: a known format, no input, and nothing there.

    Raises:
        InputError: Otherwise.
    """
    if suffix_of(path.name) not in WRITTEN:
        message = f"{path}: its name does not end in a format that can be written."
        raise InputError(message, f"Use one of {', '.join(WRITTEN)}.")
    same = [given for given in inputs if given.exists() and path.exists() and given.samefile(path)]
    if same:
        message = f"{path}: is the label map that is read, and an original is never overwritten."
        raise InputError(message, "Choose another name.")
    require_free([*label_map_paths(path), record_path(path)], overwrite)


def write_labels(path: Path, labels: LabelVolume, source: str, *, overwrite: bool = False) -> list[Path]:
    """Write a label map with its tables (CSV and JSON) beside it and return the files.

    Args:
        path: The label map.
        labels: With its table.
        source: What it was made from, for the tables.
        overwrite: Replace files that are there.

    Raises:
        InputError: A file is there already.
        StorageError: A file cannot be written.
    """
    table = labels.table or LabelTable("labels", "labels", {})
    counts = np.zeros(max(table.labels, default=0) + 1, np.int64)
    for z in range(0, labels.shape[2], 16):  # np.bincount copies what it counts to 8 bytes a voxel
        counts += np.bincount(labels.array[:, :, z : z + 16].ravel(order="K"), minlength=len(counts))
    entries = tuple(LabelEntry(value, name, table.structure_of(value), int(counts[value])) for value, name in table.labels.items())
    merged = MergedLabels(labels, entries, (), {}, {}, {}, table.title)
    return write_label_map(path, merged, overwrite=overwrite, source=source)
