"""Outlines of masks: the pixels inside them are the mask, whatever its holes and islands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from AtlasSegmentLib.dicom_contours import contours, rasterize

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def by_ray(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels inside polygons by the plainest rule: a ray to the right crosses them an odd number of times."""
    mask = np.zeros(shape, np.bool_)
    for x, y in np.ndindex(*shape):
        crossings = 0
        for points in polygons:
            for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, 0), strict=True):
                crossings += (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1)
        mask[x, y] = crossings % 2
    return mask


def area(points: np.ndarray) -> float:
    x, y = points.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_the_pixels_inside_the_outlines_are_the_mask(mask: np.ndarray) -> None:
    polygons = contours(mask)
    np.testing.assert_array_equal(by_ray(polygons, mask.shape), mask)
    np.testing.assert_array_equal(rasterize(polygons, mask.shape), mask)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(0, 2**32 - 1))
def test_rounding_of_the_points_does_not_change_the_mask(mask: np.ndarray, seed: int) -> None:
    random = np.random.default_rng(seed)
    moved = [points + random.uniform(-1e-4, 1e-4, points.shape) for points in contours(mask)]
    np.testing.assert_array_equal(rasterize(moved, mask.shape), mask)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_the_area_is_that_of_the_pixels_but_for_half_a_pixel_an_outline(mask: np.ndarray) -> None:
    from scipy import ndimage

    polygons = contours(mask)
    assert len(polygons) == ndimage.label(mask)[1]
    outside = [np.pad(ndimage.label(mask)[0] != n, 1, constant_values=True) for n in range(1, len(polygons) + 1)]
    holes = sum(ndimage.label(one, np.ones((3, 3)))[1] - 1 for one in outside)
    assert sum(area(points) for points in polygons) == pytest.approx(mask.sum() - len(polygons) / 2 + holes / 2)


def test_a_hole_is_part_of_its_outline_by_a_channel_that_no_center_lies_on() -> None:
    mask = np.ones((9, 9), np.bool_)
    mask[3:6, 3:6] = False
    (points,) = contours(mask)
    channel = [tuple(point) for point in points.tolist() if point[1] % 0.5]
    assert sorted(channel) == [(-0.5, 3.25), (-0.5, 3.25), (2.5, 3.25), (2.5, 3.25)]
    assert area(points) == 72


def test_a_single_pixel_and_pixels_that_touch_at_a_corner_have_their_own_outlines() -> None:
    (points,) = contours(np.eye(1, dtype=bool))
    assert {*map(tuple, points.tolist())} == {(0.5, 0), (0, 0.5), (-0.5, 0), (0, -0.5)}
    assert len(contours(np.eye(3, dtype=bool))) == 3
    assert contours(np.zeros((4, 4), np.bool_)) == []


def test_polygons_inside_others_are_holes_and_islands() -> None:
    def square(low: float, high: float) -> np.ndarray:
        return np.array([[low, low], [high, low], [high, high], [low, high]])

    found = rasterize([square(0.5, 9.5), square(2.5, 7.5), square(4.5, 5.5)], (11, 11))
    expected = np.zeros((11, 11), np.bool_)
    expected[1:10, 1:10] = True
    expected[3:8, 3:8] = False
    expected[5, 5] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shift", [0.0, 3e-4, -3e-4])
def test_centers_on_the_path_of_a_contour_belong_to_it(shift: float) -> None:
    path = np.array([[2, 2], [6, 2], [6, 5], [2, 5]]) + shift
    found = rasterize([path], (9, 9))
    assert found.sum() == 20
    assert found[2:7, 2:6].all()


def test_contours_beyond_the_image_are_cut_at_its_edge() -> None:
    far = np.array([[-5.5, -5.5], [3.5, -5.5], [3.5, 20.5], [-5.5, 20.5]])
    assert rasterize([far], (6, 6))[:4].all()
    assert rasterize([far], (6, 6)).sum() == 24
    assert not rasterize([far + 100], (6, 6)).any()
    assert not rasterize([], (6, 6)).any()
