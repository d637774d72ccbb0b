"""Models of nnU-Net on Atlas Segment's panel: as checkpoints and as ONNX, with and without Torch, and what a run may cost."""

from __future__ import annotations

import json
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_bundles import config, make_bundle
from nnunet_models import ORGANS, make_nnunet_model
from segment_panel import SegmentPanelUser, open_panel

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
NAME = "Dataset111_Tiny-3d_fullres"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an nnU-Net folder, trained with mirroring, that needs few windows."""
    pytest.importorskip("torch")
    pytest.importorskip("dynamic_network_architectures")
    return make_nnunet_model(tmp_path_factory.mktemp("results"), spacing=(9.0, 7.0, 7.0), mirror_axes=(0, 1, 2))


@pytest.fixture(scope="module")
def onnx_folder(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its ONNX export."""
    pytest.importorskip("onnx")
    from AtlasSegmentLib.onnx_export import export_onnx

    return export_onnx(checkpoints, tmp_path_factory.mktemp("onnx") / "tiny", threads=1).folder


@pytest.fixture
def user(open_module: Any, wait_until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentPanelUser:
    """Return a user with the panel open and an empty list of models."""
    return open_panel(open_module, wait_until, tmp_path, monkeypatch)


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Torch and its extension count as not installed."""
    from AtlasSegmentLib import packages

    real: Callable[[str], str | None] = packages.installed_version
    monkeypatch.setattr(packages, "installed_version", lambda name: None if name == "torch" else real(name))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)


def record_in(folder: Path) -> dict[str, Any]:
    """Return the run record of the model in a results folder."""
    record: dict[str, Any] = json.loads((folder / "Abdomen" / "backbones" / NAME / "run.json").read_text())
    return record


def segments(node: Any) -> list[str]:
    """Return the names of a segmentation's segments, sorted."""
    return sorted(node.GetSegmentation().GetSegmentIDs())


def test_an_nnunet_folder_is_added_run_and_shown_with_its_structures(user: SegmentPanelUser, answers: Any, checkpoints: Path) -> None:
    user.load_ct()
    answers.folder(checkpoints)
    user.ui.addModelButton.click()
    assert user.rows() == [NAME]
    folder = user.use_folder()
    (node,) = user.run()
    assert segments(node) == sorted(ORGANS)
    assert node.GetName() == f"Abdomen {NAME}"
    record = record_in(folder)
    assert record["results"]["engine"].startswith("torch")
    settings = record["parameters"]["settings"]
    assert (settings["preset"], settings["step"], settings["mirror"]) == ("balanced", None, False)


def test_preset_step_and_mirroring_reach_the_run(user: SegmentPanelUser, checkpoints: Path) -> None:
    user.load_ct()
    user.add_folder(checkpoints)
    folder = user.use_folder()
    user.ui.presetCombo.currentText = "fast"
    user.run()
    settings = record_in(folder)["parameters"]["settings"]
    assert (settings["preset"], settings["step"], settings["folds"]) == ("fast", 0.75, 1)
    user.ui.stepSpinBox.value = 0.9
    user.ui.mirroringCombo.currentText = "on"
    user.run()
    settings = record_in(folder)["parameters"]["settings"]
    assert (settings["preset"], settings["step"], settings["mirror"]) == ("fast", 0.9, True)


def test_a_model_with_sides_and_no_stated_orientation_comes_with_a_caution_before_and_after_the_run(
    user: SegmentPanelUser, checkpoints: Path
) -> None:
    user.load_ct()
    model = user.folder / "copy" / checkpoints.name
    shutil.copytree(checkpoints, model)
    user.add_folder(model)
    caution = "does not state the orientation of its training images"
    assert caution in user.item(NAME).toolTip(0)
    assert f"Caution: It {caution}" in user.ui.modelDescriptionLabel.text
    user.run()
    assert f"Caution, {NAME}: It {caution}" in user.ui.resultNoteLabel.text
    (model / "atlas.json").write_text('{"orientation": "RAS"}')
    user.run()
    assert "Caution" not in user.ui.resultNoteLabel.text
    assert "Caution" not in user.ui.modelDescriptionLabel.text


@pytest.mark.usefixtures("no_torch")
def test_without_torch_and_its_extension_the_reason_says_how_to_get_it(user: SegmentPanelUser, checkpoints: Path) -> None:
    user.load_ct()
    user.add_folder(checkpoints)
    assert user.reason().startswith(f"{NAME} needs PyTorch: install the extension PyTorch in the Extensions Manager")
    assert "Needs PyTorch" in user.ui.modelDescriptionLabel.text
    user.check(NAME, False)
    user.add_models(1)
    assert user.reason() == ""


@pytest.mark.usefixtures("no_torch")
def test_an_onnx_export_runs_without_torch(user: SegmentPanelUser, onnx_folder: Path) -> None:
    from slicer_standin.installer import recorder

    recorder.pretend_missing("pydantic", "dynamic-network-architectures", "monai")
    user.load_ct()
    user.add_folder(onnx_folder)
    folder = user.use_folder()
    (node,) = user.run()
    assert segments(node) == sorted(ORGANS)
    assert record_in(folder)["results"]["engine"].startswith("onnxruntime")
    assert recorder.installed == []


@pytest.mark.usefixtures("no_torch")
def test_torch_is_asked_of_its_extension_in_apply_and_declining_leaves_the_panel_as_it_was(
    user: SegmentPanelUser, answers: Any, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slicer_standin.installer import recorder

    asked = []

    class Logic:
        def installTorch(self, askConfirmation: bool) -> None:  # noqa: N802, N803
            asked.append(askConfirmation)

    utilities = types.ModuleType("PyTorchUtils")
    utilities.__spec__ = types.SimpleNamespace(name="PyTorchUtils")  # type: ignore[assignment]
    utilities.PyTorchUtilsLogic = Logic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utilities)
    user.load_ct()
    user.add_folder(checkpoints)
    assert asked == []
    user.apply()
    assert asked == [True]
    assert "were not installed" in answers.shown[-1][1]
    assert not user.panel.job.running
    assert recorder.installed == []
    assert user.reason() == ""


def test_the_networks_of_nnunet_are_asked_for_once_and_installed_without_what_would_replace_torch(
    user: SegmentPanelUser, answers: Any, checkpoints: Path
) -> None:
    from slicer_standin.installer import recorder

    user.load_ct()
    user.add_folder(checkpoints)
    recorder.pretend_missing("dynamic-network-architectures", "onnxruntime", "isal")
    answers.yes()
    user.run()
    assert [kind for kind, _text in answers.shown] == ["question"]
    assert recorder.installed == [["isal>=1.6"], ["--no-deps", "dynamic-network-architectures>=0.4"]]


@pytest.mark.parametrize("script", [False, True], ids=["checkpoint", "TorchScript"])
def test_a_monai_bundle_is_run_and_shown_with_its_structures(user: SegmentPanelUser, script: bool) -> None:
    pytest.importorskip("monai")
    user.load_ct()
    content = {**config(), "pixdim": [8.0, 7.0, 9.0]}
    user.add_folder(make_bundle(user.folder / "tiny-bundle", content, script=script))
    user.use_folder()
    (node,) = user.run()
    assert segments(node) == ["liver", "pancreas", "spleen"]
