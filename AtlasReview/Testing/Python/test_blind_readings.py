"""Before two readings of a task are both done, no command, table or file tells one reader what the other one did, or who that is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from AtlasReviewLib import double_reading
from AtlasReviewLib.commands_doctor import findings_of
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.program import build
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.revised_folder import ImportOptions, Row, import_revised
from AtlasReviewLib.revisions import Revision, save_revision
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, FLAGGED, REJECTED, REVISED, WAITING, State
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from review_data import make_dataset

SECRET = "the dome was cut off"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_dataset(tmp_path_factory.mktemp("made") / "hospital")
    (folder / "readers.json").write_text(json.dumps({"Dr. Sen": "senior"}))
    write_policy(folder, ReviewPolicy(double_share=1.0))
    open_worklist(folder)[0].close()
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "hospital"))


def moved(dataset: Path, by: int) -> Volume:
    mask = read_nifti(open_case(dataset / "first").average.mask("liver"))
    return mask.with_array(np.roll(mask.array, by, axis=0))


def read(dataset: Path, reader: str, by: int, state: State = ACCEPTED, reading: int = 1) -> Revision:
    """Read the liver of the first case: save it, moved by some voxels, and say what becomes of it."""
    worklist = Worklist(dataset)
    task = worklist.take("first", "liver", reader, reading=reading)
    saved = save_revision(reading_case(open_case(dataset / "first"), reading), "liver", moved(dataset, by), reader)
    task = worklist.set_state(task, REVISED, reader, SECRET, saved.id, saved.sha256)
    if state != REVISED:
        worklist.set_state(task, state, reader, SECRET)
    worklist.close()
    return saved


def atlas(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


def said(result: Result) -> str:
    """Return all that a command told: what it printed and its error."""
    error = result.exception
    return result.output + ("" if error is None or isinstance(error, SystemExit) else str(error))


def test_the_reader_of_one_reading_can_neither_reopen_nor_hand_over_the_other_one(dataset: Path) -> None:
    read(dataset, "Ada", 1)
    worklist = Worklist(dataset)
    worklist.take("first", "liver", "Bob", reading=2)
    first = worklist.task("first", "liver")
    for command in (("reopen", "--reason", "x"), ("hand-over", "--to", "Cleo")):
        for reader in ("Bob", "Cleo"):
            done = atlas("worklist", command[0], dataset, "first", "liver", *command[1:], "--reader", reader, "--json")
            assert done.exit_code != 0
            assert "Ada" not in said(done)
            assert SECRET not in said(done)
    for change in (lambda: worklist.revisit(first, "Bob", "x"), lambda: worklist.hand_over(first, "Bob", "Cleo")):
        with pytest.raises(InputError, match="blind to each other") as caught:
            change()
        assert "Ada" not in str(caught.value)
    assert worklist.task("first", "liver") == first
    assert worklist.revisit(first, "Ada", "once more").state == WAITING  # her own


def test_whoever_puts_a_flagged_blind_reading_back_is_not_told_whose_it_was(dataset: Path) -> None:
    read(dataset, "Ada", 1, FLAGGED)
    worklist = Worklist(dataset)
    worklist.take("first", "liver", "Bob", reading=2)
    first = worklist.task("first", "liver")
    with pytest.raises(InputError, match="blind to each other"):
        worklist.revisit(first, "Bob", "look again")  # he has the other one
    again = worklist.revisit(first, "Dr. Eve", "look again")
    assert (again.state, again.reader, again.comment, again.revision, again.author) == (WAITING, "", "", "", "")
    handed = worklist.hand_over(again, "Dr. Eve", "Cleo")
    assert (handed.assignee, handed.comment, handed.revision) == ("Cleo", "", "")


def test_while_readings_disagree_the_second_one_tells_the_adjudicator_no_name(dataset: Path) -> None:
    dispute(dataset)
    worklist = Worklist(dataset)
    assert worklist.task("first", "liver").stage == ADJUDICATE
    for step in ("take", "hand-over", "reopen"):
        more = {"take": (), "hand-over": ("--to", "Eve"), "reopen": ("--reason", "x")}[step]
        done = atlas("worklist", step, dataset, "first", "liver", *more, "--reading", 2, "--reader", "Dr. Sen")
        assert done.exit_code != 0
        assert not {"Ada", "Bob"} & set(said(done).replace(".", " ").split())


def dispute(dataset: Path) -> tuple[Revision, Revision]:
    saved = read(dataset, "Ada", 1), read(dataset, "Bob", 5, reading=2)
    worklist = Worklist(dataset)
    double_reading.settle(worklist)
    worklist.close()
    return saved


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "revised").mkdir()
    return tmp_path / "revised"


def taken_over(dataset: Path, folder: Path, reader: str, by: int, dry_run: bool = True) -> Row:
    write_nifti(folder / "first_liver.nii.gz", moved(dataset, by))
    (row,) = import_revised(dataset, folder, ImportOptions(reader, dry_run=dry_run))
    return row


@pytest.mark.parametrize("state", [REVISED, ACCEPTED, FLAGGED])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_folder_of_masks_tells_nothing_about_a_blind_reading_of_somebody_else(
    dataset: Path, folder: Path, state: State, dry_run: bool
) -> None:
    read(dataset, "Ada", 1)
    worklist = Worklist(dataset)
    worklist.revisit(worklist.task("first", "liver"), "Ada", "once more")
    read(dataset, "Ada", 2, state)
    rows = [taken_over(dataset, folder, "Bob", by, dry_run) for by in (1, 2, 3)]  # what she saved before, what counts now, and neither
    assert [(row.state, row.voxels) for row in rows] == [("refused", None)] * 3
    assert len({row.text for row in rows}) == 1
    assert "Ada" not in rows[0].text
    assert "taken by ." not in rows[0].text


def test_an_adjudicator_imports_a_mask_without_learning_which_reading_is_whose(dataset: Path, folder: Path) -> None:
    dispute(dataset)
    rows = [taken_over(dataset, folder, "Dr. Sen", by) for by in (1, 5, 3)]
    assert [(row.state, row.voxels) for row in rows] == [("would be revised", None)] * 3
    assert taken_over(dataset, folder, "Dr. Sen", 3, dry_run=False).state == "revised"
    again = taken_over(dataset, folder, "Dr. Sen", 3, dry_run=False)
    assert (again.state, again.voxels) == ("unchanged", 0)


def test_a_reader_who_took_a_reading_is_told_how_a_mask_differs_from_it(dataset: Path, folder: Path) -> None:
    read(dataset, "Ada", 1, FLAGGED)
    assert taken_over(dataset, folder, "Bob", 1).state == "refused"
    worklist = Worklist(dataset)
    worklist.leave(worklist.take("first", "liver", "Bob"), "Bob", keep=False)
    assert taken_over(dataset, folder, "Bob", 1).state == "unchanged"


@pytest.mark.parametrize("state", [REVISED, ACCEPTED, REJECTED])
def test_progress_counts_blind_readings_without_names_and_figures(dataset: Path, tmp_path: Path, state: State) -> None:
    read(dataset, "Ada", 1, state)
    table, page = tmp_path / "p.csv", tmp_path / "p.html"
    done = atlas("progress", dataset, "--by", "reader", "--by", "organ", "--json", "--csv", table, "--html", page)
    told = said(done) + table.read_text() + page.read_text()
    assert "Ada" not in told
    (row,) = json.loads(done.stdout)["rows"]
    counts = (row["tasks"], row["accepted"], row["rejected"], row["measured"], row["mean_dice"])
    assert counts == (1, state == ACCEPTED, state == REJECTED, 0, None)


def test_progress_names_both_readers_when_both_are_done(dataset: Path) -> None:
    read(dataset, "Ada", 1)
    read(dataset, "Bob", 1, ACCEPTED, reading=2)
    double_reading.settle(Worklist(dataset))
    rows = json.loads(atlas("progress", dataset, "--json").stdout)["rows"]
    assert [(row["reader"], row["measured"]) for row in rows] == [("Ada", 1), ("Bob", 1)]


@pytest.mark.parametrize("state", [REVISED, ACCEPTED])
def test_an_assembled_case_names_nobody_who_did_a_blind_reading(dataset: Path, tmp_path: Path, state: State) -> None:
    read(dataset, "Ada", 1, state)
    manifest = assembled(dataset, tmp_path)
    assert "Ada" not in manifest
    liver = json.loads(manifest)["organs"]["liver"]
    assert (liver["source"], liver["by"], liver["readers"], liver["review"], liver["revision"]) == ("revised", "a reader", [], None, None)


def test_what_a_blind_reading_rejected_is_left_out_without_a_name(dataset: Path, tmp_path: Path) -> None:
    read(dataset, "Ada", 1, REJECTED)
    manifest = assembled(dataset, tmp_path)
    assert "Ada" not in manifest
    assert SECRET not in manifest
    assert "liver: left out, as a reader rejected it" in json.loads(manifest)["notes"]


def test_the_names_are_in_the_manifest_when_both_readings_are_done(dataset: Path, tmp_path: Path) -> None:
    read(dataset, "Ada", 1)
    assembled(dataset, tmp_path)
    read(dataset, "Bob", 1, reading=2)
    double_reading.settle(Worklist(dataset))
    liver = json.loads(assembled(dataset, tmp_path))["organs"]["liver"]
    assert (liver["by"], liver["readers"]) == ("Ada", ["Ada"])
    assert (liver["review"]["state"], liver["review"]["reader"]) == (ACCEPTED, "Ada")


def assembled(dataset: Path, tmp_path: Path) -> str:
    done = atlas("assemble", dataset, "--out", tmp_path / "out")
    assert done.exit_code == 0, said(done)
    return (tmp_path / "out" / "first" / "manifest.json").read_text()


@pytest.mark.parametrize("reading", [1, 2])
def test_doctor_names_task_and_reading_of_a_blind_one_but_not_the_reader(dataset: Path, reading: int) -> None:
    worklist = Worklist(dataset)
    worklist.take("first", "liver", "Ada", reading=reading)
    case = reading_case(open_case(dataset / "first"), reading)
    saved = save_revision(case, "liver", moved(dataset, 1), "Ada")  # the list is not told
    told = findings_of(dataset)
    assert [(one.kind, one.where) for one in told] == [
        ("revision that the list does not know", f"first, liver{'' if reading == 1 else ', second reading'}")
    ]
    saved.file.write_bytes(b"changed")
    told = findings_of(dataset)
    assert {one.kind for one in told} >= {"changed revision"}
    assert not any("Ada" in one.text + one.remedy for one in told)
    assert any(saved.time in one.text for one in told)


@pytest.mark.parametrize("name", ["atlas", "Atlas", "\uff21tlas", " unknown "])
def test_nobody_is_called_like_the_program_whose_events_everybody_sees(dataset: Path, name: str) -> None:
    worklist = Worklist(dataset)
    with pytest.raises(DatasetError, match="is taken"):
        worklist.take("first", "liver", name)
    assert worklist.task("first", "liver").state == WAITING
