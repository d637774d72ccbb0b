"""A replayed review: bounds, honesty of the strategies, and the same numbers for every orientation."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasReviewLib import simulation_strategies
from AtlasReviewLib.simulation import PerfectEditor, replay
from AtlasReviewLib.simulation_case import AXES, Stack, slice_axes
from AtlasReviewLib.simulation_output import SHARES, curve_rows, organ_rows, summary
from AtlasReviewLib.simulation_strategies import DESCRIPTIONS, GAIN, ORACLE, RANDOM, SHARPENED, STRATEGIES, available, in_order, strategy
from AtlasReviewLib.simulation_time import ReviewTime
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Grid
from simulation_phantom import ORGANS, editor, phantom

CODES = ["".join(letters) for order in itertools.permutations(("LR", "PA", "IS")) for letters in itertools.product(*order)]


@pytest.fixture(scope="module")
def found():
    return phantom()


@pytest.fixture(scope="module")
def curves(found):
    predictions, true = found
    reader = editor(predictions, true)
    return {name: replay(name, predictions.organs, reader, ReviewTime()) for name in available(predictions.organs)}


def test_every_strategy_that_the_predictions_allow_is_there_and_explained(found):
    assert set(available(found[0].organs)) == set(STRATEGIES) - {"predicted-dice"}
    assert set(DESCRIPTIONS) == set(STRATEGIES)


def test_every_curve_begins_with_all_error_ends_with_none_and_never_rises(curves):
    for curve in curves.values():
        assert curve.removed[0] == 0
        assert curve.removed[-1] == pytest.approx(1)
        assert (np.diff(curve.removed) >= -1e-12).all()
        assert (np.diff(curve.minutes) > 0).all()
        assert (np.diff(curve.masks) >= 0).all()
        assert curve.masks[-1] == len(ORGANS)
        assert len(curve.removed) == curve.units + 1


def test_the_oracle_bounds_every_order_at_every_slice_and_chance_is_the_worst(curves):
    for name, curve in curves.items():
        assert (curve.removed <= curves[ORACLE].removed + 1e-12).all(), name
        assert all((curve.reached(share) or 0) <= (curves[RANDOM].reached(share) or 0) for share in SHARES), name


def test_the_random_order_removes_error_in_step_with_the_slices(curves):
    share = np.arange(len(curves[RANDOM].removed)) / curves[RANDOM].units
    assert np.abs(curves[RANDOM].removed - share).max() < 0.06


def test_learning_from_corrections_beats_every_fixed_order(curves):
    for share in SHARES:
        assert curves[GAIN].reached(share) < min(c.reached(share) for name, c in curves.items() if name not in {GAIN, ORACLE})


@pytest.mark.parametrize("organ", ["spleen", "pancreas"])
def test_an_organ_that_the_models_miss_without_doubt_is_corrected_sooner_by_learning(curves, organ):
    needed = {name: int(np.argmax(curve.by_organ[organ] >= 0.8)) for name, curve in curves.items() if curve.by_organ}
    assert needed[GAIN] < min(needed["expected-error"], needed[SHARPENED], needed["entropy"])


def order_of(review, wrong):
    """Run a strategy with errors that only this function knows."""
    opened = [next(review)]
    for _ in range(sum(len(area) for area in wrong) - 1):
        opened.append(review.send(float(wrong[opened[-1][0]][opened[-1][1]])))
    return opened


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in {ORACLE, "predicted-dice"}])
def test_a_strategy_opens_every_slice_once_and_knows_nothing_of_unopened_ones(found, name):
    """Two truths that differ in one slice give the same order until that slice was opened."""
    predictions = found[0].organs
    wrong = [p.mask.pixels_beside(t) for p, t in zip(predictions, found[1], strict=True)]
    first = order_of(strategy(name, predictions), wrong)
    assert len(set(first)) == len(first) == sum(p.mask.count for p in predictions)
    for changed in (first[0], first[20], first[-1]):
        other = [area.copy() for area in wrong]
        other[changed[0]][changed[1]] += 5000
        second = order_of(strategy(name, predictions), other)
        until = first.index(changed) + 1
        assert second[:until] == first[:until]
        assert (second == first) or name == GAIN


def test_strategies_can_be_given_predictions_only():
    """The module imports neither the editor nor a way to read a reference, and no function takes one."""
    source = inspect.getsource(simulation_strategies)
    assert "PerfectEditor" not in source
    assert "simulation_read" not in source
    assert "import AtlasReviewLib.simulation\n" not in source
    assert list(inspect.signature(strategy).parameters) == ["name", "predictions", "seed"]


@settings(max_examples=4)
@given(st.sampled_from(CODES))
def test_every_orientation_gives_the_same_review(found, code):
    plain, turned = found, phantom(code)
    for one, other in zip(plain[0].organs, turned[0].organs, strict=True):
        for name, values in one.profiles.items():
            np.testing.assert_array_equal(other.profiles[name], values, err_msg=f"{code} {one.organ} {name}")
    orders = [order_of(strategy(GAIN, p.organs), editor(p, t).wrong) for p, t in (plain, turned)]
    assert orders[0] == orders[1]


def test_an_oblique_case_gives_the_same_review(found):
    angle = np.deg2rad(12)
    tilt = np.eye(4)
    tilt[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    plain, tilted = found, phantom("LPS", tilt=tilt)
    for one, other in zip(plain[0].organs, tilted[0].organs, strict=True):
        np.testing.assert_allclose(other.profiles["sharpened"], one.profiles["sharpened"], rtol=1e-9)


@pytest.mark.parametrize(("spacing", "across"), [((1, 1, 1), 2), ((1, 1, 5), 2), ((4, 1, 1), 0), ((0.7, 3, 0.7), 1), ((1, 1, 0.5), 2)])
@pytest.mark.parametrize("code", ["RAS", "SPL", "AIR"])
def test_slices_lie_across_the_thickest_spacing_else_axially(spacing, across, code):
    affine = np.diag([*spacing, 1.0])
    turned = Grid((8, 9, 10), affine, "")
    array = np.zeros((8, 9, 10))
    from AtlasSegmentLib.volume import reorient

    view, new = reorient(array, affine, code)
    axes = slice_axes(Grid(view.shape, new))
    assert axes.across == slice_axes(turned).across == across
    assert axes.shape == slice_axes(turned).shape
    assert axes.spacing == pytest.approx(slice_axes(turned).spacing)


@pytest.mark.parametrize("name", AXES)
def test_the_direction_of_slices_can_be_chosen(name):
    assert slice_axes(Grid((8, 9, 10), np.diag([1, 1, 5, 1.0])), name).shape[2] == (8, 9, 10)[AXES.index(name)]


def test_an_unknown_direction_is_refused():
    with pytest.raises(InputError, match="'oblique' are not known"):
        slice_axes(Grid((8, 9, 10), np.eye(4)), "oblique")


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=4))
def test_an_order_is_complete_and_descending_with_ties_in_place(scores):
    arrays = [np.array(score, float) for score in scores]
    units = list(in_order(arrays))
    assert sorted(units) == [(i, z) for i, score in enumerate(scores) for z in range(len(score))]
    keys = [(-scores[i][z], i, z) for i, z in units]
    assert keys == sorted(keys)


def test_a_stack_gives_its_slices_back():
    grid = Grid((5, 6, 7), np.eye(4))
    crop = np.random.default_rng(0).random((2, 3, 4)) > 0.5
    stack = Stack(SparseVolume(grid, (slice(1, 3), slice(2, 5), slice(3, 7)), crop))
    dense = stack.volume.dense()
    for z in range(7):
        np.testing.assert_array_equal(stack.plane(z), dense[:, :, z])
    np.testing.assert_array_equal(stack.pixels(), dense.sum(axis=(0, 1)))
    empty = Stack(SparseVolume(grid, (slice(0, 0), slice(0, 0), slice(0, 0)), np.zeros((0, 0, 0), bool)))
    np.testing.assert_array_equal(stack.pixels_beside(empty), stack.pixels())
    assert not empty.pixels_beside(empty).any()


def test_a_review_without_any_error_is_refused(found):
    predictions = found[0].organs
    with pytest.raises(InputError, match="no error to remove"):
        PerfectEditor(predictions, [p.mask for p in predictions])


@pytest.mark.parametrize(
    ("name", "text"),
    [("oracle", "is not known"), ("best", "is not known"), ("predicted-dice", "needs predicted_dice of every organ")],
)
def test_an_order_that_cannot_be_made_is_refused(found, name, text):
    with pytest.raises(InputError, match=text):
        strategy(name, found[0].organs)


def test_the_summary_says_when_a_share_is_reached_for_good(curves):
    rows = summary(list(curves.values()))
    assert len(rows) == len(curves) * len(SHARES)
    for row in rows:
        curve = curves[row["strategy"]]
        at = row["slices"]
        assert curve.removed[at] >= row["share_removed"] - 1e-9 > curve.removed[at - 1] - 1e-9
        assert row["times_oracle"] == pytest.approx(at / curves[ORACLE].reached(row["share_removed"]), abs=1e-3)
    assert {row["organ"] for row in organ_rows([curves[SHARPENED]])} == set(ORGANS)
    points = [row["share_removed"] for row in curve_rows([curves[GAIN]])]
    assert points[0] == 0
    assert points[-1] == 1
