"""Selectors of nodes, segments and colors, and the tables, as Slicer's widgets behave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.fixture
def scene(slicer_app: Any) -> Any:
    return slicer_app.mrmlScene()


@pytest.fixture
def selector(scene: Any) -> Any:
    """Return a selector of volumes on the scene, with the choice None."""
    return make_selector(scene, noneEnabled=True)


def make_selector(scene: Any, **properties: bool) -> Any:
    import slicer

    widget = slicer.qMRMLNodeComboBox()
    widget.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    for name, value in properties.items():
        setattr(widget, name, value)
    if scene is not None:
        widget.setMRMLScene(scene)
    return widget


def add_volume(scene: Any, name: str = "CT") -> Any:
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


def test_a_selector_follows_the_scene(scene: Any, selector: Any) -> None:
    first, second = add_volume(scene, "one"), add_volume(scene, "two")
    scene.AddNewNodeByClass("vtkMRMLModelNode")
    assert [selector.nodeFromIndex(index).GetName() for index in range(selector.nodeCount())] == ["one", "two"]
    scene.RemoveNode(first)
    assert selector.nodeFromIndex(0) is second
    scene.Clear(False)
    assert selector.nodeCount() == 0


def test_label_maps_are_volumes_unless_child_types_are_left_out(scene: Any, selector: Any) -> None:
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert selector.nodeCount() == 1
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 0
    selector.showChildNodeTypes = True
    selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    assert selector.nodeCount() == 0


def test_hidden_nodes_and_nodes_without_the_attribute_are_not_listed(scene: Any, selector: Any) -> None:
    hidden, plain, marked = add_volume(scene), add_volume(scene), add_volume(scene)
    hidden.HideFromEditorsOn()
    hidden.Modified()
    marked.SetAttribute("Role", "average")
    plain.SetAttribute("Role", "model")
    selector.addAttribute("vtkMRMLScalarVolumeNode", "Role", "average")
    assert [selector.nodeFromIndex(0), selector.nodeCount()] == [marked, 1]
    selector.removeAttribute("vtkMRMLScalarVolumeNode", "Role")
    assert selector.nodeCount() == 2
    selector.showHidden = True
    assert selector.nodeCount() == 3


def test_a_choice_is_told_once(scene: Any, selector: Any) -> None:
    seen: list[Any] = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    volume = add_volume(scene)
    selector.setCurrentNode(volume)
    selector.setCurrentNode(volume)
    assert seen == [volume]
    assert selector.currentNodeID == volume.GetID()
    selector.setCurrentNodeID("")
    assert seen == [volume, None]


def test_a_new_node_is_not_chosen_by_itself_when_none_may_be_chosen(scene: Any, selector: Any) -> None:
    add_volume(scene)
    assert selector.currentNode() is None


def test_a_selector_without_none_takes_the_first_node_that_is_there(scene: Any) -> None:
    volume = add_volume(scene)
    add_volume(scene)
    assert make_selector(scene).currentNode() is volume


def test_a_removed_choice_gives_way_to_its_neighbor(scene: Any, selector: Any) -> None:
    volumes = [add_volume(scene, name) for name in "abc"]
    selector.setCurrentNode(volumes[1])
    scene.RemoveNode(volumes[1])
    assert selector.currentNode() is volumes[2]
    scene.RemoveNode(volumes[2])
    assert selector.currentNode() is volumes[0]
    scene.RemoveNode(volumes[0])
    assert selector.currentNode() is None


def test_nothing_is_chosen_after_the_scene_was_closed(scene: Any, selector: Any) -> None:
    seen: list[Any] = []
    selector.setCurrentNode(add_volume(scene))
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    scene.Clear(False)
    assert selector.currentNode() is None
    assert seen == [None]


def test_a_choice_made_before_the_scene_is_set_is_kept(scene: Any) -> None:
    volume = add_volume(scene)
    widget = make_selector(None, noneEnabled=True)
    assert widget.enabled  # as Qt makes it; without a scene there is nothing to choose
    widget.setCurrentNodeID(volume.GetID())
    widget.setMRMLScene(scene)
    assert widget.currentNode() is volume


def test_a_renamed_node_is_shown_with_its_new_name(scene: Any, selector: Any) -> None:
    volume = add_volume(scene, "old")
    volume.SetName("new")
    texts = [selector._combo.itemText(row) for row in range(selector._combo.count)]
    assert "new" in texts
    assert "old" not in texts


def test_the_user_can_make_and_delete_nodes_in_the_list(scene: Any, selector: Any) -> None:
    made: list[Any] = []
    selector.nodeAddedByUser.connect(made.append)
    selector.baseName = "Output"
    combo = selector._combo
    combo.setCurrentIndex(combo.findData("!add vtkMRMLScalarVolumeNode"))
    assert [node.GetName() for node in made] == ["Output"]
    assert selector.currentNode() is made[0]
    combo.setCurrentIndex(combo.findData("!remove"))
    assert scene.GetFirstNodeByName("Output") is None


def test_a_node_id_in_place_of_a_node_is_refused(scene: Any, selector: Any) -> None:
    volume = add_volume(scene)
    with pytest.raises(TypeError, match="setCurrentNodeID"):
        selector.setCurrentNode(volume.GetID())


def test_a_misspelled_property_is_refused(selector: Any) -> None:
    with pytest.raises(AttributeError, match="nodeType"):
        selector.nodeType = ["vtkMRMLScalarVolumeNode"]


def test_a_deleted_selector_leaves_no_observer(scene: Any) -> None:
    import shiboken6

    from slicer_standin import leaks

    before = leaks.snapshot().scene_observers
    widget = make_selector(scene)
    assert leaks.snapshot().scene_observers > before
    shiboken6.delete(widget)
    assert leaks.snapshot().scene_observers == before


@pytest.fixture
def segmentation(scene: Any) -> Any:
    """Return a segmentation of a small grid with the segments liver and spleen."""
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    node.CreateDefaultDisplayNodes()
    volume = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16), name="CT")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("liver", "spleen"):
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


def test_the_segment_table_lists_filters_and_selects(segmentation: Any) -> None:
    import slicer

    table = slicer.qMRMLSegmentsTableView()
    table.setMRMLScene(slicer.mrmlScene)
    table.setSegmentationNode(segmentation)
    seen: list[Any] = []
    table.connect("selectionChanged(QItemSelection,QItemSelection)", lambda *_: seen.append(table.selectedSegmentIDs()))
    assert table.displayedSegmentIDs() == ["liver", "spleen"]
    table.setSelectedSegmentIDs(["spleen"])
    assert seen[-1] == ["spleen"]
    segmentation.GetSegmentation().AddEmptySegment("colon", "colon")
    assert table.segmentCount == 3
    assert table.selectedSegmentIDs() == ["spleen"]
    table.textFilter = "LI"
    assert table.displayedSegmentIDs() == ["liver"]
    table.textFilter = "spleen"
    table.setSelectedSegmentIDs(["spleen"])
    table.textFilter = ""
    assert table.selectedSegmentIDs() == ["spleen"]
    table.setHideSegments(["liver"])
    assert table.displayedSegmentIDs() == ["spleen", "colon"]


def test_the_segment_table_changes_name_and_visibility(segmentation: Any) -> None:
    import qt
    import slicer

    table = slicer.qMRMLSegmentsTableView()
    table.setSegmentationNode(segmentation)
    table.tableWidget().item(0, 3).setText("Leber")
    table.tableWidget().item(1, 0).setCheckState(qt.Qt.Unchecked)
    assert segmentation.GetSegmentation().GetSegment("liver").GetName() == "Leber"
    assert not segmentation.GetDisplayNode().GetSegmentVisibility("spleen")
    segmentation.GetDisplayNode().SetSegmentVisibility("spleen", True)
    assert table.tableWidget().item(1, 0).checkState() == qt.Qt.Checked


def test_the_segment_selector_follows_the_segmentation(segmentation: Any) -> None:
    import slicer

    widget = slicer.qMRMLSegmentSelectorWidget()
    widget.setMRMLScene(slicer.mrmlScene)
    seen: list[str] = []
    widget.connect("currentSegmentChanged(QString)", seen.append)
    widget.setCurrentNode(segmentation)
    assert widget.segmentIDs() == ["liver", "spleen"]
    widget.setCurrentSegmentID("spleen")
    assert widget.currentSegmentID() == "spleen"
    segmentation.GetSegmentation().RemoveSegment("spleen")
    assert widget.currentSegmentID() == "liver"
    assert seen[-2:] == ["spleen", "liver"]


def test_the_color_selector_offers_the_default_tables(slicer_app: Any) -> None:  # noqa: ARG001
    import slicer

    widget = slicer.qMRMLColorTableComboBox()
    widget.setMRMLScene(slicer.mrmlScene)
    names = {widget.nodeFromIndex(index).GetName() for index in range(widget.nodeCount())}
    assert {"Grey", "Rainbow", "fMRI"} <= names
    widget.setCurrentNodeID("vtkMRMLColorTableNodeRainbow")
    assert widget.currentNode().GetName() == "Rainbow"


def test_the_table_view_shows_the_table_and_its_changes(scene: Any) -> None:
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLTableNode")
    slicer.util.updateTableFromArray(node, [np.array([1.0, 2.0]), np.array([3.0, 4.0])], ["a", "b"])
    view = slicer.qMRMLTableView()
    view.setMRMLScene(scene)
    view.setMRMLTableNode(node)
    assert [view.rowCount, view.columnCount, view.item(1, 1).text()] == [2, 2, "4"]
    node.AddEmptyRow()
    assert view.rowCount == 3


def test_the_show_3d_button_makes_and_removes_the_surface(segmentation: Any) -> None:
    import slicer

    button = slicer.qMRMLSegmentationShow3DButton()
    assert not button.enabled
    button.setSegmentationNode(segmentation)
    button.checked = True
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    button.checked = False
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    segmentation.CreateClosedSurfaceRepresentation()
    assert button.checked
