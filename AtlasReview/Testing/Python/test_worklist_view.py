"""Words of the list, and whose work a task is."""

from __future__ import annotations

import math

from AtlasReviewLib.task_states import ACCEPTED, FLAGGED, REVISED, SKIPPED, STATES, TAKEN, WAITING, State
from AtlasReviewLib.worklist_rows import Task
from AtlasReviewLib.worklist_view import FILTERS, can_continue, counts, folded, natural


def task(number: int, state: State = WAITING, reader: str = "") -> Task:
    nan = math.nan
    return Task(number, f"case{number}", "liver", number, nan, nan, nan, nan, nan, "", state, reader, "", 0.0, "", "", "2026", True)


TASKS = [task(1, ACCEPTED, "Ada"), task(2, TAKEN, "Bob"), task(3), task(4, REVISED, "Ada"), task(5, FLAGGED, "Löv"), task(6, SKIPPED)]


def test_every_state_can_be_chosen() -> None:
    assert {*STATES} < {*FILTERS}


def test_upper_case_and_accents_do_not_count() -> None:
    assert folded("LÖV Ångström") == folded("lov angstrom")


def test_case_ten_comes_after_case_nine() -> None:
    assert sorted(["case10", "case9", "Case1", "zebra"], key=natural) == ["Case1", "case9", "case10", "zebra"]


def test_tasks_are_counted() -> None:
    assert counts(TASKS) == {"waiting": 1, "taken": 1, "revised": 1, "accepted": 1, "flagged": 1, "skipped": 1}
    assert list(counts(TASKS)) == [state for state in STATES if state in counts(TASKS)]


def test_a_reader_goes_on_with_what_waits_and_with_what_they_began() -> None:
    assert [found.id for found in TASKS if can_continue(found, "Ada")] == [3, 4]
    assert [found.id for found in TASKS if can_continue(found, "Bob")] == [2, 3]
