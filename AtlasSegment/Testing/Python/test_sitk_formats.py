"""NRRD and MetaImage: where the voxels lie, what is refused, and what a damaged file leads to."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.sitk_formats import read_sitk, write_sitk
from AtlasSegmentLib.volume import Volume

SUFFIXES = [".nrrd", ".mha", ".mhd"]


def oblique_volume(dtype: str = "int16") -> Volume:
    rng = np.random.default_rng(7)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.7, 0.9, 2.5]
    affine[:3, 3] = [12.3456789, -98.7654321, 1e3 / 3]
    return Volume(rng.integers(0, 100, (4, 5, 6)).astype(dtype), affine)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"])
def test_an_oblique_volume_comes_back_with_its_voxels_dtype_and_place(tmp_path: Path, suffix: str, dtype: str) -> None:
    volume = oblique_volume(dtype)
    write_sitk(tmp_path / f"a{suffix}", volume)
    back = read_sitk(tmp_path / f"a{suffix}")
    assert back.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, rtol=0, atol=1e-9)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_simpleitk_sees_the_voxels_at_the_same_points_of_the_body(tmp_path: Path, suffix: str) -> None:
    volume = oblique_volume()
    write_sitk(tmp_path / f"a{suffix}", volume)
    image = SimpleITK.ReadImage(str(tmp_path / f"a{suffix}"))
    for index in ((0, 0, 0), (3, 0, 0), (0, 4, 0), (0, 0, 5), (1, 2, 3)):
        ras = geometry.apply_affine(volume.affine, index)
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), ras * [-1, -1, 1], atol=1e-9)
        assert image[index] == volume.array[index]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_simpleitk_writes_is_read_at_the_same_points(tmp_path: Path, suffix: str) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    image.SetOrigin((10, 20, 30))
    image.SetSpacing((0.5, 0.7, 1.2))
    image.SetDirection((0, 1, 0, 0, 0, -1, 1, 0, 0))
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"), True)
    volume = read_sitk(tmp_path / f"a{suffix}")
    for index in ((0, 0, 0), (4, 0, 0), (0, 3, 0), (4, 3, 2)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(geometry.apply_affine(volume.affine, index), lps * [-1, -1, 1], atol=1e-9)
        assert volume.array[index] == image[index]


@pytest.mark.parametrize(
    ("space", "expected"),
    [("left-posterior-superior", [-10, -20, 30]), ("right-anterior-superior", [10, 20, 30]), ("left-anterior-superior", [-10, 20, 30])],
)
def test_a_nrrd_states_its_space_and_is_read_in_it(tmp_path: Path, space: str, expected: list[float]) -> None:
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 2 3 4\nspace directions: (1,0,0) (0,2,0) (0,0,3)\n"
        "kinds: domain domain domain\nendian: little\nencoding: gzip\nspace origin: (10,20,30)\n\n"
    )
    path = tmp_path / "a.nrrd"
    path.write_bytes(header.encode() + gzip.compress(np.arange(24, dtype="<i2").tobytes()))
    volume = read_sitk(path)
    np.testing.assert_allclose(volume.affine[:3, 3], expected)
    assert volume.orientation == "".join({"left": "L", "posterior": "P"}.get(word, word[0].upper()) for word in space.split("-"))
    assert volume.array[1, 0, 0] == 1
    assert volume.array[0, 0, 1] == 6


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_sheared_volume_is_refused_before_anything_is_written(tmp_path: Path, suffix: str) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.01
    with pytest.raises(GeometryError, match="right angles") as caught:
        write_sitk(tmp_path / f"a{suffix}", Volume(np.zeros((2, 2, 2), np.int16), affine))
    assert "NIfTI" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_dtype_or_suffix_without_a_place_in_the_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="complex64"):
        write_sitk(tmp_path / "a.nrrd", Volume(np.zeros((2, 2, 2), np.complex64), np.eye(4)))
    with pytest.raises(InputError, match="nhdr"):
        write_sitk(tmp_path / "a.nhdr", oblique_volume())
    with pytest.raises(InputError, match="empty"):
        write_sitk(tmp_path / "a.nrrd", Volume(np.zeros((2, 0, 2), np.int16), np.eye(4)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dtype", "stored"), [("bool", "uint8"), ("float16", "float32"), (">i2", "int16")])
def test_dtypes_without_a_name_in_the_format_are_widened_without_loss(tmp_path: Path, dtype: str, stored: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    write_sitk(tmp_path / "a.mha", Volume(array, np.eye(4)))
    back = read_sitk(tmp_path / "a.mha").array
    assert back.dtype == np.dtype(stored)
    np.testing.assert_array_equal(back, array)


def test_color_layered_and_four_dimensional_images_are_refused_with_the_way_out(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 2), np.uint8), isVector=True), str(tmp_path / "color.nrrd"))
    SimpleITK.WriteImage(SimpleITK.Image([3, 4, 5, 2], SimpleITK.sitkInt16), str(tmp_path / "time.mha"))
    SimpleITK.WriteImage(SimpleITK.Image([3, 4], SimpleITK.sitkInt16), str(tmp_path / "flat.mha"))
    with pytest.raises(InputError, match=r"color\.nrrd: expected one number a voxel, got 2") as caught:
        read_sitk(tmp_path / "color.nrrd")
    assert "label map" in caught.value.remedy
    with pytest.raises(InputError, match=r"time\.mha: expected a 3-D image, got 4-D"):
        read_sitk(tmp_path / "time.mha")
    with pytest.raises(InputError, match=r"flat\.mha: expected a 3-D image, got 2-D"):
        read_sitk(tmp_path / "flat.mha")


def noisy_file(folder: Path, suffix: str) -> Path:
    """Write 60 kB of noise and return the file that holds the voxels."""
    array = np.random.default_rng(3).integers(-1000, 1000, (30, 30, 30)).astype(np.int16)
    write_sitk(folder / f"a{suffix}", Volume(array, np.eye(4)))
    return folder / ("a.raw" if suffix == ".mhd" else f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    data = noisy_file(tmp_path, suffix)
    data.write_bytes(data.read_bytes()[:20000])
    with pytest.raises(InputError, match=r"/a\.\w+: .*truncated"):
        read_sitk(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_flipped_bits_in_compressed_voxels_are_noticed(tmp_path: Path, suffix: str) -> None:
    data = noisy_file(tmp_path, suffix)
    content = bytearray(data.read_bytes())
    for position in range(len(content) // 2, len(content) // 2 + 20):
        content[position] ^= 0x55
    data.write_bytes(content)
    with pytest.raises(InputError, match=r"/a\.\w+: .*damaged"):
        read_sitk(data)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_and_missing_files_are_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"note{suffix}").write_text("not an image")
    with pytest.raises(InputError, match="another format"):
        read_sitk(tmp_path / f"note{suffix}")
    with pytest.raises(InputError, match="No such file"):
        read_sitk(tmp_path / f"absent{suffix}")


def test_a_header_whose_voxel_file_is_gone_is_refused(tmp_path: Path) -> None:
    noisy_file(tmp_path, ".mhd").unlink()
    with pytest.raises(InputError, match=r"a\.mhd"):
        read_sitk(tmp_path / "a.mhd")


def test_writing_an_mhd_again_never_touches_the_voxels_that_the_old_header_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mhd"
    old, new = oblique_volume(), oblique_volume().with_array(np.ones((4, 5, 6), np.int16))
    write_sitk(path, old)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("AtlasSegmentLib.sitk_formats.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            write_sitk(path, new)
    np.testing.assert_array_equal(read_sitk(path).array, old.array)
    write_sitk(path, new)
    np.testing.assert_array_equal(read_sitk(path).array, new.array)


def test_writing_an_mhd_again_leaves_one_header_and_one_voxel_file(tmp_path: Path) -> None:
    for _ in range(3):
        write_sitk(tmp_path / "a.mhd", oblique_volume())
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".mhd", ".raw"]


def test_equal_volumes_give_equal_bytes(tmp_path: Path) -> None:
    for suffix in (".nrrd", ".mha"):
        write_sitk(tmp_path / f"a{suffix}", oblique_volume())
        write_sitk(tmp_path / f"b{suffix}", oblique_volume())
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_without_simpleitk_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sitk(tmp_path / "a.nrrd", oblique_volume())
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match="SimpleITK") as caught:
        read_sitk(tmp_path / "a.nrrd")
    assert 'pip install "slicer-atlas-annotator[formats]"' in caught.value.remedy


def test_the_formats_are_written_without_isal_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    volume = oblique_volume()
    for suffix in (".nrrd", ".mha"):
        write_sitk(tmp_path / f"a{suffix}", volume)
        np.testing.assert_array_equal(read_sitk(tmp_path / f"a{suffix}").array, volume.array)
