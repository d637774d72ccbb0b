"""Corrections carried to the slices between: which slices count as corrected, what is proposed, and that geometry makes no difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_phantoms import turn
from AtlasReviewLib.review_case import sparse_of
from AtlasReviewLib.slice_carry import Carried, carry, corrected_slices, edited_axis, kept_reference, slice_points
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Volume

SHAPE = (20, 18, 16)
AFFINE = np.diag([2.0, 2.5, 4.0, 1.0])
ORIENTATIONS = ("RAS", "LPS", "SAL", "PIR", "ILA")


def ball(center: Sequence[float] = (9, 8, 8), radius: float = 6) -> np.ndarray:
    index = np.indices(SHAPE)
    return np.asarray(sum((axis - c) ** 2 for axis, c in zip(index, center, strict=True)) <= radius**2)


def stored(mask: np.ndarray, orientation: str = "RAS", degrees: float = 0.0) -> SparseVolume:
    volume = Volume(mask.astype(np.uint8), turn(degrees) @ AFFINE).reoriented(orientation)
    return sparse_of(volume.array, volume.grid)


def plane(axis: int, index: int) -> tuple[slice | int, ...]:
    return (*(slice(None),) * axis, index)


def with_slices(mask: np.ndarray, axis: int, indices: Sequence[int], other: np.ndarray) -> np.ndarray:
    """Return a mask with some slices of another one."""
    result = mask.copy()
    for index in indices:
        result[plane(axis, index)] = other[plane(axis, index)]
    return result


BEFORE, TRUTH = ball(radius=5), ball(radius=7)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("degrees", [0.0, 12.0])
def test_the_direction_of_the_edited_slices_is_found_in_the_patient(axis: int, orientation: str, degrees: float) -> None:
    before = stored(BEFORE, orientation, degrees)
    now = stored(with_slices(BEFORE, axis, [6, 11], TRUTH), orientation, degrees)
    assert edited_axis([before], now) == axis
    assert corrected_slices([before], now, axis) == [6, 11]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_strokes_of_a_ball_are_carried_along_the_way_from_one_to_the_other(axis: int) -> None:
    thin = ball(radius=2)
    ends = [[9.0, 8.0, 8.0], [9.0, 8.0, 8.0]]
    ends[0][axis], ends[1][axis] = 3, 12
    now = thin | ball(ends[0], 2.5) | ball(ends[1], 2.5)
    assert edited_axis([stored(thin)], stored(now)) == axis


def test_without_a_change_there_is_no_direction() -> None:
    assert edited_axis([stored(BEFORE)], stored(BEFORE)) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_between_two_corrected_ones_come_nearer_to_the_truth_and_no_others_change(axis: int) -> None:
    now = with_slices(BEFORE, axis, [6, 11], TRUTH)
    found = carry([stored(BEFORE)], stored(now))
    result = found.mask.dense() != 0
    assert found.across == axis
    assert found.corrected == (6, 11)
    assert found.changed == (7, 8, 9, 10)
    for index in range(SHAPE[axis]):
        at = plane(axis, index)
        if index in found.changed:
            assert (result[at] != TRUTH[at]).sum() < (now[at] != TRUTH[at]).sum()
        else:
            assert np.array_equal(result[at], now[at])
            assert not found.shown.dense()[at].any()
    assert np.array_equal(found.shown.dense() != 0, result & np.isin(np.indices(SHAPE)[axis], found.changed))


def test_a_correction_of_one_side_leaves_the_other_side_between_as_it_is() -> None:
    detail = TRUTH.copy()
    detail[3:6, 7:10, 8] = False  # a notch that only the slice between has
    before = detail & (np.indices(SHAPE)[0] < 14)
    found = carry([stored(before)], stored(with_slices(before, 2, [6, 11], TRUTH))).mask.dense() != 0
    left = np.indices(SHAPE)[0] < 10
    assert np.array_equal(found & left, before & left)
    assert (found != detail).sum() < (before != detail).sum() / 2


def test_a_rim_that_is_carried_to_a_slice_that_is_narrower_leaves_no_gap() -> None:
    index = np.indices(SHAPE)
    truth = BEFORE | ((index[0] >= 9) & (index[0] <= 16) & (abs(index[1] - 8) <= 3) & (abs(index[2] - 8) <= 4))
    before = truth & ~((index[0] == 16) & (abs(index[1] - 8) <= 3))
    before[15, 8, 7:10] = False  # narrower there than in the corrected slices
    found = carry([stored(before)], stored(with_slices(before, 2, [5, 11], truth))).mask.dense() != 0
    assert found[16, 8, 7:10].all()
    assert found[15, 8, 7:10].all()


def test_outlines_that_were_corrected_all_around_are_interpolated_whatever_lies_between() -> None:
    before = with_slices(ball(radius=3), 2, [8], np.zeros(SHAPE, np.bool_))
    found = carry([stored(before)], stored(with_slices(before, 2, [6, 11], TRUTH))).mask.dense() != 0
    assert (found != TRUTH)[:, :, 7:11].sum() < 0.2 * (before != TRUTH)[:, :, 7:11].sum()
    assert found[9, 8, 8]


def test_what_is_added_and_removed_is_told_in_ml() -> None:
    shrunk = with_slices(BEFORE, 2, [5], ball(radius=3))
    now = with_slices(shrunk, 2, [10], TRUTH)
    found = carry([stored(BEFORE)], stored(now))
    result = found.mask.dense() != 0
    assert found.added_ml == pytest.approx((result & ~now).sum() * 0.02)
    assert found.removed_ml == pytest.approx((now & ~result).sum() * 0.02)
    assert found.added_ml > 0 < found.removed_ml


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.tuples(*(st.integers(2, n - 3) for n in SHAPE)), st.integers(1, 5)), min_size=1, max_size=3),
    st.lists(st.tuples(st.tuples(*(st.integers(2, n - 3) for n in SHAPE)), st.integers(1, 5)), min_size=1, max_size=3),
    st.integers(0, 2),
    st.lists(st.integers(0, 15), min_size=2, max_size=4, unique=True),
    st.sampled_from(ORIENTATIONS[1:]),
    st.sampled_from([0.0, 9.0, 25.0]),
)
def test_other_array_orders_and_oblique_grids_give_the_same_masks_in_the_patient(
    balls: list[tuple[tuple[int, int, int], int]],
    others: list[tuple[tuple[int, int, int], int]],
    axis: int,
    slices: list[int],
    orientation: str,
    degrees: float,
) -> None:
    before, truth = (np.logical_or.reduce([ball(*one) for one in some]) for some in (balls, others))
    now = with_slices(before, axis, slices, truth)

    def found(orientation: str, degrees: float) -> Carried | str:
        try:
            return carry([stored(before, orientation, degrees)], stored(now, orientation, degrees), axis)
        except InputError as error:
            return error.message

    one, other = found("RAS", 0.0), found(orientation, degrees)
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    assert (one.corrected, one.changed, one.across) == (other.corrected, other.changed, other.across)
    assert (one.added_ml, one.removed_ml) == pytest.approx((other.added_ml, other.removed_ml))
    back = Volume(other.mask.dense(), turn(-degrees) @ other.mask.grid.affine).reoriented("RAS")
    assert np.array_equal(back.array, one.mask.dense())


def test_fewer_than_two_corrected_slices_are_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match="No slice was corrected") as error:
        carry([stored(BEFORE)], stored(BEFORE))
    assert "Correct two slices" in error.value.remedy
    with pytest.raises(InputError, match="Only one axial slice") as error:
        carry([stored(BEFORE)], stored(with_slices(BEFORE, 2, [8], TRUTH)))
    assert "second axial slice" in error.value.remedy


def test_corrected_slices_without_one_between_are_refused() -> None:
    with pytest.raises(InputError, match="3 corrected coronal slices lie side by side"):
        carry([stored(BEFORE)], stored(with_slices(BEFORE, 1, [7, 8, 9], TRUTH)))


def test_a_proposal_without_a_change_is_refused() -> None:
    now = with_slices(TRUTH, 2, [5, 9], np.zeros(SHAPE, np.bool_))
    now = with_slices(now, 2, [6, 7, 8], np.zeros(SHAPE, np.bool_))
    before = with_slices(now, 2, [5, 9], BEFORE)
    with pytest.raises(InputError, match="already as they would be proposed"):
        carry([stored(before)], stored(now))


def test_nothing_is_added_in_neighbors_and_what_lies_in_them_already_stays() -> None:
    now = with_slices(BEFORE, 2, [6, 11], TRUTH)
    neighbor = np.zeros(SHAPE, np.bool_)
    neighbor[:10] = True
    found = carry([stored(BEFORE)], stored(now), neighbors=[stored(neighbor)])
    free = carry([stored(BEFORE)], stored(now))
    result = found.mask.dense() != 0
    assert not (result & ~now & neighbor).any()
    assert np.array_equal(result & ~neighbor, (free.mask.dense() != 0) & ~neighbor)
    assert (result & neighbor).any()


def test_slices_that_were_carried_are_no_corrections_until_the_reader_changes_them() -> None:
    before, now = stored(BEFORE), stored(with_slices(BEFORE, 2, [4, 11], TRUTH))
    first = carry([before], now)
    references = [before, kept_reference(before, first)]
    assert corrected_slices(references, first.mask, 2) == [4, 11]
    assert edited_axis(references, first.mask) == 2
    again = stored(with_slices(first.mask.dense() != 0, 2, [8], ball((8, 8, 8), 7)))
    assert corrected_slices(references, again, 2) == [4, 8, 11]
    second = carry(references, again)
    assert set(second.changed) <= {5, 6, 7, 9, 10}
    undone = with_slices(BEFORE, 2, [4, 11], TRUTH)
    assert corrected_slices(references, stored(undone), 2) == [4, 11]


def test_an_organ_that_starts_empty_is_carried_from_what_was_drawn() -> None:
    nothing = np.zeros(SHAPE, np.bool_)
    found = carry([stored(nothing)], stored(with_slices(nothing, 2, [5, 10], TRUTH)))
    assert found.changed == (6, 7, 8, 9)
    assert found.removed_ml == 0


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_place_of_a_slice_is_found_in_the_patient(orientation: str, axis: int) -> None:
    points, across = slice_points(stored(BEFORE, orientation).grid, axis, [3, 7])
    assert points[:, axis] == pytest.approx(np.array([3, 7]) * AFFINE[axis, axis])
    assert across == pytest.approx(np.eye(3)[axis])
