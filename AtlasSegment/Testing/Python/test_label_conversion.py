"""Label maps move between tables by meaning: nothing is renumbered to another organ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from AtlasSegmentLib.errors import LabelError
from AtlasSegmentLib.label_conversion import convert_labels, lost_names, swap_sides, value_mapping
from AtlasSegmentLib.labels import LabelTable, catalog, load_table, table_names
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import LabelVolume

TABLES = [load_table(name) for name in table_names()]


def label_volume(array: np.ndarray, table: LabelTable | None) -> LabelVolume:
    return LabelVolume(array, np.diag([-1.5, -1.5, 2.0, 1.0]), "label.nii.gz", None, table)


def converted(source: str, target: str, *names: str) -> list[int]:
    mapping = value_mapping(load_table(source), load_table(target))
    return [mapping[load_table(source).value_of(name)] for name in names]


@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=20), elements=st.integers(0, 25)))
def test_release_1_1_to_inference_order_and_back_changes_nothing(array: np.ndarray) -> None:
    release, inference = load_table("abdomenatlas_1_1"), load_table("abdomenatlas")
    volume = label_volume(array, release)
    there = convert_labels(volume, inference)
    back = convert_labels(there, release)
    np.testing.assert_array_equal(back.array, array)
    assert back.table == release
    assert back.array.dtype == np.uint8


def test_each_organ_of_release_1_1_keeps_its_name_in_inference_order() -> None:
    release, inference = load_table("abdomenatlas_1_1"), load_table("abdomenatlas")
    mapping = value_mapping(release, inference)
    assert {release.structure_of(a).name: inference.structure_of(b).name for a, b in mapping.items()} == {
        structure.name: structure.name for structure in map(release.structure_of, release.labels)
    }
    assert (mapping[1], mapping[8], mapping[13]) == (8, 1, 25)  # aorta, spleen, celiac trunk


@given(st.sampled_from(TABLES), st.sampled_from(TABLES))
def test_a_value_becomes_its_structure_or_a_whole_that_holds_it(source: LabelTable, target: LabelTable) -> None:
    for value, new in value_mapping(source, target).items():
        wholes = [source.structure_of(value)]
        while wholes[-1].part_of:
            wholes.append(catalog()[wholes[-1].part_of])
        present = [whole.name for whole in wholes if whole.name in {target.structure_of(v).name for v in target.labels}]
        assert present[:1] == ([target.structure_of(new).name] if new else [])


@given(st.sampled_from(TABLES), st.sampled_from(TABLES))
def test_there_and_back_brings_exact_matches_home(source: LabelTable, target: LabelTable) -> None:
    there, back = value_mapping(source, target), value_mapping(target, source)
    exact = {value: new for value, new in there.items() if new and source.structure_of(value) == target.structure_of(new)}
    assert {value: back[new] for value, new in exact.items()} == {value: value for value in exact}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_converts_to_itself_without_loss(table: LabelTable) -> None:
    assert value_mapping(table, table) == {value: value for value in table.labels}
    assert lost_names(table, table) == []


@pytest.mark.parametrize("version", ["totalsegmentator_v1", "totalsegmentator_v2"])
def test_totalsegmentator_names_find_their_abdomenatlas_classes(version: str) -> None:
    names = ("urinary_bladder", "gallbladder", "inferior_vena_cava", "small_bowel", "kidney_left", "kidney_right")
    assert converted(version, "abdomenatlas", *names) == [21, 4, 9, 19, 3, 2]


@pytest.mark.parametrize("version", ["totalsegmentator_v1", "totalsegmentator_v2", "segae", "autoorgan_organ"])
def test_lobes_merge_into_their_lung(version: str) -> None:
    right = ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right")
    assert converted(version, "abdomenatlas", *right) == [16, 16, 16]
    assert converted(version, "abdomenatlas", "lung_upper_lobe_left", "lung_lower_lobe_left") == [17, 17]


def test_totalsegmentator_bladder_is_the_bladder_of_segae_and_not_its_prostate() -> None:
    assert converted("totalsegmentator_v2", "segae", "urinary_bladder", "prostate") == [17, 19]


def test_parts_of_the_skeleton_merge_into_the_global_groups() -> None:
    names = ("vertebrae_L3", "rib_left_7", "humerus_right", "sacrum", "vertebrae_S1", "hip_left", "femur_left", "skull")
    assert converted("totalsegmentator_v2", "autoorgan_global", *names) == [2, 3, 4, 5, 5, 5, 6, 1]


def test_lesions_stay_with_their_organ_when_the_target_has_no_lesions() -> None:
    assert converted("abdomenatlas", "abdomenatlas_1_1", "liver_tumor", "pancreas_tumor") == [5, 6]
    assert lost_names(load_table("abdomenatlas"), load_table("abdomenatlas_1_1")) == ["kidney_tumor", "lung_tumor", "kidney_cyst"]


def test_wholes_are_not_split_and_losses_are_named() -> None:
    lost = lost_names(load_table("abdomenatlas_1_1"), load_table("totalsegmentator_v2"))
    assert lost == ["celiac_trunk", "lung_left", "lung_right", "rectum"]


@given(st.sampled_from(TABLES))
def test_swapping_sides_twice_changes_nothing(table: LabelTable) -> None:
    swap = swap_sides(table)
    assert {value: swap[swap[value]] for value in swap} == {value: value for value in table.labels}


def test_swapping_sides_swaps_kidneys_and_leaves_the_liver() -> None:
    swap = swap_sides(load_table("abdomenatlas"))
    assert (swap[2], swap[3], swap[6]) == (3, 2, 6)
    assert swap_sides(LabelTable.from_labels("one side", {1: "kidney_left"})) == {1: 1}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64])
def test_any_integer_type_is_converted_on_the_same_grid(dtype: type) -> None:
    array = np.zeros((5, 4, 40), dtype)
    array[1, 2, 3], array[4, 3, 39] = 104, 55  # TotalSegmentator 1: urinary_bladder, small_bowel
    volume = label_volume(array, load_table("totalsegmentator_v1"))
    result = convert_labels(volume, load_table("abdomenatlas"))
    expected = np.zeros((5, 4, 40), np.uint8)
    expected[1, 2, 3], expected[4, 3, 39] = 21, 19
    np.testing.assert_array_equal(result.array, expected)
    np.testing.assert_array_equal(result.affine, volume.affine)
    assert result.array.dtype == np.uint8
    assert (array[1, 2, 3], array[4, 3, 39]) == (104, 55)


def test_large_target_values_need_two_bytes() -> None:
    target = LabelTable.from_labels("large", {300: "spleen"})
    result = convert_labels(label_volume(np.full((2, 2, 2), 1, np.uint8), load_table("abdomenatlas")), target)
    assert result.array.dtype == np.uint16
    assert np.unique(result.array).tolist() == [300]


def test_a_mask_of_true_and_false_converts() -> None:
    result = convert_labels(label_volume(np.ones((2, 2, 2), bool), load_table("abdomenatlas")), load_table("abdomenatlas_1_0"))
    assert np.unique(result.array).tolist() == [8]


@pytest.mark.parametrize(("value", "dtype"), [(33, np.uint8), (-1, np.int16), (70000, np.int32)])
def test_values_outside_the_source_table_are_refused(value: int, dtype: type) -> None:
    array = np.zeros((2, 2, 2), dtype)
    array[0, 1, 0] = value
    with pytest.raises(LabelError, match=rf"label\.nii\.gz: label values {value} "):
        convert_labels(label_volume(array, load_table("abdomenatlas")), load_table("abdomenatlas_1_1"))


def test_maps_without_table_or_integers_are_refused() -> None:
    with pytest.raises(LabelError, match="no label table"):
        convert_labels(label_volume(np.zeros((2, 2, 2), np.uint8), None), load_table("abdomenatlas"))
    with pytest.raises(LabelError, match="float32"):
        convert_labels(label_volume(np.zeros((2, 2, 2), np.float32), load_table("abdomenatlas")), load_table("abdomenatlas"))


def test_converted_map_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    array = np.arange(26, dtype=np.uint8).reshape(13, 2, 1)
    result = convert_labels(label_volume(array, load_table("abdomenatlas_1_1")), load_table("abdomenatlas"))
    write_nifti(tmp_path / "label.nii.gz", result)
    np.testing.assert_array_equal(read_nifti(tmp_path / "label.nii.gz").array, result.array)
