"""Corrections carried to the slices between: what a program would propose, and that it never sees a slice nobody opened."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from AtlasReviewLib.simulation import replay
from AtlasReviewLib.simulation_carry import OrganCarrier, replay_carried, splitting
from AtlasReviewLib.simulation_output import SHARES
from AtlasReviewLib.simulation_strategies import GAIN, ORACLE, prior_error
from AtlasReviewLib.simulation_time import ReviewTime
from simulation_phantom import editor, phantom


@pytest.fixture(scope="module")
def found():
    return phantom()


@pytest.fixture(scope="module")
def carried(found):
    return replay_carried(GAIN, found[0].organs, editor(*found), ReviewTime())


@pytest.fixture
def carrier(found):
    organ = next(p for p in found[0].organs if p.organ == "spleen")
    return OrganCarrier(organ, prior_error(found[0].organs)[0])


@pytest.fixture
def spleen(found):
    return found[1][0]


@pytest.mark.parametrize("name", [GAIN, ORACLE])
def test_a_carried_review_removes_all_error_too(found, carried, name):
    curve = carried if name == GAIN else replay_carried(name, found[0].organs, editor(*found), ReviewTime())
    assert curve.carried
    assert curve.removed[0] == 0
    assert curve.removed[-1] == pytest.approx(1)
    assert (np.diff(curve.minutes) > 0).all()
    assert len(curve.removed) <= curve.units + 1
    assert all(values[-1] == pytest.approx(1) for values in curve.by_organ.values())


def test_carrying_needs_a_third_fewer_slices_than_the_oracle_that_goes_slice_by_slice(found, carried):
    oracle = replay(ORACLE, found[0].organs, editor(*found), ReviewTime())
    for share in SHARES:
        assert carried.reached(share) <= oracle.reached(share) * 2 / 3


def test_a_review_can_stop_when_enough_error_is_gone(found):
    curve = replay_carried(GAIN, found[0].organs, editor(*found), ReviewTime(), until=0.8)
    assert curve.removed[-2] < 0.8 <= curve.removed[-1]
    assert curve.reached(0.9) is None


def test_nothing_is_proposed_before_two_slices_were_corrected_or_between_neighbors(carrier, spleen):
    assert carrier.correct(20, spleen.plane(20)) == {}
    assert carrier.correct(21, spleen.plane(21)) == {}
    assert not carrier.used.any()


def test_slices_between_two_corrected_ones_are_proposed_and_others_left_alone(carrier, spleen):
    carrier.correct(12, spleen.plane(12))
    found = carrier.correct(18, spleen.plane(18))
    assert sorted(found) == [13, 14, 15, 16, 17]
    assert carrier.used[13:18].all()  # the models draw it too small: what was corrected says how large it is
    assert not carrier.used[:13].any()
    assert not carrier.used[18:].any()
    shared = [(mask & spleen.plane(index)).sum() * 2 / (mask.sum() + spleen.plane(index).sum()) for index, mask in found.items()]
    assert min(shared) > 0.85


def test_a_proposal_is_not_used_where_the_prediction_proved_right(found):
    """The liver is good: after corrections that changed almost nothing its masks stay as predicted."""
    number = next(i for i, p in enumerate(found[0].organs) if p.organ == "liver")
    carrier = OrganCarrier(found[0].organs[number], prior_error(found[0].organs)[number])
    predicted = found[0].organs[number].mask
    for index in (18, 22, 26, 30, 34):
        carrier.correct(index, predicted.plane(index))
    assert not carrier.used.any()


def test_a_corrected_slice_stays_as_it_was_corrected(carrier, spleen):
    for index in (30, 40, 35):
        carrier.correct(index, spleen.plane(index))
        assert not carrier.used[index]
        assert carrier.expected[index] == 0


def test_the_next_slice_is_where_most_can_be_gained_and_never_a_corrected_one(carrier, spleen):
    opened = []
    for _ in range(48):
        gain, index = carrier.best_split()
        assert gain >= 0
        assert index not in opened
        opened.append(index)
        carrier.correct(index, spleen.plane(index))
    assert sorted(opened) == list(range(48))
    assert carrier.best_split()[0] == -1


def test_carrier_and_choice_are_given_no_reference():
    assert list(inspect.signature(OrganCarrier.__init__).parameters) == ["self", "prediction", "prior"]
    assert list(inspect.signature(OrganCarrier.correct).parameters) == ["self", "index", "mask"]
    assert list(inspect.signature(splitting).parameters) == ["predictions", "carriers"]


def test_two_truths_that_differ_in_one_slice_give_the_same_choices_until_it_was_opened(found):
    organs = found[0].organs

    def choices(change):
        carriers = [OrganCarrier(p, prior) for p, prior in zip(organs, prior_error(organs), strict=True)]
        review = splitting(organs, carriers)
        opened = [next(review)]
        for _ in range(60):
            organ, index = opened[-1]
            mask = found[1][organ].plane(index)
            carriers[organ].correct(index, ~mask if (organ, index) == change else mask)
            opened.append(review.send(0.0))
        return opened

    plain = choices(None)
    for step in (0, 10, 40):
        assert choices(plain[step])[: step + 1] == plain[: step + 1]


@pytest.mark.parametrize("code", ["LPS", "SAL"])
def test_every_orientation_gives_the_same_carried_review(carried, code):
    turned = phantom(code)
    other = replay_carried(GAIN, turned[0].organs, editor(*turned), ReviewTime(), until=0.9)
    np.testing.assert_array_equal(other.removed, carried.removed[: len(other.removed)])


def test_looking_at_carried_slices_takes_time(found, carried):
    blind = replay_carried(GAIN, found[0].organs, editor(*found), ReviewTime(look_seconds=0.0), until=0.9)
    at = len(blind.minutes) - 1
    assert carried.minutes[at] > blind.minutes[at] + 0.5
