"""The embedded Segment Editor of the stand-in, on Slicer's own vtkSlicerSegmentEditorLogic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def volume(slicer_app: Any) -> Any:  # noqa: ARG001
    import slicer

    matrix = np.diag([-2.0, -2.0, 3.0, 1.0])
    matrix[:3, 3] = 20, 30, -10
    return slicer.util.addVolumeFromArray(np.zeros((16, 24, 20), np.int16), ijkToRAS=matrix, name="CT")


@pytest.fixture
def segmentation(volume: Any) -> Any:
    """Return a segmentation on the grid of the volume with two touching boxes, liver (x < 10) and spleen (x >= 10)."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name, part in (("liver", slice(2, 10)), ("spleen", slice(10, 18))):
        mask = np.zeros((16, 24, 20), np.uint8)
        mask[4:12, 4:20, part] = 1
        node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, volume)
    return node


@pytest.fixture
def editor(segmentation: Any, volume: Any) -> Any:
    """Return an editor with its own parameter node on the liver."""
    import slicer

    widget = slicer.qMRMLSegmentEditorWidget()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "AtlasReview")
    widget.setMRMLSegmentEditorNode(node)
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setSegmentationNode(segmentation)
    widget.setSourceVolumeNode(volume)
    widget.setCurrentSegmentID("liver")
    return widget


def voxels(segmentation: Any, name: str, volume: Any) -> int:
    import slicer

    return int(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume).sum())


BORDER = (0.0, 6.0, 14.0)  # RAS mm of the voxel (10, 12, 8), the first of the spleen beside the liver
OUTSIDE = (18.0, 28.0, -7.0)  # the voxel (1, 1, 1)


def paint(editor: Any, place: tuple[float, float, float], radius: float = 4.5, effect: str = "Paint") -> None:
    from slicer_standin.segment_editor_effects import stroke

    editor.setActiveEffectByName(effect)
    stroke(editor.activeEffect(), place, radius)


def test_the_parameter_node_holds_what_the_editor_shows(editor: Any, segmentation: Any, volume: Any) -> None:
    node = editor.mrmlSegmentEditorNode()
    assert node.GetSegmentationNode() is segmentation is editor.segmentationNode()
    assert node.GetSourceVolumeNode() is volume is editor.sourceVolumeNode()
    assert node.GetSelectedSegmentID() == "liver" == editor.currentSegmentID()
    node.SetSelectedSegmentID("spleen")
    assert editor.currentSegmentID() == "spleen"


def test_the_first_segment_is_selected_when_none_is(segmentation: Any, volume: Any) -> None:
    import slicer

    widget = slicer.qMRMLSegmentEditorWidget()
    widget.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setSegmentationNode(segmentation)
    assert widget.currentSegmentID() == "liver"
    assert widget.sourceVolumeNode() is volume  # the reference geometry of the segmentation


def test_only_a_choice_in_the_table_is_told_as_a_change(editor: Any) -> None:
    seen: list[str] = []
    editor.connect("currentSegmentIDChanged(QString)", seen.append)
    editor.setCurrentSegmentID("spleen")
    assert seen == []
    table = next(child for child in editor.children() if type(child).__name__ == "qMRMLSegmentsTableView")
    table.setSelectedSegmentIDs(["liver"])
    assert (seen, editor.currentSegmentID()) == (["liver"], "liver")


def test_painting_adds_voxels_and_erasing_takes_them_away(editor: Any, segmentation: Any, volume: Any) -> None:
    before = voxels(segmentation, "liver", volume)
    paint(editor, OUTSIDE)
    painted = voxels(segmentation, "liver", volume)
    assert painted > before
    paint(editor, OUTSIDE, effect="Erase")
    assert voxels(segmentation, "liver", volume) == before


def test_a_stroke_is_a_ball_in_millimeters(editor: Any, segmentation: Any, volume: Any) -> None:
    import slicer

    editor.setCurrentSegmentID("spleen")
    before = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "spleen", volume).astype(bool)
    paint(editor, OUTSIDE, radius=4.1)
    added = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "spleen", volume).astype(bool) & ~before
    k, j, i = np.nonzero(added)
    assert (k.min(), k.max(), j.min(), j.max(), i.min(), i.max()) == (0, 2, 0, 3, 0, 3)  # 2 x 2 x 3 mm voxels, cut at the edge


def test_painting_over_a_neighbor_takes_it_away_unless_overlap_is_allowed(editor: Any, segmentation: Any, volume: Any) -> None:
    import slicer

    spleen = voxels(segmentation, "spleen", volume)
    paint(editor, BORDER)
    assert voxels(segmentation, "spleen", volume) < spleen
    editor.undo()
    assert voxels(segmentation, "spleen", volume) == spleen
    editor.mrmlSegmentEditorNode().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    paint(editor, BORDER)
    assert voxels(segmentation, "spleen", volume) == spleen


def test_the_mask_keeps_painting_out_of_other_segments(editor: Any, segmentation: Any, volume: Any) -> None:
    import slicer

    node = editor.mrmlSegmentEditorNode()
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    liver, spleen = voxels(segmentation, "liver", volume), voxels(segmentation, "spleen", volume)
    paint(editor, BORDER)
    assert (voxels(segmentation, "liver", volume), voxels(segmentation, "spleen", volume)) == (liver, spleen)
    paint(editor, OUTSIDE)
    assert voxels(segmentation, "liver", volume) > liver


def test_the_intensity_mask_keeps_painting_to_its_range(editor: Any, segmentation: Any, volume: Any) -> None:
    import slicer

    slicer.util.arrayFromVolume(volume)[:, :, :2] = 500
    slicer.util.arrayFromVolumeModified(volume)
    node = editor.mrmlSegmentEditorNode()
    node.SourceVolumeIntensityMaskOn()
    node.SetSourceVolumeIntensityMaskRange(400, 600)
    before = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "liver", volume).astype(bool)
    paint(editor, OUTSIDE)
    added = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "liver", volume).astype(bool) & ~before
    assert added.any()
    assert not added[:, :, 2:].any()


def test_undo_and_redo_go_one_action_at_a_time(editor: Any, segmentation: Any, volume: Any) -> None:
    counts = [voxels(segmentation, "liver", volume)]
    for place in (OUTSIDE, (-18.0, -10.0, 26.0)):
        paint(editor, place)
        counts.append(voxels(segmentation, "liver", volume))
    assert len({*counts}) == 3
    editor.undo()
    assert voxels(segmentation, "liver", volume) == counts[1]
    editor.undo()
    assert voxels(segmentation, "liver", volume) == counts[0]
    editor.redo()
    editor.redo()
    assert voxels(segmentation, "liver", volume) == counts[2]


def test_an_edit_made_outside_an_effect_is_undone_to_its_saved_state(editor: Any, segmentation: Any, volume: Any) -> None:
    import slicer

    before = voxels(segmentation, "liver", volume)
    editor.saveStateForUndo()
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.zeros((16, 24, 20), np.uint8), segmentation, "liver", volume)
    assert voxels(segmentation, "liver", volume) == 0
    editor.undo()
    assert voxels(segmentation, "liver", volume) == before


def test_only_so_many_states_are_kept(editor: Any, segmentation: Any, volume: Any) -> None:
    assert editor.maximumNumberOfUndoStates == 5
    editor.setMaximumNumberOfUndoStates(3)
    for step in range(5):
        paint(editor, (18.0, 28.0 - 4 * step, -7.0), radius=2.5)
    counts = {voxels(segmentation, "liver", volume)}
    for _ in range(6):
        editor.undo()
        counts.add(voxels(segmentation, "liver", volume))
    assert len(counts) == 3  # the state to come back to by redo is one of the three


def test_without_a_source_volume_nothing_can_be_painted(editor: Any) -> None:
    editor.setSourceVolumeNode(None)
    with pytest.raises(RuntimeError, match="source volume"):
        paint(editor, OUTSIDE)


def test_another_segmentation_ends_the_active_effect_and_selects_its_first_segment(editor: Any) -> None:
    import slicer

    editor.setActiveEffectByName("Paint")
    assert editor.activeEffect().name == "Paint"
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    other.GetSegmentation().AddEmptySegment("colon", "colon")
    editor.setSegmentationNode(other)
    assert editor.activeEffect() is None
    assert editor.currentSegmentID() == "colon"


def test_an_effect_that_the_stand_in_lacks_is_refused(editor: Any) -> None:
    with pytest.raises(NotImplementedError, match="Grow from seeds"):
        editor.setActiveEffectByName("Grow from seeds")


def test_effects_are_offered_in_the_given_order(editor: Any) -> None:
    editor.setEffectNameOrder(["Erase", "Paint"])
    assert [editor.effectByIndex(index).name for index in (1, 2)] == ["Erase", "Paint"]
    editor.setEffectNameOrder(["Erase"])
    editor.unorderedEffectsVisible = False
    assert editor.effectCount() == 1
    assert editor.effectByName("Paint").name == "Paint"


def test_the_shortcuts_are_there_from_install_to_uninstall(editor: Any, segmentation: Any, volume: Any, press: Any) -> None:
    import slicer

    window = slicer.util.mainWindow()
    paint(editor, OUTSIDE)
    painted = voxels(segmentation, "liver", volume)
    assert press("Z", window) == ""
    editor.installKeyboardShortcuts()
    assert press("Z", window) == "shortcut"
    assert voxels(segmentation, "liver", volume) < painted
    press("Y", window)
    assert voxels(segmentation, "liver", volume) == painted
    press("2", window)
    assert editor.activeEffect().name == "Erase"
    press("Esc", window)
    assert editor.activeEffect() is None
    press("Space", window)
    assert editor.activeEffect().name == "Erase"
    press("W", window)
    assert editor.currentSegmentID() == "spleen"
    press("Q", window)
    assert editor.currentSegmentID() == "liver"
    editor.uninstallKeyboardShortcuts()
    assert press("Z", window) == ""


@pytest.mark.parametrize("key", [".", ",", "/", "*", "<", ">", "I", "Ctrl+Z", "Ctrl+Y", "0", "Shift+3"])
def test_the_editor_takes_these_keys_too(editor: Any, press: Any, key: str) -> None:
    import slicer

    editor.installKeyboardShortcuts()
    assert press(key, slicer.util.mainWindow()) == "shortcut"


def test_an_editor_that_is_put_away_leaves_nothing_behind(segmentation: Any, volume: Any) -> None:  # noqa: ARG001
    import shiboken6
    import slicer

    from slicer_standin import leaks

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    before = leaks.snapshot()
    widget = slicer.qMRMLSegmentEditorWidget()
    widget.setMRMLSegmentEditorNode(node)
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setSegmentationNode(segmentation)
    widget.installKeyboardShortcuts()
    widget.setupViewObservations()
    grown = leaks.snapshot().grown(before)
    assert grown["shortcuts"] > 20
    assert grown["view_observers"] > 0
    widget.uninstallKeyboardShortcuts()
    widget.removeViewObservations()
    shiboken6.delete(widget)
    del widget
    assert leaks.snapshot().grown(before) == {}


def test_the_scene_can_be_closed_under_the_editor(editor: Any, slicer_app: Any) -> None:
    paint(editor, OUTSIDE)
    slicer_app.mrmlScene().Clear(False)
    editor.updateWidgetFromMRML()
    assert editor.segmentationNode() is None
    editor.undo()


def test_parts_of_the_panel_can_be_hidden(editor: Any) -> None:
    import qt

    combos = [combo for combo in editor.findChildren(qt.QWidget) if type(combo).__name__ == "qMRMLNodeComboBox"]
    editor.setSegmentationNodeSelectorVisible(False)
    editor.sourceVolumeNodeSelectorVisible = False
    assert [combo.isHidden() for combo in combos] == [True, True]
    assert not editor.segmentationNodeSelectorVisible
    shown = {label.text for label in editor.findChildren(qt.QLabel) if not label.isHidden()}
    assert not {"Segmentation:", "Source volume:"} & shown
    editor.setSegmentationNodeSelectorVisible(True)
    assert editor.segmentationNodeSelectorVisible
