"""Tasks by expected gain per minute: the reader's own speed where it is known, the time model's where it is not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasQualityLib.effort import EditingTime
from AtlasReviewLib.gain_order import FEWEST_TASKS, ReaderSpeed, by_gain, gains, reader_speed
from AtlasReviewLib.task_states import ACCEPTED, REJECTED, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_rows import Task
from review_data import make_dataset

ASSUMED = ReaderSpeed()


def task(number: int = 0, **changed: object) -> Task:
    known: dict[str, object] = {
        "id": number,
        "case": f"case{number}",
        "organ": "liver",
        "rank": None,
        "priority": math.nan,
        "attention_mm3": math.nan,
        "expected_error_mm3": 1000.0,
        "minutes": 1.0,
        "predicted_dice": math.nan,
        "reason": "",
        "state": WAITING,
        "reader": "",
        "session": "",
        "active_seconds": 0.0,
        "comment": "",
        "revision": "",
        "changed": "",
        "present": True,
    }
    return Task(**{**known, **changed})  # type: ignore[arg-type]


def decided(number: int, seconds: float, minutes: float = 1.0, **changed: object) -> Task:
    return task(number, state=ACCEPTED, reader="Ada", active_seconds=seconds, minutes=minutes, **changed)


def history(count: int = 20, opening: float = 40.0, factor: float = 2.0) -> list[Task]:
    """Return tasks of a reader who needs `opening` seconds and `factor` times the modeled drawing."""
    drawn = np.linspace(0, 300, count)
    return [decided(n, opening + factor * d, (EditingTime().open_seconds + d) / 60) for n, d in enumerate(drawn)]


def test_below_ten_decided_tasks_the_time_model_counts() -> None:
    speed = reader_speed(history(FEWEST_TASKS - 1), "Ada")
    assert not speed.measured
    assert speed.tasks == FEWEST_TASKS - 1
    assert speed.minutes("liver", 3.5) == pytest.approx(3.5)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 200), st.floats(0.1, 5))
def test_the_measured_speed_is_found_again(opening: float, factor: float) -> None:
    speed = reader_speed(history(15, opening + 1, factor), "Ada")
    assert speed.measured
    for drawn in (0.0, 60.0, 500.0):
        expected = opening + 1 + factor * drawn
        assert 60 * speed.minutes("pancreas", (EditingTime().open_seconds + drawn) / 60) == pytest.approx(expected, rel=1e-6)


def test_only_what_the_reader_decided_counts() -> None:
    own = history(12)
    others = [
        *(task(100 + n, state=ACCEPTED, reader="Bob", active_seconds=9999.0) for n in range(20)),
        *(task(200 + n, state=WAITING, reader="Ada", active_seconds=9999.0) for n in range(20)),
        *(decided(300 + n, 9999.0, math.nan) for n in range(20)),
        *(decided(400 + n, 0.0) for n in range(20)),
    ]
    assert reader_speed([*own, *others], "Ada") == reader_speed(own, "Ada")
    assert reader_speed([*own, task(1, state=REJECTED, reader="Ada", active_seconds=5.0)], "Ada").tasks == 13


def test_an_organ_that_takes_longer_gets_a_factor_and_a_few_tasks_of_it_only_a_small_one() -> None:
    slow = [decided(100 + n, 3 * (40.0 + 2 * 100), (EditingTime().open_seconds + 100) / 60, organ="pancreas") for n in range(20)]
    many, few = reader_speed([*history(60), *slow], "Ada"), reader_speed([*history(60), *slow[:1]], "Ada")
    assert many.organs["pancreas"] > 1.6 > few.organs["pancreas"] > 1.0 > many.organs["liver"]


def test_times_that_do_not_grow_with_the_work_are_taken_as_constant_and_nothing_is_negative() -> None:
    falling = [decided(n, 300.0 - 10 * n, 1.0 + n) for n in range(12)]
    speed = reader_speed(falling, "Ada")
    assert (speed.opening, speed.factor) == (pytest.approx(np.mean([t.active_seconds for t in falling])), 0.0)
    steep = [decided(n, max(1.0, 100.0 * (n - 5)), 1.0 + n) for n in range(12)]
    assert min(reader_speed(steep, "Ada").opening, reader_speed(steep, "Ada").factor) >= 0
    assert reader_speed([decided(n, 30.0, 1.0) for n in range(12)], "Ada").minutes("liver", 1.0) == pytest.approx(0.5)


def test_a_gain_is_error_over_the_readers_minutes() -> None:
    tasks = [task(0, expected_error_mm3=600.0, minutes=2.0), task(1, minutes=math.nan), task(2, expected_error_mm3=math.nan)]
    found = gains(tasks, ASSUMED)
    assert found[0] == pytest.approx(300.0)
    assert np.isnan(found[1:]).all()
    speed = ReaderSpeed(10.0, 3.0, {"liver": 2.0}, 50)
    assert gains(tasks, speed)[0] == pytest.approx(600.0 / speed.minutes("liver", 2.0))


def test_the_order_depends_on_who_reads() -> None:
    quick_to_open = ReaderSpeed(1.0, 1.0, {}, 50)
    tasks = [task(0, expected_error_mm3=50.0, minutes=21 / 60), task(1, expected_error_mm3=400.0, minutes=120 / 60)]
    rows = np.arange(2)
    assert by_gain(gains(tasks, quick_to_open), rows).tolist() == [0, 1]
    assert by_gain(gains(tasks, ASSUMED), rows).tolist() == [1, 0]


def test_unknown_gains_come_last_and_ties_stay_as_they_were() -> None:
    gain = np.array([math.nan, 5.0, 0.0, 5.0, math.nan, 7.0])
    assert by_gain(gain, np.array([4, 3, 2, 1, 0, 5])).tolist() == [5, 3, 1, 2, 4, 0]


def test_tasks_of_a_real_worklist_can_be_ordered(tmp_path: Path) -> None:
    worklist, _ = open_worklist(make_dataset(tmp_path / "hospital"))
    tasks = worklist.tasks()
    order = by_gain(gains(tasks, reader_speed(tasks, "Ada")), np.arange(len(tasks)))
    names = [(tasks[i].case, tasks[i].organ) for i in order]
    assert names[:3] == [("first", "liver"), ("first", "kidney_left"), ("first", "spleen")]
    assert {case for case, _ in names[-2:]} == {"zlast"}
    assert isinstance(worklist, Worklist)
