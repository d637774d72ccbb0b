"""A DICOM segmentation says which voxels of which CT slices are which organ, and reads back equal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.dicom_codes import side_of, snomed_of_terminology, structure_with_codes, type_of
from AtlasSegmentLib.dicom_seg import SegDetails, SegResult, write_dicom_seg
from AtlasSegmentLib.dicom_seg_read import read_dicom_seg
from AtlasSegmentLib.dicom_seg_source import read_source_series, turned
from AtlasSegmentLib.dicom_series import read_dicom_folder
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.export_formats import DICOM_SEG, ExportRequest, export_organs
from AtlasSegmentLib.export_organs import Organ, organs_of_labels
from AtlasSegmentLib.labels import catalog, load_table, structure_for
from AtlasSegmentLib.volume import Grid, Volume, reorient
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

SHAPE = (16, 12, 5)
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_series(folder: Path, axes: np.ndarray, **changes: Any) -> list[Path]:
    """Write a small CT series whose file names say nothing about the order of its slices."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    folder.mkdir()
    paths = []
    for z in range(SHAPE[2]):
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CTImageStorage
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
        header.SpecificCharacterSet = "ISO_IR 100"
        header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = "M\u00fcller^Ada", "17", "", ""
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = study, series, frame
        header.StudyDate, header.StudyTime, header.StudyID, header.AccessionNumber = "20250102", "101010", "1", "A1"
        header.Modality, header.SeriesNumber, header.InstanceNumber = "CT", 3, SHAPE[2] - z
        header.Rows, header.Columns, header.PixelSpacing, header.SliceThickness = SHAPE[1], SHAPE[0], [0.8, 0.7], 2.5
        header.ImageOrientationPatient = [f"{v:.12f}"[:16] for v in axes[:, :2].T.ravel()]
        header.ImagePositionPatient = [f"{v:.10f}"[:16] for v in np.array([-50.0, 20.0, 300.0]) + axes[:, 2] * 2.5 * z]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
        header.RescaleSlope, header.RescaleIntercept = 1, 0
        header.PixelData = np.full(SHAPE[1::-1], z, np.int16).tobytes()
        for name, value in changes.items():
            setattr(header, name, value)
        paths.append(folder / f"{(z * 7) % 5}.dcm")
        header.save_as(paths[-1], enforce_file_format=True)
    return sorted(paths)


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return write_series(tmp_path / "ct", np.eye(3))


def organ(name: str, mask: np.ndarray, value: int | None = None) -> Organ:
    return Organ(name, structure_for(name), lambda: mask, value)


def blob(seed: int, share: float = 0.3) -> np.ndarray:
    mask = np.zeros(SHAPE, np.bool_, order="F")
    inner = np.random.default_rng(seed).random((8, 6, 3)) < share
    mask[3:11, 4:10, 1:4] = inner
    return mask


def written(path: Path, organs: list[Organ], files: list[Path], grid: Grid | None = None, **options: Any) -> SegResult:
    return write_dicom_seg(path, organs, grid or read_source_series(files).grid, files, **options)


def same_masks(expected: list[Organ], found: list[Organ], grid: Grid) -> bool:
    return len(expected) == len(found) and all(
        np.array_equal(a.mask(grid.shape), b.mask(grid.shape)) for a, b in zip(expected, found, strict=True)
    )


def test_masks_names_and_structures_read_back_equal(tmp_path: Path, series: list[Path]) -> None:
    organs = [organ("kidney_left", blob(1)), organ("liver_tumor", blob(2, 0.05) & ~blob(1)), organ("My finding", blob(3, 0.02) & ~blob(1))]
    written(tmp_path / "a.dcm", organs, series)
    grid = read_dicom_folder(series[0].parent).grid
    back = read_dicom_seg(tmp_path / "a.dcm", grid)
    assert [one.name for one in back] == ["kidney_left", "liver_tumor", "My finding"]
    assert [one.structure.name for one in back[:2]] == ["kidney_left", "liver_tumor"]
    assert same_masks(organs, back, grid)


def test_overlapping_organs_read_back_equal(tmp_path: Path, series: list[Path]) -> None:
    organs = [organ("liver", blob(1, 0.9)), organ("liver_tumor", blob(1, 0.2)), organ("pancreas", blob(2, 0.5))]
    made = written(tmp_path / "a.dcm", organs, series)
    grid = read_source_series(series).grid
    assert made.overlap
    assert str(pydicom.dcmread(tmp_path / "a.dcm").SegmentsOverlap) == "YES"
    assert same_masks(organs, read_dicom_seg(tmp_path / "a.dcm", grid), grid)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.sampled_from(["LPS", "RAS", "SLA", "PIR"]), st.booleans())
def test_any_slice_direction_and_array_order_keeps_every_world_place(tmp_path: Path, seed: int, code: str, overlap: bool) -> None:
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    folder = tmp_path / str(seed) / code / str(overlap)
    folder.mkdir(parents=True, exist_ok=True)
    files = write_series(folder / f"ct{len(list(folder.iterdir()))}", axes)
    grid = read_source_series(files).grid
    mask = blob(seed)
    array, affine = reorient(mask, grid.affine, code)
    turned_grid = Grid((array.shape[0], array.shape[1], array.shape[2]), affine)
    organs = [organ("liver", array), organ("spleen", array if overlap else ~array)]
    written(folder / "a.dcm", organs, files, turned_grid, overwrite=True)
    found = pydicom.dcmread(folder / "a.dcm")
    points = []
    for group, frame in zip(found.PerFrameFunctionalGroupsSequence, found.pixel_array, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1:  # by the standard's formula, C.7.6.2.1.1
            rows, columns = np.nonzero(frame)
            start = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            points.append(start + np.outer(columns * 0.7, axes[:, 0]) + np.outer(rows * 0.8, axes[:, 1]))
    to_index = np.linalg.inv(_RAS_FROM_LPS @ affine)
    index = np.concatenate(points) @ to_index[:3, :3].T + to_index[:3, 3]
    assert np.abs(index - np.rint(index)).max() < 1e-3
    assert {*map(tuple, np.rint(index).astype(int).tolist())} == {*map(tuple, np.argwhere(array).tolist())}
    assert same_masks(organs, read_dicom_seg(folder / "a.dcm", turned_grid), turned_grid)


def test_only_slices_with_voxels_have_frames_and_each_refers_to_its_slice(tmp_path: Path, series: list[Path]) -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[2:5, 2:5, 3] = True
    made = written(tmp_path / "a.dcm", [organ("liver", mask), organ("spleen", np.zeros(SHAPE, np.bool_))], series)
    found = pydicom.dcmread(tmp_path / "a.dcm")
    source = read_source_series(series)
    assert (made.frames, made.segments, made.empty) == (1, ("liver",), ("spleen",))
    referred = found.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    assert referred == source.datasets[3].SOPInstanceUID
    all_referred = {item.ReferencedSOPInstanceUID for item in found.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert all_referred == {header.SOPInstanceUID for header in source.datasets}
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == source.datasets[0].SeriesInstanceUID
    assert (found.StudyInstanceUID, found.FrameOfReferenceUID) == (
        source.datasets[0].StudyInstanceUID,
        source.datasets[0].FrameOfReferenceUID,
    )
    assert str(found.PatientName) == "M\u00fcller^Ada"


def test_codes_laterality_tracking_algorithm_and_color_are_written(tmp_path: Path, series: list[Path]) -> None:
    organs = [
        organ("kidney_left", blob(1)),
        organ("kidney_cyst_right", blob(2) & ~blob(1)),
        organ("M\u00e9lange \u809d\\x", blob(3) & ~blob(1) & ~blob(2)),
    ]
    details = SegDetails("Abdomen", "SEMIAUTOMATIC", "abdomen-unet", "2.1", "Ada", 41)
    written(tmp_path / "a.dcm", organs, series, details=details)
    found = pydicom.dcmread(tmp_path / "a.dcm")
    kidney, cyst, other = found.SegmentSequence
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("64033007", "SCT", "Kidney")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert kidney.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    assert cyst.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert cyst.AnatomicRegionSequence[0].CodeMeaning == "Kidney"
    assert cyst.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Right"
    assert other.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert other.SegmentLabel == "M\u00e9lange \u809d x"
    assert (kidney.TrackingID, cyst.TrackingID) == ("kidney_left", "kidney_cyst_right")
    assert len({one.TrackingUID for one in found.SegmentSequence}) == 3
    assert kidney.SegmentAlgorithmType == "SEMIAUTOMATIC"
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("abdomen-unet", "2.1")
    assert (found.SeriesDescription, int(found.SeriesNumber), str(found.ContentCreatorName)) == ("Abdomen", 41, "Ada")
    assert len(kidney.RecommendedDisplayCIELabValue) == 3


def test_every_structure_of_the_catalog_is_told_apart_by_label_or_codes(tmp_path: Path, series: list[Path]) -> None:
    mask = blob(1)
    organs = [organ(name, mask) for name in catalog()]
    written(tmp_path / "a.dcm", organs, series)
    found = read_dicom_seg(tmp_path / "a.dcm", read_source_series(series).grid)
    assert [one.structure for one in found] == list(catalog().values())
    for structure in catalog().values():
        if structure.snomed and structure.snomed.region is None:
            side = side_of(structure)
            known = structure_with_codes(type_of(structure).value, side.value if side else None, None)
            assert known is None or known.snomed == structure.snomed


def test_a_foreign_label_is_recognized_by_its_codes(tmp_path: Path, series: list[Path]) -> None:
    renamed = Organ("Segment_1", structure_for("kidney_right"), lambda: blob(1))
    written(tmp_path / "a.dcm", [renamed], series)
    found = read_dicom_seg(tmp_path / "a.dcm", read_source_series(series).grid)[0]
    assert (found.name, found.structure.name) == ("Segment_1", "kidney_right")


@pytest.mark.parametrize("name", list(catalog())[::12])
def test_terminology_of_slicer_gives_the_code_back(name: str) -> None:
    terminology = pytest.importorskip("AtlasSegmentLib.terminology")
    structure = catalog()[name]
    assert snomed_of_terminology(terminology.terminology_of(structure)) == structure.snomed


@pytest.mark.parametrize(
    "text", ["", "~~~", "a~b^c~d", "x~SCT^1^A~SRT^T-1^B~^^~y~^^~^^", "x~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~~^^~^^"]
)
def test_other_texts_on_a_segment_are_no_code(text: str) -> None:
    assert snomed_of_terminology(text) is None


def test_the_slab_with_its_label_stored_upside_down_reads_back_equal(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "data" / "slab-dicom"
    labels = read_label_volume(folder / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
    ct = read_volume(folder / "dicom")
    assert (ct.orientation, labels.orientation) == ("LPS", "LAS")
    organs = organs_of_labels(labels)
    made = write_dicom_seg(tmp_path / "a.dcm", organs, labels.grid, sorted((folder / "dicom").iterdir()))
    assert len(made.segments) == 31
    assert "anonymized" in made.remarks[0]
    for grid in (labels.grid, ct.grid):
        found = read_dicom_seg(tmp_path / "a.dcm", grid)
        expected = [Organ(o.name, o.structure, lambda o=o: turned(o.mask(labels.shape), labels.grid, grid)) for o in organs]  # noqa: B023
        assert same_masks(expected, found, grid)


def test_real_overlapping_segments_hold_what_their_label_maps_hold(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "data" / "overlap-dicomseg"
    slices = [folder / f"0{number}.dcm" for number in (3, 1, 2)]
    grid = read_source_series(slices).grid
    found = read_dicom_seg(folder / "partial_overlaps.dcm", grid)
    layers = [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / f"partial_overlaps-{n}.nrrd"))).transpose() for n in (1, 2, 3)]
    assert [one.name for one in found] == ["GREEN", "ORANGE", "PURPLE", "LIGHT_BLUE", "DARK_BLUE"]
    for one in found:
        layer = next(layer for layer in layers if (layer == one.value).any())
        np.testing.assert_array_equal(one.mask(grid.shape), layer == one.value)
    made = write_dicom_seg(tmp_path / "a.dcm", found, grid, slices)
    assert made.overlap
    assert same_masks(found, read_dicom_seg(tmp_path / "a.dcm", grid), grid)


def test_files_without_the_uids_that_a_reference_needs_are_repaired_alike_each_time(tmp_path: Path) -> None:
    files = write_series(tmp_path / "ct", np.eye(3), StudyInstanceUID="", SeriesInstanceUID="", SOPInstanceUID="", SOPClassUID="")
    one, two = read_source_series(files), read_source_series(files[::-1])
    assert one.datasets[0].StudyInstanceUID == two.datasets[0].StudyInstanceUID != ""
    assert one.datasets[0].SOPInstanceUID == one.datasets[0].file_meta.MediaStorageSOPInstanceUID
    made = written(tmp_path / "a.dcm", [organ("liver", blob(1))], files)
    assert "StudyInstanceUID" in made.remarks[0]


@pytest.mark.parametrize(
    ("character_sets", "name"),
    [("", "Miller^Ada"), (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"), ("GB18030", "Wang=\u738b")],
)
def test_a_patient_name_in_any_character_set_is_kept(tmp_path: Path, character_sets: Any, name: str) -> None:
    files = write_series(tmp_path / "ct", np.eye(3), SpecificCharacterSet=character_sets, PatientName=name)
    written(tmp_path / "a.dcm", [organ("\u809d", blob(1))], files)
    found = pydicom.dcmread(tmp_path / "a.dcm")
    assert str(found.PatientName) == name
    assert found.SegmentSequence[0].SegmentLabel == "\u809d"


def test_slices_of_two_series_are_refused(tmp_path: Path, series: list[Path]) -> None:
    other = write_series(tmp_path / "other", np.eye(3))
    with pytest.raises(InputError, match="one series"):
        read_source_series([*series, other[0]])


def test_without_dicom_files_the_reason_is_clear(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no DICOM file"):
        write_dicom_seg(tmp_path / "a.dcm", [organ("liver", blob(1))], Grid(SHAPE, np.eye(4)), [])


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\x02\0\x10\0UI\x40\0"])
def test_a_file_that_is_no_slice_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.dcm"):
        read_source_series([tmp_path / "x.dcm"])
    with pytest.raises(InputError, match=r"x\.dcm"):
        read_dicom_seg(tmp_path / "x.dcm", Grid(SHAPE, np.eye(4)))


def test_a_segmentation_cut_short_is_named(tmp_path: Path, series: list[Path]) -> None:
    written(tmp_path / "a.dcm", [organ("liver", blob(1))], series)
    content = (tmp_path / "a.dcm").read_bytes()
    grid = read_source_series(series).grid
    for share in (0.3, 0.6, 0.9, 0.999):
        (tmp_path / "cut.dcm").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=r"cut\.dcm"):
            [one.mask(grid.shape) for one in read_dicom_seg(tmp_path / "cut.dcm", grid)]


def test_a_ct_is_no_segmentation(series: list[Path]) -> None:
    with pytest.raises(InputError, match="no DICOM segmentation"):
        read_dicom_seg(series[0], Grid(SHAPE, np.eye(4)))


def test_masks_beside_the_slices_are_refused_in_both_directions(tmp_path: Path, series: list[Path]) -> None:
    grid = read_source_series(series).grid
    shifted = np.array(grid.affine)
    shifted[0, 3] += 0.35
    wrong = Grid(SHAPE, shifted, "moved CT")
    with pytest.raises(GeometryError, match="moved CT"):
        written(tmp_path / "a.dcm", [organ("liver", blob(1))], series, wrong)
    assert not (tmp_path / "a.dcm").exists()
    written(tmp_path / "a.dcm", [organ("liver", blob(1))], series)
    with pytest.raises(GeometryError, match="moved CT"):
        read_dicom_seg(tmp_path / "a.dcm", wrong)
    with pytest.raises(GeometryError):
        read_dicom_seg(tmp_path / "a.dcm", Grid((SHAPE[0], SHAPE[1], 2), grid.affine))


def test_an_empty_segmentation_is_refused(tmp_path: Path, series: list[Path]) -> None:
    with pytest.raises(InputError, match="has a voxel"):
        written(tmp_path / "a.dcm", [organ("liver", np.zeros(SHAPE, np.bool_))], series)
    assert not (tmp_path / "a.dcm").exists()


def test_an_existing_segmentation_is_never_replaced_unasked(tmp_path: Path, series: list[Path]) -> None:
    (tmp_path / "a.dcm").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        written(tmp_path / "a.dcm", [organ("liver", blob(1))], series)
    assert (tmp_path / "a.dcm").read_text() == "mine"


def test_without_highdicom_the_remedy_is_given(tmp_path: Path, series: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match="highdicom") as caught:
        written(tmp_path / "a.dcm", [organ("liver", blob(1))], series)
    assert "pip install" in caught.value.remedy


def test_a_manual_segmentation_names_no_algorithm(tmp_path: Path, series: list[Path]) -> None:
    written(tmp_path / "a.dcm", [organ("liver", blob(1))], series, details=SegDetails(kind="MANUAL"))
    found = pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence[0]
    assert found.SegmentAlgorithmType == "MANUAL"
    assert "SegmentAlgorithmName" not in found


def test_the_export_of_a_dicom_segmentation_says_what_is_empty(tmp_path: Path, series: list[Path]) -> None:
    organs = [organ("liver", blob(1)), organ("spleen", np.zeros(SHAPE, np.bool_))]
    request = ExportRequest(DICOM_SEG, tmp_path / "a.dcm", source_files=tuple(series))
    outcome = export_organs(organs, read_source_series(series).grid, request)
    assert outcome.files == (tmp_path / "a.dcm",)
    assert outcome.organs == 1
    assert outcome.remarks == ("Without voxels, so not in the file: spleen.",)


def test_the_grid_of_the_slices_is_that_of_the_volume_read_from_them(series: list[Path]) -> None:
    volume: Volume = read_dicom_folder(series[0].parent)
    grid = read_source_series(series).grid
    assert grid.shape == volume.shape
    np.testing.assert_allclose(grid.affine, volume.affine, atol=1e-9)
