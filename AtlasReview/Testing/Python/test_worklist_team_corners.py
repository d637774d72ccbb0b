"""Corners of reviewing as a team: spellings of a name, policies that change, work that changes hands, and lists that were damaged."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import create_engine
from typer.testing import CliRunner

from AtlasReviewLib.assembly_levels import read_levels
from AtlasReviewLib.commands import revise_command
from AtlasReviewLib.commands_rounds import round_command
from AtlasReviewLib.commands_worklist import worklist_app
from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.doctor_history import check_history
from AtlasReviewLib.double_reading import order_of, readings, settle
from AtlasReviewLib.double_reading_statistics import comparisons_of
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.revisions import history
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, READ, REJECTED, REVISED, VERIFIED, VERIFY, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_blind import blanked
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_migrate import migrate
from AtlasReviewLib.worklist_rebuild import rebuild_worklist
from AtlasReviewLib.worklist_rows import Task, TaskFilter
from AtlasReviewLib.worklist_settle import settle as settle_rows
from AtlasReviewLib.worklist_store import NAME
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, InputError
from review_data import make_review_case, scores

pytest_plugins = ("postgres_server",)
LIVER = ("case", "liver")
Make = Callable[[ReviewPolicy], Worklist]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "hospital"
    make_review_case(folder / "case", organs=("liver", "spleen"), attention=scores(liver=20.0, spleen=10.0))
    (folder / "readers.json").write_text(json.dumps({"Sen": "senior", "Ada": "junior"}))
    return folder


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest, hospital: Path, tmp_path: Path) -> Make:
    """Return what makes a list of the liver and the spleen of one case, with a policy."""
    folder = Path(shutil.copytree(hospital, tmp_path / "hospital"))
    if request.param == "postgres":
        (folder / "worklist.json").write_text(json.dumps({"url": request.getfixturevalue("postgres").empty_worklist()}))

    def made(policy: ReviewPolicy) -> Worklist:
        write_policy(folder, policy)
        return open_worklist(folder)[0]

    return made


in_a_file = pytest.mark.parametrize("make", ["sqlite"], indirect=True)


def accept(worklist: Worklist, reader: str, reading: int = 1) -> Task:
    return worklist.set_state(worklist.take(*LIVER, reader, reading=reading), ACCEPTED, reader)


def fits(worklist: Worklist) -> bool:
    return not list(check_history(worklist.every_task(), worklist.events()))


def run(command: Callable[..., None] | None, *arguments: object) -> str:
    """Run a command, or one of `atlas worklist` without one; our errors are raised as they are."""
    app = worklist_app()
    if command is not None:
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command()(command)
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


# Spellings of a name


@in_a_file
@pytest.mark.parametrize("other", ["sen", "SEN", "\uff53en"])
def test_another_spelling_of_a_senior_is_not_a_second_reader(make: Make, other: str) -> None:
    worklist = make(ReviewPolicy(verify=True))
    with pytest.raises(InputError, match="known as 'Sen'"):
        worklist.take(*LIVER, other)
    assert worklist.task(*LIVER).state == WAITING


def test_a_reader_cannot_do_both_readings_under_two_spellings(make: Make) -> None:
    worklist = make(ReviewPolicy(double_share=1.0))
    accept(worklist, "Dr. Bob")
    again = Worklist(worklist.folder)
    with pytest.raises(InputError, match=r"known as 'Dr\. Bob'"):
        again.take(*LIVER, "dr. bob", reading=2)
    for spelling in ("Dr.  Bob", "Dr.\u00a0Bob ", "\uff24r. Bob"):  # these are stored in one form, so they are the same reader
        with pytest.raises(InputError, match="has had the other reading"):
            again.take(*LIVER, spelling, reading=2)
    with pytest.raises(InputError, match=r"known as 'Dr\. Bob'"):
        again.hand_over(again.every_task()[1], "Carl", "dr. bob")


def test_the_first_spelling_of_a_reader_counts_also_when_they_hold_nothing_any_more(make: Make) -> None:
    worklist = make(ReviewPolicy())
    worklist.leave(worklist.take(*LIVER, "Bob"), "Bob", keep=False)
    with pytest.raises(InputError, match="known as 'Bob'"):
        Worklist(worklist.folder).take_next("bob")


@in_a_file
def test_a_list_that_knows_two_spellings_takes_them_for_one_reader(make: Make) -> None:
    worklist = make(ReviewPolicy(verify=True, double_share=1.0))
    with worklist.store.writing() as db:
        row = db.row(*LIVER)
        db.change(row, "take", "bob", {"readers": "\nbob\n"})
        db.change(row, "take", "Bob", {})
    with pytest.raises(InputError, match="has had the other reading"):
        worklist.take(*LIVER, "Bob", reading=2)


@in_a_file
def test_levels_are_found_however_a_name_is_spelled_and_no_name_is_there_twice(make: Make) -> None:
    worklist = make(ReviewPolicy())
    (worklist.folder / "readers.json").write_text('{" Dr.  Eve ": 3}')
    assert read_levels(worklist.folder) == {"Dr. Eve": 3}
    assert [worklist.rules().level_of(name) for name in ("Dr. Eve", "dr. eve", "Eve")] == [3, 3, 0]
    (worklist.folder / "readers.json").write_text('{"Eve": 2, "eve": 1}')
    with pytest.raises(InputError, match="twice"):
        read_levels(worklist.folder)


@in_a_file
@pytest.mark.parametrize("name", ["Zoe\u0308", "Zo\u00eb ", " Zo\u00eb"])
def test_a_name_decides_and_releases_on_the_command_line_however_it_is_typed(make: Make, name: str) -> None:
    worklist = make(ReviewPolicy())
    run(None, "take", worklist.folder, *LIVER, "--reader", name)
    run(None, "release", worklist.folder, *LIVER, "--reader", name)
    run(None, "take", worklist.folder, *LIVER, "--reader", name)
    case = CaseFolder(worklist.folder / "case")
    run(revise_command, case.folder, "liver", "--mask", case.average.mask("liver"), "--reader", name)
    assert [found.reader for found in history(case, "liver")] == ["Zo\u00eb"]
    assert "accepted by Zo\u00eb" in run(None, "decide", worklist.folder, *LIVER, "accepted", "--reader", name)


# Policies that change, and verdicts


def test_an_acceptance_whose_second_reading_is_no_longer_asked_for_is_verified(make: Make) -> None:
    worklist = make(ReviewPolicy(verify=True, double_share=1.0))
    assert accept(worklist, "Ada").state == ACCEPTED
    again = make(ReviewPolicy(verify=True))
    task = again.task(*LIVER)
    assert (task.state, task.stage, task.level, task.author) == (WAITING, VERIFY, 2, "Ada")
    assert again.task("case", "spleen").stage == READ  # nobody had read it
    assert fits(again)
    assert accept(make(ReviewPolicy(verify=True, double_share=1.0)), "Sen").stage == VERIFIED  # its second reading does not come back
    assert [(t.organ, t.reading) for t in again.every_task() if t.reading == 2] == [("spleen", 2)]


@in_a_file
@pytest.mark.parametrize(("reader", "policy"), [("Sen", ReviewPolicy(verify=True)), ("Ada", ReviewPolicy())])
def test_where_nobody_has_to_verify_an_acceptance_that_is_read_once_stays_one(make: Make, reader: str, policy: ReviewPolicy) -> None:
    accept(make(ReviewPolicy(double_share=1.0)), reader)
    assert (make(policy).task(*LIVER).state, make(policy).task(*LIVER).stage) == (ACCEPTED, READ)


@in_a_file
def test_a_round_takes_no_reading_that_nobody_has_compared_yet(make: Make) -> None:
    worklist = make(ReviewPolicy(double_share=1.0))
    accept(worklist, "Ada")
    with pytest.raises(DatasetError, match="no task is accepted yet"):
        run(round_command, worklist.folder)
    accept(worklist, "Bob", 2)
    settle(worklist)
    run(round_command, worklist.folder)
    (record,) = json.loads((worklist.folder / "rounds" / "001" / "round.json").read_text())["accepted"]
    assert (record["organ"], record["reader"]) == ("liver", "Ada")


def test_a_senior_who_rejects_has_verified(make: Make) -> None:
    worklist = make(ReviewPolicy(verify=True))
    accept(worklist, "Ada")
    done = worklist.set_state(worklist.take(*LIVER, "Sen"), REJECTED, "Sen", "the dome is cut off")
    assert (done.state, done.stage, done.reader, done.author) == (REJECTED, VERIFIED, "Sen", "Ada")
    assert fits(worklist)
    assert accept(worklist_reopened(worklist), "Ada").stage == VERIFY


def worklist_reopened(worklist: Worklist) -> Worklist:
    worklist.revisit(worklist.task(*LIVER), "Sen", "try again")
    return worklist


# Work that changes hands


def revised_by_ada(worklist: Worklist) -> Task:
    return worklist.set_state(worklist.take(*LIVER, "Ada"), REVISED, "Ada", "", "r1", "0" * 64)


@pytest.mark.parametrize("revised", [True, False])
def test_whoever_was_handed_a_reading_does_not_get_the_other_one(make: Make, revised: bool) -> None:
    worklist = make(ReviewPolicy(double_share=1.0))
    task = revised_by_ada(worklist) if revised else worklist.take(*LIVER, "Ada")
    worklist.hand_over(task, "Ada", "Bob")
    with pytest.raises(InputError, match="other reading"):
        worklist.take(*LIVER, "Bob", reading=2)
    livers = [found for found in worklist.every_task() if found.organ == "liver"]
    assert worklist.take_first([found for found in livers if found.reading == 2], "Bob") is None
    given = worklist.take_next("Bob", only=TaskFilter(organs=("liver",)))
    assert given is not None
    assert given.reading == 1
    assert worklist.set_state(given, ACCEPTED, "Bob").state == ACCEPTED
    assert accept(worklist, "Carl", 2).state == ACCEPTED


@in_a_file
def test_a_list_of_an_earlier_version_remembers_to_whom_a_revised_task_was_handed(make: Make) -> None:
    folder = make(ReviewPolicy()).folder
    for path in folder.glob(f"{NAME}*"):
        path.unlink()
    engine = create_engine(f"sqlite:///{folder / NAME}")
    with engine.connect() as connection, connection.begin():
        migrate(connection, 0, 2)
        task = "INSERT INTO task (case_name, organ, state, reader, changed) VALUES ('case', 'liver', 'revised', 'Bob', '')"
        event = "INSERT INTO event (time, reader, session, case_name, organ, kind) VALUES ('', 'Ada', '', 'case', 'liver', 'take')"
        for statement in (task, event, "PRAGMA user_version=2"):
            connection.exec_driver_sql(statement)
        migrate(connection, 2, 3)
        assert connection.exec_driver_sql("SELECT readers FROM task").scalar() == "\nAda\nBob\n"
    engine.dispose()


@in_a_file
def test_a_senior_who_was_handed_a_verification_can_verify(make: Make) -> None:
    worklist = make(ReviewPolicy(verify=True))
    (worklist.folder / "readers.json").write_text('{"Sen": 2, "Eve": 2}')
    accept(worklist, "Ada")
    task = worklist.set_state(worklist.take(*LIVER, "Sen"), REVISED, "Sen", "", "r1", "0" * 64)
    worklist.hand_over(task, "Sen", "Eve")
    assert accept(worklist, "Eve").stage == VERIFIED


# Comparisons


def disagree(worklist: Worklist) -> Task:
    accept(worklist, "Ada")
    worklist.set_state(worklist.take(*LIVER, "Bob", reading=2), REJECTED, "Bob", "no")
    settle(worklist)
    return worklist.task(*LIVER)


def test_agreement_is_that_of_the_readers_who_were_compared(make: Make) -> None:
    worklist = make(ReviewPolicy(double_share=1.0))
    for reader, reading in (("Ada", 1), ("Bob", 2)):
        accept(worklist, reader, reading)
    settle(worklist)
    worklist.revisit(worklist.task(*LIVER), "Sen", "again")
    accept(worklist, "Carl")
    (found,) = comparisons_of("hospital", [pair for pair in worklist.pairs() if pair[0]["measured"]])
    assert found.readers == ("Ada", "Bob")


@in_a_file
def test_a_and_b_stay_the_same_when_the_seed_changes(make: Make) -> None:
    worklist = make(ReviewPolicy(double_share=1.0))
    task = disagree(worklist)
    before = [mask.reading for mask in readings(worklist, task)]
    other = next(seed for seed in range(99) if list(order_of(seed, *LIVER)) != before)
    write_policy(worklist.folder, ReviewPolicy(double_share=1.0, seed=other))
    assert [mask.reading for mask in readings(worklist, task)] == before


@in_a_file
def test_whoever_adjudicates_is_told_neither_the_readers_nor_their_order(make: Make) -> None:
    task = disagree(make(ReviewPolicy(double_share=1.0)))
    assert Measured.from_text(task.measured).readers == ("Ada", "Bob")
    hidden = Measured.from_text(blanked(task).measured)
    assert (hidden.readers, hidden.revisions, hidden.order) == (("", ""), ("", ""), (0, 0))


@in_a_file
def test_comparisons_of_an_earlier_version_are_read(make: Make) -> None:
    worklist = make(ReviewPolicy(double_share=1.0))
    task = disagree(worklist)
    old = {name: value for name, value in json.loads(task.measured).items() if name not in ("readers", "order")}
    with worklist.store.writing() as db:
        db.set(db.row(*LIVER), {"measured": json.dumps(old)})
    assert [mask.reading for mask in readings(worklist, task)] == list(order_of(0, *LIVER))
    assert comparisons_of("d", [pair for pair in worklist.pairs() if pair[0]["measured"]])[0].readers == ("Ada", "Bob")


# Damaged lists

NOT_TOLD = ("rank", "others", "measured", "changed", "id", "lease_until")


def rows(worklist: Worklist) -> list[dict[str, Any]]:
    with worklist.store.reading() as db:
        return [{name: value for name, value in row.items() if name not in NOT_TOLD} for row in db.rows()]


def without_tasks(worklist: Worklist) -> Worklist:
    """Destroy the page that leads to the rows of the table `task`, and build the list anew."""
    path = worklist.folder / NAME
    worklist.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'task'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(bytes(content))
    return rebuild_worklist(worklist.folder)[0]


def team_day(worklist: Worklist, organ: str) -> None:
    """Let a team do a bit of everything with an organ that is read twice and verified."""
    one = worklist.take("case", organ, "Ada")
    worklist.add_seconds(one, "Ada", 12.0)
    worklist.set_state(one, REVISED, "Ada", "moved", "r1", "1" * 64)
    worklist.set_state(worklist.task("case", organ), ACCEPTED, "Ada")
    worklist.leave(worklist.take("case", organ, "Bob", reading=2), "Bob", keep=False)
    two = worklist.take("case", organ, "Carl", reading=2)
    worklist.hand_over(two, "Carl", "Dan", "you know it")


@in_a_file
@pytest.mark.parametrize("step", range(8))
def test_what_became_of_a_task_is_known_from_its_history_alone(make: Make, step: int) -> None:
    worklist = make(ReviewPolicy(verify=True, double_share=1.0))
    team_day(worklist, "liver")
    if step > 0:
        accept(worklist, "Dan", 2)
    if step > 1:
        with worklist.store.writing() as db:
            measured = Measured(0.97, 0.98, 2.0, 0.5, (2, 1, 0, 1), revisions=("r1", ""), agree=True)
            assert settle_rows(db, *(worklist.pairs()[0]), measured, worklist.rules())
    if step > 2:
        worklist.take(*LIVER, "Sen")
    if step == 4:
        worklist.send_back(worklist.task(*LIVER), "Sen", "the dome")
    if step > 4:
        worklist.set_state(worklist.task(*LIVER), ACCEPTED, "Sen")
    if step == 6:
        worklist.revisit(worklist.task(*LIVER), "Sen", "again")
    if step == 7:
        worklist.reopen(worklist.task(*LIVER), "Eve", "again")
    expected, compared = rows(worklist), [bool(one["measured"]) for one, _ in worklist.pairs()]
    again = without_tasks(worklist)
    for found, wanted in zip(rows(again), expected, strict=True):
        assert found == wanted
    assert [bool(one["measured"]) for one, _ in again.pairs()] == compared
    assert fits(again)


@in_a_file
def test_an_adjudication_survives_a_list_of_which_only_the_history_can_be_read(make: Make) -> None:
    worklist = make(ReviewPolicy(double_share=1.0))
    told = Measured.from_text(disagree(worklist).measured)
    again = without_tasks(worklist)
    found = Measured.from_text(again.task(*LIVER).measured)
    assert (found.dice, found.verdicts, found.readers, found.agree) == (told.dice, (ACCEPTED, REJECTED), ("Ada", "Bob"), False)
    assert (again.task(*LIVER).stage, again.task(*LIVER).level) == (ADJUDICATE, 2)
    accept(again, "Sen")
    before = rows(again)
    assert rows(without_tasks(again)) == before
    assert settle(again) == []


@in_a_file
def test_who_read_a_task_does_not_get_its_other_reading_after_only_the_history_could_be_read(make: Make) -> None:
    worklist = make(ReviewPolicy(double_share=1.0))
    accept(worklist, "Ada")
    again = without_tasks(worklist)
    with pytest.raises(InputError, match="has had the other reading"):
        again.take(*LIVER, "Ada", reading=2)


@in_a_file
@pytest.mark.parametrize("readable", [True, False])
def test_a_task_in_hand_goes_back_to_the_list_after_the_list_was_built_anew(make: Make, readable: bool) -> None:
    worklist = make(ReviewPolicy())
    worklist.take(*LIVER, "Ada")
    worklist.hand_over(worklist.take("case", "spleen", "Ada"), "Ada", "Bob")
    again = rebuild_worklist(worklist.folder)[0] if readable else without_tasks(worklist)
    held = again.task(*LIVER)
    assert held.is_mine("Ada")
    assert held.lease_until
    assert again.task("case", "spleen").assignee == "Bob"
    with again.store.writing() as db:
        db.set(db.row(*LIVER), {"lease_until": "2020-01-01T00:00:00.000000+00:00", "session": "elsewhere"})
    given = again.take_next("Carl")
    assert given is not None
    assert given.organ == "liver"
