"""Bad input at Atlas Segment's panel: one clear message, and the panel is usable afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import ct, make_model
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.volume import Volume
from segment_panel import SegmentPanelUser, open_panel

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
vtk = pytest.importorskip("vtk", reason="needs slicer-core")


@pytest.fixture
def user(open_module: Any, wait_until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentPanelUser:
    """Return a user with the panel open and an empty list of models."""
    return open_panel(open_module, wait_until, tmp_path, monkeypatch)


def works(user: SegmentPanelUser) -> None:
    """Check that the panel segments a good CT now."""
    user.load_ct(name="good")
    user.parameters.roi = None
    assert [node.GetName() for node in user.run() if node.GetName().startswith("good")] == ["good phantom-1"]


def test_no_volume(user: SegmentPanelUser) -> None:
    user.add_models(1)
    assert "Load a CT first" in user.reason()
    works(user)


EMPTY, FLAT = np.full((6, 6, 6), -1000, np.int16), ct().array[:, :, :1]


@pytest.mark.parametrize(("array", "said"), [(EMPTY, "every voxel is -1000"), (FLAT, "3-D image is needed")], ids=["empty", "one slice"])
def test_an_image_that_cannot_be_segmented(user: SegmentPanelUser, array: np.ndarray, said: str) -> None:
    user.add_models(1)
    user.load_ct(Volume(array, np.eye(4)))
    assert said in user.reason()
    assert not user.ui.createRoiButton.enabled
    works(user)


def test_a_volume_node_without_voxels_and_one_of_colors(user: SegmentPanelUser) -> None:
    user.add_models(1)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    user.parameters.ct = node
    assert "nothing has no voxels" in user.reason()
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    assert "3 numbers a voxel" in user.reason()
    works(user)


def test_label_maps_and_color_images_are_not_offered(user: SegmentPanelUser) -> None:
    for name in ("vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"):
        slicer.mrmlScene.AddNewNodeByClass(name)
    assert user.ui.ctSelector.nodeCount() == 0


def mr() -> Volume:
    """Return the phantom with the values of an MR."""
    values = np.abs(ct().array.astype(np.float32) + 1000) * 0.7
    return Volume(values.astype(np.int16), ct().affine)


def test_an_mr_is_warned_of_at_once_and_the_user_can_stop_or_go_on(user: SegmentPanelUser, answers: Any) -> None:
    user.add_models(1)
    user.load_ct()
    assert user.ui.ctWarningLabel.isHidden()
    user.load_ct(mr(), "brain")
    assert "MR" in user.ui.ctWarningLabel.text
    assert not user.ui.ctWarningLabel.isHidden()
    answers.no()
    user.apply()
    assert not user.panel.job.running
    answers.yes()
    assert [node.GetName() for node in user.run()] == ["brain phantom-1"]
    assert len(user.run()) == 1  # asked once
    user.load_ct(name="CT")
    assert user.ui.ctWarningLabel.isHidden()


def test_a_volume_under_a_transform_that_is_not_linear(user: SegmentPanelUser) -> None:
    user.add_models(1)
    node = user.load_ct()
    bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    bent.SetAndObserveTransformFromParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(bent.GetID())
    assert "warp" in user.reason()
    assert "Harden" in user.reason()
    node.SetAndObserveTransformNodeID(None)
    assert user.reason() == ""


def test_a_region_beside_the_ct_not_placed_or_moved_away(user: SegmentPanelUser) -> None:
    from AtlasSegmentLib.scene_roi import node_from_roi

    user.add_models(1)
    user.load_ct()
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "empty")
    user.parameters.roi = empty
    assert "not placed" in user.reason()
    slicer.mrmlScene.RemoveNode(empty)
    node = node_from_roi(Roi(np.array([-10.0, 70.0, -60.0]), np.eye(3), np.full(3, 50.0)), "box")
    user.parameters.roi = node
    assert user.reason() == ""
    node.SetCenter(1000, 0, 0)
    assert "does not overlap" in user.reason()
    node.SetCenter(-10, 70, -60)
    assert user.reason() == ""
    node.SetSize(1, 1, 1)
    assert "too small" in user.reason()
    slicer.mrmlScene.RemoveNode(node)
    assert user.reason() == ""


@pytest.mark.parametrize("text", ["relative/folder", "~nobody-of-this-name-here/x"])
def test_a_results_folder_that_is_no_whole_path(user: SegmentPanelUser, text: str) -> None:
    user.add_models(1)
    user.load_ct()
    user.ui.resultsFolderEdit.setText(text)
    assert "whole path" in user.reason()
    user.ui.resultsFolderEdit.setText("")
    assert user.reason() == ""


def test_a_results_folder_that_is_a_file(user: SegmentPanelUser) -> None:
    (user.folder / "file").write_text("x")
    user.add_models(1)
    user.load_ct()
    user.ui.resultsFolderEdit.setText(str(user.folder / "file"))
    assert "is a file" in user.reason()


def test_a_results_folder_is_chosen_by_its_button(user: SegmentPanelUser, answers: Any) -> None:
    (user.folder / "data").mkdir()
    answers.folder(user.folder / "data")
    user.ui.resultsFolderButton.click()
    assert user.parameters.resultsFolder == str(user.folder / "data")
    answers.folder(None)
    user.ui.resultsFolderButton.click()
    assert user.parameters.resultsFolder == str(user.folder / "data")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may write everywhere")
def test_a_read_only_results_folder_is_the_reason(user: SegmentPanelUser) -> None:
    folder = user.use_folder()
    folder.mkdir()
    folder.chmod(0o500)
    user.add_models(1)
    user.load_ct()
    assert "cannot be written" in user.reason()
    folder.chmod(0o700)


def test_a_results_folder_that_fails_while_writing_is_told_once(user: SegmentPanelUser, answers: Any) -> None:
    """As a full or read-only disk does: something that is no folder lies where the models' results belong."""
    folder = user.use_folder()
    (folder / "Abdomen").mkdir(parents=True)
    (folder / "Abdomen" / "backbones").write_text("in the way")
    user.add_models(1)
    user.load_ct()
    user.run()
    errors = [text for kind, text in answers.shown if kind == "error"]
    assert len(errors) == 1
    assert "backbones" in errors[0]
    assert user.segmentations() == []
    works(user)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
def test_no_room_for_the_ct_is_told_once(user: SegmentPanelUser, answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AtlasSegmentLib import nifti
    from AtlasSegmentLib.errors import StorageError
    from AtlasSegmentLib.files import storage_errors

    def full(path: Any, _volume: Any) -> None:
        with storage_errors(path), open("/dev/full", "wb", buffering=0) as stream:  # noqa: PTH123
            stream.write(b"x")

    assert issubclass(StorageError, Exception)
    user.add_models(1)
    user.load_ct()
    with monkeypatch.context() as patch:
        patch.setattr(nifti, "write_nifti", full)
        user.apply()
    assert not user.panel.job.running
    errors = [text for kind, text in answers.shown if kind == "error"]
    assert len(errors) == 1
    assert "No space left" in errors[0]
    works(user)


def test_a_damaged_network_is_told_once_with_the_next_step(user: SegmentPanelUser, answers: Any) -> None:
    folder = user.add_models(1)[0]
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[:-30] + bytes(30))
    user.load_ct()
    user.run()
    errors = [text for kind, text in answers.shown if kind == "error"]
    assert len(errors) == 1
    assert "damaged or another version" in errors[0]
    assert "Copy the model again" in errors[0]
    (folder / "model.onnx").write_bytes(whole)
    works(user)


def test_a_child_process_that_dies_is_told_with_how_it_ended(
    user: SegmentPanelUser,
    answers: Any,
    wait_until: Callable[..., None],
) -> None:
    user.add_slow_model()
    user.load_ct()
    user.start_and_wait_for_progress()
    os.kill(user.panel.job._child.pid, signal.SIGKILL)
    wait_until(lambda: not user.panel.job.running)
    errors = [text for kind, text in answers.shown if kind == "error"]
    assert len(errors) == 1
    assert "SIGKILL" in errors[0]
    assert user.ui.applyButton.text == "Apply"
    assert user.segmentations() == []
    user.take_fast_models_instead()
    works(user)


def test_results_that_cannot_be_read_are_told_once(user: SegmentPanelUser, answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AtlasSegmentLib import scene_results
    from AtlasSegmentLib.errors import InputError

    def damaged(_folder: Any) -> None:
        message = "pseudo_label.nii.gz: is damaged."
        raise InputError(message, "Run again.")

    user.add_models(1)
    user.load_ct()
    with monkeypatch.context() as patch:
        patch.setattr(scene_results, "read_result", damaged)
        user.run()
    assert [text for kind, text in answers.shown if kind == "error"] == ["pseudo_label.nii.gz: is damaged.\n\nRun again."]
    works(user)


def test_a_sample_that_cannot_be_downloaded_is_told_once(user: SegmentPanelUser, answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import SampleData

    def offline(_self: Any, _name: str) -> None:
        message = "Name or service not known"
        raise RuntimeError(message)

    monkeypatch.setattr(SampleData.SampleDataLogic, "downloadSample", offline)
    answers.menu("CT of a liver, from Slicer's samples")
    user.ui.sampleButton.click()
    assert [kind for kind, _text in answers.shown] == ["menu", "error"]
    assert "Name or service not known" in answers.shown[1][1]


def test_a_model_that_is_no_atlas_model_any_more_is_told(user: SegmentPanelUser) -> None:
    folder = user.add_models(1)[0]
    user.load_ct()
    (folder / "model.json").write_text("{")
    user.ui.applyButton.click()
    assert "model.json is damaged" in user.reason()
    make_model(folder, "phantom-1")
    user.panel.models.refresh()
    works(user)
