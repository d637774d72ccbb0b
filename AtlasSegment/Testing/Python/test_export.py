"""Exported label maps and masks hold the published values at the right place, and say beforehand what they cannot hold."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AtlasSegmentLib import export_job
from AtlasSegmentLib.errors import GeometryError, InputError, LabelError, StorageError
from AtlasSegmentLib.export import label_map_paths, merge_organs, write_label_map, write_organ_files
from AtlasSegmentLib.export_formats import NIFTI, NRRD, ORGANS, ExportRequest, export_organs, planned_files, with_ending
from AtlasSegmentLib.export_organs import Organ, file_names, organs_of_labels, organs_of_masks, painting_order
from AtlasSegmentLib.geometry import Matrix
from AtlasSegmentLib.labels import LabelTable, load_table, structure_for
from AtlasSegmentLib.volume import Grid, LabelVolume

SHAPE = (6, 5, 4)
GRID = Grid(SHAPE, np.diag([-2.0, -2.0, 3.0, 1.0]), "CT")
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def box(*sides: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, np.bool_, order="F")
    mask[sides] = True
    return mask


def organ(name: str, mask: np.ndarray, value: int | None = None) -> Organ:
    return Organ(name, structure_for(name), lambda: mask, value)


LIVER = box(slice(0, 4))
TUMOR = box(slice(1, 3), slice(1, 3), slice(1, 3))
SPLEEN = box(slice(5, 6))


def lies_on(found: np.ndarray, found_affine: Matrix, mask: np.ndarray, affine: Matrix) -> bool:
    """Tell whether the voxels of two masks are at the same world places, by more than a thousandth of a voxel exactly."""
    points = np.argwhere(found) @ found_affine[:3, :3].T + found_affine[:3, 3]
    index = (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    whole = np.rint(index).astype(int)
    return bool(np.abs(index - whole).max(initial=0) < 1e-3) and {*map(tuple, whole.tolist())} == {*map(tuple, np.argwhere(mask).tolist())}


@st.composite
def affines(draw: st.DrawFn, turned: bool = True) -> Matrix:
    """Any order and direction of the axes, any spacing, oblique when `turned`."""
    order = draw(st.permutations(range(3)))
    axes = np.eye(3)[:, order] * [draw(st.sampled_from((-1, 1))) for _ in range(3)]
    if turned:
        q, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 99))).normal(size=(3, 3)))
        axes = q @ axes
    matrix = np.eye(4)
    matrix[:3, :3] = axes * [draw(st.sampled_from((0.7, 1.0, 2.5))) for _ in range(3)]
    matrix[:3, 3] = [draw(st.integers(-300, 300)) for _ in range(3)]
    return matrix


LABELS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).choice([0, 0, 2, 5, 52], SHAPE).astype(np.uint8))
AGAIN = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@AGAIN
@given(affines(), LABELS)
def test_every_label_keeps_its_world_place_in_nifti_read_by_nibabel(tmp_path: Path, affine: Matrix, array: np.ndarray) -> None:
    labels = LabelVolume(array, affine, "labels", None, load_table("totalsegmentator_v2"))
    merged = merge_organs(organs_of_labels(labels), labels.grid) if array.any() else None
    if merged is None:
        return
    path = write_label_map(tmp_path / "a.nii.gz", merged, overwrite=True)[0]
    image = nib.load(path)
    for value in (2, 5, 52):
        assert lies_on(np.asarray(image.dataobj) == value, image.affine, array == value, affine)


@AGAIN
@given(affines(), LABELS)
def test_every_label_keeps_its_world_place_in_nrrd_read_by_simpleitk(tmp_path: Path, affine: Matrix, array: np.ndarray) -> None:
    labels = LabelVolume(array, affine, "labels", None, load_table("totalsegmentator_v2"))
    if not array.any():
        return
    path = write_label_map(tmp_path / "a.nrrd", merge_organs(organs_of_labels(labels), labels.grid), overwrite=True)[0]
    image = SimpleITK.ReadImage(str(path))
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    voxels = SimpleITK.GetArrayFromImage(image).transpose()
    for value in (2, 5, 52):
        assert lies_on(voxels == value, _LPS @ lps, array == value, affine)


@AGAIN
@given(affines(), LABELS)
def test_every_organ_file_keeps_its_world_place(tmp_path: Path, affine: Matrix, array: np.ndarray) -> None:
    labels = LabelVolume(array, affine, "labels", None, load_table("totalsegmentator_v2"))
    organs = organs_of_labels(labels)
    if not organs:
        return
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    for path, one in zip(write_organ_files(folder, organs, labels.grid), organs, strict=True):
        image = nib.load(path)
        assert path.name == f"{one.name}.nii.gz"
        assert lies_on(np.asarray(image.dataobj) == 1, image.affine, array == one.value, affine)


def test_values_that_a_model_published_are_never_renumbered() -> None:
    array = np.zeros(SHAPE, np.uint16)
    array[0], array[1] = 1, 7
    labels = LabelVolume(array, GRID.affine, "", None, LabelTable("own", "own", {1: "spleen", 7: "aorta", 9: "colon"}))
    merged = merge_organs(organs_of_labels(labels), GRID)
    np.testing.assert_array_equal(merged.labels.array, array)
    assert [(entry.value, entry.name, entry.voxels) for entry in merged.entries] == [(1, "spleen", 20), (7, "aorta", 20)]
    assert merged.remarks() == []


@pytest.mark.parametrize(("table", "value"), [("abdomenatlas", 8), ("abdomenatlas_1_1", 1), ("totalsegmentator_v2", 52)])
def test_a_chosen_table_gives_its_own_published_value(table: str, value: int) -> None:
    merged = merge_organs([organ("aorta", LIVER, 3)], GRID, load_table(table))
    assert set(np.unique(merged.labels.array)) == {0, value}


def test_an_organ_that_the_table_lacks_is_named_and_not_dropped_silently() -> None:
    merged = merge_organs([organ("liver", LIVER), organ("My lesion", SPLEEN)], GRID, load_table("abdomenatlas_1_1"))
    assert merged.left_out == ("My lesion",)
    assert any("My lesion" in remark and "left out" in remark for remark in merged.remarks())
    assert not merged.labels.array[SPLEEN].any()


def test_a_table_without_any_of_the_organs_is_refused() -> None:
    with pytest.raises(LabelError, match="My lesion"):
        merge_organs([organ("My lesion", LIVER)], GRID, load_table("abdomenatlas_1_1"))


def test_a_lung_lobe_becomes_its_lung_where_the_table_has_only_lungs() -> None:
    lobe = organ("lung_upper_lobe_left", LIVER)
    merged = merge_organs([lobe], GRID, load_table("abdomenatlas"))
    assert set(np.unique(merged.labels.array)) == {0, load_table("abdomenatlas").value_of("lung_left")}
    assert any("lung_upper_lobe_left in lung_left" in remark for remark in merged.remarks())


def test_the_later_segment_covers_the_earlier_one_and_the_loss_is_counted() -> None:
    above, below = organ("stomach", LIVER, 1), organ("spleen", TUMOR, 2)
    merged = merge_organs([above, below], GRID)
    assert merged.covered == {("stomach", "spleen"): int(TUMOR.sum())}
    assert (merged.labels.array[TUMOR] == 2).all()
    assert any(f"spleen over stomach ({TUMOR.sum()} voxels)" in remark for remark in merged.remarks())


@pytest.mark.parametrize("names", [("liver", "liver_tumor"), ("liver_tumor", "liver")])
def test_a_part_covers_its_whole_wherever_it_stands_in_the_list(names: tuple[str, str]) -> None:
    masks = {"liver": LIVER, "liver_tumor": TUMOR}
    merged = merge_organs([organ(name, masks[name]) for name in names], GRID, load_table("abdomenatlas"))
    assert (merged.labels.array[TUMOR] == load_table("abdomenatlas").value_of("liver_tumor")).all()


@given(st.permutations(["kidney_tumor", "spleen", "kidney", "liver", "kidney_left", "aorta"]))
def test_only_parts_leave_the_order_of_the_list(names: list[str]) -> None:
    ordered = [one.name for one in painting_order([organ(name, LIVER) for name in names])]
    assert sorted(ordered) == sorted(names)
    assert ordered.index("kidney") < ordered.index("kidney_tumor")
    assert ordered.index("kidney") < ordered.index("kidney_left")
    unrelated = {"spleen", "liver", "aorta"}
    assert [name for name in ordered if name in unrelated] == [name for name in names if name in unrelated]


def test_a_segment_without_a_value_of_its_own_gets_a_new_one_and_that_is_said() -> None:
    merged = merge_organs([organ("liver", LIVER, 6), organ("my lesion", TUMOR), organ("other", SPLEEN, 6)], GRID)
    assert merged.labels.table is not None
    assert dict(merged.labels.table.labels) == {6: "liver", 7: "my lesion", 8: "other"}
    assert any("my lesion = 7, other = 8" in remark for remark in merged.remarks())


def test_two_segments_of_one_name_get_two_values_with_two_names() -> None:
    merged = merge_organs([organ("gallbladder", LIVER, 1), organ("gall_bladder", SPLEEN, 2), organ("gallbladder", TUMOR, 3)], GRID)
    assert [entry.value for entry in merged.entries] == [1, 2, 3]
    assert len({entry.name for entry in merged.entries}) == 3


def test_values_above_255_are_stored_in_16_bits(tmp_path: Path) -> None:
    path = write_label_map(tmp_path / "a.nii.gz", merge_organs([organ("liver", LIVER, 300)], GRID))[0]
    assert nib.load(path).get_data_dtype() == np.uint16


def test_the_table_beside_a_label_map_tells_value_name_color_and_code(tmp_path: Path) -> None:
    merged = merge_organs([organ("kidney_left", LIVER, 3), organ("=cmd()", SPLEEN, 9)], GRID)
    _, csv_path, json_path = write_label_map(tmp_path / "case.nii.gz", merged, source="case")
    rows = list(csv.DictReader(csv_path.read_text(encoding="utf-8").splitlines()))
    assert csv_path.name == "case_labels.csv"
    color = structure_for("kidney_left").color
    assert (rows[0]["value"], rows[0]["name"], rows[0]["red"], rows[0]["snomed_code"]) == ("3", "kidney_left", str(color[0]), "64033007")
    assert rows[0]["snomed_modifier"] == "left"
    assert rows[0]["voxels"] == str(LIVER.sum())
    assert rows[1]["name"] == "'=cmd()"
    data = json.loads(json_path.read_text())
    assert LabelTable.from_json(data).labels == {3: "kidney_left", 9: "=cmd()"}
    assert data["structures"][0]["color"] == list(color)


def test_an_existing_file_is_never_replaced_unasked(tmp_path: Path) -> None:
    merged = merge_organs([organ("liver", LIVER, 1)], GRID)
    (tmp_path / "a_labels.csv").write_text("mine")
    with pytest.raises(InputError, match=r"a_labels\.csv: is there already"):
        write_label_map(tmp_path / "a.nii.gz", merged)
    assert [path.name for path in tmp_path.iterdir()] == ["a_labels.csv"]
    assert write_label_map(tmp_path / "a.nii.gz", merged, overwrite=True) == label_map_paths(tmp_path / "a.nii.gz")
    assert (tmp_path / "a_labels.csv").read_text() != "mine"


def test_an_old_table_never_stands_beside_a_new_label_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_label_map(tmp_path / "a.nii.gz", merge_organs([organ("liver", LIVER, 1)], GRID))

    def full_disk(*_: object) -> None:
        raise StorageError("a_labels.csv: cannot be written")  # noqa: EM101

    monkeypatch.setattr("AtlasSegmentLib.export.write_tables", full_disk)
    with pytest.raises(StorageError):
        write_label_map(tmp_path / "a.nii.gz", merge_organs([organ("spleen", LIVER, 1)], GRID), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_masks_of_two_cases_never_mix_in_one_folder(tmp_path: Path) -> None:
    write_organ_files(tmp_path, [organ("liver", LIVER), organ("colon", SPLEEN)], GRID)
    with pytest.raises(InputError, match="masks of other organs"):
        write_organ_files(tmp_path, [organ("liver", SPLEEN)], GRID, overwrite=True)
    with pytest.raises(InputError, match="is there already"):
        write_organ_files(tmp_path, [organ("colon", SPLEEN), organ("liver", LIVER)], GRID)


def test_overlapping_organs_are_whole_in_files_of_their_own(tmp_path: Path) -> None:
    empty = np.zeros(SHAPE, np.bool_)
    paths = write_organ_files(tmp_path, [organ("liver", LIVER), organ("liver_tumor", TUMOR), organ("colon", empty)], GRID)
    assert paths[0] == tmp_path / "segmentations" / "liver.nii.gz"
    for path, mask in zip(paths, (LIVER, TUMOR, empty), strict=True):
        image = nib.load(path)
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(image.dataobj), mask)


@given(st.lists(st.text(max_size=250), max_size=8))
def test_any_segment_name_gives_a_file_name_of_its_own(names: list[str]) -> None:
    found = file_names([organ(name, LIVER) for name in names])
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        assert Path("folder", f"{name}.nii.gz").parent == Path("folder")
        assert len(name.encode()) < 230
        assert not name.startswith(".")


@given(
    st.lists(
        st.sampled_from(["liver", "Liver", "LIVER ", "hepar", "gallbladder", "gall bladder", "a", "a_2", "A/2", ""]), min_size=1, max_size=8
    )
)
def test_any_names_give_a_label_table(names: list[str]) -> None:
    merged = merge_organs([organ(name, LIVER, number) for number, name in enumerate(names, 1)], GRID)
    assert len(merged.entries) == len(names)


def test_no_file_passes_for_a_reader_s_correction_of_another_organ() -> None:
    assert file_names([organ("liver", LIVER), organ("liver_revised", SPLEEN)]) == ["liver", "liver_revised_mask"]


def test_organs_that_become_one_value_do_not_lose_voxels_to_each_other() -> None:
    lobes = [organ("lung_upper_lobe_left", LIVER), organ("lung_lower_lobe_left", TUMOR)]
    assert merge_organs(lobes, GRID, load_table("abdomenatlas")).covered == {}


def test_a_mask_on_another_grid_is_refused() -> None:
    with pytest.raises(GeometryError, match="spleen"):
        merge_organs([organ("spleen", np.ones((2, 2, 2), np.bool_))], GRID)


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no organ"):
        merge_organs([], GRID)
    with pytest.raises(InputError, match="no organ"):
        write_organ_files(tmp_path, [], GRID)


def test_a_label_map_with_losses_is_written_only_when_they_are_accepted(tmp_path: Path) -> None:
    organs = organs_of_masks({"stomach": LIVER, "spleen": lambda: TUMOR})
    request = ExportRequest(NIFTI, tmp_path / "a.nii.gz", "abdomenatlas")
    refused = export_organs(organs, GRID, request)
    assert refused.files == ()
    assert "spleen over stomach" in refused.remarks[0]
    assert list(tmp_path.iterdir()) == []
    written = export_organs(organs, GRID, ExportRequest(NIFTI, request.path, "abdomenatlas", accept_losses=True))
    assert len(written.files) == 3
    assert written.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_gives_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_label_map(tmp_path / "file" / "a.nii.gz", merge_organs([organ("liver", LIVER, 1)], GRID))


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("a", "nifti", "a.nii.gz"),
        ("a.nii.gz", "nrrd", "a.nrrd"),
        ("a.seg.nrrd", "nrrd", "a.nrrd"),
        ("a.nrrd", "seg-nrrd", "a.seg.nrrd"),
        ("a.v2", "dicom-seg", "a.v2.dcm"),
        ("a.NII.GZ", "nifti", "a.NII.GZ"),
        ("folder", "organs", "folder"),
        ("a.nii", "nrrd", "a.nrrd"),
    ],
)
def test_the_ending_follows_the_format(name: str, kind: str, expected: str) -> None:
    assert with_ending(Path("x") / name, kind) == Path("x") / expected


def test_an_export_is_the_same_through_the_child_process(tmp_path: Path) -> None:
    organs = [organ("liver", LIVER, 6), organ("my lesion", TUMOR), organ("kidney_cyst_left", SPLEEN, 4), organ("colon", LIVER & ~LIVER, 9)]
    packed = tmp_path / "packed"
    packed.mkdir()
    shares = [share for share, _ in export_job.pack_organs(packed, organs, GRID)]
    assert shares == [0, 0.25, 0.5, 0.75]
    for kind, name in ((NIFTI, "a.nii.gz"), (NRRD, "b.nrrd"), (ORGANS, "organs")):
        request = ExportRequest(kind, tmp_path / "child" / name, accept_losses=True)
        arguments = json.loads(json.dumps(export_job.as_arguments(request)))
        result = export_job.export_packed(str(packed), arguments)
        direct = export_organs(organs, GRID, ExportRequest(kind, tmp_path / "direct" / name, accept_losses=True))
        assert json.loads(json.dumps(result))["organs"] == direct.organs
        assert result["remarks"] == list(direct.remarks)
        for here, there in zip(direct.files, result["files"], strict=True):
            assert here.read_bytes() == Path(there).read_bytes()
    assert planned_files(ORGANS, tmp_path, organs)[1].name == "my lesion.nii.gz"


def test_masks_that_were_not_handed_over_whole_are_refused(tmp_path: Path) -> None:
    next(export_job.pack_organs(tmp_path, [organ("liver", LIVER)], GRID))
    with pytest.raises(InputError, match="missing"):
        export_job.unpack_organs(tmp_path)
