"""The pixels of one DICOM slice in the unit of its own rescale (HU for CT)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.dicom_slices import AGAIN, INSTALL, damage, pydicom_or_error, quiet
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.volume import Array

_RESCALE_FIELDS = {"RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"}


def read_pixels(path: Path) -> Array:
    """Return the pixels of a slice in the unit of its own rescale (HU for CT), shape (X, Y).

    Returns:
        int32 or int64 when slope and intercept are whole numbers, else float64.

    Raises:
        InputError: Truncated, damaged or in a compression that no decoder here reads.
    """
    pydicom = pydicom_or_error(path)
    failures: tuple[type[Exception], ...] = (*damage(pydicom), RuntimeError, OSError)
    try:
        with quiet():
            dataset = pydicom.dcmread(path)
            stored = _stored_pixels(dataset, path)
            slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    except failures as error:
        message = f"{path}: the pixels cannot be read, the file is truncated or damaged ({_first_line(error)})."
        raise InputError(message, AGAIN) from error
    if slope.is_integer() and intercept.is_integer():
        wide = np.int64 if stored.dtype.itemsize > 2 else np.int32
        return np.asarray(stored.T.astype(wide) * int(slope) + int(intercept))
    return np.asarray(stored.T * slope + intercept)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _stored_pixels(dataset: Any, path: Path) -> Array:
    """Return the stored values, shape (rows, columns), before rescale.

    pydicom decodes plain and run-length data itself. JPEG, JPEG-LS and JPEG 2000 always go through GDCM in SimpleITK, so
    that the values do not depend on which optional decoders are installed.
    """
    from pydicom.uid import RLELossless

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax != RLELossless:
        return _decode_with_gdcm(dataset, path)
    stored = np.asarray(dataset.pixel_array)
    unused = int(dataset.BitsAllocated) - int(dataset.BitsStored)
    if unused and stored.dtype.kind in "iu":  # overlays of old scanners, which pydicom 2 leaves in; the shift extends the sign
        stored = (stored << unused) >> unused
    return stored


def _decode_with_gdcm(dataset: Any, path: Path) -> Array:
    try:
        import SimpleITK
    except ImportError as error:
        message = f"{path}: decoding {dataset.file_meta.TransferSyntaxUID.name} needs SimpleITK, which is not installed."
        raise InputError(message, INSTALL) from error
    bare = _pixel_fields(dataset)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "slice.dcm"
        bare.save_as(copy)
        return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(copy), imageIO="GDCMImageIO")).squeeze(axis=0))


def _pixel_fields(dataset: Any) -> Any:
    """Return the pixel fields alone.

    GDCM applies the rescale for some object classes and not for others: without the fields it has nothing to apply.
    """
    import pydicom

    bare = pydicom.Dataset()
    bare.file_meta = dataset.file_meta
    for element in dataset:
        if element.tag.group in {0x0028, 0x7FE0} and element.keyword not in _RESCALE_FIELDS:
            bare.add(element)
    bare.SOPClassUID = dataset.file_meta.get("MediaStorageSOPClassUID") or "1.2.840.10008.5.1.4.1.1.2"
    bare.SOPInstanceUID = dataset.file_meta.get("MediaStorageSOPInstanceUID") or "1.2.3"
    return bare
