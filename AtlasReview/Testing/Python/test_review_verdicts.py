"""A reader's verdict decides what reaches the release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.dataset_card import CardOptions, collect_card
from AtlasReviewLib.dataset_card_text import card_markdown
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.review_verdicts import ReviewCount, count_states, verdicts_of
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_store import NAME, WorklistDamagedError
from AtlasReviewLib.worklist_view import counts
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.nifti import read_nifti
from review_data import make_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


def decide(dataset: Path, organ: str, state: str, comment: str = "") -> Worklist:
    """Let Ada take an organ of the first case and decide."""
    worklist, _ = open_worklist(dataset)
    task = worklist.take("first", organ, "Ada")
    worklist.set_state(task, state, "Ada", comment)  # type: ignore[arg-type]
    return worklist


def test_a_case_without_a_worklist_has_no_verdicts_and_gets_no_file(dataset: Path) -> None:
    assert verdicts_of(open_case(dataset / "first")) == {}
    assert not (dataset / NAME).exists()


def test_a_rejected_organ_is_left_out_with_the_reason_and_others_stay(dataset: Path, tmp_path: Path) -> None:
    decide(dataset, "liver", "rejected", "half of it is missing")
    decide(dataset, "spleen", "accepted")
    done = assemble_case(open_case(dataset / "first"), tmp_path / "out")
    assert "liver" not in done.manifest["organs"]
    assert "liver" in done.manifest["missing"]
    assert any("Ada rejected it: half of it is missing" in note for note in done.manifest["notes"])
    assert done.manifest["organs"]["spleen"]["review"] == {"state": "accepted", "reader": "Ada"}
    combined = read_nifti(done.folder / "combined_labels.nii.gz")
    assert combined.array.any()
    assert not (done.folder / "segmentations" / "liver.nii.gz").exists()


def test_a_mask_that_nobody_has_verified_yet_is_told_from_one_that_was(dataset: Path, tmp_path: Path) -> None:
    write_policy(dataset, ReviewPolicy(verify=True))
    (dataset / "readers.json").write_text(json.dumps({"Dr. Sen": 2, "Ada": 1}))
    decide(dataset, "liver", "accepted")
    worklist = decide(dataset, "spleen", "accepted")
    task = worklist.take("first", "liver", "Dr. Sen")
    case = open_case(dataset / "first")
    for organ in ("liver", "spleen"):  # one is in the hands of the senior, one waits
        manifest = assemble_case(case, tmp_path / "out").manifest
        assert manifest["organs"][organ]["review"] == {"state": "accepted", "reader": "Ada", "stage": "verify"}
        assert f"{organ}: Ada accepted it, and nobody has verified that yet." in manifest["notes"]
    worklist.set_state(task, "accepted", "Dr. Sen")
    after = assemble_case(case, tmp_path / "out").manifest
    assert after["organs"]["liver"]["review"] == {"state": "accepted", "reader": "Dr. Sen", "stage": "verified"}
    card = collect_card([after], CardOptions())
    counts = {name: {what for what, count in organ["review"].items() if count} for name, organ in card["organs"].items()}
    assert (counts["liver"], counts["spleen"]) == ({"accepted", "verified"}, {"accepted", "waiting to be verified"})
    assert "| organ | accepted | waiting to be verified | verified | read twice | adjudicated |" in card_markdown(card, "x")
    worklist.close()


def test_a_later_verdict_makes_the_case_be_assembled_again(dataset: Path, tmp_path: Path) -> None:
    case = open_case(dataset / "first")
    open_worklist(dataset)
    assert not assemble_case(case, tmp_path / "out").skipped
    assert assemble_case(case, tmp_path / "out").skipped
    decide(dataset, "liver", "rejected", "wrong")
    done = assemble_case(case, tmp_path / "out")
    assert not done.skipped
    assert not (done.folder / "segmentations" / "liver.nii.gz").exists()
    assert json.loads((done.folder / "manifest.json").read_text())["parameters"]["verdicts"]["liver"]["state"] == "rejected"


def test_a_damaged_worklist_stops_the_assembly_before_anything_is_written(dataset: Path, tmp_path: Path) -> None:
    (dataset / NAME).write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
    with pytest.raises(WorklistDamagedError):
        assemble_case(open_case(dataset / "first"), tmp_path / "out")
    assert not (tmp_path / "out" / "first").exists()


def test_tasks_are_counted_by_what_became_of_them(dataset: Path) -> None:
    decide(dataset, "liver", "rejected", "wrong")
    worklist = decide(dataset, "spleen", "accepted")
    tasks = worklist.tasks()
    assert count_states(counts(tasks)) == ReviewCount(accepted=1, rejected=1, aside=0, open=len(tasks) - 2)
