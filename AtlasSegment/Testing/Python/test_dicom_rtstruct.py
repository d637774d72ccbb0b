"""An RT structure set outlines organs on the slices of the CT, says what they are, and reads back equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.dicom_rtstruct import write_rtstruct
from AtlasSegmentLib.dicom_rtstruct_read import read_rtstruct
from AtlasSegmentLib.dicom_seg import SegDetails
from AtlasSegmentLib.dicom_seg_source import read_source_series, turned
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.export_formats import RTSTRUCT, ExportRequest, export_organs
from AtlasSegmentLib.export_organs import Organ, organs_of_labels, organs_of_masks
from AtlasSegmentLib.labels import catalog, load_table, structure_for
from AtlasSegmentLib.volume import Grid, reorient
from AtlasSegmentLib.volume_io import read_label_volume, read_volume
from dicom_phantoms import Phantom

pydicom = pytest.importorskip("pydicom")


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    return Phantom().write(tmp_path / "ct")


def ball(shape: tuple[int, ...], hollow: bool = False) -> np.ndarray:
    """Return a ball, or a shell with a core in it: a hole with an island."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    distance = np.linalg.norm((index - (np.array(shape) - 1) / 2) / (np.array(shape) / 2), axis=-1)
    shell = (distance > 0.25) & (distance < 0.5)
    return np.asarray((distance < 0.8) & ~shell if hollow else distance < 0.8)


@pytest.mark.parametrize("hollow", [False, True])
@pytest.mark.parametrize("code", ["LPS", "RAS", "ASL"])
def test_masks_read_back_equal_on_any_array_order(tmp_path: Path, slices: list[Path], code: str, hollow: bool) -> None:
    own = read_source_series(slices).grid
    mask, affine = reorient(ball(own.shape, hollow), own.affine, code)
    grid = Grid((mask.shape[0], mask.shape[1], mask.shape[2]), affine)
    write_rtstruct(tmp_path / "a.dcm", organs_of_masks({"liver": mask, "spleen": ~mask}), grid, slices)
    for one, two in zip((mask, ~mask), read_rtstruct(tmp_path / "a.dcm", grid), strict=True):
        np.testing.assert_array_equal(two.mask(grid.shape), one)
    np.testing.assert_array_equal(read_rtstruct(tmp_path / "a.dcm", own)[0].mask(own.shape), turned(mask, grid, own))


@pytest.mark.parametrize("seed", range(3))
def test_oblique_slices_keep_every_world_place(tmp_path: Path, seed: int) -> None:
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    made = Phantom(axes=axes, step=tuple(axes[:, 2] * 2.5))
    files = made.write(tmp_path / "ct")
    grid = read_source_series(files).grid
    mask = ball(grid.shape)
    write_rtstruct(tmp_path / "a.dcm", organs_of_masks({"liver": mask}), grid, files)
    (found,) = pydicom.dcmread(tmp_path / "a.dcm").ROIContourSequence
    for contour in found.ContourSequence:  # every point lies halfway between an inside and an outside pixel of its slice
        uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        z = next(n for n, path in enumerate(files) if pydicom.dcmread(path).SOPInstanceUID == uid)
        points = np.array(contour.ContourData, float).reshape(-1, 3) - made.position(z)
        assert np.abs(points @ axes[:, 2]).max() < 1e-4
        doubled = 2 * np.stack([points @ axes[:, 0] / 0.7, points @ axes[:, 1] / 0.8], 1)
        assert np.abs(doubled - np.rint(doubled)).max() < 1e-3
    np.testing.assert_array_equal(read_rtstruct(tmp_path / "a.dcm", grid)[0].mask(grid.shape), mask)


def test_the_real_slab_with_its_label_upside_down_reads_back_equal(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "data" / "slab-dicom"
    labels = read_label_volume(folder / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
    ct = read_volume(folder / "dicom").grid
    organs = organs_of_labels(labels)[:14]  # spleen to spinal cord: large, small, hollow and paired
    made = write_rtstruct(tmp_path / "a.dcm", organs, labels.grid, sorted((folder / "dicom").iterdir()))
    assert "anonymized" in made.remarks[0]
    found = read_rtstruct(tmp_path / "a.dcm", ct)
    assert [one.structure for one in found] == [one.structure for one in organs]
    for one, two in zip(organs, found, strict=True):
        expected, mask = turned(one.mask(labels.shape), labels.grid, ct), two.mask(ct.shape)
        assert 2 * (expected & mask).sum() / (expected.sum() + mask.sum()) == 1, one.name


def test_contours_refer_to_their_slices_and_the_set_to_the_series(tmp_path: Path, slices: list[Path]) -> None:
    grid = read_source_series(slices).grid
    mask = np.zeros(grid.shape, np.bool_)
    mask[2:5, 3:6, 3] = True
    made = write_rtstruct(tmp_path / "a.dcm", organs_of_masks({"liver": mask, "spleen": ~mask & False}), grid, slices)
    assert (made.segments, made.empty, made.frames) == (("liver",), ("spleen",), 1)
    found, first = pydicom.dcmread(tmp_path / "a.dcm"), pydicom.dcmread(slices[0])
    assert (found.Modality, found.StudyInstanceUID, found.PatientID) == ("RTSTRUCT", first.StudyInstanceUID, "17")
    assert found.SeriesInstanceUID != first.SeriesInstanceUID
    frame = found.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in slices]
    assert frame.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert [image.ReferencedSOPInstanceUID for image in series.ContourImageSequence] == uids
    contour = found.ROIContourSequence[0].ContourSequence[0]
    assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == uids[3]
    assert (contour.ContourGeometricType, int(contour.NumberOfContourPoints)) == ("CLOSED_PLANAR", 8)
    assert found.file_meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian


def test_names_colors_codes_and_algorithm_are_written_and_recognized(tmp_path: Path, slices: list[Path]) -> None:
    grid = read_source_series(slices).grid
    mask = ball(grid.shape)
    organs = [Organ("a", structure_for("kidney_left"), lambda: mask), Organ("b", structure_for("kidney_cyst_right"), lambda: mask)]
    organs.append(Organ("M\u00e9lange \u809d\\x", structure_for("My finding"), lambda: mask))
    details = SegDetails("Abdomen for planning of dose", "SEMIAUTOMATIC", "abdomen-unet", "2.1")
    write_rtstruct(tmp_path / "a.dcm", organs, grid, slices, details)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    assert data.StructureSetLabel == "Abdomen for plan"
    assert [item.ROIName for item in data.StructureSetROISequence] == ["a", "b", "M\u00e9lange \u809d x"]
    assert data.StructureSetROISequence[0].ROIGenerationAlgorithm == "SEMIAUTOMATIC"
    assert data.StructureSetROISequence[0].ROIDerivationAlgorithmIdentificationSequence[0].AlgorithmName == "abdomen-unet"
    assert list(data.ROIContourSequence[0].ROIDisplayColor) == list(structure_for("kidney_left").color)
    kidney, cyst, _ = data.RTROIObservationsSequence
    assert kidney.RTROIIdentificationCodeSequence[0].CodeMeaning == "Kidney"
    assert cyst.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Right"
    found = read_rtstruct(tmp_path / "a.dcm", grid)
    assert [one.structure.name for one in found[:2]] == ["kidney_left", "kidney_cyst_right"]


def test_structures_of_one_name_are_told_apart(tmp_path: Path, slices: list[Path]) -> None:
    grid = read_source_series(slices).grid
    mask = ball(grid.shape)
    organs = [Organ(name, structure_for("liver"), lambda: mask) for name in ("liver", "Liver", "x" * 70, "x" * 71, " ")]
    write_rtstruct(tmp_path / "a.dcm", organs, grid, slices)
    names = [str(item.ROIName) for item in pydicom.dcmread(tmp_path / "a.dcm").StructureSetROISequence]
    assert names == ["liver", "Liver_2", "x" * 58, "x" * 58 + "_2", "structure 5"]


def test_every_structure_of_the_catalog_is_recognized_again(tmp_path: Path, slices: list[Path]) -> None:
    grid = read_source_series(slices).grid
    mask = np.zeros(grid.shape, np.bool_)
    mask[3, 3, 2] = True
    write_rtstruct(tmp_path / "a.dcm", [Organ(name, structure_for(name), lambda: mask) for name in catalog()], grid, slices)
    assert [one.structure for one in read_rtstruct(tmp_path / "a.dcm", grid)] == list(catalog().values())


def foreign(path: Path, slices: list[Path], change: Any) -> Path:
    """Write a structure set and change its first structure as another program would have written it."""
    grid = read_source_series(slices).grid
    mask = np.zeros(grid.shape, np.bool_)
    mask[2:9, 2:8, 2] = True
    write_rtstruct(path, organs_of_masks({"liver": mask}), grid, slices)
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)
    return path


def test_holes_as_contours_of_their_own_and_points_are_understood(tmp_path: Path, slices: list[Path]) -> None:
    made = Phantom()

    def change(data: Any) -> None:
        outer = data.ROIContourSequence[0].ContourSequence[0]
        inner, point = pydicom.Dataset(), pydicom.Dataset()
        corners = np.array([[3.5, 3.5], [5.5, 3.5], [5.5, 5.5], [3.5, 5.5]]) * made.spacing
        inner.ContourData = [f"{v:.4f}" for x, y in corners for v in made.position(2) + np.array([x, y, 0])]
        inner.ContourGeometricType = "CLOSED_PLANAR"
        point.ContourGeometricType, point.ContourData = "POINT", [0, 0, 0]
        data.ROIContourSequence[0].ContourSequence = [outer, inner, point]

    path = foreign(tmp_path / "a.dcm", slices, change)
    grid = read_source_series(slices).grid
    (found,) = read_rtstruct(path, grid)
    expected = np.zeros(grid.shape, np.bool_)
    expected[2:9, 2:8, 2] = True
    expected[4:6, 4:6, 2] = False
    np.testing.assert_array_equal(found.mask(grid.shape), expected)


def test_contours_between_the_slices_are_refused(tmp_path: Path, slices: list[Path]) -> None:
    def change(data: Any) -> None:
        contour = data.ROIContourSequence[0].ContourSequence[0]
        contour.ContourData = [v + 1.2 * (n % 3 == 2) for n, v in enumerate(contour.ContourData)]

    path = foreign(tmp_path / "a.dcm", slices, change)
    with pytest.raises(GeometryError, match=r"do not lie on the slices of .*ct \(one at slice 2\.48\)"):
        read_rtstruct(path, read_source_series(slices).grid)


def test_bad_structure_sets_are_named(tmp_path: Path, slices: list[Path]) -> None:
    grid = read_source_series(slices).grid
    path = foreign(tmp_path / "a.dcm", slices, lambda _: None)
    content = path.read_bytes()
    for share in (0.2, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=r"a\.dcm"):
            [one.mask(grid.shape) for one in read_rtstruct(path, grid)]
    with pytest.raises(InputError, match="is no RT structure set"):
        read_rtstruct(slices[0], grid)
    path.write_text("text")
    with pytest.raises(InputError, match="is not a DICOM file"):
        read_rtstruct(path, grid)


def test_nothing_is_replaced_unasked_and_nothing_empty_is_written(tmp_path: Path, slices: list[Path]) -> None:
    grid = read_source_series(slices).grid
    empty = organs_of_masks({"liver": np.zeros(grid.shape, np.bool_)})
    with pytest.raises(InputError, match="none of 1 organs has a voxel"):
        write_rtstruct(tmp_path / "a.dcm", empty, grid, slices)
    assert not (tmp_path / "a.dcm").exists()
    (tmp_path / "a.dcm").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        export_organs(empty, grid, ExportRequest(RTSTRUCT, tmp_path / "a.dcm", source_files=tuple(slices)))


def test_contours_of_a_structure_without_a_name_are_refused(tmp_path: Path, slices: list[Path]) -> None:
    grid = read_source_series(slices).grid
    write_rtstruct(tmp_path / "a.dcm", organs_of_masks({"liver": ball(grid.shape)}), grid, slices)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.ROIContourSequence[0].ReferencedROINumber = 77
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="a structure 77 that it does not name"):
        read_rtstruct(tmp_path / "a.dcm", grid)
