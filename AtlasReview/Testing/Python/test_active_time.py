"""Active time: what a reader did counts, being away does not."""

from __future__ import annotations

import pytest

from AtlasReviewLib.active_time import IDLE_SECONDS, ActiveTime


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> ActiveTime:
    watch = ActiveTime(clock)
    watch.start()
    return watch


def test_time_between_events_counts(clock: Clock, watch: ActiveTime) -> None:
    for _ in range(5):
        clock.now += 30
        watch.activity()
    assert watch.seconds == 150
    assert not watch.idle


def test_reading_a_slice_for_almost_two_minutes_counts_in_full(clock: Clock, watch: ActiveTime) -> None:
    clock.now += IDLE_SECONDS - 1
    watch.activity()
    assert watch.seconds == IDLE_SECONDS - 1


def test_being_away_for_an_hour_counts_as_two_minutes(clock: Clock, watch: ActiveTime) -> None:
    clock.now += 3600
    assert watch.idle
    watch.activity()
    assert not watch.idle
    clock.now += 10
    assert watch.seconds == IDLE_SECONDS + 10


def test_taking_often_adds_up_to_taking_once(clock: Clock, watch: ActiveTime) -> None:
    taken = 0.0
    for step in range(60):
        clock.now += 17
        taken += watch.take()
        if step in (3, 40):
            watch.activity()
    assert taken == pytest.approx(watch.seconds)
    # 68 s until the first event, then twice two minutes of nothing
    assert taken == 4 * 17 + IDLE_SECONDS + IDLE_SECONDS
    assert watch.take() == 0


def test_a_clock_that_jumps_back_takes_nothing_away(clock: Clock, watch: ActiveTime) -> None:
    clock.now += 60
    watch.activity()
    clock.now -= 500
    assert watch.seconds == 60
    watch.activity()
    clock.now += 5
    assert watch.seconds == 65


def test_a_jump_back_between_two_takes_gives_no_negative_time(clock: Clock, watch: ActiveTime) -> None:
    clock.now += 60
    assert watch.take() == 60
    clock.now -= 50
    assert watch.take() == 0
    clock.now += 60
    assert watch.take() == pytest.approx(10)


def test_nothing_counts_while_it_is_stopped(clock: Clock, watch: ActiveTime) -> None:
    clock.now += 7
    assert watch.stop() == 7
    assert not watch.running
    clock.now += 50
    watch.activity()
    assert watch.idle
    assert watch.seconds == 0
    assert watch.take() == 0
    assert watch.stop() == 0


def test_a_new_start_begins_at_zero(clock: Clock, watch: ActiveTime) -> None:
    clock.now += 40
    watch.stop()
    watch.start()
    clock.now += 3
    assert watch.take() == 3
