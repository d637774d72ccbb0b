"""Volumes: reorientation without resampling, and refusals that name the files and the numbers."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError
from AtlasSegmentLib.volume import LabelVolume, Volume, reorient_like, require_same_grid

CODES = ["".join(c) for order in itertools.permutations(("LR", "PA", "IS")) for c in itertools.product(*order)]


def oblique(degrees: float = 25.0) -> Any:
    """Return an affine that is tilted about two axes, with three different spacings."""
    a = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag([-0.7, -0.8, 2.5])
    affine[:3, 3] = [120.5, 80.25, -900]
    return affine


def numbered(shape: tuple[int, int, int] = (3, 4, 5)) -> Any:
    """Return an array whose every voxel has its own value."""
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


@pytest.mark.parametrize("code", CODES)
def test_reorienting_and_back_is_the_identity(code: str) -> None:
    volume = Volume(numbered(), oblique())
    back = volume.reoriented(code).reoriented(volume.orientation)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)


@pytest.mark.parametrize("code", CODES)
def test_every_value_stays_at_its_place_in_the_world(code: str) -> None:
    volume = Volume(numbered(), oblique())
    turned = volume.reoriented(code)
    assert turned.orientation == code
    assert turned.voxel_volume_mm3 == pytest.approx(volume.voxel_volume_mm3)
    for value in (0, 7, 33, 59):
        before = geometry.apply_affine(volume.affine, np.argwhere(volume.array == value))
        after = geometry.apply_affine(turned.affine, np.argwhere(turned.array == value))
        np.testing.assert_allclose(after, before, atol=1e-9)


@given(st.sampled_from(CODES), st.sampled_from(CODES), st.tuples(*[st.integers(1, 6)] * 3), st.floats(-19, 19))
def test_the_way_over_a_third_orientation_leads_to_the_same_volume(first: str, second: str, shape: Any, degrees: float) -> None:
    volume = Volume(numbered(shape), oblique(degrees))
    direct, over = volume.reoriented(second), volume.reoriented(first).reoriented(second)
    np.testing.assert_array_equal(direct.array, over.array)
    np.testing.assert_allclose(direct.affine, over.affine, atol=1e-9)


@pytest.mark.parametrize("code", CODES)
def test_a_result_on_the_turned_grid_comes_back_to_the_grid_of_its_image(code: str) -> None:
    volume = Volume(numbered(), oblique())
    turned = volume.reoriented(code)
    np.testing.assert_array_equal(reorient_like(turned.array, turned.affine, volume), volume.array)
    np.testing.assert_array_equal(reorient_like(turned.array, turned.affine, volume.grid), volume.array)


def test_reorienting_shares_the_voxels_and_keeps_source_and_table() -> None:
    labels = LabelVolume(numbered(), oblique(), "label.nii.gz", None, table="a table")  # type: ignore[arg-type]
    turned = labels.reoriented("RAS")
    assert isinstance(turned, LabelVolume)
    assert (turned.table, turned.source) == ("a table", "label.nii.gz")
    assert np.shares_memory(turned.array, labels.array)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 1), (4,)])
def test_only_three_dimensions_are_a_volume(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match=r"ct\.nii\.gz.*3 dimensions"):
        Volume(np.zeros(shape), np.eye(4), "ct.nii.gz")


def test_a_volume_with_an_impossible_affine_is_refused_with_its_name() -> None:
    with pytest.raises(GeometryError, match=r"ct\.nii\.gz"):
        Volume(np.zeros((2, 2, 2)), np.zeros((4, 4)), "ct.nii.gz")


def test_another_array_must_have_the_shape_of_the_grid() -> None:
    volume = Volume(numbered(), oblique(), "ct.nii.gz")
    assert volume.with_array(np.ones((3, 4, 5))).source == "ct.nii.gz"
    with pytest.raises(GeometryError, match=r"\(5, 4, 3\).*\(3, 4, 5\)"):
        volume.with_array(np.ones((5, 4, 3)))


def test_volumes_of_one_grid_are_accepted() -> None:
    a, b = Volume(numbered(), oblique()), Volume(np.zeros((3, 4, 5)), oblique())
    require_same_grid(a, b)
    require_same_grid(a.grid, b)


def test_a_shape_mismatch_names_both_files_and_both_shapes() -> None:
    a, b = Volume(numbered(), oblique(), "liver.nii.gz"), Volume(numbered((3, 4, 6)), oblique(), "ct.nii.gz")
    with pytest.raises(GeometryError, match=r"liver\.nii\.gz.*ct\.nii\.gz.*\(3, 4, 5\).*\(3, 4, 6\)") as caught:
        require_same_grid(a, b)
    assert caught.value.remedy


def test_a_shifted_grid_names_both_files_and_the_distance() -> None:
    moved = oblique()
    moved[0, 3] += 2.5
    a, b = Volume(numbered(), oblique(), "liver.nii.gz"), Volume(numbered(), moved, "ct.nii.gz")
    with pytest.raises(GeometryError, match=r"liver\.nii\.gz.*ct\.nii\.gz.*2\.500 mm"):
        require_same_grid(a, b)


def test_an_error_keeps_its_message_and_remedy_across_processes() -> None:
    error = pickle.loads(pickle.dumps(GeometryError("It does not fit.", "Resample it.")))
    assert isinstance(error, GeometryError)
    assert (error.message, error.remedy, str(error)) == ("It does not fit.", "Resample it.", "It does not fit. Resample it.")


def test_an_error_is_one_line_and_keeps_the_spaces_of_a_file_name() -> None:
    assert str(GeometryError("Fall  7.nii is bad:\n  too thin.", "Look.")) == "Fall  7.nii is bad: too thin. Look."
    assert str(GeometryError("It does not fit.")) == "It does not fit."
