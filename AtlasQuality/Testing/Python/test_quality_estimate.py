"""From the scores of slices to one of a mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasQualityLib.quality_estimate import LookedAt, mask_score, slices_to_score


def test_segaes_rule_takes_ten_of_25_slices() -> None:
    chosen = slices_to_score(np.ones(25), "mean")
    assert [one.index for one in chosen] == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]
    assert [one.index for one in slices_to_score([0, 0, *[3] * 10, 0], "mean")] == list(range(2, 12))


def test_ours_looks_from_the_first_to_the_last_and_beyond_both_ends() -> None:
    chosen = slices_to_score([0] * 5 + [4] * 25 + [0] * 20)
    assert [one.index for one in chosen if one.has_mask][::9] == [5, 29]
    assert [(one.index, one.nearest) for one in chosen if not one.has_mask] == [(1, 5), (3, 5), (31, 29), (33, 29), (37, 29), (43, 29)]


def test_gaps_are_looked_at_beside_their_nearest_slice() -> None:
    gaps = [one for one in slices_to_score([2, 2, 0, 0, 0, 2]) if not one.has_mask]
    assert [(one.index, one.nearest, one.weight) for one in gaps] == [(2, 1, 1.0), (3, 1, 1.0), (4, 5, 1.0)]


@given(st.lists(st.integers(0, 5), max_size=80), st.integers(1, 15))
def test_weights_count_every_slice_between_the_ends_once(areas: list[int], count: int) -> None:
    filled = np.flatnonzero(areas)
    chosen = slices_to_score(areas, count=count)
    assert [one.index for one in chosen] == sorted({one.index for one in chosen})
    if not len(filled):
        assert not chosen
        return
    inside = [one for one in chosen if filled[0] <= one.index <= filled[-1]]
    assert sum(one.weight for one in inside) == pytest.approx(filled[-1] - filled[0] + 1)
    assert all(areas[one.nearest] > 0 and (areas[one.index] > 0) == one.has_mask for one in chosen)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=10))
def test_right_scores_of_slices_give_the_dice_of_the_volume(slices: list[tuple[int, float]]) -> None:
    areas, scores = [area for area, _ in slices], [score for _, score in slices]
    looked_at = [LookedAt(index, index, 1.0) for index in range(len(slices))]  # the reference is as large as the mask in each
    wanted = sum(2 * area * score for area, score in slices) / (2 * sum(areas))
    assert mask_score(looked_at, scores, areas) == pytest.approx(wanted)


def test_a_missed_half_costs_what_it_costs_the_dice() -> None:
    areas = [7] * 10 + [0] * 10
    looked_at = [*(LookedAt(index, index, 1.0) for index in range(10)), *(LookedAt(index, 9, 1.0) for index in range(10, 20))]
    assert mask_score(looked_at, [1.0] * 10 + [0.0] * 10, areas) == pytest.approx(2 / 3)  # 2 * 70 / (70 + 140)
    assert mask_score(looked_at, [1.0] * 20, areas) == 1


def test_an_empty_mask_scores_nothing_and_the_plain_mean_is_segaes() -> None:
    assert mask_score([], [], [0, 0]) == 0
    assert mask_score(slices_to_score([1, 9], "mean"), [0.2, 1.2], [1, 9], "mean") == pytest.approx(0.7)


@given(st.integers(4, 60), st.floats(0.5, 0.95))
def test_the_missing_part_of_a_mask_that_was_cut_shows_in_its_score(length: int, kept: float) -> None:
    """An even organ of which the mask holds only the lower part: right scores of slices give its Dice but for a few slices."""
    whole, part = length, max(2, round(length * kept))
    areas = [0] * 40 + [9] * part + [0] * (whole - part + 40)
    looked_at = slices_to_score(areas)
    scores = [1.0 if one.has_mask or not part <= one.index - 40 < whole else 0.0 for one in looked_at]
    assert mask_score(looked_at, scores, areas) == pytest.approx(2 * part / (part + whole), abs=0.13)
