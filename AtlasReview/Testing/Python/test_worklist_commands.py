"""`atlas worklist`: a whole review on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from AtlasReviewLib.commands_worklist import worklist_app
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.errors import AtlasError, InputError
from review_data import make_dataset

pytest_plugins = ("postgres_server",)
ADA = ("--reader", "Ada")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset that is copied for each test, as making one takes longer."""
    return make_dataset(tmp_path_factory.mktemp("made") / "hospital")


@pytest.fixture(params=["sqlite", "postgres"])
def dataset(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(made, tmp_path / "hospital"))
    if request.param == "postgres":
        (folder / "worklist.json").write_text(json.dumps({"url": request.getfixturevalue("postgres").empty_worklist()}))
    return folder


def atlas(*arguments: object, code: int = 0) -> str:
    """Run `atlas worklist`, return what it printed; our errors are raised as they are."""
    done = CliRunner().invoke(worklist_app(), [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def as_json(*arguments: object) -> Any:
    return json.loads(atlas(*arguments, "--json"))


def test_a_review_from_the_first_task_to_the_last(dataset: Path, tmp_path: Path) -> None:
    assert "8 tasks (8 waiting)" in atlas("build", dataset)
    task = as_json("next", dataset, *ADA)
    assert (task["case"], task["organ"], task["state"], task["session"]) == ("first", "liver", "taken", "")
    assert as_json("next", dataset, "--reader", "Bob", "--organ", "liver")["case"] == "second"
    assert as_json("take", dataset, "zlast", "spleen", *ADA, "--hours", 2)["lease_until"]
    assert "is accepted by Ada" in atlas("decide", dataset, "first", "liver", "accepted", *ADA)
    assert "is waiting" in atlas("release", dataset, "zlast", "spleen", *ADA)
    assert "waits for Cleo" in atlas("hand-over", dataset, "zlast", "spleen", "--to", "Cleo", *ADA, "--comment", "please")
    assert as_json("next", dataset, "--reader", "Cleo")["case"] == "zlast"
    assert "waits" in atlas("reopen", dataset, "first", "liver", "--reason", "the dome is cut off", "--reader", "Bob")
    assert "the dome is cut off" in atlas("history", dataset, "first", "liver")
    assert [event["kind"] for event in as_json("history", dataset, "first", "liver")["events"]] == [
        "add",
        "take",
        "take",
        "state",
        "revisit",
    ]
    listed = as_json("list", dataset, "--state", "all", "--reader", "Cleo")["tasks"]
    assert [(task["case"], task["organ"]) for task in listed] == [("zlast", "spleen")]
    assert "8 tasks" in atlas("list", dataset, "--csv", tmp_path / "all.csv", "--most", 3)
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 9
    assert (dataset / "worklist.sqlite").exists() != (dataset / "worklist.json").exists()


def test_lists_go_in_and_out(dataset: Path, tmp_path: Path) -> None:
    atlas("build", dataset)
    assert "2 lines" in atlas("export", dataset, "priority", tmp_path / "priority.csv")
    (tmp_path / "mine.csv").write_text("zlast,liver\nelsewhere,liver\n")
    assert "1 tasks ordered by mine.csv" in atlas("import", dataset, "priority", tmp_path / "mine.csv", code=1)
    assert as_json("next", dataset, *ADA)["case"] == "zlast"
    atlas("build", dataset, "--by-scores")
    assert as_json("next", dataset, *ADA)["case"] == "first"


def test_an_empty_list_has_no_next_task(dataset: Path) -> None:
    atlas("build", dataset)
    assert "nothing is left" in atlas("next", dataset, *ADA, "--case", "none")
    assert as_json("next", dataset, *ADA, "--level", 2) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("decide", "first", "liver", "done", *ADA), "is no decision"),
        (("decide", "first", "liver", "accepted", *ADA), "not in the hands of Ada"),
        (("release", "first", "liver", *ADA), "not in the hands of Ada"),
        (("take", "first", "nose", *ADA), "is not in the worklist"),
        (("reopen", "first", "liver", "--reason", "x", *ADA), "is waiting"),
        (("list", "--state", "unknown"), "is not known"),
        (("next", "--reader", "../x"), "reader name"),
        (("next", *ADA, "--url", "postgresql://a:secret@b/c"), "holds a password"),
    ],
)
def test_what_cannot_be_done_is_said(dataset: Path, arguments: tuple[str, ...], words: str) -> None:
    atlas("build", dataset)
    with pytest.raises(AtlasError, match=words) as refused:
        atlas(arguments[0], dataset, *arguments[1:])
    assert "secret" not in str(refused.value)


def test_a_folder_without_a_list_is_told_how_to_get_one_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "hospital")
    for command in (("list",), ("history",), ("next", *ADA)):
        with pytest.raises(AtlasError, match="there is no worklist") as refused:
            atlas(command[0], folder, *command[1:])
        assert "atlas worklist build" in refused.value.remedy
    assert not (folder / "worklist.sqlite").exists()


def test_a_database_is_made_ready_and_the_rights_of_readers_are_printed(postgres: Any, tmp_path: Path) -> None:
    url = postgres.new_database()
    printed = atlas("init", url, "--role", "ward 7")
    assert "was made" in printed
    assert "is up to date" in atlas("init", url)
    postgres.run("DROP ROLE IF EXISTS \"ward 7\"", 'CREATE ROLE "ward 7"')  # fmt: skip
    postgres.run(printed, database=url.rpartition("/")[2])
    rights = "SELECT string_agg(privilege_type, ' ' ORDER BY privilege_type) FROM information_schema.table_privileges"
    found = postgres.run(f"{rights} WHERE grantee = 'ward 7' AND table_name = 'event'", database=url.rpartition("/")[2])
    assert found == [("SELECT",)]  # appending is given column by column
    assert Worklist(tmp_path, url=url).tasks() == []
    postgres.run("DROP OWNED BY \"ward 7\"", database=url.rpartition("/")[2])  # fmt: skip


def test_a_list_that_outgrew_its_file_is_carried_to_a_server_with_its_history(made: Path, tmp_path: Path, postgres: Any) -> None:
    folder, url = Path(shutil.copytree(made, tmp_path / "ward")), postgres.empty_worklist()
    with pytest.raises(InputError, match="there is no"):
        atlas("copy", folder, url)
    atlas("build", folder)
    atlas("next", folder, *ADA)
    atlas("decide", folder, "first", "liver", "flagged", *ADA, "--comment", "which vessel?")
    before, history = as_json("list", folder, "--state", "all")["tasks"], as_json("history", folder)["events"]
    assert "8 tasks" in atlas("copy", folder, url)
    (folder / "worklist.json").write_text(json.dumps({"url": url}))
    after, later = as_json("list", folder, "--state", "all")["tasks"], as_json("history", folder)["events"]
    assert [{**task, "id": 0} for task in after] == [{**task, "id": 0} for task in before]
    assert [{**event, "id": 0} for event in later[:-1]] == [{**event, "id": 0} for event in history]
    assert later[-1]["kind"] == "copy"
    with pytest.raises(InputError, match="knows the dataset 'ward' already"):
        atlas("copy", folder, url)
