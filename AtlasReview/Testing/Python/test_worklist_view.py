"""What the table shows, and which task comes next."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest

from AtlasReviewLib.task_states import ACCEPTED, FLAGGED, REVISED, SKIPPED, STATES, TAKEN, WAITING, State
from AtlasReviewLib.worklist_rows import Task
from AtlasReviewLib.worklist_view import ALL, FILTERS, MOST_ROWS, UNFINISHED, counts, left_over, neighbor, shown_tasks


def task(number: int, state: State = WAITING, reader: str = "", case: str = "", organ: str = "liver") -> Task:
    nan = math.nan
    name = case or f"case{number}"
    return Task(number, name, organ, number, nan, nan, nan, nan, nan, "", state, reader, "", 0.0, "", "", "2026", True)


TASKS = [
    task(1, ACCEPTED, "Ada"), task(2, TAKEN, "Bob"), task(3),
    task(4, REVISED, "Ada", organ="kidney_left"), task(5, FLAGGED, "Löv"), task(6, SKIPPED),
]  # fmt: skip
EVERY = [1, 2, 3, 4, 5, 6]


def ids(tasks: tuple[Task, ...]) -> list[int]:
    return [found.id for found in tasks]


@pytest.mark.parametrize(("states", "expected"), [(UNFINISHED, [2, 3, 4, 5, 6]), (ALL, EVERY), (ACCEPTED, [1]), ("rejected", [])])
def test_states_are_filtered(states: str, expected: list[int]) -> None:
    assert ids(shown_tasks(TASKS, states).tasks) == expected


def test_every_state_can_be_chosen() -> None:
    assert {*STATES} < {*FILTERS}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("CASE4", [4]),
        ("left kidney", [4]),
        ("kidney_left", [4]),
        ("lov", [5]),
        ("bob taken", [2]),
        ("bob waiting", []),
        ("", EVERY),
    ],
)
def test_all_words_must_be_found_whatever_their_case_and_accents(words: str, expected: list[int]) -> None:
    assert ids(shown_tasks(TASKS, ALL, words).tasks) == expected


def test_case_ten_comes_after_case_nine() -> None:
    tasks = [task(1, case="case10"), task(2, case="case9"), task(3, case="Case1"), task(4, case="zebra")]
    assert ids(shown_tasks(tasks, ALL, column="case").tasks) == [3, 2, 1, 4]
    assert ids(shown_tasks(tasks, ALL, column="case", descending=True).tasks) == [4, 1, 2, 3]


@pytest.mark.parametrize("column", ["rank", "organ", "state", "reader"])
def test_turning_the_order_around_turns_the_table_around(column: str) -> None:
    up, down = (ids(shown_tasks(TASKS, ALL, column=column, descending=descending).tasks) for descending in (False, True))
    assert down == up[::-1]


def test_a_long_list_is_cut_and_says_how_many_are_hidden() -> None:
    shown = shown_tasks([task(number) for number in range(MOST_ROWS + 7)])
    assert (len(shown.tasks), shown.hidden) == (MOST_ROWS, 7)


def test_a_list_of_100000_tasks_is_filtered_and_searched() -> None:
    tasks = [task(number) for number in range(100_000)]
    start = time.perf_counter()
    shown = shown_tasks(tasks, search="case99999")
    print(f"\n100,000 tasks searched in {time.perf_counter() - start:.2f} s")
    assert ids(shown.tasks) == [99_999]


def test_next_and_previous_go_through_the_list() -> None:
    assert neighbor(TASKS, TASKS[2], 1) is TASKS[3]
    assert neighbor(TASKS, TASKS[2], -1) is TASKS[1]
    assert neighbor(TASKS, TASKS[-1], 1) is None
    assert neighbor(TASKS, TASKS[0], -1) is None
    assert neighbor(TASKS, None, 1) is TASKS[0]
    assert neighbor(TASKS, None, -1) is TASKS[-1]
    assert neighbor([], None, 1) is None


def test_next_unfinished_passes_over_what_others_have_and_what_is_done_or_put_aside() -> None:
    assert neighbor(TASKS, None, 1, "Ada", unfinished=True) is TASKS[2]
    assert neighbor(TASKS, TASKS[2], 1, "Ada", unfinished=True) is TASKS[3]
    assert neighbor(TASKS, TASKS[3], 1, "Ada", unfinished=True) is None
    assert neighbor(TASKS, TASKS[2], 1, "Bob", unfinished=True) is None
    assert neighbor(TASKS, TASKS[2], -1, "Bob", unfinished=True) is TASKS[1]


def test_a_task_that_left_the_list_still_has_its_place() -> None:
    rest = [TASKS[0], TASKS[1], TASKS[4], TASKS[5]]
    assert neighbor(rest, TASKS[2], 1) is TASKS[4]
    assert neighbor(rest, TASKS[2], -1) is TASKS[1]
    unranked = dataclasses.replace(TASKS[2], rank=None)
    assert neighbor(rest, unranked, 1) is None
    assert neighbor(rest, unranked, -1) is TASKS[5]


def test_tasks_are_counted() -> None:
    assert counts(TASKS) == {"waiting": 1, "taken": 1, "revised": 1, "accepted": 1, "flagged": 1, "skipped": 1}
    assert list(counts(TASKS)) == [state for state in STATES if state != "rejected"]
    assert left_over(TASKS, "Ada") == (2, 1, 2)
    assert left_over(TASKS, "Bob") == (2, 1, 2)
    assert left_over(TASKS, "Eve") == (1, 2, 2)
    assert left_over([], "Eve") == (0, 0, 0)
