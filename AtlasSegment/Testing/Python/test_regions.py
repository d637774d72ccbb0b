"""The grid a model sees fills the wanted box exactly, whatever the orientation of the CT and of the model."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_phantoms import ct, roi, turn
from AtlasSegmentLib import regions
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.geometry import apply_affine, spacing_of
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.volume import Grid, Volume

CODES = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("LR", "PA", "IS"))
    for sides in product((0, 1), repeat=3)
]


def bounds(points: np.ndarray) -> np.ndarray:
    return np.stack([points.min(axis=0), points.max(axis=0)])


def test_the_whole_box_reaches_half_a_voxel_beyond_the_outermost_centers() -> None:
    grid = Grid((4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    np.testing.assert_allclose(bounds(regions.whole_box(grid)), [[-1, -1.5, -2], [7, 13.5, 22]])


@pytest.mark.parametrize("model", CODES)
def test_the_faces_of_a_fitted_grid_lie_on_the_box_in_every_orientation(model: str) -> None:
    grid = regions.fitted_grid(ct("PSL").grid, model, regions.roi_box(ct("PSL").grid, roi()), (13, 17, 11))
    assert grid.shape == (13, 17, 11)
    assert grid.orientation == model
    np.testing.assert_allclose(bounds(regions.whole_box(grid)), bounds(roi().corners()), atol=1e-6)


@pytest.mark.parametrize("stored", CODES)
def test_how_the_ct_is_stored_does_not_change_the_grid_of_the_model(stored: str) -> None:
    for make, size in ((regions.fitted_grid, (12, 10, 14)), (regions.spaced_grid, (2.0, 3.0, 4.0))):
        one = make(ct("RAS").grid, "LAI", roi().corners(), size)
        other = make(ct(stored).grid, "LAI", roi().corners(), size)
        assert one.shape == other.shape
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-9)


def test_an_oblique_ct_and_its_roi_give_the_grid_turned() -> None:
    straight = regions.fitted_grid(ct().grid, "LPS", roi().corners(), (9, 9, 9))
    oblique = regions.fitted_grid(ct("RAS", 25).grid, "LPS", roi(25).corners(), (9, 9, 9))
    np.testing.assert_allclose(oblique.affine, turn(25) @ straight.affine, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(0.4, 30)] * 3), st.sampled_from(CODES))
def test_a_spaced_grid_fills_the_box_with_voxels_close_to_the_wanted_size(spacing: tuple[float, float, float], code: str) -> None:
    grid = regions.spaced_grid(ct().grid, code, roi().corners(), spacing)
    np.testing.assert_allclose(bounds(regions.whole_box(grid)), bounds(roi().corners()), atol=1e-6)
    extent = spacing_of(grid.affine) * grid.shape
    wanted = np.maximum(1, extent / spacing)
    assert (np.abs(np.array(grid.shape) - wanted) <= 0.5 + 1e-6).all()


def test_a_box_that_leaves_the_image_is_clipped_to_it() -> None:
    grid = ct("LPS").grid
    wide = Roi(roi().center, np.eye(3), np.array([5000.0, 60.0, 5000.0]))
    fitted = bounds(regions.whole_box(regions.fitted_grid(grid, "RAS", regions.roi_box(grid, wide), (8, 8, 8))))
    image = bounds(regions.whole_box(grid))
    np.testing.assert_allclose(fitted[:, [0, 2]], image[:, [0, 2]], atol=1e-6)
    np.testing.assert_allclose(fitted[1, 1] - fitted[0, 1], 60)


@pytest.mark.parametrize("shift", [(1000, 0, 0), (0, -1000, 0), (0, 0, 1000)])
def test_a_roi_beside_the_image_is_refused_and_both_are_named(shift: tuple[int, int, int]) -> None:
    volume = ct("LPS")
    with pytest.raises(InputError, match=r"ROI does not overlap phantom: it spans -?\d+\.\.-?\d+ x"):
        regions.roi_box(volume.grid, Roi(roi().center + shift, np.eye(3), roi().size))


def test_an_orientation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(GeometryError, match="RAX"):
        regions.fitted_grid(ct().grid, "RAX", roi().corners(), (8, 8, 8))


@pytest.mark.parametrize("stored", ["RAS", "LPS", "SLA"])
def test_the_body_box_holds_the_body_and_leaves_the_air_and_the_table_out(stored: str) -> None:
    array = np.full((60, 50, 40), -1000, np.int16)
    array[14:45, 11:38, 6:33] = 30
    array[5:55, 44:46, :] = 100  # the table, thinner than the body
    volume = Volume(array, np.diag([2.0, 2.0, 3.0, 1.0])).reoriented(stored)
    low, high = bounds(regions.body_box(volume))
    assert (low <= np.array([27, 21, 16.5]) + 1e-6).all()
    assert (high >= np.array([89, 75, 97.5]) - 1e-6).all()
    step = np.array([4, 4, 3])  # of the thinned copy, mm
    assert (low >= np.array([27, 21, 16.5]) - 2 * step).all()
    assert (high <= np.array([89, 75, 97.5]) + 2 * step).all()


@pytest.mark.parametrize("hu", [-1000, 40])
def test_an_image_of_air_or_all_body_is_taken_whole(hu: int) -> None:
    volume = Volume(np.full((9, 8, 7), hu, np.int16), np.diag([5.0, 1.0, 2.0, 1.0]))
    np.testing.assert_allclose(bounds(regions.body_box(volume)), bounds(regions.whole_box(volume.grid)))


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.floats(-3, 8)] * 3), st.tuples(*[st.floats(0.1, 9)] * 3), st.sampled_from(CODES)
)
def test_covered_voxels_are_those_whose_center_lies_in_the_box(
    shape: tuple[int, int, int], low: tuple[float, ...], size: tuple[float, ...], code: str
) -> None:
    image = Volume(np.zeros(shape), np.diag([1.5, 2.0, 2.5, 1.0])).reoriented(code)
    box = Grid((1, 1, 1), np.diag([*size, 1.0]))
    box.affine[:3, 3] = np.array(low) + np.array(size) / 2
    found = np.zeros(image.shape, bool)
    found[regions.covered_voxels(image.grid, box)] = True
    centers = apply_affine(image.affine, np.moveaxis(np.indices(image.shape), 0, -1))
    away = np.maximum(np.array(low) - centers, centers - np.array(low) - size).max(axis=-1)  # below 0 inside
    assert found[away < -1e-6].all()
    assert not found[away > 1e-3].any()


def test_the_grid_of_a_crop_keeps_the_place_of_its_voxels() -> None:
    grid = ct("SLA", 10).grid
    part = regions.sub_grid(grid, (slice(2, 5), slice(3, 4), slice(0, 9)))
    assert part.shape == (3, 1, 9)
    np.testing.assert_allclose(apply_affine(part.affine, [1, 0, 4]), apply_affine(grid.affine, [3, 3, 4]))
