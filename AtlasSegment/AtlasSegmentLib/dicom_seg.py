"""Organs into one DICOM segmentation object (DICOM SEG), written with highdicom; `dicom_seg_read` reads it back.

Binary, one segment an organ, so organs may overlap. A frame is stored only where an organ is, and refers to its CT slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from AtlasSegmentLib.components import bounding_box
from AtlasSegmentLib.dicom_codes import Code, category_of, region_of, side_of, type_of
from AtlasSegmentLib.dicom_header import INSTALL, quiet
from AtlasSegmentLib.dicom_seg_source import SourceSeries, on_slices, read_source_series, remarks_on
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.export import require_free
from AtlasSegmentLib.export_organs import Organ
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Array, Grid

PRODUCT = "Atlas Annotator"
_SERIES_NUMBER = 300
_LONGEST_TEXT = 64  # of the DICOM type "long string"
_MOST_BYTES = 8 << 30
FAMILY = Code("123110", "DCM", "Artificial Intelligence")


@dataclass(frozen=True)
class SegDetails:
    """What a DICOM segmentation says about itself.

    Attributes:
        series_description: Shown in the list of series; cut at 64 characters.
        kind: "AUTOMATIC" (a model drew it), "SEMIAUTOMATIC" (a person corrected it) or "MANUAL".
        algorithm: Name of the model; needed unless manual.
        version: Version of the model.
        creator: Who made it, or "".
        series_number: Of the new series.
    """

    series_description: str = f"{PRODUCT} segmentation"
    kind: Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"] = "AUTOMATIC"
    algorithm: str = PRODUCT
    version: str = "1"
    creator: str = ""
    series_number: int = _SERIES_NUMBER


@dataclass(frozen=True)
class SegResult:
    """What was written.

    Attributes:
        path: The file.
        segments: Names of the organs in it, in order.
        frames: Number of stored frames.
        empty: Names of organs without voxels, which were left out.
        overlap: Whether organs overlap.
        remarks: What had to be repaired in the CT's headers, in full sentences.
    """

    path: Path
    segments: tuple[str, ...]
    frames: int
    empty: tuple[str, ...]
    overlap: bool
    remarks: tuple[str, ...]


def write_dicom_seg(
    path: Path,
    organs: Sequence[Organ],
    grid: Grid,
    source_files: Sequence[Path],
    details: SegDetails | None = None,
    *,
    overwrite: bool = False,
    progress: ProgressCallback = ignore_progress,
) -> SegResult:
    """Write organs as one binary DICOM SEG, atomically.

    Args:
        path: The file to write, usually .dcm.
        organs: Masks on `grid`; they may overlap.
        grid: The CT's voxels in any array order; they must be those of the DICOM slices.
        source_files: Every slice of the CT's series, in any order.
        details: Series description, algorithm, creator.
        overwrite: Replace a file that is there.
        progress: Called with the fraction done and the organ.

    Raises:
        InputError: highdicom is not installed, nothing to write, a file is there, or the slices cannot be referred to.
        GeometryError: The masks do not lie on the voxels of the slices.
        StorageError: The file cannot be written.
    """
    path, details = Path(path), details or SegDetails()
    _highdicom(path)
    require_free([path], overwrite)
    source = read_source_series(source_files)
    pixels, kept, overlap = _pixels(organs, grid, source, progress)
    if not kept:
        message = f"{path}: none of {len(organs)} organs has a voxel, and a DICOM segmentation cannot be empty."
        raise InputError(message, "Segment the CT first, or choose another segmentation.")
    progress(0.5, "DICOM SEG")
    made = _segmentation(path, pixels, kept, source, details)
    with atomic_path(path) as temporary:
        made.save_as(temporary)
    names = tuple(organ.name for organ in kept)
    empty = tuple(organ.name for organ in organs if organ not in kept)
    return SegResult(path, names, int(made.NumberOfFrames), empty, overlap, remarks_on(grid, source))


def _highdicom(path: Path) -> Any:
    try:
        import highdicom
    except ImportError as error:
        message = f"{path}: writing DICOM SEG needs highdicom, which is not installed."
        raise InputError(message, INSTALL) from error
    return highdicom


def _pixels(organs: Sequence[Organ], grid: Grid, source: SourceSeries, progress: ProgressCallback) -> tuple[Array, list[Organ], bool]:
    """Return (pixels, organs with voxels, whether they overlap).

    Pixels are segment numbers (slices, rows, columns), or a stack of masks (slices, rows, columns, segments) when organs overlap.
    """
    numbers = np.zeros(source.grid.shape, np.min_scalar_type(len(organs)), order="F")
    kept: list[Organ] = []
    overlap = False
    for index, organ in enumerate(organs):
        progress(0.4 * index / len(organs), organ.name)
        mask = on_slices(organ.mask(grid.shape), grid, source.grid)
        box = bounding_box(mask)
        if box is None:
            continue
        kept.append(organ)
        inside = mask[box]
        overlap = overlap or bool(numbers[box][inside].any())
        numbers[box][inside] = len(kept)
    return (_stack(kept, grid, source) if overlap else numbers.transpose(2, 1, 0)), kept, overlap


def _stack(organs: Sequence[Organ], grid: Grid, source: SourceSeries) -> Array:
    columns, rows, slices = source.grid.shape
    shape = (slices, rows, columns, len(organs))
    if np.prod(shape, dtype=np.int64) > _MOST_BYTES:
        message = (
            f"{len(organs)} overlapping organs on {columns} x {rows} x {slices} voxels need more than {_MOST_BYTES >> 30} GB of memory."
        )
        raise InputError(message, "Export fewer organs at a time, or one NIfTI file for each organ.")
    stack = np.zeros(shape, np.uint8)
    for number, organ in enumerate(organs):
        stack[..., number] = on_slices(organ.mask(grid.shape), grid, source.grid).transpose(2, 1, 0)
    return stack


def _segmentation(path: Path, pixels: Array, organs: Sequence[Organ], source: SourceSeries, details: SegDetails) -> Any:
    from pydicom.uid import generate_uid

    highdicom = _highdicom(path)
    if source.frames:
        pixels = pixels[np.argsort(source.frames)]  # in the order of the frames of the one source image
    try:
        with quiet():
            made = highdicom.seg.Segmentation(
                source_images=source.datasets,
                pixel_array=pixels,
                segmentation_type="BINARY",
                segment_descriptions=[_description(number, organ, details) for number, organ in enumerate(organs, 1)],
                series_instance_uid=generate_uid(),
                series_number=details.series_number,
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer=PRODUCT,
                manufacturer_model_name=PRODUCT,
                software_versions=software_version(),
                device_serial_number="0",
                content_label="SEGMENTATION",
                content_description=long_string(details.series_description),
                content_creator_name=details.creator or None,
                series_description=long_string(details.series_description),
            )
            made.SpecificCharacterSet = "ISO_IR 192"  # any name of a segment can be written
            return made
    except (AttributeError, TypeError, ValueError) as error:  # what highdicom raises on headers that break the standard
        message = f"{path}: the headers of the CT's DICOM files do not allow a segmentation object ({error})."
        raise InputError(message, "Use the files as they came from the scanner or the archive, or export NIfTI.") from error


def _description(number: int, organ: Organ, details: SegDetails) -> Any:
    import highdicom
    from pydicom.uid import generate_uid

    structure, region, side = organ.structure, region_of(organ.structure), side_of(organ.structure)
    algorithm = None
    if details.kind != "MANUAL":
        name, version = long_string(details.algorithm), long_string(details.version) or "1"
        algorithm = highdicom.AlgorithmIdentificationSequence(name, _concept(FAMILY), version)
    described = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=long_string(organ.name),
        segmented_property_category=_concept(category_of(structure)),
        segmented_property_type=_concept(type_of(structure)),
        algorithm_type=details.kind,
        algorithm_identification=algorithm,
        tracking_uid=generate_uid(),
        tracking_id=organ.name,
        anatomic_regions=[_concept(region)] if region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*structure.color),
    )
    if side is not None:  # of the region a lesion lies in, otherwise of the structure itself
        if region is not None:
            described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [_concept(side)]
        else:
            described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [_concept(side)]
    return described


def _concept(code: Code) -> Any:
    from highdicom.sr.coding import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def long_string(text: str) -> str:
    """Return text as a DICOM "long string": one line, no backslash, at most 64 characters."""
    return " ".join("".join(c if c.isprintable() and c != "\\" else " " for c in text).split())[:_LONGEST_TEXT].strip()


def software_version() -> str:
    try:
        return metadata.version("slicer-atlas-annotator")
    except metadata.PackageNotFoundError:  # running inside Slicer or from a source checkout
        return "source"
