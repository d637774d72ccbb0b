"""The review panel: unsaved edits are never lost, and nothing but the task's organ can change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import organ as phantom_organ
from AtlasReviewLib.autosave import Autosave, find_autosaves, read_autosave
from AtlasReviewLib.revisions import history
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_grid, read_nifti, write_nifti
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path) -> Desk:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset)
    return desk


@pytest.fixture
def edited(desk: Desk) -> Desk:
    """Return a desk with a stroke on the first task."""
    desk.take_next()
    desk.stroke()
    return desk


def unsaved(desk: Desk, dataset: Path) -> list[Autosave]:
    return find_autosaves(dataset, "Ada", desk.panel.context.fallback)


def come_back_later(desk: Desk) -> None:
    """Leave the task and open it again as if Slicer had been started anew: nothing is known of how the edits began."""
    desk.click(desk.ui.nextButton)
    desk.panel.left.clear()
    desk.go_to("first", "liver")


def kept(desk: Desk, dataset: Path) -> Any:
    """Return the only unsaved mask on the disk."""
    (found,) = unsaved(desk, dataset)
    return read_autosave(found, read_grid(CaseFolder(found.case).ct)).dense()


# Nothing but the organ changes


def others(desk: Desk) -> dict[str, Any]:
    """Return the masks of all segments but the task's."""
    from AtlasSegmentLib.scene_segmentation import mask_of_segment

    nodes, grid = desk.panel.task.nodes, desk.panel.task.session.loaded.grid
    ids = [i for i in nodes.segmentation.GetSegmentation().GetSegmentIDs() if i != nodes.segment]
    return {i: mask_of_segment(nodes.segmentation, i, grid).array.copy() for i in ids}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[i], b[i]) for i in a)


@pytest.mark.parametrize("keep_out", [True, False])
def test_neighbors_never_change_and_are_drawn_into_only_when_the_reader_says_so(desk: Desk, dataset: Path, keep_out: bool) -> None:
    desk.take_next()
    desk.ui.keepOutCheckBox.setChecked(keep_out)
    before = others(desk)
    everywhere = np.logical_or.reduce([mask != 0 for mask in before.values()])
    desk.stroke("Paint", radius=500)
    assert same(others(desk), before)
    assert bool((desk.mask().astype(bool) & everywhere).any()) is not keep_out
    desk.stroke("Erase", radius=500)
    assert desk.voxels() == 0
    assert same(others(desk), before)
    assert not list(CaseFolder(dataset / "first").average.revised_organs())


def test_an_overlap_is_said_and_can_be_erased_while_drawing_stays_out_of_neighbors(desk: Desk, dataset: Path) -> None:
    case = CaseFolder(dataset / "first")
    mask = read_nifti(case.average.mask("spleen"))
    liver, spleen = (read_nifti(case.average.mask(name)).array != 0 for name in ("liver", "spleen"))
    write_nifti(case.average.mask("spleen"), mask.with_array((spleen | (liver & (np.indices(liver.shape)[0] < 20))).astype(np.uint8)))
    desk.go_to("first", "spleen")
    assert "ml lie in other organs too" in desk.notice
    overlap = (desk.mask() != 0) & liver
    assert overlap.any()
    desk.stroke("Erase", radius=500)
    assert desk.voxels() == 0
    desk.stroke("Paint", radius=500)
    assert not ((desk.mask() != 0) & liver).any()


def test_another_organ_cannot_be_selected_in_the_editor(edited: Desk) -> None:
    edited.ui.segmentEditor.setCurrentSegmentID("spleen")
    assert edited.ui.segmentEditor.mrmlSegmentEditorNode().GetSelectedSegmentID() == "liver"
    assert "Only liver can be edited" in edited.status


def test_the_readers_own_segment_editor_is_left_alone(edited: Desk) -> None:
    import slicer

    assert slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode") is None
    assert edited.ui.segmentEditor.mrmlSegmentEditorNode().GetSingletonTag() == "AtlasReview"


def test_a_double_click_on_the_open_task_keeps_edits_and_undo(edited: Desk, dataset: Path) -> None:
    size = edited.voxels()
    edited.go_to("first", "liver")
    assert edited.voxels() == size
    assert unsaved(edited, dataset) == []
    edited.ui.segmentEditor.undo()
    assert edited.voxels() < size


def test_one_undo_takes_back_one_stroke(desk: Desk) -> None:
    desk.take_next()
    sizes = [desk.voxels()]
    for radius in (5.0, 8.0, 12.0):
        desk.stroke(radius=radius)
        sizes.append(desk.voxels())
    assert sizes == sorted({*sizes})
    for size in reversed(sizes[:-1]):
        desk.ui.segmentEditor.undo()
        assert desk.voxels() == size
    for size in sizes[1:]:
        desk.ui.segmentEditor.redo()
        assert desk.voxels() == size


# Edits are never lost


def test_the_panel_says_whether_something_was_edited(desk: Desk) -> None:
    desk.take_next()
    desk.panel.tick()
    assert not desk.panel.task.touched
    assert "Edited" not in desk.status
    desk.stroke()
    desk.panel._showStatus()
    assert "Edited." in desk.status
    desk.panel.task.autosave()
    assert not desk.panel.task.touched
    desk.ui.segmentEditor.undo()
    assert desk.panel.task.touched
    desk.panel.task.autosave()
    assert not desk.panel.task.touched
    desk.click(desk.ui.saveButton)
    assert "Nothing was changed" in desk.status


def test_edits_are_kept_every_minute_when_there_are_new_ones(edited: Desk, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from AtlasReviewLib import panel_review

    clock = [5000.0]
    monkeypatch.setattr(panel_review.time, "monotonic", lambda: clock[0])
    edited.panel.tick()
    first = unsaved(edited, dataset)[0].file.stat().st_mtime_ns
    for _ in range(3):
        clock[0] += 61
        edited.panel.tick()
    assert unsaved(edited, dataset)[0].file.stat().st_mtime_ns == first  # nothing new
    edited.stroke(radius=14.0)
    clock[0] += 30
    edited.panel.tick()
    assert unsaved(edited, dataset)[0].file.stat().st_mtime_ns == first  # not yet
    clock[0] += 31
    edited.panel.tick()
    assert np.array_equal(kept(edited, dataset), edited.mask())


def leave_module(_desk: Desk) -> None:
    import slicer

    slicer.util.moduleSelector().selectModule("")


def close_scene(_desk: Desk) -> None:
    import slicer

    slicer.mrmlScene.Clear()


LEAVE: dict[str, Callable[[Desk], None]] = {
    "next task": lambda desk: desk.click(desk.ui.nextButton),
    "take next": lambda desk: desk.take_next(),
    "flag": lambda desk: desk.click(desk.ui.flagButton),
    "other reader": lambda desk: desk.open(Path(desk.ui.folderPath.currentPath), "Bob"),
    "module left": leave_module,
    "scene closed": close_scene,
    "application quits": lambda desk: desk.panel._onQuit(),
    "panel destroyed": lambda desk: desk.widget.cleanup(),
}


@pytest.mark.parametrize("how", LEAVE)
def test_edits_are_kept_whenever_the_task_is_left(edited: Desk, dataset: Path, how: str) -> None:
    mask = edited.mask()
    LEAVE[how](edited)
    found = find_autosaves(dataset, "Ada", dataset.parent / "none")
    assert [(a.organ, a.reader) for a in found] == [("liver", "Ada")]
    assert np.array_equal(read_autosave(found[0], read_grid(CaseFolder(dataset / "first").ct)).dense(), mask)
    assert Worklist(dataset).task("first", "liver").reader == "Ada"
    assert history(CaseFolder(dataset / "first"), "liver") == []


def test_a_reload_of_the_module_keeps_edits_and_offers_them(edited: Desk, dataset: Path, wait_until: Callable[..., None]) -> None:
    import slicer

    mask = edited.mask()
    slicer.util.reloadScriptedModule("AtlasReview")
    desk = Desk(slicer.modules.atlasreview.widgetRepresentation().self(), wait_until)
    assert desk.ui.folderPath.currentPath == str(dataset)  # remembered
    assert desk.ui.readerEdit.text == "Ada"
    desk.open(dataset)
    assert not desk.ui.bannerFrame.isHidden()
    assert "liver of first" in desk.ui.bannerLabel.text
    desk.click(desk.ui.bannerYesButton)
    assert np.array_equal(desk.mask(), mask)


def test_recovered_edits_are_one_undo_step_and_gone_from_the_disk_when_they_are_a_revision(edited: Desk, dataset: Path) -> None:
    mask = edited.mask()
    come_back_later(edited)
    before = edited.voxels()
    assert "liver of first" in edited.ui.bannerLabel.text
    edited.click(edited.ui.bannerYesButton)
    assert edited.ui.bannerFrame.isHidden()
    assert np.array_equal(edited.mask(), mask)
    edited.ui.segmentEditor.undo()
    assert edited.voxels() == before
    edited.ui.segmentEditor.redo()
    assert len(unsaved(edited, dataset)) == 1
    edited.click(edited.ui.saveButton)
    assert unsaved(edited, dataset) == []
    assert int(read_nifti(CaseFolder(dataset / "first").average.revised_mask("liver")).array.sum()) == int(mask.sum())


def test_edits_are_discarded_only_after_a_question(edited: Desk, dataset: Path, answers: Any) -> None:
    come_back_later(edited)
    answers.no()
    edited.ui.bannerNoButton.click()
    assert len(unsaved(edited, dataset)) == 1
    answers.yes()
    edited.ui.bannerNoButton.click()
    assert unsaved(edited, dataset) == []
    assert edited.ui.bannerFrame.isHidden()


def test_edits_put_off_stay_on_the_disk_also_when_new_ones_are_made(edited: Desk, dataset: Path) -> None:
    first = edited.mask()
    come_back_later(edited)
    edited.ui.bannerLaterButton.click()
    assert edited.ui.bannerFrame.isHidden()
    edited.stroke(radius=14.0)
    second = edited.mask()
    edited.click(edited.ui.nextButton)
    grid = read_grid(CaseFolder(dataset / "first").ct)
    masks = [read_autosave(autosave, grid).dense() for autosave in unsaved(edited, dataset)]
    assert len(masks) == 2
    assert all(any(np.array_equal(mask, wanted) for mask in masks) for wanted in (first, second))


def test_recovering_from_the_dataset_opens_the_task_first(edited: Desk, dataset: Path) -> None:
    mask = edited.mask()
    edited.go_to("second", "spleen")
    edited.open(dataset)
    assert edited.name == ""
    edited.click(edited.ui.bannerYesButton)
    assert edited.name == "first liver taken"
    assert np.array_equal(edited.mask(), mask)


def test_damaged_unsaved_edits_are_said_and_the_task_stays_as_it_is(edited: Desk, dataset: Path, answers: Any) -> None:
    edited.click(edited.ui.nextButton)
    path = unsaved(edited, dataset)[0].file
    path.write_bytes(path.read_bytes()[:60])
    edited.go_to("first", "liver")
    before = edited.voxels()
    edited.ui.bannerYesButton.click()
    assert any(kind == "error" and "damaged" in text for kind, text in answers.shown)
    assert edited.voxels() == before
    assert path.exists()


def test_a_task_that_was_only_looked_at_leaves_nothing_behind(desk: Desk, dataset: Path) -> None:
    import slicer

    desk.take_next()
    slicer.mrmlScene.Clear()
    assert unsaved(desk, dataset) == []
    assert Worklist(dataset).task("first", "liver").state == "waiting"
    assert desk.name == ""


def test_unsaved_edits_are_not_part_of_an_assembly_and_that_is_asked(edited: Desk, answers: Any, tmp_path: Path) -> None:
    edited.ui.outputPath.setCurrentPath(str(tmp_path / "release"))
    answers.no()
    edited.ui.applyButton.click()
    assert not edited.panel.assemble.job.running
    assert any("not part of the assembly" in text for _, text in answers.shown)


def test_the_phantom_has_room_for_these_strokes() -> None:
    assert phantom_organ(1).sum() > 100
