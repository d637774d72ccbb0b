"""Whatever stands in files that people edit, in options and in notes: it is refused with its reason, or shown without doing anything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from AtlasQualityLib.checks_finding import Finding, findings_csv, read_findings
from AtlasReviewLib.assembly_levels import read_levels
from AtlasReviewLib.program import build
from AtlasReviewLib.review_policy import ReviewPolicy, read_policy
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_postgres import grants
from AtlasSegmentLib.errors import InputError, StorageError
from review_data import make_dataset

pytest_plugins = ("postgres_server",)
ODD = "note\x1b[31m\u202e\x07"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_dataset(tmp_path_factory.mktemp("made") / "hospital")
    open_worklist(folder)[0].close()
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "hospital"))


def atlas(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


@pytest.mark.parametrize("level", [10**23, 1001, -1])
def test_a_level_that_no_database_holds_is_refused(tmp_path: Path, level: int) -> None:
    (tmp_path / "readers.json").write_text(json.dumps({"Ada": level}))
    with pytest.raises(InputError, match="is not a level"):
        read_levels(tmp_path)


@pytest.mark.parametrize("command", [("next",), ("take", "first", "liver")])
@pytest.mark.parametrize("hours", ["inf", "nan", "1e12", "0", "-1"])
def test_a_task_is_not_taken_for_hours_that_make_no_sense(dataset: Path, command: tuple[str, ...], hours: str) -> None:
    done = atlas("worklist", command[0], dataset, *command[1:], "--reader", "Ada", "--hours", hours)
    assert isinstance(done.exception, InputError)
    assert Worklist(dataset).task("first", "liver").state == "waiting"


def test_a_note_commands_no_terminal_and_breaks_no_table(dataset: Path, tmp_path: Path) -> None:
    worklist = Worklist(dataset)
    worklist.set_state(worklist.take("first", "liver", "Ada"), "flagged", "Ada", f"{ODD}\r\nmore")
    worklist.close()
    table = tmp_path / "list.csv"
    told = [atlas("worklist", "list", dataset, "--csv", table).stdout, atlas("worklist", "history", dataset).stdout, table.read_text()]
    for text in told:
        assert "note" in text
        assert not {"\x1b", "\u202e", "\x07", "\r"} & set(text)
    assert len(table.read_text().splitlines()) == 9


def test_a_byte_order_mark_is_no_part_of_a_policy(tmp_path: Path) -> None:
    (tmp_path / "review.json").write_text('{"verify": true}', encoding="utf-8-sig")
    assert read_policy(tmp_path) == ReviewPolicy(verify=True)


def test_a_table_of_findings_that_is_cut_off_says_so() -> None:
    text = findings_csv([Finding("d", "first", "liver", "empty", "error", "It is empty.", "Segment it.")])
    assert read_findings(text)
    with pytest.raises(InputError, match="a line is cut off"):
        read_findings(text[: text.index("liver")])


def test_the_number_of_a_task_is_not_for_readers_to_choose(tmp_path: Path, postgres: Any) -> None:
    import psycopg

    url = postgres.empty_worklist()
    name = url.rpartition("/")[2]
    postgres.run("CREATE ROLE odd_ada LOGIN")
    postgres.run(*grants(url, "odd_ada"), database=name)
    insert = "INSERT INTO task (id, case_name, organ, changed, dataset) VALUES (1, 'other', 'liver', '', 'other')"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        postgres.run(insert, database=name, user="odd_ada")
    postgres.run(insert, database=name)
    worklist = Worklist(tmp_path, url=postgres.url(name, "odd_ada"))
    with pytest.raises(StorageError, match="task_pkey"):  # said, and not taken for "the task is there"
        worklist.add("first", "pancreas", "Ada")
    for _ in range(2):
        assert worklist.add("first", "pancreas", "Ada").organ == "pancreas"
    worklist.close()
    postgres.run("DROP OWNED BY odd_ada", "DROP ROLE odd_ada", database=name)
