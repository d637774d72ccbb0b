"""Enhanced multi-frame CT: read as the single-frame series that it replaces, and referred to frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.dicom_labels import read_label_object
from AtlasSegmentLib.dicom_rtstruct import write_rtstruct
from AtlasSegmentLib.dicom_seg import write_dicom_seg
from AtlasSegmentLib.dicom_seg_source import read_source_series
from AtlasSegmentLib.dicom_series import inspect_dicom_folder, read_dicom_folder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.export_organs import organs_of_masks
from AtlasSegmentLib.volume_io import read_volume
from dicom_phantoms import Phantom

pydicom = pytest.importorskip("pydicom")

ORDER = [3, 1, 0, 4, 2]


def test_frames_in_any_order_are_the_slices_they_are(tmp_path: Path) -> None:
    made = Phantom()
    made.write(tmp_path / "single")
    path = made.write_enhanced(tmp_path / "enhanced" / "IM1", ORDER)
    one = read_volume(tmp_path / "single")
    for source in (path, path.parent):
        two = read_volume(source)
        np.testing.assert_array_equal(two.array, one.array)
        np.testing.assert_allclose(two.affine, one.affine)
    (report,) = inspect_dicom_folder(path.parent)
    assert (report.slices, report.modality, report.problem) == (5, "CT", "")


def test_every_frame_may_have_its_own_rescale(tmp_path: Path) -> None:
    made = Phantom()
    path = made.write_enhanced(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    shared = data.SharedFunctionalGroupsSequence[0]
    del shared.PixelValueTransformationSequence
    for z, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        values = pydicom.Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = z + 1, -z, "HU"
        group.PixelValueTransformationSequence = [values]
    data.save_as(path)
    array = read_dicom_folder(tmp_path).array
    for z in range(5):
        np.testing.assert_array_equal(array[:, :, z], made.pixels(z).T.astype(int) * (z + 1) - z)
    del data.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence
    data.save_as(path)
    with pytest.raises(InputError, match=r"a\.dcm frame 3: has no RescaleSlope"):
        read_dicom_folder(tmp_path)


def test_compressed_frames_are_read_one_by_one(tmp_path: Path) -> None:
    made = Phantom()
    path = made.write_enhanced(tmp_path / "a.dcm", ORDER)
    expected = read_dicom_folder(tmp_path).array
    data = pydicom.dcmread(path)
    for syntax, plugin in ((pydicom.uid.RLELossless, "pydicom"), (pydicom.uid.JPEGLSLossless, "pyjpegls")):
        if plugin == "pyjpegls":
            pytest.importorskip("jpeg_ls")
        packed = pydicom.dcmread(path)
        packed.compress(syntax, encoding_plugin=plugin)
        packed.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        np.testing.assert_array_equal(read_dicom_folder(tmp_path).array, expected)
        data.save_as(path)


def test_a_frame_without_a_place_and_a_missing_frame_are_refused(tmp_path: Path) -> None:
    path = Phantom().write_enhanced(tmp_path / "a.dcm", [0, 1, 3, 4])
    with pytest.raises(InputError, match="1 slices are missing, at 305 mm"):
        read_dicom_folder(tmp_path)
    data = pydicom.dcmread(path)
    del data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    data.save_as(path)
    with pytest.raises(InputError, match=r"a\.dcm: .*a frame has no PlanePositionSequence"):
        read_dicom_folder(tmp_path)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("write", [write_dicom_seg, write_rtstruct])
def test_segmentations_of_an_enhanced_ct_refer_to_its_frames_and_read_back_equal(tmp_path: Path, write: Any, overlap: bool) -> None:
    if write is write_dicom_seg:
        pytest.importorskip("highdicom")
    path = Phantom().write_enhanced(tmp_path / "ct" / "a.dcm", ORDER)
    grid = read_dicom_folder(path.parent).grid
    mask = np.zeros(grid.shape, np.bool_)
    mask[3:8, 2:7, 1:3] = True
    organs = organs_of_masks({"liver": mask, "spleen": mask if overlap else np.roll(mask, 5, 0) & ~mask})
    write(tmp_path / "b.dcm", organs, grid, [path])
    back, _ = read_label_object(tmp_path / "b.dcm", grid)
    for a, b in zip(organs, back, strict=True):
        np.testing.assert_array_equal(a.mask(grid.shape), b.mask(grid.shape))
    data = pydicom.dcmread(tmp_path / "b.dcm")
    if write is write_rtstruct:
        used = [c.ContourImageSequence[0].ReferencedFrameNumber for c in data.ROIContourSequence[0].ContourSequence]
        assert used == [ORDER.index(1) + 1, ORDER.index(2) + 1]
    else:
        images = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in data.PerFrameFunctionalGroupsSequence]
        assert {int(image.ReferencedFrameNumber) for image in images} == {ORDER.index(1) + 1, ORDER.index(2) + 1}


def test_several_enhanced_files_cannot_be_referred_to_and_it_is_said(tmp_path: Path) -> None:
    made = Phantom()
    files = [made.write_enhanced(tmp_path / f"{n}.dcm", order) for n, order in enumerate(([0, 1, 2], [3, 4]))]
    assert read_dicom_folder(tmp_path).shape == (12, 10, 5)
    with pytest.raises(InputError, match="several files"):
        read_source_series(files)
