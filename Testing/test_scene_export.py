"""A segmentation leaves the scene with the values, names, colors, codes and world places that it has there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AtlasSegmentLib import geometry
from AtlasSegmentLib.dicom_seg import write_dicom_seg
from AtlasSegmentLib.dicom_seg_read import read_dicom_seg
from AtlasSegmentLib.errors import GeometryError, InputError, StorageError
from AtlasSegmentLib.export import merge_organs, write_label_map, write_organ_files
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.volume import Grid, LabelVolume, Volume
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
TABLE = load_table("totalsegmentator_v2")
SHAPE = (9, 8, 7)
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
AGAIN = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _scene(slicer_app: Any) -> None:
    """Run on the real scene."""


@pytest.fixture
def scene_export() -> Any:
    """Return the module under test; it needs the scene to be there before it is imported."""
    from AtlasSegmentLib import scene_export

    return scene_export


@pytest.fixture
def parts() -> Any:
    """Return what makes nodes."""
    from AtlasSegmentLib import scene, scene_segmentation

    class Parts:
        node_from_volume = staticmethod(scene.node_from_volume)
        vtk_matrix = staticmethod(scene.vtk_matrix)
        segmentation_from_labels = staticmethod(scene_segmentation.segmentation_from_labels)
        add_segment = staticmethod(scene_segmentation.add_segment)

    return Parts


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Draw an affine: any axis order and direction, oblique, anisotropic, anywhere."""
    order = draw(st.permutations(range(3)))
    axes = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 99))).normal(size=(3, 3)))[0][:, order]
    matrix = np.eye(4)
    matrix[:3, :3] = axes * [draw(st.sampled_from((-1, 1))) * draw(st.sampled_from((0.7, 1.0, 2.5))) for _ in range(3)]
    matrix[:3, 3] = [draw(st.integers(-300, 300)) for _ in range(3)]
    return matrix


def rigid(seed: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    matrix[:3, 3] = (11, -7, 23)
    return matrix


def phantom(affine: np.ndarray) -> LabelVolume:
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 1:4, 1:5] = TABLE.value_of("liver")
    array[5:8, 2:5, 1:3] = TABLE.value_of("kidney_left")
    array[6, 6, 5] = TABLE.value_of("aorta")
    return LabelVolume(array, affine, "phantom", None, TABLE)


def tumor(affine: np.ndarray) -> Volume:
    array = np.zeros(SHAPE, np.uint8)
    array[3:5, 2:4, 2:4] = 1
    return Volume(array, affine)


def in_scene(parts: Any, labels: LabelVolume, overlap: bool = True) -> tuple[Any, Any]:
    """Return (CT node, segmentation node that belongs to it, with a tumor that overlaps the liver)."""
    ct = parts.node_from_volume(Volume(np.zeros(SHAPE, np.int16), labels.affine), "CT")
    segmentation = parts.segmentation_from_labels(labels, "organs")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    if overlap:
        parts.add_segment(segmentation, "liver_tumor", tumor(labels.affine))
    return ct, segmentation


def move(parts: Any, matrix: np.ndarray, *nodes: Any) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(parts.vtk_matrix(matrix))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())


def index_of(found: np.ndarray, found_affine: np.ndarray, affine: np.ndarray) -> set[tuple[int, ...]]:
    """Return the voxels of a mask as index of another grid, after the check that they lie on its voxels."""
    index = geometry.apply_affine(np.linalg.inv(affine) @ found_affine, np.argwhere(found))
    assert np.abs(index - np.rint(index)).max(initial=0) < 2e-3
    return {*map(tuple, np.rint(index).astype(int).tolist())}


def voxels(mask: np.ndarray) -> set[tuple[int, ...]]:
    return {*map(tuple, np.argwhere(mask).tolist())}


def test_published_values_leave_slicer_as_they_came(scene_export: Any, parts: Any, tmp_path: Path) -> None:
    labels = phantom(np.diag([-2.0, -2.0, 3.0, 1.0]))
    _, segmentation = in_scene(parts, labels, overlap=False)
    grid = scene_export.export_grid(segmentation)
    path = write_label_map(tmp_path / "a.nii.gz", merge_organs(scene_export.organs_of_segmentation(segmentation, grid), grid))[0]
    back = read_label_volume(path, TABLE)
    np.testing.assert_array_equal(back.array, labels.array)
    np.testing.assert_allclose(back.affine, labels.affine, atol=1e-5)


@AGAIN
@given(affine=affines(), seed=st.integers(0, 99), ending=st.sampled_from([".nii.gz", ".nrrd"]))
def test_under_a_transform_every_organ_is_written_where_it_is_shown(
    scene_export: Any, parts: Any, tmp_path: Path, affine: np.ndarray, seed: int, ending: str
) -> None:
    labels, matrix = phantom(affine), rigid(seed)
    ct, segmentation = in_scene(parts, labels, overlap=False)
    move(parts, matrix, ct, segmentation)
    grid = scene_export.export_grid(segmentation)
    path = tmp_path / f"a{ending}"
    write_label_map(path, merge_organs(scene_export.organs_of_segmentation(segmentation, grid), grid), overwrite=True)
    if ending == ".nrrd":
        image = SimpleITK.ReadImage(str(path))
        lps = np.eye(4)
        lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        lps[:3, 3] = image.GetOrigin()
        found, found_affine = SimpleITK.GetArrayFromImage(image).transpose(), _LPS @ lps
    else:
        image = nib.load(path)
        found, found_affine = np.asarray(image.dataobj), image.affine
    for value in (5, 3, 52):
        assert index_of(found == value, found_affine, matrix @ affine) == voxels(labels.array == value)


@AGAIN
@given(affine=affines(), seed=st.integers(0, 99))
def test_a_segmentation_moved_alone_is_cut_out_of_the_ct_where_it_is_shown(
    scene_export: Any, parts: Any, affine: np.ndarray, seed: int
) -> None:
    labels = phantom(affine)
    _, segmentation = in_scene(parts, labels)
    shift = np.eye(4)
    shift[:3, 3] = affine[:3, :3] @ (1, 0, -1)  # by whole voxels of the CT
    move(parts, shift, segmentation)
    grid = scene_export.export_grid(segmentation)
    np.testing.assert_allclose(grid.affine, affine, atol=1e-6)
    masks = {one.name: one.mask(grid.shape) for one in scene_export.organs_of_segmentation(segmentation, grid)}
    moved = np.zeros(SHAPE, bool)
    moved[2:5, 1:4, 0:4] = True
    np.testing.assert_array_equal(masks["liver"], moved)
    assert seed >= 0


def test_overlapping_segments_are_whole_in_files_of_their_own(scene_export: Any, parts: Any, tmp_path: Path) -> None:
    labels = phantom(np.diag([2.0, -2.0, 3.0, 1.0]))
    _, segmentation = in_scene(parts, labels)
    grid = scene_export.export_grid(segmentation)
    organs = scene_export.organs_of_segmentation(segmentation, grid)
    paths = {path.name: path for path in write_organ_files(tmp_path, organs, grid)}
    np.testing.assert_array_equal(read_volume(paths["liver_tumor.nii.gz"]).array, tumor(labels.affine).array)
    np.testing.assert_array_equal(read_volume(paths["liver.nii.gz"]).array, labels.array == TABLE.value_of("liver"))


def test_a_segment_drawn_by_hand_never_takes_a_published_value(scene_export: Any, parts: Any) -> None:
    _, segmentation = in_scene(parts, phantom(np.eye(4)))
    grid = scene_export.export_grid(segmentation)
    organs = scene_export.organs_of_segmentation(segmentation, grid)
    assert [(one.name, one.value) for one in organs] == [("kidney_left", 3), ("liver", 5), ("aorta", 52), ("liver_tumor", None)]
    merged = merge_organs(organs, grid)
    assert {entry.name: entry.value for entry in merged.entries} == {"kidney_left": 3, "liver": 5, "aorta": 52, "liver_tumor": 53}
    assert merged.covered == {("liver", "liver_tumor"): 4}


def test_slicer_covers_overlaps_in_the_same_order(scene_export: Any, parts: Any) -> None:
    labels = phantom(np.eye(4))
    _, segmentation = in_scene(parts, labels, overlap=False)
    parts.add_segment(segmentation, "spleen", tumor(labels.affine))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    node.CreateDefaultDisplayNodes()
    slicer.vtkSlicerSegmentationsModuleLogic.ExportAllSegmentsToLabelmapNode(
        segmentation, node, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    )
    theirs = slicer.util.arrayFromVolume(node).transpose()
    grid = scene_export.export_grid(segmentation)
    ours = merge_organs(scene_export.organs_of_segmentation(segmentation, grid), grid).labels.array
    np.testing.assert_array_equal(ours == 53, theirs == 4)  # Slicer numbers by position in the list; the added spleen is the fourth


def test_the_color_and_code_that_a_person_chose_are_exported(scene_export: Any, parts: Any) -> None:
    _, segmentation = in_scene(parts, phantom(np.eye(4)))
    segment = segmentation.GetSegmentation().GetSegment("liver")
    segment.SetColor(1.0, 0.0, 0.2)
    context, region = "Segmentation category and type - 3D Slicer General Anatomy list", "Anatomic codes - DICOM master list"
    segment.SetTerminology(f"{context}~SCT^123037004^Anatomical Structure~SCT^78961009^Spleen~SCT^7771000^Left~{region}~^^~^^")
    structure = scene_export.structure_of_segment(segment)
    assert structure.color == (255, 0, 51)
    assert structure.snomed is not None
    assert (structure.snomed.code, structure.snomed.meaning, structure.snomed.modifier) == ("78961009", "Spleen", "7771000")


def test_a_segmentation_file_of_slicer_holds_everything_and_reads_back_equal(scene_export: Any, parts: Any, tmp_path: Path) -> None:
    labels, matrix = phantom(np.diag([-2.0, -2.0, 3.0, 1.0])), rigid(4)
    ct, segmentation = in_scene(parts, labels)
    segmentation.GetSegmentation().GetSegment("liver").SetColor(0.25, 0.5, 0.75)
    move(parts, matrix, ct, segmentation)
    count = slicer.mrmlScene.GetNumberOfNodes()
    scene_export.write_seg_nrrd(tmp_path / "a.seg.nrrd", segmentation)
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert segmentation.GetParentTransformNode() is not None
    assert [path.name for path in tmp_path.iterdir()] == ["a.seg.nrrd"]
    back = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "back")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetScene(slicer.mrmlScene)
    storage.SetFileName(str(tmp_path / "a.seg.nrrd"))
    assert storage.ReadData(back)
    grid = scene_export.export_grid(segmentation)
    for one, other in zip(
        scene_export.organs_of_segmentation(segmentation, grid), scene_export.organs_of_segmentation(back, grid), strict=True
    ):
        assert (one.name, one.value, one.structure) == (other.name, other.value, other.structure)
        np.testing.assert_array_equal(one.mask(grid.shape), other.mask(grid.shape))


@AGAIN
@given(affine=affines(), seed=st.integers(0, 99))
def test_a_segmentation_file_read_by_simpleitk_has_every_voxel_at_its_world_place(
    scene_export: Any, parts: Any, tmp_path: Path, affine: np.ndarray, seed: int
) -> None:
    labels, matrix = phantom(affine), rigid(seed)
    ct, segmentation = in_scene(parts, labels)
    move(parts, matrix, ct, segmentation)
    scene_export.write_seg_nrrd(tmp_path / "a.seg.nrrd", segmentation, overwrite=True)
    image = SimpleITK.ReadImage(str(tmp_path / "a.seg.nrrd"))
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0, 3)
    expected = {
        "liver": labels.array == 5,
        "kidney_left": labels.array == 3,
        "aorta": labels.array == 52,
        "liver_tumor": tumor(affine).array,
    }
    for number in range(4):
        name = image.GetMetaData(f"Segment{number}_Name")
        layer = array[..., int(image.GetMetaData(f"Segment{number}_Layer"))]
        found = layer == int(image.GetMetaData(f"Segment{number}_LabelValue"))
        assert index_of(found, _LPS @ lps, matrix @ affine) == voxels(expected[name])


def test_an_existing_segmentation_file_is_never_replaced_unasked(scene_export: Any, parts: Any, tmp_path: Path) -> None:
    _, segmentation = in_scene(parts, phantom(np.eye(4)))
    (tmp_path / "a.seg.nrrd").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        scene_export.write_seg_nrrd(tmp_path / "a.seg.nrrd", segmentation)
    assert (tmp_path / "a.seg.nrrd").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        scene_export.write_seg_nrrd(tmp_path / "file" / "a.seg.nrrd", segmentation)


def test_without_a_ct_the_reference_geometry_of_the_segmentation_is_used(scene_export: Any, parts: Any) -> None:
    labels = phantom(rigid(3))
    segmentation = parts.segmentation_from_labels(labels, "organs")
    assert scene_export.reference_volume(segmentation) is None
    grid = scene_export.export_grid(segmentation)
    assert geometry.same_grid(grid.shape, grid.affine, labels.shape, labels.affine)


def test_a_segmentation_without_any_geometry_is_refused(scene_export: Any) -> None:
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(GeometryError, match="no reference geometry"):
        scene_export.export_grid(segmentation)
    with pytest.raises(InputError, match="no organ"):
        scene_export.write_seg_nrrd(Path("nowhere.seg.nrrd"), segmentation)


def test_a_transform_that_is_not_linear_is_refused_with_the_way_out(scene_export: Any, parts: Any, tmp_path: Path) -> None:
    _, segmentation = in_scene(parts, phantom(np.eye(4)))
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    segmentation.SetAndObserveTransformNodeID(warp.GetID())
    for act in (
        lambda: scene_export.organs_of_segmentation(segmentation, scene_export.export_grid(segmentation)),
        lambda: scene_export.write_seg_nrrd(tmp_path / "a.seg.nrrd", segmentation),
    ):
        with pytest.raises(GeometryError, match="warp") as caught:
            act()
        assert "Harden" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_what_lies_outside_the_ct_is_counted_before_it_is_cut_off(scene_export: Any, parts: Any) -> None:
    labels = phantom(np.diag([-2.0, -2.0, 3.0, 1.0]))
    _, segmentation = in_scene(parts, labels)
    grid = scene_export.export_grid(segmentation)
    assert scene_export.voxels_outside(segmentation, grid) == {}
    smaller = Grid((3, 8, 7), grid.affine)
    assert scene_export.voxels_outside(segmentation, smaller) == {"liver": 12, "kidney_left": 18, "aorta": 1, "liver_tumor": 8}


class Database:
    """Slicer's DICOM database, as far as it tells where an instance lies."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files

    def fileForInstance(self, uid: str) -> str:  # noqa: N802 - Slicer's name
        return str(self.files.get(uid, ""))


def test_a_ct_from_dicom_gives_a_segmentation_object_on_its_own_slices(
    scene_export: Any, parts: Any, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    folder = shared_data / "data" / "slab-dicom"
    labels = read_label_volume(folder / "reference_label.nii.gz", TABLE)
    files = {
        str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.MediaStorageSOPInstanceUID): path
        for path in (folder / "dicom").iterdir()
    }
    ct = parts.node_from_volume(read_volume(folder / "dicom"), "CT")
    ct.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    segmentation = parts.segmentation_from_labels(labels, "organs")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    move(parts, rigid(8), ct, segmentation)  # registered to something else: the object must not notice
    monkeypatch.setattr(slicer, "dicomDatabase", Database(files), raising=False)
    found = scene_export.dicom_files_of(segmentation)
    world, stored = scene_export.dicom_grids(segmentation, found)
    organs = scene_export.organs_of_segmentation(segmentation, world)
    write_dicom_seg(tmp_path / "a.dcm", organs, stored, found, scene_export.details_of(segmentation))
    for one in read_dicom_seg(tmp_path / "a.dcm", labels.grid):
        np.testing.assert_array_equal(one.mask(labels.shape), labels.array == TABLE.value_of(one.name))


def test_the_reason_why_there_is_no_dicom_segmentation_is_said(scene_export: Any, parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ct, segmentation = in_scene(parts, phantom(np.eye(4)))
    monkeypatch.setattr(slicer, "dicomDatabase", Database({}), raising=False)
    with pytest.raises(InputError, match="CT was not loaded from DICOM"):
        scene_export.dicom_files_of(segmentation)
    ct.SetAttribute("DICOM.instanceUIDs", "1.2 1.3")
    with pytest.raises(InputError, match="2 of the 2 DICOM files"):
        scene_export.dicom_files_of(segmentation)
    with pytest.raises(InputError, match="belongs to no CT"):
        scene_export.dicom_files_of(parts.segmentation_from_labels(phantom(np.eye(4)), "alone"))


def test_a_ct_that_is_not_on_the_voxels_of_its_files_is_refused(scene_export: Any, parts: Any, shared_data: Path) -> None:
    _, segmentation = in_scene(parts, phantom(np.eye(4)))
    files = sorted((shared_data / "data" / "slab-dicom" / "dicom").iterdir())
    with pytest.raises(GeometryError, match="CT does not lie on the voxels"):
        scene_export.dicom_grids(segmentation, files)


@pytest.mark.parametrize(
    ("role", "model", "kind", "algorithm"),
    [("model", "unet", "AUTOMATIC", "unet"), ("edited", "unet", "SEMIAUTOMATIC", "unet"), ("", "", "SEMIAUTOMATIC", "Atlas Annotator")],
)
def test_who_drew_it_is_told(scene_export: Any, parts: Any, role: str, model: str, kind: str, algorithm: str) -> None:
    segmentation = parts.segmentation_from_labels(phantom(np.eye(4)), "organs")
    segmentation.SetAttribute("AtlasAnnotator.Role", role)
    segmentation.SetAttribute("AtlasAnnotator.Model", model)
    details = scene_export.details_of(segmentation)
    assert (details.kind, details.algorithm, details.series_description) == (kind, algorithm, "organs")


def test_an_average_that_a_person_corrected_is_not_called_automatic() -> None:
    from AtlasSegmentLib.scene import ROLE
    from AtlasSegmentLib.scene_export import details_of
    from AtlasSegmentLib.scene_results import FINGERPRINT, fingerprint
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels, set_mask_of_segment

    array = np.zeros((6, 6, 6), np.uint8)
    array[1:4, 1:4, 1:4] = 6
    labels = LabelVolume(array, np.eye(4), "x", None, load_table("abdomenatlas"))
    node = segmentation_from_labels(labels, "average")
    node.SetAttribute(ROLE, "average")
    node.SetAttribute(FINGERPRINT, fingerprint(node))
    assert details_of(node).kind == "AUTOMATIC"
    set_mask_of_segment(node, "liver", labels.with_array(np.ones((6, 6, 6), np.uint8)))
    assert details_of(node).kind == "SEMIAUTOMATIC"
