"""The store of models: whole or absent, recorded, and deleting only what it put there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from atlas_phantoms import files_below, make_model
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError, ModelError, StorageError
from AtlasSegmentLib.model_catalogue import CatalogueEntry, CatalogueFile, ModelLicense
from AtlasSegmentLib.model_download import Patience
from AtlasSegmentLib.model_list import ModelList, folders_named
from AtlasSegmentLib.model_manifest import read_manifest
from AtlasSegmentLib.model_store import WORK, ModelStore
from AtlasSegmentLib.model_store_folders import data_folder, download_folder
from AtlasSegmentLib.model_store_record import FILE, changed_files
from model_server import ModelServer, model_server, zipped

MIT = ModelLicense("MIT", True, False, "https://example.org/license")
CLOSED = ModelLicense("CC-BY-NC-4.0", False, False, "https://example.org/license")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelServer]:
    """Run a server with a model in two archives and a web page's idea of a model."""
    monkeypatch.delenv("http_proxy", raising=False)
    folder = make_model(tmp_path / "made", "phantom")
    with model_server() as running:
        running.files["/phantom.zip"] = zipped({f"phantom/{path.name}": path.read_bytes() for path in folder.iterdir()})
        running.files["/readme.zip"] = zipped({"docs/readme.txt": b"hello"})
        running.files["/weights.pth"] = b"weights"
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", Patience(tries=2, timeout=10, sleep=lambda _: None))


def entry(server: ModelServer, *paths: str, **changes: object) -> CatalogueEntry:
    """Return a model of the catalogue with these files of the server."""
    files = tuple(CatalogueFile(server.url(path)) for path in paths or ("/phantom.zip",))
    plain = CatalogueEntry("phantom", "A phantom", "Somebody", "atlas", MIT, "https://example.org", files=files, version="1.2")
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_downloaded_model_is_recorded_with_source_checksums_and_terms(server: ModelServer, store: ModelStore) -> None:
    model = store.download(entry(server, license=CLOSED), accepted=True)
    assert model.folder == store.root / "phantom"
    assert sorted(files_below(model.folder)) == ["atlas-store.json", "phantom/model.json", "phantom/model.onnx"]
    record = model.record
    assert record.sources[0].sha256 == hashlib.sha256(server.files["/phantom.zip"]).hexdigest()
    assert (record.sources[0].address, record.sources[0].checked) == (server.url("/phantom.zip"), ())
    assert record.files["phantom/model.json"].sha256 == hashlib.sha256((model.folder / "phantom/model.json").read_bytes()).hexdigest()
    assert (record.version, record.license, bool(record.accepted), record.origin) == ("1.2", "CC-BY-NC-4.0", True, "download")
    assert store.installed() == [model]
    assert store.unfinished() == 0


def test_a_model_that_is_there_is_not_downloaded_again_unless_told_to(server: ModelServer, store: ModelStore) -> None:
    first = store.download(entry(server))
    assert store.download(entry(server)) == first
    assert len(server.requests) == 1
    store.download(entry(server, version="1.3"), again=True)
    assert len(server.requests) == 2
    assert [model.record.version for model in store.installed()] == ["1.3"]


def test_an_nnunet_model_deep_in_its_archive_is_found_and_listed_once(server: ModelServer, store: ModelStore) -> None:
    inside = "Dataset291_organs/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"
    server.files["/nnunet.zip"] = zipped(
        {f"{inside}/{name}": b"{}" for name in ("dataset.json", "plans.json", "fold_0/checkpoint_final.pth")}
    )
    model = store.download(entry(server, "/nnunet.zip", kind="nnunet"))
    listed = ModelList(store.root.parent / "settings", [store.root]).models()
    assert [found.facts.path for found in listed] == [(model.folder / inside).resolve()]


def test_the_orientation_that_the_catalogue_knows_is_stated_beside_the_model(server: ModelServer, store: ModelStore) -> None:
    inside = "Dataset291_organs/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"
    server.files["/nnunet.zip"] = zipped(
        {f"{inside}/{name}": b"{}" for name in ("dataset.json", "plans.json", "fold_0/checkpoint_final.pth")}
    )
    model = store.download(entry(server, "/nnunet.zip", kind="nnunet", orientation="RAS"))
    assert json.loads((model.folder / inside / "atlas.json").read_text())["orientation"] == "RAS"
    assert not changed_files(model.folder, model.record)
    store.remove("phantom")
    assert not model.folder.exists()


def test_a_file_that_changed_at_its_address_since_the_first_download_is_told(
    server: ModelServer, store: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.download(entry(server))
    other = make_model(tmp_path / "other", "phantom", title="changed")
    server.files["/phantom.zip"] = zipped({path.name: path.read_bytes() for path in other.iterdir()})
    store.download(entry(server), again=True)
    assert "another file than on" in caplog.text
    assert [path.name for path in (store.root / "phantom").iterdir() if path.is_dir()] == []


def test_a_license_that_wants_consent_is_not_passed_over(server: ModelServer, store: ModelStore) -> None:
    with pytest.raises(InputError, match="CC-BY-NC"):
        store.download(entry(server, license=CLOSED))
    assert server.requests == []


def test_what_comes_only_by_a_form_says_where(server: ModelServer, store: ModelStore) -> None:
    with pytest.raises(ModelError, match=r"by a form: https://example\.org/license"):
        store.download(entry(server, files=()))


def test_a_checkpoint_alone_is_kept_under_its_name_with_what_makes_it_a_model(server: ModelServer, store: ModelStore) -> None:
    file = CatalogueFile(server.url("/weights.pth"), save_as="unet.pth")
    model = store.download(entry(server, kind="universal", architecture="universal-unet", files=(file,)))
    assert (model.folder / "unet.pth").read_bytes() == b"weights"
    assert sorted(model.record.files) == ["model.json", "unet.pth"]
    manifest = read_manifest(model.folder)
    assert (manifest.architecture, manifest.file, manifest.license) == ("universal-unet", "unet.pth", "MIT")
    assert manifest.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_an_archive_without_a_model_leaves_nothing_but_the_message(server: ModelServer, store: ModelStore) -> None:
    with pytest.raises(ModelError, match=r"no model is in it \(docs/\)"):
        store.download(entry(server, "/readme.zip"))
    assert store.installed() == []
    assert [path for path in files_below(store.root) if not path.endswith(".lock")] == []


def test_a_cut_download_keeps_its_part_and_the_next_call_goes_on(server: ModelServer, store: ModelStore) -> None:
    server.cuts = [700, 0, 0]
    with pytest.raises(ModelError, match="goes on where it stopped"):
        store.download(entry(server))
    assert store.installed() == []
    assert store.unfinished() >= 700
    server.cuts = []
    store.download(entry(server))
    assert server.requests[-1].range == "bytes=700-"
    assert store.unfinished() == 0


def test_a_disk_that_fills_while_unpacking_keeps_the_archive_for_the_next_time(
    server: ModelServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("AtlasSegmentLib.model_archive.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
        patch.setattr("AtlasSegmentLib.model_download._require_space", lambda *_: None)
        with pytest.raises(StorageError, match="to unpack"):
            store.download(entry(server))
    store.download(entry(server))
    assert len(server.requests) == 1


def test_a_process_killed_while_it_unpacks_leaves_no_half_model(server: ModelServer, store: ModelStore) -> None:
    program = (
        "import sys, time; from pathlib import Path; from AtlasSegmentLib import model_archive, model_store, model_catalogue as c\n"
        "def stop(share, stage):\n    if stage == 'unpack': print('unpacking', flush=True); time.sleep(60)\n"
        "mit = c.ModelLicense('MIT', True, False, 'https://example.org')\n"
        "entry = c.CatalogueEntry('phantom', 't', 'f', 'atlas', mit, 's', files=(c.CatalogueFile(sys.argv[1]),))\n"
        "model_store.ModelStore(Path(sys.argv[2])).download(entry, progress=stop)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, server.url("/phantom.zip"), str(store.root)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "unpacking\n"
        child.kill()
    assert store.installed() == []
    assert ModelList(store.root.parent / "s", [store.root]).models() == []
    store.download(entry(server))
    assert [model.record.name for model in store.installed()] == ["phantom"]
    assert len(server.requests) == 1


def test_two_processes_that_add_one_model_end_with_one_model(server: ModelServer, store: ModelStore) -> None:
    server.hold = 100
    program = (
        "import sys; from pathlib import Path; from AtlasSegmentLib import model_store, model_catalogue as c\n"
        "mit = c.ModelLicense('MIT', True, False, 'https://example.org')\n"
        "entry = c.CatalogueEntry('phantom', 't', 'f', 'atlas', mit, 's', files=(c.CatalogueFile(sys.argv[1]),))\n"
        "model_store.ModelStore(Path(sys.argv[2])).download(entry)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, server.url("/phantom.zip"), str(store.root)]
    children = [subprocess.Popen(command, env=environment) for _ in range(2)]
    end = time.monotonic() + 20
    while not server.requests and time.monotonic() < end:
        time.sleep(0.02)
    server.go.set()
    assert [child.wait(20) for child in children] == [0, 0]
    assert len(server.requests) == 1
    assert len(store.installed()) == 1


def test_a_zip_file_of_the_user_is_unpacked_and_stays(server: ModelServer, store: ModelStore, tmp_path: Path) -> None:
    archive = tmp_path / "mine.zip"
    archive.write_bytes(server.files["/phantom.zip"])
    model = store.add_archive(archive, "mine")
    assert (model.record.origin, model.record.sources[0].address) == ("archive", str(archive))
    assert archive.read_bytes() == server.files["/phantom.zip"]
    with pytest.raises(InputError, match="is there already"):
        store.add_archive(archive, "mine")


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", ""])
def test_a_name_that_is_no_folder_name_is_refused(store: ModelStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError):
        store.add_copy(make_model(tmp_path / "m", "phantom"), name)
    assert not store.root.exists()


def test_a_copy_is_whole_follows_links_and_leaves_the_original(store: ModelStore, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "phantom")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/notes.txt").write_text("x")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(folder)
    before = files_below(folder)
    model = store.add_copy(folder, "copy")
    assert {"model.json", "model.onnx", "link/notes.txt"} <= set(files_below(model.folder))
    assert not (model.folder / "link").is_symlink()
    assert files_below(folder) == before
    assert changed_files(model.folder, model.record) == []


def test_the_store_is_not_copied_into_itself(store: ModelStore, tmp_path: Path) -> None:
    make_model(tmp_path / "m", "phantom")
    with pytest.raises(InputError, match="itself"):
        store.add_copy(tmp_path, "copy")


def test_removing_deletes_every_file_it_put_there_and_no_other(server: ModelServer, store: ModelStore, tmp_path: Path) -> None:
    neighbour = make_model(store.root / "mine", "mine")
    model = store.download(entry(server))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("x")
    (model.folder / "phantom/link").symlink_to(outside)
    (model.folder / "phantom/notes.txt").write_text("mine")
    assert store.remove("Phantom") == ["phantom/link", "phantom/notes.txt"]
    assert sorted(path.name for path in (store.root / "phantom/phantom").iterdir()) == ["link", "notes.txt"]
    assert (outside / "x").exists()
    assert (neighbour / "model.onnx").is_file()
    assert store.installed() == []


def test_removing_leaves_no_folder_when_nobody_put_anything_there(server: ModelServer, store: ModelStore) -> None:
    store.download(entry(server))
    assert store.remove("phantom") == []
    assert [path.name for path in store.root.iterdir()] == [WORK]


def test_a_removal_that_was_killed_goes_on_at_the_next_call(server: ModelServer, store: ModelStore) -> None:
    model = store.download(entry(server))
    (model.folder / "phantom/model.onnx").unlink()
    assert store.remove("phantom") == []
    assert not model.folder.exists()


@pytest.mark.parametrize("name", ["mine", "phantom", "..", ""])
def test_what_the_store_did_not_make_is_never_deleted(store: ModelStore, tmp_path: Path, name: str) -> None:
    make_model(store.root / "mine", "mine")
    make_model(tmp_path / "m", "phantom")
    with pytest.raises(InputError, match="no model that this program put"):
        store.remove(name)
    assert (store.root / "mine/model.onnx").is_file()


def test_a_linked_folder_is_somebody_elses(server: ModelServer, store: ModelStore, tmp_path: Path) -> None:
    model = store.download(entry(server))
    model.folder.rename(tmp_path / "moved")
    model.folder.symlink_to(tmp_path / "moved")
    assert store.installed() == []
    with pytest.raises(InputError):
        store.remove("phantom")
    assert (tmp_path / "moved/phantom/model.onnx").is_file()


def test_a_copy_that_the_user_made_of_a_downloaded_model_is_the_users(server: ModelServer, store: ModelStore) -> None:
    model = store.download(entry(server))
    shutil.copytree(model.folder, store.root / "backup")
    assert store.installed() == [model]
    store.remove("phantom")
    with pytest.raises(InputError):
        store.remove("backup")
    assert (store.root / "backup/phantom/model.onnx").is_file()


@pytest.mark.parametrize("path", ["../outside", "/etc/x", "phantom/../../outside", "a\\..\\b", "C:x", ""])
def test_a_record_that_was_tampered_with_deletes_nothing(server: ModelServer, store: ModelStore, path: str) -> None:
    model = store.download(entry(server))
    (store.root / "outside").write_text("x")
    content = json.loads((model.folder / FILE).read_text())
    content["files"][path] = {"size": 1, "sha256": "0"}
    (model.folder / FILE).write_text(json.dumps(content))
    before = files_below(store.root)
    with pytest.raises(InputError):
        store.remove("phantom")
    assert files_below(store.root) == before


def test_a_folder_inside_that_became_a_link_is_not_followed(server: ModelServer, store: ModelStore, tmp_path: Path) -> None:
    model = store.download(entry(server))
    (model.folder / "phantom").rename(tmp_path / "moved")
    (model.folder / "phantom").symlink_to(tmp_path / "moved")
    with pytest.raises(AtlasError):
        store.remove("phantom")
    assert (tmp_path / "moved/model.onnx").is_file()


def test_a_folder_of_the_same_name_that_is_not_the_stores_is_not_replaced(server: ModelServer, store: ModelStore) -> None:
    make_model(store.root / "phantom", "mine")
    before = files_below(store.root / "phantom")
    for again in (False, True):
        with pytest.raises(InputError, match="not made by this program"):
            store.download(entry(server), again=again)
    assert files_below(store.root / "phantom") == before


def test_replacing_a_model_stops_before_files_of_the_user(server: ModelServer, store: ModelStore) -> None:
    model = store.download(entry(server))
    (model.folder / "notes.txt").write_text("mine")
    before = files_below(store.root)
    with pytest.raises(InputError, match=r"notes\.txt"):
        store.download(entry(server), again=True)
    assert files_below(store.root) == before
    assert len(server.requests) == 1


def test_changed_and_missing_files_are_found(server: ModelServer, store: ModelStore) -> None:
    model = store.download(entry(server))
    weights, description = model.folder / "phantom/model.onnx", model.folder / "phantom/model.json"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert changed_files(model.folder, model.record) == ["phantom/model.onnx has another SHA-256 than the one stored"]
    weights.write_bytes(data[:-1])
    description.unlink()
    wrong = changed_files(model.folder, model.record)
    assert wrong == ["phantom/model.json is missing", f"phantom/model.onnx has {len(data) - 1} bytes, {len(data)} were stored"]


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {"HOME": "/home/a"}, "/home/a/.local/share/atlas-annotator"),
        ("linux", {"HOME": "/home/a", "XDG_DATA_HOME": "/data"}, "/data/atlas-annotator"),
        ("linux", {"HOME": "/home/a", "XDG_DATA_HOME": "data"}, "/home/a/.local/share/atlas-annotator"),
        ("darwin", {"HOME": "/Users/a"}, "/Users/a/Library/Application Support/AtlasAnnotator"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/AtlasAnnotator"),
        ("linux", {}, None),
    ],
)
def test_the_data_folder_is_the_usual_one_of_each_system(platform: str, environment: dict[str, str], folder: str | None) -> None:
    assert data_folder(environment, platform) == (Path(folder) if folder else None)


def test_downloads_go_to_the_first_folder_of_the_variable_that_is_not_itself_a_model(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", "phantom")
    variable = os.pathsep.join([str(model), str(tmp_path / "store"), str(tmp_path / "other")])
    assert download_folder({"ATLAS_MODELS": variable, "HOME": "/home/a"}) == tmp_path / "store"
    assert download_folder({"ATLAS_MODELS": str(model), "XDG_DATA_HOME": str(tmp_path)}) == tmp_path / "atlas-annotator/models"
    with pytest.raises(StorageError, match="no folder for models"):
        download_folder({})


def test_downloaded_and_added_models_are_in_the_list_of_the_panel(server: ModelServer, tmp_path: Path) -> None:
    environment = {"XDG_DATA_HOME": str(tmp_path / "data")}
    ModelStore(download_folder(environment)).download(entry(server))
    ModelList(tmp_path / "data/atlas-annotator").add(make_model(tmp_path / "own", "own"))
    panel = ModelList(tmp_path / "settings", folders_named(environment))
    assert sorted((model.facts.name, model.own) for model in panel.models()) == [("own", False), ("phantom", False)]
