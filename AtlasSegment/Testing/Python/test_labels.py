"""Label tables say what the published sources say, and names are understood in every spelling."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib.errors import LabelError
from AtlasSegmentLib.labels import LabelTable, catalog, load_table, name_key, resolve, structure_for, table_names
from AtlasSegmentLib.resources import resource_path

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED = (REPOSITORY / os.environ.get("ATLAS_SHARED", "../shared")).resolve()
AUTOORGAN = ("global", "vertebrae", "rib", "upper_limb", "hip", "lower_limb", "organ")
LEFT, RIGHT = "7771000", "24028007"


def reference(*parts: str) -> Path:
    """Return a file of the specification, or skip."""
    path = SHARED.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"the specification file {Path(*parts)} is not here (set ATLAS_SHARED)")
    return path


def section(title: str) -> str:
    """Return one section of the AbdomenAtlas specification."""
    text = reference("spec", "1_abdomenatlas.md").read_text(encoding="utf-8")
    return text.split(f"## {title}")[1].split("\n## ")[0]


def numbered(text: str) -> dict[int, str]:
    """Return {4: "gall_bladder"} of "4 gall_bladder, ..."."""
    return {int(value): name for value, name in re.findall(r"\b(\d+) ([a-z]+(?:_[a-z]+)*)", text)}


def json_labels(path: Path) -> dict[int, str]:
    """Return {1: "spleen"} of a JSON file {"1": "spleen"}, without background."""
    return {int(value): name for value, name in json.loads(path.read_text(encoding="utf-8")).items() if value != "0"}


def test_inference_table_is_the_published_order() -> None:
    listed = section("1.1").split("32 channels")[1].split("→")[0].split("\n", 1)[1].replace("[sic]", "")
    assert dict(load_table("abdomenatlas").labels) == numbered(listed)
    assert len(load_table("abdomenatlas")) == 32


def test_release_tables_are_the_published_orders() -> None:
    text = section("1.8")
    first = numbered(text.split("combined_labels:")[1].split("1.1 adds")[0])
    added = numbered(text.split("1.1 adds")[1].split("(alphabetical")[0])
    assert len(first) == 9
    assert len(added) == 16
    assert dict(load_table("abdomenatlas_1_0").labels) == first
    assert dict(load_table("abdomenatlas_1_1").labels) == {**first, **added}


@pytest.mark.parametrize("key", AUTOORGAN)
def test_autoorgan_tables_are_its_tasks(key: str) -> None:
    tasks = json.loads(reference("spec", "autoorgan_tasks.json").read_text(encoding="utf-8"))["tasks"]
    assert {task["key"] for task in tasks} == set(AUTOORGAN)
    task = next(task for task in tasks if task["key"] == key)
    expected = {entry["value"]: entry["name"] for entry in task["labels"] if entry["value"]}
    table = load_table(f"autoorgan_{key}")
    assert dict(table.labels) == expected
    assert str(task["task_id"]) in table.source


@pytest.mark.parametrize(("version", "count"), [(1, 104), (2, 117)])
def test_totalsegmentator_tables_are_its_class_maps(version: int, count: int) -> None:
    table = load_table(f"totalsegmentator_v{version}")
    assert dict(table.labels) == json_labels(reference("data", f"totalsegmentator_v{version}_labels.json"))
    assert len(table) == count


def test_segae_table_is_its_list_without_the_two_fillers() -> None:
    with reference("spec", "segae_142_labels.csv").open(encoding="utf-8", newline="") as file:
        rows = {int(row["id"]): row["name"].strip() for row in csv.DictReader(file)}
    table = load_table("segae")
    assert dict(table.labels) == {value: name for value, name in rows.items() if value > 1}
    assert len(table) == 143


def test_segae_names_mean_the_totalsegmentator_names_of_its_map() -> None:
    with reference("spec", "segae_142_labels.csv").open(encoding="utf-8", newline="") as file:
        named = [(int(row["id"]), row["totalsegmentator_v1_name_in_original_map"]) for row in csv.DictReader(file)]
    # The two entries the specification calls wrong: urinary_bladder is 17, and face is no structure of SegAE.
    pairs = [(value, name) for value, name in named if name and name not in {"urinary_bladder", "face"}]
    table = load_table("segae")
    assert len(pairs) == 102
    assert [(table.value_of(name), name) for _, name in pairs] == pairs
    assert table.value_of("urinary_bladder") == 17
    assert table.value_of("prostate") == 19


@pytest.mark.parametrize("name", table_names())
def test_every_published_name_is_in_the_catalog(name: str) -> None:
    table = load_table(name)
    assert table.name == name
    assert [resolve(published).name for published in table.names()] == [table.structure_of(v).name for v in table.labels]
    assert all(table.value_of(published) == value == table.value_of(resolve(published).name) for value, published in table.labels.items())


@pytest.mark.parametrize("name", table_names())
def test_table_files_hold_values_and_names_only(name: str) -> None:
    data = json.loads(resource_path("Labels", f"{name}.json").read_text(encoding="utf-8"))
    assert set(data) == {"format", "name", "title", "source", "labels"}
    assert data == load_table(name).to_json()


def test_all_tables_are_there() -> None:
    expected = {"abdomenatlas", "abdomenatlas_1_0", "abdomenatlas_1_1", "totalsegmentator_v1", "totalsegmentator_v2", "segae"}
    expected |= {"autoorgan_whole_body"}
    assert set(table_names()) == expected | {f"autoorgan_{key}" for key in AUTOORGAN}


def test_no_two_structures_share_a_spelling() -> None:
    spellings = Counter(name_key(name) for s in catalog().values() for name in (s.name, *s.aliases))
    assert [name for name, count in spellings.items() if count > 1] == []
    listed = json.loads(resource_path("Labels", "structures.json").read_text(encoding="utf-8"))["structures"]
    assert len(listed) == len(catalog())


def test_no_two_structures_share_a_color() -> None:
    colors = [structure.color for structure in catalog().values()]
    assert len(set(colors)) == len(colors)
    assert all(len(color) == 3 and all(0 <= channel <= 255 for channel in color) for color in colors)


def test_partners_are_symmetric_and_differ_in_their_side_only() -> None:
    paired = [structure for structure in catalog().values() if structure.partner]
    assert len(paired) == 100
    for structure in paired:
        partner = catalog()[structure.partner or ""]
        assert partner.partner == structure.name
        assert partner.name != structure.name
        assert partner.name.replace("_left", "_right") == structure.name.replace("_left", "_right")
        if structure.snomed and partner.snomed:
            assert structure.snomed.code == partner.snomed.code
            assert {structure.snomed.modifier, partner.snomed.modifier} == {LEFT, RIGHT}


def test_codes_name_the_side_the_name_says() -> None:
    sides = {LEFT: "left", RIGHT: "right"}
    coded = [s for s in catalog().values() if s.snomed and s.snomed.modifier]
    assert len(coded) > 90
    assert all(sides[str(s.snomed and s.snomed.modifier)] in s.name.split("_") for s in coded)


def test_anatomical_codes_are_not_used_twice_for_one_side() -> None:
    used = Counter((s.snomed.code, s.snomed.modifier, s.snomed.region) for s in catalog().values() if s.snomed)
    shared = {code[0] for code, count in used.items() if count > 1}
    assert shared == {"108369006", "28641004"}  # tumors of the liver, phalanges of hand and foot


def test_wholes_exist_and_form_no_loop() -> None:
    for structure in catalog().values():
        seen, current = {structure.name}, structure
        while current.part_of:
            current = catalog()[current.part_of]
            assert current.name not in seen
            seen.add(current.name)


def test_heart_chambers_are_no_mirror_twins() -> None:
    assert resolve("heart_atrium_left").partner is None
    assert resolve("kidney_left").partner == "kidney_right"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("gallbladder", "gall_bladder"),
        ("Inferior Vena Cava", "postcava"),
        ("urinary-bladder", "bladder"),
        ("small_bowel", "intestine"),
        ("celiac_truck", "celiac_trunk"),
        (" Left  Kidney ", "kidney_left"),
        ("costa 7 right", "rib_right_7"),
        ("VERTEBRAE_c1", "vertebrae_C1"),
        ("bronchie", "bronchi"),
    ],
)
def test_names_are_understood_in_other_spellings(spelling: str, name: str) -> None:
    assert resolve(spelling).name == name


def test_misspelled_name_is_answered_with_close_ones() -> None:
    with pytest.raises(LabelError, match="splen") as caught:
        resolve("splen")
    assert "spleen" in caught.value.remedy
    with pytest.raises(LabelError) as caught:
        load_table("abdomenatlas").value_of("pancras")
    assert "pancreas" in caught.value.remedy
    with pytest.raises(LabelError, match="qqq") as caught:
        load_table("abdomenatlas").value_of("qqq")
    assert "spleen" in caught.value.remedy


def test_own_structures_work_without_the_catalog() -> None:
    table = LabelTable.from_labels("mine", {"0": "background", "1": "My Organ", 2: "gallbladder"})
    assert dict(table.labels) == {1: "My Organ", 2: "gallbladder"}
    assert table.value_of("my_organ") == 1
    assert table.value_of("gall_bladder") == 2
    own = table.structure_of(1)
    assert own == structure_for("my organ")
    assert own.snomed is None
    assert all(0 <= channel <= 255 for channel in own.color)
    assert own.color == (213, 67, 67)  # the same on every machine and in every run


def test_background_has_no_name() -> None:
    table = load_table("abdomenatlas")
    assert table.name_of(25) == "celiac_truck"
    for value in (0, 33):
        with pytest.raises(LabelError, match=f"no value {value}"):
            table.name_of(value)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({1: "liver", 2: "liver"}, "one structure"),
        ({1: "gallbladder", 2: "gall_bladder"}, "one structure"),
        ({1: "my organ", 2: "My_Organ"}, "one structure"),
        ({1: "liver", "1": "spleen"}, "listed twice"),
        ({-1: "liver"}, "-1"),
        ({"-1": "liver"}, "-1"),
        ({1.5: "liver"}, "1.5"),
        ({"one": "liver"}, "'one'"),
        ({True: "liver"}, "True"),
        ({65536: "liver"}, "65536"),
        ({1: ""}, "file name"),
        ({1: "../liver"}, "file name"),
        ({1: ["liver"]}, "not text"),
    ],
)
def test_impossible_labels_are_refused(labels: dict[Any, Any], reason: str) -> None:
    with pytest.raises(LabelError, match=re.escape(reason)) as caught:
        LabelTable.from_labels("model", labels)
    assert "model" in caught.value.message


def test_values_outside_the_table_are_named_with_the_file() -> None:
    table = load_table("abdomenatlas_1_0")
    table.require_values(range(10), "label.nii.gz")
    with pytest.raises(LabelError) as caught:
        table.require_values([0, 1, *range(100, 112)], "case 1/label.nii.gz")
    message = caught.value.message
    assert message.startswith("case 1/label.nii.gz: label values 100, 101, 102, 103, 104, 105, 106, 107, 108, 109 and 2 more")
    assert "abdomenatlas_1_0" in message
    with pytest.raises(LabelError, match="-3"):
        table.require_values([-3], "label.nii.gz")


def test_unknown_table_and_foreign_file_are_refused() -> None:
    with pytest.raises(LabelError) as caught:
        load_table("../../pyproject")
    assert "abdomenatlas_1_1" in caught.value.remedy
    for data in ({}, [], {"format": "atlas-labels/2", "name": "x", "labels": {}}, {"format": "atlas-labels/1", "name": "x"}):
        with pytest.raises(LabelError, match=r"mine\.json"):
            LabelTable.from_json(data, "mine.json")


def test_a_table_cannot_be_changed_and_crosses_processes() -> None:
    table = load_table("abdomenatlas")
    with pytest.raises(TypeError):
        table.labels[1] = "liver"  # type: ignore[index]
    again = pickle.loads(pickle.dumps(table))
    assert again == table
    assert hash(again) == hash(table)
    assert again.value_of("liver") == 6


@given(st.dictionaries(st.integers(1, 65535), st.from_regex(r"[a-zA-Z][a-zA-Z0-9]{0,8}", fullmatch=True), max_size=8))
def test_tables_survive_json(labels: dict[int, str]) -> None:
    unique = {structure_for(name).name: (value, name) for value, name in labels.items()}
    table = LabelTable.from_labels("mine", dict(unique.values()), "My table")
    assert LabelTable.from_json(json.loads(json.dumps(table.to_json()))) == table
    assert list(table.labels) == sorted(table.labels)
    assert len(table) == len(unique)
