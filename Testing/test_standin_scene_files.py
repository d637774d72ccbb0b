"""Reading and writing through slicer.util in the stand-in: volumes, segmentations, tables, whole scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def scene(slicer_app: Any) -> Any:
    return slicer_app.mrmlScene()


@pytest.fixture
def ct(scene: Any) -> Any:  # noqa: ARG001
    """Return a volume whose every voxel differs, on an oblique grid."""
    import slicer

    matrix = np.array([[-1.9, 0.2, 0, 40], [-0.2, -1.9, 0, 50], [0, 0, 3, -60], [0, 0, 0, 1]])
    return slicer.util.addVolumeFromArray(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), ijkToRAS=matrix, name="CT")


@pytest.fixture
def organs(ct: Any, scene: Any) -> Any:
    """Return a segmentation with two segments in one label map."""
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    for name, row in (("liver", 1), ("spleen", 3)):
        mask = np.zeros((4, 5, 6), np.uint8)
        mask[1:3, row, 1:5] = 1
        node.GetSegmentation().AddEmptySegment(name, name, [0.5, 0.25, row / 4])
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, ct)
    return node


def matrix_of(node: Any) -> np.ndarray:
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix))


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "ct.nii", "ct.mha"])
def test_a_volume_comes_back_from_a_file(ct: Any, tmp_path: Path, name: str) -> None:
    import slicer

    assert slicer.util.saveNode(ct, str(tmp_path / name))
    loaded = slicer.util.loadVolume(tmp_path / name)
    assert loaded.GetName().startswith("ct")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(ct))
    np.testing.assert_allclose(matrix_of(loaded), matrix_of(ct), atol=1e-4)


def test_a_loaded_volume_is_shown_unless_it_shall_not_be(ct: Any, tmp_path: Path, slicer_app: Any) -> None:
    import slicer

    slicer.util.saveNode(ct, str(tmp_path / "ct.nrrd"))
    background = slicer_app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID
    slicer.util.loadVolume(str(tmp_path / "ct.nrrd"), {"show": False})
    assert not background()
    shown = slicer.util.loadVolume(str(tmp_path / "ct.nrrd"), {"name": "Shown"})
    assert background() == shown.GetID()
    assert shown.GetName() == "Shown"


def test_a_label_volume_is_a_label_map(ct: Any, tmp_path: Path) -> None:
    import slicer

    slicer.util.saveNode(ct, str(tmp_path / "labels.nii.gz"))
    assert slicer.util.loadLabelVolume(str(tmp_path / "labels.nii.gz")).IsA("vtkMRMLLabelMapVolumeNode")


@pytest.mark.parametrize("name", ["missing.nii.gz", "broken.nii.gz", "broken.seg.nrrd"])
def test_a_file_that_cannot_be_read_raises_with_its_name(scene: Any, tmp_path: Path, name: str) -> None:
    import slicer

    before = scene.GetNumberOfNodes()
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(RuntimeError, match=name):
        slicer.util.loadNodeFromFile(str(tmp_path / name))
    assert scene.GetNumberOfNodes() == before


def test_a_file_type_that_the_stand_in_cannot_read_is_told(scene: Any, tmp_path: Path) -> None:  # noqa: ARG001
    import slicer

    with pytest.raises(NotImplementedError, match="FiberBundleFile"):
        slicer.util.loadNodeFromFile(str(tmp_path / "x.fib"), "FiberBundleFile")


def test_saving_where_no_file_can_be_made_fails(ct: Any, tmp_path: Path) -> None:
    import slicer

    (tmp_path / "file").write_text("in the way")
    assert not slicer.util.saveNode(ct, str(tmp_path / "file" / "ct.nrrd"))
    assert not slicer.util.saveScene(str(tmp_path / "file" / "scene.mrml"))


def test_a_segmentation_comes_back_from_its_file(organs: Any, ct: Any, tmp_path: Path) -> None:
    import slicer

    slicer.util.saveNode(organs, str(tmp_path / "organs.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "organs.seg.nrrd"))
    assert list(loaded.GetSegmentation().GetSegmentIDs()) == ["liver", "spleen"]
    assert loaded.GetSegmentation().GetSegment("spleen").GetColor() == (0.5, 0.25, 0.75)
    for name in ("liver", "spleen"):
        expected = slicer.util.arrayFromSegmentBinaryLabelmap(organs, name, ct)
        np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(loaded, name, ct), expected)


def test_a_label_file_can_be_read_as_a_segmentation(ct: Any, tmp_path: Path, scene: Any) -> None:  # noqa: ARG001
    import slicer

    labels = slicer.util.addVolumeFromArray(np.eye(3, dtype=np.uint8)[None] * 7, name="l", nodeClassName="vtkMRMLLabelMapVolumeNode")
    slicer.util.saveNode(labels, str(tmp_path / "l.nii.gz"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "l.nii.gz"))
    assert loaded.GetSegmentation().GetNumberOfSegments() == 1


def test_exporting_does_not_change_where_the_node_is_saved(ct: Any, tmp_path: Path) -> None:
    import slicer

    slicer.util.saveNode(ct, str(tmp_path / "first.nrrd"))
    assert slicer.util.exportNode(ct, str(tmp_path / "copy.nii.gz"), properties={})
    assert (tmp_path / "copy.nii.gz").is_file()
    assert Path(ct.GetStorageNode().GetFileName()).name == "first.nrrd"


def test_a_table_and_a_point_list_come_back_from_their_files(scene: Any, tmp_path: Path) -> None:
    import slicer

    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Dice")
    slicer.util.updateTableFromArray(table, [np.array([0.5, 0.25])], ["dice"])
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Spots")
    points.AddControlPoint([1, 2, 3], "here")
    slicer.util.saveNode(table, str(tmp_path / "dice.csv"))
    slicer.util.saveNode(points, str(tmp_path / "spots.mrk.json"))
    assert slicer.util.loadTable(str(tmp_path / "dice.csv")).GetCellText(1, 0) == "0.25"
    assert slicer.util.arrayFromMarkupsControlPoints(slicer.util.loadMarkups(str(tmp_path / "spots.mrk.json"))).tolist() == [[1, 2, 3]]


def fill(scene: Any, ct: Any, organs: Any) -> None:
    """Add what our modules keep in a scene: a parameter node and a folder in the subject hierarchy."""
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")
    node.SetParameter("threshold", "0.25")
    node.SetNodeReferenceID("ct", ct.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Models")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(organs), folder)
    organs.SetAttribute("AtlasAnnotator.Role", "model")


def check(scene: Any, values: np.ndarray) -> None:
    """Assert that the scene has what `fill` made, once."""
    import slicer

    parameters, ct, organs = (slicer.util.getNode(name) for name in ("Parameters", "CT", "Organs"))
    assert parameters.GetParameter("threshold") == "0.25"
    assert parameters.GetNodeReference("ct") is ct
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(ct), values)
    assert slicer.util.arrayFromSegmentBinaryLabelmap(organs, "liver", ct).sum() == 8
    assert organs.GetAttribute("AtlasAnnotator.Role") == "model"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemName(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(organs))) == "Models"
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1
    assert len(slicer.util.getNodesByClass("vtkMRMLSubjectHierarchyNode")) == 1
    items = slicer.util.getSubjectHierarchyItemChildren(recursive=True)
    assert sorted(hierarchy.GetItemName(item) for item in items) == ["CT", "Models", "Organs"]


@pytest.mark.parametrize("clear", [True, False])
def test_a_scene_comes_back_from_its_bundle(scene: Any, ct: Any, organs: Any, tmp_path: Path, clear: bool) -> None:
    import slicer

    values = slicer.util.arrayFromVolume(ct).copy()
    fill(scene, ct, organs)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": clear})
    check(scene, values)


def test_a_scene_comes_back_from_its_folder(scene: Any, ct: Any, organs: Any, tmp_path: Path) -> None:
    import slicer

    values = slicer.util.arrayFromVolume(ct).copy()
    fill(scene, ct, organs)
    assert slicer.util.saveScene(str(tmp_path / "folder"))
    scene.Clear(False)
    slicer.util.loadScene(str(next((tmp_path / "folder").glob("*.mrml"))))
    check(scene, values)


def test_a_scene_file_refers_to_the_files_of_the_data(scene: Any, ct: Any, organs: Any, tmp_path: Path) -> None:
    import slicer

    values = slicer.util.arrayFromVolume(ct).copy()
    fill(scene, ct, organs)
    slicer.util.saveNode(ct, str(tmp_path / "ct.nrrd"))
    slicer.util.saveNode(organs, str(tmp_path / "organs.seg.nrrd"))
    assert slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    check(scene, values)


def test_the_views_still_work_after_a_scene_was_loaded(scene: Any, ct: Any, slicer_app: Any, tmp_path: Path) -> None:
    import slicer

    slicer.util.setSliceViewerLayers(background=ct, fit=True)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    layout = slicer_app.layoutManager()
    composite = layout.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == slicer.util.getNode("CT").GetID()
    assert layout.threeDWidget(0).threeDView().cameraNode().GetScene() is scene
    assert len(slicer.util.getNodesByClass("vtkMRMLSliceNode")) == 3
