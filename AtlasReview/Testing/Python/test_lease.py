"""Leases: a task comes back when nobody works on it any more, and never while somebody does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from AtlasReviewLib import lease
from AtlasReviewLib.task_states import ACCEPTED, FLAGGED, REJECTED, REVISED, SKIPPED, TAKEN, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Task, TaskFilter, TaskTakenError
from AtlasReviewLib.worklist_view import can_continue
from AtlasSegmentLib.errors import DatasetError, InputError

pytest_plugins = ("postgres_server",)
ELSEWHERE = "far-host/00000000/1"
PAST = "2020-01-01T00:00:00.000000+00:00"
ORGANS = ("liver", "spleen", "pancreas")


@pytest.fixture(params=["sqlite", "postgres"])
def worklist(request: pytest.FixtureRequest, tmp_path: Path) -> Worklist:
    """Return three tasks of each of two cases, ranked 1 to 6."""
    url = request.getfixturevalue("postgres").empty_worklist() if request.param == "postgres" else ""
    found = Worklist(tmp_path, url=url)
    with found.store.writing() as db:
        names = [(case, organ) for case in ("a", "b") for organ in ORGANS]
        db.add_many([{"case_name": c, "organ": o, "rank": rank, "changed": ""} for rank, (c, o) in enumerate(names, 1)])
    return found


def set_columns(worklist: Worklist, task: Task, **columns: str | float) -> None:
    """Write columns of a task, as another program or a passing time would."""
    with worklist.store.writing() as db:
        db.set(db.row(task.case, task.organ), dict(columns))


def crash(worklist: Worklist, task: Task) -> None:
    """Let the program that has a task be another one, which died long ago."""
    set_columns(worklist, task, session=ELSEWHERE, lease_until=PAST)


def kinds(worklist: Worklist, task: Task) -> list[str]:
    return [event.kind for event in worklist.events(task.case, task.organ)]


def taken(worklist: Worklist, reader: str = "Ada", only: TaskFilter | None = None) -> Task:
    task = worklist.take_next(reader, only=only or TaskFilter())
    assert task is not None
    return task


def test_a_lease_ends_some_minutes_after_the_last_sign_of_life() -> None:
    assert lease.lease_end("2026-11-21T23:58:00.000000+00:00") == "2026-11-22T00:03:00.000000+00:00"
    assert lease.HEARTBEAT_SECONDS * 3 < lease.LEASE_SECONDS  # two lost signs cost nothing


def test_a_task_in_hand_has_a_lease_that_signs_of_life_move_on_without_events(worklist: Worklist) -> None:
    task = taken(worklist)
    assert task.lease_until > task.changed
    events = worklist.last_event()
    again = worklist.heartbeat(task, "Ada")
    assert again.lease_until > task.lease_until
    assert worklist.last_event() == events


def test_the_task_of_a_crashed_program_goes_to_the_next_who_asks(worklist: Worklist) -> None:
    task = taken(worklist)
    crash(worklist, task)
    after = taken(worklist, "Bob")
    assert (after.id, after.reader) == (task.id, "Bob")
    events = worklist.events(task.case, task.organ)
    assert [event.kind for event in events] == ["take", "expire", "take"]
    assert (events[1].reader, events[1].session) == ("Ada", ELSEWHERE)
    assert events[1].comment == "no sign of life until 2020-01-01 00:00:00 UTC"
    assert (events[1].state_before, events[1].state_after) == (TAKEN, WAITING)


def test_a_lease_that_still_runs_protects_the_task(worklist: Worklist) -> None:
    task = taken(worklist)
    set_columns(worklist, task, session=ELSEWHERE)
    assert taken(worklist, "Bob").id != task.id
    assert worklist.task(task.case, task.organ).reader == "Ada"


def test_what_the_task_was_before_comes_back_with_it(worklist: Worklist) -> None:
    flagged = worklist.set_state(taken(worklist), FLAGGED, "Ada", "which vessel?")
    crash(worklist, worklist.take(flagged.case, flagged.organ, "Bob"))
    taken(worklist, "Cleo")
    after = worklist.task(flagged.case, flagged.organ)
    assert (after.state, after.reader, after.comment, after.session, after.lease_until) == (FLAGGED, "Ada", "which vessel?", "", "")


def test_a_task_with_a_revision_stays_its_readers_after_a_crash(worklist: Worklist) -> None:
    task = worklist.set_state(taken(worklist), REVISED, "Ada", revision="r1", sha256="0" * 64)
    crash(worklist, task)
    assert taken(worklist, "Bob").id != task.id
    after = worklist.task(task.case, task.organ)
    assert (after.state, after.reader, after.session, after.revision) == (REVISED, "Ada", "", "r1")
    assert worklist.take(task.case, task.organ, "Ada").is_mine("Ada")


def test_a_sleeping_computer_gets_its_task_back_when_nobody_had_it_since(worklist: Worklist) -> None:
    task = taken(worklist)
    set_columns(worklist, task, lease_until=PAST)
    with worklist.store.writing() as db:  # what another program's sweep writes
        row = db.row(task.case, task.organ)
        db.change(row, lease.EXPIRE, "Ada", lease.given_back(row), session=task.session)
    assert worklist.task(task.case, task.organ).state == WAITING
    again = worklist.heartbeat(task, "Ada")
    assert again.is_mine("Ada")
    assert kinds(worklist, task) == ["take", "expire", "resume"]


def test_a_sleeping_computer_does_not_get_what_somebody_had_since(worklist: Worklist) -> None:
    task = taken(worklist)
    crash(worklist, task)
    worklist.leave(worklist.take(task.case, task.organ, "Bob"), "Bob", keep=False)
    assert kinds(worklist, task) == ["take", "expire", "take", "release"]
    now = worklist.heartbeat(task, "Ada")
    assert (now.state, now.is_mine("Ada")) == (WAITING, False)


def test_a_program_does_not_expire_its_own_lease(worklist: Worklist) -> None:
    task = taken(worklist)
    set_columns(worklist, task, lease_until=PAST)
    worklist.take_next("Ada", exclude=task)
    assert worklist.task(task.case, task.organ).is_mine("Ada")
    assert worklist.take(task.case, task.organ, "Ada").lease_until > PAST
    assert "expire" not in kinds(worklist, task)
    assert worklist.set_state(task, ACCEPTED, "Ada").lease_until == ""


def test_a_sign_of_life_gives_back_what_others_left(worklist: Worklist) -> None:
    crashed, mine = taken(worklist), taken(worklist, "Bob")
    crash(worklist, crashed)
    worklist.heartbeat(mine, "Bob")
    assert worklist.task(crashed.case, crashed.organ).state == WAITING


def test_a_task_that_is_left_or_decided_has_no_lease(worklist: Worklist) -> None:
    for keep in (True, False):
        task = taken(worklist)
        worklist.leave(task, "Ada", keep=keep)
        after = worklist.task(task.case, task.organ)
        assert (after.lease_until, after.session) == ("", "")


def test_a_task_edited_elsewhere_stays_for_as_long_as_was_said(worklist: Worklist) -> None:
    task = worklist.detach(taken(worklist), "Ada", 3600)
    assert (task.session, task.reader, task.state) == ("", "Ada", TAKEN)
    assert taken(worklist, "Bob").id != task.id
    set_columns(worklist, task, lease_until=PAST)
    with pytest.raises(TaskTakenError, match="by now"):
        worklist.detach(worklist.take(task.case, task.organ, "Bob"), "Ada", 5)


def test_only_the_organs_and_cases_and_the_level_that_are_wanted_are_given(worklist: Worklist) -> None:
    assert taken(worklist, only=TaskFilter(organs=("pancreas", "spleen"))).organ == "spleen"
    assert taken(worklist, only=TaskFilter(cases=("b",))).rank == 4
    senior = worklist.task("b", "pancreas")
    set_columns(worklist, senior, level=2, stage="verify")
    assert worklist.take_next("Ada", only=TaskFilter(level=2)) is None
    (worklist.folder / "readers.json").write_text('{"Ada": "senior"}')
    assert taken(worklist, only=TaskFilter(level=2)).id == senior.id
    assert worklist.take_next("Ada", only=TaskFilter(level=2, organs=("liver",))) is None
    assert worklist.take_next("Ada", only=TaskFilter(cases=("'; DROP TABLE task; --",))) is None


def test_a_handed_over_task_is_given_to_the_named_reader_first_and_to_nobody_else(worklist: Worklist) -> None:
    for _ in range(3):
        task = taken(worklist)
    handed = worklist.hand_over(task, "Ada", "Bob", "you know livers")
    assert (handed.state, handed.reader, handed.assignee) == (WAITING, "", "Bob")
    assert worklist.events(task.case, task.organ)[-1].comment == "to Bob: you know livers"
    assert [can_continue(handed, name) for name in ("Ada", "Bob")] == [False, True]
    with pytest.raises(TaskTakenError, match="was handed to Bob"):
        worklist.take(task.case, task.organ, "Cleo")
    assert taken(worklist, "Cleo").id != task.id
    given = taken(worklist, "Bob")
    assert given.id == task.id
    worklist.leave(given, "Bob", keep=False)
    assert worklist.task(task.case, task.organ).assignee == "Bob"
    over = worklist.take(task.case, task.organ, "Cleo", take_over=True)
    assert (over.reader, over.assignee) == ("Cleo", "")
    assert kinds(worklist, task)[-1] == "take over"


def test_a_handed_over_revision_is_the_other_readers(worklist: Worklist) -> None:
    task = worklist.set_state(taken(worklist), REVISED, "Ada", revision="r1")
    handed = worklist.hand_over(task, "Ada", "Bob")
    assert (handed.state, handed.reader, handed.revision) == (REVISED, "Bob", "r1")
    assert taken(worklist, "Bob").id == task.id
    assert worklist.set_state(task, ACCEPTED, "Bob").assignee == ""


def test_nobody_hands_over_what_another_one_works_on_or_what_is_finished(worklist: Worklist) -> None:
    task = taken(worklist)
    with pytest.raises(TaskTakenError, match="is taken by Ada"):
        worklist.hand_over(task, "Bob", "Cleo")
    worklist.set_state(task, ACCEPTED, "Ada")
    with pytest.raises(InputError, match="is accepted by Ada"):
        worklist.hand_over(task, "Bob", "Cleo")
    with pytest.raises(DatasetError, match="reader name"):
        worklist.hand_over(taken(worklist), "Ada", "../Bob")


@pytest.mark.parametrize("state", [ACCEPTED, REJECTED, FLAGGED, SKIPPED])
def test_a_decided_task_goes_back_on_the_list_for_a_reason(worklist: Worklist, state: str) -> None:
    task = worklist.set_state(taken(worklist), state, "Ada", "noted")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no reason"):
        worklist.revisit(task, "Bob", " ")
    again = worklist.revisit(task, "Bob", "the dome was cut off")
    assert (again.state, again.reader, again.assignee) == (WAITING, "", "")
    assert worklist.events(task.case, task.organ)[-1].comment == "the dome was cut off"
    assert taken(worklist, "Cleo").id == task.id
    with pytest.raises(TaskTakenError, match="released first"):
        worklist.revisit(task, "Bob", "again")


def test_what_waits_is_not_put_back_and_what_is_put_back_can_be_for_one_reader(worklist: Worklist) -> None:
    with pytest.raises(InputError, match="is waiting"):
        worklist.revisit(worklist.task("a", "liver"), "Bob", "why not")
    task = worklist.set_state(taken(worklist), ACCEPTED, "Ada")
    assert worklist.revisit(task, "Bob", "check", to="Ada").assignee == "Ada"
    assert taken(worklist, "Cleo").id != task.id
    assert taken(worklist, "Ada").id == task.id


def test_somebody_elses_task_can_be_looked_at_without_being_touched(worklist: Worklist) -> None:
    task = taken(worklist)
    set_columns(worklist, task, session=ELSEWHERE)
    events = worklist.last_event()
    seen = worklist.task(task.case, task.organ)
    assert (seen.reader, seen.is_mine("Bob")) == ("Ada", False)
    with pytest.raises(TaskTakenError) as refused:
        worklist.take(task.case, task.organ, "Bob")
    assert "read-only" in refused.value.remedy
    with pytest.raises(TaskTakenError):
        worklist.set_state(task, ACCEPTED, "Bob")
    assert worklist.last_event() == events


@pytest.mark.parametrize("act", [
    lambda w, t: w.set_state(t, FLAGGED, "Ada", "x" * 10_000),
    lambda w, t: w.set_state(t, REJECTED, "Ada", "'); DELETE FROM event; --"),
    lambda w, t: w.hand_over(t, "Ada", "Robert'); DROP TABLE task;--"),
    lambda w, t: w.hand_over(t, "Ada", "Bob", "%s %(x)s :y ? {z}"),
], ids=["long", "quotes", "names", "marks"])  # fmt: skip
def test_whatever_text_is_given_is_kept_as_text(worklist: Worklist, act: Callable[[Worklist, Task], Task]) -> None:
    task = act(worklist, taken(worklist))
    event = worklist.events(task.case, task.organ)[-1]
    assert task.assignee in event.comment
    assert event.comment.endswith(("x" * 100, "DELETE FROM event; --", "DROP TABLE task;--", "%s %(x)s :y ? {z}"))
    assert len(worklist.tasks()) == 6
