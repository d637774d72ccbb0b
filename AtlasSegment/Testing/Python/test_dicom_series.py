"""Folders of DICOM slices: which files count, where each voxel lies, and which folders are refused."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from AtlasSegmentLib import geometry
from AtlasSegmentLib.dicom_series import inspect_dicom_folder, read_dicom_file_series, read_dicom_folder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.volume import Volume, reorient

SERIES = "1.2.3.100"
SHAPE = (6, 5)  # columns, rows


def stored_slice(k: int) -> np.ndarray[Any, Any]:
    """Stored values of slice k, indexed [row, column], unlike any other slice."""
    return (np.arange(30).reshape(5, 6) + 100 * k).astype(np.uint16)


def make_slice(k: int, **changes: Any) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.SeriesDescription, data.Modality = SERIES, "portal venous", "CT"
    data.ImageType, data.InstanceNumber, data.SliceThickness = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, 2
    data.Columns, data.Rows = SHAPE
    data.PixelSpacing = [0.8, 0.7]  # between rows, between columns
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-10, -20, 2 * k]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = stored_slice(k).tobytes()
    for name, value in changes.items():
        setattr(data, name, value)
    return data


def save(data: Dataset, folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    data.save_as(folder / name, enforce_file_format=True)
    return folder / name


def save_series(folder: Path, count: int = 5, change: Callable[[int], dict[str, Any]] = lambda _: {}, prefix: str = "") -> Path:
    names = np.random.default_rng(1).permutation(count)  # names say nothing about the order
    for k in range(count):
        save(make_slice(k, **change(k)), folder, f"{prefix}{names[k]}.dcm")
    return folder


def expected_hu(count: int = 5) -> np.ndarray[Any, Any]:
    return np.stack([stored_slice(k).T.astype(np.int16) - 1024 for k in range(count)], axis=2)


def test_slices_are_ordered_by_position_and_placed_in_ras(tmp_path: Path) -> None:
    volume = read_dicom_folder(save_series(tmp_path / "ct"))
    np.testing.assert_array_equal(volume.array, expected_hu())
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.affine, [[-0.7, 0, 0, 10], [0, -0.8, 0, 20], [0, 0, 2, 0], [0, 0, 0, 1]], atol=1e-12)
    assert volume.orientation == "LPS"


def test_slices_numbered_from_head_to_feet_give_the_same_volume(tmp_path: Path) -> None:
    volume = read_dicom_folder(save_series(tmp_path / "ct", change=lambda k: {"InstanceNumber": 99 - k}))
    np.testing.assert_array_equal(volume.array, expected_hu())


def test_coronal_slices_are_stacked_along_their_normal(tmp_path: Path) -> None:
    plane = [1, 0, 0, 0, 0, -1]  # columns to the left, rows to the feet: the normal points to the back
    folder = save_series(tmp_path / "ct", change=lambda k: {"ImageOrientationPatient": plane, "ImagePositionPatient": [0, 3 * k, 0]})
    volume = read_dicom_folder(folder)
    assert volume.orientation == "LIP"
    for k in range(5):
        np.testing.assert_allclose(geometry.apply_affine(volume.affine, [0, 0, k]), [0, -3 * k, 0], atol=1e-12)
    np.testing.assert_array_equal(volume.array, expected_hu())


def test_a_rounded_oblique_orientation_agrees_with_simpleitk(tmp_path: Path) -> None:
    axes, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])

    def change(k: int) -> dict[str, Any]:
        position = [float(f"{value:.6f}") for value in 1.5 * k * axes[:, 2] + [5, 6, 7]]
        return {"ImageOrientationPatient": [round(value, 6) for value in axes[:, :2].T.ravel()], "ImagePositionPatient": position}

    folder = save_series(tmp_path / "ct", change=change)
    assert_same_as_simpleitk(read_dicom_folder(folder), folder)


def test_an_orientation_rounded_to_three_digits_does_not_change_the_spacing(tmp_path: Path) -> None:
    plane = [0.866, 0.5, 0, -0.5, 0.866, 0]
    volume = read_dicom_folder(save_series(tmp_path / "ct", change=lambda _: {"ImageOrientationPatient": plane}))
    np.testing.assert_allclose(volume.spacing, [0.7, 0.8, 2], rtol=1e-12)


def assert_same_as_simpleitk(volume: Volume, folder: Path) -> None:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).transpose(), volume.array)
    for index in geometry.corners(volume.shape).astype(int).tolist():
        lps = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(geometry.apply_affine(volume.affine, index), np.array(lps) * [-1, -1, 1], atol=1e-4)


def test_each_slice_is_rescaled_by_its_own_slope(tmp_path: Path) -> None:
    folder = save_series(tmp_path / "pet", change=lambda k: {"RescaleSlope": 0.25 * (k + 1), "RescaleIntercept": k})
    volume = read_dicom_folder(folder)
    assert volume.array.dtype == np.float32
    for k in range(5):
        np.testing.assert_allclose(volume.array[:, :, k], stored_slice(k).T * 0.25 * (k + 1) + k)


def test_whole_values_stay_int16_also_with_a_fractional_slope(tmp_path: Path) -> None:
    folder = save_series(tmp_path / "ct", 2, lambda k: {"RescaleSlope": 0.5, "PixelData": (stored_slice(k) * 2).tobytes()})
    assert read_dicom_folder(folder).array.dtype == np.int16
    folder = save_series(tmp_path / "big", 2, lambda _: {"RescaleSlope": 1000})
    assert read_dicom_folder(folder).array.dtype == np.float32


def test_slices_without_rescale_keep_their_stored_values(tmp_path: Path) -> None:
    folder = tmp_path / "mr"
    for k in range(2):
        data = make_slice(k)
        del data.RescaleSlope, data.RescaleIntercept
        save(data, folder, f"{k}.dcm")
    np.testing.assert_array_equal(read_dicom_folder(folder).array, expected_hu(2) + 1024)


def test_signed_values_and_overlays_in_the_unused_bits_are_read_right(tmp_path: Path) -> None:
    signed = {"PixelRepresentation": 1, "RescaleIntercept": 0}
    minus_five = np.full((5, 6), (-5) & 0x0FFF, np.uint16) | 0x3000  # 12 bits stored, an overlay above them
    folder = save_series(tmp_path / "ct", 2, lambda _: {**signed, "PixelData": minus_five.tobytes()})
    assert np.unique(read_dicom_folder(folder).array).tolist() == [-5]


def compress(data: Dataset, scratch: Path) -> Dataset:
    """Pack the pixels as lossless JPEG 2000."""
    pixels = np.frombuffer(data.PixelData, np.uint16).reshape(data.Rows, data.Columns)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels), str(scratch / "slice.jp2"))
    content = (scratch / "slice.jp2").read_bytes()
    data.PixelData = encapsulate([content[content.index(b"\xff\x4f\xff\x51") :]])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return data


def test_files_that_are_no_slices_are_left_out_with_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save_series(tmp_path / "ct")
    (folder / "readme.txt").write_text("CT of the abdomen")
    (folder / "empty").touch()
    (folder / "below").mkdir()
    save(make_slice(1, Modality="SEG", SeriesInstanceUID="1.2.4"), folder, "seg.dcm")
    save(make_slice(1, Modality="RTSTRUCT", SeriesInstanceUID="1.2.5"), folder, "rt.dcm")
    save(make_slice(1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.2.6"), folder, "scout.dcm")
    with caplog.at_level(logging.WARNING):
        volume = read_dicom_folder(folder)
    np.testing.assert_array_equal(volume.array, expected_hu())
    assert "1 RTSTRUCT object, 1 SEG object, 1 localizer, 2 not a DICOM file" in caplog.text


def test_one_of_two_series_is_chosen_by_the_end_of_its_uid(tmp_path: Path) -> None:
    folder = save_series(tmp_path / "ct")
    save_series(folder, 3, lambda _: {"SeriesInstanceUID": "1.2.3.200", "SeriesDescription": "lung"}, prefix="b")
    assert read_dicom_folder(folder).shape == (6, 5, 5)
    assert read_dicom_folder(folder, series="200").shape == (6, 5, 3)
    assert read_dicom_folder(folder, series="1.2.3.100").shape == (6, 5, 5)
    with pytest.raises(InputError, match=r"2 series that '00' names.*'portal venous' .*5 slices.*; 'lung' .*3 slices") as caught:
        read_dicom_folder(folder, series="00")
    assert "--series" in caught.value.remedy
    with pytest.raises(InputError, match="no series that '300' names"):
        read_dicom_folder(folder, series="300")
    assert [report.slices for report in inspect_dicom_folder(folder)] == [5, 3]


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    folder = save_series(tmp_path / "ct")
    other = save(make_slice(0, SeriesInstanceUID="1.2.3.200"), folder, "other.dcm")
    assert read_dicom_file_series(folder / "0.dcm").shape == (6, 5, 5)
    assert read_dicom_file_series(other).shape == (6, 5, 1)
    (folder / "note").write_text("no")
    with pytest.raises(InputError, match="note: is not a DICOM file"):
        read_dicom_file_series(folder / "note")


def test_missing_slices_are_named_by_their_position(tmp_path: Path) -> None:
    folder = tmp_path / "ct"
    for k in (0, 1, 2, 5, 6, 8):
        save(make_slice(k), folder, f"{k}.dcm")
    with pytest.raises(InputError, match="3 slices are missing, at 6, 8, 14 mm"):
        read_dicom_folder(folder)
    (report,) = inspect_dicom_folder(folder)
    assert report.missing_mm == (6, 8, 14)
    assert "missing" in report.problem


def test_two_slices_at_one_position_are_several_phases(tmp_path: Path) -> None:
    folder = save_series(tmp_path / "phases")
    save(make_slice(2, PixelData=bytes(60)), folder, "again.dcm")
    with pytest.raises(InputError, match=r"1 position\(s\) hold more than one slice .*several phases"):
        read_dicom_folder(folder)
    (report,) = inspect_dicom_folder(folder)
    assert "several phases" in report.problem


def test_uneven_spacing_is_refused_and_rounding_is_not(tmp_path: Path) -> None:
    uneven = save_series(tmp_path / "a", change=lambda k: {"ImagePositionPatient": [0, 0, 2 * k + 0.5 * (k == 3)]})
    with pytest.raises(InputError, match="unevenly spaced"):
        read_dicom_folder(uneven)
    rounded = save_series(tmp_path / "b", change=lambda k: {"ImagePositionPatient": [0, 0, round(k / 3 * 2, 2)]})
    assert read_dicom_folder(rounded).spacing[2] == pytest.approx(2 / 3, abs=0.01)
    beside = save_series(tmp_path / "c", change=lambda k: {"ImagePositionPatient": [0.5 * (k == 2), 0, 2 * k]})
    with pytest.raises(InputError, match=r"the slice at 4\.000 mm lies 0\.500 mm beside"):
        read_dicom_folder(beside)


def test_gantry_tilt_keeps_every_slice_where_it_was_scanned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shift = 2 * np.tan(np.radians(15))
    folder = save_series(tmp_path / "ct", change=lambda k: {"ImagePositionPatient": [0, round(shift * k, 9), 2 * k]})
    with caplog.at_level(logging.WARNING):
        volume = read_dicom_folder(folder)
    assert "tilted by 15.00 degrees" in caplog.text
    for k in range(5):
        np.testing.assert_allclose(geometry.apply_affine(volume.affine, [0, 0, k]), [0, -shift * k, 2 * k], atol=1e-6)
    assert volume.voxel_volume_mm3 == pytest.approx(0.7 * 0.8 * 2)
    (report,) = inspect_dicom_folder(folder)
    assert report.tilt_deg == pytest.approx(15, abs=1e-4)
    assert report.spacing == pytest.approx((0.7, 0.8, 2))
    assert report.problem == ""


@pytest.mark.parametrize(
    "change",
    [{"PixelSpacing": [1, 1]}, {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, {"Rows": 3, "PixelData": bytes(36)}],
)
def test_slices_of_different_size_spacing_or_orientation_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = save_series(tmp_path / "ct")
    save(make_slice(9, **change), folder, "odd.dcm")
    with pytest.raises(InputError, match=r"mixes slices of different size, spacing or orientation"):
        read_dicom_folder(folder)


def test_a_single_slice_has_the_thickness_it_states(tmp_path: Path) -> None:
    save(make_slice(0), tmp_path / "one", "a.dcm")
    assert read_dicom_folder(tmp_path / "one").spacing[2] == pytest.approx(2)
    save(make_slice(0, SliceThickness=None), tmp_path / "flat", "a.dcm")
    with pytest.raises(InputError, match="single slice without SliceThickness"):
        read_dicom_folder(tmp_path / "flat")


@pytest.mark.parametrize("cut", [0, 100, 140, 160, 300, 500, 663, 699, 756, -30, -1])
def test_a_truncated_slice_is_named_and_never_left_out(tmp_path: Path, cut: int) -> None:
    folder = save_series(tmp_path / "ct", 3)
    (folder / "1.dcm").write_bytes((folder / "1.dcm").read_bytes()[:cut])
    with pytest.raises(InputError, match=r"1\.dcm: .*(truncated|damaged)"):
        read_dicom_folder(folder)


def test_a_damaged_jpeg_2000_slice_is_named(tmp_path: Path) -> None:
    path = save(compress(make_slice(0), tmp_path), tmp_path / "ct", "0.dcm")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"0\.dcm: .*damaged"):
        read_dicom_folder(tmp_path / "ct")


def test_header_values_that_make_no_sense_are_refused_by_file(tmp_path: Path) -> None:
    for number, change in enumerate(({"PixelSpacing": [0, 1]}, {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]})):
        folder = tmp_path / str(number)
        save(make_slice(0, **change), folder, "bad.dcm")
        with pytest.raises(InputError, match=r"bad\.dcm"):
            read_dicom_folder(folder)


def test_folders_without_slices_say_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no DICOM image slices \(no files\)"):
        read_dicom_folder(tmp_path / "empty")
    with pytest.raises(InputError, match="no DICOM image slices"):
        inspect_dicom_folder(tmp_path / "empty")
    with pytest.raises(InputError, match="cannot be read"):
        read_dicom_folder(tmp_path / "absent")
    save(make_slice(0, NumberOfFrames=5), tmp_path / "frames", "a.dcm")
    with pytest.raises(InputError, match="multi-frame") as caught:
        read_dicom_folder(tmp_path / "frames")
    assert "dcm2niix" in caught.value.remedy


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    folder = save_series(tmp_path / "ct")
    folder.chmod(0)
    try:
        with pytest.raises(InputError, match="cannot be read"):
            read_dicom_folder(folder)
    finally:
        folder.chmod(0o755)


def test_jpeg_2000_slices_are_decoded_and_rescaled_like_plain_ones(tmp_path: Path) -> None:
    for k in range(3):
        save(compress(make_slice(k, RescaleSlope=2), tmp_path), tmp_path / "ct", f"{k}.dcm")
    np.testing.assert_array_equal(read_dicom_folder(tmp_path / "ct").array, (expected_hu(3) + 1024) * 2 - 1024)


def test_the_real_series_agrees_with_simpleitk(shared_data: Path) -> None:
    folder = shared_data / "data" / "slab-dicom" / "dicom"
    volume = read_dicom_folder(folder)
    assert volume.shape == (512, 512, 20)
    assert_same_as_simpleitk(volume, folder)


def test_the_real_label_lands_on_the_anatomy_though_its_rows_are_flipped(shared_data: Path) -> None:
    ct = read_dicom_folder(shared_data / "data" / "slab-dicom" / "dicom").reoriented("RAS")
    stored = nib.load(shared_data / "data" / "slab-dicom" / "reference_label.nii.gz")
    label, affine = reorient(np.asarray(stored.dataobj), stored.affine, "RAS")
    assert geometry.same_grid(ct.shape, ct.affine, label.shape, affine)
    liver, spleen, aorta = (float(ct.array[label == value].mean()) for value in (5, 1, 52))
    assert 40 < liver < 200
    assert 40 < spleen < 250
    assert aorta > 100
    bones = [value for value in range(26, 51) if np.count_nonzero(label == value) > 100]
    assert bones
    assert all(float(ct.array[label == value].mean()) > liver for value in bones)
    flipped = float(ct.array[:, ::-1][label == 5].std())
    assert float(ct.array[label == 5].std()) < 0.5 * flipped
