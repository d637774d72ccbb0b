"""DICOM segmentations go in wherever label maps do, overlaps and all, and other programs read ours equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import typer
from typer.testing import CliRunner

from AtlasSegmentLib import intake
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.commands_export import export_command
from AtlasSegmentLib.commands_resample import resample_command
from AtlasSegmentLib.dicom_labels import label_map_of, read_label_object
from AtlasSegmentLib.dicom_seg import write_dicom_seg
from AtlasSegmentLib.dicom_seg_grid import seg_grid
from AtlasSegmentLib.dicom_seg_source import read_source_series
from AtlasSegmentLib.dicom_series import read_dicom_folder
from AtlasSegmentLib.errors import AtlasError, GeometryError, InputError
from AtlasSegmentLib.export_organs import Organ, organs_of_masks
from AtlasSegmentLib.geometry import apply_affine
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.sitk_formats import read_sitk
from AtlasSegmentLib.volume import Grid, Volume
from AtlasSegmentLib.volume_io import read_label_volume, read_volume
from dicom_phantoms import Phantom

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

APP = typer.Typer(pretty_exceptions_enable=False)
APP.callback()(lambda: None)
APP.command("export")(export_command)


def run(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(APP, ["export", *(str(argument) for argument in arguments), "--json"], catch_exceptions=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def on_grid(array: np.ndarray, own: Grid, grid: Grid) -> np.ndarray:
    """Return an array of a part of a grid on the whole grid."""
    found = np.zeros(grid.shape, array.dtype)
    index = np.rint(apply_affine(np.linalg.inv(grid.affine) @ own.affine, np.argwhere(array))).astype(int)
    found[tuple(index.T)] = array[array != 0]
    return found


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Grid, dict[str, np.ndarray]]:
    """Return (SEG, the CT's grid, masks) of a liver with a tumor in it, and a spleen."""
    files = Phantom().write(tmp_path / "ct")
    grid = read_source_series(files).grid
    masks = {name: np.zeros(grid.shape, np.bool_) for name in ("liver", "liver_tumor", "spleen")}
    masks["liver"][1:6, 1:8, 1:4] = True
    masks["liver_tumor"][2:4, 3:5, 2:4] = True
    masks["spleen"][8:11, 2:9, 1:3] = True
    write_dicom_seg(tmp_path / "seg.dcm", organs_of_masks(masks), grid, files)
    return tmp_path / "seg.dcm", grid, masks


# What the real objects hold, by their label maps -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "labels"), [("liver", "liver_seg"), ("partial_overlaps", "partial_overlaps")])
def test_real_objects_hold_their_label_maps_on_their_own_grid_and_the_cts(shared_data: Path, name: str, labels: str) -> None:
    folder = shared_data / "data" / "overlap-dicomseg"
    ct = read_dicom_folder(folder).grid
    layers = [read_sitk(path) for path in sorted(folder.glob(f"{labels}*.nrrd"))]
    own_organs, own = read_label_object(folder / f"{name}.dcm")
    organs, _ = read_label_object(folder / f"{name}.dcm", ct)
    assert own.shape[:2] == ct.shape[:2]
    for one, two in zip(own_organs, organs, strict=True):
        layer = next(layer for layer in layers if (layer.array == one.value).any())
        expected = on_grid(layer.array == one.value, layer.grid, ct)
        np.testing.assert_array_equal(two.mask(ct.shape), expected)
        np.testing.assert_array_equal(on_grid(one.mask(own.shape), own, ct), expected)


def test_a_real_object_with_overlaps_is_no_label_map_but_masks(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "data" / "overlap-dicomseg" / "partial_overlaps.dcm"
    with pytest.raises(InputError, match=r"Organs overlap.*GREEN") as caught:
        read_volume(path)
    assert "--format organs" in caught.value.remedy
    told = run(path, "--format", "organs", "--out", tmp_path / "out", "--dicom", path.parent)
    assert told["organs"] == 5
    organs, grid = read_label_object(path, read_dicom_folder(path.parent).grid)
    for organ, file in zip(organs, told["files"], strict=True):
        found = read_nifti(Path(file))
        np.testing.assert_array_equal(found.array, organ.mask(grid.shape))
        np.testing.assert_allclose(found.affine, grid.affine, atol=1e-3)


def test_a_real_object_without_overlaps_is_a_label_map_of_its_segment_numbers(shared_data: Path) -> None:
    folder = shared_data / "data" / "overlap-dicomseg"
    found, expected = read_volume(folder / "liver.dcm"), read_sitk(folder / "liver_seg.nrrd")
    ct = read_dicom_folder(folder).grid
    np.testing.assert_array_equal(on_grid(found.array, found.grid, ct), on_grid(expected.array, expected.grid, ct))


# Our objects in other programs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [True, False])
def test_highdicom_reads_our_object_equal(tmp_path: Path, made: Any, overlap: bool) -> None:
    path, grid, masks = made
    if not overlap:
        masks["liver"] &= ~masks["liver_tumor"]
        write_dicom_seg(path, organs_of_masks(masks), grid, sorted((tmp_path / "ct").iterdir()), overwrite=True)
    found = highdicom.seg.segread(path)
    uids = [header.SOPInstanceUID for header in read_source_series(sorted((tmp_path / "ct").iterdir())).datasets]
    pixels = found.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for number, mask in enumerate(masks.values()):
        np.testing.assert_array_equal(pixels[..., number].transpose(2, 1, 0), mask)
    assert [found.get_segment_description(n).segment_label for n in (1, 2, 3)] == list(masks)
    assert found.get_segment_description(1).segmented_property_type == highdicom.sr.coding.CodedConcept("10200004", "SCT", "Liver")
    assert found.get_segment_description(1).algorithm_identification.name == "Atlas Annotator"
    volume = found.get_volume(combine_segments=False)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    for number, mask in enumerate(masks.values()):
        index = apply_affine(np.linalg.inv(grid.affine) @ affine, np.argwhere(volume.array[..., number]))
        assert {*map(tuple, np.rint(index).astype(int).tolist())} == {*map(tuple, np.argwhere(mask).tolist())}


def test_simpleitk_reads_the_frames_of_our_object(made: Any) -> None:
    path, _, masks = made
    frames = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO"))
    counts = [int(mask[:, :, z].sum()) for mask in masks.values() for z in range(mask.shape[2]) if mask[:, :, z].any()]
    assert sorted(np.count_nonzero(frame) for frame in frames) == sorted(counts)


# Objects of other kinds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LABELMAP", "FRACTIONAL"])
def test_label_map_and_fractional_objects_are_read(tmp_path: Path, made: Any, kind: str) -> None:
    _, grid, masks = made
    source = read_source_series(sorted((tmp_path / "ct").iterdir()))
    concept = highdicom.sr.coding.CodedConcept("85756007", "SCT", "Tissue")
    described = [
        highdicom.seg.SegmentDescription(n, name, concept, concept, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL)
        for n, name in enumerate(("liver", "spleen"), 1)
    ]
    pixels = (masks["liver"] + 2 * masks["spleen"]).transpose(2, 1, 0).astype(np.uint8)
    if kind == "FRACTIONAL":
        pixels = np.stack([pixels == 1, pixels == 2], -1).astype(np.float32) * 0.6
    shared = {"series_number": 9, "instance_number": 1, "manufacturer": "X", "manufacturer_model_name": "X"}
    uids = {"series_instance_uid": pydicom.uid.generate_uid(), "sop_instance_uid": pydicom.uid.generate_uid()}
    other = highdicom.seg.Segmentation(
        source.datasets, pixels, kind, described, **shared, **uids, software_versions="1", device_serial_number="1"
    )
    other.save_as(tmp_path / "other.dcm")
    found, _ = read_label_object(tmp_path / "other.dcm", grid)
    assert [one.name for one in found] == ["liver", "spleen"]
    for one in found:
        np.testing.assert_array_equal(one.mask(grid.shape), masks[one.name])


def test_the_own_grid_ends_where_the_segments_end_and_keeps_gaps(tmp_path: Path) -> None:
    files = Phantom((12, 10, 9)).write(tmp_path / "ct")
    grid = read_source_series(files).grid
    mask = np.zeros(grid.shape, np.bool_)
    mask[3:6, 3:6, [2, 3, 6]] = True
    write_dicom_seg(tmp_path / "a.dcm", organs_of_masks({"liver": mask}), grid, files)
    own = seg_grid(tmp_path / "a.dcm")
    assert own.shape == (12, 10, 5)
    (found,), _ = read_label_object(tmp_path / "a.dcm")
    np.testing.assert_array_equal(on_grid(found.mask(own.shape), own, grid), mask)
    single = np.zeros(grid.shape, np.bool_)
    single[3, 3, 4] = True
    write_dicom_seg(tmp_path / "b.dcm", organs_of_masks({"liver": single}), grid, files)
    assert seg_grid(tmp_path / "b.dcm").shape == (12, 10, 1)


# Where label maps are taken ---------------------------------------------------------------------------------------------------------


def test_a_segmentation_gets_the_values_of_the_table_that_is_asked_for(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    path, grid, masks = made
    table = load_table("totalsegmentator_v2")
    found = read_label_volume(path, table)
    assert found.table is table
    liver, spleen = (on_grid(found.array == table.value_of(name), found.grid, grid) for name in ("liver", "spleen"))
    np.testing.assert_array_equal(liver, masks["liver"])
    np.testing.assert_array_equal(spleen, masks["spleen"])
    assert "liver_tumor in liver" in caplog.text
    whole = label_map_of(path, load_table("abdomenatlas"), grid)
    assert whole.shape == grid.shape == read_label_volume(path, table, grid).shape
    with pytest.raises(AtlasError, match="has no value for any"):
        read_label_volume(path, LabelTable("own", "own", {1: "prostate"}))


def test_a_segmentation_is_resampled_like_a_label_map(tmp_path: Path, made: Any) -> None:
    path, grid, masks = made
    masks["liver"] &= ~masks["liver_tumor"]
    write_dicom_seg(path, organs_of_masks(masks), grid, sorted((tmp_path / "ct").iterdir()), overwrite=True)
    app = typer.Typer()
    app.command()(resample_command)
    arguments = [str(path), str(tmp_path / "out.nii.gz"), "--like", str(tmp_path / "ct"), "--labels"]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    found = read_nifti(tmp_path / "out.nii.gz").array
    for value, mask in enumerate(masks.values(), 1):
        np.testing.assert_array_equal(found == value, mask)


def test_a_segmentation_as_original_labels_gets_the_values_of_its_dataset(tmp_path: Path, made: Any) -> None:
    path, grid, masks = made
    ct = intake.read_ct(tmp_path / "ct")
    case = CaseFolder(tmp_path / "set" / "scan")
    original = intake.read_original(path, ct, "10_03")  # Decathlon, liver: 1 liver, 2 its tumor
    intake.store(case, (tmp_path / "ct", ct), (path, original))
    stored = read_nifti(case.original_label)
    assert stored.shape == grid.shape
    np.testing.assert_array_equal(stored.array, np.where(masks["liver_tumor"], 2, masks["liver"].astype(int)))


def test_a_segmentation_of_another_ct_is_refused(tmp_path: Path, made: Any) -> None:
    path, _, _ = made
    Phantom(origin=(-49.7, 20.0, 300.0)).write(tmp_path / "other")
    with pytest.raises(GeometryError, match=r"seg\.dcm: the segmentation does not lie on the voxels"):
        intake.read_original(path, intake.read_ct(tmp_path / "other"))


def renamed(path: Path, *keywords: str) -> None:
    """Give all UIDs of these keywords in a DICOM file other values, as another export of another patient would have."""
    dataset = pydicom.dcmread(path)
    for element in dataset.iterall():
        if element.keyword in keywords:
            element.value = pydicom.uid.generate_uid(entropy_srcs=[element.value])
    dataset.save_as(path)


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "SeriesInstanceUID"])
def test_labels_of_another_ct_at_the_same_place_are_warned_of(
    tmp_path: Path, made: Any, caplog: pytest.LogCaptureFixture, kind: str, keyword: str
) -> None:
    told = {"FrameOfReferenceUID": "drawn on another frame of reference", "SeriesInstanceUID": "drawn on another series"}[keyword]
    _, grid, masks = made
    case = CaseFolder(tmp_path / "set" / "scan")
    intake.store(case, (tmp_path / "ct", intake.read_ct(tmp_path / "ct")))
    write_nifti(case.average.mask("liver"), Volume(masks["liver"].astype(np.uint8), grid.affine))
    path = Path(run(case.folder, "--format", kind, "--out", tmp_path / kind)["files"][0])
    again = ("--format", "nifti", "--dicom", tmp_path / "ct")
    run(path, *again, "--out", tmp_path / "same")
    read_stated_labels(path, None, read_nifti(case.ct).grid)
    assert "drawn on another" not in caplog.text
    renamed(path, keyword, *(["ReferencedFrameOfReferenceUID"] if keyword.startswith("Frame") else []))
    run(path, *again, "--out", tmp_path / "other")
    assert told in caplog.text
    caplog.clear()
    read_stated_labels(path, None, read_nifti(case.ct).grid)  # the case has kept the series' UID
    assert ("drawn on another series" in caplog.text) == (keyword == "SeriesInstanceUID")


def test_a_case_that_came_from_dicom_goes_back_to_its_slices_unasked(tmp_path: Path, made: Any) -> None:
    _, grid, masks = made
    case = CaseFolder(tmp_path / "set" / "scan")
    intake.store(case, (tmp_path / "ct", intake.read_ct(tmp_path / "ct")))
    for name in ("liver", "spleen"):
        write_nifti(case.average.mask(name), Volume(masks[name].astype(np.uint8), grid.affine))
    uids = {str(header.SOPInstanceUID) for header in read_source_series(sorted((tmp_path / "ct").iterdir())).datasets}
    for kind in ("dicom-seg", "rtstruct"):
        told = run(case.folder, "--format", kind, "--out", tmp_path / kind)
        found, _ = read_label_object(Path(told["files"][0]), grid)
        assert {one.name for one in found} == {"liver", "spleen"}
        for one in found:
            np.testing.assert_array_equal(one.mask(grid.shape), masks[one.name])
        text = pydicom.dcmread(told["files"][0]).to_json()
        assert all(uid in text for uid in uids)


@pytest.mark.parametrize("kind", ["nifti", "nrrd", "dicom-seg", "rtstruct"])
def test_objects_are_converted_into_one_another(tmp_path: Path, made: Any, kind: str) -> None:
    path, grid, masks = made
    run(path, "--format", "rtstruct", "--dicom", tmp_path / "ct", "--out", tmp_path / "rt")
    options = ["--format", kind, "--dicom", tmp_path / "ct", "--values", "abdomenatlas", "--accept-losses"]
    for source in (path, tmp_path / "rt.dcm"):
        told = run(source, *options, "--out", tmp_path / f"{source.stem}_{kind}")
        target = Path(told["files"][0])
        if kind in {"nifti", "nrrd"}:
            table = load_table("abdomenatlas")
            found: list[Organ] = []
            labels = read_label_volume(target, table)
            assert labels.shape == grid.shape
            np.testing.assert_array_equal(labels.array == table.value_of("spleen"), masks["spleen"])
        else:
            found = read_label_object(target, grid)[0]
            assert [one.name for one in found] == list(masks)
        for one in found:
            np.testing.assert_array_equal(one.mask(grid.shape), masks[one.name])


def test_a_structure_set_without_its_ct_says_what_is_missing(tmp_path: Path, made: Any) -> None:
    path, _, _ = made
    run(path, "--format", "rtstruct", "--dicom", tmp_path / "ct", "--out", tmp_path / "rt")
    with pytest.raises(InputError, match="contours and no voxels") as caught:
        read_volume(tmp_path / "rt.dcm")
    assert "--dicom" in caught.value.remedy


def test_a_frame_of_a_segment_that_is_not_described_is_refused(made: tuple[Path, Grid, dict[str, np.ndarray]]) -> None:
    path, grid, _ = made
    dataset = pydicom.dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 77
    dataset.save_as(path)
    with pytest.raises(InputError, match="belongs to segment 77"):
        read_label_object(path, grid)
