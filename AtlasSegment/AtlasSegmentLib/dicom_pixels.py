"""The pixels of one DICOM slice in the unit of its own rescale (HU for CT)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.dicom_header import AGAIN, INSTALL, Slice, damage, pydicom_or_error, quiet, read_dataset
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.volume import Array

AIR_HU = -1024
_HIGHEST_HU = 3071
_RESCALE_FIELDS = {"RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"}


class PixelReader:
    """Reads slices one after the other; the file of the last one is kept, as it may hold the frames to come."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._dataset: Any = None

    def read(self, item: Slice) -> Array:
        """Return the pixels of a slice in the unit of its own rescale (HU for CT), shape (X, Y).

        Values that DICOM declares as padding become air in a CT, unless the padding value may as well be a measured one.

        Returns:
            int32 or int64 when slope and intercept are whole numbers, else float64.

        Raises:
            InputError: Truncated, damaged or in a compression that no decoder here reads.
        """
        pydicom = pydicom_or_error(item.path)
        failures: tuple[type[Exception], ...] = (*damage(pydicom), RuntimeError, OSError)
        try:
            with quiet():
                if self._path != item.path:
                    self._dataset, self._path = read_dataset(item.path, pydicom), item.path
                stored = _stored_pixels(self._dataset, item)
        except failures as error:
            message = f"{item.path}: the pixels cannot be read, the file is truncated or damaged ({_first_line(error)})."
            raise InputError(message, AGAIN) from error
        return _without_padding(_rescaled(stored, item), stored, item)


def same_pixels(one: Slice, two: Slice) -> bool:
    """Tell whether two slices hold the same values; False when one cannot be read."""
    try:
        return np.array_equal(PixelReader().read(one), PixelReader().read(two))
    except InputError:
        return False


def _rescaled(stored: Array, item: Slice) -> Array:
    slope, intercept = item.rescale or (1.0, 0.0)
    if slope.is_integer() and intercept.is_integer():
        wide = np.int64 if stored.dtype.itemsize > 2 else np.int32
        return np.asarray(stored.astype(wide) * int(slope) + int(intercept))
    return np.asarray(stored * slope + intercept)


def _without_padding(values: Array, stored: Array, item: Slice) -> Array:
    if item.padding is None or item.modality != "CT":
        return values
    slope, intercept = item.rescale or (1.0, 0.0)
    low, high = item.padding
    if all(AIR_HU <= edge * slope + intercept <= _HIGHEST_HU for edge in (low, high)):  # some scanners declare 0 HU as padding
        return values
    outside = (stored >= low) & (stored <= high)
    if outside.any():
        values[outside] = AIR_HU
    return values


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _stored_pixels(dataset: Any, item: Slice) -> Array:
    """Return the stored values, shape (columns, rows), before rescale.

    pydicom decodes plain and run-length data itself. JPEG, JPEG-LS and JPEG 2000 always go through GDCM in SimpleITK, so
    that the values do not depend on which optional decoders are installed; what GDCM does not know is left to them.
    """
    from pydicom.pixels.utils import iter_pixels

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax.is_compressed and syntax.name != "RLE Lossless":
        if _known_to_gdcm(syntax):
            return _decode_with_gdcm(dataset, item).T
        _require_decoder(syntax, item.path)
    return np.asarray(next(iter(iter_pixels(dataset, indices=[item.frame or 0])))).T


def _known_to_gdcm(syntax: Any) -> bool:
    """Tell whether GDCM decodes a syntax: JPEG (.50 to .70), JPEG-LS (.80, .81) and JPEG 2000 (.90, .91)."""
    return str(syntax).startswith("1.2.840.10008.1.2.4.") and int(str(syntax).rsplit(".", 1)[1]) <= 91


def _require_decoder(syntax: Any, path: Path) -> None:
    """Check that a package that decodes a rare compression is installed. Raises InputError naming it."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        message = f"{path}: its compression, {syntax.name} ({syntax}), is not one that can be read."
        raise InputError(message, "Export the series uncompressed (Explicit VR Little Endian).") from error
    if not decoder.is_available:
        message = f"{path}: decoding {syntax.name} needs a package that is not installed."
        remedy = "Run: pip install pylibjpeg pylibjpeg-openjpeg pylibjpeg-libjpeg; or export the series uncompressed."
        raise InputError(message, remedy)


def _decode_with_gdcm(dataset: Any, item: Slice) -> Array:
    try:
        import SimpleITK
    except ImportError as error:
        message = f"{item.path}: decoding {dataset.file_meta.TransferSyntaxUID.name} needs SimpleITK, which is not installed."
        raise InputError(message, INSTALL) from error
    bare = _pixel_fields(dataset, item.frame)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "slice.dcm"
        bare.save_as(copy)
        return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(copy), imageIO="GDCMImageIO")).squeeze(axis=0))


def _pixel_fields(dataset: Any, frame: int | None) -> Any:
    """Return the pixel fields alone, of one frame.

    GDCM applies the rescale for some object classes and not for others: without the fields it has nothing to apply.
    """
    import pydicom
    from pydicom.encaps import encapsulate, get_frame

    bare = pydicom.Dataset()
    bare.file_meta = pydicom.dataset.FileMetaDataset(dataset.file_meta)
    left_out = _RESCALE_FIELDS if frame is None else _RESCALE_FIELDS | {"PixelData", "NumberOfFrames"}
    for element in dataset:
        if element.tag.group in {0x0028, 0x7FE0} and element.keyword not in left_out:
            bare.add(element)
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID = pydicom.uid.CTImageStorage
    bare.SOPInstanceUID = dataset.file_meta.get("MediaStorageSOPInstanceUID") or "1.2.3"
    if frame is not None:
        count = int(dataset.NumberOfFrames)
        bare.PixelData = encapsulate([get_frame(dataset.PixelData, frame, number_of_frames=count)])
        bare.NumberOfFrames = 1
    return bare
