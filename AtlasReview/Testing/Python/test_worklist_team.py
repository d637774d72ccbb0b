"""Two levels of readers and two readings of a task: who may have what, and what they see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from AtlasReviewLib import lease, worklist_settle
from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.doctor_history import check_history
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.task_states import (
    ACCEPTED,
    ADJUDICATE,
    ADJUDICATED,
    FLAGGED,
    READ,
    REJECTED,
    REVISED,
    SKIPPED,
    TAKEN,
    VERIFIED,
    VERIFY,
    WAITING,
)
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_copy import copy_to_server
from AtlasReviewLib.worklist_postgres import grants
from AtlasReviewLib.worklist_rows import Task, TaskFilter, TaskTakenError
from AtlasReviewLib.worklist_second import add_second_readings
from AtlasSegmentLib.errors import DatasetError, InputError, StorageError

pytest_plugins = ("postgres_server",)
ORGANS = ("liver", "spleen", "pancreas")
LEVELS = {"Dr. Sen": "senior", "Dr. Eve": "senior", "Ada": "junior", "Bob": "junior"}
PAST = "2020-01-01T00:00:00.000000+00:00"
AGREEING = Measured(0.97, 0.98, 2.0, 0.5, (2, 1, 0, 1), agree=True)
APART = Measured(0.6, 0.5, 2.0, None, (1, 1, 1, 0))


def make(folder: Path, url: str, policy: ReviewPolicy, levels: dict[str, str] | None = None) -> Worklist:
    """Return a list of three tasks of each of two cases, ranked 1 to 6, with the second readings that the policy asks for."""
    folder.mkdir(exist_ok=True)
    write_policy(folder, policy)
    (folder / "readers.json").write_text(json.dumps(LEVELS if levels is None else levels))
    worklist = Worklist(folder, url=url)
    with worklist.store.writing() as db:
        names = [(case, organ) for case in ("a", "b") for organ in ORGANS]
        db.add_many([{"case_name": c, "organ": o, "rank": rank, "changed": ""} for rank, (c, o) in enumerate(names, 1)])
        for case, organ in names:
            db.append("atlas", case, organ, "add", state_after=WAITING)
        add_second_readings(db, db.rows(), policy)
    return worklist


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("postgres").empty_worklist() if request.param == "postgres" else ""


@pytest.fixture
def verified(tmp_path: Path, url: str) -> Worklist:
    return make(tmp_path / "d", url, ReviewPolicy(verify=True))


@pytest.fixture
def doubled(tmp_path: Path, url: str) -> Worklist:
    return make(tmp_path / "d", url, ReviewPolicy(double_share=1.0))


def taken(worklist: Worklist, reader: str, level: int | None = None) -> Task:
    task = worklist.take_next(reader, only=TaskFilter(level=level))
    assert task is not None
    return task


def accept(worklist: Worklist, reader: str, revision: str = "") -> Task:
    task = taken(worklist, reader)
    if revision:
        task = worklist.set_state(task, REVISED, reader, "my note", revision, "0" * 64)
    return worklist.set_state(task, ACCEPTED, reader)


def compare(worklist: Worklist, measured: Measured) -> None:
    for pair in worklist.pairs():
        if all(row["state"] in (ACCEPTED, REJECTED) for row in pair) and not pair[0]["measured"]:
            with worklist.store.writing() as db:
                worklist_settle.settle(db, *pair, measured, worklist.rules())


def fits(worklist: Worklist) -> bool:
    worklist.viewer = None
    return not list(check_history(worklist.every_task(), worklist.events()))


# Two levels


def test_what_a_junior_accepts_waits_for_a_senior_who_did_not_do_it(verified: Worklist) -> None:
    task = accept(verified, "Ada", "r1")
    assert (task.state, task.level, task.stage, task.author, task.reader, task.revision) == (WAITING, 2, VERIFY, "Ada", "", "r1")
    assert taken(verified, "Bob").organ == "spleen"
    assert taken(verified, "Ada").organ == "pancreas"
    senior = taken(verified, "Dr. Sen")
    assert (senior.organ, senior.state, senior.comment) == ("liver", TAKEN, "my note")
    done = verified.set_state(senior, ACCEPTED, "Dr. Sen")
    assert (done.state, done.stage, done.author, done.reader) == (ACCEPTED, VERIFIED, "Ada", "Dr. Sen")
    assert [event.kind for event in verified.events("a", "liver")][-4:] == ["state", "to verify", "take", "verified"]
    assert fits(verified)


def test_without_a_policy_the_levels_of_readers_change_nothing(tmp_path: Path, url: str) -> None:
    worklist = make(tmp_path / "d", url, ReviewPolicy())
    done = accept(worklist, "Ada")
    assert (done.state, done.stage, done.level) == (ACCEPTED, READ, 1)


def test_the_work_of_a_senior_needs_no_verification(verified: Worklist) -> None:
    assert accept(verified, "Dr. Sen").state == ACCEPTED
    assert taken(verified, "Dr. Eve").organ == "spleen"


def test_a_rejection_of_a_junior_is_final(verified: Worklist) -> None:
    assert verified.set_state(taken(verified, "Ada"), REJECTED, "Ada", "nothing of it is liver").state == REJECTED


def test_a_senior_who_worked_on_a_task_does_not_verify_it(verified: Worklist) -> None:
    task = verified.set_state(taken(verified, "Dr. Sen"), REVISED, "Dr. Sen", "", "r1", "0")
    verified.hand_over(task, "Dr. Sen", "Ada")
    accept(verified, "Ada")
    assert taken(verified, "Dr. Sen").organ == "spleen"
    with pytest.raises(InputError, match=r"Dr. Sen has worked on it, so somebody else has to verify it"):
        verified.take("a", "liver", "Dr. Sen")
    assert taken(verified, "Dr. Eve").organ == "liver"


@pytest.mark.parametrize("reader", ["Ada", "Bob", "Nobody"])
def test_whoever_has_no_level_cannot_get_at_a_task_that_is_to_be_verified(verified: Worklist, reader: str) -> None:
    accept(verified, "Ada")
    task = verified.task("a", "liver")
    for over in (False, True):
        with pytest.raises(InputError, match="is to be verified by a reader of level 2"):
            verified.take("a", "liver", reader, take_over=over)
    with pytest.raises(InputError, match="level"):
        verified.hand_over(task, "Dr. Sen", reader)
    held = verified.take("a", "liver", "Dr. Sen")
    with pytest.raises(TaskTakenError):
        verified.set_state(held, ACCEPTED, reader)
    assert verified.task("a", "liver").reader == "Dr. Sen"


def test_a_reader_who_lost_the_level_cannot_decide_what_they_hold(verified: Worklist) -> None:
    accept(verified, "Ada")
    task = taken(verified, "Dr. Sen")
    (verified.folder / "readers.json").write_text(json.dumps({**LEVELS, "Dr. Sen": "junior"}))
    with pytest.raises(InputError, match=r"Dr. Sen has level 1"):
        verified.set_state(task, ACCEPTED, "Dr. Sen")


def test_seniors_choose_what_they_look_at(verified: Worklist) -> None:
    accept(verified, "Ada")
    assert taken(verified, "Dr. Sen", level=1).organ == "spleen"
    assert taken(verified, "Dr. Eve").organ == "liver"
    assert verified.take_next("Dr. Sen", only=TaskFilter(level=2)) is None
    assert verified.take_next("Bob", only=TaskFilter(level=2)) is None


def test_a_task_that_is_sent_back_waits_for_its_reader_with_the_comment(verified: Worklist) -> None:
    accept(verified, "Ada", "r1")
    task = taken(verified, "Dr. Sen")
    for comment in ("", "  "):
        with pytest.raises(InputError, match="no comment for Ada"):
            verified.send_back(task, "Dr. Sen", comment)
    back = verified.send_back(task, "Dr. Sen", " the dome is cut off ")
    assert (back.state, back.level, back.stage, back.assignee, back.comment) == (WAITING, 1, READ, "Ada", "the dome is cut off")
    assert taken(verified, "Bob").organ == "spleen"
    assert verified.events("a", "liver")[-1].comment == "to Ada: the dome is cut off"
    again = taken(verified, "Ada")
    assert (again.organ, again.comment) == ("liver", "the dome is cut off")
    assert verified.set_state(again, ACCEPTED, "Ada").stage == VERIFY
    assert verified.set_state(taken(verified, "Dr. Sen"), ACCEPTED, "Dr. Sen").stage == VERIFIED
    assert fits(verified)


def test_only_what_is_verified_and_in_hand_can_be_sent_back(verified: Worklist) -> None:
    mine = taken(verified, "Dr. Sen")
    with pytest.raises(InputError, match="is not being verified"):
        verified.send_back(mine, "Dr. Sen", "no")
    accept(verified, "Ada")
    with pytest.raises(TaskTakenError):
        verified.send_back(verified.task("a", "spleen"), "Dr. Eve", "no")


def test_a_verification_can_be_put_aside_and_goes_on_as_one(verified: Worklist) -> None:
    accept(verified, "Ada")
    flagged = verified.set_state(taken(verified, "Dr. Sen"), FLAGGED, "Dr. Sen", "is that a cyst?")
    assert (flagged.state, flagged.stage) == (FLAGGED, VERIFY)
    again = verified.revisit(flagged, "Dr. Eve", "yes")
    assert (again.level, again.stage) == (2, VERIFY)
    skipped = verified.set_state(taken(verified, "Dr. Eve"), SKIPPED, "Dr. Eve")
    assert skipped.stage == VERIFY
    assert {taken(verified, "Bob").organ, taken(verified, "Bob").organ} == {"spleen", "pancreas"}
    with pytest.raises(InputError, match="level 2"):
        verified.take("a", "liver", "Bob")


def test_a_verified_task_that_is_reopened_is_read_and_verified_again(verified: Worklist) -> None:
    accept(verified, "Ada")
    done = verified.set_state(taken(verified, "Dr. Sen"), ACCEPTED, "Dr. Sen")
    open_again = verified.reopen(done, "Bob", "the new CT")
    assert (open_again.state, open_again.stage, open_again.level) == (TAKEN, READ, 1)
    waiting = verified.set_state(open_again, ACCEPTED, "Bob")
    assert (waiting.stage, waiting.author) == (VERIFY, "Bob")
    assert verified.revisit(verified.set_state(taken(verified, "Dr. Eve"), ACCEPTED, "Dr. Eve"), "Ada", "again").level == 1
    assert fits(verified)


def test_a_senior_whose_program_died_gives_the_task_back_to_be_verified(verified: Worklist) -> None:
    accept(verified, "Ada")
    task = taken(verified, "Dr. Sen")
    with verified.store.writing() as db:
        db.set(db.row(task.case, task.organ), {"session": "far/00000000/1", "lease_until": PAST})
    assert taken(verified, "Bob").organ == "spleen"  # which finds the lease that ran out
    back = verified.task("a", "liver")
    assert (back.state, back.stage, back.level, back.author) == (WAITING, VERIFY, 2, "Ada")
    assert taken(verified, "Dr. Eve").organ == "liver"
    assert fits(verified)


def test_where_nobody_could_verify_the_history_says_so(tmp_path: Path, url: str) -> None:
    worklist = make(tmp_path / "d", url, ReviewPolicy(verify=True), {"Ada": "junior"})
    accept(worklist, "Ada")
    assert "no reader of level 2" in worklist.events("a", "liver")[-1].comment


# Two readings


def test_the_two_readings_of_a_task_go_to_two_readers(doubled: Worklist) -> None:
    assert len(doubled.tasks()) == 6
    assert len(doubled.every_task()) == 12
    first, second, third = taken(doubled, "Ada"), taken(doubled, "Bob"), taken(doubled, "Cleo")
    assert [(task.organ, task.reading) for task in (first, second, third)] == [("liver", 1), ("liver", 2), ("spleen", 1)]
    with pytest.raises(InputError, match="Ada has had the other reading"):
        doubled.take("a", "liver", "Ada", reading=2)
    with pytest.raises(InputError, match="Ada has had the other reading"):
        doubled.hand_over(second, "Bob", "Ada")


def test_whoever_gave_a_reading_back_still_does_not_get_the_other_one(doubled: Worklist) -> None:
    first = taken(doubled, "Ada")
    doubled.leave(first, "Ada", keep=False)
    with pytest.raises(InputError, match="other reading"):
        doubled.take("a", "liver", "Ada", reading=2)
    assert [(task.organ, task.reading) for task in (taken(doubled, "Ada"), taken(doubled, "Bob"))] == [("liver", 1), ("liver", 2)]


def test_the_rows_themselves_decide_where_the_hint_about_the_other_reading_is_missing(doubled: Worklist) -> None:
    first = taken(doubled, "Ada")
    with doubled.store.writing() as db:
        db.set(db.row("a", "liver", 2), {"others": ""})  # somebody changed that row when Ada took hers
    assert (taken(doubled, "Ada").organ, first.organ) == ("spleen", "liver")
    assert (taken(doubled, "Bob").organ, doubled.task("a", "liver", 2).reader) == ("liver", "Bob")


def test_nobody_sees_the_other_reading_before_both_are_done(doubled: Worklist) -> None:
    accept(doubled, "Ada", "r1")
    doubled.viewer = "Bob"
    assert taken(doubled, "Bob").reading == 2
    mine = doubled.tasks("a")
    assert [(task.organ, task.reading, task.reader) for task in mine][:2] == [("liver", 2, "Bob"), ("spleen", 1, "")]
    assert {event.reader for event in doubled.events("a", "liver")} == {"atlas", "Bob"}
    with pytest.raises(InputError, match="blind to each other"):
        doubled.task("a", "liver")
    doubled.viewer = "Ada"
    own = doubled.task("a", "liver")
    assert (own.state, own.reader, own.comment) == (ACCEPTED, "Ada", "my note")
    assert {event.reader for event in doubled.events()} == {"atlas", "Ada"}
    doubled.viewer = None
    doubled.set_state(doubled.task("a", "liver", 2), ACCEPTED, "Bob")
    for viewer in ("Ada", "Bob"):
        doubled.viewer = viewer
        assert len([task for task in doubled.tasks("a") if task.organ == "liver"]) == 1  # both are done, nobody has compared them
    compare(doubled, AGREEING)
    for viewer in ("Ada", "Bob", "Cleo", ""):
        doubled.viewer = viewer
        assert {task.reader for task in doubled.tasks("a") if task.organ == "liver"} == {"Ada", "Bob"}
        assert {event.reader for event in doubled.events("a", "liver")} == {"atlas", "Ada", "Bob"}


def test_a_reader_of_neither_is_told_no_names_and_cannot_look_at_a_reading(doubled: Worklist) -> None:
    accept(doubled, "Ada", "r1")
    taken(doubled, "Bob")
    doubled.viewer = "Cleo"
    shown = [task for task in doubled.tasks("a") if task.organ == "liver"]
    assert [(task.state, task.reader, task.comment, task.revision, task.session) for task in shown] == [(TAKEN, "", "", "", "")] * 2
    assert {event.reader for event in doubled.events("a", "liver")} == {"atlas"}
    for reading in (1, 2):
        with pytest.raises(InputError, match="this reading is another one's") as error:
            doubled.take("a", "liver", "Cleo", reading=reading)
        assert not {"Ada", "Bob"} & {*str(error.value).replace(",", " ").split()}
    with pytest.raises(InputError, match="another one's"):
        doubled.take("a", "liver", "Cleo", take_over=True)  # it is decided
    assert doubled.take("a", "liver", "Cleo", take_over=True, reading=2).reader == "Cleo"  # Bob is ill


def test_changes_say_what_is_not_to_be_shown_any_more(doubled: Worklist) -> None:
    doubled.viewer = "Ada"
    seen = doubled.last_event()
    taken(doubled, "Ada")
    last, changed = doubled.changes(seen)
    assert changed is not None
    assert {(task.reading, task.present) for task in changed} == {(1, True), (2, False)}
    doubled.set_state(doubled.task("a", "liver"), ACCEPTED, "Ada")
    accept(doubled, "Bob")
    compare(doubled, AGREEING)
    assert {(task.reading, task.present) for task in doubled.changes(last)[1] or []} == {(1, True), (2, True)}


def test_readings_that_agree_are_settled_and_the_first_one_counts(doubled: Worklist) -> None:
    accept(doubled, "Ada", "r1")
    accept(doubled, "Bob", "r2")
    compare(doubled, AGREEING)
    first = doubled.task("a", "liver")
    assert (first.state, first.reader, first.revision, first.stage) == (ACCEPTED, "Ada", "r1", READ)
    event = doubled.events("a", "liver")[-1]
    assert (event.kind, event.reader, event.reading) == ("agree", "atlas", 1)
    assert event.comment.startswith("Dice 0.970, NSD 0.980 at 2 mm, kappa 0.50 over 4 hot spots")
    assert Measured.from_text(first.measured) == AGREEING
    with pytest.raises(InputError, match="compared already"):
        doubled.reopen(doubled.task("a", "liver", 2), "Bob")
    with pytest.raises(InputError, match="compared already"):
        doubled.revisit(doubled.task("a", "liver", 2), "Bob", "why not")
    assert doubled.reopen(first, "Ada").state == REVISED
    assert fits(doubled)


def test_readings_that_disagree_go_first_of_all_to_a_senior_who_did_neither(doubled: Worklist) -> None:
    doubled.take("b", "pancreas", "Dr. Sen")
    doubled.set_state(doubled.task("b", "pancreas"), ACCEPTED, "Dr. Sen")
    doubled.set_state(doubled.take("b", "pancreas", "Bob", reading=2), ACCEPTED, "Bob")
    compare(doubled, APART)
    task = doubled.task("b", "pancreas")
    assert (task.state, task.stage, task.level, task.reader) == (WAITING, ADJUDICATE, 2, "")
    assert (doubled.tasks()[0].case, doubled.tasks()[0].organ) == ("b", "pancreas")  # above all others
    assert taken(doubled, "Ada").organ == "liver"
    assert taken(doubled, "Dr. Sen").organ == "liver"
    given = taken(doubled, "Dr. Eve")
    assert (given.case, given.organ, given.author, given.comment, given.revision) == ("b", "pancreas", "", "", "")
    doubled.viewer = "Dr. Eve"
    assert not {"Dr. Sen", "Bob"} & {event.reader for event in doubled.events("b", "pancreas")}
    assert [(t.reading, t.reader, t.author) for t in doubled.tasks("b") if t.organ == "pancreas"] == [(1, "Dr. Eve", "")]
    done = doubled.set_state(given, ACCEPTED, "Dr. Eve", "both miss the tail")
    assert (done.state, done.stage, done.author) == (ACCEPTED, ADJUDICATED, "Dr. Sen")
    assert doubled.events("b", "pancreas")[-1].kind == "adjudicated"
    assert {event.reader for event in doubled.events("b", "pancreas")} == {"atlas", "Dr. Sen", "Bob", "Dr. Eve"}
    assert fits(doubled)


def test_where_no_senior_did_neither_anybody_else_adjudicates_and_the_history_says_so(tmp_path: Path, url: str) -> None:
    worklist = make(tmp_path / "d", url, ReviewPolicy(double_share=1.0), {"Dr. Sen": "senior"})
    accept(worklist, "Dr. Sen")
    accept(worklist, "Bob")
    compare(worklist, APART)
    assert worklist.task("a", "liver").level == 1
    assert "any reader who did neither" in worklist.events("a", "liver")[-1].comment
    for reader in ("Dr. Sen", "Bob"):
        assert taken(worklist, reader).organ == "spleen"
        with pytest.raises(InputError, match=r"has worked on it|other reading"):
            worklist.take("a", "liver", reader)
    assert taken(worklist, "Cleo").organ == "liver"


def test_one_rejection_is_a_disagreement_and_two_are_none(doubled: Worklist) -> None:
    from AtlasReviewLib.disagreement import agrees

    policy = ReviewPolicy()
    assert not agrees(1.0, 1.0, None, (ACCEPTED, REJECTED), policy)
    assert agrees(0.0, 0.0, None, (REJECTED, REJECTED), policy)
    accept(doubled, "Ada")
    doubled.set_state(taken(doubled, "Bob"), REJECTED, "Bob", "unusable")
    compare(doubled, Measured(1.0, 1.0, 2.0, None, (0, 0, 0, 0), (ACCEPTED, REJECTED)))
    assert "one reader rejected it" in doubled.events("a", "liver")[-1].comment
    adjudicated = doubled.set_state(taken(doubled, "Dr. Sen"), REJECTED, "Dr. Sen", "unusable indeed")
    assert (adjudicated.state, adjudicated.stage) == (REJECTED, ADJUDICATED)


def test_a_comparison_of_readings_that_changed_meanwhile_is_not_written(doubled: Worklist) -> None:
    accept(doubled, "Ada")
    accept(doubled, "Bob")
    (pair,) = [pair for pair in doubled.pairs() if pair[0]["organ"] == "liver" and pair[0]["case_name"] == "a"]
    doubled.reopen(doubled.task("a", "liver", 2), "Bob")
    with doubled.store.writing() as db:
        assert worklist_settle.settle(db, *pair, APART, doubled.rules()) is None
    accepted = doubled.set_state(doubled.task("a", "liver", 2), ACCEPTED, "Bob")
    with doubled.store.writing() as db:
        assert worklist_settle.settle(db, *pair, APART, doubled.rules()) is None  # it may be another mask by now
    compare(doubled, AGREEING)
    compare(doubled, APART)  # the second program comes too late
    assert accepted.state == ACCEPTED
    assert [event.kind for event in doubled.events("a", "liver")].count("agree") == 1
    assert doubled.task("a", "liver").stage == READ


def test_agreeing_readings_of_juniors_are_verified_where_the_policy_says_so(tmp_path: Path, url: str) -> None:
    worklist = make(tmp_path / "d", url, ReviewPolicy(verify=True, double_share=1.0))
    assert accept(worklist, "Ada").state == ACCEPTED  # the second reader comes first
    accept(worklist, "Bob")
    compare(worklist, AGREEING)
    assert worklist.task("a", "liver").stage == VERIFY
    senior = taken(worklist, "Dr. Sen")
    assert (senior.organ, senior.stage) == ("liver", VERIFY)
    assert worklist.set_state(senior, ACCEPTED, "Dr. Sen").stage == VERIFIED


def test_second_readings_come_and_go_with_the_policy_but_never_one_that_was_begun(tmp_path: Path, url: str) -> None:
    worklist = make(tmp_path / "d", url, ReviewPolicy(double_share=1.0))
    taken(worklist, "Ada")
    taken(worklist, "Bob")
    for share, count in ((0.0, 1), (1.0, 6)):
        with worklist.store.writing() as db:
            add_second_readings(db, db.rows(), ReviewPolicy(double_share=share))
        assert sum(task.reading == 2 for task in worklist.every_task()) == count
    assert worklist.task("a", "liver", 2).reader == "Bob"
    assert fits(worklist)


def test_leases_hand_over_and_expiry_work_for_second_readings(doubled: Worklist) -> None:
    taken(doubled, "Ada")
    second = taken(doubled, "Bob")
    assert doubled.heartbeat(second, "Bob").is_mine("Bob")
    with doubled.store.writing() as db:
        db.set(db.row("a", "liver", 2), {"session": "far/00000000/1", "lease_until": PAST})
    with doubled.store.writing() as db:
        assert lease.expire(db) == 1
    assert [doubled.task("a", "liver", reading).state for reading in (1, 2)] == [TAKEN, WAITING]
    handed = doubled.hand_over(doubled.task("a", "liver", 2), "Bob", "Cleo")
    assert (handed.assignee, handed.reading) == ("Cleo", 2)
    again = taken(doubled, "Cleo")
    assert (again.id, again.reading) == (second.id, 2)
    doubled.add_seconds(again, "Cleo", 5.0)
    assert doubled.task("a", "liver", 2).active_seconds == 5.0
    assert doubled.task("a", "liver").active_seconds == 0.0
    assert fits(doubled)


def test_a_list_with_second_readings_is_carried_to_a_server(tmp_path: Path, postgres: object) -> None:
    worklist = make(tmp_path / "d", "", ReviewPolicy(double_share=1.0))
    accept(worklist, "Ada")
    accept(worklist, "Bob")
    compare(worklist, APART)
    address = postgres.empty_worklist()  # type: ignore[attr-defined]
    assert copy_to_server(tmp_path / "d", address)[0] == 12
    there = Worklist(tmp_path / "d", url=address)
    assert [(t.case, t.organ, t.reading, t.state, t.stage, t.measured) for t in there.every_task()] == [
        (t.case, t.organ, t.reading, t.state, t.stage, t.measured) for t in worklist.every_task()
    ]
    assert taken(there, "Dr. Sen").stage == ADJUDICATE
    assert fits(there)


def test_a_reader_role_does_all_of_it_and_cannot_turn_one_reading_into_the_other(tmp_path: Path, postgres: object) -> None:
    address = postgres.empty_worklist()  # type: ignore[attr-defined]
    make(tmp_path / "d", address, ReviewPolicy(verify=True, double_share=1.0))
    database = address.rpartition("/")[2]
    postgres.run("DROP ROLE IF EXISTS team_reader", "CREATE ROLE team_reader LOGIN")  # type: ignore[attr-defined]
    postgres.run(*grants(address, "team_reader"), database=database)  # type: ignore[attr-defined]
    worklist = Worklist(tmp_path / "d", url=postgres.url(database, "team_reader"))  # type: ignore[attr-defined]
    accept(worklist, "Ada")
    accept(worklist, "Bob")
    compare(worklist, APART)
    assert worklist.set_state(taken(worklist, "Dr. Sen"), ACCEPTED, "Dr. Sen").stage == ADJUDICATED
    from sqlalchemy import text

    for statement in ("UPDATE task SET reading = 3 - reading", "UPDATE event SET reading = 2", "DELETE FROM event", "DELETE FROM task"):
        with pytest.raises((StorageError, DatasetError)), worklist.store.writing() as db:
            db.connection.execute(text(statement))
    worklist.close()
    postgres.run("DROP OWNED BY team_reader", "DROP ROLE team_reader", database=database)  # type: ignore[attr-defined]


def test_whose_lease_ran_out_is_told_that_the_task_is_gone_and_not_that_it_cannot_be_decided(verified: Worklist) -> None:
    task = taken(verified, "Ada")
    with verified.store.writing() as db:
        db.set(db.row(task.case, task.organ), {"session": "elsewhere/00000000/1", "lease_until": PAST})
        lease.expire(db)
    with pytest.raises(TaskTakenError, match="in the hands of nobody by now"):
        verified.set_state(task, ACCEPTED, "Ada")
    verified.set_state(verified.take(task.case, task.organ, "Dr. Sen"), ACCEPTED, "Dr. Sen")
    with pytest.raises(TaskTakenError, match="Sen by now"):
        verified.set_state(task, ACCEPTED, "Ada")
