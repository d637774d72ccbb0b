"""A carried correction and the outline that it meets: gaps are closed, crumbs dropped, and what was there before stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from AtlasReviewLib.slice_seams import without_seams

any_slice = hnp.arrays(np.bool_, (9, 8), elements=st.booleans())


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


SHOWN = drawn("......", ".##...", ".##...", ".##...", "......")


def test_a_gap_between_a_rim_and_the_outline_is_closed() -> None:
    found = drawn("......", ".####.", ".##.#.", ".####.", "......")
    whole = drawn("......", ".####.", ".####.", ".####.", "......")
    assert np.array_equal(without_seams(found, SHOWN, whole), whole)


def test_a_gap_outside_of_the_interpolated_outlines_stays() -> None:
    found = drawn("......", ".####.", ".##.#.", ".####.", "......")
    assert np.array_equal(without_seams(found, SHOWN, found), found)


def test_a_hole_that_the_slice_had_before_stays() -> None:
    shown = drawn("......", ".###..", ".#.#..", ".###..", "......")
    found = drawn("......", ".####.", ".#.##.", ".####.", "......")
    whole = drawn("......", ".####.", ".####.", ".####.", "......")
    assert np.array_equal(without_seams(found, shown, whole), found)


def test_what_a_cut_left_apart_is_dropped_and_a_piece_of_its_own_stays() -> None:
    shown = drawn("......", ".####.", ".####.", "......", ".##...")
    found = drawn("......", ".##.#.", ".##.#.", "......", ".##...")
    whole = drawn("......", ".##...", ".##...", "......", "......")
    assert np.array_equal(without_seams(found, shown, whole), drawn("......", ".##...", ".##...", "......", ".##..."))


@settings(max_examples=60, deadline=None)
@given(any_slice, any_slice, any_slice)
def test_nothing_is_added_outside_or_taken_inside_of_the_interpolated_outlines(
    found: np.ndarray, shown: np.ndarray, whole: np.ndarray
) -> None:
    result = without_seams(found, shown, whole)
    assert not (result & ~found & ~whole).any()
    assert not (found & ~result & whole).any()
    assert np.array_equal(without_seams(found, found, whole), found)
    turned = without_seams(found.T[::-1], shown.T[::-1], whole.T[::-1])
    assert np.array_equal(turned, result.T[::-1])
