"""`atlas worklist`: a whole review on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from AtlasReviewLib.commands_worklist import worklist_app
from AtlasReviewLib.review_case import load_review_case
from AtlasReviewLib.where_to_look import where_to_look
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.errors import AtlasError, InputError
from review_data import make_dataset, make_review_case, scores

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


def test_who_takes_a_task_is_told_where_to_look(tmp_path: Path) -> None:
    folder = tmp_path / "hospital"
    case = make_review_case(folder / "one", ("liver", "spleen"), scores(liver=500.0))
    atlas("build", folder)
    said = atlas("next", folder, *ADA).splitlines()
    assert said[0] == "one liver: yours for 12 hours"
    assert said[1:] == [f"  {line}" for line in where_to_look(case, "liver").lines()]
    assert said[1].startswith("  hot spot 1: ")
    found = as_json("take", folder, "one", "liver", *ADA)
    assert (found["case"], found["organ"]) == ("one", "liver")
    assert [spot["ras_mm"] for spot in found["hot_spots"]] == [
        list(spot.center) for spot in load_review_case(case.folder, "liver").hot_spots
    ][:3]
    assert found["worst_axial_slice"]["cm2"] > 0
    assert "hot spot" not in atlas("list", folder)
    assert atlas("take", folder, "one", "spleen", *ADA) == "one spleen: yours for 12 hours\n"


def test_a_damaged_map_keeps_nobody_from_a_task(tmp_path: Path) -> None:
    folder = tmp_path / "hospital"
    case = make_review_case(folder / "one", ("liver",), scores(liver=500.0))
    atlas("build", folder)
    case.average.map("attention", "liver").write_bytes(b"broken")
    found = as_json("take", folder, "one", "liver", *ADA)
    assert (found["state"], found["hot_spots"], found["worst_axial_slice"]) == ("taken", [], None)


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
    with pytest.raises(InputError, match="elsewhere liver; nothing was changed"):
        atlas("import", dataset, "priority", tmp_path / "mine.csv")
    assert as_json("list", dataset)["tasks"][0]["case"] == "first"
    told = atlas("import", dataset, "priority", tmp_path / "mine.csv", "--known-only")
    assert "1 task ordered by mine.csv; 7 that it does not name come after them; 1 name passed over" in told
    assert as_json("next", dataset, *ADA)["case"] == "zlast"
    atlas("build", dataset, "--by-scores")
    assert as_json("next", dataset, *ADA)["case"] == "first"


def test_an_empty_list_has_no_next_task(dataset: Path) -> None:
    atlas("build", dataset)
    bob = ("--reader", "Bob", "--case", "second", "--organ", "liver")
    atlas("take", dataset, "second", "liver", *ADA)
    assert "nothing is left" in atlas("next", dataset, *bob)
    assert as_json("next", dataset, *bob) is None


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        (("--organ", "lver"), "Did you mean liver?"),
        (("--case", "secnd"), "Did you mean second?"),
        (("--level", 2), "Leave out --level"),
    ],
)
def test_a_typing_error_is_not_the_end_of_the_work(made: Path, tmp_path: Path, asked: tuple[str, ...], remedy: str) -> None:
    dataset = Path(shutil.copytree(made, tmp_path / "hospital"))
    atlas("build", dataset)
    with pytest.raises(InputError, match=r"no organ 'lver'|no case 'secnd'|Ada has level 0") as refused:
        atlas("next", dataset, *ADA, *asked)
    assert remedy in refused.value.remedy


def test_a_task_that_is_not_there_is_answered_with_names_that_are_close(dataset: Path) -> None:
    atlas("build", dataset)
    for case, organ, close in (("first", "livre", "liver"), ("frst", "liver", "first")):
        with pytest.raises(AtlasError, match=f"Did you mean {close}"):
            atlas("take", dataset, case, organ, *ADA)


def test_a_name_that_readers_json_does_not_have_is_noticed(made: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(made, tmp_path / "hospital"))
    (dataset / "readers.json").write_text(json.dumps({"Dr. Ada": "senior", "Ben": "junior"}))
    atlas("build", dataset)
    done = CliRunner().invoke(worklist_app(), ["next", str(dataset), "--reader", "Dr.Adda"])
    assert done.exit_code == 0
    assert "names no reader 'Dr.Adda'" in done.stderr
    assert "Did you mean Dr. Ada?" in done.stderr
    with pytest.raises(InputError, match=r"Did you mean Dr\. Ada"):
        atlas("hand-over", dataset, "zlast", "spleen", "--to", "Dr. Adda", "--reader", "Ben")
    assert "waits for Dr. Ada" in atlas("hand-over", dataset, "zlast", "spleen", "--to", "Dr. Ada", "--reader", "Ben")
    assert not CliRunner().invoke(worklist_app(), ["next", str(dataset), "--reader", "Ben"]).stderr


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
