"""The review panel adjudicates: two readings side by side, blinded, with figures and the places where they differ; the reader decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import organ as phantom_organ
from AtlasReviewLib.double_reading import readings, settle
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.revisions import history, save_revision
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_grid, read_nifti
from AtlasSegmentLib.volume import Volume
from review_data import make_review_case, scores
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")
LIVER = phantom_organ(1)
SMALL, LARGE = LIVER & (np.indices(LIVER.shape)[0] < 22), LIVER | np.roll(LIVER, 2, axis=2)


def read(worklist: Worklist, reader: str, reading: int, mask: np.ndarray, verdict: str = "accepted") -> None:
    """Do one reading: save a mask and decide."""
    case = CaseFolder(worklist.folder / "case")
    task = worklist.take("case", "liver", reader, reading=reading)
    volume = Volume(np.asfortranarray(mask.astype(np.uint8)), read_grid(case.ct).affine)
    saved = save_revision(reading_case(case, reading), "liver", volume, reader)
    task = worklist.set_state(task, "revised", reader, "", saved.id, saved.sha256)
    worklist.set_state(task, verdict, reader, "cut off" if verdict == "rejected" else "")


def make_disputed(folder: Path, verdict: str = "accepted") -> Path:
    """Write a dataset whose only task two readers did differently."""
    make_review_case(folder / "case", organs=("liver",), attention=scores(liver=4000.0))
    write_policy(folder, ReviewPolicy(double_share=1.0))
    worklist, _ = open_worklist(folder)
    read(worklist, "Ada", 1, SMALL)
    read(worklist, "Bob", 2, LARGE, verdict)
    (settled,) = settle(worklist)
    assert settled.measured is not None
    assert not settled.measured.agree
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_disputed(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path) -> Desk:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset, "Cleo")
    desk.take_next()
    desk.wait(lambda: desk.panel.adjudicate.compared is not None)
    return desk


def masks(dataset: Path) -> dict[str, np.ndarray]:
    """Return A and B as the worklist says."""
    worklist = Worklist(dataset, viewer="Cleo")
    return {one.name: read_nifti(one.file).array != 0 for one in readings(worklist, worklist.task("case", "liver"))}


def shown() -> dict[str, Any]:
    """Return the nodes of the readings by name."""
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return {node.GetName(): node for node in nodes if node.GetAttribute("AtlasAnnotator.Role") == "reading"}


def view(name: str) -> Any:
    import slicer

    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")


def layout() -> int:
    import slicer

    return int(slicer.app.layoutManager().layout)


def test_each_reading_is_shown_in_its_own_view_where_its_mask_lies(desk: Desk, dataset: Path, screenshot: Callable[[str], Path]) -> None:
    import slicer

    from AtlasSegmentLib.scene_segmentation import mask_of_segment

    assert layout() == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    wanted, grid = masks(dataset), desk.panel.task.session.loaded.grid
    assert not np.array_equal(wanted["A"], wanted["B"])
    for name, place, label in (("A", "Red", "A"), ("B", "Yellow", "B")):
        node = shown()[f"Reading {name}"]
        (segment,) = node.GetSegmentation().GetSegmentIDs()
        assert np.array_equal(mask_of_segment(node, segment, grid).array != 0, wanted[name])
        assert list(node.GetDisplayNode().GetViewNodeIDs()) == [view(place).GetID()]
        assert not node.GetDisplayNode().GetVisibility3D()
        assert not node.GetSaveWithScene()
        assert view(place).GetLayoutLabel() == label
    assert (
        shown()["Reading A"].GetSegmentation().GetNthSegment(0).GetColor()
        != shown()["Reading B"].GetSegmentation().GetNthSegment(0).GetColor()
    )
    assert screenshot("adjudicate").stat().st_size > 10_000


def test_both_views_show_the_same_slice_whichever_is_moved(desk: Desk) -> None:
    import slicer

    assert desk.name
    red, yellow = view("Red"), view("Yellow")

    def same() -> bool:
        one, other = (slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()) for node in (red, yellow))
        return bool(np.allclose(one, other))

    assert same()
    red.SetSliceOffset(-70.0)
    assert same()
    yellow.SetSliceOffset(-55.0)
    assert same()
    assert red.GetSliceOffset() == pytest.approx(-55.0)
    red.SetOrientation("Coronal")
    assert same()
    red.SetFieldOfView(80.0, 80.0, 1.0)
    assert yellow.GetFieldOfView()[0] / yellow.GetDimensions()[0] == pytest.approx(80.0 / red.GetDimensions()[0])


def texts(desk: Desk) -> str:
    """Return everything that the panel says."""
    import qt

    found = []
    for widget in desk.widget.uiWidget.findChildren(qt.QWidget):
        for name in ("text", "toolTip", "placeholderText"):
            value = getattr(widget, name, "")
            found.append(str(value() if callable(value) else value))
    return "\n".join(found) + "\n".join(" ".join(row) for row in desk.rows)


def test_the_figures_are_said_and_nobody_is_named(desk: Desk) -> None:
    import slicer

    said = desk.ui.adjudicateLabel.text
    assert "A (left, orange): accepted. B (right, blue): accepted." in said
    measured = desk.panel.adjudicate.compared.measured
    assert f"Dice {measured.dice:.3f}, surface Dice {measured.nsd:.3f} at 2 mm" in said
    assert "They differ in" in said
    everything = texts(desk) + "".join(node.GetName() or "" for node in slicer.util.getNodesByClass("vtkMRMLNode"))
    assert "Bob" not in everything
    assert "Ada" not in everything.replace("Adaptive", "")


def test_the_mask_in_the_editor_is_hidden_and_cannot_be_accepted_until_the_reader_begins(desk: Desk) -> None:
    display = desk.panel.task.nodes.segmentation.GetDisplayNode()
    assert not display.GetSegmentVisibility("liver")
    assert not desk.ui.acceptButton.enabled
    assert "Start from A or from B" in desk.ui.acceptButton.toolTip
    assert desk.ui.rejectButton.enabled
    desk.stroke(center=(10.0, 70.0, -45.0))
    desk.panel.update()
    assert display.GetSegmentVisibility("liver")
    assert desk.ui.acceptButton.enabled


@pytest.mark.parametrize("name", ["A", "B"])
def test_starting_from_a_reading_is_one_undo_step_and_its_mask_is_accepted_as_the_adjudicators(
    desk: Desk, dataset: Path, name: str
) -> None:
    wanted, before = masks(dataset)[name], desk.mask()
    desk.click(getattr(desk.ui, f"start{name}Button"))
    assert np.array_equal(desk.mask() != 0, wanted)
    assert desk.ui.commentEdit.text == f"started from reading {name}"
    desk.ui.segmentEditor.undo()
    assert np.array_equal(desk.mask(), before)
    desk.ui.segmentEditor.redo()
    desk.click(desk.ui.acceptButton)
    task = Worklist(dataset).task("case", "liver")
    assert (task.state, task.stage, task.reader) == ("accepted", "adjudicated", "Cleo")
    assert np.array_equal(read_nifti(CaseFolder(dataset / "case").average.revised_mask("liver")).array != 0, wanted)
    assert len(history(CaseFolder(dataset / "case"), "liver")) >= 1


@pytest.fixture
def apart(desk: Desk) -> str:
    """Return which reading is another mask than the one that is in the editor at first."""
    return next(
        name for name, mask in desk.panel.adjudicate.compared.masks.items() if not np.array_equal(mask.dense() != 0, desk.mask() != 0)
    )


def test_undoing_the_start_from_a_reading_leaves_nothing_to_accept(desk: Desk, apart: str) -> None:
    desk.click(getattr(desk.ui, f"start{apart}Button"))
    assert desk.ui.acceptButton.enabled
    desk.ui.segmentEditor.undo()
    desk.panel.update()
    assert not desk.ui.acceptButton.enabled
    assert desk.ui.commentEdit.text == ""  # it would say the wrong one
    desk.stroke(center=(10.0, 70.0, -45.0))
    desk.panel.update()
    assert desk.ui.acceptButton.enabled
    assert desk.ui.commentEdit.text == ""


def test_the_comment_names_the_reading_that_is_in_the_editor(desk: Desk, apart: str) -> None:
    other = "AB".replace(apart, "")
    for name in (other, apart, other):
        desk.click(getattr(desk.ui, f"start{name}Button"))
        assert desk.ui.commentEdit.text == f"started from reading {name}"
    desk.ui.segmentEditor.undo()
    desk.panel.update()
    assert desk.ui.commentEdit.text == f"started from reading {apart}"
    desk.stroke(center=(10.0, 70.0, -45.0))
    desk.panel.update()
    assert desk.ui.commentEdit.text == f"started from reading {apart}"
    desk.ui.commentEdit.setText("the dome")
    desk.click(getattr(desk.ui, f"start{other}Button"))
    assert desk.ui.commentEdit.text == "the dome"


def test_a_comment_of_the_reader_is_not_replaced(desk: Desk) -> None:
    desk.ui.commentEdit.setText("the dome")
    desk.click(desk.ui.startAButton)
    assert desk.ui.commentEdit.text == "the dome"


def test_the_hot_spot_keys_go_through_the_places_where_the_readings_differ(desk: Desk, dataset: Path) -> None:
    places = desk.panel.adjudicate.compared.places
    assert [p.volume_mm3 for p in places] == sorted((p.volume_mm3 for p in places), reverse=True)
    assert desk.ui.spotLabel.text.startswith(f"Difference 1 of {len(places)}:")
    assert np.allclose(view("Red").GetSliceOffset(), places[0].center[2])
    found, grid = masks(dataset), desk.panel.task.session.loaded.grid
    apart = found["A"] != found["B"]
    for number, place in enumerate(places):
        index = np.rint(np.linalg.inv(grid.affine) @ [*place.center, 1])[:3].astype(int)
        assert apart[tuple(index)]
        assert f"Difference {number + 1} of" in desk.ui.spotLabel.text
        desk.click(desk.ui.nextSpotButton)
    assert f"Difference 1 of {len(places)}" in desk.ui.spotLabel.text
    assert sum(p.volume_mm3 for p in places) == pytest.approx(apart.sum() * grid.voxel_volume_mm3)


LEAVE: dict[str, Callable[[Desk], None]] = {
    "button": lambda desk: desk.ui.sideBySideButton.setChecked(False),
    "module left": lambda _desk: _select(""),
    "decided": lambda desk: (desk.click(desk.ui.startAButton), desk.click(desk.ui.acceptButton)),  # type: ignore[dict-item]
    "panel destroyed": lambda desk: desk.widget.cleanup(),
    "dataset opened again": lambda desk: desk.open(Path(desk.ui.folderPath.currentPath), "Cleo"),
}


def _select(name: str) -> None:
    import slicer

    slicer.util.moduleSelector().selectModule(name)


@pytest.mark.parametrize("how", LEAVE)
def test_layout_and_views_are_given_back(desk: Desk, how: str) -> None:
    import slicer

    LEAVE[how](desk)
    assert shown() == {}
    assert layout() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert view("Yellow").GetOrientation() == "Sagittal"
    assert view("Red").GetLayoutLabel() == "R"
    before = view("Red").GetSliceOffset()
    view("Yellow").SetSliceOffset(12.0)
    assert view("Red").GetSliceOffset() == before


def test_the_readings_come_back_with_the_module_and_with_the_button(desk: Desk) -> None:
    _select("")
    _select("AtlasReview")
    assert set(shown()) == {"Reading A", "Reading B"}
    desk.ui.sideBySideButton.setChecked(False)
    desk.ui.sideBySideButton.setChecked(True)
    assert set(shown()) == {"Reading A", "Reading B"}


def test_a_closed_scene_leaves_a_panel_that_works(desk: Desk) -> None:
    import slicer

    slicer.mrmlScene.Clear()
    assert desk.ui.adjudicateFrame.isHidden()
    desk.take_next()
    desk.wait(lambda: desk.panel.adjudicate.compared is not None)
    assert set(shown()) == {"Reading A", "Reading B"}


def test_the_mask_in_the_editor_is_hidden_too_when_the_readings_are_not_shown_side_by_side(
    open_module: Callable[[str], Any], wait_until: Any, dataset: Path
) -> None:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.ui.sideBySideButton.setChecked(False)
    desk.open(dataset, "Cleo")
    desk.take_next()
    desk.wait(lambda: desk.panel.adjudicate.compared is not None)
    assert not desk.panel.task.nodes.segmentation.GetDisplayNode().GetSegmentVisibility("liver")
    assert shown() == {}


def test_a_second_reader_begins_with_the_prediction_and_not_with_what_the_first_one_drew(
    open_module: Callable[[str], Any], wait_until: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "blind"
    make_review_case(folder / "case", organs=("liver",), attention=scores(liver=4000.0))
    write_policy(folder, ReviewPolicy(double_share=1.0))
    worklist, _ = open_worklist(folder)
    read(worklist, "Ada", 1, SMALL)
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(folder, "Bob")
    desk.take_next()
    assert desk.panel.task.task.reading == 2
    assert np.array_equal(desk.mask(), read_nifti(CaseFolder(folder / "case").average.mask("liver")).array)
    desk.stroke()
    drawn = desk.mask()
    desk.ui.goOnCheckBox.setChecked(False)
    desk.click(desk.ui.saveButton)
    first, second = (reading_case(folder / "case", reading).average.revised_mask("liver") for reading in (1, 2))
    assert np.array_equal(read_nifti(first).array != 0, SMALL)
    assert np.array_equal(read_nifti(second).array, drawn)


def test_whoever_read_the_task_does_not_see_the_other_reading(open_module: Callable[[str], Any], wait_until: Any, dataset: Path) -> None:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset, "Ada")
    desk.take_next()
    assert desk.panel.adjudicate.compared is None
    assert shown() == {}


def test_a_rejected_reading_is_told_as_such(open_module: Callable[[str], Any], wait_until: Any, tmp_path: Path) -> None:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(make_disputed(tmp_path / "rejected", "rejected"), "Cleo")
    desk.take_next()
    desk.wait(lambda: desk.panel.adjudicate.compared is not None)
    assert sorted(desk.panel.adjudicate.compared.verdicts.values()) == ["accepted", "rejected"]
    assert "rejected" in desk.ui.adjudicateLabel.text


def test_a_reading_whose_file_is_gone_is_said_and_the_task_stays_usable(
    open_module: Callable[[str], Any], wait_until: Any, dataset: Path
) -> None:
    for path in (dataset / "case" / "reading_2" / "revisions").rglob("*.nii.gz"):
        path.unlink()
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset, "Cleo")
    desk.take_next()
    desk.wait(lambda: desk.ui.adjudicateLabel.text != "")
    assert "is gone" in desk.ui.adjudicateLabel.text
    assert not desk.ui.startAButton.enabled
    assert desk.panel.task.nodes.segmentation.GetDisplayNode().GetSegmentVisibility("liver")
    assert desk.ui.rejectButton.enabled


def test_an_ordinary_task_shows_nothing_of_this(open_module: Callable[[str], Any], wait_until: Any, tmp_path: Path) -> None:
    make_review_case(tmp_path / "plain" / "case", attention=scores(liver=4000.0, spleen=10.0, kidney_left=5.0))
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(tmp_path / "plain")
    desk.take_next()
    assert desk.ui.adjudicateFrame.isHidden()
    assert desk.ui.acceptButton.enabled
