"""Masks between two corrected slices: what must hold for any two outlines, and how well a known shape is met."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from AtlasReviewLib.slice_interpolation import carry_between, interpolate_slices
from AtlasSegmentLib.errors import GeometryError, InputError

SHAPE = (24, 20)
FRACTIONS = (0.25, 0.5, 0.75)
any_mask = hnp.arrays(np.bool_, SHAPE, elements=st.booleans())
disks = st.lists(st.tuples(st.integers(6, 17), st.integers(6, 13), st.integers(1, 6)), min_size=1, max_size=4)
spacings = st.tuples(st.floats(0.3, 3), st.floats(0.3, 3))
few = settings(max_examples=25)


def disk(a, b, radius, shape=SHAPE):
    index = np.indices(shape)
    return (index[0] - a) ** 2 + (index[1] - b) ** 2 <= radius**2


def around_the_middle(parts):
    """A mask in one piece: disks, each joined to the middle."""
    mask = disk(11, 9, 3)
    for a, b, radius in parts:
        steps = max(abs(a - 11), abs(b - 9), 1)
        for step in range(steps + 1):
            mask |= disk(11 + (a - 11) * step / steps, 9 + (b - 9) * step / steps, 1 if step < steps else radius)
    return mask


@few
@given(any_mask, st.lists(st.floats(0, 1), max_size=4), spacings)
def test_between_equal_slices_nothing_changes(mask, fractions, spacing):
    found = interpolate_slices(mask, mask, fractions, spacing)
    assert found.shape == (len(fractions), *SHAPE)
    assert all(np.array_equal(between, mask) for between in found)


@few
@given(any_mask, any_mask, spacings)
def test_between_nested_slices_lies_between_them_and_grows(mask, other, spacing):
    small, large = mask & other, mask
    found = [small, *interpolate_slices(small, large, FRACTIONS, spacing), large]
    for before, after in itertools.pairwise(found):
        assert not (before & ~after).any()


@few
@given(disks, disks, spacings)
def test_between_overlapping_outlines_nothing_leaves_the_union_or_enters_what_both_hold(one, other, spacing):
    first, last = around_the_middle(one), around_the_middle(other)
    for between in interpolate_slices(first, last, FRACTIONS, spacing):
        assert not (between & ~(first | last)).any()
        assert not (first & last & ~between).any()


@few
@given(disks, disks, spacings)
def test_exchanging_the_slices_gives_the_same_masks_in_reverse(one, other, spacing):
    first, last = around_the_middle(one), around_the_middle(other)
    there, back = interpolate_slices(first, last, FRACTIONS, spacing), interpolate_slices(last, first, FRACTIONS, spacing)
    np.testing.assert_array_equal(there, back[::-1])


@few
@given(disks, disks, spacings)
def test_flipped_and_turned_slices_give_flipped_and_turned_masks(one, other, spacing):
    first, last = around_the_middle(one), around_the_middle(other)
    plain = interpolate_slices(first, last, FRACTIONS, spacing)
    np.testing.assert_array_equal(interpolate_slices(first[::-1], last[::-1], FRACTIONS, spacing), plain[:, ::-1])
    turned = interpolate_slices(first.T, last.T, FRACTIONS, (spacing[1], spacing[0]))
    np.testing.assert_array_equal(turned, plain.transpose(0, 2, 1))


@few
@given(any_mask, any_mask)
def test_two_slices_without_any_organ_give_none_and_inputs_stay_as_they_were(first, last):
    kept = first.copy(), last.copy()
    interpolate_slices(first, last, FRACTIONS)
    np.testing.assert_array_equal(first, kept[0])
    np.testing.assert_array_equal(last, kept[1])
    assert not interpolate_slices(first & ~first, last & ~last, FRACTIONS).any()


def test_two_separate_outlines_are_followed_separately():
    left, right = disk(5, 5, 2), disk(17, 14, 3)
    grown_left, gone_thin = disk(5, 5, 4), disk(17, 14, 1)
    found = interpolate_slices(left | right, grown_left | gone_thin, [0.5])[0]
    np.testing.assert_array_equal(found[:12], interpolate_slices(left, grown_left, [0.5])[0][:12])
    np.testing.assert_array_equal(found[12:], interpolate_slices(right, gone_thin, [0.5])[0][12:])


def test_an_outline_that_splits_becomes_two():
    bar = np.zeros(SHAPE, bool)
    bar[4:20, 8:12] = True
    parts = bar.copy()
    parts[9:15] = False
    found = interpolate_slices(bar, parts, [0.45, 0.8])
    gaps = [int((~mask[4:20, 9]).sum()) for mask in found]
    assert 0 < gaps[0] < gaps[1] == 6


def test_an_outline_near_by_without_overlap_travels_and_keeps_its_size():
    first, last = disk(7, 10, 3), disk(15, 10, 3)
    middle = interpolate_slices(first, last, [0.5])[0]
    np.testing.assert_array_equal(middle, disk(11, 10, 3))


def test_outlines_far_apart_do_not_travel():
    shape = (60, 20)
    first, last = disk(5, 10, 3, shape), disk(50, 10, 3, shape)
    assert not interpolate_slices(first, last, [0.5])[0][15:40].any()


@few
@given(st.booleans())
def test_an_island_without_partner_tapers_off_toward_the_other_slice(reverse):
    island, empty = disk(11, 9, 5), np.zeros(SHAPE, bool)
    found = interpolate_slices(*((empty, island) if reverse else (island, empty)), [0.1, 0.5, 0.9])
    sizes = [int(mask.sum()) for mask in (found[::-1] if reverse else found)]
    assert island.sum() > sizes[0] > sizes[1] >= sizes[2]
    assert all(not (mask & ~island).any() for mask in found)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ball_is_met_along_every_axis(axis):
    index = np.indices((31, 31, 31))
    ball = ((index - 15) ** 2).sum(axis=0) <= 13**2
    found = carry_between(ball, axis, 22, 16, (1.0, 1.0, 1.0))
    truth = np.moveaxis(np.moveaxis(ball, axis, 0)[17:22], 0, axis)
    assert found.shape == truth.shape
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.96


def test_two_corrected_slices_of_a_leaning_tube_give_the_tube():
    index = np.indices((40, 20, 17))
    tube = (index[0] - 8 - 1.5 * index[2]) ** 2 + (index[1] - 10) ** 2 <= 25
    found = carry_between(tube, 2, 3, 11, (1.0, 1.0, 2.0))
    truth = tube[:, :, 4:11]
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


def test_only_the_two_slices_matter_and_the_mask_stays_as_it_was():
    random = np.random.default_rng(3)
    mask = random.random((12, 11, 9)) > 0.5
    other = random.random((12, 11, 9)) > 0.5
    other[:, :, [2, 7]] = mask[:, :, [2, 7]]
    before = mask.copy()
    np.testing.assert_array_equal(carry_between(mask, 2, 2, 7, (1, 1, 1)), carry_between(other.astype(np.uint8) * 7, 2, 7, 2, (1, 1, 1)))
    np.testing.assert_array_equal(mask, before)


def test_neighbors_have_nothing_between_them():
    assert carry_between(np.ones((4, 5, 6), bool), 1, 2, 3, (1, 1, 1)).shape == (4, 0, 6)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"axis": 3}, GeometryError, "axis 3"),
        ({"axis": -1}, GeometryError, "axis -1"),
        ({"last": 6}, GeometryError, "Slice 6 does not exist"),
        ({"first": -1}, GeometryError, "Slice -1 does not exist"),
        ({"last": 1}, InputError, "given twice"),
        ({"spacing": (1, 0, 1)}, GeometryError, "three positive numbers"),
        ({"spacing": (1, float("nan"), 1)}, GeometryError, "three positive numbers"),
        ({"spacing": (1, 1)}, GeometryError, "three positive numbers"),
        ({"mask": np.ones((4, 4), bool)}, GeometryError, "3-D mask"),
    ],
)
def test_what_cannot_be_carried_is_refused(arguments, error, text):
    good = {"mask": np.ones((4, 5, 6), bool), "axis": 2, "first": 1, "last": 4, "spacing": (1, 1, 1)}
    with pytest.raises(error, match=text):
        carry_between(**{**good, **arguments})
