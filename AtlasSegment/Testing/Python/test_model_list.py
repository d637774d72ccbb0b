"""The user's list of models: folders in a file, never copies, and nothing in it is dropped behind the user's back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from atlas_phantoms import make_model
from AtlasSegmentLib.errors import ModelError, StorageError
from AtlasSegmentLib.model_list import ModelList, folders_named


@pytest.fixture
def models(tmp_path: Path) -> ModelList:
    """Return an empty list."""
    return ModelList(tmp_path / "settings")


def names(models: ModelList) -> list[str]:
    """Return the names of all listed models, in order."""
    return [model.facts.name for model in models.models()]


def test_a_new_list_is_empty_and_writes_nothing(models: ModelList) -> None:
    assert models.models() == []
    assert not models.file.parent.exists()


def test_an_added_model_is_there_in_the_next_session_and_was_not_copied(models: ModelList, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "phantom")
    models.add(folder)
    assert names(ModelList(models.file.parent)) == ["phantom"]
    assert json.loads(models.file.read_text()) == {"format": "atlas-model-list/1", "models": [str(folder.resolve())]}
    assert [path.name for path in models.file.parent.iterdir()] == ["models.json"]


def test_a_model_is_listed_once_however_often_and_by_whatever_part_it_is_added(models: ModelList, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "phantom")
    for chosen in (folder, folder / "model.onnx", tmp_path / "x" / ".." / "m", tmp_path):
        (tmp_path / "x").mkdir(exist_ok=True)
        models.add(chosen)
    assert len(models.models()) == 1


def test_two_sessions_that_add_models_do_not_undo_each_other(models: ModelList, tmp_path: Path) -> None:
    other = ModelList(models.file.parent)
    models.add(make_model(tmp_path / "a", "a"))
    other.add(make_model(tmp_path / "b", "b"))
    assert names(models) == ["a", "b"]


def test_a_model_that_cannot_be_used_is_taken_and_shown_with_the_reason(models: ModelList, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "phantom")
    (folder / "model.onnx").unlink()
    assert models.add(folder)[0].problem
    assert [(model.facts.usable, model.facts.name) for model in models.models()] == [(False, "phantom")]


def test_a_model_that_vanished_is_shown_with_the_reason_and_comes_back_with_its_drive(models: ModelList, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "phantom")
    models.add(folder)
    folder.rename(tmp_path / "elsewhere")
    assert [(model.facts.name, model.own) for model in models.models()] == [("m", True)]
    assert "no longer there" in models.models()[0].facts.problem
    (tmp_path / "elsewhere").rename(folder)
    assert models.models()[0].facts.usable


def test_a_vanished_model_can_be_removed_and_removing_touches_no_file_of_a_model(models: ModelList, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "phantom")
    models.add(folder)
    models.remove(folder.resolve())
    assert names(models) == []
    assert (folder / "model.onnx").is_file()
    models.add(folder)
    shutil.rmtree(folder)
    models.remove(folder.resolve())
    assert names(models) == []


def test_what_is_no_model_is_refused_and_changes_nothing(models: ModelList, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        models.add(tmp_path)
    assert not models.file.exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": "atlas-model-list/1", "models": [1]}', '{"format": "other", "models": []}', "\xff"]
)
def test_a_damaged_list_is_set_aside_and_the_user_can_go_on(
    models: ModelList, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    models.file.parent.mkdir()
    models.file.write_bytes(content.encode("latin-1"))
    assert names(models) == []
    assert "models.json.damaged" in caplog.text
    assert (models.file.parent / "models.json.damaged").read_bytes() == content.encode("latin-1")
    models.add(make_model(tmp_path / "m", "phantom"))
    assert names(models) == ["phantom"]


def test_models_of_the_environment_come_after_the_users_own_and_are_not_in_the_file(tmp_path: Path) -> None:
    make_model(tmp_path / "shared" / "b", "b")
    make_model(tmp_path / "shared" / "group" / "c", "c")
    own = make_model(tmp_path / "own", "a")
    variable = os.pathsep.join([str(tmp_path / "shared"), str(own), "", str(tmp_path / "gone")])
    models = ModelList(tmp_path / "settings", folders_named({"ATLAS_MODELS": variable}))
    assert names(models) == ["b", "c", "a"]
    models.add(own)
    assert [(model.facts.name, model.own) for model in models.models()] == [("a", True), ("b", False), ("c", False)]


def test_no_variable_means_no_folders() -> None:
    assert folders_named({}) == []


def test_a_list_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        ModelList(tmp_path / "settings").add(make_model(tmp_path / "m", "phantom"))


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"format": "atlas-model/1", "engine": ["onnx"], "file": "a"}', "null", "\0"],
    ids=["nested", "engine", "null", "zero"],
)
def test_a_model_with_an_odd_description_is_listed_with_the_reason_and_takes_no_other_away(
    models: ModelList, tmp_path: Path, content: str
) -> None:
    models.add(make_model(tmp_path / "m", "phantom"))
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "model.json").write_text(content)
    assert models.add(odd)[0].problem
    assert [model.facts.usable for model in ModelList(models.file.parent).models()] == [True, False]
    models.remove(odd)
    assert names(models) == ["phantom"]


def test_what_cannot_be_looked_at_is_not_stored(models: ModelList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("AtlasSegmentLib.model_list.describe_model", fail)
    with pytest.raises(MemoryError):
        models.add(make_model(tmp_path / "m", "phantom"))
    assert models.paths() == []
