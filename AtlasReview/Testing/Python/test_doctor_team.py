"""What the doctor finds in tasks that several readers do; every finding is planted by a hand in the tables or on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from AtlasReviewLib import worklist_settle
from AtlasReviewLib.commands_doctor import findings_of
from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.revision_files import split_id
from AtlasReviewLib.revision_unlisted import KIND as UNLISTED
from AtlasReviewLib.revision_unlisted import decided
from AtlasReviewLib.revisions import save_revision
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_rows import TaskFilter
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_nifti
from review_data import make_review_case, scores

ONLY = TaskFilter(organs=("liver",))


@pytest.fixture
def worklist(tmp_path: Path) -> Worklist:
    """Return a list of one case whose liver two juniors read and disagreed on, and whose spleen one of them accepted."""
    folder = tmp_path / "hospital"
    make_review_case(folder / "one", ("liver", "spleen"), scores(liver=500.0, spleen=100.0))
    (folder / "readers.json").write_text(json.dumps({"Ada": 1, "Bob": 1, "Dr. Sen": 2}))
    write_policy(folder, ReviewPolicy(verify=True, double_share=1.0))
    worklist = open_worklist(folder)[0]
    for reading, reader in ((1, "Ada"), (2, "Bob")):
        case = reading_case(CaseFolder(folder / "one"), reading)
        task = worklist.take("one", "liver", reader, reading=reading)
        saved = save_revision(case, "liver", read_nifti(case.average.mask("liver")), reader)
        worklist.set_state(worklist.set_state(task, "revised", reader, "", saved.id, saved.sha256), "accepted", reader)
    return worklist


def settle(worklist: Worklist, agree: bool = False) -> None:
    (pair,) = [pair for pair in worklist.pairs() if pair[0]["organ"] == "liver"]
    names = (pair[0]["revision"], pair[1]["revision"])
    with worklist.store.writing() as db:
        worklist_settle.settle(db, *pair, Measured(0.5, 0.5, 2.0, None, (0, 0, 0, 0), revisions=names, agree=agree), worklist.rules())


def change(worklist: Worklist, reading: int = 1, **columns: str | float) -> None:
    with worklist.store.writing() as db:
        db.set(db.row("one", "liver", reading), dict(columns))


def kinds(worklist: Worklist) -> set[str]:
    return {finding.kind for finding in findings_of(worklist.folder)}


def test_a_healthy_list_of_a_team_has_no_finding(worklist: Worklist) -> None:
    settle(worklist, agree=True)
    assert kinds(worklist) == set()
    task = worklist.take_next("Dr. Sen")
    assert task is not None
    worklist.set_state(task, "accepted", "Dr. Sen")
    assert kinds(worklist) == set()


def test_readings_that_nobody_compared_are_found(worklist: Worklist) -> None:
    assert kinds(worklist) == {"readings that were not compared"}


def drop_first(worklist: Worklist) -> None:
    from sqlalchemy import text

    with worklist.store.writing() as db:
        db.connection.execute(text("DELETE FROM task WHERE organ = 'liver' AND reading = 1"))


def unknown_reading(worklist: Worklist) -> None:
    case = reading_case(CaseFolder(worklist.folder / "one"), 2)
    save_revision(case, "pancreas", read_nifti(case.average.mask("liver")), "Bob")


def lose_reading(worklist: Worklist) -> None:
    for file in reading_case(CaseFolder(worklist.folder / "one"), 2).average.revisions("liver").glob("*_Bob.nii.gz"):
        file.unlink()


def forge_takes(worklist: Worklist) -> None:
    with worklist.store.writing() as db:
        db.append("Bob", "one", "spleen", "take", reading=1)
        db.append("Bob", "one", "spleen", "take", reading=2)
        db.append("atlas", "one", "spleen", "agree")


def forge_verification(worklist: Worklist) -> None:
    with worklist.store.writing() as db:
        db.append("Ada", "one", "liver", "to verify")
        db.append("Ada", "one", "liver", "verified")


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (drop_first, "second reading without a first"),
        (unknown_reading, "second reading that the list does not know"),
        (lose_reading, "lost reading"),
        (forge_takes, "reader of both readings"),
        (forge_verification, "own work verified"),
        (lambda worklist: change(worklist, measured="{"), "comparison that cannot be read"),
        (lambda worklist: change(worklist, measured=""), "stage that does not fit"),
        (lambda worklist: change(worklist, state="accepted"), "stage that does not fit"),
    ],
)
def test_what_a_hand_or_a_lost_file_left_is_found(worklist: Worklist, plant: Callable[[Worklist], None], kind: str) -> None:
    settle(worklist)
    assert kinds(worklist) == set()
    plant(worklist)
    assert kind in kinds(worklist)


def test_a_list_that_nobody_can_verify_is_found(worklist: Worklist) -> None:
    settle(worklist, agree=True)
    (worklist.folder / "readers.json").write_text('{"Ada": 1}')
    assert kinds(worklist) == {"nobody to verify"}


def test_the_revisions_of_second_readings_are_looked_at_too(worklist: Worklist) -> None:
    settle(worklist)
    case = reading_case(CaseFolder(worklist.folder / "one"), 2)
    case.average.revised_mask("liver").unlink()
    assert kinds(worklist) == {"unfinished revision"}
    for finding in findings_of(worklist.folder):
        assert finding.repair is not None
        finding.repair()
    assert kinds(worklist) == set()
    assert case.average.revised_mask("liver").is_file()


@pytest.mark.parametrize("reading", [1, 2])
def test_a_revision_of_either_reading_that_the_list_does_not_know_is_found_there_and_nowhere_else(worklist: Worklist, reading: int) -> None:
    case = reading_case(CaseFolder(worklist.folder / "one"), reading)
    saved = save_revision(case, "liver", read_nifti(case.average.mask("liver")), "Eve")
    (finding,) = [found for found in findings_of(worklist.folder) if found.kind == UNLISTED]
    assert f"Revision {saved.time} counts now" in finding.text  # not whose, as nobody has compared the readings
    row = worklist.pairs("one")[0][reading - 1]
    assert f"names revision {split_id(row['revision'])[0]}:" in finding.text


def test_comparing_and_verifying_by_the_program_or_a_new_look_hide_no_revision_but_a_decision_does(worklist: Worklist) -> None:
    """Dr. Sen verifies what Ada's reading, which counts, came to; before, nobody had looked at the mask from outside."""
    case = CaseFolder(worklist.folder / "one")
    save_revision(case, "liver", read_nifti(case.average.mask("liver")), "Eve")
    settle(worklist, agree=True)
    assert UNLISTED in kinds(worklist)
    task = worklist.take_next("Dr. Sen", only=ONLY)
    assert task is not None
    assert UNLISTED in kinds(worklist)
    worklist.set_state(task, "accepted", "Dr. Sen")
    assert UNLISTED not in kinds(worklist)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [("state", True), ("to verify", True), ("verified", True), ("sent back", True), ("adjudicated", True)]
    + [(kind, False) for kind in ("agree", "disagree", "take", "expire", "hand over", "reopen", "revisit", "seconds", "scores", "hide")],
)
def test_only_what_a_reader_says_about_a_mask_is_a_decision(worklist: Worklist, kind: str, counts: bool) -> None:
    last = worklist.events()[-1]
    reader = "atlas" if kind in ("agree", "disagree") else "Ada"
    event = replace(last, case="x", organ="liver", reading=2, kind=kind, reader=reader, time="2026-11-21T10:00:00+00:00")
    assert (("x", "liver", 2) in decided([event])) is counts
    assert not decided([replace(event, reader="atlas")])
