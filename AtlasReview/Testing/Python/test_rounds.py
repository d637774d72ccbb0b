"""A round freezes what was accepted, leaks no patient from training into validation, and shows whether the model got better."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from atlas_phantoms import files_below
from AtlasReviewLib import rounds
from AtlasReviewLib.commands_rounds import round_command
from AtlasReviewLib.release_layout import release_organs
from AtlasReviewLib.revisions import save_revision
from AtlasReviewLib.round_curve import CURVE, PICTURE
from AtlasReviewLib.round_split import read_patients, split
from AtlasReviewLib.rounds import agreement, close_round, read_round, round_folders
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from review_data import make_dataset, scores, write_scores

APP = typer.Typer(pretty_exceptions_enable=False)
APP.callback()(lambda: None)
APP.command("round")(round_command)
VALUES = {organ.name: organ.value for organ in release_organs("1.1")}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = make_dataset(tmp_path / "hospital")
    open_worklist(folder)[0].close()
    return folder


def accept(dataset: Path, case: str, organ: str, *, corrected: bool) -> None:
    """Let Ada accept an organ, perhaps after she made it one voxel larger on one side, as the truth is."""
    worklist = Worklist(dataset)
    task = worklist.take(case, organ, "Ada")
    if corrected:
        folder = open_case(dataset / case)
        mask = read_nifti(folder.average.mask(organ))
        saved = save_revision(folder, organ, mask.with_array(mask.array | np.roll(mask.array, -1, axis=0)), "Ada")
        worklist.set_state(task, "revised", "Ada", revision=saved.id, sha256=saved.sha256)
    worklist.set_state(task, "accepted", "Ada")
    worklist.close()


def masks_below(dataset: Path) -> dict[str, tuple[int, int]]:
    return {name: state for name, state in files_below(dataset).items() if name.endswith(".gz")}


def close(dataset: Path, *options: object) -> dict[str, Any]:
    done = CliRunner().invoke(APP, ["round", str(dataset), *map(str, options), "--json"], catch_exceptions=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_round_holds_what_was_accepted_and_the_labels_to_train_with(dataset: Path) -> None:
    accept(dataset, "first", "liver", corrected=True)
    accept(dataset, "first", "spleen", corrected=False)
    accept(dataset, "second", "spleen", corrected=False)
    found = close(dataset, "--note", "first try")
    assert (found["round"], found["accepted"]) == (1, 3)
    folder = dataset / "rounds" / "001"
    record = read_round(folder)
    assert record["note"] == "first try"
    liver, spleen, _ = record["accepted"]
    case = open_case(dataset / "first")
    assert (liver["organ"], liver["reader"], bool(liver["revision"]), bool(spleen["revision"])) == ("liver", "Ada", True, False)
    before, after = read_nifti(case.average.mask("liver")).array != 0, read_nifti(case.average.revised_mask("liver")).array != 0
    assert liver["dice"] == pytest.approx(2 * np.sum(before & after) / (before.sum() + after.sum()))
    assert spleen["dice"] == 1
    labels = read_nifti(folder / "labels" / "first.nii.gz")
    assert np.array_equal(labels.array == VALUES["liver"], after)
    assert np.array_equal(labels.affine, read_nifti(case.ct).affine)
    rows = list(csv.DictReader((folder / "changes.csv").read_text().splitlines()))
    assert [(row["case"], row["organ"]) for row in rows] == [("first", "liver"), ("first", "spleen"), ("second", "spleen")]


def test_the_list_names_files_that_are_there_and_begins_with_what_was_revised_most(dataset: Path) -> None:
    accept(dataset, "second", "spleen", corrected=False)
    accept(dataset, "zlast", "liver", corrected=True)
    close(dataset, "--validation", 0)
    listed = json.loads((dataset / "rounds" / "001" / "datalist.json").read_text())
    assert [entry["image"] for entry in listed["training"]] == ["zlast/ct.nii.gz", "second/ct.nii.gz"]
    assert listed["training"][0]["revised"] == ["liver"]
    assert listed["labels"][str(VALUES["liver"])] == "liver"
    for entry in listed["training"]:
        assert (dataset / entry["image"]).is_file()
        assert (dataset / entry["label"]).is_file()
    monai = pytest.importorskip("monai.data", reason="MONAI reads such lists")
    assert len(monai.load_decathlon_datalist(dataset / "rounds" / "001" / "datalist.json", True, "training", dataset)) == 2


def test_the_curve_shows_that_the_next_model_is_nearer(dataset: Path) -> None:
    accept(dataset, "first", "liver", corrected=True)
    close(dataset)
    case = open_case(dataset / "second")
    better = read_nifti(case.average.mask("liver"))  # the next model predicts all but nothing wrong
    write_nifti(case.average.mask("liver"), better.with_array(better.array | np.roll(better.array, -1, axis=0)))
    write_scores(case, scores(spleen=1.0, liver=9000.0, kidney_left=0.0))
    ranked = open_worklist(dataset)[0]
    assert next(f"{task.case} {task.organ}" for task in ranked.tasks() if task.rank == 1) == "second liver"
    assert ranked.task("first", "liver").state == "accepted"
    ranked.close()
    accept(dataset, "second", "liver", corrected=False)
    found = close(dataset)
    dice = [row["dice"] for row in found["agreement"] if row["organ"] == "liver"]
    assert dice[0] < dice[1] == 1
    assert [row["count"] for row in found["agreement"] if row["organ"] == ""] == [1, 1]  # what was accepted before counts once
    assert (dataset / "rounds" / CURVE).is_file()
    assert (dataset / "rounds" / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_a_round_needs_something_new(dataset: Path) -> None:
    with pytest.raises(DatasetError, match="no task is accepted"):
        close(dataset)
    accept(dataset, "first", "liver", corrected=True)
    close(dataset)
    with pytest.raises(DatasetError, match="nothing was accepted since round 001"):
        close(dataset)
    assert len(round_folders(dataset)) == 1


def test_a_revision_that_was_changed_on_the_disk_is_not_frozen(dataset: Path) -> None:
    accept(dataset, "first", "liver", corrected=True)
    case = open_case(dataset / "first")
    file = next(case.average.revisions("liver").glob("*.nii.gz"))
    data = file.read_bytes()
    file.write_bytes(data[:-8] + b"12345678")
    case.average.revised_mask("liver").write_bytes(file.read_bytes())
    with pytest.raises(InputError):
        close(dataset)
    assert round_folders(dataset) == []


def test_a_round_is_whole_or_absent_and_nothing_else_is_touched(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(dataset, "first", "liver", corrected=True)
    before = masks_below(dataset)
    worklist = Worklist(dataset, read_only=True)
    tasks = worklist.tasks()
    with monkeypatch.context() as patch:
        patch.setattr(rounds, "_changes", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            close_round(dataset, tasks)
    assert masks_below(dataset) == before
    assert [path.name for path in (dataset / "rounds").iterdir()] == [".lock"]
    left = dataset / "rounds" / ".atlas-00000000-1-00000001.tmp"  # what a killed process left
    left.mkdir()
    os.utime(left, (0, 0))
    close_round(dataset, tasks)
    assert not left.exists()
    kept = masks_below(dataset)
    assert {name: kept[name] for name in before} == before


cases = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=30, unique=True)


@given(cases, st.integers(0, 5), st.floats(0, 0.9), st.integers(1, 4))
def test_no_patient_is_in_both_parts_and_nobody_changes_sides(names: list[str], seed: int, share: float, size: int) -> None:
    patients = {name: name[:1] for name in names[: len(names) // size]}
    whole = split(names, patients, share, seed, {})
    for name in names:
        assert split([name], patients, share, seed, {}) == {name: whole[name]}  # neither order nor number of cases matters
    for one in names:
        for two in names:
            if patients.get(one, one) == patients.get(two, two):
                assert whole[one] == whole[two]
    later = split([*names, "zz"], patients, 0.0, seed + 1, whole)
    assert {name: later[name] for name in names} == whole


def test_about_the_wanted_share_validates() -> None:
    parts = list(split([f"case{number}" for number in range(2000)], {}, 0.2, 0, {}).values())
    assert 340 < parts.count("validation") < 460


def test_a_split_that_leaks_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in training and in validation"):
        split(["c"], {"a": "p", "b": "p"}, 0.2, 0, {"a": "training", "b": "validation"})
    with pytest.raises(InputError, match=r"1\.5"):
        split(["c"], {}, 1.5, 0, {})
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\na,p\na,q\n")
    with pytest.raises(InputError, match=r"line 3: a has the patients 'p' and 'q'"):
        read_patients(table)
    table.write_text("name\na\n")
    with pytest.raises(InputError, match="no column 'case'"):
        read_patients(table)
    table.write_text("case,patient\na,\n")
    with pytest.raises(InputError, match="no case or no patient"):
        read_patients(table)


def test_a_list_of_patients_that_says_nothing_of_the_cases_closes_no_round(dataset: Path, tmp_path: Path) -> None:
    accept(dataset, "first", "liver", corrected=False)
    accept(dataset, "second", "liver", corrected=False)
    table = tmp_path / "patients.csv"
    useless = {"x,y\n": "no column 'case'", "case,patient\n": "names no case", "case,patient\nother,p\n": "none of the 2 cases"}
    for text, said in useless.items():
        table.write_text(text)
        with pytest.raises(InputError, match=said):
            CliRunner().invoke(APP, ["round", str(dataset), "--patients", str(table)], catch_exceptions=False)
        assert round_folders(dataset) == []
    table.write_text("case,patient\nfirst,p\n")
    done = CliRunner().invoke(APP, ["round", str(dataset), "--patients", str(table)], catch_exceptions=False)
    assert "warning: --patients does not name second: each was taken for a patient of its own" in done.stderr
    assert read_round(round_folders(dataset)[0])["without_patient"] == ["second"]


def test_agreement_of_no_round_is_empty() -> None:
    assert agreement([]) == []
