"""The datasets of AbdomenAtlas: what is annotated there, and what the original values mean."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from AtlasSegmentLib.dataset_annotations import (
    OVERLAP_CLASSES,
    TARGET_CLASSES,
    annotated_classes,
    dataset_key,
    dataset_keys,
    merged_sides,
    original_value_map,
)
from AtlasSegmentLib.errors import LabelError
from AtlasSegmentLib.labels import load_table

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED = (REPOSITORY / os.environ.get("ATLAS_SHARED", "../shared")).resolve()


def specification() -> str:
    """Return the text of the AbdomenAtlas specification, or skip."""
    path = SHARED / "spec" / "1_abdomenatlas.md"
    if not path.is_file():
        pytest.skip("the AbdomenAtlas specification is not here (set ATLAS_SHARED)")
    return path.read_text(encoding="utf-8")


def numbers(text: str) -> list[int]:
    """Return [1, 2, 3, 11] of "1-3,11" or "1..3,11"."""
    ends = [re.split(r"-|\.\.", part) for part in text.split(",")]
    return [value for end in ends for value in range(int(end[0]), int(end[-1]) + 1)]


def lists_of(text: str) -> dict[str, list[int]]:
    """Return {"01": [1..14], "02": ...} of "01:[1-14] · 02,03:[6]"."""
    rows = re.findall(r"((?:\d\d(?:_\d+)?,?)+):\[([\d.,-]+)\]", text)
    return {key: numbers(values) for keys, values in rows for key in keys.split(",")}


def test_annotated_organs_are_those_of_the_specification() -> None:
    text = specification().split("Already-annotated organs")[1].split("Dataset 10 key")[0]
    listed = lists_of(text)
    assert len(listed) == 21
    assert {key: sorted(annotated_classes(key)) for key in dataset_keys()} == listed


def test_original_values_are_those_of_the_specification() -> None:
    text = specification().split("Value map:")[1].split("L/R split")[0]
    listed = lists_of(text.replace("01:1..14 identity", "01:[1..14]"))
    assert len(listed) == 18
    assert {key: list(original_value_map(key).values()) for key in listed} == listed
    for key in set(dataset_keys()) - set(listed):
        with pytest.raises(LabelError, match=key):
            original_value_map(key)


def test_merged_sides_are_those_of_the_specification() -> None:
    text = specification().split("L/R split (merged original classes)")[1].split("Bugs:")[0]
    expected: dict[str, list[tuple[int, int, int]]] = {}
    for both, right, left, keys in re.findall(r"(\d+)→(\d+)/(\d+) for ([\d,]+)", text):
        for key in keys.strip(",").split(","):
            expected.setdefault(key, []).append((int(both), int(right), int(left)))
    assert len(expected) == 7
    assert {key: merged_sides(key) for key in dataset_keys() if merged_sides(key)} == expected


def test_merged_sides_name_the_right_organ_first() -> None:
    table = load_table("abdomenatlas")
    for key in dataset_keys():
        for both, right, left in merged_sides(key):
            assert both == right
            assert table.structure_of(right).name.endswith("_right")
            assert table.structure_of(right).partner == table.structure_of(left).name


def test_target_and_overlap_classes_are_those_of_the_specification() -> None:
    text = specification()
    target = re.search(r"attention\): \{([\d,]+)\}", text)
    assert target is not None
    assert list(TARGET_CLASSES) == numbers(target[1])
    listed = text.split("ORGAN_NAME_OVERLAP (20):")[1].split("(no vessels")[0]
    sided = listed.replace("kidneys R/L", "kidney_right, kidney_left").replace("adrenals R/L", "adrenal_right, adrenal_left")
    sided = sided.replace("lungs R/L", "lung_right, lung_left").replace("femurs L/R", "femur_left, femur_right")
    table = load_table("abdomenatlas")
    assert sorted(table.value_of(name.strip()) for name in sided.split(",")) == sorted(OVERLAP_CLASSES)
    assert len(OVERLAP_CLASSES) == 20


def test_all_classes_are_in_the_inference_table() -> None:
    values = set(load_table("abdomenatlas").labels)
    assert values >= set(TARGET_CLASSES) | set(OVERLAP_CLASSES)
    for key in dataset_keys():
        assert annotated_classes(key) <= values


@pytest.mark.parametrize(
    ("dataset", "case", "key"),
    [
        ("01_Multi-Atlas_Labeling", "img0001", "01"),
        ("01_2_Multi-Atlas_Labeling", "img0001", "01_2"),
        ("01_2", "", "01_2"),
        ("01_2023", "img", "01"),
        ("02_TCIA_Pancreas-CT/PANCREAS_0001", "", "02"),
        ("./05 KiTS/case 1", "", "05"),
        ("18", "", "18"),
        ("10_Decathlon/Task03_Liver/liver_1", "", "10_03"),
        ("10_Decathlon/Task06_Lung", "lung_001", "10_06"),
        ("10_Decathlon\\Task10_Colon\\colon_1", "", "10_10"),
        ("10_Decathlon", "hepaticvessel_012", "10_08"),
        ("10_Decathlon_pancreas_001", "", "10_07"),
        ("10_Decathlon/spleen_2", "", "10_09"),
        ("10_03_Decathlon", "case", "10_03"),
        ("10_Decathlon", "Task02_Heart/la_003", None),
        ("10_Decathlon", "patient08", None),
        ("11_Other", "liver_1", None),
        ("0124_hospital", "case", None),
        ("hospital/01_BTCV", "", None),
        ("1_short", "", None),
        ("", "", None),
    ],
)
def test_the_dataset_of_a_case_is_told_by_its_folder(dataset: str, case: str, key: str | None) -> None:
    assert dataset_key(dataset, case) == key


def test_decathlon_task_stands_at_the_published_characters() -> None:
    path = "10_Decathlon/Task07_Pancreas/pancreas_001"
    assert dataset_key(path) == f"10_{path[17:19]}"


@pytest.mark.parametrize("key", [None, "99"])
def test_unknown_dataset_has_nothing_annotated_and_no_value_map(key: str | None) -> None:
    assert annotated_classes(key) == frozenset()
    assert merged_sides(key) == []
    with pytest.raises(LabelError) as caught:
        original_value_map(key)
    assert "original_label.nii.gz" in caught.value.remedy


def test_dropped_values_are_known_and_background() -> None:
    pancreas_ct = original_value_map("02")
    assert (pancreas_ct[2], pancreas_ct[7], pancreas_ct[11], pancreas_ct[14]) == (0, 7, 11, 14)
    assert original_value_map("12") == {1: 6, 2: 21, 3: 16, 4: 2}
