"""Resampling equals SciPy's interpolation on any pair of grids, keeps world positions, and never invents a label."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from AtlasSegmentLib.geometry import apply_affine
from AtlasSegmentLib.resample import resample, resample_labels
from AtlasSegmentLib.volume import Grid, LabelVolume, Volume

QUICK = settings(max_examples=40, deadline=None)
CODES = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("LR", "PA", "IS"))
    for sides in product((0, 1), repeat=3)
]
SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any orientation and spacing; half of them oblique as well."""
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    linear = np.eye(3)[order] * signs * draw(st.tuples(*[st.floats(0.5, 4)] * 3))
    if draw(st.booleans()):
        linear = Rotation.from_rotvec(draw(st.tuples(*[st.floats(-1, 1)] * 3))).as_matrix() @ linear
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = draw(st.tuples(*[st.floats(-8, 8)] * 3))
    return affine


def image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 100, shape).astype(np.float32)


def source_index(source: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the source index of every target voxel, (3, X, Y, Z)."""
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    return np.moveaxis(apply_affine(np.linalg.inv(source), apply_affine(grid.affine, index)), -1, 0)


def outside(index: np.ndarray, shape: tuple[int, ...], margin: float = 0.0) -> np.ndarray:
    limits = np.array(shape).reshape(3, 1, 1, 1)
    return ((index < -0.5 - margin) | (index > limits - 0.5 + margin)).any(axis=0)


@QUICK
@given(SHAPES, SHAPES, affines(), affines())
def test_linear_equals_map_coordinates_on_any_two_grids(
    shape: tuple[int, int, int], target: tuple[int, int, int], a: np.ndarray, b: np.ndarray
) -> None:
    array, grid = image(shape), Grid(target, b)
    index = source_index(a, grid)
    expected = map_coordinates(array.astype(np.float64), index, order=1, mode="nearest")
    found = resample(Volume(array, a), grid, fill=-1024).array
    assert found.dtype == np.float32
    assert found.shape == target
    sure = outside(index, shape, -1e-3) == outside(index, shape, 1e-3)  # on the very border either answer is right
    expected[outside(index, shape)] = -1024
    np.testing.assert_allclose(found[sure], expected[sure], atol=2e-3)


@QUICK
@given(SHAPES, SHAPES, affines(), affines())
def test_nearest_takes_the_closest_voxel_on_any_two_grids(
    shape: tuple[int, int, int], target: tuple[int, int, int], a: np.ndarray, b: np.ndarray
) -> None:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    grid = Grid(target, b)
    index = source_index(a, grid)
    rounded = np.clip(np.floor(index + 0.5).astype(int), 0, np.array(shape).reshape(3, 1, 1, 1) - 1)
    expected = np.where(outside(index, shape), np.int16(-7), array[tuple(rounded)])
    found = resample(Volume(array, a), grid, "nearest", fill=-7).array
    assert found.dtype == np.int16
    clear = (np.abs(index + 0.5 - np.rint(index + 0.5)) > 1e-4).all(axis=0)  # not between two voxels
    np.testing.assert_array_equal(found[clear], expected[clear])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 5.0)])
def test_the_same_grid_gives_the_same_voxels(mode: str, order: str, spacing: tuple[float, ...]) -> None:
    volume = Volume(np.array(image((7, 6, 5)), order=order), np.diag([*spacing, 1.0]))
    np.testing.assert_array_equal(resample(volume, volume.grid, mode).array, volume.array)


@pytest.mark.parametrize("code", CODES)
def test_a_turned_grid_gives_the_voxels_turned(code: str) -> None:
    volume = Volume(image((7, 6, 5)), np.diag([0.8, 1.5, 3.0, 1.0]))
    turned = volume.reoriented(code)
    np.testing.assert_allclose(resample(volume, turned.grid).array, turned.array, atol=1e-3)
    np.testing.assert_array_equal(resample(volume, turned.grid, "nearest").array, turned.array)


def test_a_tie_goes_to_the_higher_index() -> None:
    volume = Volume(np.arange(4, dtype=np.uint8).reshape(4, 1, 1), np.eye(4))
    between = np.eye(4)
    between[0, 3] = 0.5
    assert resample(volume, Grid((3, 1, 1), between), "nearest").array.ravel().tolist() == [1, 2, 3]


@pytest.mark.parametrize(("n", "m"), [(4, 9), (9, 4), (5, 5), (1, 6)])
def test_voxel_areas_are_aligned_as_torch_does_without_align_corners(n: int, m: int) -> None:
    values = np.linspace(-3, 8, n) ** 2
    scale = n / m
    fine = np.diag([scale, 1, 1, 1.0])
    fine[0, 3] = 0.5 * scale - 0.5
    found = resample(Volume(values.reshape(n, 1, 1), np.eye(4)), Grid((m, 1, 1), fine)).array.ravel()
    position = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)  # torch: max(0, scale * (i + 0.5) - 0.5)
    np.testing.assert_allclose(found, np.interp(position, np.arange(n), values), rtol=1e-5, atol=1e-5)


@QUICK
@given(affines(), st.sampled_from(CODES))
def test_a_ramp_in_the_world_stays_that_ramp(affine: np.ndarray, code: str) -> None:
    shape, slope = (8, 7, 6), np.array([2.0, -3.0, 0.5])
    ramp = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1)) @ slope
    source = Volume(ramp, affine).reoriented(code)
    inner = np.eye(4)
    inner[:3, :3] = np.diag([0.6, 1.1, 0.8])
    inner[:3, 3] = (0.4, 0.7, 1.1)
    grid = Grid((10, 5, 5), affine @ inner)  # between the outermost centers, so that no border is continued
    found = resample(source, grid).array
    expected = apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1)) @ slope
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_parallel_and_oblique_grids_are_sampled_alike() -> None:
    volume = Volume(image((12, 11, 10)), np.diag([1.5, 1.2, 2.0, 1.0]))
    straight = np.diag([1.1, 1.0, 1.3, 1.0])
    straight[:3, 3] = (0.31, 0.43, 0.52)  # nothing lies halfway between two voxels
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_rotvec(
        [3e-5, -2e-5, 4e-5]
    ).as_matrix()  # below a micrometer here: too little to see, too much to be parallel
    parallel, oblique = Grid((12, 11, 12), straight), Grid((12, 11, 12), tilt @ straight)
    np.testing.assert_allclose(resample(volume, parallel, fill=-9).array, resample(volume, oblique, fill=-9).array, atol=0.5)
    same = resample(volume, parallel, "nearest", fill=-9).array == resample(volume, oblique, "nearest", fill=-9).array
    assert same.mean() > 0.99


def test_beyond_half_a_voxel_outside_there_is_the_fill_value_and_within_it_the_border_value() -> None:
    volume = Volume(np.full((2, 2, 2), 5, np.float32), np.eye(4))
    grid = Grid((6, 1, 1), np.array([[0.5, 0, 0, -0.9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))  # x = -0.9, -0.4, ... 1.6
    assert resample(volume, grid, fill=-1024).array.ravel().tolist() == [-1024, 5, 5, 5, 5, -1024]


def test_a_grid_beside_the_image_is_all_fill() -> None:
    volume = Volume(image((3, 3, 3)), np.eye(4))
    away = np.eye(4)
    away[:3, 3] = 100
    for affine in (away, away @ np.block([[Rotation.from_rotvec([0, 0, 0.5]).as_matrix(), np.zeros((3, 1))], [np.zeros((1, 3)), 1]])):
        assert (resample(volume, Grid((2, 3, 4), affine), fill=3).array == 3).all()


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("degrees", [0, 20])
def test_a_grid_without_voxels_gives_an_empty_array(mode: str, degrees: float) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0, 0, np.radians(degrees)]).as_matrix()
    assert resample(Volume(image((3, 3, 3)), np.eye(4)), Grid((4, 0, 3), affine), mode).array.shape == (4, 0, 3)


@QUICK
@given(SHAPES, SHAPES, affines(), affines(), st.integers(0, 99))
def test_label_maps_never_get_a_value_that_was_not_there(
    shape: tuple[int, int, int], target: tuple[int, int, int], a: np.ndarray, b: np.ndarray, seed: int
) -> None:
    labels = np.random.default_rng(seed).choice(np.array([0, 2, 9, 300], np.uint16), shape)
    found = resample_labels(LabelVolume(labels, a), Grid(target, b)).array
    assert found.dtype == np.uint16
    assert set(np.unique(found)) <= {0, *np.unique(labels)}


def test_label_maps_on_their_own_grid_stay_as_they_are_and_the_largest_share_wins_between() -> None:
    labels = np.array([1, 1, 4, 4, 0, 4], np.uint8).reshape(6, 1, 1)
    volume = LabelVolume(labels, np.eye(4))
    np.testing.assert_array_equal(resample_labels(volume, volume.grid).array, labels)
    shifted = np.eye(4)
    shifted[0, 3] = 0.3  # shares 0.7 : 0.3
    assert resample_labels(volume, Grid((5, 1, 1), shifted)).array.ravel().tolist() == [1, 1, 4, 4, 0]


def test_the_source_is_not_changed() -> None:
    array = image((6, 5, 4))
    before = array.copy()
    resample(Volume(array, np.eye(4)), Grid((3, 9, 4), np.diag([2, 0.5, 1, 1.0])), fill=-1)
    resample(Volume(array, np.eye(4)), Grid((6, 5, 4), np.eye(4))).array[:] = 0
    np.testing.assert_array_equal(array, before)


def test_halfway_between_two_labels_the_lower_value_wins() -> None:
    between = np.eye(4)
    between[0, 3] = 0.5
    labels = np.array([0, 5, 2], np.uint8).reshape(3, 1, 1)
    assert resample_labels(LabelVolume(labels, np.eye(4)), Grid((2, 1, 1), between)).array.ravel().tolist() == [0, 2]
