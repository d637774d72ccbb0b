"""The list in memory: what is found, in which order, and which task comes next, against a plain reading of the same rules."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasReviewLib.task_states import ACCEPTED, ASIDE, FINISHED, FLAGGED, OPEN, REVISED, SKIPPED, STAGES, STATES, TAKEN, WAITING, State
from AtlasReviewLib.worklist_index import Rows, WorklistIndex
from AtlasReviewLib.worklist_rows import ANY, Task, TaskFilter
from AtlasReviewLib.worklist_view import ALL, COLUMNS, FILTERS, UNFINISHED, can_continue, counts, folded, natural


def task(number: int, state: State = WAITING, reader: str = "", case: str = "", organ: str = "liver", **values: Any) -> Task:
    nan = math.nan
    name = case or f"case{number}"
    known = Task(number, name, organ, number, nan, nan, nan, nan, nan, "", state, reader, "", 0.0, "", "", "2026", True)
    return dataclasses.replace(known, **values)


TASKS = [
    task(1, ACCEPTED, "Ada"), task(2, TAKEN, "Bob"), task(3),
    task(4, REVISED, "Ada", organ="kidney_left"), task(5, FLAGGED, "Löv"), task(6, SKIPPED),
]  # fmt: skip
INDEX = WorklistIndex(TASKS)
EVERY = [1, 2, 3, 4, 5, 6]


def ids(index: WorklistIndex, rows: Rows) -> list[int]:
    return [index.tasks[int(row)].id for row in rows]


@pytest.mark.parametrize(("states", "expected"), [(UNFINISHED, [2, 3, 4, 5, 6]), (ALL, EVERY), (ACCEPTED, [1]), ("rejected", [])])
def test_states_are_filtered(states: str, expected: list[int]) -> None:
    assert ids(INDEX, INDEX.find(states)) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [("CASE4", [4]), ("left kidney", [4]), ("kidney_left", [4]), ("lov", [5]), ("bob taken", [2]), ("bob waiting", []), ("", EVERY)],
)
def test_all_words_must_be_found_whatever_their_case_and_accents(words: str, expected: list[int]) -> None:
    assert ids(INDEX, INDEX.find(ALL, words)) == expected


def test_what_changed_is_found_as_it_is_now_and_new_readers_are_known() -> None:
    index = WorklistIndex(TASKS)
    assert index.update([dataclasses.replace(TASKS[2], state=TAKEN, reader="Éve")])
    assert ids(index, index.find(TAKEN)) == [2, 3]
    assert ids(index, index.find(ALL, "eve")) == [3]
    assert index.readers == ["Ada", "Bob", "Éve", "Löv"]
    assert index.counts() == counts(index.tasks)


def test_a_task_that_got_another_rank_moves() -> None:
    index = WorklistIndex(TASKS)
    assert index.update([dataclasses.replace(TASKS[4], rank=0), dataclasses.replace(TASKS[0], rank=None)])
    assert ids(index, index.find(ALL)) == [5, 2, 3, 4, 6, 1]
    assert index.neighbor(index.find(ALL), TASKS[4], 1) is TASKS[1]
    assert index.neighbor(index.find(UNFINISHED), index.tasks[0], -1) is TASKS[5]


def test_a_task_that_came_asks_for_reading_the_list_again() -> None:
    assert not WorklistIndex(TASKS).update([task(7)])
    assert WorklistIndex(TASKS).update([task(7, present=False)])


def test_a_task_that_is_not_to_be_seen_is_taken_out_and_comes_back() -> None:
    index = WorklistIndex(TASKS)
    assert index.update([dataclasses.replace(TASKS[2], present=False)])
    assert ids(index, index.find(ALL)) == [1, 2, 4, 5, 6]
    assert index.neighbor(index.find(ALL), None, 1, "Ada", unfinished=True) is TASKS[3]
    assert index.place(TASKS[2]) == -1
    assert index.left_over("Ada") == (1, 1, 2)
    assert "waiting" not in index.counts()
    assert list(index.unfinished) == [False, True, False, True, True, True]
    assert index.update([TASKS[2]])
    assert ids(index, index.find(ALL)) == EVERY


def test_what_has_to_be_adjudicated_comes_first() -> None:
    index = WorklistIndex(TASKS)
    assert index.update([dataclasses.replace(TASKS[4], state=WAITING, stage="adjudicate", level=2)])
    assert ids(index, index.find(ALL)) == [5, 1, 2, 3, 4, 6]
    assert ids(index, index.find(ALL, "adjudicate")) == [5]


def test_nobody_is_led_to_a_task_above_their_level_or_to_check_their_own_work() -> None:
    verify = dataclasses.replace(TASKS[2], stage="verify", level=2, author="Ben")
    index = WorklistIndex([verify])
    rows = index.find(ALL)
    assert index.neighbor(rows, None, 1, "Ada", level=2, unfinished=True) is verify
    assert index.neighbor(rows, None, 1, "Ben", level=2, unfinished=True) is None
    assert index.neighbor(rows, None, 1, "Cid", level=1, unfinished=True) is None
    disagreement = dataclasses.replace(TASKS[2], stage="adjudicate", level=2, author="Ben")  # its author is shown to its readers alone
    assert WorklistIndex([disagreement]).neighbor(rows, None, 1, "Ada", level=2, unfinished=True) is None


def test_next_and_previous_go_through_the_list() -> None:
    rows = INDEX.find(ALL)
    assert INDEX.neighbor(rows, TASKS[2], 1) is TASKS[3]
    assert INDEX.neighbor(rows, TASKS[2], -1) is TASKS[1]
    assert INDEX.neighbor(rows, TASKS[-1], 1) is None
    assert INDEX.neighbor(rows, TASKS[0], -1) is None
    assert INDEX.neighbor(rows, None, 1) is TASKS[0]
    assert INDEX.neighbor(rows, None, -1) is TASKS[-1]
    assert WorklistIndex().neighbor(WorklistIndex().find(), None, 1) is None


def test_next_unfinished_passes_over_what_others_have_and_what_is_done_or_put_aside() -> None:
    rows = INDEX.find(ALL)
    assert INDEX.neighbor(rows, None, 1, "Ada", unfinished=True) is TASKS[2]
    assert INDEX.neighbor(rows, TASKS[2], 1, "Ada", unfinished=True) is TASKS[3]
    assert INDEX.neighbor(rows, TASKS[3], 1, "Ada", unfinished=True) is None
    assert INDEX.neighbor(rows, TASKS[2], 1, "Bob", unfinished=True) is None
    assert INDEX.neighbor(rows, TASKS[2], -1, "Bob", unfinished=True) is TASKS[1]


def test_a_task_that_left_the_list_still_has_its_place() -> None:
    rest = np.array([0, 1, 4, 5])
    assert INDEX.neighbor(rest, TASKS[2], 1) is TASKS[4]
    assert INDEX.neighbor(rest, TASKS[2], -1) is TASKS[1]


def test_what_is_left_is_counted() -> None:
    assert INDEX.left_over("Ada") == (2, 1, 2)
    assert INDEX.left_over("Bob") == (2, 1, 2)
    assert INDEX.left_over("Eve") == (1, 2, 2)
    assert INDEX.left_over("Ada", without=TASKS[3]) == (1, 1, 2)
    assert INDEX.left_over("Ada", only=TaskFilter(organs=("kidney_left",))) == (1, 0, 0)
    assert WorklistIndex().left_over("Eve") == (0, 0, 0)


def test_names_are_offered_once() -> None:
    index = WorklistIndex([task(1, case="b10"), task(2, case="b9", organ="spleen", assignee="Zoe"), task(3, case="b9")])
    assert (index.organs, index.readers) == (["liver", "spleen"], ["Zoe"])
    assert (index.cases_named("B*"), index.cases_named("b1*"), index.cases_named("b1")) == (["b10", "b9"], ["b10"], [])
    assert WorklistIndex([task(1, organ="kidney_left")]).organs_named("Kidney left") == ["kidney_left"]
    assert index.named("b9", "liver") is index.tasks[2]
    assert index.named("b9", "aorta") is None
    assert index.organs_of("b9") == ["liver", "spleen"]
    assert index.organs_of("nothing") == []


READERS = st.sampled_from(["", "Ada", "Bob", "Löv"])
CASES, ORGANS = st.sampled_from(["c10", "C9", "ä", "c9"]), st.sampled_from(["liver", "gall_bladder"])
WHOSE = st.fixed_dictionaries({"assignee": READERS, "author": READERS, "stage": st.sampled_from(STAGES), "level": st.integers(1, 2)})
LISTS = st.lists(st.tuples(st.sampled_from(STATES), READERS, CASES, ORGANS, WHOSE), max_size=12)
SEARCHES = st.sampled_from(["", "c", "9", "gall bladder", "a", "lov", "taken ada", "_"])


def plain(tasks: Sequence[Task], states: str, search: str, column: str, descending: bool, only: TaskFilter) -> list[int]:
    """The rules in words of Python, one task at a time."""

    def text(found: Task) -> str:
        return folded(" ".join((found.case, found.organ, found.organ.replace("_", " "), found.state, found.stage, found.reader)))

    keys: dict[str, Callable[[Task], Any]] = {
        "case": lambda t: natural(t.case),
        "organ": lambda t: t.organ,
        "state": lambda t: STATES.index(t.state),
        "reader": lambda t: folded(t.reader),
        "level": lambda t: t.level,
    }
    kept = [t for t in tasks if states == ALL or (t.state not in FINISHED if states == UNFINISHED else t.state == states)]
    kept = [t for t in kept if all(word in text(t) for word in folded(search).split())]
    kept = [t for t in kept if t.organ in (only.organs or [t.organ]) and t.case in (only.cases or [t.case])]
    kept = [t for t in kept if only.level in (None, t.level)]
    kept = kept if column == "rank" else sorted(kept, key=keys[column])
    return [t.id for t in (reversed(kept) if descending else kept)]


ONLY = st.sampled_from([ANY, TaskFilter(organs=("liver",)), TaskFilter(cases=("c9", "no"), level=2)])
QUESTIONS = st.tuples(st.sampled_from(FILTERS), SEARCHES, st.sampled_from(COLUMNS), st.booleans(), ONLY)


@settings(max_examples=150, deadline=None)
@given(LISTS, QUESTIONS, st.data())
def test_it_finds_what_the_rules_say_in_their_order_also_after_changes(values: list[Any], question: Any, data: st.DataObject) -> None:
    tasks = [task(n, state, reader, case, organ, **whose) for n, (state, reader, case, organ, whose) in enumerate(values)]
    index = WorklistIndex(tasks)
    for number in range(len(tasks)):
        if data.draw(st.booleans()):
            tasks[number] = dataclasses.replace(tasks[number], state=data.draw(st.sampled_from(STATES)), reader=data.draw(READERS))
            index.update([tasks[number]])
    rows = index.find(*question)
    assert ids(index, rows) == plain(tasks, *question)
    mine = [t for t in tasks if can_continue(t, "Ada", 1)]
    others = [t for t in tasks if t.state in OPEN and t not in mine]
    assert index.left_over("Ada", 1) == (len(mine), len(others), sum(t.state in ASIDE for t in tasks))
    walked, current = [], None
    while (current := index.neighbor(rows, current, 1, "Ada", level=1, unfinished=True)) is not None:
        walked.append(current.id)
    assert walked == [number for number in ids(index, rows) if can_continue(tasks[number], "Ada", 1)]
