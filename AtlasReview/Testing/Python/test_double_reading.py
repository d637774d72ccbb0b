"""Two readings on the disk: apart from each other, compared when both are done, decided by a third reader, named in the assembly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from AtlasReviewLib import commands_progress, double_reading
from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.assembly_dataset import verdicts_of_dataset
from AtlasReviewLib.autosave import find_autosaves
from AtlasReviewLib.commands_doctor import findings_of
from AtlasReviewLib.double_reading_case import SECOND, reading_case
from AtlasReviewLib.review_case import load_review_case, sparse_of
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.review_statistics import summed, works_of
from AtlasReviewLib.review_verdicts import verdicts_of
from AtlasReviewLib.revision_log import read_log
from AtlasReviewLib.revisions import LOG_NAME, current_revision, history
from AtlasReviewLib.rounds import close_round
from AtlasReviewLib.task_session import TaskSession
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, ADJUDICATED, REJECTED, TAKEN, VERIFY, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_rebuild import rebuild_worklist
from AtlasReviewLib.worklist_rows import Task, TaskFilter, TaskTakenError
from AtlasSegmentLib.case_folder import CaseFolder, open_case
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.volume import Array
from review_data import make_dataset

pytest_plugins = ("postgres_server",)
LIVER = TaskFilter(organs=("liver",), cases=("first",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_dataset(tmp_path_factory.mktemp("made") / "hospital")
    (folder / "readers.json").write_text(json.dumps({"Dr. Sen": 2, "Ada": 1, "Bob": 1}))
    write_policy(folder, ReviewPolicy(double_share=1.0))
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "hospital"))


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use SQLite, or PostgreSQL where a test asks for it."""
    wanted = str(getattr(request, "param", "sqlite"))
    if wanted == "postgres":
        monkeypatch.setenv("ATLAS_WORKLIST", request.getfixturevalue("postgres").empty_worklist())
    return wanted


@pytest.fixture
def worklist(dataset: Path, backend: str) -> Worklist:
    found = open_worklist(dataset)[0]
    assert bool(found.store.place.url) == (backend == "postgres")
    return found


both = pytest.mark.parametrize("backend", ["sqlite", "postgres"], indirect=True)


def session(worklist: Worklist, reader: str, only: TaskFilter = LIVER) -> TaskSession:
    """Take a reader's next task and open it, as the panel does."""
    task = worklist.take_next(reader, only=only)
    assert task is not None
    return opened(worklist, task, reader)


def opened(worklist: Worklist, task: Task, reader: str) -> TaskSession:
    view = double_reading.view_of(worklist, task, reader)
    loaded = load_review_case(worklist.folder / task.case, task.organ, view=view)
    return TaskSession(worklist, loaded, task, reader, worklist.folder.parent / "fallback")


def shifted(found: TaskSession, by: int) -> Array:
    return np.roll(found.saved.dense(), by, 0)


def read(worklist: Worklist, reader: str, by: int, only: TaskFilter = LIVER) -> TaskSession:
    """Let a reader move the organ by some voxels and accept it."""
    found = session(worklist, reader, only)
    found.decide(ACCEPTED, sparse_of(shifted(found, by), found.loaded.grid), f"moved by {reader}")
    return found


def compared(worklist: Worklist, one: int = 0, two: int = 6) -> Task:
    read(worklist, "Ada", one)
    read(worklist, "Bob", two)
    double_reading.settle(worklist)
    return worklist.task("first", "liver")


@both
def test_both_readers_begin_with_the_prediction_and_their_files_lie_apart(worklist: Worklist) -> None:
    predicted = read_nifti(CaseFolder(worklist.folder / "first").average.mask("liver")).array
    first = read(worklist, "Ada", 3)
    second = session(worklist, "Bob")
    assert np.array_equal(second.saved.dense(), predicted)
    assert second.loaded.view.reading == 2
    file = second.autosave(sparse_of(shifted(second, 1), second.loaded.grid))
    assert file is not None
    assert SECOND in file.parts
    autosaves = find_autosaves(worklist.folder, "Bob", worklist.folder.parent / "fallback")
    assert [(found.reader, found.reading) for found in autosaves] == [("Bob", 2)]
    second.decide(ACCEPTED, sparse_of(shifted(second, -4), second.loaded.grid))
    assert not file.exists()
    for found, reader, reading, by in ((first, "Ada", 1, 3), (second, "Bob", 2, -4)):
        case = reading_case(found.loaded.case, reading)
        revision = current_revision(case, "liver")
        assert revision is not None
        assert (revision.reader, len(history(case, "liver"))) == (reader, 1)
        assert (revision.sha256 == sha256_of(revision.file) == found.task.revision and "") or revision.sha256 == sha256_of(revision.file)
        assert np.array_equal(read_nifti(case.average.revised_mask("liver")).array, np.roll(predicted, by, 0))
    assert findings_of(worklist.folder)[0].kind == "readings that were not compared"
    double_reading.settle(worklist)
    assert findings_of(worklist.folder) == []


def test_edits_that_cannot_be_kept_in_the_dataset_do_not_mix_with_those_of_the_other_reading(worklist: Worklist) -> None:
    fallback = worklist.folder.parent / "fallback"
    (worklist.folder / "first" / SECOND).write_text("no folder can be made here")
    found = opened(worklist, worklist.take("first", "liver", "Bob", reading=2), "Bob")
    file = found.autosave(sparse_of(shifted(found, 1), found.loaded.grid))
    assert file is not None
    assert fallback in file.parents
    assert [autosave.reading for autosave in find_autosaves(worklist.folder, "Bob", fallback)] == [2]
    assert [autosave.file for autosave in found.unsaved()] == [file]


def test_neighbors_that_are_read_blind_are_shown_as_predicted(worklist: Worklist) -> None:
    read(worklist, "Ada", 3)
    spleen = session(worklist, "Bob", TaskFilter(organs=("spleen",), cases=("first",)))
    assert spleen.loaded.view.blind == {"liver", "kidney_left"}
    assert not spleen.loaded.organs["liver"].revised
    read(worklist, "Bob", 3)
    double_reading.settle(worklist)
    later = session(worklist, "Cleo", TaskFilter(organs=("spleen",), cases=("first",)))
    assert later.loaded.organs["liver"].revised  # both are done and agree


@both
def test_readings_that_agree_are_settled_by_opening_the_list(worklist: Worklist) -> None:
    read(worklist, "Ada", 2)
    read(worklist, "Bob", 2)
    again, _ = open_worklist(worklist.folder)  # the programs of both were killed before they compared
    task = again.task("first", "liver")
    found = double_reading.disagreement(task)
    assert found is not None
    assert (task.state, task.reader, found.dice, found.nsd, found.agree) == (ACCEPTED, "Ada", 1.0, 1.0, True)
    assert double_reading.settle(again) == []


@both
def test_readings_that_disagree_wait_for_a_third_reader_and_a_or_b_says_no_name(worklist: Worklist) -> None:
    task = compared(worklist)
    assert (task.state, task.stage) == (WAITING, ADJUDICATE)
    worklist.viewer = "Dr. Sen"
    given = worklist.take_next("Dr. Sen")
    assert given is not None
    assert "Ada" not in repr(given)
    masks = double_reading.readings(worklist, given)
    assert [mask.name for mask in masks] == ["A", "B"]
    assert sorted(mask.reading for mask in masks) == [1, 2]
    arrays = {mask.reading: read_nifti(mask.file).array for mask in masks if mask.file is not None}
    assert not np.array_equal(arrays[1], arrays[2])


@pytest.mark.parametrize("reading", [1, 2])
def test_the_chosen_reading_counts_and_stays_the_work_of_who_drew_it(worklist: Worklist, reading: int) -> None:
    compared(worklist, 1, 6)
    case = CaseFolder(worklist.folder / "first")
    given = worklist.take_next("Dr. Sen")
    assert given is not None
    chosen = next(mask for mask in double_reading.readings(worklist, given) if mask.reading == reading)
    done = double_reading.use(worklist, given, chosen.name, "Dr. Sen", "it has the dome")
    assert (done.state, done.stage, done.reader) == (ACCEPTED, ADJUDICATED, "Dr. Sen")
    revision = current_revision(case, "liver")
    assert revision is not None
    assert chosen.file is not None
    assert revision.reader == ("Ada", "Bob")[reading - 1]
    assert len(history(case, "liver")) == reading  # the first reading is there already
    if reading == 2:
        assert revision.comment == f"adjudicated: reading {chosen.name} was chosen; it has the dome, by Dr. Sen"
    assert np.array_equal(read_nifti(revision.file).array, read_nifti(chosen.file).array)
    assert done.revision == revision.id
    assert len(history(reading_case(case, 2), "liver")) == 1
    assert findings_of(worklist.folder) == []
    works = {work.reader: (work.revisions, work.adjudicated) for work in summed(works_of("d", worklist.events()), ("reader",))}
    assert works == {"Ada": (1, 0), "Bob": (1, 0), "Dr. Sen": (0, 1)}
    changed = [(organ, found[1].reader) for _, organ, found in commands_progress._changes(worklist.folder, {})]
    assert sorted(changed) == [("liver", "Ada"), ("liver", "Bob")]


def test_a_prediction_that_is_chosen_stays_a_prediction(worklist: Worklist, tmp_path: Path) -> None:
    compared(worklist, 6, 0)
    case = open_case(worklist.folder / "first")
    given = worklist.take_next("Dr. Sen")
    assert given is not None
    name = next(mask.name for mask in double_reading.readings(worklist, given) if not mask.revised)
    done = double_reading.use(worklist, given, name, "Dr. Sen")
    assert (done.state, done.stage, done.revision) == (ACCEPTED, ADJUDICATED, "")
    organ = assemble_case(case, tmp_path / "out").manifest["organs"]["liver"]
    assert (organ["source"], organ["readers"]) == ("predicted", [])
    assert (organ["review"]["reader"], organ["review"]["stage"]) == ("Dr. Sen", ADJUDICATED)
    assert findings_of(worklist.folder) == []


def test_the_adjudicator_can_draw_a_third_mask(worklist: Worklist) -> None:
    compared(worklist)
    found = session(worklist, "Dr. Sen", TaskFilter(level=2))
    done = found.decide(ACCEPTED, sparse_of(shifted(found, 3), found.loaded.grid), "between the two")
    assert (done.stage, done.comment) == (ADJUDICATED, "between the two")
    masks = double_reading.readings(worklist, done)  # still those that were compared
    assert all(mask.file is None or mask.file.name.endswith(("_Ada.nii.gz", "_Bob.nii.gz")) or not mask.revised for mask in masks)


def test_only_an_adjudicator_with_the_task_in_hand_decides(worklist: Worklist) -> None:
    task = compared(worklist)
    with pytest.raises(TaskTakenError, match="nobody"):
        double_reading.use(worklist, task, "A", "Dr. Sen")
    given = worklist.take_next("Dr. Sen")
    assert given is not None
    with pytest.raises(InputError, match="no reading 'C'"):
        double_reading.use(worklist, given, "C", "Dr. Sen")
    spleen = worklist.take("first", "spleen", "Dr. Sen")
    with pytest.raises(InputError, match="is not being adjudicated"):
        double_reading.use(worklist, spleen, "A", "Dr. Sen")
    with pytest.raises(InputError, match="no two readings"):
        double_reading.readings(worklist, spleen)
    assert worklist.task("first", "liver").state == TAKEN


def test_choosing_a_reading_that_rejected_the_mask_rejects_it(worklist: Worklist) -> None:
    read(worklist, "Ada", 0)
    found = session(worklist, "Bob")
    found.decide(REJECTED, found.saved, "unusable")
    (settled,) = double_reading.settle(worklist)
    assert settled.measured is not None
    assert settled.measured.verdicts == (ACCEPTED, REJECTED)
    given = worklist.take_next("Dr. Sen")
    assert given is not None
    name = next(mask.name for mask in double_reading.readings(worklist, given) if mask.verdict == REJECTED)
    done = double_reading.use(worklist, given, name, "Dr. Sen")
    assert (done.state, done.comment) == (REJECTED, f"adjudicated: reading {name} was chosen; rejected as: unusable")


def test_a_reading_whose_file_was_changed_is_not_used(worklist: Worklist) -> None:
    compared(worklist)
    given = worklist.take_next("Dr. Sen")
    assert given is not None
    mask = next(mask for mask in double_reading.readings(worklist, given) if mask.reading == 2)
    assert mask.file is not None
    mask.file.write_bytes(mask.file.read_bytes() + b"x")
    with pytest.raises(InputError, match="its bytes are not those that were saved"):
        double_reading.readings(worklist, given)
    mask.file.unlink()
    kinds = {finding.kind for finding in findings_of(worklist.folder)}
    assert {"lost reading", "lost revision of a task"} <= kinds


def test_readings_that_cannot_be_compared_are_told_and_left(worklist: Worklist) -> None:
    read(worklist, "Ada", 1)
    second = read(worklist, "Bob", 2)
    revised = second.loaded.case.average.revised_mask("liver")
    revision = current_revision(second.loaded.case, "liver")
    assert revision is not None
    for file in (revised, revision.file):
        file.write_bytes(b"damaged")
    (found,) = double_reading.settle(worklist)
    assert found.measured is None
    assert str(revision.file) in found.problem or str(revised) in found.problem
    assert worklist.task("first", "liver").measured == ""


@both
def test_an_open_disagreement_is_named_in_the_assembly_and_the_first_reading_counts(worklist: Worklist, tmp_path: Path) -> None:
    compared(worklist, 1, 6)
    case = open_case(worklist.folder / "first")
    manifest = assemble_case(case, tmp_path / "out").manifest
    note = next(note for note in manifest["notes"] if "disagree" in note)
    assert note.startswith("liver: two readings disagree (Dice ")
    assert "the first reading counts provisionally" in note
    assert manifest["organs"]["liver"]["readers"] == ["Ada"]
    assert "liver" not in manifest["parameters"]["verdicts"]
    assert verdicts_of(case)["liver"].is_open
    given = worklist.take_next("Dr. Sen")
    assert given is not None
    session_of = opened(worklist, given, "Dr. Sen")
    session_of.save(sparse_of(shifted(session_of, 2), session_of.loaded.grid))
    assert assemble_case(case, tmp_path / "out").manifest["organs"]["liver"]["readers"] == ["Ada"]  # the third one is not done yet
    chosen = next(mask.name for mask in double_reading.readings(worklist, given) if mask.reading == 2)
    double_reading.use(worklist, given, chosen, "Dr. Sen")
    after = assemble_case(case, tmp_path / "out").manifest
    assert after["organs"]["liver"]["readers"] == ["Bob"]
    assert after["organs"]["liver"]["review"] == {"state": ACCEPTED, "reader": "Dr. Sen", "stage": ADJUDICATED, "readings": 2}
    assert not any("disagree" in note for note in after["notes"])


def test_an_adjudication_counts_although_a_reading_is_of_a_higher_level(worklist: Worklist, tmp_path: Path) -> None:
    read(worklist, "Dr. Sen", 1)
    read(worklist, "Bob", 6)
    double_reading.settle(worklist)
    given = worklist.take_next("Cleo")  # who has no level: the only senior did a reading
    assert given is not None
    chosen = next(mask.name for mask in double_reading.readings(worklist, given) if mask.reading == 2)
    double_reading.use(worklist, given, chosen, "Cleo")
    assert verdicts_of_dataset(worklist.folder)["first"]["liver"].stage == ADJUDICATED
    assert assemble_case(open_case(worklist.folder / "first"), tmp_path / "out").manifest["organs"]["liver"]["readers"] == ["Bob"]


def test_a_round_takes_what_counts_and_no_second_reading(worklist: Worklist) -> None:
    read(worklist, "Ada", 1)
    read(worklist, "Bob", 1)
    double_reading.settle(worklist)
    folder = close_round(worklist.folder, worklist.tasks())
    accepted = json.loads((folder / "round.json").read_text())["accepted"]
    assert [(record["organ"], record["reader"]) for record in accepted] == [("liver", "Ada")]


def test_new_cases_bring_second_readings_and_change_none_of_the_others(dataset: Path) -> None:
    write_policy(dataset, ReviewPolicy(double_share=0.5, seed=4))
    shutil.move(dataset / "second", dataset.parent / "second")
    before = {(t.case, t.organ) for t in open_worklist(dataset)[0].every_task() if t.reading == 2}
    shutil.move(dataset.parent / "second", dataset / "second")
    after = {(t.case, t.organ) for t in open_worklist(dataset)[0].every_task() if t.reading == 2}
    assert before == {key for key in after if key[0] != "second"}
    assert 0 < len(before) < len(after) < 8


def test_a_damaged_list_is_rebuilt_with_both_readings(worklist: Worklist) -> None:
    compared(worklist)
    before = [(t.case, t.organ, t.reading, t.state, t.stage, t.author, t.measured) for t in worklist.every_task()]
    again, _ = rebuild_worklist(worklist.folder)
    assert sorted((t.case, t.organ, t.reading, t.state, t.stage, t.author, t.measured) for t in again.every_task()) == sorted(before)
    assert {event.reading for event in again.events("first", "liver")} == {1, 2}
    given = again.take_next("Dr. Sen")
    assert given is not None
    assert given.stage == ADJUDICATE


def test_a_senior_sends_an_open_task_back_and_edits_stay_as_unsaved_ones(dataset: Path) -> None:
    write_policy(dataset, ReviewPolicy(verify=True))
    worklist = open_worklist(dataset)[0]
    read(worklist, "Ada", 1)
    found = session(worklist, "Dr. Sen", TaskFilter(level=2))
    assert found.task.stage == VERIFY
    back = found.send_back(sparse_of(shifted(found, 1), found.loaded.grid), "the dome is cut off")
    assert (back.state, back.assignee, found.editable) == (WAITING, "Ada", False)
    assert len(find_autosaves(dataset, "Dr. Sen", dataset.parent / "fallback")) == 1
    assert [entry.reader for entry in read_log(found.loaded.case.average.revisions("liver") / LOG_NAME)] == ["Ada"]
