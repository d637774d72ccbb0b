"""Any format by its name, label maps against their table, and images that cannot be segmented."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError, InputError, LabelError
from AtlasSegmentLib.volume import Volume, require_same_grid
from AtlasSegmentLib.volume_io import check_ct, label_values, read_label_volume, read_volume, strip_suffix, suffix_of, write_volume

WRITTEN = [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"]


class Table:
    """The one question that reading asks a label table."""

    def __init__(self, *known: int) -> None:
        self.known = {0, *known}

    def require_values(self, values: Any, source: str) -> None:
        unknown = sorted(set(values) - self.known)
        if unknown:
            message = f"{source}: unknown values {unknown}."
            raise LabelError(message)


@st.composite
def affines(draw: st.DrawFn) -> geometry.Matrix:
    """Any rotation, with flips, permuted axes, spacings of 0.3 to 6 mm and an origin within 2 m."""
    turn, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 2**31))).normal(size=(3, 3)))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    oblique = draw(st.booleans())
    axes = turn if oblique else np.eye(3)[:, draw(st.permutations([0, 1, 2]))]
    affine = np.eye(4)
    affine[:3, :3] = axes * signs * draw(st.tuples(*[st.floats(0.3, 6)] * 3))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-2000, 2000)] * 3))
    return affine


@pytest.mark.parametrize("suffix", WRITTEN)
@settings(max_examples=25, deadline=None)
@given(affine=affines())
def test_every_corner_of_every_grid_comes_back_within_a_tenth_of_a_micron(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, affine: geometry.Matrix
) -> None:
    array = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    path = tmp_path_factory.mktemp("grid") / f"a{suffix}"
    write_volume(path, Volume(array, affine))
    back = read_volume(path)
    np.testing.assert_array_equal(back.array, array)
    points = geometry.corners(array.shape)
    np.testing.assert_allclose(geometry.apply_affine(back.affine, points), geometry.apply_affine(affine, points), rtol=0, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(affine=affines(), code=st.sampled_from(["RAS", "LPS", "PIR", "SAL"]))
def test_all_formats_hold_one_image_whatever_its_axis_order(
    tmp_path_factory: pytest.TempPathFactory, affine: geometry.Matrix, code: str
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    volume = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine)
    for suffix in WRITTEN:
        write_volume(folder / f"a{suffix}", volume.reoriented(code))
        back = read_volume(folder / f"a{suffix}").reoriented(volume.orientation)
        require_same_grid(back, volume)
        np.testing.assert_array_equal(back.array, volume.array)


def test_a_sheared_image_fits_into_nifti_only(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    volume = Volume(np.zeros((2, 2, 2), np.int16), affine)
    write_volume(tmp_path / "a.nii.gz", volume)
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").affine, affine, atol=1e-6)
    with pytest.raises(GeometryError):
        write_volume(tmp_path / "a.nrrd", volume)


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("ct.nii.gz", "ct", ".nii.gz"),
        ("case 1.v2.NII.GZ", "case 1.v2", ".nii.gz"),
        ("Łódź.nrrd", "Łódź", ".nrrd"),
        ("a.mhd", "a", ".mhd"),
        ("folder.v1", "folder.v1", ""),
        (".nii.gz", ".nii.gz", ".nii.gz"),
    ],
)
def test_a_case_is_named_by_its_file_without_the_format(name: str, stem: str, suffix: str) -> None:
    assert strip_suffix(name) == stem
    assert suffix_of(name) == suffix


def test_names_of_no_format_are_refused_with_the_list_of_formats(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match=r"a\.png") as caught:
        read_volume(tmp_path / "a.png")
    assert all(suffix in caught.value.remedy for suffix in (".nii.gz", ".nrrd", ".mha", "DICOM"))
    with pytest.raises(InputError, match=r"b\.nhdr"):
        write_volume(tmp_path / "b.nhdr", Volume(np.zeros((1, 1, 1)), np.eye(4)))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.dcm", "folder"])
def test_what_is_not_there_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: cannot be read \(No such file"):
        read_volume(tmp_path / name)


def test_a_folder_goes_to_the_dicom_reader(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no DICOM image slices"):
        read_volume(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_file_in_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    write_volume(folder / "a.nii", Volume(np.zeros((1, 1, 1)), np.eye(4)))
    folder.chmod(0)
    try:
        with pytest.raises(InputError, match="cannot be read"):
            read_volume(folder / "a.nii")
    finally:
        folder.chmod(0o755)


def saved(folder: Path, array: np.ndarray[Any, Any], name: str = "label.nii.gz") -> Path:
    write_volume(folder / name, Volume(array, np.eye(4)))
    return folder / name


@pytest.mark.parametrize(
    ("dtype", "top", "kept"), [("float64", 3, "uint8"), ("int16", 255, "uint8"), ("int32", 256, "uint16"), ("uint8", 7, "uint8")]
)
def test_whole_values_of_any_dtype_become_the_smallest_unsigned_one(tmp_path: Path, dtype: str, top: int, kept: str) -> None:
    array = np.zeros((3, 4, 40), dtype)
    array[1, 1, 33] = top
    label = read_label_volume(saved(tmp_path, array), Table(top))
    assert label.array.dtype == np.dtype(kept)
    np.testing.assert_array_equal(label.array, array)
    assert isinstance(label.table, Table)


@pytest.mark.parametrize("value", [3.5, np.nan, np.inf])
def test_a_value_between_labels_is_refused_with_its_place(tmp_path: Path, value: float) -> None:
    array = np.zeros((3, 4, 40), np.float32)
    array[2, 1, 33] = value
    with pytest.raises(InputError, match=rf"label\.nii\.gz: .*got {value} at voxel \(2, 1, 33\)"):
        read_label_volume(saved(tmp_path, array), Table())


@pytest.mark.parametrize("value", [-1, 9])
def test_values_outside_the_table_are_refused_by_the_table(tmp_path: Path, value: int) -> None:
    array = np.full((2, 2, 2), value, np.int16)
    with pytest.raises(LabelError, match=rf"label\.nii\.gz: unknown values \[{value}\]"):
        read_label_volume(saved(tmp_path, array), Table(1))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int64", "float32"])
def test_the_values_of_a_label_map_are_listed_once(dtype: str) -> None:
    array = np.zeros((5, 5, 50), dtype)
    array[2, 2, 40:] = 4
    array[0, 0, 0] = 200 if dtype != "uint8" else 255
    assert label_values(array) == [0, 4, int(array[0, 0, 0])]
    assert label_values(array[::-1, :, ::2]) == [0, 4, int(array[0, 0, 0])]


def test_a_normal_ct_passes_and_its_array_is_not_touched() -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    check_ct(Volume(array, np.eye(4)))
    check_ct(Volume(array.astype(np.float32), np.eye(4)))
    assert array.tolist() == np.arange(24).reshape(2, 3, 4).tolist()


def test_voxels_that_are_not_finite_are_counted_and_the_first_is_named() -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 40)).astype(np.float32)
    array[1, 2, 35], array[0, 0, 36], array[3, 4, 39] = np.nan, np.inf, -np.inf
    with pytest.raises(InputError, match=r"ct\.nii\.gz: 3 voxels are not finite numbers .* first at \(1, 2, 35\)"):
        check_ct(Volume(array, np.eye(4), "ct.nii.gz"))


@pytest.mark.parametrize("array", [np.zeros((0, 3, 4), np.int16), np.full((2, 3, 40), -1024, np.int16), np.zeros((2, 2, 2), np.float32)])
def test_an_image_without_content_is_called_empty(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InputError, match=r"a\.nii: the image is empty"):
        check_ct(Volume(array, np.eye(4), "a.nii"))


def test_the_real_label_of_the_dicom_slab_lies_on_its_grid(shared_data: Path) -> None:
    folder = shared_data / "data" / "slab-dicom"
    ct = read_volume(folder / "dicom").reoriented("RAS")
    label = read_label_volume(folder / "reference_label.nii.gz", Table(*range(1, 118))).reoriented("RAS")
    require_same_grid(ct, label)
    assert 40 < ct.array[label.array == 5].mean() < 200
    one_file = next((folder / "dicom").iterdir())
    assert read_volume(one_file).shape == ct.shape
