"""Results, regions and display of Atlas Segment in the real scene: right place, names, values; replaced only when nobody edited them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import ORGANS, ct, make_case, make_model, roi, sigmoid_network, softmax_network
from AtlasQualityLib.average import average_case
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.segment_case import segment_case
from AtlasSegmentLib.volume import Volume

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
vtk = pytest.importorskip("vtk", reason="needs slicer-core")


@pytest.fixture(autouse=True)
def _scene(slicer_app: Any) -> None:
    """Run on the real scene."""


@pytest.fixture
def results() -> Any:
    """Return the module under test; it needs the scene to be there before it is imported."""
    from AtlasSegmentLib import scene_results

    return scene_results


@pytest.fixture
def case(tmp_path: Path) -> CaseFolder:
    """Return a phantom case that two models have segmented, with their average."""
    made = make_case(tmp_path / "data" / "Abdomen")
    for name, softness in (("one", 2000.0), ("two", 20000.0)):
        segment_case(made, load_model(make_model(tmp_path / name, name, softmax_network(softness=softness))))
    average_case(made)
    return made


@pytest.fixture
def ct_node() -> Any:
    """Return the phantom as a volume node."""
    from AtlasSegmentLib.scene import node_from_volume

    return node_from_volume(ct(), "Abdomen")


def imported(results: Any, case: CaseFolder, ct_node: Any = None, models: tuple[str, ...] = ("one", "two")) -> list[Any]:
    """Import a case and return the nodes."""
    return [one.node for one in results.import_results(case, models, ct_node)]


def masks(node: Any, grid: Any) -> dict[str, np.ndarray]:
    """Return each segment's voxels on a grid."""
    from AtlasSegmentLib.scene_segmentation import mask_of_segment

    return {name: mask_of_segment(node, name, grid).array != 0 for name in node.GetSegmentation().GetSegmentIDs()}


def test_average_and_models_arrive_with_names_colors_codes_values_and_voxels(results: Any, case: CaseFolder, ct_node: Any) -> None:
    from AtlasSegmentLib.scene import CASE_FOLDER, MODEL, ROLE
    from AtlasSegmentLib.scene_segmentation import value_of_segment

    nodes = imported(results, case, ct_node)
    assert [node.GetName() for node in nodes] == ["Abdomen average", "Abdomen one", "Abdomen two"]
    assert [(node.GetAttribute(ROLE), node.GetAttribute(MODEL) or "") for node in nodes] == [
        ("average", ""),
        ("model", "one"),
        ("model", "two"),
    ]
    assert {node.GetAttribute(CASE_FOLDER) for node in (*nodes, ct_node)} == {str(case.folder)}
    for node, folder in zip(nodes, (case.average, case.backbone("one"), case.backbone("two")), strict=True):
        shown = masks(node, ct().grid)
        assert {*shown} == {*ORGANS}
        for organ, mask in shown.items():
            segment = node.GetSegmentation().GetSegment(organ)
            np.testing.assert_array_equal(mask, read_nifti(folder.mask(organ)).array != 0)
            assert value_of_segment(node, organ) == class_of(organ)
            np.testing.assert_allclose(segment.GetColor(), np.array(structure_for(organ).color) / 255, atol=1e-6)
            snomed = structure_for(organ).snomed
            assert snomed is not None
            assert snomed.code in segment.GetTerminology()


def test_the_average_is_shown_and_the_models_are_hidden(results: Any, case: CaseFolder) -> None:
    assert [node.GetDisplayNode().GetVisibility() for node in imported(results, case)] == [1, 0, 0]


def test_one_model_alone_is_shown(results: Any, case: CaseFolder) -> None:
    nodes = imported(results, case, models=("one",))
    assert [(node.GetName(), node.GetDisplayNode().GetVisibility()) for node in nodes] == [("Abdomen one", 1)]


def test_results_lie_in_one_folder_beside_the_ct_also_after_the_next_run(results: Any, case: CaseFolder, ct_node: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "CT abdomen")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(ct_node), study)
    nodes = imported(results, case, ct_node, ("one",)) + imported(results, case, ct_node)
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in nodes}
    assert [hierarchy.GetItemName(folder) for folder in folders] == ["Abdomen"]
    assert hierarchy.GetItemParent(folders.pop()) == study


def test_the_segment_editor_gets_the_ct_as_its_source_volume(results: Any, case: CaseFolder, ct_node: Any) -> None:
    node = imported(results, case, ct_node)[0]
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is ct_node


def test_the_ct_may_be_gone(results: Any, case: CaseFolder) -> None:
    assert len(imported(results, case, None)) == 3


def test_the_reference_geometry_is_exactly_that_of_the_node_although_files_keep_less_digits(results: Any, tmp_path: Path) -> None:
    from AtlasSegmentLib.scene import grid_of_node, node_from_volume

    turned = ct("LPS", degrees=17.3)
    folder = make_case(tmp_path / "data" / "turned", turned)
    segment_case(folder, load_model(make_model(tmp_path / "one", "one")))
    node = node_from_volume(turned, "turned")
    assert np.abs(read_nifti(folder.ct).affine - turned.affine).max() > 0
    made = imported(results, folder, node, ("one",))[0]
    np.testing.assert_allclose(grid_of_node(made).affine, turned.affine, rtol=0, atol=1e-9)


def transform(node: Any, *, nonlinear: bool = False) -> None:
    """Put a volume under a transform that moves it by 30 mm, or bends it."""
    kind = "vtkMRMLGridTransformNode" if nonlinear else "vtkMRMLLinearTransformNode"
    made = slicer.mrmlScene.AddNewNodeByClass(kind)
    if not nonlinear:
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 30.0)
        made.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(made.GetID())


def test_results_follow_a_ct_that_was_moved_after_it_was_segmented(results: Any, case: CaseFolder, ct_node: Any) -> None:
    from AtlasSegmentLib.scene import grid_of_node

    before = grid_of_node(ct_node)
    transform(ct_node)
    made = list(results.import_results(case, ("one",), ct_node, before))
    assert [one.ct for one in made] == ["moved"]
    for organ, mask in masks(made[0].node, grid_of_node(ct_node)).items():
        np.testing.assert_array_equal(mask, read_nifti(case.backbone("one").mask(organ)).array != 0)


@pytest.mark.parametrize("change", ["bent", "cropped", "another place from the start"])
def test_results_keep_the_place_of_the_files_when_the_ct_is_another_one_now(results: Any, case: CaseFolder, change: str) -> None:
    from AtlasSegmentLib.scene import grid_of_node, node_from_volume

    node = node_from_volume(ct(), "Abdomen")
    segmented = grid_of_node(node)
    if change == "bent":
        transform(node, nonlinear=True)
    elif change == "cropped":
        slicer.mrmlScene.RemoveNode(node)
        node = node_from_volume(Volume(np.asfortranarray(ct().array[1:]), ct().affine), "Abdomen")
    else:
        transform(node)
        segmented = grid_of_node(node)
    (made,) = results.import_results(case, ("one",), node, segmented)
    assert made.ct == "changed"
    for organ, mask in masks(made.node, ct().grid).items():
        np.testing.assert_array_equal(mask, read_nifti(case.backbone("one").mask(organ)).array != 0)


@pytest.mark.parametrize(("fate", "said"), [("moved", "CT was moved"), ("changed", "CT was changed"), ("same", ""), ("", "")])
def test_the_note_says_what_became_of_the_ct_meanwhile(fate: str, said: str) -> None:
    from AtlasSegmentLib.panel_segment_run import runNote

    note = runNote({"computed": ["one"], "devices": {"one": "cpu"}, "seconds": 1, "ct": fate}, ())
    assert said in note
    assert ("meanwhile" in note) is bool(said)


def test_a_second_import_replaces_what_nobody_edited_under_the_same_node_ids(results: Any, case: CaseFolder, ct_node: Any) -> None:
    first = [node.GetID() for node in imported(results, case, ct_node)]
    count = slicer.mrmlScene.GetNumberOfNodes()
    again = imported(results, case, ct_node)
    assert [node.GetID() for node in again] == first
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert [node.GetSegmentation().GetNumberOfLayers() for node in again] == [1, 1, 1]
    assert not any(results.was_edited(node) for node in again)


def test_colors_visibility_and_surfaces_are_no_edits(results: Any, case: CaseFolder) -> None:
    node = imported(results, case, None, ("one",))[0]
    node.GetSegmentation().GetSegment("liver").SetColor(1, 0, 0)
    node.GetDisplayNode().SetSegmentVisibility("spleen", False)
    node.CreateClosedSurfaceRepresentation()
    assert not results.was_edited(node)


def edit_voxel(node: Any) -> None:
    """Add one voxel to the liver, as a brush would."""
    from AtlasSegmentLib.scene_segmentation import mask_of_segment, set_mask_of_segment

    mask = mask_of_segment(node, "liver", ct().grid)
    mask.array[0, 0, 0] = 1
    set_mask_of_segment(node, "liver", mask)


EDITS = {
    "a voxel": edit_voxel,
    "a name": lambda node: node.GetSegmentation().GetSegment("liver").SetName("my liver"),
    "a segment removed": lambda node: node.GetSegmentation().RemoveSegment("liver"),
    "a segment added": lambda node: node.GetSegmentation().AddEmptySegment("tumor"),
    "a transform": lambda node: node.SetAndObserveTransformNodeID(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode").GetID()),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_the_user_edited_is_never_replaced(results: Any, case: CaseFolder, edit: str) -> None:
    node = imported(results, case, None, ("one",))[0]
    EDITS[edit](node)
    kept = results.fingerprint(node)
    again = imported(results, case, None, ("one",))[0]
    assert again is not node
    assert again.GetName() == "Abdomen one 2"
    assert results.fingerprint(node) == kept
    third = imported(results, case, None, ("one",))[0]
    assert third is again


def test_segmentations_of_the_user_and_of_other_cases_are_left_alone(results: Any, case: CaseFolder, tmp_path: Path) -> None:
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Abdomen one")
    other = make_case(tmp_path / "other" / "Abdomen")
    segment_case(other, load_model(tmp_path / "one"))
    first = imported(results, other, None, ("one",))[0]
    second = imported(results, case, None, ("one",))[0]
    assert len({own.GetID(), first.GetID(), second.GetID()}) == 3
    assert own.GetSegmentation().GetNumberOfSegments() == 0
    assert len({own.GetName(), first.GetName(), second.GetName()}) == 3


def test_results_survive_saving_and_loading_the_scene_and_are_found_and_replaced_then(
    results: Any, case: CaseFolder, ct_node: Any, tmp_path: Path
) -> None:
    before = {node.GetName(): masks(node, ct().grid) for node in imported(results, case, ct_node)}
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    loaded = results.find_results(case.folder)
    assert {node.GetName() for node in loaded} == {*before}
    for node in loaded:
        for organ, mask in masks(node, ct().grid).items():
            np.testing.assert_array_equal(mask, before[node.GetName()][organ])
    assert not any(results.was_edited(node) for node in loaded)
    imported(results, case, slicer.util.getNode("Abdomen"))
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 3


def test_overlapping_organs_are_whole(results: Any, tmp_path: Path) -> None:
    folder = make_case(tmp_path / "data" / "case")
    model = make_model(tmp_path / "m", "m", sigmoid_network(), output={"activation": "sigmoid"})
    segment_case(folder, load_model(model))
    shown = masks(imported(results, folder, None, ("m",))[0], ct().grid)
    for organ in ORGANS:
        np.testing.assert_array_equal(shown[organ], read_nifti(folder.backbone("m").mask(organ)).array != 0)


def test_a_damaged_result_is_an_error_and_leaves_no_node(results: Any, case: CaseFolder) -> None:
    case.backbone("one").pseudo_label.write_bytes(b"damaged")
    with pytest.raises(InputError):
        imported(results, case, None, ("one",))
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


# Regions of interest


@pytest.fixture
def regions() -> Any:
    """Return the module that reads and makes ROI nodes."""
    from AtlasSegmentLib import scene_roi

    return scene_roi


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_a_region_comes_back_from_its_node(regions: Any, degrees: float) -> None:
    box = roi(degrees)
    back = regions.roi_of_node(regions.node_from_roi(box, "box"))
    for name in ("center", "axes", "size"):
        np.testing.assert_allclose(getattr(back, name), getattr(box, name), atol=1e-9)


def test_slicer_itself_sees_the_box_at_the_same_place(regions: Any) -> None:
    box = Roi(np.array([10.0, 20.0, -30.0]), np.eye(3), np.array([40.0, 50.0, 60.0]))
    bounds = [0.0] * 6
    regions.node_from_roi(box, "box").GetRASBounds(bounds)
    np.testing.assert_allclose(bounds, [-10, 30, -5, 45, -60, 0])


def test_a_region_under_a_linear_transform_is_taken_where_it_is_seen(regions: Any) -> None:
    node = regions.node_from_roi(Roi(np.zeros(3), np.eye(3), np.array([10.0, 20.0, 30.0])), "box")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    for row, value in enumerate((2.0, 1.0, 1.0)):
        matrix.SetElement(row, row, value)
    matrix.SetElement(2, 3, 100.0)
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    box = regions.roi_of_node(node)
    np.testing.assert_allclose(box.center, [0, 0, 100])
    np.testing.assert_allclose(box.size, [20, 20, 30])


def test_a_region_that_is_not_placed_or_inside_out_or_bent_is_refused(regions: Any) -> None:
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "empty")
    with pytest.raises(InputError, match="not placed"):
        regions.roi_of_node(empty)
    node = regions.node_from_roi(roi(), "box")
    node.SetInsideOut(True)
    with pytest.raises(InputError, match="inside out"):
        regions.roi_of_node(node)
    node.SetInsideOut(False)
    bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    bent.SetAndObserveTransformFromParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(GeometryError):
        regions.roi_of_node(node)


@pytest.mark.parametrize(("orientation", "degrees"), [("RAS", 0.0), ("LPS", 0.0), ("LPS", 20.0)])
def test_a_new_region_holds_the_body(regions: Any, orientation: str, degrees: float) -> None:
    volume = ct(orientation, degrees)
    box = regions.roi_around_body(volume)
    index = np.argwhere(volume.array > -500)
    world = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    inside = np.abs((world - box.center) @ box.axes) <= box.size / 2 + 1e-6
    assert inside.all(axis=1).mean() == 1.0
    assert box.size.prod() <= np.prod(np.array(volume.shape) * volume.spacing) + 1


# Display


def test_outline_and_fill_and_opacity() -> None:
    from AtlasSegmentLib.scene_display import set_style, toggle_visible

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    set_style(node, 0.3, outline=False)
    display = node.GetDisplayNode()
    assert (display.GetVisibility2DFill(), display.GetOpacity2DFill(), display.GetOpacity2DOutline()) == (1, pytest.approx(0.3), 1.0)
    set_style(node, 0.3, outline=True)
    assert (display.GetVisibility2DFill(), display.GetVisibility2DOutline()) == (0, 1)
    assert [toggle_visible(node), toggle_visible(node)] == [False, True]


@pytest.mark.parametrize(("name", "window", "level"), [("abdomen", 400, 40), ("liver", 160, 60), ("bone", 1800, 400), ("lung", 1500, -600)])
def test_window_presets(ct_node: Any, name: str, window: float, level: float) -> None:
    from AtlasSegmentLib.scene_display import WINDOWS, set_window

    set_window(ct_node, WINDOWS[name])
    display = ct_node.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (window, level, 0)
