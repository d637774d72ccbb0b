"""Components, holes and box morphology of masks."""

from __future__ import annotations

import sys
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from AtlasSegmentLib.components import (
    bounding_box,
    box_dilate,
    box_erode,
    component_sizes,
    fill_holes,
    find_components,
    grow_box,
    largest_components,
    placed,
)

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9)
MASKS = hnp.arrays(np.bool_, SHAPES, elements=st.booleans(), fill=st.just(False)) | hnp.arrays(np.bool_, SHAPES)
FULL = np.ones((3, 3, 3), bool)


def naive_largest(mask, k, more_than):
    labels, n = ndimage.label(np.ascontiguousarray(mask), FULL)
    flat = labels.ravel()
    ranked = sorted(range(1, n + 1), key=lambda i: (-int((flat == i).sum()), int(np.argmax(flat == i))))
    return np.isin(labels, [i for i in ranked if (flat == i).sum() > more_than][:k])


@given(MASKS)
def test_the_bounding_box_is_tight_and_holds_everything(mask):
    box = bounding_box(mask)
    if box is None:
        assert not mask.any()
        return
    points = np.argwhere(mask)
    assert [(s.start, s.stop) for s in box] == [(int(a), int(b) + 1) for a, b in zip(points.min(0), points.max(0), strict=True)]


def test_the_bounding_box_reads_uint8_and_flipped_transposed_views():
    array = np.zeros((5, 6, 7), np.uint8)
    array[1:3, 4, 5] = 200
    assert bounding_box(array.transpose(2, 0, 1)[::-1, :, ::-1]) == (slice(1, 2), slice(1, 3), slice(1, 2))


def test_an_empty_or_zero_size_mask_has_no_bounding_box():
    assert bounding_box(np.zeros((3, 4, 5), bool)) is None
    assert bounding_box(np.zeros((3, 0, 5), bool)) is None


def test_a_grown_box_stops_at_the_borders():
    assert grow_box((slice(1, 3), slice(4, 5), slice(0, 2)), 2, (4, 20, 9)) == (slice(0, 4), slice(2, 7), slice(0, 4))


@settings(max_examples=150)
@given(MASKS, st.integers(0, 5), st.integers(0, 4))
def test_largest_components_equals_the_naive_rule(mask, k, more_than):
    assert np.array_equal(largest_components(mask, k, more_than), naive_largest(mask, k, more_than))


@settings(max_examples=60)
@given(MASKS, st.integers(1, 3))
def test_scipy_and_cc3d_give_the_same_components(mask, k):
    with_cc3d, sizes = largest_components(mask, k), component_sizes(mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cc3d", None)
        assert np.array_equal(largest_components(mask, k), with_cc3d)
        assert component_sizes(mask).tolist() == sizes.tolist()
        assert np.array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_ties_do_not_depend_on_the_memory_layout(order):
    mask = np.zeros((7, 8, 9), bool)
    for corner in ((0, 6, 6), (3, 3, 3), (5, 0, 0), (0, 0, 8)):
        mask[corner] = True
    stored = np.ascontiguousarray(mask.transpose(order)[::-1]).copy()
    view = stored[::-1].transpose(np.argsort(order))
    assert np.argwhere(largest_components(view, 2)).tolist() == [[0, 0, 8], [0, 6, 6]]


def test_diagonal_neighbors_are_one_component():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert component_sizes(mask).tolist() == [2]


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 3, 3), (1, 7, 7), (7, 1, 1), (1, 101, 101), (3, 3, 101), (5, 5, 5)])
def test_thin_and_tiny_masks_full_of_single_voxels_are_labeled(shape):
    mask = np.zeros(shape, bool)
    mask[::2, ::2, ::2] = True
    mask.flags.writeable = False
    assert component_sizes(mask).tolist() == [1] * int(mask.sum())


def test_a_component_of_exactly_the_threshold_is_dropped():
    mask = np.zeros((9, 3, 3), bool)
    mask[:4, 0, 0] = mask[5:8, 2, 2] = True
    assert largest_components(mask, 5, more_than=3).sum() == 4
    assert not largest_components(mask, 5, more_than=4).any()


@pytest.mark.parametrize("shape", [(0, 3, 3), (4, 5, 6)])
def test_empties_give_empties(shape):
    mask = np.zeros(shape, bool)
    assert not largest_components(mask, 3).any()
    assert not fill_holes(mask).any()
    assert largest_components(mask, 3).shape == fill_holes(mask).shape == shape
    assert component_sizes(mask).size == 0


@given(MASKS)
def test_fill_holes_equals_scipy(mask):
    assert np.array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


@given(MASKS, st.integers(1, 3))
def test_box_morphology_equals_scipy(mask, radius):
    box = np.ones((2 * radius + 1,) * 3, bool)
    assert np.array_equal(box_dilate(mask, radius), ndimage.binary_dilation(mask, box))
    assert np.array_equal(box_erode(mask, radius), ndimage.binary_erosion(mask, box, border_value=1))


def test_a_new_mask_keeps_the_memory_layout_and_leaves_the_input_alone():
    stored = np.zeros((4, 5, 6), bool, order="F")
    stored[1:3, 1:3, 1:3] = True
    before = stored.copy()
    for result in (largest_components(stored, 1), fill_holes(stored), placed(stored, None, None)):
        assert result.flags.f_contiguous
        assert not np.shares_memory(result, stored)
    assert np.array_equal(stored, before)


def test_ranked_numbers_come_largest_first():
    mask = np.zeros((9, 3, 3), bool)
    mask[0, 0, 0] = mask[3:8, 2, 2] = True
    components = find_components(mask)
    assert [int(components.sizes[n]) for n in components.ranked(2)] == [5, 1]


def test_a_speck_far_from_a_liver_sized_organ_in_a_512_volume_is_dropped():
    mask = np.zeros((512, 512, 275), bool)
    x, y, z = np.ogrid[-1:1:260j, -1:1:220j, -1:1:170j]
    mask[60:320, 120:340, 80:250] = x**2 + y**2 + z**2 < 1
    mask[400, 400, 10] = True
    assert largest_components(mask, 1).sum() == mask.sum() - 1
