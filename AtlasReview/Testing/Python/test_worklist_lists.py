"""Lists that go in and out: priority.csv, attention_size.csv, tables for spreadsheets."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from AtlasQualityLib.csv_text import csv_text
from AtlasReviewLib.task_states import FLAGGED
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_lists import ATTENTION_SIZE, PRIORITY, attention_size, export_list, import_list, table_text, use_scores
from AtlasReviewLib.worklist_merge import merge, open_worklist
from AtlasReviewLib.worklist_scan import scan_dataset
from AtlasSegmentLib.errors import InputError, StorageError
from review_data import make_dataset, make_review_case, scores

pytest_plugins = ("postgres_server",)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset that is copied for each test, as making one takes longer."""
    return make_dataset(tmp_path_factory.mktemp("made") / "hospital")


@pytest.fixture(params=["sqlite", "postgres"])
def worklist(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Worklist:
    url = request.getfixturevalue("postgres").empty_worklist() if request.param == "postgres" else ""
    return open_worklist(Path(shutil.copytree(made, tmp_path / "hospital")), url=url)[0]


def names(worklist: Worklist) -> list[str]:
    return [f"{task.case} {task.organ}" for task in worklist.tasks()]


def written(path: Path, *rows: list[object]) -> Path:
    path.write_text(csv_text(rows))
    return path


def test_the_list_is_written_as_abdomenatlas_writes_it(worklist: Worklist, tmp_path: Path) -> None:
    assert export_list(worklist, PRIORITY, tmp_path / "priority.csv") == 2
    assert (tmp_path / "priority.csv").read_text() == "first,liver,kidney_left,spleen\nsecond,spleen,liver\n"


def test_a_list_that_was_written_reads_back_as_the_same_order(worklist: Worklist, tmp_path: Path) -> None:
    before = names(worklist)
    export_list(worklist, PRIORITY, tmp_path / "priority.csv")
    found = import_list(worklist, PRIORITY, tmp_path / "priority.csv")
    assert (found.ranked, found.unranked, found.unknown) == (5, 3, ())
    assert names(worklist) == before


def test_an_imported_order_stays_when_the_folder_is_read_again_until_scores_are_wanted(worklist: Worklist, tmp_path: Path) -> None:
    before = names(worklist)
    import_list(worklist, PRIORITY, written(tmp_path / "mine.csv", ["zlast", "spleen"], ["second", "kidney_left", "liver"]))
    assert names(worklist)[:3] == ["zlast spleen", "second kidney_left", "second liver"]
    other = worklist.task("first", "liver")
    assert (other.rank, other.reason, other.attention_mm3) == (None, "is not in mine.csv", 4000)
    dataset = worklist.folder
    assert merge(worklist, scan_dataset(dataset)) == 0
    make_review_case(dataset / "third", organs=("liver",), attention=scores(liver=99999.0))
    assert merge(worklist, scan_dataset(dataset)) == 1
    assert names(worklist)[:3] == ["zlast spleen", "second kidney_left", "second liver"]
    assert worklist.task("third", "liver").reason == "is not in mine.csv"
    assert worklist.events()[-1].comment == "is not in mine.csv"
    assert use_scores(worklist) == 9
    merge(worklist, scan_dataset(dataset))
    assert names(worklist) == ["third liver", *before]
    assert use_scores(worklist) == 0


def test_attention_sizes_order_the_cases_and_leave_their_organs(worklist: Worklist, tmp_path: Path) -> None:
    import_list(worklist, ATTENTION_SIZE, written(tmp_path / "a.csv", ["first", 1.5], ["second", 20], ["zlast", 3]))
    assert [name.split()[0] for name in names(worklist)] == ["second"] * 3 + ["zlast"] * 2 + ["first"] * 3
    assert names(worklist)[:3] == ["second spleen", "second liver", "second kidney_left"]
    assert worklist.task("second", "spleen").priority == 20


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR"])
def test_the_attention_size_is_the_sum_of_heat_by_the_number_of_slices(tmp_path: Path, orientation: str) -> None:
    from atlas_phantoms import SHAPE

    organs = {"liver": {"heat_sum": 255_000}, "spleen": {"heat_sum": 510}}
    for numbers in organs.values():
        numbers |= {"attention_voxels": 1, "attention_mm3": 1}
    case = make_review_case(tmp_path / "d" / "one", organs=("liver",), attention=organs, orientation=orientation)
    assert attention_size(case.folder) == pytest.approx(1002 / SHAPE[2])
    make_review_case(tmp_path / "d" / "two", organs=("liver",))
    assert attention_size(tmp_path / "d" / "two") is None
    worklist, _ = open_worklist(tmp_path / "d")
    assert export_list(worklist, ATTENTION_SIZE, tmp_path / "out.csv") == 1
    assert (tmp_path / "out.csv").read_text() == f"one,{attention_size(case.folder)}\n"


def test_what_a_list_names_and_nobody_knows_is_said(worklist: Worklist, tmp_path: Path) -> None:
    found = import_list(worklist, PRIORITY, written(tmp_path / "a.csv", ["first", "liver", "pancreas"], ["elsewhere", "liver"]))
    assert (found.ranked, found.unknown) == (1, ("first pancreas", "elsewhere liver"))
    found = import_list(worklist, ATTENTION_SIZE, written(tmp_path / "b.csv", ["first", 2], ["elsewhere", 3]))
    assert (found.ranked, found.unknown) == (3, ("elsewhere",))


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        (PRIORITY, "elsewhere,liver\n", "names no task"),
        (PRIORITY, "", "names no task"),
        (PRIORITY, "first,liver\nfirst,spleen\n", "names first twice"),
        (PRIORITY, "first,liver,liver\n", "names first twice"),
        (PRIORITY, 'first,"liver\n', "cannot be read"),
        (ATTENTION_SIZE, "first,much\n", "is not `case,value`"),
        (ATTENTION_SIZE, "first,nan\n", "is not `case,value`"),
        (ATTENTION_SIZE, "first,1,2\n", "is not `case,value`"),
        (ATTENTION_SIZE, "first,1\nfirst,2\n", "repeats a case"),
        ("alphabet", "first,liver\n", "no form of a list"),
    ],
)
def test_a_list_that_cannot_be_right_changes_nothing(worklist: Worklist, tmp_path: Path, form: str, text: str, words: str) -> None:
    before = (names(worklist), worklist.last_event())
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        import_list(worklist, form, tmp_path / "x.csv")
    assert (names(worklist), worklist.last_event()) == before


def test_what_is_no_list_or_no_text_is_said(worklist: Worklist, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "x.csv", tmp_path / "missing.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            import_list(worklist, PRIORITY, file)
    with pytest.raises(InputError, match="no form"):
        export_list(worklist, "alphabet", tmp_path / "y.csv")


def test_a_list_for_looking_only_is_not_reordered(worklist: Worklist, tmp_path: Path) -> None:
    looking = Worklist(worklist.folder, read_only=True)
    for change in (lambda: import_list(looking, PRIORITY, written(tmp_path / "a.csv", ["first", "liver"])), lambda: use_scores(looking)):
        with pytest.raises(StorageError, match="looking only"):
            change()
    looking.close()


def test_no_cell_of_a_table_is_run_by_a_spreadsheet(tmp_path: Path) -> None:
    case = "=cmd|' calc'!A0".replace("|", "_")
    make_review_case(tmp_path / "d" / case, organs=("liver",), attention=scores(liver=9.0))
    worklist, _ = open_worklist(tmp_path / "d")
    for comment, reader in (("+1+1", "@SUM(1)"), ("-2", "-x"), ("\t=1", "a")):
        task = worklist.set_state(worklist.take(case, "liver", reader, take_over=True), FLAGGED, reader, f"{comment}\n")
        (row,) = csv.DictReader(table_text([task]).splitlines())
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
        assert (row["state"], row["rank"], row["predicted_dice"]) == ("flagged", "1", "")
    export_list(worklist, PRIORITY, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == f"'{case},liver\n"
    assert import_list(worklist, PRIORITY, tmp_path / "p.csv").unknown == ()


def test_what_changed_since_is_told_without_reading_everything(worklist: Worklist) -> None:
    newest, tasks = worklist.changes(0)
    assert tasks is None  # all were added
    assert worklist.changes(newest) == (newest, [])
    task = worklist.take("first", "liver", "Ada")
    worklist.add_seconds(task, "Ada", 3.0)
    after, changed = worklist.changes(newest)
    assert after == newest + 2
    assert changed == [worklist.task("first", "liver")]
    worklist.add("first", "pancreas", "Ada")
    assert worklist.changes(after)[1] is None
    for _ in range(201):
        worklist.add_seconds(task, "Ada", 1.0)
    assert worklist.changes(after + 1)[1] is None
