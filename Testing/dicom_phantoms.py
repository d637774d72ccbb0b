"""DICOM series made in a test: CT slices whose value says where they are, as single files or as one enhanced multi-frame file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LPS = np.array([-1.0, -1.0, 1.0])
Field = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def ramp(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a value that is linear in RAS mm (..., 3), so that linear interpolation gives it back exactly."""
    return np.asarray(points @ np.array([2.0, -3.0, 5.0]) + 40)


@dataclass
class Phantom:
    """A CT series: shape (columns, rows, slices), where it lies in LPS mm, and the value at each place."""

    shape: tuple[int, int, int] = (12, 10, 5)
    spacing: tuple[float, float] = (0.7, 0.8)
    step: tuple[float, float, float] = (0.0, 0.0, 2.5)
    origin: tuple[float, float, float] = (-50.0, 20.0, 300.0)
    axes: Any = field(default_factory=lambda: np.eye(3))
    value: Field = ramp
    tags: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from pydicom.uid import generate_uid

        shared = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
        self.tags = {**shared, **self.tags}

    def position(self, z: int) -> np.ndarray[Any, Any]:
        """Return where the first pixel of slice z lies, LPS mm."""
        return np.asarray(np.array(self.origin) + z * np.array(self.step))

    def points(self, z: int) -> np.ndarray[Any, Any]:
        """Return where the pixels of slice z lie, (columns, rows, 3) RAS mm."""
        i, j = np.meshgrid(*(np.arange(n) for n in self.shape[:2]), indexing="ij")
        x, y = self.axes[:, 0] * self.spacing[0], self.axes[:, 1] * self.spacing[1]
        return np.asarray((self.position(z) + i[..., None] * x + j[..., None] * y) * LPS)

    def pixels(self, z: int) -> np.ndarray[Any, Any]:
        """Return the stored values of slice z, int16 (rows, columns): a tenth of a unit."""
        return np.rint(self.value(self.points(z)) * 10).astype(np.int16).T

    def dataset(self, z: int, **changes: Any) -> Any:
        """Return slice z with the tags of a real CT, changed by `tags` and `changes`; None removes a tag."""
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.SpecificCharacterSet = "ISO_IR 100"
        data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "Doe^Ada", "17", "19700101", "F"
        data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20250102", "101010", "1", "A1"
        data.ReferringPhysicianName = ""
        data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 3, self.shape[2] - z
        data.ImageType, data.SeriesDescription = ["ORIGINAL", "PRIMARY", "AXIAL"], "portal venous"
        data.Rows, data.Columns = self.shape[1], self.shape[0]
        data.PixelSpacing, data.SliceThickness = [self.spacing[1], self.spacing[0]], 2.5
        data.ImageOrientationPatient = [f"{v:.13f}"[:16] for v in self.axes[:, :2].T.ravel()]
        data.ImagePositionPatient = [f"{v:.11f}"[:16] for v in self.position(z)]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = "0.1", "0", "HU"
        data.PixelData = self.pixels(z).tobytes()
        for name, value in {**self.tags, **changes}.items():
            if value is not None:
                setattr(data, name, value)
            elif name in data:
                delattr(data, name)
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        return data

    def write(self, folder: Path, change: Callable[[int], dict[str, Any]] = lambda _: {}, ending: str = ".dcm") -> list[Path]:
        """Write all slices under names that say nothing about their order; return their paths in the order of the slices."""
        folder.mkdir(parents=True, exist_ok=True)
        names = np.random.default_rng(1).permutation(self.shape[2])
        paths = [folder / f"{prefix_of(folder)}{names[z]}{ending}" for z in range(self.shape[2])]
        for z, path in enumerate(paths):
            self.dataset(z, **change(z)).save_as(path, enforce_file_format=True)
        return paths

    def write_enhanced(self, path: Path, order: Any = None) -> Path:
        """Write all slices as one Enhanced CT image, its frames in any order."""
        from pydicom.dataset import Dataset
        from pydicom.uid import EnhancedCTImageStorage

        order = list(range(self.shape[2]) if order is None else order)
        data = self.dataset(0, SOPClassUID=EnhancedCTImageStorage, InstanceNumber=1)
        measures, plane, values, content = Dataset(), Dataset(), Dataset(), []
        measures.PixelSpacing, measures.SliceThickness = data.PixelSpacing, data.SliceThickness
        plane.ImageOrientationPatient = data.ImageOrientationPatient
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = data.RescaleSlope, data.RescaleIntercept, "HU"
        moved = "PixelSpacing SliceThickness ImageOrientationPatient ImagePositionPatient RescaleSlope RescaleIntercept RescaleType"
        for name in moved.split():
            delattr(data, name)
        shared = Dataset()
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
        shared.PixelValueTransformationSequence = [values]
        for number, z in enumerate(order):
            place, frame, group = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = [f"{v:.11f}"[:16] for v in self.position(z)]
            frame.DimensionIndexValues, frame.StackID, frame.InStackPositionNumber = [1, z + 1], "1", number + 1
            group.PlanePositionSequence, group.FrameContentSequence = [place], [frame]
            content.append(group)
        data.NumberOfFrames = len(order)
        data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], content
        data.PixelData = b"".join(self.pixels(z).tobytes() for z in order)
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)
        return path


def prefix_of(folder: Path) -> str:
    """Return a prefix that no file of a folder has yet, so that several series may lie in one folder."""
    return f"{sum(1 for _ in folder.iterdir())}_"
