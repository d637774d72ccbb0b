"""The estimate of the remaining time: right for a steady job, calm for an unsteady one, silent when nothing is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib.remaining_time import RemainingTime, rounded_seconds


def after(*samples: tuple[float, float]) -> RemainingTime:
    estimate = RemainingTime()
    for now, fraction in samples:
        estimate.update(now, fraction)
    return estimate


def test_a_steady_job_is_told_exactly() -> None:
    estimate = after(*[(100.0 + number, number / 20) for number in range(11)])
    assert estimate.seconds(110.0) == pytest.approx(10.0)
    assert estimate.seconds(110.75) == pytest.approx(9.25)  # between two steps it counts down


def test_nothing_is_told_before_there_is_something_to_go_by() -> None:
    assert RemainingTime().seconds(5.0) is None
    assert after((0.0, 0.0)).seconds(10.0) is None
    assert after((0.0, 0.0), (1.0, 0.3)).seconds(1.0) is None
    assert after((0.0, 0.0), (5.0, 0.01)).seconds(5.0) is None


def test_one_long_pause_changes_little() -> None:
    steps = [(float(number), number / 40) for number in range(20)]
    paused = [*steps, *[(now + 20.0, fraction) for now, fraction in [(20.0, 0.5), (21.0, 0.525)]]]
    steady = after(*steps, (20.0, 0.5), (21.0, 0.525)).seconds(21.0)
    assert steady
    told = after(*paused).seconds(41.0)
    assert told
    assert told < 3.5 * steady  # a mean over the last step alone would say 20 times as much


def test_a_step_that_takes_longer_than_all_the_rest_should_makes_it_silent() -> None:
    estimate = after((0.0, 0.0), (4.0, 0.8))
    assert estimate.seconds(4.5) == pytest.approx(0.5)
    assert estimate.seconds(6.0) is None


def test_a_finished_job_has_nothing_left() -> None:
    assert after((0.0, 0.0), (0.5, 1.0)).seconds(0.5) == 0.0


def test_progress_that_goes_back_starts_again() -> None:
    estimate = after((0.0, 0.0), (10.0, 0.9), (11.0, 0.0), (13.0, 0.2))
    assert estimate.seconds(13.0) == pytest.approx(8.0)


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_progress_that_is_no_number_is_passed_over(nonsense: float) -> None:
    estimate = after((0.0, 0.0), (1.0, nonsense), (5.0, 0.5))
    assert estimate.seconds(5.0) == pytest.approx(5.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats()), max_size=30), st.floats(0, 1000))
def test_the_answer_is_never_nonsense(steps: list[tuple[float, float]], later: float) -> None:
    now = 0.0
    estimate = RemainingTime()
    for pause, fraction in steps:
        now += pause
        estimate.update(now, fraction)
    told = estimate.seconds(now + later)
    assert told is None or (math.isfinite(told) and told >= 0)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0, 1), (0.4, 1), (3.4, 3), (9.9, 10), (12.4, 10), (58.0, 60), (80.0, 90), (599.0, 600), (700.0, 720)]
)
def test_durations_are_rounded_as_people_say_them(seconds: float, said: int) -> None:
    assert rounded_seconds(seconds) == said
