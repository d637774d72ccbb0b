"""Bring a CT, and the labels that came with it, into a case folder; checked first, copied byte for byte, never replaced."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from AtlasSegmentLib import nifti
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.dataset_annotations import original_value_map
from AtlasSegmentLib.dicom_labels import label_map_of
from AtlasSegmentLib.dicom_record import write_origin
from AtlasSegmentLib.dicom_series import DicomVolume
from AtlasSegmentLib.errors import DatasetError, LabelError
from AtlasSegmentLib.files import copy_file, sha256_of
from AtlasSegmentLib.geometry import AFFINE_TOLERANCE_MM
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.volume import Volume, require_same_grid
from AtlasSegmentLib.volume_io import check_ct, is_label_object, label_values, read_volume, suffix_of

_log = logging.getLogger(__name__)
_AIR_HU = -200.0


def read_ct(source: Path, series: str | None = None, modality: str = "CT") -> Volume:
    """Read a CT in any format and check that it can be segmented; another modality is refused where the format says which it is.

    Raises:
        InputError: Unreadable, empty, or DICOM of another modality than `modality`.
    """
    volume = read_volume(source, series=series, modality=modality)
    check_ct(volume)
    lowest = float(volume.array.min())
    if lowest > _AIR_HU:
        _log.warning("%s: its smallest value is %g, so this may be no CT in Hounsfield units (air is -1000).", source, lowest)
    return volume


def read_original(source: Path, ct: Volume, dataset: str | None = None) -> Volume:
    """Read labels in a dataset's own values and check that they lie on the CT's grid.

    Args:
        source: The labels.
        ct: What they belong to.
        dataset: Key of the dataset that they are of; None when it is not known, and then any values are taken.

    Raises:
        GeometryError: Another shape or affine.
        DatasetError: Values that are not whole numbers or negative.
        LabelError: A value that the dataset does not define.
        InputError: An unreadable file.
    """
    volume = _read_labels(source, ct, dataset)
    require_same_grid(volume, ct)
    if volume.array.dtype.kind == "f" and not np.array_equal(volume.array, np.rint(volume.array)):
        message = f"{source}: a label map holds whole numbers, and this one does not."
        raise DatasetError(message, "Give the label map itself, not probabilities.")
    values = label_values(volume.array)
    if min(values, default=0) < 0:
        message = f"{source}: a label map has no negative values, and this one does."
        raise DatasetError(message, "Give the label map itself, not the CT.")
    _require_defined(values, source, dataset)
    return volume


def _read_labels(source: Path, ct: Volume, dataset: str | None) -> Volume:
    """Read a label map, or a DICOM SEG or RTSTRUCT onto the voxels of the CT: its organs get the dataset's own values."""
    if not is_label_object(source):
        return read_volume(source)
    try:
        classes = original_value_map(dataset)
    except LabelError:  # nobody wrote down the dataset's values
        return label_map_of(source, None, ct.grid)
    names = load_table("abdomenatlas")
    table = {value: names.name_of(number) for value, number in reversed(classes.items()) if number}
    single = {name: value for value, name in table.items()}  # of values that share a class the first
    return label_map_of(source, LabelTable("original", f"Dataset {dataset}", {v: n for n, v in single.items()}), ct.grid)


def _require_defined(values: list[int], source: Path, dataset: str | None) -> None:
    """Refuse now what assembly would refuse after all the work."""
    try:
        known = {0, *original_value_map(dataset)}
    except LabelError:  # the values of this dataset are nowhere written down; only assembly needs them
        return
    strange = sorted(set(values) - known)
    if strange:
        message = f"{source}: value {strange[0]} is not a label of dataset {dataset} (it has {', '.join(map(str, sorted(known)))})."
        raise LabelError(message, "Check that the case is in the right dataset folder, or name its dataset: --dataset-id.")


def store(case: CaseFolder, ct: tuple[Path, Volume], original: tuple[Path, Volume] | None = None) -> None:
    """Put a CT (path and content), and its original labels, into a case folder.

    Raises:
        DatasetError: The case holds another CT or other labels already.
        StorageError: The disk is full.
    """
    _store(case.ct, *ct)
    if isinstance(ct[1], DicomVolume) and ct[1].origin is not None:
        write_origin(case.folder, ct[1].origin)
    if original is not None:
        _store(case.original_label, *original)


def _store(target: Path, source: Path, volume: Volume) -> None:
    if target.exists():
        _require_same(target, source, volume)
    elif suffix_of(source.name) == ".nii.gz":
        copy_file(source, target)
    else:
        nifti.write_nifti(target, volume)


def _require_same(target: Path, source: Path, volume: Volume) -> None:
    if source.is_file() and (source.samefile(target) or sha256_of(source) == sha256_of(target)):
        return
    present = nifti.read_nifti(target)
    same_place = present.shape == volume.shape and np.allclose(present.affine, volume.affine, atol=AFFINE_TOLERANCE_MM)
    if not same_place or not np.array_equal(present.array, volume.array):
        message = f"{target}: is there already and differs from {source}."
        raise DatasetError(message, "Choose another case name with --case; what came in is never replaced.")
