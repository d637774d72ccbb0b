"""What was decided on counts, whatever is saved later: in the assembly, in rounds, and where two readings are compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from AtlasReviewLib import commands, double_reading
from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.commands_doctor import findings_of
from AtlasReviewLib.commands_worklist import worklist_app
from AtlasReviewLib.decided_mask import mask_to_note
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.revisions import current_revision, history, roll_back, save_revision
from AtlasReviewLib.rounds import close_round
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, ADJUDICATED, VERIFIED
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_rows import Task, TaskTakenError
from AtlasSegmentLib.case_folder import CaseFolder, open_case
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Array, Volume
from review_data import make_dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_dataset(tmp_path_factory.mktemp("made") / "hospital")
    (folder / "readers.json").write_text(json.dumps({"Sen": "senior", "Jun": "junior", "Ada": "junior", "Ben": "junior"}))
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "hospital"))


def listed(dataset: Path, policy: ReviewPolicy | None = None) -> Path:
    write_policy(dataset, policy or ReviewPolicy())
    open_worklist(dataset)[0].close()
    return dataset


def moved(dataset: Path, by: int) -> Volume:
    """Return the predicted liver of the first case, moved by some voxels."""
    mask = read_nifti(CaseFolder(dataset / "first").average.mask("liver"))
    return mask.with_array(np.roll(mask.array, by, 0))


def run(app: typer.Typer, *arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def take(dataset: Path, reader: str, reading: int = 1) -> None:
    run(worklist_app(), "take", dataset, "first", "liver", "--reader", reader, "--reading", reading)


def decide(dataset: Path, reader: str, reading: int = 1) -> str:
    return run(worklist_app(), "decide", dataset, "first", "liver", "accepted", "--reader", reader, "--reading", reading)


def revise(dataset: Path, reader: str, by: int, *options: object) -> str:
    file = dataset.parent / "mask.nii.gz"
    write_nifti(file, moved(dataset, by))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(commands.revise_command)
    return run(app, dataset / "first", "liver", "--mask", file, "--reader", reader, *options)


def read(dataset: Path, reader: str, by: int, reading: int = 1) -> None:
    take(dataset, reader, reading)
    revise(dataset, reader, by, "--reading", reading)
    decide(dataset, reader, reading)


def task_of(dataset: Path, reading: int = 1) -> Task:
    worklist = Worklist(dataset, read_only=True)
    try:
        return worklist.task("first", "liver", reading)
    finally:
        worklist.close()


def assembled(dataset: Path) -> tuple[Array, list[str]]:
    done = assemble_case(open_case(dataset / "first"), dataset.parent / "out")
    return read_nifti(done.folder / "segmentations" / "liver.nii.gz").array, done.manifest["notes"]


def frozen(dataset: Path) -> tuple[str, Array]:
    """Close a round; return the revision of the liver in it, and its voxels in the label map."""
    worklist = Worklist(dataset, read_only=True)
    folder = close_round(dataset, worklist.tasks())
    worklist.close()
    (record,) = json.loads((folder / "round.json").read_text())["accepted"]
    labels = read_nifti(folder / "labels" / "first.nii.gz").array
    return record["revision"], labels


def same(found: Array, dataset: Path, by: int) -> bool:
    return bool(np.array_equal(found > 0, moved(dataset, by).array > 0))


def test_the_mask_that_the_adjudicator_drew_on_the_command_line_counts(dataset: Path) -> None:
    listed(dataset, ReviewPolicy(double_share=1.0))
    read(dataset, "Ada", 1)
    read(dataset, "Ben", 4, 2)
    take(dataset, "Sen")
    told = revise(dataset, "Sen", 7)
    assert "Ada" not in told  # who adjudicates is not told whose readings they are
    decide(dataset, "Sen")
    assert task_of(dataset).stage == ADJUDICATED
    found, notes = assembled(dataset)
    assert same(found, dataset, 7)
    assert not any("disagree" in note for note in notes)


def test_who_lost_an_adjudication_cannot_reopen_it_and_accept_the_own_mask(dataset: Path) -> None:
    listed(dataset, ReviewPolicy(double_share=1.0))
    read(dataset, "Ada", 1)
    read(dataset, "Ben", 4, 2)
    worklist = Worklist(dataset)
    given = worklist.take("first", "liver", "Sen")
    done = double_reading.use(worklist, given, next(m.name for m in double_reading.readings(worklist, given) if m.reading == 2), "Sen")
    for name in ("Ada", "Ben"):
        with pytest.raises(InputError):
            worklist.revisit(done, name, "I was right", to=name)
        with pytest.raises(InputError):
            worklist.reopen(done, name)
    again = worklist.revisit(done, "Ada", "I was right")
    assert again.stage == ADJUDICATE
    with pytest.raises(InputError):
        worklist.take("first", "liver", "Ada")
    task = worklist.take("first", "liver", "Sen")
    double_reading.use(worklist, task, "A", "Sen")
    reopened = worklist.reopen(worklist.task("first", "liver"), "Sen")
    assert worklist.set_state(reopened, ACCEPTED, "Sen").stage == ADJUDICATED
    assert findings_of(dataset) == []


def test_the_verified_mask_counts_and_not_the_one_that_the_senior_began(dataset: Path) -> None:
    listed(dataset, ReviewPolicy(verify=True))
    read(dataset, "Jun", 1)
    take(dataset, "Sen")
    revise(dataset, "Sen", 2)
    run(worklist_app(), "send-back", dataset, "first", "liver", "--reader", "Sen", "--comment", "I began; finish the dome")
    read(dataset, "Jun", 3)
    take(dataset, "Sen")
    decide(dataset, "Sen")
    task = task_of(dataset)
    assert (task.stage, task.revision.endswith("_Jun")) == (VERIFIED, True)
    assert same(assembled(dataset)[0], dataset, 3)
    revision, labels = frozen(dataset)
    assert revision == task.revision
    inside = moved(dataset, 3).array > 0
    assert len(np.unique(labels[inside & ~(moved(dataset, 2).array > 0)])) == 1


def test_a_mask_that_was_saved_behind_the_list_does_not_count_and_the_assembly_says_so(dataset: Path) -> None:
    listed(dataset)
    read(dataset, "Jun", 1)
    decided = task_of(dataset).revision
    case = open_case(dataset / "first")
    save_revision(case, "liver", moved(dataset, 5), "Ben")
    found, notes = assembled(dataset)
    assert same(found, dataset, 1)
    (note,) = [note for note in notes if "nobody has decided on that" in note]
    assert decided in note
    assert frozen(dataset)[0] == decided
    roll_back(case, "liver", None, "Ben")
    found, notes = assembled(dataset)
    assert same(found, dataset, 1)
    assert any("rolled back" in note for note in notes)


def test_a_prediction_that_was_accepted_counts_although_somebody_revised_it_since(dataset: Path) -> None:
    listed(dataset)
    take(dataset, "Jun")
    decide(dataset, "Jun")
    save_revision(open_case(dataset / "first"), "liver", moved(dataset, 5), "Ben")
    found, notes = assembled(dataset)
    assert same(found, dataset, 0)
    assert any("the prediction counts, as Jun accepted it" in note for note in notes)
    assert frozen(dataset)[0] == ""
    mask = CaseFolder(dataset / "first").average.mask("liver")
    write_nifti(mask, moved(dataset, 1))  # the models were averaged again
    assert any("accepted a prediction that is not there any more" in note for note in assembled(dataset)[1])


def test_a_mask_whose_bytes_are_not_those_that_were_decided_on_is_not_assembled(dataset: Path) -> None:
    listed(dataset)
    read(dataset, "Jun", 1)
    worklist = Worklist(dataset)
    with worklist.store.writing() as db:
        db.set(db.row("first", "liver"), {"sha256": "0" * 64})
    with pytest.raises(InputError, match="decided on"):
        assembled(dataset)


def test_a_decided_task_is_not_revised_before_it_is_reopened(dataset: Path) -> None:
    listed(dataset, ReviewPolicy(verify=True))
    read(dataset, "Jun", 1)
    with pytest.raises(InputError, match="level 2"):  # it waits to be verified
        revise(dataset, "Jun", 2)
    take(dataset, "Sen")
    decide(dataset, "Sen")
    for reader in ("Jun", "Sen"):
        with pytest.raises(InputError) as refused:
            revise(dataset, reader, 5)
        assert "Reopen it" in refused.value.remedy
    assert len(history(open_case(dataset / "first"), "liver")) == 1


def test_a_revision_of_a_task_in_other_hands_is_refused_and_one_of_a_free_task_is_told_to_the_list(dataset: Path) -> None:
    listed(dataset)
    revise(dataset, "Jun", 1)
    task = task_of(dataset)
    assert (task.state, task.reader, task.revision) == ("revised", "Jun", history(open_case(dataset / "first"), "liver")[-1].id)
    with pytest.raises(TaskTakenError):
        revise(dataset, "Ben", 2)
    assert len(history(open_case(dataset / "first"), "liver")) == 1


def test_a_revision_that_is_refused_takes_nothing_out_of_the_readers_hands(dataset: Path) -> None:
    listed(dataset)
    take(dataset, "Jun")
    write_nifti(dataset.parent / "empty.nii.gz", moved(dataset, 0).with_array(np.zeros_like(moved(dataset, 0).array)))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(commands.revise_command)
    with pytest.raises(InputError, match="empty"):
        run(app, dataset / "first", "liver", "--mask", dataset.parent / "empty.nii.gz", "--reader", "Jun")
    task = task_of(dataset)
    assert (task.state, task.reader, bool(task.lease_until)) == ("taken", "Jun", True)


def test_the_second_reader_who_names_the_first_reading_is_refused(dataset: Path) -> None:
    listed(dataset, ReviewPolicy(double_share=1.0))
    read(dataset, "Ada", 1)
    take(dataset, "Ben", 2)
    with pytest.raises(InputError) as refused:
        revise(dataset, "Ben", 4, "--reading", 1)
    assert ("--reading 2" in refused.value.remedy, "Ada" in str(refused.value)) == (True, False)
    revise(dataset, "Ben", 4)  # the reading that is in hand
    decide(dataset, "Ben", 2)
    found = double_reading.disagreement(task_of(dataset))
    assert found is not None
    assert [name.rsplit("_", 1)[-1] for name in found.revisions] == ["Ada", "Ben"]


def test_what_was_accepted_is_compared_and_not_what_somebody_put_there_since(dataset: Path) -> None:
    listed(dataset, ReviewPolicy(double_share=1.0))
    read(dataset, "Ada", 1)
    accepted = task_of(dataset).revision
    save_revision(open_case(dataset / "first"), "liver", moved(dataset, 6), "Cleo")
    read(dataset, "Ben", 1, 2)
    found = double_reading.disagreement(task_of(dataset))
    assert found is not None
    assert (found.dice, found.revisions[0]) == (1.0, accepted)


def test_a_mask_of_another_program_is_kept_as_a_revision_before_it_is_compared(dataset: Path) -> None:
    case = open_case(dataset / "first")
    case.average.revised_mask("liver").parent.mkdir(exist_ok=True)
    write_nifti(case.average.revised_mask("liver"), moved(dataset, 5))
    listed(dataset, ReviewPolicy(double_share=1.0))
    worklist = Worklist(dataset)
    task = worklist.take("first", "liver", "Ada", take_over=True)
    worklist.detach(task, "Ada", 3600)
    decide(dataset, "Ada")
    take(dataset, "Ben", 2)
    decide(dataset, "Ben", 2)
    found = double_reading.disagreement(task_of(dataset))
    assert found is not None
    assert (found.revisions[0].endswith("_unknown"), found.revisions[1]) == (True, "")
    given = worklist.take("first", "liver", "Sen")
    masks = {mask.reading: mask for mask in double_reading.readings(worklist, given)}
    assert masks[1].file is not None
    assert same(read_nifti(masks[1].file).array, dataset, 5)
    double_reading.use(worklist, given, masks[1].name, "Sen")
    assert same(assembled(dataset)[0], dataset, 5)


def test_readings_of_an_older_list_that_does_not_say_which_mask_are_compared_as_they_are(dataset: Path) -> None:
    listed(dataset, ReviewPolicy(double_share=1.0))
    case, worklist = open_case(dataset / "first"), Worklist(dataset)
    case.average.revised_mask("liver").parent.mkdir(exist_ok=True)
    write_nifti(case.average.revised_mask("liver"), moved(dataset, 5))
    worklist.set_state(worklist.take("first", "liver", "Ada"), ACCEPTED, "Ada")
    worklist.set_state(worklist.take("first", "liver", "Ben", reading=2), ACCEPTED, "Ben")
    (settled,) = double_reading.settle(worklist)
    assert settled.measured is not None
    assert settled.measured.revisions[0].endswith("_unknown")
    assert current_revision(reading_case(case, 2), "liver") is None
    assert mask_to_note(case, "liver")[0] == settled.measured.revisions[0]
