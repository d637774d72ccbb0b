"""Taking the first of some wanted tasks: in their order, by the rules of "take next", in one transaction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.task_states import ACCEPTED, SKIPPED, TAKEN
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Task, TaskFilter
from AtlasReviewLib.worklist_second import add_second_readings
from AtlasSegmentLib.errors import DatasetError, StorageError

pytest_plugins = ("postgres_server",)
LEVELS = {"Dr. Sen": "senior", "Dr. Eve": "senior", "Ada": "junior", "Bob": "junior"}


@pytest.fixture(params=["sqlite", "postgres"])
def worklist(request: pytest.FixtureRequest, tmp_path: Path) -> Worklist:
    """Return a list of eight tasks, of which some are read twice, and all verified."""
    policy = ReviewPolicy(verify=True, double_share=0.5)
    write_policy(tmp_path, policy)
    (tmp_path / "readers.json").write_text(json.dumps(LEVELS))
    url = request.getfixturevalue("postgres").empty_worklist() if request.param == "postgres" else ""
    found = Worklist(tmp_path, url=url)
    with found.store.writing() as db:
        names = [(case, organ) for case in ("a", "b", "c", "d") for organ in ("liver", "spleen")]
        db.add_many([{"case_name": case, "organ": organ, "rank": rank, "changed": ""} for rank, (case, organ) in enumerate(names, 1)])
        add_second_readings(db, db.rows(), policy)
    assert 1 < len(found.pairs()) < 7
    return found


def once(worklist: Worklist) -> list[Task]:
    """Return the tasks that one reader does."""
    twice = {(one["case_name"], one["organ"]) for one, _two in worklist.pairs()}
    return [task for task in worklist.tasks() if (task.case, task.organ) not in twice]


def first(worklist: Worklist, tasks: list[Task], reader: str, level: int | None = None) -> int | None:
    found = worklist.take_first(tasks, reader, level)
    assert found is None or (found.state == TAKEN and found.is_mine(reader))
    return None if found is None else found.id


def test_the_order_is_that_of_who_asks_and_what_others_have_is_passed_over(worklist: Worklist) -> None:
    tasks = once(worklist)[::-1]
    assert first(worklist, tasks, "Ada") == tasks[0].id
    assert first(worklist, tasks, "Bob") == tasks[1].id
    assert first(worklist, tasks[:2], "Dr. Sen") is None
    assert first(worklist, [], "Dr. Sen") is None
    assert len([event for event in worklist.events() if event.kind == "take"]) == 2


def test_what_was_handed_to_somebody_is_theirs_alone(worklist: Worklist) -> None:
    task, other = once(worklist)[:2]
    worklist.hand_over(task, "Ada", "Bob")
    assert first(worklist, [task, other], "Dr. Sen") == other.id
    assert first(worklist, [other, task], "Bob") == task.id


def test_what_was_begun_or_skipped_does_not_wait(worklist: Worklist) -> None:
    task, other = once(worklist)[:2]
    worklist.set_state(worklist.take(task.case, task.organ, "Ada"), SKIPPED, "Ada")
    worklist.take(other.case, other.organ, "Ada")
    for reader in ("Ada", "Bob"):
        assert first(worklist, [task, other], reader) is None


def test_nobody_verifies_their_own_work_or_above_their_level(worklist: Worklist) -> None:
    task, other = once(worklist)[:2]
    worklist.set_state(worklist.take(task.case, task.organ, "Dr. Sen"), SKIPPED, "Dr. Sen")
    worklist.set_state(worklist.take(task.case, task.organ, "Ada"), ACCEPTED, "Ada")
    assert first(worklist, [task], "Dr. Sen") is None
    assert first(worklist, [task], "Bob") is None
    assert first(worklist, [task], "Dr. Eve", level=1) is None
    assert first(worklist, [other, task], "Dr. Eve", level=2) == task.id


def test_nobody_gets_both_readings_of_a_task(worklist: Worklist) -> None:
    tasks = [task for task in worklist.every_task() if task.id not in {task.id for task in once(worklist)}]
    pair = [task for task in tasks if (task.case, task.organ) == (tasks[0].case, tasks[0].organ)]
    assert {task.reading for task in pair} == {1, 2}
    assert first(worklist, pair[::-1], "Ada") == pair[1].id
    assert first(worklist, pair, "Ada") is None
    assert first(worklist, pair, "Bob") == pair[0].id


def test_a_task_is_given_exactly_when_take_next_would_give_it(worklist: Worklist) -> None:
    """Each reader asks both ways for each task; what was given goes back."""
    tasks = once(worklist)
    worklist.set_state(worklist.take(tasks[0].case, tasks[0].organ, "Ada"), ACCEPTED, "Ada")
    worklist.hand_over(tasks[1], "Ada", "Bob")
    given = 0
    for reader in LEVELS:
        for task in tasks:
            for level in (None, 1, 2):
                answers = []
                for ask in (
                    lambda: worklist.take_first([task], reader, level),  # noqa: B023 - called at once
                    lambda: worklist.take_next(reader, only=TaskFilter((task.organ,), (task.case,), level)),  # noqa: B023
                ):
                    found = ask()
                    answers.append(None if found is None else found.id)
                    if found is not None:
                        worklist.leave(found, reader, keep=False)
                assert answers[0] == answers[1], (task, reader, level)
                given += answers[0] is not None
    assert given > len(tasks)


def test_a_task_that_somebody_changes_right_now_is_passed_over(worklist: Worklist) -> None:
    if not worklist.store.place.url:
        pytest.skip("In a file nobody writes beside.")
    task, other = once(worklist)[:2]
    with Worklist(worklist.folder, url=worklist.store.place.url).store.writing() as db:
        db.row(task.case, task.organ)
        assert first(worklist, [task, other], "Ada") == other.id


def test_a_list_for_looking_only_gives_nothing(worklist: Worklist) -> None:
    tasks = once(worklist)
    looking = Worklist(worklist.folder, read_only=True, url=worklist.store.place.url)
    with pytest.raises(StorageError):
        looking.take_first(tasks, "Ada")
    with pytest.raises(DatasetError, match="file name"):
        worklist.take_first(tasks, "../Ada")
