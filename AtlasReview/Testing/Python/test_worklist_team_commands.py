"""A review by a team on the command line: policy, verification, two readings, disagreements, findings; and what atlas progress says."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from AtlasReviewLib import commands
from AtlasReviewLib.commands_progress import progress_command
from AtlasReviewLib.commands_worklist import worklist_app
from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.double_reading_statistics import Comparison, comparisons_of, pooled, summed
from AtlasReviewLib.progress_page import Progress, progress_page
from AtlasReviewLib.review_policy import read_policy
from AtlasReviewLib.review_statistics import summed as works_summed
from AtlasReviewLib.review_statistics import works_of
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from review_data import make_dataset

pytest_plugins = ("postgres_server",)
LEVELS = {"Dr. Sen": "senior", "Ada": "junior", "Bob": "junior"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset that is copied for each test, as making one takes longer."""
    folder = make_dataset(tmp_path_factory.mktemp("made") / "hospital")
    (folder / "readers.json").write_text(json.dumps(LEVELS))
    return folder


@pytest.fixture(params=["sqlite", "postgres"])
def dataset(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(made, tmp_path / "hospital"))
    if request.param == "postgres":
        (folder / "worklist.json").write_text(json.dumps({"url": request.getfixturevalue("postgres").empty_worklist()}))
    return folder


@pytest.fixture
def sqlite(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "hospital"))


def run(app: typer.Typer, *arguments: object, code: int = 0) -> str:
    """Run a command, return what it printed; our errors are raised as they are."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def atlas(*arguments: object, code: int = 0) -> str:
    return run(worklist_app(), *arguments, code=code)


def as_json(*arguments: object, code: int = 0) -> Any:
    return json.loads(atlas(*arguments, "--json", code=code))


def revise(dataset: Path, tmp_path: Path, reader: str, by: int, reading: int = 1) -> None:
    """Save the liver of the first case, moved by some voxels, as `atlas revise` does."""
    mask = read_nifti(CaseFolder(dataset / "first").average.mask("liver"))
    write_nifti(tmp_path / "mask.nii.gz", mask.with_array(np.roll(mask.array, by, 0)))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(commands.revise_command)
    run(app, dataset / "first", "liver", "--mask", tmp_path / "mask.nii.gz", "--reader", reader, "--reading", reading)


def read(dataset: Path, tmp_path: Path, reader: str, by: int, reading: int = 1) -> str:
    atlas("take", dataset, "first", "liver", "--reader", reader, "--reading", reading)
    revise(dataset, tmp_path, reader, by, reading)
    return atlas("decide", dataset, "first", "liver", "accepted", "--reader", reader, "--reading", reading)


def progress(dataset: Path, *arguments: object) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(progress_command)
    return run(app, dataset, *arguments)


def test_a_policy_is_shown_changed_and_checked(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "readers.json", tmp_path)
    assert "is final" in atlas("policy", tmp_path)
    assert not (tmp_path / "review.json").exists()  # looking writes nothing
    told = atlas("policy", tmp_path, "--verify", "--double", 0.1, "--kappa", 0.2)
    assert "waits for a reader of level 2" in told
    assert "10.0% of the tasks are read twice" in told
    assert "kappa from 0.2" in told
    found = as_json("policy", tmp_path, "--no-verify", "--kappa", -1, "--seed", 7)
    assert (found["verify"], found["double_share"], found["agree_kappa"], found["seniors"]) == (False, 0.1, None, ["Dr. Sen"])
    assert read_policy(tmp_path).seed == 7
    (tmp_path / "readers.json").unlink()
    assert "nobody can verify" in atlas("policy", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        atlas("policy", tmp_path / "missing")


def test_a_senior_verifies_and_sends_back(dataset: Path, tmp_path: Path) -> None:
    atlas("policy", dataset, "--verify")
    atlas("build", dataset)
    assert "waits to be verified" in read(dataset, tmp_path, "Ada", 1)
    with pytest.raises(InputError, match="level 2"):
        atlas("take", dataset, "first", "liver", "--reader", "Bob")
    with pytest.raises(InputError, match="not in the hands of Dr"):
        atlas("send-back", dataset, "first", "liver", "--reader", "Dr. Sen", "--comment", "again")
    assert as_json("next", dataset, "--reader", "Dr. Sen", "--level", 2)["stage"] == "verify"
    assert "waits for Ada" in atlas("send-back", dataset, "first", "liver", "--reader", "Dr. Sen", "--comment", "the dome")
    assert as_json("next", dataset, "--reader", "Ada")["comment"] == "the dome"
    atlas("decide", dataset, "first", "liver", "accepted", "--reader", "Ada")
    assert "to verify" in atlas("list", dataset)
    atlas("next", dataset, "--reader", "Dr. Sen", "--level", 2)
    assert "is accepted by Dr. Sen" in atlas("decide", dataset, "first", "liver", "accepted", "--reader", "Dr. Sen")
    rows = {row["reader"]: row for row in json.loads(progress(dataset, "--json", "--no-masks"))["rows"]}
    assert (rows["Ada"]["accepted"], rows["Ada"]["sent_back"], rows["Ada"]["verified"]) == (2, 1, 1)
    assert (rows["Dr. Sen"]["accepted"], rows["Dr. Sen"]["verifications"], rows["Dr. Sen"]["sent_back"]) == (1, 2, 0)


def test_two_readings_from_the_first_task_to_the_adjudication(dataset: Path, tmp_path: Path) -> None:
    atlas("policy", dataset, "--double", 1)
    assert "8 of them read twice" in atlas("build", dataset)
    read(dataset, tmp_path, "Ada", 1)
    for told in (atlas("list", dataset, "--state", "all"), atlas("history", dataset), atlas("list", dataset, "--state", "all", "--json")):
        assert "Ada" not in told
    assert "Ada" in atlas("history", dataset, "--reader", "Ada")
    read(dataset, tmp_path, "Bob", 6, 2)  # compares both
    (row,) = as_json("disagreements", dataset)["disagreements"]
    assert (row["case"], row["organ"], row["state"], row["agree"]) == ("first", "liver", "to adjudicate", False)
    assert "to adjudicate" in atlas("list", dataset)
    with pytest.raises(InputError, match="level 2"):
        atlas("adjudicate", dataset, "first", "liver", "--use", "A", "--reader", "Cleo")
    with pytest.raises(InputError, match="no reading 'X'"):
        atlas("adjudicate", dataset, "first", "liver", "--use", "X", "--reader", "Dr. Sen")
    assert (row["verdict_a"], row["verdict_b"], row["why"]) == ("accepted", "accepted", "Dice below 0.9, NSD below 0.9")
    assert "atlas worklist adjudicate" in atlas("disagreements", dataset)
    listed = as_json("list", dataset, "--case", "first", "--organ", "liver")["tasks"]
    assert [(task["state"], task["reading"]) for task in listed] == [("waiting", 1)]  # the typing error cost nothing
    told = atlas("adjudicate", dataset, "first", "liver", "--use", "B", "--reader", "Dr. Sen", "--comment", "=SUM(1)")
    assert "reading B counts (accepted, " in told
    assert " ml)" in told
    assert as_json("disagreements", dataset)["disagreements"] == []
    atlas("disagreements", dataset, "--all", "--csv", tmp_path / "all.csv")
    (line,) = csv.DictReader((tmp_path / "all.csv").read_text().splitlines())
    assert (line["state"], line["adjudicator"]) == ("accepted, adjudicated", "Dr. Sen")
    assert "accepted, adjudicated" in atlas("list", dataset, "--state", "accepted")  # in the same words
    assert {"Ada", "Bob", "Dr. Sen"} <= {event["reader"] for event in as_json("history", dataset, "first", "liver")["events"]}


def test_the_masks_of_two_readings_are_written_without_who_drew_them(sqlite: Path, tmp_path: Path) -> None:
    atlas("policy", sqlite, "--double", 1)
    atlas("build", sqlite)
    read(sqlite, tmp_path, "Ada", 1)
    read(sqlite, tmp_path, "Bob", 6, 2)
    with pytest.raises(InputError, match="lies in the dataset"):
        atlas("disagreements", sqlite, "--masks", sqlite / "out")
    out = tmp_path / "out"
    assert "first_liver_A.nii.gz" in atlas("disagreements", sqlite, "--masks", out)
    assert sorted(file.name for file in out.iterdir()) == [f"first_liver_{name}.nii.gz" for name in ("A", "B", "prediction")]
    grid = read_nifti(CaseFolder(sqlite / "first").average.mask("liver"))
    found = {name: read_nifti(out / f"first_liver_{name}.nii.gz") for name in ("A", "B", "prediction")}
    for file, mask in zip(sorted(out.iterdir()), found.values(), strict=True):
        assert np.allclose(mask.affine, grid.affine)
        bare = gzip.decompress(file.read_bytes()) + file.read_bytes()[:64]
        assert not any(name in bare for name in (b"Ada", b"Bob", b"revised", b"reading"))
    assert np.array_equal(found["prediction"].array > 0, grid.array > 0)
    moved = {by: np.roll(grid.array, by, 0) > 0 for by in (1, 6)}
    assert {by for by, mask in moved.items() for name in "AB" if np.array_equal(found[name].array > 0, mask)} == {1, 6}
    with pytest.raises(InputError, match="no empty folder"):
        atlas("disagreements", sqlite, "--masks", out)


def test_one_who_rejects_and_one_who_accepts_is_a_disagreement_with_a_reason(sqlite: Path) -> None:
    atlas("policy", sqlite, "--double", 1)
    atlas("build", sqlite)
    for reader, reading, verdict in (("Ada", 1, ("accepted",)), ("Bob", 2, ("rejected", "--comment", "no liver"))):
        atlas("take", sqlite, "first", "liver", "--reader", reader, "--reading", reading)
        atlas("decide", sqlite, "first", "liver", *verdict, "--reader", reader)  # finds their own reading
    (row,) = as_json("disagreements", sqlite)["disagreements"]
    assert {row["verdict_a"], row["verdict_b"]} == {"accepted", "rejected"}
    assert (row["dice"], row["why"]) == (1.0, "one rejected it")
    name = "A" if row["verdict_a"] == "rejected" else "B"
    told = atlas("adjudicate", sqlite, "first", "liver", "--use", name, "--reader", "Dr. Sen")
    assert f"is rejected: reading {name} counts (rejected, " in told


def test_a_second_reading_is_named_and_found_without_its_number(dataset: Path, tmp_path: Path) -> None:
    atlas("policy", dataset, "--double", 1)
    atlas("build", dataset)
    atlas("take", dataset, "first", "liver", "--reader", "Ada")
    told = atlas("next", dataset, "--reader", "Bob", "--case", "first", "--organ", "liver")
    assert told.startswith("first liver (second reading): yours for 12 hours")
    assert "decide" in told
    assert "--reader Bob --reading 2" in told
    assert "Ada" not in told
    assert "(second reading): is waiting" in atlas("release", dataset, "first", "liver", "--reader", "Bob")
    assert "(second reading): yours" in atlas("take", dataset, "first", "liver", "--reader", "Bob")
    mask = read_nifti(CaseFolder(dataset / "first").average.mask("liver"))
    write_nifti(tmp_path / "mask.nii.gz", mask.with_array(np.roll(mask.array, 6, 0)))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(commands.revise_command)
    run(app, dataset / "first", "liver", "--mask", tmp_path / "mask.nii.gz", "--reader", "Bob")
    assert not CaseFolder(dataset / "first").average.revised_mask("liver").exists()  # the first reading's
    assert "(second reading): is accepted by Bob" in atlas("decide", dataset, "first", "liver", "accepted", "--reader", "Bob")
    assert "(second reading): waits" in atlas("reopen", dataset, "first", "liver", "--reader", "Bob", "--reason", "the dome")
    assert as_json("take", dataset, "first", "liver", "--reader", "Ada")["reading"] == 1


def test_a_task_that_was_sent_back_says_so_and_why(sqlite: Path, tmp_path: Path) -> None:
    atlas("policy", sqlite, "--verify")
    atlas("build", sqlite)
    read(sqlite, tmp_path, "Ada", 1)
    told = atlas("next", sqlite, "--reader", "Dr. Sen", "--level", 2)
    assert "to verify: accepted by Ada" in told
    atlas("send-back", sqlite, "first", "liver", "--reader", "Dr. Sen", "--comment", "half of it is enough")
    told = atlas("next", sqlite, "--reader", "Ada")
    assert "sent back by Dr. Sen to Ada: half of it is enough" in told
    assert as_json("take", sqlite, "first", "liver", "--reader", "Ada")["why"] == ["sent back by Dr. Sen to Ada: half of it is enough"]


def test_a_comment_does_not_stand_beside_the_name_of_somebody_else(sqlite: Path) -> None:
    atlas("policy", sqlite, "--verify")
    atlas("build", sqlite)
    atlas("take", sqlite, "first", "liver", "--reader", "Ada")
    atlas("decide", sqlite, "first", "liver", "accepted", "--reader", "Ada", "--comment", "half of it is enough")
    (task,) = as_json("list", sqlite, "--case", "first", "--organ", "liver")["tasks"]
    assert (task["author"], task["comment"]) == ("Ada", "half of it is enough")
    atlas("take", sqlite, "first", "liver", "--reader", "Dr. Sen")
    atlas("decide", sqlite, "first", "liver", "accepted", "--reader", "Dr. Sen")
    (task,) = as_json("list", sqlite, "--case", "first", "--organ", "liver", "--state", "accepted")["tasks"]
    assert (task["reader"], task["comment"]) == ("Dr. Sen", "")
    assert "half of it is enough" in atlas("history", sqlite, "first", "liver")


def test_what_an_earlier_policy_asked_for_is_told(sqlite: Path, tmp_path: Path) -> None:
    atlas("policy", sqlite, "--verify")
    atlas("build", sqlite)
    read(sqlite, tmp_path, "Ada", 1)
    assert "earlier policy" not in atlas("policy", sqlite, "--double", 1)
    atlas("build", sqlite)
    atlas("take", sqlite, "second", "liver", "--reader", "Ada", "--reading", 2)
    told = atlas("policy", sqlite, "--no-verify", "--double", 0)
    assert "1 task still waits to be verified, as an earlier policy asked: a reader of level 2 does that" in told
    assert "7 second readings of an earlier policy are open" in told
    built = atlas("build", sqlite)
    assert "1 task still waits to be verified" in built
    assert "1 second reading of an earlier policy is open" in built


def test_tasks_and_second_readings_are_counted_alike(sqlite: Path) -> None:
    atlas("policy", sqlite, "--double", 1)
    assert "8 tasks (8 waiting), 8 of them read twice: 16 readings" in atlas("build", sqlite)
    assert "8 tasks and 8 second readings" in atlas("list", sqlite)
    assert "1 task and 1 second reading" in atlas("list", sqlite, "--case", "first", "--organ", "liver")


def test_progress_tells_how_far_readers_agree(dataset: Path, tmp_path: Path) -> None:
    atlas("policy", dataset, "--double", 1)
    atlas("build", dataset)
    read(dataset, tmp_path, "Ada", 1)
    read(dataset, tmp_path, "Bob", 6, 2)
    (found,) = json.loads(progress(dataset, "--json", "--no-masks"))["agreement"]
    assert (found["readers"], found["organ"], found["tasks"], found["open"], found["adjudicated"]) == (["Ada", "Bob"], "liver", 1, 1, 0)
    assert 0 < found["dice"] < 0.9
    told = progress(dataset, "--html", tmp_path / "progress.html")
    assert "Read twice: 1 task (7 to come). Of these: 0 in agreement, 1 waiting for a third reader, 0 adjudicated." in told
    assert "Agreement of two readings" in told
    page = (tmp_path / "progress.html").read_text()
    assert "Ada and Bob" in page
    assert json.loads(progress(dataset, "--json", "--no-masks"))["total"] == 8  # second readings are no tasks of their own


def test_findings_of_a_file_or_of_checks_that_run_now_place_tasks(dataset: Path, tmp_path: Path) -> None:
    from AtlasQualityLib.checks_finding import Finding, findings_csv

    table = tmp_path / "findings.csv"
    table.write_text(findings_csv([Finding("hospital", "zlast", "spleen", "side", "error", "On the wrong side.", "Look.")]))
    assert "8 tasks" in atlas("build", dataset, "--findings", table)
    first = as_json("list", dataset, "--most", 3)["tasks"][:3]
    assert ("zlast", "spleen") in [(task["case"], task["organ"]) for task in first]
    table.write_text(findings_csv([Finding("hospital", "gone", "spleen", "side", "error", "No.", "Look.")]))
    assert "gone" in as_json("build", dataset, "--findings", table, code=1)["problems"][0]
    found = as_json("build", dataset, "--check")
    assert found["problems"] == []
    assert any(task["reason"] for task in as_json("list", dataset)["tasks"])


def test_a_finding_is_seen_in_the_list_and_by_who_takes_the_task(sqlite: Path, tmp_path: Path) -> None:
    from AtlasQualityLib.checks_finding import Finding, findings_csv

    table = tmp_path / "findings.csv"
    table.write_text(findings_csv([Finding("hospital", "zlast", "spleen", "side", "error", "On the wrong side.", "Look.")]))
    atlas("build", sqlite, "--findings", table)
    (task,) = as_json("list", sqlite, "--case", "zlast", "--organ", "spleen")["tasks"]
    finding = task["reason"].split("; ")[-1]
    assert "wrong side" in finding
    shown = atlas("list", sqlite)
    assert "why" in shown
    assert "wrong side" in shown
    assert f"found by atlas check: {finding}" in atlas("take", sqlite, "zlast", "spleen", "--reader", "Ada")


def comparison(case: str, readers: tuple[str, str], spots: tuple[int, int, int, int], dice: float = 0.8, left: bool = False) -> Comparison:
    return Comparison("d", case, "liver", readers, Measured(dice, dice, 2.0, None, spots, agree=dice > 0.9), left)


def test_kappa_is_pooled_by_reader_and_not_by_who_came_first() -> None:
    found = [comparison("a", ("Ada", "Bob"), (1, 4, 0, 2)), comparison("b", ("Bob", "Ada"), (2, 0, 3, 1), 0.95, False)]
    assert pooled(found, ("Ada", "Bob")) == (3, 7, 0, 3)
    (row,) = summed(found)
    assert (row.readers, row.tasks, row.spots, row.agree, row.open, row.adjudicated) == (("Ada", "Bob"), 2, 13, 1, 0, 1)
    assert row.dice == pytest.approx(0.875)
    assert row.kappa is not None


def test_names_of_readers_stay_text_in_the_page() -> None:
    from datetime import date

    found = [comparison("a", ("<script>alert(1)</script>", "Bob"), (1, 0, 0, 1), left=True)]
    page = progress_page("x", Progress.of([], [], date(2026, 11, 21), comparisons=found)).decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_second_readings_count_as_work_of_their_readers(dataset: Path, tmp_path: Path) -> None:
    atlas("policy", dataset, "--double", 1)
    atlas("build", dataset)
    read(dataset, tmp_path, "Ada", 1)
    read(dataset, tmp_path, "Bob", 1, 2)
    worklist = Worklist(dataset)
    works = {work.reader: work for work in works_summed(works_of("hospital", worklist.events()), ("reader",))}
    assert [(works[name].tasks, works[name].revisions, works[name].accepted) for name in ("Ada", "Bob")] == [(1, 1, 1), (1, 1, 1)]
    assert comparisons_of("hospital", worklist.pairs())[0].readers == ("Ada", "Bob")
