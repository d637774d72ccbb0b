"""Organs into one RT Structure Set (RTSTRUCT), for planning systems; `dicom_rtstruct_read` reads it back equal.

Written with pydicom alone: closed planar contours on the CT's slices (see `dicom_contours`), each with the slice that it belongs to.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.components import bounding_box
from AtlasSegmentLib.dicom_codes import Code, category_of, region_of, side_of, type_of
from AtlasSegmentLib.dicom_contours import contours
from AtlasSegmentLib.dicom_header import pydicom_or_error, quiet
from AtlasSegmentLib.dicom_seg import FAMILY, PRODUCT, SegDetails, SegResult, long_string, software_version
from AtlasSegmentLib.dicom_seg_source import SourceSeries, on_slices, read_source_series, remarks_on
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.export import require_free
from AtlasSegmentLib.export_organs import Organ, unique_name
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.geometry import Matrix, apply_affine
from AtlasSegmentLib.labels import name_key
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Array, Grid

_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber")
_LPS = np.array([-1.0, -1.0, 1.0])
_SHORT_STRING = 16
_ROOM_FOR_NUMBER = 58  # of the 64 characters of a name


def write_rtstruct(
    path: Path,
    organs: Sequence[Organ],
    grid: Grid,
    source_files: Sequence[Path],
    details: SegDetails | None = None,
    *,
    overwrite: bool = False,
    progress: ProgressCallback = ignore_progress,
) -> SegResult:
    """Write organs as one RTSTRUCT, atomically; arguments as `write_dicom_seg`.

    Returns:
        As `write_dicom_seg`; `frames` counts contours, and `overlap` is False as structures may always overlap.

    Raises:
        InputError: pydicom is not installed, nothing to write, a file is there, or the slices cannot be referred to.
        GeometryError: The masks do not lie on the voxels of the slices.
        StorageError: The file cannot be written.
    """
    path, details = Path(path), details or SegDetails()
    pydicom = pydicom_or_error(path)
    require_free([path], overwrite)
    source = read_source_series(source_files)
    drawn: list[tuple[Organ, list[Any]]] = []
    for index, organ in enumerate(organs):
        progress(0.9 * index / len(organs), organ.name)
        found = _contours(on_slices(organ.mask(grid.shape), grid, source.grid), source)
        if found:
            drawn.append((organ, found))
    if not drawn:
        message = f"{path}: none of {len(organs)} organs has a voxel, and a structure set cannot be empty."
        raise InputError(message, "Segment the CT first, or choose another segmentation.")
    progress(0.9, "RTSTRUCT")
    made = _structure_set(drawn, source, details)
    with quiet(), atomic_path(path) as temporary:
        pydicom.dcmwrite(temporary, made, enforce_file_format=True)
    kept = [organ for organ, _ in drawn]
    empty = tuple(organ.name for organ in organs if organ not in kept)
    return SegResult(path, tuple(o.name for o in kept), sum(len(c) for _, c in drawn), empty, False, remarks_on(grid, source))


def _contours(mask: Array, source: SourceSeries) -> list[Any]:
    """Return an item of the Contour Sequence for each closed outline, slice by slice."""
    box = bounding_box(mask)
    if box is None:
        return []
    offset = np.array([box[0].start, box[1].start])
    found: list[Any] = []
    for z in range(box[2].start, box[2].stop):
        for polygon in contours(mask[box[0], box[1], z]):
            pixels = polygon + offset
            points = apply_affine(source.grid.affine, np.column_stack([pixels, np.full(len(pixels), z)])) * _LPS
            found.append(_contour(points, _reference(source, z), len(found) + 1))
    return found


def _contour(points: Matrix, image: Any, number: int) -> Any:
    return _item(
        ContourNumber=number,
        ContourImageSequence=[image],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
        ContourData=[_decimal(value) for value in points.ravel().tolist()],
    )


def _decimal(value: float) -> str:
    """Return a number as a DICOM decimal string of at most 16 characters; a hundredth of a micrometer is kept."""
    return f"{value:.5f}".rstrip("0").rstrip(".") if value else "0"


def _structure_set(drawn: Sequence[tuple[Organ, list[Any]]], source: SourceSeries, details: SegDetails) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

    first, now = source.datasets[0], datetime.datetime.now()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian  # an explicit length of contour data would end at 64 kB
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    for name in (*_PATIENT, *_STUDY, "ReferringPhysicianName"):
        setattr(made, name, first.get(name, ""))
    made.Modality, made.SeriesInstanceUID, made.SeriesNumber, made.OperatorsName = "RTSTRUCT", generate_uid(), details.series_number, ""
    made.InstanceCreationDate = made.StructureSetDate = now.strftime("%Y%m%d")
    made.InstanceCreationTime = made.StructureSetTime = now.strftime("%H%M%S")
    made.SeriesDescription = long_string(details.series_description)
    made.Manufacturer = made.ManufacturerModelName = PRODUCT
    made.SoftwareVersions, made.DeviceSerialNumber = software_version(), "0"
    made.StructureSetLabel = long_string(details.series_description)[:_SHORT_STRING].strip() or "ATLAS"
    made.StructureSetName = long_string(details.series_description)
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = first.FrameOfReferenceUID, ""
    made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
    made.StructureSetROISequence = [_roi(n, name, source, details) for n, name in enumerate(_names([organ for organ, _ in drawn]), 1)]
    made.ROIContourSequence = [
        _item(ReferencedROINumber=n, ROIDisplayColor=list(organ.structure.color), ContourSequence=found)
        for n, (organ, found) in enumerate(drawn, 1)
    ]
    made.RTROIObservationsSequence = [_observation(n, organ) for n, (organ, _) in enumerate(drawn, 1)]
    made.ApprovalStatus = "UNAPPROVED"
    return made


def _frame_of_reference(source: SourceSeries) -> Any:
    first = source.datasets[0]
    images = [_reference(source, z) for z in range(source.grid.shape[2])]
    series = _item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
    study = _item(
        ReferencedSOPClassUID=_DETACHED_STUDY, ReferencedSOPInstanceUID=first.StudyInstanceUID, RTReferencedSeriesSequence=[series]
    )
    return _item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _reference(source: SourceSeries, z: int) -> Any:
    header = source.header(z)
    item = _item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
    if source.frames:
        item.ReferencedFrameNumber = source.frames[z] + 1
    return item


def _names(organs: Sequence[Organ]) -> list[str]:
    """Return a name for each structure that differs from all others: planning systems find structures by name."""
    taken: set[str] = set()
    names = []
    for number, organ in enumerate(organs, 1):
        names.append(unique_name(long_string(organ.name)[:_ROOM_FOR_NUMBER].strip() or f"structure {number}", taken))
        taken.add(name_key(names[-1]))
    return names


def _roi(number: int, name: str, source: SourceSeries, details: SegDetails) -> Any:
    item = _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=source.datasets[0].FrameOfReferenceUID,
        ROIName=name,
        ROIGenerationAlgorithm=details.kind,
    )
    if details.kind != "MANUAL":
        item.ROIGenerationDescription = long_string(f"{details.algorithm} {details.version}")
        family, version = _concept(FAMILY), long_string(details.version) or "1"
        algorithm = _item(AlgorithmFamilyCodeSequence=[family], AlgorithmName=long_string(details.algorithm), AlgorithmVersion=version)
        item.ROIDerivationAlgorithmIdentificationSequence = [algorithm]
    return item


def _observation(number: int, organ: Organ) -> Any:
    item = _item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="ORGAN", ROIInterpreter="")
    item.ROIObservationLabel = long_string(organ.name)[:_SHORT_STRING].strip()
    side, region = side_of(organ.structure), region_of(organ.structure)
    kind = _concept(type_of(organ.structure))
    item.SegmentedPropertyCategoryCodeSequence = [_concept(category_of(organ.structure))]
    if region is not None:
        where = _concept(region)
        if side is not None:
            where.AnatomicRegionModifierSequence = [_concept(side)]
        item.AnatomicRegionSequence = [where]
    elif side is not None:
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(side)]
    item.RTROIIdentificationCodeSequence = [kind]
    return item


def _concept(code: Code) -> Any:
    return _item(CodeValue=code.value, CodingSchemeDesignator=code.scheme, CodeMeaning=code.meaning)


def _item(**values: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item
