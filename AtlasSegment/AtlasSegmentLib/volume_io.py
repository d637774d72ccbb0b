"""Read and write a volume in any format, chosen by the name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from AtlasSegmentLib.dicom_choice import scanned_path
from AtlasSegmentLib.dicom_header import is_dicom
from AtlasSegmentLib.dicom_series import read_dicom_file_series, read_dicom_folder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.sitk_formats import read_sitk, write_sitk
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, Volume

if TYPE_CHECKING:
    from AtlasSegmentLib.labels import LabelTable

_NIFTI = (".nii.gz", ".nii")
_SITK_WRITTEN = (".nrrd", ".mha", ".mhd")
_SITK_READ = (*_SITK_WRITTEN, ".nhdr")
_DICOM = (".dcm", ".ima")
_SUFFIXES = (*_NIFTI, *_SITK_READ, *_DICOM)


def suffix_of(name: str) -> str:
    """Return the suffix of a name that says its format, in lower case, such as ".nii.gz"; "" when none does."""
    lower = name.lower()
    return next((suffix for suffix in _SUFFIXES if lower.endswith(suffix)), "")


def strip_suffix(name: str) -> str:
    """Return a file name without the suffix of its format: "case 1.v2.nii.gz" gives "case 1.v2"."""
    suffix = suffix_of(name)
    return name[: -len(suffix)] if suffix and len(name) > len(suffix) else name


def read_volume(path: Path, *, series: str | None = None, modality: str | None = None) -> Volume:
    """Read a 3-D image: NIfTI, NRRD, MetaImage, a folder of DICOM slices, the series of one DICOM file, or a DICOM SEG.

    Args:
        path: A file (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .dcm, .ima, a DICOMDIR, DICOM of any name) or a folder of DICOM files.
        series: The series of a DICOM folder: its number, its UID or the end of it; None chooses by rule (`dicom_choice`).
        modality: The only modality that will do when it is DICOM, such as "CT", or None.

    Returns:
        Array (X, Y, Z) with the dtype of the file, affine in RAS mm. CT from DICOM is in HU, a tilted one resampled onto a
        right-angled grid. A DICOM SEG gives a label map of its segment numbers on its own grid.

    Raises:
        InputError: Missing, unreadable, of no known format, damaged, not 3-D, of another modality, or segments that overlap.
    """
    path = Path(path)
    if _is_folder(path) or scanned_path(path) != path:
        return read_dicom_folder(scanned_path(path), series=series, modality=modality, straight=True)
    suffix = suffix_of(path.name)
    if suffix in _NIFTI:
        return read_nifti(path)
    if suffix in _SITK_READ:
        return read_sitk(path)
    if suffix in _DICOM or is_dicom(path):
        if modality is None and is_label_object(path):
            from AtlasSegmentLib.dicom_labels import label_map_of

            return label_map_of(path)
        return read_dicom_file_series(path, series=series, modality=modality, straight=True)
    message = f"{path}: its name does not end in a known image format."
    raise InputError(message, f"Give one of {', '.join(_SUFFIXES)} or a folder of DICOM slices.")


def is_label_object(path: Path) -> bool:
    """Tell whether a path is a DICOM SEG or RTSTRUCT file. Raises InputError when it cannot be read."""
    path = Path(path)
    if suffix_of(path.name) not in {"", *_DICOM} or not path.is_file() or not is_dicom(path):
        return False
    from AtlasSegmentLib.dicom_labels import label_object

    return bool(label_object(path))


def _is_folder(path: Path) -> bool:
    try:
        path.stat()
        return path.is_dir()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume in the format of the name (.nii.gz, .nii, .nrrd, .mha, .mhd), atomically, with its dtype.

    Raises:
        InputError: Another suffix, or a dtype that the format does not have.
        GeometryError: A sheared affine in a format other than NIfTI.
        StorageError: The file cannot be written.
    """
    path = Path(path)
    suffix = suffix_of(path.name)
    if suffix in _NIFTI:
        write_nifti(path, volume)
    elif suffix in _SITK_WRITTEN:
        write_sitk(path, volume)
    else:
        message = f"{path}: its name does not end in a format that can be written."
        raise InputError(message, f"Use one of {', '.join((*_NIFTI, *_SITK_WRITTEN))}.")


def read_label_volume(path: Path, table: LabelTable, like: Grid | None = None) -> LabelVolume:
    """Read a label map and check it against its table; the segments of a DICOM SEG get the values that the table has for them.

    Args:
        path: Any format that can be read.
        table: What its values mean.
        like: The grid onto which a DICOM SEG or RTSTRUCT is read; without it a SEG ends where its segments end. Others ignore it.

    Returns:
        The label map in the smallest unsigned dtype that holds its values; floats are taken when they are whole.

    Raises:
        InputError: As `read_volume`, or a value that is not a whole number.
        LabelError: A value that the table does not have.
    """
    if is_label_object(path):
        from AtlasSegmentLib.dicom_labels import label_map_of

        return label_map_of(path, table, like)
    volume = read_volume(path)
    array, source = volume.array, str(path)
    if array.dtype.kind == "f":
        _require_whole(array, source)
    values = label_values(array)
    table.require_values(values, source)
    smallest = np.min_scalar_type(max(values, default=0))
    return LabelVolume(array.astype(smallest, copy=False), volume.affine, volume.source, volume.header, table)


def label_values(array: Array) -> list[int]:
    """Return the sorted distinct values of an array of whole numbers, background included."""
    found: set[int] = set()
    for _, slab in _slabs(array):
        if slab.dtype.kind == "u" and slab.dtype.itemsize <= 2:  # counting is ten times faster than sorting
            found.update(np.flatnonzero(np.bincount(slab.ravel(order="K"))).tolist())
        else:
            found.update(int(value) for value in np.unique(slab))
    return sorted(found)


def _slabs(array: Array, count: int = 16) -> Iterator[tuple[int, Array]]:
    """Yield (first z, slab), so that no temporary of the full size is made."""
    for z in range(0, array.shape[2], count):
        yield z, array[:, :, z : z + count]


def _first(bad: Array, z: int) -> tuple[int, int, int]:
    """Return the index of the first true voxel of a slab that begins at `z`, in file order (x fastest)."""
    k, j, i = np.argwhere(bad.transpose())[0].tolist()
    return (i, j, k + z)


def _require_whole(array: Array, source: str) -> None:
    for z, slab in _slabs(array):
        bad = ~np.isfinite(slab) | (np.rint(slab) != slab)
        if bad.any():
            index = _first(bad, z)
            message = f"{source}: a label map holds whole numbers, got {float(array[index])} at voxel {index}."
            raise InputError(message, "Give the label map, not a probability or resampled image; resample labels with nearest neighbor.")


def check_ct(volume: Volume) -> None:
    """Check that an image can be segmented: it has voxels, all finite, and not all the same.

    Raises:
        InputError: Otherwise; says how many voxels are not finite and where the first one is.
    """
    what, array = volume.source or "image", volume.array
    if array.size == 0:
        message = f"{what}: the image is empty, its shape is {array.shape}."
        raise InputError(message, "Export the image again.")
    if array.dtype.kind == "f":
        _require_finite(array, what)
    first = array[0, 0, 0]
    if all((slab == first).all() for _, slab in _slabs(array)):
        message = f"{what}: the image is empty, every voxel is {first}."
        raise InputError(message, "Check that this is the CT and export it again.")


def _require_finite(array: Array, what: str) -> None:
    count, where = 0, (0, 0, 0)
    for z, slab in _slabs(array):
        bad = ~np.isfinite(slab)
        if not count and bad.any():
            where = _first(bad, z)
        count += int(np.count_nonzero(bad))
    if count:
        message = f"{what}: {count} voxels are not finite numbers (NaN or infinite), the first at {where}."
        raise InputError(message, "Replace them, for example with -1024 HU outside the body, and save the image again.")
