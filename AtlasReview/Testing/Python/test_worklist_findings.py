"""Findings of the bulk checks in the worklist: they raise tasks, say why, add missing ones, and harm nothing whatever they hold."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from AtlasQualityLib.checks_finding import ERROR, NOTE, WARNING, Finding, Severity, findings_csv
from AtlasReviewLib.task_states import WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_findings import ADDED, apply_findings, read_findings_file
from AtlasReviewLib.worklist_lists import import_list, table_text, use_scores
from AtlasReviewLib.worklist_merge import merge, open_worklist
from AtlasReviewLib.worklist_scan import NO_ATTENTION, scan_dataset
from AtlasSegmentLib.errors import InputError
from review_data import make_dataset

pytest_plugins = ("postgres_server",)


@pytest.fixture(params=["sqlite", "postgres"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "postgres":
        monkeypatch.setenv("ATLAS_WORKLIST", request.getfixturevalue("postgres").empty_worklist())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("made") / "hospital")


@pytest.fixture
def worklist(made: Path, tmp_path: Path) -> Worklist:
    return open_worklist(Path(shutil.copytree(made, tmp_path / "hospital")))[0]


def finding(
    case: str, organ: str, severity: Severity = ERROR, message: str = "The liver lies on the left.", dataset: str = "hospital"
) -> Finding:
    return Finding(dataset, case, organ, "side", severity, message, "Look.")


def give(worklist: Worklist, *findings: Finding) -> tuple[str, ...]:
    applied = apply_findings(worklist, findings)
    merge(worklist, scan_dataset(worklist.folder))
    return applied.problems


def names(worklist: Worklist) -> list[str]:
    return [f"{task.case} {task.organ}" for task in worklist.tasks()]


BEFORE = [
    "first liver", "first kidney_left", "first spleen",
    "second spleen", "second liver", "second kidney_left",
    "zlast liver", "zlast spleen",
]  # fmt: skip


def test_a_task_with_a_finding_comes_earlier_and_says_why(worklist: Worklist) -> None:
    assert names(worklist) == BEFORE
    assert give(worklist, finding("second", "kidney_left", WARNING), finding("zlast", "spleen")) == ()
    assert names(worklist)[:5] == ["first liver", "first kidney_left", "zlast spleen", "first spleen", "second spleen"]
    raised = worklist.task("zlast", "spleen")
    assert (raised.rank, raised.reason) == (3, "there is no attention yet.; The liver lies on the left.")
    assert worklist.task("second", "kidney_left").reason == f"{NO_ATTENTION}; The liver lies on the left."
    assert [task.rank for task in worklist.tasks()] == [1, 2, 3, 4, 5, 6, 7, None]


def test_severe_findings_raise_more_and_several_add_up(worklist: Worklist) -> None:
    give(worklist, finding("zlast", "spleen", NOTE), finding("second", "kidney_left", WARNING), finding("zlast", "liver"))
    order = names(worklist)
    assert order.index("zlast liver") < order.index("second kidney_left") < order.index("zlast spleen")
    give(worklist, *(finding("zlast", "spleen", WARNING, f"Thing {number}.") for number in range(4)), finding("zlast", "liver"))
    assert names(worklist).index("zlast spleen") < names(worklist).index("zlast liver")


def test_a_finding_about_the_whole_case_counts_for_each_of_its_organs(worklist: Worklist) -> None:
    give(worklist, finding("zlast", "", message="The CT is sheared."))
    assert {task.reason.endswith("The CT is sheared.") for task in worklist.tasks("zlast")} == {True}
    assert names(worklist).index("zlast liver") < names(worklist).index("second spleen")


def test_an_organ_with_a_finding_and_without_a_task_gets_one_that_stays(worklist: Worklist) -> None:
    give(worklist, finding("first", "pancreas", message="There is no pancreas."))
    task = worklist.task("first", "pancreas")
    assert (task.state, task.reason) == (WAITING, f"{ADDED}; There is no pancreas.")
    assert task.rank is not None
    before = worklist.last_event()
    merge(worklist, scan_dataset(worklist.folder))
    assert worklist.last_event() == before  # opening the list again changes nothing
    assert worklist.take_next("Ada", only=_only("pancreas")) is not None


def _only(organ: str) -> object:
    from AtlasReviewLib.worklist_rows import TaskFilter

    return TaskFilter(organs=(organ,))


def test_the_last_findings_count_and_states_are_kept(worklist: Worklist) -> None:
    taken = worklist.take("zlast", "spleen", "Ada")
    worklist.set_state(taken, "accepted", "Ada", "good")
    give(worklist, finding("zlast", "spleen"), finding("first", "pancreas"))
    give(worklist)
    assert [name for name in names(worklist) if name != "first pancreas"] == BEFORE
    task = worklist.task("zlast", "spleen")
    assert (task.state, task.comment, task.reason) == ("accepted", "good", "there is no attention yet.")
    assert worklist.task("first", "pancreas").reason == ADDED


def test_the_order_of_an_imported_list_stays_and_the_finding_is_told(worklist: Worklist, tmp_path: Path) -> None:
    listed = tmp_path / "priority.csv"
    listed.write_text("second,liver\nfirst,spleen\n")
    give(worklist, finding("zlast", "spleen"))
    import_list(worklist, "priority", listed)
    merge(worklist, scan_dataset(worklist.folder))
    assert names(worklist)[:2] == ["second liver", "first spleen"]
    assert worklist.task("zlast", "spleen").reason == "is not in priority.csv; The liver lies on the left."
    use_scores(worklist)
    merge(worklist, scan_dataset(worklist.folder))
    assert names(worklist).index("zlast spleen") < 5


@pytest.mark.parametrize(
    ("case", "organ", "dataset"),
    [
        ("../../etc", "liver", "hospital"), ("first'; DROP TABLE task; --", "liver", "hospital"), ("first", "../liver", "hospital"),
        ("first", "liver_revised", "hospital"), ("first", "=cmd|' /C calc'!A0", "hospital"), ("first", "no organ", "hospital"),
        ("first", "liver", "elsewhere"), ("", "liver", "hospital"), ("first", "\u202eliver", "hospital"),
        ("first", ".autosave", "hospital"),
    ],
)  # fmt: skip
def test_what_names_no_organ_of_this_dataset_is_told_and_passed_over(worklist: Worklist, case: str, organ: str, dataset: str) -> None:
    (problem,) = give(worklist, finding(case, organ, dataset=dataset))
    assert problem.isprintable()
    assert names(worklist) == BEFORE


def test_hostile_words_stay_words(worklist: Worklist, tmp_path: Path) -> None:
    file = tmp_path / "findings.csv"
    hostile = "=HYPERLINK('http://x');\u202e'; DROP TABLE task; --\r\n<script>alert(1)</script>" + "x" * 5000
    file.write_text(findings_csv([finding("first", "spleen", message=hostile), finding("zlast", "spleen", message="@SUM(1)")]))
    give(worklist, *read_findings_file(file))
    reason = worklist.task("first", "spleen").reason
    assert reason.isprintable()
    assert len(reason) <= 300
    assert len(worklist.tasks()) == len(BEFORE)
    table = list(csv.DictReader(table_text(worklist.tasks()).splitlines()))
    assert not any(str(row["reason"]).startswith(("=", "@", "+", "-")) for row in table)


def test_a_file_that_is_no_table_of_findings_is_refused(tmp_path: Path) -> None:
    for content in (b"case,organ\nfirst,liver\n", b"\xff\xfe\x00", b""):
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(InputError, match="table of findings"):
            read_findings_file(tmp_path / "x.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_findings_file(tmp_path / "missing.csv")
