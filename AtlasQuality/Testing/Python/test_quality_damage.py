"""Synthetic damage: every kind leaves the Dice it was asked for, wherever that can be, and always damages in the same way."""

from __future__ import annotations

from functools import cache

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from AtlasQualityLib.quality_damage import Damage, Scene, damaged, dice_of
from AtlasSegmentLib.components import find_components
from AtlasSegmentLib.errors import GeometryError, InputError

SPACING = (3.0, 1.5, 1.5)
# Kinds that reach any Dice on this scene; the others end where the shape, the body or the neighbor does.
EXACT = (
    Damage.EROSION,
    Damage.MISSING_ENDS,
    Damage.HOLES,
    Damage.FRAGMENT_ONLY,
    Damage.SHIFTED,
    Damage.SWAPPED_SIDE,
)
LOWEST = {Damage.UNEVEN_BOUNDARY: 0.2, Damage.DILATION: 0.2, Damage.STRAY_FRAGMENTS: 0.45, Damage.LEAK: 0.3, Damage.MISSING_SLICES: 0.2}


def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    axes = np.indices((32, 60, 72))
    return sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, center, radii, strict=True)) < 1


@cache
def scene() -> Scene:
    mask, partner = ellipsoid((16, 30, 24), (8, 12, 11)), ellipsoid((16, 30, 52), (8, 12, 11))
    other = ellipsoid((7, 30, 33), (5, 8, 8)) & ~mask
    body = ellipsoid((16, 30, 36), (60, 29, 35))
    ct = np.where(body, 40.0, -1000.0) + np.random.default_rng(0).normal(0, 8, body.shape)
    ct[mask | partner] += 80
    return Scene(ct.astype(np.float32), mask, SPACING, partner, (other,))


def make(kind: Damage, severity: float, seed: int = 0) -> np.ndarray:
    return damaged(scene(), kind, severity, np.random.default_rng(seed))


@settings(max_examples=20)
@given(kind=st.sampled_from(EXACT), severity=st.floats(0, 1), seed=st.integers(0, 99))
def test_damage_that_can_leave_any_dice_leaves_the_one_asked_for(kind: Damage, severity: float, seed: int) -> None:
    assert dice_of(make(kind, severity, seed), scene().mask) == pytest.approx(max(1 - severity, 0.02), abs=0.07)


@settings(max_examples=12)
@given(kind=st.sampled_from(sorted(LOWEST)), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_damage_that_has_an_end_leaves_the_dice_asked_for_up_to_it(kind: Damage, share: float, seed: int) -> None:
    wanted = LOWEST[kind] + share * (1 - LOWEST[kind])
    assert dice_of(make(kind, 1 - wanted, seed), scene().mask) == pytest.approx(wanted, abs=0.12)


@pytest.mark.parametrize("kind", list(Damage))
def test_a_mask_stays_as_it_is_and_the_same_state_damages_it_in_the_same_way(kind: Damage) -> None:
    before = scene().mask.copy()
    one, other = make(kind, 0.5, 3), make(kind, 0.5, 3)
    assert np.array_equal(one, other)
    assert one.dtype == np.bool_
    assert one.shape == before.shape
    assert np.array_equal(before, scene().mask)
    assert one.any()
    assert not np.array_equal(one, before) or kind is Damage.SMOOTHED


@pytest.mark.parametrize("kind", [kind for kind in Damage if kind not in {Damage.ELSEWHERE, Damage.SMOOTHED}])
def test_no_severity_leaves_the_mask_nearly_as_it_is(kind: Damage) -> None:
    assert dice_of(make(kind, 0.0), scene().mask) > 0.97


@pytest.mark.parametrize("kind", [Damage.EROSION, Damage.MISSING_SLICES, Damage.MISSING_ENDS, Damage.HOLES, Damage.FRAGMENT_ONLY])
def test_what_takes_away_adds_nothing(kind: Damage) -> None:
    assert not (make(kind, 0.4) & ~scene().mask).any()


@pytest.mark.parametrize("kind", [Damage.DILATION, Damage.STRAY_FRAGMENTS, Damage.LEAK])
def test_what_adds_takes_nothing_away(kind: Damage) -> None:
    assert not (scene().mask & ~make(kind, 0.3)).any()


def test_missing_slices_are_whole_slices_between_the_first_and_the_last() -> None:
    areas, before = make(Damage.MISSING_SLICES, 0.4).sum(axis=(1, 2)), scene().mask.sum(axis=(1, 2))
    used = np.flatnonzero(before)
    assert set(np.flatnonzero(areas != before)) <= set(used[1:-1])
    assert (areas[areas != before] == 0).all()
    assert (areas != before).sum() >= 2


def test_a_leak_runs_into_the_body_and_not_into_the_air() -> None:
    leak = make(Damage.LEAK, 0.3) & ~scene().mask
    assert leak.any()
    assert (scene().ct[leak] > -300).mean() > 0.99


def test_stray_fragments_do_not_touch_the_mask() -> None:
    found = make(Damage.STRAY_FRAGMENTS, 0.3)
    assert len(find_components(found).sizes) > 2
    grown = np.zeros_like(found)
    grown[:, 1:], grown[:, :-1] = scene().mask[:, :-1], grown[:, :-1] | scene().mask[:, 1:]
    assert not (found & grown & ~scene().mask).any()


def test_a_swapped_side_is_the_partner() -> None:
    found = make(Damage.SWAPPED_SIDE, 1.0)
    assert dice_of(found, scene().partner) > 0.95


def test_a_shape_elsewhere_lies_in_the_body_and_not_on_the_organ() -> None:
    for seed in range(8):
        found = make(Damage.ELSEWHERE, 0.0, seed)
        assert not (found & scene().mask).any()
        assert (scene().ct[found] > -300).all()


def test_severities_that_are_spread_evenly_give_dice_over_the_whole_range() -> None:
    rng = np.random.default_rng(1)
    kinds = [kind for kind in Damage if kind is not Damage.ELSEWHERE]
    found = [dice_of(make(kinds[n % len(kinds)], (n + 0.5) / 80, n), scene().mask) for n in rng.permutation(80)]
    assert (np.histogram(found, 5, (0, 1))[0] >= 8).all()


@settings(max_examples=8)
@given(kind=st.sampled_from(list(EXACT)), seed=st.integers(0, 99))
def test_damage_is_in_millimeters(kind: Damage, seed: int) -> None:
    """A grid twice as fine gives the same Dice."""
    fine = scene()
    coarse = Scene(fine.ct[:, ::2, ::2], fine.mask[:, ::2, ::2], (3.0, 3.0, 3.0), fine.partner[:, ::2, ::2], ())
    found = damaged(coarse, kind, 0.4, np.random.default_rng(seed))
    assert dice_of(found, coarse.mask) == pytest.approx(0.6, abs=0.08)


def test_a_mask_of_one_voxel_can_be_damaged() -> None:
    mask = np.zeros((5, 9, 9), np.bool_)
    mask[2, 4, 4] = True
    one = Scene(np.zeros(mask.shape, np.float32), mask, SPACING)
    for kind in one.possible():
        assert damaged(one, kind, 0.8, np.random.default_rng(0)).any()


def test_a_mask_that_fills_the_image_can_be_damaged() -> None:
    full = Scene(np.zeros((6, 8, 8), np.float32), np.ones((6, 8, 8), np.bool_), SPACING)
    for kind in full.possible():
        if kind is not Damage.ELSEWHERE:
            assert damaged(full, kind, 0.5, np.random.default_rng(0)).any()


def test_an_organ_without_a_partner_is_not_swapped() -> None:
    alone = Scene(scene().ct, scene().mask, SPACING)
    assert not {Damage.SWAPPED_SIDE, Damage.WRONG_ORGAN} & set(alone.possible())
    with pytest.raises(InputError, match="no other mask"):
        damaged(alone, Damage.SWAPPED_SIDE, 0.5, np.random.default_rng(0))


def test_bad_input_is_refused() -> None:
    empty = Scene(scene().ct, np.zeros_like(scene().mask), SPACING)
    with pytest.raises(InputError, match="empty"):
        damaged(empty, Damage.EROSION, 0.5, np.random.default_rng(0))
    with pytest.raises(InputError, match="severity"):
        make(Damage.EROSION, 1.5)
    with pytest.raises(GeometryError, match="shape"):
        damaged(Scene(scene().ct[1:], scene().mask, SPACING), Damage.EROSION, 0.5, np.random.default_rng(0))
