"""The commands `atlas model`: what they print, ask, write and refuse, against a real server and a catalogue of its own."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from atlas_phantoms import FIT, files_below, make_model
from AtlasSegmentLib import model_catalogue, model_store_index
from AtlasSegmentLib.commands_model import model_app
from AtlasSegmentLib.errors import AtlasError, InputError, ModelError
from model_server import ModelServer, model_server, zipped

APP = typer.Typer(pretty_exceptions_enable=False)
APP.add_typer(model_app(), name="model")

OPEN = {"name": "MIT", "commercial": True, "form": False, "url": "https://example.org/open"}
CLOSED = {"name": "CC-BY-NC-4.0", "commercial": False, "form": False, "url": "https://example.org/closed"}
FORM = {"name": "By request", "commercial": False, "form": True, "url": "https://example.org/form"}


@dataclass
class Desk:
    """A user with an empty home, a server, and a catalogue that names the server's files."""

    folder: Path
    server: ModelServer

    @property
    def store(self) -> Path:
        """The folder that downloads go to."""
        return self.folder / "data/atlas-annotator/models"

    def run(self, *arguments: object, keys: str | None = None) -> Result:
        """Run the program; an AtlasError, which `atlas` prints as one line and leaves with 2, is raised."""
        words = ["model", *(str(argument) for argument in arguments)]
        return CliRunner().invoke(APP, words, input=keys, catch_exceptions=False, color=False)

    def json(self, *arguments: object) -> dict[str, Any]:
        """Run the program with --json and return what it prints."""
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json").stdout)
        return found

    def states(self) -> dict[str, str]:
        """Return name and state of all models."""
        return {model["name"]: model["state"] for model in self.json("list")["models"]}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    for name in ("ATLAS_MODELS", "http_proxy", "HTTP_PROXY", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    with model_server() as server:
        path = tmp_path / "catalogue.json"
        monkeypatch.setattr(model_catalogue, "resource_path", lambda *_: path)
        monkeypatch.setattr(model_store_index, "starter_folder", lambda: tmp_path / "starter")
        path.write_text(json.dumps(offered(server, tmp_path / "made")), encoding="utf-8")
        model_catalogue.catalogue.cache_clear()
        yield Desk(tmp_path, server)
    model_catalogue.catalogue.cache_clear()


def offered(server: ModelServer, folder: Path) -> dict[str, Any]:
    """Put models on the server and return the catalogue that names them."""
    for name in ("a", "b", "c"):
        made = make_model(folder / name, name)
        server.files[f"/{name}.zip"] = zipped({f"{name}/{path.name}": path.read_bytes() for path in made.iterdir()})
    sums = hashlib.sha256(server.files["/a.zip"]).hexdigest()
    labels = {"names": {"1": "spleen", "2": "liver", "3": "kidney_left"}}
    plain = {
        "title": "A phantom",
        "family": "Phantoms",
        "kind": "atlas",
        "source": "https://example.org",
        "license": OPEN,
        "labels": labels,
    }
    models = [
        {
            "name": "model-a",
            "version": "1.0",
            "files": [{"url": server.url("/a.zip"), "sha256": sums, "size": len(server.files["/a.zip"])}],
        },
        {"name": "model-b", "set": "pair", "files": [{"url": server.url("/b.zip")}]},
        {"name": "model-c", "set": "pair", "files": [{"url": server.url("/c.zip")}], "license": CLOSED},
        {"name": "model-form", "license": FORM},
        {"name": "model-clicks", "files": [{"url": server.url("/a.zip")}], "problem": "It wants clicks."},
    ]
    return {"format": "atlas-catalogue/1", "sources": [], "models": [{**plain, **model} for model in models]}


def test_the_program_has_these_commands_with_an_example_each() -> None:
    from AtlasSegmentLib import commands

    program = typer.Typer()
    commands.add_to(program)
    for name in ("list", "show", "add", "remove", "check", "convert", "export-onnx", "quantize"):
        result = CliRunner().invoke(program, ["model", name, "--help"])
        assert result.exit_code == 0
        assert f"Example: atlas model {name}" in result.stdout


def test_the_real_catalogue_is_listed_and_nothing_is_made_or_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("ATLAS_MODELS", raising=False)
    models = Desk(tmp_path, ModelServer()).json("list")["models"]
    assert {"spleen_ct_segmentation", "totalsegmentator-total-organs", "autoorgan-rib", "abdomenatlas-universal-unet"} <= {
        model["name"] for model in models
    }
    assert {model["state"] for model in models if model["name"].startswith("starter-")} == {"came along"}
    assert list(tmp_path.iterdir()) == []


def test_list_shows_state_license_and_the_folder_and_filters_by_words(desk: Desk) -> None:
    waiting = dict.fromkeys(("model-a", "model-b", "model-c"), "to download")
    assert desk.states() == {**waiting, "model-form": "by form", "model-clicks": "cannot be used"}
    shown = desk.run("list", "by", "request").stdout
    assert "model-form" in shown
    assert "non-commercial, by form" in shown
    assert "model-a" not in shown
    assert str(desk.store) in shown.replace("\n", "")
    assert [model["name"] for model in desk.json("list", "--installed")["models"]] == []


def test_add_downloads_checks_and_records_and_list_and_show_know_it(desk: Desk) -> None:
    shown = desk.run("add", "model-a", "model-b").stdout
    assert f"model-a: {desk.store / 'model-a'}" in shown
    assert "size, sha256 as published" in shown
    assert "no checksum is published, so it is recorded now" in shown
    assert hashlib.sha256(desk.server.files["/b.zip"]).hexdigest() in shown
    assert desk.states()["model-a"] == "installed"
    (told,) = desk.json("show", "model-a")["models"]
    assert told["folder"] == str(desk.store / "model-a" / "a")
    assert told["stored"]["sources"][0]["checked"] == ["size", "sha256"]
    assert told["labels"] == {"1": "spleen", "2": "liver", "3": "kidney_left"}
    assert len(desk.server.requests) == 2
    desk.run("add", "model-a")
    assert len(desk.server.requests) == 2
    desk.run("add", "model-a", "--force")
    assert len(desk.server.requests) == 3


def test_show_tells_what_is_known_and_what_is_not(desk: Desk) -> None:
    shown = desk.run("show", "model-c").stdout
    for words in (
        "CC-BY-NC-4.0 (no commercial use)",
        "https://example.org/closed",
        "2 liver",
        "checksum are not published",
        "unknown orientation",
    ):
        assert words in shown
    assert [model["name"] for model in desk.json("show", "pair")["models"]] == ["model-b", "model-c"]
    with pytest.raises(InputError, match="no model of the catalogue"):
        desk.run("show", "model-x")


def test_a_license_that_forbids_commerce_needs_a_yes_and_without_anybody_to_ask_a_flag(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"CC-BY-NC-4\.0; no commercial use") as caught:
        desk.run("add", "pair")
    assert "--accept-license" in caught.value.remedy
    assert desk.server.requests == []  # not even the open half of the set
    monkeypatch.setattr("AtlasSegmentLib.commands_model_add.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    with pytest.raises(InputError, match="not accepted"):
        desk.run("add", "model-c", keys="n\n")
    assert not desk.store.exists()
    answered = desk.run("add", "model-c", keys="y\n")
    assert "https://example.org/closed" in answered.stderr
    assert desk.json("show", "model-c")["models"][0]["stored"]["accepted"]


def test_the_flag_for_scripts_says_which_license_it_accepts(desk: Desk) -> None:
    answered = desk.run("add", "pair", "--accept-license")
    assert "model-c: CC-BY-NC-4.0" in answered.stderr
    assert desk.json("show", "model-b")["models"][0]["stored"]["accepted"] == ""
    assert desk.json("show", "model-c")["models"][0]["stored"]["accepted"]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("model-form", ModelError, "only after a form .*https://example.org/form"),
        ("model-clicks", ModelError, "It wants clicks"),
        ("model-x", InputError, "no such folder or file, and the catalogue has no model"),
        ("some/where.zip", InputError, "there is no such folder or file"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_downloaded(desk: Desk, name: str, error: type[AtlasError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        desk.run("add", "model-a", name, "--accept-license")
    assert caught.value.remedy
    assert desk.server.requests == []
    assert not desk.store.exists()


def test_a_folder_is_listed_where_it_lies_and_taken_from_the_list_without_a_question_or_a_deletion(desk: Desk) -> None:
    own = make_model(desk.folder / "own", "mine")
    assert "It stays where it is" in desk.run("add", own).stdout
    assert desk.states()["mine"] == "in your list"
    assert not desk.store.exists()
    before = files_below(own)
    assert f"its folder {own.resolve()} stays" in desk.run("remove", "mine").stdout.replace("\n", "")
    assert files_below(own) == before
    assert "mine" not in desk.states()


def test_a_listed_folder_that_is_gone_can_be_taken_from_the_list(desk: Desk) -> None:
    own = make_model(desk.folder / "own", "mine")
    desk.run("add", own)
    own.rename(desk.folder / "elsewhere")
    assert desk.states()["own"] == "cannot be used"
    desk.run("remove", own)
    assert "own" not in desk.states()


def test_copy_puts_a_folder_into_the_store_and_removing_the_copy_leaves_the_original(desk: Desk) -> None:
    own = make_model(desk.folder / "own", "mine")
    desk.run("add", own, "--copy")
    assert (desk.store / "mine/model.onnx").is_file()
    assert desk.states()["mine"] == "installed"
    desk.run("remove", "mine", "--yes")
    assert not (desk.store / "mine").exists()
    assert (own / "model.onnx").is_file()


def test_a_zip_file_installs_offline_and_is_known_by_its_checksum_or_name(desk: Desk) -> None:
    (desk.folder / "renamed.zip").write_bytes(desk.server.files["/a.zip"])
    (desk.folder / "b.zip").write_bytes(desk.server.files["/b.zip"])
    assert "It is model-a 1.0 of the catalogue (its checksum is as published)." in desk.run("add", desk.folder / "renamed.zip").stdout
    assert "no checksum is published" in desk.run("add", desk.folder / "b.zip").stdout
    assert (desk.states()["model-a"], desk.states()["model-b"]) == ("installed", "installed")
    desk.run("add", desk.folder / "b.zip", "--name", "my b")
    assert desk.states()["my b"] == "installed"
    assert desk.server.requests == []


def test_a_zip_file_that_leads_outside_is_refused_with_nothing_left(desk: Desk) -> None:
    (desk.folder / "evil.zip").write_bytes(zipped({"m/model.json": b"{}", "../../evil": b"x"}))
    with pytest.raises(ModelError, match="lead out"):
        desk.run("add", desk.folder / "evil.zip")
    assert not list(desk.folder.rglob("evil"))
    assert [path for path in files_below(desk.store) if not path.endswith(".lock")] == []


def test_a_wrong_checksum_leaves_nothing_installed(desk: Desk) -> None:
    desk.server.files["/a.zip"] = desk.server.files["/a.zip"][:-1] + b"x"
    with pytest.raises(ModelError, match="SHA-256"):
        desk.run("add", "model-a")
    assert desk.states()["model-a"] == "to download"


def test_remove_asks_and_deletes_only_what_was_downloaded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.run("add", "model-a")
    with pytest.raises(InputError, match="Delete model-a") as caught:
        desk.run("remove", "model-a")
    assert "--yes" in caught.value.remedy
    monkeypatch.setattr("AtlasSegmentLib.commands_model.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    with pytest.raises(InputError, match="Nothing was deleted"):
        desk.run("remove", "model-a", keys="n\n")
    (desk.store / "model-a/notes.txt").write_text("mine")
    assert "notes.txt" in desk.run("remove", "model-a", keys="y\n").stdout
    assert list(files_below(desk.store / "model-a")) == ["notes.txt"]


def test_models_of_the_variable_are_shown_and_never_removed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(desk.folder / "shared/everybody", "everybodys")
    monkeypatch.setenv("ATLAS_MODELS", str(desk.folder / "shared"))
    assert desk.states()["everybodys"] == "found"
    with pytest.raises(InputError, match="did not put it there"):
        desk.run("remove", "everybodys", "--yes")
    desk.run("add", "model-a")
    assert (desk.folder / "shared/model-a").is_dir()
    monkeypatch.delenv("ATLAS_MODELS")
    assert desk.states()["model-a"] == "to download"


def test_a_set_is_removed_by_its_name(desk: Desk) -> None:
    desk.run("add", "pair", "--accept-license")
    assert {model["name"] for model in desk.json("remove", "pair", "--yes")["removed"]} == {"model-b", "model-c"}
    assert "installed" not in desk.states().values()


def test_check_loads_and_runs_a_model_and_says_what_it_found(desk: Desk) -> None:
    desk.run("add", "model-a")
    result = desk.run("check", "model-a")
    assert result.exit_code == 0
    for words in ("can be used", "SHA-256 as stored", "as published (size, sha256)", "3: spleen, liver", "onnxruntime", "over zeros"):
        assert words in result.stdout
    (report,) = desk.json("check", "model-a", "--device", "cpu")["models"]
    assert (report["ok"], report["device"], report["kind"]) == (True, "cpu", "atlas")
    assert [step["step"] for step in report["steps"]] == ["files", "source", "kind", "labels", "license", "weights", "engine", "run"]


def test_check_runs_a_folder_anywhere_also_one_that_wants_a_region(desk: Desk) -> None:
    folder = make_model(desk.folder / "own", "mine", input=FIT)
    (report,) = desk.json("check", folder)["models"]
    assert report["ok"]
    assert "no checksums were stored" in report["steps"][0]["found"]
    assert list(desk.folder.glob("data/**/*")) == []


def test_check_finds_a_changed_file_a_damaged_network_and_a_missing_one_and_leaves_with_1(desk: Desk) -> None:
    desk.run("add", "model-a", "model-b")
    weights = desk.store / "model-a/a/model.onnx"
    weights.write_bytes(weights.read_bytes() + b"x")
    result = desk.run("check")
    assert result.exit_code == 1
    assert "model-a: CANNOT be used" in result.stdout
    assert "model-b: can be used" in result.stdout
    assert "bytes, " in result.stderr
    assert "atlas model add model-a --force" in result.stderr
    own = make_model(desk.folder / "own", "mine", b"no network at all")
    assert desk.run("check", own).exit_code == 1
    (own / "model.onnx").unlink()
    assert desk.run("check", own, "--no-run").exit_code == 1
    desk.run("add", "model-a", "--force")
    assert desk.run("check", "model-a").exit_code == 0


def test_check_of_what_is_not_there_names_the_command_that_gets_it(desk: Desk) -> None:
    with pytest.raises(InputError) as caught:
        desk.run("check", "model-a")
    assert caught.value.remedy == "atlas model add model-a"
    (desk.folder / "empty").mkdir()
    with pytest.raises(ModelError, match="is empty"):
        desk.run("check", desk.folder / "empty")


def test_no_run_looks_at_the_files_alone(desk: Desk) -> None:
    desk.run("add", "model-a")
    (report,) = desk.json("check", "model-a", "--no-run")["models"]
    assert (report["ok"], report["engine"]) == (True, "")


def test_a_damaged_list_of_models_is_set_aside_and_the_commands_go_on(desk: Desk) -> None:
    settings = desk.folder / "data/atlas-annotator"
    settings.mkdir(parents=True)
    (settings / "models.json").write_text("{")
    assert "model-a" in desk.states()
    assert (settings / "models.json.damaged").is_file()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="every folder is writable to this user")
def test_a_store_that_cannot_be_written_is_told(desk: Desk) -> None:
    (desk.folder / "data").mkdir()
    (desk.folder / "data").chmod(0o500)
    with pytest.raises(AtlasError, match="cannot be written"):
        desk.run("add", "model-a")


def test_several_names_with_one_name_option_are_refused(desk: Desk) -> None:
    with pytest.raises(InputError, match="names one model"):
        desk.run("add", "model-a", "model-b", "--name", "x")
