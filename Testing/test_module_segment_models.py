"""The list of models on Atlas Segment's panel: adding, searching, describing, removing, and what cannot be used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from atlas_phantoms import make_model
from segment_panel import SegmentPanelUser, open_panel

slicer = pytest.importorskip("slicer", reason="needs slicer-core")


@pytest.fixture
def user(open_module: Any, wait_until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentPanelUser:
    """Return a user with the panel open and an empty list of models."""
    return open_panel(open_module, wait_until, tmp_path, monkeypatch)


def test_an_empty_list_says_what_to_do(user: SegmentPanelUser) -> None:
    user.load_ct()
    assert "Add model" in user.ui.modelDescriptionLabel.text
    assert "Add a model first" in user.reason()
    assert not user.ui.removeModelButton.enabled


def test_an_added_model_is_checked_selected_and_described(user: SegmentPanelUser, answers: Any) -> None:
    folder = make_model(user.folder / "m", "phantom", title="Three organs of a phantom", license="CC-BY-4.0")
    answers.folder(folder)
    user.ui.addModelButton.click()
    row = user.item("phantom")
    assert [row.text(column) for column in range(3)] == ["phantom", "3", "CC-BY"]
    text = user.ui.modelDescriptionLabel.text
    for part in ("Three organs of a phantom", "kidney left", "CC-BY-4.0", str(folder)):
        assert part in text
    assert user.parameters.models == [str(folder.resolve())]


def test_a_model_is_added_by_one_of_its_files(user: SegmentPanelUser, answers: Any) -> None:
    answers.file(make_model(user.folder / "m", "phantom") / "model.onnx")
    user.ui.addModelFileButton.click()
    assert user.rows() == ["phantom"]


def test_a_cancelled_dialog_changes_nothing(user: SegmentPanelUser, answers: Any) -> None:
    answers.folder(None)
    user.ui.addModelButton.click()
    answers.file(None)
    user.ui.addModelFileButton.click()
    assert user.rows() == []


def test_a_folder_that_is_no_model_is_told_exactly_what_is_wrong(user: SegmentPanelUser, answers: Any) -> None:
    (user.folder / "m").mkdir()
    (user.folder / "m" / "net.onnx").write_bytes(b"x")
    answers.folder(user.folder / "m")
    user.ui.addModelButton.click()
    kind, text = answers.shown[-1]
    assert kind == "error"
    assert "net.onnx stands alone" in text
    assert "model.json" in text
    assert user.rows() == []


def test_a_model_that_cannot_be_used_is_listed_with_the_reason_and_cannot_be_checked(user: SegmentPanelUser, answers: Any) -> None:
    folder = make_model(user.folder / "m", "script", engine="torchscript", file="net.ts")
    (folder / "net.ts").write_bytes(b"PK cut short")
    answers.folder(folder)
    user.ui.addModelButton.click()
    assert "net.ts is damaged" in answers.shown[-1][1]
    user.ui.modelTree.setCurrentItem(user.item("script"))
    assert "Cannot be used: net.ts is damaged" in user.ui.modelDescriptionLabel.text
    assert "net.ts is damaged" in user.item("script").toolTip(0)
    user.load_ct()
    assert "Check at least one model" in user.reason()


def test_downloaded_models_are_listed_and_cannot_be_removed_here(user: SegmentPanelUser) -> None:
    from AtlasSegmentLib.model_store_folders import download_folder

    make_model(download_folder(os.environ) / "phantom-web", "downloaded")
    user.widget.onReload()
    user.widget = slicer.modules.AtlasSegmentWidget
    assert user.rows() == ["downloaded"]
    user.ui.modelTree.setCurrentItem(user.item("downloaded"))
    assert not user.ui.removeModelButton.enabled
    assert "downloaded" in user.ui.removeModelButton.toolTip


def test_the_search_hides_what_does_not_match_and_keeps_checks(user: SegmentPanelUser) -> None:
    user.add_models(2)
    user.ui.modelSearchEdit.setText("phantom-1 left kidney")
    assert user.rows() == ["phantom-1"]
    user.ui.modelSearchEdit.setText("pancreas")
    assert user.rows() == []
    assert len(user.parameters.models) == 2
    user.ui.modelSearchEdit.setText("")
    assert user.rows() == ["phantom-1", "phantom-2"]


def test_unchecking_and_removing_take_a_model_out_of_the_run(user: SegmentPanelUser) -> None:
    user.load_ct()
    first, second = user.add_models(2)
    user.check("phantom-1", False)
    assert user.parameters.models == [str(second.resolve())]
    user.ui.modelTree.setCurrentItem(user.item("phantom-2"))
    user.ui.removeModelButton.click()
    assert (user.rows(), list(user.parameters.models)) == (["phantom-1"], [])
    assert (second / "model.onnx").is_file()
    assert "Check at least one" in user.reason()
    user.check("phantom-1")
    assert user.parameters.models == [str(first.resolve())]
    assert user.reason() == ""


def test_the_list_is_there_again_in_the_next_session_and_models_of_the_environment_cannot_be_removed(
    user: SegmentPanelUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user.add_models(1)
    make_model(user.folder / "shared" / "x", "of everybody")
    monkeypatch.setenv("ATLAS_MODELS", str(user.folder / "shared"))
    user.widget.onReload()
    user.widget = slicer.modules.AtlasSegmentWidget
    assert user.rows() == ["phantom-1", "of everybody"]
    user.ui.modelTree.setCurrentItem(user.item("of everybody"))
    assert not user.ui.removeModelButton.enabled
    assert "ATLAS_MODELS" in user.ui.removeModelButton.toolTip
    user.ui.modelTree.setCurrentItem(user.item("phantom-1"))
    assert user.ui.removeModelButton.enabled


def test_a_model_that_vanished_between_listing_and_apply_is_the_reason_then_and_the_list_shows_it(user: SegmentPanelUser) -> None:
    user.load_ct()
    folder = user.add_models(1)[0]
    assert user.reason() == ""
    shutil.rmtree(folder)
    user.ui.applyButton.click()
    assert not user.panel.job.running
    assert "no longer there" in user.reason()
    assert user.rows() == ["m1"]
    user.check("m1", False)
    assert "Check at least one" in user.reason()


def test_two_checked_models_of_one_name_are_refused(user: SegmentPanelUser) -> None:
    user.load_ct()
    user.add_models(1)
    make_model(user.folder / "other", "phantom-1")
    user.panel.models._add(str(user.folder / "other"))
    assert "called phantom-1" in user.reason()


def test_a_list_that_cannot_be_written_is_told_and_the_panel_goes_on(user: SegmentPanelUser, answers: Any) -> None:
    Path(user.folder / "settings").write_text("a file where the folder should be")
    answers.folder(make_model(user.folder / "m", "phantom"))
    user.ui.addModelButton.click()
    assert answers.shown[-1][0] == "error"
    assert user.rows() == []
