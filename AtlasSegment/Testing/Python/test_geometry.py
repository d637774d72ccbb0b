"""Orientation codes and affines keep every voxel where it is in the patient."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError

LETTERS = ("LR", "PA", "IS")
CODES = ["".join(letters) for order in itertools.permutations(LETTERS) for letters in itertools.product(*order)]


def direction(code: str) -> Any:
    """Return the signed permutation matrix of a code, by its definition."""
    matrix = np.zeros((3, 3))
    for i, letter in enumerate(code):
        axis = next(k for k, pair in enumerate(LETTERS) if letter in pair)
        matrix[axis, i] = 1 if letter in "RAS" else -1
    return matrix


def rotation(axis: Any, degrees: float) -> Any:
    """Return the rotation matrix about an axis (Rodrigues)."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@st.composite
def affines(draw: Any, most_degrees: float = 40) -> Any:
    """Draw (code, affine) with any spacing, origin and tilt."""
    code = draw(st.sampled_from(CODES))
    spacing = [draw(st.floats(0.05, 20)) for _ in range(3)]
    axis = [draw(st.floats(-1, 1)) for _ in range(3)]
    axis = axis if np.linalg.norm(axis) > 0.1 else [0, 0, 1]
    tilt = rotation(axis, draw(st.floats(-most_degrees, most_degrees)))
    affine = np.eye(4)
    affine[:3, :3] = tilt @ direction(code) @ np.diag(spacing)
    affine[:3, 3] = [draw(st.floats(-2000, 2000)) for _ in range(3)]
    return code, affine


def test_there_are_48_orientations() -> None:
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("code", CODES)
def test_every_orientation_is_recognized(code: str) -> None:
    affine = np.eye(4)
    affine[:3, :3] = direction(code) @ np.diag([0.7, 1.5, 5.0])
    assert geometry.orientation_of(affine) == code


@given(affines())
def test_a_tilt_of_up_to_40_degrees_does_not_change_the_orientation(case: Any) -> None:
    code, affine = case
    assert geometry.orientation_of(affine) == code


def test_an_even_tilt_uses_every_body_axis_once() -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation([1, 1, 1], 60)
    assert sorted("RAS".index(c) if c in "RAS" else "LPI".index(c) for c in geometry.orientation_of(affine)) == [0, 1, 2]


@given(affines(), st.sampled_from(CODES), st.tuples(*[st.integers(1, 9)] * 3))
def test_reorienting_leaves_every_voxel_where_it_is_in_the_world(case: Any, target: str, shape: tuple[int, int, int]) -> None:
    code, affine = case
    order, sign = geometry.reorientation(code, target)
    turned = geometry.reorient_affine(affine, shape, order, sign)
    assert geometry.orientation_of(turned) == target
    indices = np.argwhere(np.ones(shape, bool))
    moved = np.empty_like(indices)
    for i in range(3):
        source = indices[:, order[i]]
        moved[:, i] = source if sign[i] > 0 else shape[order[i]] - 1 - source
    np.testing.assert_allclose(geometry.apply_affine(turned, moved), geometry.apply_affine(affine, indices), atol=1e-9)


@pytest.mark.parametrize("code", ["", "RA", "RAX", "RRS", "LRS", "RASS", "RPA", "R S", "123"])
def test_a_code_that_does_not_name_each_body_axis_once_is_refused(code: str) -> None:
    with pytest.raises(GeometryError, match="once each") as caught:
        geometry.parse_orientation(code)
    assert repr(code) in str(caught.value)


def test_lower_case_codes_are_understood() -> None:
    assert geometry.parse_orientation("lps") == geometry.parse_orientation("LPS")


def bad_affines() -> list[Any]:
    """Return matrices that no image can have."""
    flat, zero, nan, infinite, perspective = (np.eye(4) for _ in range(5))
    flat[:3, 1] = flat[:3, 0]
    zero[:3, 2] = 0
    nan[0, 3] = np.nan
    infinite[1, 1] = np.inf
    perspective[3, 0] = 0.5
    return [np.eye(3), np.zeros((4, 4)), flat, zero, nan, infinite, perspective]


@pytest.mark.parametrize("affine", bad_affines(), ids=["3x3", "zeros", "flat", "no depth", "nan", "infinite", "perspective"])
def test_an_affine_that_makes_no_sense_is_refused_with_the_name_of_its_file(affine: Any) -> None:
    with pytest.raises(GeometryError, match="scan_7") as caught:
        geometry.check_affine(affine, "scan_7.nii.gz")
    assert caught.value.remedy


@pytest.mark.parametrize("size", [1e-4, 0.01, 1.0, 100.0])
def test_an_affine_of_any_voxel_size_is_accepted_and_copied(size: float) -> None:
    affine = np.diag([size, size, size, 1])
    checked = geometry.check_affine(affine, "scan")
    checked[0, 3] = 5
    assert affine[0, 3] == 0


@given(affines())
def test_spacing_and_voxel_volume_do_not_depend_on_the_tilt(case: Any) -> None:
    _, affine = case
    spacing = geometry.spacing_of(affine)
    assert geometry.voxel_volume_mm3(affine) == pytest.approx(float(spacing.prod()), rel=1e-9)


def test_the_volume_of_a_sheared_voxel_is_that_of_its_parallelepiped() -> None:
    affine = np.eye(4)
    affine[0, 1] = 3.0
    assert geometry.voxel_volume_mm3(affine) == pytest.approx(1.0)


@pytest.mark.parametrize(("shift", "same"), [(0.0, True), (0.0009, True), (0.0011, False), (-0.0009, True), (5.0, False)])
def test_grids_are_the_same_within_a_thousandth_of_a_millimeter(shift: float, same: bool) -> None:
    moved = np.eye(4)
    moved[2, 3] = shift
    assert geometry.same_grid((4, 5, 6), np.eye(4), (4, 5, 6), moved) is same


def test_a_spacing_error_counts_by_what_it_does_at_the_far_corner() -> None:
    scaled = np.diag([1.00001, 1, 1, 1])
    assert geometry.same_grid((50, 5, 5), np.eye(4), (50, 5, 5), scaled)
    assert not geometry.same_grid((512, 5, 5), np.eye(4), (512, 5, 5), scaled)


def test_grids_of_other_shape_or_orientation_are_not_the_same() -> None:
    assert not geometry.same_grid((4, 5, 6), np.eye(4), (4, 5, 7), np.eye(4))
    assert not geometry.same_grid((5, 5, 5), np.eye(4), (5, 5, 5), geometry.reorient_affine(np.eye(4), (5, 5, 5), (0, 1, 2), (-1, 1, 1)))


def test_single_slices_of_different_thickness_are_not_the_same_grid() -> None:
    assert not geometry.same_grid((8, 8, 1), np.eye(4), (8, 8, 1), np.diag([1, 1, 5, 1]))
