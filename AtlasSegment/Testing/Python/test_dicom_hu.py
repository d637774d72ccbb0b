"""Hounsfield units: rescale of each slice, padding, photometric interpretation, and every compression."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.dicom_pixels import AIR_HU
from AtlasSegmentLib.dicom_series import inspect_dicom_folder, read_dicom_folder
from AtlasSegmentLib.errors import InputError
from dicom_phantoms import Phantom

pydicom = pytest.importorskip("pydicom")

WHOLE = {"RescaleSlope": 1, "RescaleIntercept": -1024}


def test_one_slice_without_rescale_among_slices_with_it_is_refused_by_name(tmp_path: Path) -> None:
    paths = Phantom().write(tmp_path, lambda z: {"RescaleSlope": None, "RescaleIntercept": None} if z == 2 else {})
    with pytest.raises(InputError, match=rf"{paths[2].name}: has no RescaleSlope and RescaleIntercept, and the other slices have"):
        read_dicom_folder(tmp_path)
    assert "RescaleSlope" in inspect_dicom_folder(tmp_path)[0].problem


def test_a_ct_without_any_rescale_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = Phantom(tags={"RescaleSlope": None, "RescaleIntercept": None})
    made.write(tmp_path)
    volume = read_dicom_folder(tmp_path)
    np.testing.assert_array_equal(volume.array[:, :, 1], made.pixels(1).T)
    assert "the stored values are taken as Hounsfield units" in caplog.text


def test_a_slope_of_zero_is_refused(tmp_path: Path) -> None:
    Phantom(tags={"RescaleSlope": 0}).write(tmp_path)
    with pytest.raises(InputError, match="rescale slope 0 and intercept 0 make no sense"):
        read_dicom_folder(tmp_path)


def test_values_that_are_no_hounsfield_units_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Phantom(tags={"RescaleType": "MGML"}).write(tmp_path)
    read_dicom_folder(tmp_path)
    assert "Its values are in MGML, not in Hounsfield units" in caplog.text


@pytest.mark.parametrize(("signed", "padding"), [(1, -2000), (0, 63536), (1, 63536)])
def test_padding_outside_of_the_field_of_view_becomes_air(tmp_path: Path, signed: int, padding: int) -> None:
    stored = np.full((10, 12), 1000, np.uint16)
    stored[0, :3] = padding & 0xFFFF
    tags = {**WHOLE, "PixelRepresentation": signed, "PixelPaddingValue": padding if padding >= 0 or signed else padding & 0xFFFF}
    made = Phantom(tags={**tags, "PixelData": stored.tobytes(), "PixelPaddingValue": None})
    for z in range(3):
        data = made.dataset(z)
        data.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
        data.save_as(tmp_path / f"{z}.dcm", enforce_file_format=True)
    array = read_dicom_folder(tmp_path).array
    assert array.dtype == np.int16
    assert np.unique(array[:3, 0]).tolist() == [AIR_HU]
    assert np.unique(array[3:]).tolist() == [1000 - 1024]


def test_a_range_of_padding_is_padding_throughout(tmp_path: Path) -> None:
    stored = np.full((10, 12), 500, np.int16)
    stored[0, :3] = [-3000, -2500, -2000]
    made = Phantom(tags={**WHOLE, "PixelData": stored.tobytes()})
    for z in range(2):
        data = made.dataset(z)
        data.add_new("PixelPaddingValue", "SS", -2000)
        data.add_new("PixelPaddingRangeLimit", "SS", -3000)
        data.save_as(tmp_path / f"{z}.dcm", enforce_file_format=True)
    assert np.unique(read_dicom_folder(tmp_path).array).tolist() == [AIR_HU, 500 - 1024]


def test_water_is_not_air_where_a_scanner_declares_it_as_padding(tmp_path: Path) -> None:
    made = Phantom(tags={"RescaleSlope": 1, "RescaleIntercept": 0, "PixelData": np.zeros((10, 12), np.int16).tobytes()})
    for z in range(2):
        data = made.dataset(z)
        data.add_new("PixelPaddingValue", "SS", 0)
        data.save_as(tmp_path / f"{z}.dcm", enforce_file_format=True)
    assert np.unique(read_dicom_folder(tmp_path).array).tolist() == [0]


def test_an_inverted_display_does_not_invert_hounsfield_units(tmp_path: Path) -> None:
    Phantom().write(tmp_path / "a")
    Phantom(tags={"PhotometricInterpretation": "MONOCHROME1"}).write(tmp_path / "b")
    np.testing.assert_array_equal(read_dicom_folder(tmp_path / "a").array, read_dicom_folder(tmp_path / "b").array)


def gdcm_compressed(path: Path, compressor: str) -> None:
    """Compress a file in place as JPEG lossless or JPEG 2000."""
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    image, original = reader.Execute(), pydicom.dcmread(path)
    stored = SimpleITK.GetImageFromArray(original.pixel_array[None])
    del image
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    packed = path.with_suffix(".packed.dcm")
    writer.SetFileName(str(packed))
    writer.Execute(stored)
    made = pydicom.dcmread(packed)
    packed.unlink()
    original.PixelData = made.PixelData
    original["PixelData"].VR = "OB"
    original.file_meta.TransferSyntaxUID = made.file_meta.TransferSyntaxUID
    original.save_as(path, enforce_file_format=True)


def packed(path: Path, how: str) -> str:
    """Compress a file in place and return the name of its transfer syntax."""
    if how in {"JPEG", "JPEG2000"}:
        gdcm_compressed(path, how)
    elif how == "deflated":
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        data.save_as(path, enforce_file_format=True)
    else:
        data = pydicom.dcmread(path)
        data.compress(getattr(pydicom.uid, how), encoding_plugin="pyjpegls" if how == "JPEGLSLossless" else "pydicom")
        data.save_as(path, enforce_file_format=True)
    return str(pydicom.dcmread(path).file_meta.TransferSyntaxUID.name)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("JPEG", "JPEG Lossless"),
        ("JPEG2000", "JPEG 2000"),
        ("JPEGLSLossless", "JPEG-LS Lossless"),
        ("RLELossless", "RLE Lossless"),
        ("deflated", "Deflated"),
    ],
)
def test_compressed_slices_hold_the_same_units_as_plain_ones(tmp_path: Path, how: str, name: str, signed: int) -> None:
    if how == "JPEGLSLossless":
        pytest.importorskip("jpeg_ls")
    made = Phantom((12, 10, 2), tags={**WHOLE, "PixelRepresentation": signed})
    stored = {"PixelData": (np.random.default_rng(3).integers(0, 4000, (10, 12)) - 900 * signed).astype("<i2").tobytes()}
    made.write(tmp_path / "plain", lambda _: stored)
    for path in made.write(tmp_path / "packed", lambda _: stored):
        assert packed(path, how).startswith(name)
    expected = read_dicom_folder(tmp_path / "plain").array
    assert expected.min() < (-1200 if signed else -1000)
    np.testing.assert_array_equal(read_dicom_folder(tmp_path / "packed").array, expected)


def test_a_compression_without_its_decoder_names_the_packages(tmp_path: Path) -> None:
    from pydicom.pixels.decoders import HTJ2KLosslessDecoder

    if HTJ2KLosslessDecoder.is_available:
        pytest.skip("a decoder of HTJ2K is installed")
    paths = Phantom((12, 10, 2)).write(tmp_path)
    for path in paths:
        data = pydicom.dcmread(path)
        data.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
        data.save_as(path, enforce_file_format=True)
    with pytest.raises(InputError, match="High-Throughput JPEG 2000") as caught:
        read_dicom_folder(tmp_path)
    assert "pip install pylibjpeg" in caught.value.remedy


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([8, 10, 12, 16]), st.booleans(), st.sampled_from([1, 2, 0.5]), st.integers(-2000, 2000), st.integers(0, 2**32 - 1))
def test_stored_values_of_any_width_and_sign_are_rescaled_exactly(bits: int, signed: bool, slope: float, intercept: int, seed: int) -> None:
    import tempfile

    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    stored = np.random.default_rng(seed).integers(low, high, (2, 10, 12))
    tags = {
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
    }
    with tempfile.TemporaryDirectory() as folder:
        mask = (1 << bits) - 1  # the bits above those stored may hold an overlay
        Phantom((12, 10, 2), tags=tags).write(Path(folder), lambda z: {"PixelData": (stored[z] & mask).astype("<u2").tobytes()})
        array = read_dicom_folder(Path(folder)).array
    np.testing.assert_array_equal(array, (stored * slope + intercept).transpose(2, 1, 0))


def test_the_real_slices_have_no_remark_but_their_name(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        volume = read_dicom_folder(shared_data / "data" / "slab-dicom" / "dicom")
    assert caplog.text == ""
    assert volume.origin is not None
    assert (volume.origin.tilt_deg, volume.origin.remarks, volume.origin.others) == (0.0, (), ())
