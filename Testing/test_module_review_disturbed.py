"""A task that is disturbed while it is open: transforms, removed nodes, other programs, lists and disks that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasReviewLib.autosave import find_autosaves, read_autosave
from AtlasReviewLib.revisions import current_revision, history, save_revision
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import StorageError
from AtlasSegmentLib.nifti import read_grid, read_nifti
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path) -> Desk:
    """A reader who has painted into the first task."""
    found = Desk(open_module("AtlasReview"), wait_until)
    found.open(dataset)
    found.take_next()
    found.stroke()
    return found


def is_kept(dataset: Path, fallback: Path, wanted: Any) -> bool:
    grid = read_grid(CaseFolder(dataset / "first").ct)
    return any(np.array_equal(read_autosave(found, grid).dense(), wanted) for found in find_autosaves(dataset, "Ada", fallback))


def bent() -> Any:
    """Add a transform that is not linear."""
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform, before, after = vtk.vtkThinPlateSplineTransform(), vtk.vtkPoints(), vtk.vtkPoints()
    for x, y, z in ((0, 0, 0), (100, 0, 0), (0, 100, 0), (0, 0, 100)):
        before.InsertNextPoint(x, y, z)
        after.InsertNextPoint(x + 1, y + (2 if x else 0), z)
    transform.SetSourceLandmarks(before)
    transform.SetTargetLandmarks(after)
    transform.SetBasisToR()
    node.SetAndObserveTransformFromParent(transform)
    return node


def shifted() -> Any:
    """Add a transform that shifts by 9 and -6 mm."""
    import slicer
    import vtk

    node, matrix = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode"), vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 9.0)
    matrix.SetElement(1, 3, -6.0)
    node.SetMatrixTransformToParent(matrix)
    return node


@pytest.mark.parametrize("moved", ["segmentation", "background"])
def test_a_task_under_a_bent_transform_stays_open_and_its_edits_are_kept(desk: Desk, dataset: Path, answers: Any, moved: str) -> None:
    drawn = desk.mask()
    getattr(desk.panel.task.nodes, moved).SetAndObserveTransformNodeID(bent().GetID())
    desk.click(desk.ui.nextButton)
    assert desk.name == "first liver taken"
    assert "not linear" in answers.shown[-1][1]
    assert is_kept(dataset, desk.panel.context.fallback, drawn)


@pytest.mark.parametrize("moved", ["segmentation", "background"])
def test_edits_under_a_bent_transform_outlive_the_scene(desk: Desk, dataset: Path, moved: str) -> None:
    import slicer

    drawn = desk.mask()
    getattr(desk.panel.task.nodes, moved).SetAndObserveTransformNodeID(bent().GetID())
    slicer.mrmlScene.Clear()
    assert is_kept(dataset, desk.panel.context.fallback, drawn)


def test_a_mask_that_moves_with_its_ct_is_saved_where_it_was_drawn(desk: Desk, dataset: Path) -> None:
    nodes, drawn, transform = desk.panel.task.nodes, desk.mask(), shifted()
    for node in (nodes.background, nodes.segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    desk.click(desk.ui.saveButton)
    assert np.array_equal(read_nifti(CaseFolder(dataset / "first").average.revised_mask("liver")).array, drawn)
    assert not desk.panel.hasUnsaved


def test_recovered_edits_go_to_where_the_ct_is(desk: Desk) -> None:
    nodes, transform = desk.panel.task.nodes, shifted()
    for node in (nodes.background, nodes.segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    wanted = desk.panel.task.session.saved
    desk.panel.task.putMask(wanted)
    assert np.array_equal(desk.mask(), wanted.dense())


def test_edits_go_on_when_the_ct_was_removed(desk: Desk, dataset: Path) -> None:
    import slicer

    drawn = desk.mask()
    slicer.mrmlScene.RemoveNode(desk.panel.task.nodes.background)
    assert "The CT was removed" in desk.notice
    assert is_kept(dataset, desk.panel.context.fallback, drawn)
    desk.click(desk.ui.acceptButton)
    assert Worklist(dataset).task("first", "liver").state == "accepted"
    assert np.array_equal(read_nifti(CaseFolder(dataset / "first").average.revised_mask("liver")).array, drawn)


@pytest.mark.parametrize("what", ["segmentation", "segment"])
def test_edits_are_kept_when_they_are_removed_from_the_scene(desk: Desk, dataset: Path, what: str) -> None:
    import slicer

    nodes, drawn = desk.panel.task.nodes, desk.mask()
    if what == "segmentation":
        slicer.mrmlScene.RemoveNode(nodes.segmentation)
    else:
        nodes.segmentation.GetSegmentation().RemoveSegment(nodes.segment)
    assert is_kept(dataset, desk.panel.context.fallback, drawn)
    assert not desk.ui.acceptButton.enabled
    assert "were removed from the scene" in desk.notice
    desk.go_to("first", "liver")
    assert desk.ui.acceptButton.enabled


def test_a_verdict_without_nodes_says_why_nothing_happened(desk: Desk) -> None:
    import slicer

    from AtlasSegmentLib.errors import InputError

    slicer.mrmlScene.RemoveNode(desk.panel.task.nodes.segmentation)
    with pytest.raises(InputError, match="removed from the scene"):
        desk.panel.task.save("")


def test_a_revision_of_another_program_is_not_superseded(desk: Desk, dataset: Path, answers: Any) -> None:
    case, drawn = CaseFolder(dataset / "first"), desk.mask()
    predicted = read_nifti(case.average.mask("liver"))
    other = predicted.array.copy()
    other[:2, :2, :2] = 1
    save_revision(case, "liver", predicted.with_array(other), "Bob")
    desk.click(desk.ui.acceptButton)
    assert "changed on disk meanwhile by Bob" in answers.shown[-1][1]
    assert [revision.reader for revision in history(case, "liver")] == ["Bob"]
    assert is_kept(dataset, desk.panel.context.fallback, drawn)
    assert not desk.ui.acceptButton.enabled
    desk.go_to("first", "liver")
    assert desk.ui.acceptButton.enabled
    assert np.array_equal(desk.mask(), other)


def test_a_revision_that_the_list_missed_is_listed_when_the_task_is_left(
    desk: Desk, dataset: Path, answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_arguments: Any, **_keywords: Any) -> None:
        message = "the list is locked"
        raise StorageError(message, "Wait.")

    with monkeypatch.context() as patch:
        patch.setattr(desk.panel.context.worklist, "set_state", locked)
        desk.click(desk.ui.saveButton)
    assert "locked" in answers.shown[-1][1]
    desk.click(desk.ui.nextButton)
    listed, current = Worklist(dataset).task("first", "liver"), current_revision(CaseFolder(dataset / "first"), "liver")
    assert current is not None
    assert (listed.state, listed.reader, listed.revision) == ("revised", "Ada", current.id)


@pytest.mark.parametrize("how", ["scene", "dataset"])
def test_a_task_that_is_being_read_can_be_left_with_an_unreadable_list(
    desk: Desk, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    two = make_dataset(tmp_path / "two")

    def unreadable(*_arguments: Any, **_keywords: Any) -> None:
        message = "the list cannot be read"
        raise StorageError(message, "Restore it.")

    desk.panel.navigation.open(desk.panel.context.worklist.task("second", "spleen"))  # nothing of it was read ahead
    assert desk.panel.task.opening is not None
    monkeypatch.setattr(desk.panel.context.worklist, "leave", unreadable)
    if how == "scene":
        slicer.mrmlScene.Clear()
        assert desk.panel.task.opening is None
    else:
        desk.open(two)
        assert desk.panel.context.folder == two
    assert desk.name == ""


def test_a_closed_scene_shows_no_task(desk: Desk) -> None:
    import slicer

    slicer.mrmlScene.Clear()
    assert not any(button.enabled for button in (desk.ui.saveButton, desk.ui.acceptButton, desk.ui.flagButton))
    assert desk.ui.taskLabel.text == "No task is open."


def test_edits_that_cannot_be_kept_are_said_once_until_they_are_kept_again(
    desk: Desk, answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        message = "the disk is full"
        raise StorageError(message, "Free space.")

    def ticks(radius: float) -> None:
        for number in range(3):
            desk.stroke(radius=radius + number)
            desk.panel._nextAutosave = 0.0
            desk.panel.tick()

    file = desk.panel.task.session._autosave
    with monkeypatch.context() as patch:
        patch.setattr(file, "write", full)
        ticks(9.0)
    assert len(answers.shown) == 1
    ticks(12.0)
    with monkeypatch.context() as patch:
        patch.setattr(file, "write", full)
        ticks(15.0)
    assert len(answers.shown) == 2
