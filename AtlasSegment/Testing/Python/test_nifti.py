"""NIfTI: what we read equals what nibabel reads, what we write is read by others, and damage is refused with the file's name."""

from __future__ import annotations

import gzip
import logging
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AtlasSegmentLib import nifti
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.nifti import open_slabs, read_grid, read_nifti, write_nifti, write_slabs
from AtlasSegmentLib.volume import Volume

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4"]
DTYPES = [*INTEGERS, "f4", "f8"]
ONCE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def quiet_nibabel() -> Any:
    """Nibabel reports on standard error what it mends in the headers that we damage on purpose."""
    before = nib.imageglobals.logger.level
    nib.imageglobals.logger.setLevel(logging.CRITICAL + 1)
    yield
    nib.imageglobals.logger.setLevel(before)


@pytest.fixture(params=["isal", "zlib"])
def compressor(request: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a test with the fast gzip library and as on a machine without it."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    else:
        pytest.importorskip("isal")
    return request.param


def values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Return random voxels over the whole range of a type."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.standard_normal(shape) * 1000).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, endpoint=True, dtype=np.dtype(dtype).newbyteorder("=")).astype(dtype)


def oblique(degrees: float = 20.0, shear: float = 0.0) -> Any:
    """Return a tilted affine, on request a sheared one."""
    a = np.radians(degrees)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.diag([-0.78, -0.78, 2.5])
    affine[0, 1] += shear
    affine[:3, 3] = [201.5, 59.25, -679.8]
    return affine


def saved(path: Path, array: Any, affine: Any = None, kind: Any = nib.Nifti1Image, **fields: Any) -> Path:
    """Save an image with nibabel; `fields` are set in its header."""
    affine = oblique() if affine is None else affine
    header = kind.header_class(endianness=fields.pop("endianness", "<"))
    header.set_data_dtype(array.dtype)
    image = kind(array, affine, header)
    image.header.set_xyzt_units(fields.pop("unit", "mm"))
    sform, qform = fields.pop("codes", (1, 1))
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    for name, value in fields.items():
        image.header[name] = value
    image.to_filename(path)
    return path


def with_bytes(path: Path, position: int, data: bytes) -> Path:
    """Replace bytes of an uncompressed file."""
    content = bytearray(path.read_bytes())
    content[position : position + len(data)] = data
    path.write_bytes(content)
    return path


def same_as_nibabel(path: Path, unit_mm: float = 1.0) -> Volume:
    """Check that a file means the same to us and to nibabel, and return it."""
    volume, image = read_nifti(path), nib.load(path)
    expected = np.asanyarray(image.dataobj)
    expected = expected.reshape(expected.shape[:3])
    if image.dataobj.slope == 1 and image.dataobj.inter == 0:
        assert volume.array.dtype == image.get_data_dtype().newbyteorder("=")
        np.testing.assert_array_equal(volume.array, expected)
    else:
        assert volume.array.dtype == np.float32
        np.testing.assert_allclose(volume.array, expected, rtol=1e-6, atol=1e-6 * float(np.abs(expected).max()))
    np.testing.assert_allclose(volume.affine[:3] / unit_mm, image.affine[:3], atol=1e-4)
    assert read_grid(path).shape == volume.shape
    np.testing.assert_array_equal(read_grid(path).affine, volume.affine)
    return volume


# Reading


@ONCE
@given(
    dtype=st.sampled_from(DTYPES),
    endianness=st.sampled_from("<>"),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    ending=st.sampled_from([".nii", ".nii.gz", ".NII.GZ"]),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    codes=st.sampled_from([(1, 1), (2, 0), (0, 1), (0, 0), (4, 2)]),
    degrees=st.floats(-180, 180),
    ones=st.integers(0, 3),
    seed=st.integers(0, 9),
)
def test_every_plain_image_reads_as_nibabel_reads_it(tmp_path: Path, **case: Any) -> None:
    array = values(case["dtype"], case["shape"] + (1,) * case["ones"], case["seed"])
    affine = oblique(case["degrees"])
    path = saved(tmp_path / f"a{case['ending']}", array, affine, case["kind"], endianness=case["endianness"], codes=case["codes"])
    volume = same_as_nibabel(path)
    assert volume.shape == case["shape"]
    assert volume.array.dtype.isnative
    assert volume.source == str(path)


@ONCE
@given(
    dtype=st.sampled_from(INTEGERS),
    endianness=st.sampled_from("<>"),
    slope=st.floats(2**-10, 1024, width=32) | st.floats(-1024, -(2**-10), width=32),
    inter=st.floats(-2000, 2000, width=32),
)
def test_scaled_images_read_as_nibabel_reads_them(tmp_path: Path, dtype: str, endianness: str, slope: float, inter: float) -> None:
    path = saved(tmp_path / "a.nii", values(dtype, (4, 5, 6)), endianness=endianness)
    order = "little" if endianness == "<" else "big"
    assert int.from_bytes(path.read_bytes()[:4], order) == 348
    with_bytes(path, 112, np.array([slope, inter], f"{endianness}f4").tobytes())
    same_as_nibabel(path)


@pytest.mark.parametrize(("slope", "inter"), [(0, 0), (0, 5), (1, 0), (np.nan, 0), (np.nan, np.nan), (np.inf, 3)])
def test_a_scaling_that_means_none_keeps_the_type(tmp_path: Path, slope: float, inter: float) -> None:
    array = values("i2", (4, 5, 6))
    path = with_bytes(saved(tmp_path / "a.nii", array), 112, np.array([slope, inter], "<f4").tobytes())
    read = read_nifti(path).array
    assert read.dtype == np.int16
    np.testing.assert_array_equal(read, array)


def test_an_intercept_alone_is_applied(tmp_path: Path) -> None:
    path = with_bytes(saved(tmp_path / "a.nii", values("u2", (4, 5, 6))), 112, np.array([1, -1024], "<f4").tobytes())
    assert same_as_nibabel(path).array.min() >= -1024


@pytest.mark.parametrize(("unit", "in_mm"), [("mm", 1.0), ("meter", 1000.0), ("micron", 0.001), ("unknown", 1.0)])
def test_the_affine_is_in_millimeters_whatever_the_unit_of_the_header(tmp_path: Path, unit: str, in_mm: float) -> None:
    affine = oblique()
    affine[:3] /= in_mm
    path = saved(tmp_path / "a.nii.gz", values("i2", (3, 4, 5)), affine, unit=unit)
    np.testing.assert_allclose(same_as_nibabel(path, in_mm).affine, oblique(), atol=1e-3)


def test_an_undefined_unit_means_millimeters(tmp_path: Path) -> None:
    path = with_bytes(saved(tmp_path / "a.nii", values("i2", (3, 4, 5))), 123, b"\x07")
    np.testing.assert_allclose(read_nifti(path).affine, oblique(), atol=1e-4)


def test_a_sheared_sform_is_kept(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii.gz", values("i2", (3, 4, 5)), oblique(shear=0.4), codes=(1, 0))
    np.testing.assert_allclose(same_as_nibabel(path).affine, oblique(shear=0.4), atol=1e-4)


def test_sform_wins_where_the_forms_differ(tmp_path: Path) -> None:
    image = nib.Nifti1Image(values("i2", (3, 4, 5)), oblique())
    image.set_sform(oblique(), 2)
    image.set_qform(np.diag([3, 3, 3, 1]), 1)
    image.to_filename(tmp_path / "a.nii")
    np.testing.assert_allclose(same_as_nibabel(tmp_path / "a.nii").affine, oblique(), atol=1e-4)


@pytest.mark.parametrize("qfac", [0.0, 2.0, -1.0, 1.0])
def test_a_qform_with_any_handedness_flag_reads_as_nibabel_reads_it(tmp_path: Path, qfac: float) -> None:
    path = saved(tmp_path / "a.nii", values("i2", (3, 4, 5)), codes=(0, 1))
    same_as_nibabel(with_bytes(path, 76, np.float32(qfac).tobytes()))


@pytest.mark.parametrize("size", [-0.78, 0.0])
def test_a_qform_with_an_odd_voxel_size_reads_as_nibabel_reads_it(tmp_path: Path, size: float) -> None:
    path = saved(tmp_path / "a.nii", values("i2", (3, 4, 5)), codes=(0, 1))
    same_as_nibabel(with_bytes(path, 80, np.float32(size).tobytes()))


@pytest.mark.parametrize("offset", [352, 368, 4096, 2_500_000])
def test_voxels_may_begin_behind_a_header_extension(tmp_path: Path, offset: int) -> None:
    array = values("i2", (3, 4, 5))
    plain = saved(tmp_path / "a.nii", array).read_bytes()
    moved = plain[:352] + bytes(offset - 352) + plain[352:]
    (tmp_path / "a.nii").write_bytes(moved[:108] + np.float32(offset).tobytes() + moved[112:])
    np.testing.assert_array_equal(same_as_nibabel(tmp_path / "a.nii").array, array)


@pytest.mark.usefixtures("compressor")
def test_gzip_in_several_members_is_read_whole(tmp_path: Path) -> None:
    content = saved(tmp_path / "a.nii", values("i2", (40, 50, 60))).read_bytes()
    pieces = [content[i : i + 50_000] for i in range(0, len(content), 50_000)]
    (tmp_path / "a.nii.gz").write_bytes(b"".join(gzip.compress(piece) for piece in pieces))
    same_as_nibabel(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("slab_bytes", [1, 600, 1500, 8 << 20])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_slabs_one_after_another_are_the_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, slab_bytes: int) -> None:
    monkeypatch.setattr(nifti, "SLAB_BYTES", slab_bytes)
    path = saved(tmp_path / f"a{ending}", values("i2", (10, 12, 23)), endianness=">")
    next_z, slabs = 0, []
    with open_slabs(path) as (grid, stream):
        for first, slab in stream:
            assert first == next_z
            next_z += slab.shape[2]
            slabs.append(slab.copy())
    assert grid.shape == (10, 12, 23)
    np.testing.assert_array_equal(np.concatenate(slabs, axis=2), read_nifti(path).array)


def test_an_error_while_slabs_are_used_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii.gz", values("i2", (4, 4, 4)))
    with pytest.raises(FileNotFoundError), open_slabs(path):
        (tmp_path / "something else").read_bytes()


# Damage


def gzipped(path: Path, shape: tuple[int, int, int] = (40, 50, 60)) -> bytes:
    """Save an image of noise at `path` and return its bytes."""
    return saved(path, values("i2", shape)).read_bytes()


@pytest.mark.parametrize("keep", [0, 1, 9, 10, 11, 100, 400, 0.1, 0.5, 0.9, -9, -8, -4, -1])
@pytest.mark.usefixtures("compressor")
def test_a_truncated_gzip_file_is_refused_with_its_name(tmp_path: Path, keep: float) -> None:
    content = gzipped(tmp_path / "cut.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes(content[: int(keep if abs(keep) >= 1 or keep == 0 else keep * len(content))])
    with pytest.raises(InputError, match=r"cut\.nii\.gz") as caught:
        read_nifti(tmp_path / "cut.nii.gz")
    assert caught.value.remedy
    with pytest.raises(InputError, match=r"cut\.nii\.gz"), open_slabs(tmp_path / "cut.nii.gz") as (_, slabs):
        for _ in slabs:
            pass


@pytest.mark.parametrize("position", [-8, -1, 0.5])
@pytest.mark.usefixtures("compressor")
def test_a_flipped_bit_is_refused_with_the_name_of_the_file(tmp_path: Path, position: float) -> None:
    content = bytearray(gzipped(tmp_path / "bad.nii.gz"))
    content[int(position if position < 0 else position * len(content))] ^= 0x10
    (tmp_path / "bad.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.nii\.gz"):
        read_nifti(tmp_path / "bad.nii.gz")


@pytest.mark.parametrize("keep", [0, 3, 4, 100, 347, 348, 352, 353, -1])
def test_a_truncated_plain_file_is_refused_with_its_name(tmp_path: Path, keep: int) -> None:
    content = gzipped(tmp_path / "cut.nii")
    (tmp_path / "cut.nii").write_bytes(content[:keep])
    with pytest.raises(InputError, match=r"cut\.nii"):
        read_nifti(tmp_path / "cut.nii")


@pytest.mark.usefixtures("compressor")
def test_a_damaged_source_is_named_when_a_stream_is_written_elsewhere(tmp_path: Path) -> None:
    content = bytearray(gzipped(tmp_path / "source.nii.gz"))
    content[-6] ^= 1
    (tmp_path / "source.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"source\.nii\.gz"), open_slabs(tmp_path / "source.nii.gz") as (grid, slabs):
        write_slabs(tmp_path / "target.nii.gz", grid, np.int16, (slab for _, slab in slabs))
    assert [p.name for p in tmp_path.iterdir()] == ["source.nii.gz"]


@pytest.mark.parametrize("content", [b"", b"DICM" * 300, b"\x89PNG\r\n", bytes(2000), b"\xff" * 2000])
@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_not_nifti_is_refused_with_its_name(tmp_path: Path, content: bytes, zipped: bool) -> None:
    path = tmp_path / ("odd.nii.gz" if zipped else "odd.nii")
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(InputError, match=r"odd\.nii.*not a NIfTI"):
        read_nifti(path)


@pytest.mark.usefixtures("compressor")
def test_a_plain_file_named_as_gzip_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzipped(tmp_path / "a.nii"))
    with pytest.raises(InputError, match=r"a\.nii\.gz"):
        read_nifti(tmp_path / "a.nii.gz")


@pytest.mark.usefixtures("compressor")
def test_missing_files_and_folders_are_refused_with_their_name(tmp_path: Path) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    for name in ("absent.nii", "absent.nii.gz", "folder.nii.gz"):
        with pytest.raises(InputError, match=name):
            read_nifti(tmp_path / name)


@pytest.mark.parametrize("shape", [(4, 4, 4, 2), (4, 4, 4, 1, 3), (4, 4), (7,)])
def test_only_three_dimensions_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = saved(tmp_path / "odd.nii.gz", values("i2", shape))
    with pytest.raises(InputError, match=r"odd\.nii\.gz.*3-D"):
        read_nifti(path)


@pytest.mark.parametrize("dtype", [np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), np.dtype(np.complex64)])
def test_voxels_that_are_not_one_number_are_refused(tmp_path: Path, dtype: Any) -> None:
    path = saved(tmp_path / "color.nii.gz", np.zeros((3, 4, 5), dtype))
    with pytest.raises(InputError, match=r"color\.nii\.gz.*not supported"):
        read_nifti(path)


HEADER_DAMAGE = {
    "no dimensions": (40, bytes(16)),
    "negative size": (42, np.int16(-3).tobytes()),
    "zero size": (44, np.int16(0).tobytes()),
    "a shape beyond all memory": (40, np.array([3, 32767, 32767, 32767], "<i2").tobytes()),
    "unknown type": (70, np.int16(77).tobytes()),
    "offset not a number": (108, np.float32(np.nan).tobytes()),
    "offset infinite": (108, np.float32(np.inf).tobytes()),
    "offset far behind the end": (108, np.float32(1e18).tobytes()),
    "offset in the header": (108, np.float32(40).tobytes()),
    "sform not a number": (280, np.array([np.nan] * 4, "<f4").tobytes()),
    "sform flat": (280, bytes(48)),
}


@pytest.mark.parametrize("fault", HEADER_DAMAGE)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_damaged_header_is_refused_with_the_name_of_the_file(tmp_path: Path, fault: str, zipped: bool) -> None:
    path = with_bytes(saved(tmp_path / "bad.nii", values("i2", (3, 4, 5))), *HEADER_DAMAGE[fault])
    if zipped:
        (tmp_path / "bad.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "bad.nii.gz"
    with pytest.raises(InputError, match=r"bad\.nii"):
        read_nifti(path)


def test_an_impossible_rotation_is_refused_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "bad.nii", values("i2", (3, 4, 5)), codes=(0, 1))
    with pytest.raises(InputError, match=r"bad\.nii"):
        read_nifti(with_bytes(path, 256, np.array([2, 2, 2], "<f4").tobytes()))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 351), value=st.binary(min_size=1, max_size=4))
def test_no_damage_to_a_header_escapes_as_another_error(tmp_path: Path, position: int, value: bytes) -> None:
    path = saved(tmp_path / "bad.nii", values("i2", (3, 4, 5)), codes=(position % 2, 1))
    message = "bad.nii"  # of a header that is still whole
    try:
        read_nifti(with_bytes(path, position, value[: 352 - position]))
    except InputError as error:
        message = str(error)
    assert "bad.nii" in message


# Writing


@ONCE
@given(
    dtype=st.sampled_from(DTYPES),
    order=st.sampled_from(["C", "F"]),
    byte_order=st.sampled_from("<>"),
    ending=st.sampled_from([".nii", ".nii.gz"]),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    slab_bytes=st.sampled_from([1, 100, 8 << 20]),
    degrees=st.floats(-180, 180),
)
def test_what_we_write_is_read_equal_by_nibabel_and_by_us(tmp_path: Path, **case: Any) -> None:
    array = np.array(values(case["dtype"], case["shape"]), order=case["order"]).astype(
        np.dtype(case["dtype"]).newbyteorder(case["byte_order"])
    )
    path, affine = tmp_path / f"a{case['ending']}", oblique(case["degrees"])
    before, nifti.SLAB_BYTES = nifti.SLAB_BYTES, case["slab_bytes"]
    try:
        write_nifti(path, Volume(array, affine))
    finally:
        nifti.SLAB_BYTES = before
    image = nib.load(path)
    assert image.get_data_dtype() == np.dtype(case["dtype"])
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), array)
    for found in (image.affine, image.get_qform(), image.get_sform(), read_nifti(path).affine):
        np.testing.assert_allclose(found, affine, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(read_nifti(path).array, array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("compressor")
def test_what_we_write_is_read_equal_by_simpleitk(tmp_path: Path, dtype: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    array = values(dtype, (5, 6, 7))
    write_nifti(tmp_path / "a.nii.gz", Volume(array, oblique()))
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), array)
    for index in [(0, 0, 0), (4, 5, 6), (1, 0, 3)]:
        ras = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        np.testing.assert_allclose(ras, oblique()[:3, :3] @ index + oblique()[:3, 3], atol=1e-4)


VIEWS = {
    "reversed": lambda a: a[::-1, :, ::-1],
    "every second": lambda a: a[::2, 1::2, ::3],
    "permuted": lambda a: a.transpose(1, 2, 0),
    "permuted and reversed": lambda a: a.transpose(2, 0, 1)[:, ::-1, ::-1],
    "broadcast": lambda a: np.broadcast_to(a[:, :, :1], a.shape),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_views_are_written_as_they_look(tmp_path: Path, view: str, order: Any) -> None:
    array = VIEWS[view](np.array(values("i2", (6, 7, 8)), order=order))
    write_nifti(tmp_path / "a.nii.gz", Volume(array, oblique()))
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj), array)


@pytest.mark.parametrize(("dtype", "stored"), [(np.bool_, np.uint8), (np.float16, np.float32)])
def test_types_that_nifti_lacks_become_the_next_larger(tmp_path: Path, dtype: Any, stored: Any) -> None:
    array = np.array(values("f4", (4, 5, 6)) > 0 if dtype == np.bool_ else values("f4", (4, 5, 6)), dtype)
    write_nifti(tmp_path / "a.nii.gz", Volume(array, np.eye(4)))
    read = read_nifti(tmp_path / "a.nii.gz").array
    assert read.dtype == stored
    np.testing.assert_array_equal(read, array.astype(stored))


def test_a_type_that_has_no_place_in_nifti_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.nii"):
        write_nifti(tmp_path / "a.nii", Volume(np.full((2, 2, 2), "x"), np.eye(4)))
    with pytest.raises(InputError, match="no voxels"):
        write_nifti(tmp_path / "a.nii", Volume(np.zeros((2, 0, 2)), np.eye(4)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 4), (1, 3)])
def test_description_and_form_codes_survive_reading_and_writing(tmp_path: Path, codes: tuple[int, int]) -> None:
    path = saved(tmp_path / "a.nii.gz", values("i2", (3, 4, 5)), codes=codes, descrip=b"portal venous")
    write_nifti(tmp_path / "b.nii.gz", read_nifti(path))
    header = nib.load(tmp_path / "b.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == codes
    assert header["descrip"] == b"portal venous"


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1)])
def test_a_written_file_always_says_where_it_lies(tmp_path: Path, codes: tuple[int, int]) -> None:
    volume = read_nifti(saved(tmp_path / "a.nii.gz", values("i2", (3, 4, 5)), codes=codes))
    write_nifti(tmp_path / "b.nii.gz", volume)
    header = nib.load(tmp_path / "b.nii.gz").header
    assert int(header["sform_code"]) > 0
    assert int(header["qform_code"]) > 0
    np.testing.assert_allclose(read_nifti(tmp_path / "b.nii.gz").affine, volume.affine, atol=1e-4)


def test_scaled_and_big_endian_images_are_written_by_their_values(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", values("u2", (3, 4, 5)), endianness=">")
    volume = read_nifti(with_bytes(path, 112, np.array([2.0, -1024], ">f4").tobytes()))
    write_nifti(tmp_path / "b.nii.gz", volume)
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "b.nii.gz").dataobj), volume.array)
    np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii.gz").array, volume.array)


def test_a_reoriented_volume_is_written_on_its_own_grid(tmp_path: Path) -> None:
    turned = read_nifti(saved(tmp_path / "a.nii.gz", values("i2", (3, 4, 5)))).reoriented("IPL")
    write_nifti(tmp_path / "b.nii.gz", turned)
    np.testing.assert_array_equal(same_as_nibabel(tmp_path / "b.nii.gz").array, turned.array)
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii.gz").affine, turned.affine, atol=1e-4)


def test_an_axis_longer_than_nifti_1_allows_is_written_as_nifti_2(tmp_path: Path) -> None:
    array = values("u1", (40000, 2, 3))
    write_nifti(tmp_path / "a.nii.gz", Volume(array, oblique()))
    assert isinstance(nib.load(tmp_path / "a.nii.gz"), nib.Nifti2Image)
    np.testing.assert_array_equal(same_as_nibabel(tmp_path / "a.nii.gz").array, array)


@pytest.mark.usefixtures("compressor")
def test_equal_volumes_give_equal_bytes_whatever_their_memory_order_and_name(tmp_path: Path) -> None:
    array = values("i2", (100, 110, 120))
    for name, each in (("a.nii.gz", array), ("b.nii.gz", np.asfortranarray(array)), ("c.nii.gz", array[::-1].copy()[::-1])):
        write_nifti(tmp_path / name, Volume(each, oblique()))
    assert len({(tmp_path / name).read_bytes() for name in ("a.nii.gz", "b.nii.gz", "c.nii.gz")}) == 1
    assert (tmp_path / "a.nii.gz").read_bytes()[3:8] == bytes(5), "no file name and no time stamp in the gzip header"


def test_the_number_of_cores_does_not_change_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("isal")
    contents = set()
    for cores in (1, 2, 3, 64, None):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        write_nifti(tmp_path / "a.nii.gz", Volume(values("i2", (100, 110, 240)), oblique()))
        contents.add((tmp_path / "a.nii.gz").read_bytes())
    assert len(contents) == 1


def test_files_written_with_and_without_the_fast_library_hold_the_same_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("isal")
    volume = Volume(values("i2", (100, 110, 120)), oblique())
    write_nifti(tmp_path / "fast.nii.gz", volume)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "isal", None)
        write_nifti(tmp_path / "plain.nii.gz", volume)
        np.testing.assert_array_equal(read_nifti(tmp_path / "fast.nii.gz").array, volume.array)
    np.testing.assert_array_equal(read_nifti(tmp_path / "plain.nii.gz").array, volume.array)
    assert (tmp_path / "fast.nii.gz").read_bytes() != (tmp_path / "plain.nii.gz").read_bytes()
    assert gzip.decompress((tmp_path / "fast.nii.gz").read_bytes()) == gzip.decompress((tmp_path / "plain.nii.gz").read_bytes())


@pytest.mark.parametrize("depths", [(2, 2), (2, 2, 2), (6,), (2, 0, 3), ()])
def test_slabs_that_do_not_add_up_to_the_grid_write_nothing(tmp_path: Path, depths: tuple[int, ...]) -> None:
    grid = Volume(values("i2", (3, 4, 5)), oblique()).grid
    with pytest.raises(GeometryError, match=r"a\.nii\.gz"):
        write_slabs(tmp_path / "a.nii.gz", grid, np.int16, (np.zeros((3, 4, n), np.int16) for n in depths))
    assert list(tmp_path.iterdir()) == []


def test_slabs_of_another_type_or_width_write_nothing(tmp_path: Path) -> None:
    grid = Volume(values("i2", (3, 4, 5)), oblique()).grid
    with pytest.raises(TypeError):
        write_slabs(tmp_path / "a.nii.gz", grid, np.int16, [np.zeros((3, 4, 5), np.float64)])
    with pytest.raises(GeometryError):
        write_slabs(tmp_path / "a.nii.gz", grid, np.int16, [np.zeros((4, 3, 5), np.int16)])
    assert list(tmp_path.iterdir()) == []


def test_a_real_ct_survives_reading_and_writing(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "data" / "chest-abdomen-1mm" / "ct.nii.gz"
    volume = read_nifti(source)
    part = Volume(volume.array[:, :, 100:130], volume.affine, volume.source, volume.header)
    write_nifti(tmp_path / "ct.nii.gz", part)
    image = nib.load(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.asanyarray(nib.load(source).dataobj[:, :, 100:130]))
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)
