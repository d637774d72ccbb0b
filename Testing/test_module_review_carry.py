"""The review panel carries corrections between slices: shown before it is kept, one undo step, never in neighbors, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.volume import Volume
from review_data import make_dataset, make_review_case, scores
from review_desk import Desk
from review_drawing import SLICES, TRUTH, correct

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path) -> Desk:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset)
    desk.take_next()
    assert desk.name == "first liver taken"
    return desk


def previews() -> list[Any]:
    """Return the preview nodes in the scene."""
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute("AtlasAnnotator.Role") == "preview"]


def test_a_proposal_is_shown_with_its_volume_and_changes_nothing_until_it_is_kept(desk: Desk, screenshot: Callable[[str], Path]) -> None:
    correct(desk, SLICES)
    before = desk.mask()
    desk.click(desk.ui.carryButton)
    assert np.array_equal(desk.mask(), before)
    assert not desk.ui.carryFrame.isHidden()
    text = desk.ui.carryLabel.text
    assert text.startswith("4 axial slices would change:")
    assert "ml added, 0.0 ml removed" in text
    (node,) = previews()
    display = node.GetDisplayNode()
    assert display.GetVisibility()
    assert not display.GetVisibility3D()
    assert not node.GetSaveWithScene()
    screenshot("carry")
    desk.click(desk.ui.carryKeepButton)
    assert previews() == []
    assert desk.ui.carryFrame.isHidden()
    after = desk.mask()
    changed = sorted({*np.argwhere(after != before)[:, 2].tolist()})
    assert changed == [11, 12, 13, 14]
    wrong = [int((mask[:, :, 11:15] != TRUTH[:, :, 11:15]).sum()) for mask in (before, after)]
    assert wrong[1] < wrong[0] / 2


def test_the_preview_lies_where_the_mask_will(desk: Desk) -> None:
    from AtlasSegmentLib.scene_segmentation import mask_of_segment

    correct(desk, SLICES)
    desk.click(desk.ui.carryButton)
    (node,) = previews()
    (segment,) = node.GetSegmentation().GetSegmentIDs()
    shown = mask_of_segment(node, segment, desk.panel.task.session.loaded.grid).array
    desk.click(desk.ui.carryKeepButton)
    after = desk.mask()
    assert np.array_equal(shown[:, :, 11:15], after[:, :, 11:15])
    assert shown.any(axis=(0, 1)).nonzero()[0].tolist() == [11, 12, 13, 14]


def test_keeping_is_one_undo_step(desk: Desk) -> None:
    correct(desk, SLICES)
    before = desk.voxels()
    desk.click(desk.ui.carryButton)
    desk.click(desk.ui.carryKeepButton)
    kept = desk.voxels()
    assert kept > before
    desk.ui.segmentEditor.undo()
    assert desk.voxels() == before
    desk.ui.segmentEditor.redo()
    assert desk.voxels() == kept
    assert "Undo takes it back in one step" in desk.status


def test_what_was_accepted_while_a_proposal_was_shown_is_not_changed_by_keeping_it(desk: Desk) -> None:
    correct(desk, SLICES)
    before = desk.mask()
    desk.click(desk.ui.carryButton)
    desk.ui.goOnCheckBox.checked = False
    desk.click(desk.ui.acceptButton)
    assert previews() == []
    assert not desk.ui.carryKeepButton.enabled
    desk.panel.carry.keep()
    assert np.array_equal(desk.mask(), before)
    assert "Carried" not in desk.status


def test_discarding_leaves_the_mask_and_its_undo_steps_alone(desk: Desk) -> None:
    correct(desk, SLICES)
    before = desk.mask()
    desk.click(desk.ui.carryButton)
    desk.click(desk.ui.carryDiscardButton)
    assert previews() == []
    assert np.array_equal(desk.mask(), before)
    assert not desk.ui.carryKeepButton.enabled
    for _ in SLICES:
        desk.ui.segmentEditor.undo()
    assert not desk.panel.hasUnsaved


@pytest.mark.parametrize(("indices", "said"), [((), "No slice was corrected"), ((10,), "Only one axial slice was corrected")])
def test_fewer_than_two_corrected_slices_are_refused_in_one_line(desk: Desk, answers: Any, indices: tuple[int, ...], said: str) -> None:
    correct(desk, indices)
    desk.click(desk.ui.carryButton)
    assert any(kind == "error" and said in text for kind, text in answers.shown)
    assert previews() == []


@pytest.mark.parametrize(("axis", "name"), [(0, "sagittal"), (1, "coronal"), (2, "axial")])
def test_the_direction_is_that_of_the_edited_slices(desk: Desk, axis: int, name: str) -> None:
    larger = np.roll(TRUTH, 2, axis=(axis + 1) % 3) | TRUTH
    correct(desk, [int(np.argwhere(TRUTH)[:, axis].mean()) + step for step in (-2, 2)], axis, larger)
    desk.click(desk.ui.carryButton)
    assert f"3 {name} slices would change" in desk.ui.carryLabel.text


def test_another_direction_can_be_chosen_while_the_proposal_is_shown(desk: Desk, answers: Any) -> None:
    correct(desk, SLICES)
    desk.click(desk.ui.carryButton)
    desk.ui.carryDirectionCombo.setCurrentIndex(2)
    assert any("side by side" in text for _, text in answers.shown) or "coronal" in desk.ui.carryLabel.text
    desk.ui.carryDirectionCombo.setCurrentIndex(1)
    desk.click(desk.ui.carryButton)
    assert "axial slices would change" in desk.ui.carryLabel.text


def test_neighbors_are_kept_out_of_as_in_the_editor(desk: Desk, dataset: Path) -> None:
    grown = np.zeros_like(TRUTH)
    grown[4:31, 6:25] = True
    correct(desk, SLICES, truth=grown)
    neighbors = [read_nifti(CaseFolder(dataset / "first").average.mask(name)).array != 0 for name in ("spleen", "kidney_left")]
    everywhere = np.logical_or.reduce(neighbors)
    desk.click(desk.ui.carryButton)
    desk.click(desk.ui.carryKeepButton)
    assert not ((desk.mask() != 0) & everywhere)[:, :, 11:15].any()
    desk.ui.segmentEditor.undo()
    desk.ui.keepOutCheckBox.setChecked(False)
    desk.click(desk.ui.carryButton)
    desk.click(desk.ui.carryKeepButton)
    assert ((desk.mask() != 0) & everywhere)[:, :, 11:15].any()


def test_what_was_carried_is_no_correction_and_a_further_slice_refines_it(desk: Desk) -> None:
    correct(desk, SLICES)
    desk.click(desk.ui.carryButton)
    desk.click(desk.ui.carryKeepButton)
    larger = np.roll(TRUTH, 2, axis=1) | TRUTH
    correct(desk, [12], truth=larger)
    desk.click(desk.ui.carryButton)
    assert desk.panel.carry.proposed.corrected == (10, 12, 15)


def test_a_stroke_takes_an_outdated_proposal_away(desk: Desk) -> None:
    correct(desk, SLICES)
    desk.click(desk.ui.carryButton)
    correct(desk, [18])
    desk.panel.tick()
    assert previews() == []
    assert "The mask was changed" in desk.status


def test_keep_never_keeps_a_proposal_of_another_mask(desk: Desk) -> None:
    correct(desk, SLICES)
    desk.click(desk.ui.carryButton)
    correct(desk, [13], truth=np.roll(TRUTH, 2, axis=1) | TRUTH)
    before = desk.mask()
    desk.panel.carry.keep()
    assert np.array_equal(desk.mask(), before)
    assert desk.panel.carry.proposed.corrected == (10, 13, 15)
    assert "this is the proposal for it as it is now" in desk.status


LEAVE: dict[str, Callable[[Desk], None]] = {
    "next task": lambda desk: desk.click(desk.ui.nextButton),
    "accept": lambda desk: desk.click(desk.ui.acceptButton),
    "module left": lambda _desk: _module().selectModule(""),
    "scene closed": lambda _desk: _scene().Clear(),
    "panel destroyed": lambda desk: desk.widget.cleanup(),
    "preview removed": lambda _desk: _scene().RemoveNode(previews()[0]),
}


def _module() -> Any:
    import slicer

    return slicer.util.moduleSelector()


def _scene() -> Any:
    import slicer

    return slicer.mrmlScene


@pytest.mark.parametrize("how", LEAVE)
def test_no_preview_stays_behind(desk: Desk, how: str) -> None:
    correct(desk, SLICES)
    desk.click(desk.ui.carryButton)
    LEAVE[how](desk)
    assert previews() == []
    if how not in {"panel destroyed", "scene closed"}:
        desk.panel.tick()
        assert desk.panel.carry.proposed is None


def test_the_next_task_begins_without_corrections(desk: Desk, answers: Any) -> None:
    correct(desk, SLICES)
    desk.click(desk.ui.nextButton)
    desk.click(desk.ui.carryButton)
    assert any("No slice was corrected" in text for _, text in answers.shown)


def test_the_keys_are_printed_and_work(desk: Desk, press: Callable[..., str]) -> None:
    assert desk.ui.carryButton.text == "Carry between slices (C)"
    correct(desk, SLICES)
    before = desk.voxels()
    assert press("C") == "shortcut"
    assert previews()
    press("X")
    assert not previews()
    press("C")
    press("Shift+C")
    assert desk.voxels() > before


def test_a_task_for_looking_cannot_be_carried_and_says_why(desk: Desk) -> None:
    desk.ui.goOnCheckBox.setChecked(False)
    desk.click(desk.ui.acceptButton)
    assert not desk.ui.carryButton.enabled
    assert "edit" in desk.ui.carryButton.toolTip


@pytest.mark.parametrize("orientation", ["LPS", "SAL"])
def test_other_array_orders_carry_the_same_in_the_patient(
    open_module: Callable[[str], Any], wait_until: Callable[..., None], tmp_path: Path, orientation: str
) -> None:
    folder = tmp_path / "turned"
    make_review_case(folder / "case", attention=scores(liver=4000.0, spleen=1.0, kidney_left=1.0), orientation=orientation)
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(folder)
    desk.take_next()
    task, grid = desk.panel.task, desk.panel.task.session.loaded.grid

    def ras(mask: Any) -> Any:
        return Volume(mask, grid.affine).reoriented("RAS").array

    now = task.mask().dense()
    for index in SLICES:
        ras(now)[:, :, index] = TRUTH[:, :, index]
    task.putMask(task.session.sparse(task.session.loaded.ct.with_array(now)))
    desk.click(desk.ui.carryButton)
    assert desk.panel.carry.proposed.corrected == SLICES
    desk.click(desk.ui.carryKeepButton)
    carried = ras(desk.mask())
    assert (carried[:, :, 11:15] != TRUTH[:, :, 11:15]).sum() < (ras(now)[:, :, 11:15] != TRUTH[:, :, 11:15]).sum() / 2
