"""The catalogue: strict about its form, true to the public texts it is taken from, and findable by what people type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.model_catalogue import CatalogueEntry, catalogue, entry_of_file, find_entries, read_catalogue

ENTRIES = {entry.name: entry for entry in catalogue()}
MODEL: dict[str, Any] = {
    "name": "a",
    "title": "A model",
    "family": "Somebody",
    "kind": "nnunet",
    "license": {"name": "MIT", "commercial": True, "form": False, "url": "https://example.org/license"},
    "source": "https://example.org",
}


def write(folder: Path, *models: Any) -> Path:
    """Write a catalogue and return its path."""
    path = folder / "catalogue.json"
    path.write_text(json.dumps({"format": "atlas-catalogue/1", "sources": [], "models": models}), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_model_says_who_made_it_on_which_terms_and_what_it_gives(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.license.name
    assert entry.license.url.startswith("https://")
    assert entry.citation
    assert entry.organs or entry.problem
    assert entry.files or entry.license.form
    assert len({file.url for file in entry.files}) == len(entry.files)


def test_the_ct_bundles_of_the_model_zoo_are_there_with_address_and_checksum() -> None:
    bundles = [entry for entry in catalogue() if entry.family == "MONAI model zoo"]
    assert {
        "spleen_ct_segmentation", "spleen_deepedit_annotation", "swin_unetr_btcv_segmentation", "multi_organ_segmentation", "vista3d",
        "wholeBody_ct_segmentation", "pancreas_ct_dints_segmentation", "pediatric_abdominal_ct_segmentation", "lung_nodule_ct_detection",
        "renalStructures_UNEST_segmentation", "renalStructures_CECT_segmentation",
    } == {entry.name for entry in bundles}  # fmt: skip
    assert all(len(entry.files) == 1 and entry.files[0].sha1 and entry.version in entry.files[0].url for entry in bundles)
    assert ENTRIES["wholeBody_ct_segmentation"].labels is not None
    assert dict(ENTRIES["wholeBody_ct_segmentation"].labels.labels) == dict(load_table("totalsegmentator_v1").labels)


def test_the_five_parts_of_totalsegmentator_are_its_117_structures_in_order() -> None:
    parts = find_entries("totalsegmentator-total")
    assert [entry.task for entry in parts] == [291, 292, 293, 294, 295]
    assert [name for entry in parts for name in entry.organs] == load_table("totalsegmentator_v2").names()
    assert all(entry.orientation == "RAS" and entry.spacing == (1.5, 1.5, 1.5) and entry.license.name == "Apache-2.0" for entry in parts)
    assert ENTRIES["totalsegmentator-total-fast"].organs == load_table("totalsegmentator_v2").names()
    assert [name for entry in find_entries("totalsegmentator-total_v3") for name in entry.organs][25] == "vertebrae_L6"


def test_totalsegmentators_table_is_the_published_one(shared_data: Path) -> None:
    published = json.loads((shared_data / "data/totalsegmentator_v2_labels.json").read_text())
    labels = published.get("labels", published)
    pairs = labels.items() if isinstance(labels, dict) else ((entry["value"], entry["name"]) for entry in labels)
    table = ENTRIES["totalsegmentator-total-fast"].labels
    assert table is not None
    by_value = dict(((int(key), value) if str(key).isdecimal() else (int(value), key)) for key, value in pairs)
    by_value.pop(0, None)
    assert dict(table.labels) == by_value


def test_autoorgans_seven_tasks_are_those_of_the_specification(shared_data: Path) -> None:
    tasks = json.loads((shared_data / "spec/autoorgan_tasks.json").read_text())["tasks"]
    entries = find_entries("autoorgan")
    assert {entry.name: entry.task for entry in entries} == {f"autoorgan-{task['key']}": task["task_id"] for task in tasks}
    for task in tasks:
        table = ENTRIES[f"autoorgan-{task['key']}"].labels
        assert table is not None
        assert dict(table.labels) == {label["value"]: label["name"] for label in task["labels"] if label["value"]}


def test_who_asks_for_a_form_or_forbids_commerce_is_marked() -> None:
    asking = {entry.name for entry in catalogue() if entry.license.needs_consent}
    assert {"multi_organ_segmentation", "vista3d", "abdomenatlas-universal-unet", "totalsegmentator-heartchambers_highres"} <= asking
    assert {entry.name for entry in find_entries("autoorgan")} <= asking
    assert "spleen_ct_segmentation" not in asking
    assert "totalsegmentator-total-fast" not in asking
    assert all(not entry.files for entry in catalogue() if entry.license.form)


def test_what_cannot_be_run_says_why() -> None:
    assert "boxes" in ENTRIES["lung_nodule_ct_detection"].problem
    assert "clicks" in ENTRIES["spleen_deepedit_annotation"].problem
    assert "prompts" in ENTRIES["vista3d"].problem


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["spleen", "deepedit"], ["spleen_deepedit_annotation"]),
        (["Gall Bladder", "pediatric"], []),
        (["gallbladder", "swin_unetr_btcv"], ["swin_unetr_btcv_segmentation"]),
        (["abdomenatlas"], ["abdomenatlas-universal-unet", "abdomenatlas-universal-swinunetr"]),
        (["registration needed", "skull"], ["autoorgan-global"]),
    ],
)
def test_models_are_found_by_structure_license_and_family(words: list[str], found: list[str]) -> None:
    assert [entry.name for entry in catalogue() if entry.matches(words)] == found


def test_a_name_that_is_not_there_gets_the_closest_ones() -> None:
    with pytest.raises(InputError, match="spleen_ct_segmentation") as caught:
        find_entries("spleen_ct_segmentaton")
    assert "Did you mean" in caught.value.remedy


def test_a_file_on_the_disk_is_known_by_its_checksum_else_by_its_name() -> None:
    spleen = ENTRIES["spleen_ct_segmentation"].files[0]
    assert entry_of_file("renamed.zip", {"sha1": spleen.sha1}) == (ENTRIES["spleen_ct_segmentation"], True)
    assert entry_of_file("spleen_ct_segmentation_v0.5.9.zip", {"sha1": "0" * 40}) is None
    part = ENTRIES["totalsegmentator-total-organs"]
    assert entry_of_file(part.files[0].url.rpartition("/")[2], {}) == (part, False)


def changed(**changes: Any) -> dict[str, Any]:
    return {**MODEL, **changes}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({key: value for key, value in MODEL.items() if key != "license"}, "license: got None"),
        (changed(nmae="b"), "nmae"),
        (changed(title=" "), "title"),
        (changed(name="../a"), "name"),
        (changed(set=".hidden"), "set"),
        (changed(kind="tensorflow"), "kind"),
        (changed(task=True), "task"),
        (changed(task=-1), "task"),
        (changed(source="http://example.org"), "https"),
        (changed(license={**MODEL["license"], "commercial": "yes"}), "commercial"),
        (changed(license={**MODEL["license"], "form": None}), "form"),
        (changed(license={**MODEL["license"], "more": 1}), "no other keys"),
        (changed(files=[{"url": "ftp://example.org/a.zip"}]), "url"),
        (changed(files=[{"url": "https://example.org/a.zip", "sha256": "abc"}]), "sha256"),
        (changed(files=[{"url": "https://example.org/a.zip", "sha256": "A" * 64}]), "sha256"),
        (changed(files=[{"url": "https://example.org/a.zip", "size": 1.5}]), "size"),
        (changed(files=[{"url": "https://example.org/a.zip", "save_as": "../a"}]), "save_as"),
        (changed(files={}), "files"),
        (changed(labels={"table": "nothing"}), "nothing"),
        (changed(labels={"table": "autoorgan_hip", "range": [2, 9]}), "labels"),
        (changed(labels={"names": {"1": "liver", "2": "Liver"}}), "labels"),
        (changed(labels={"names": {"x": "liver"}}), "labels"),
        (changed(orientation="RAR"), "orientation"),
        (changed(spacing=[1, 1]), "spacing"),
        (changed(spacing=[1, 1, 0]), "spacing"),
        ([], "expected an object"),
    ],
)
def test_a_wrong_field_is_refused_by_name(tmp_path: Path, model: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_catalogue(write(tmp_path, model))
    assert "catalogue.json" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("second", [MODEL, changed(name="A"), changed(name="b", set="a")], ids=["same", "case", "set"])
def test_two_models_of_one_name_are_refused(tmp_path: Path, second: Any) -> None:
    with pytest.raises(InputError, match=r"twice|both a model and a set"):
        read_catalogue(write(tmp_path, MODEL, second))


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other", "models": []}', '{"format": "atlas-catalogue/1", "models": {}}'])
def test_what_is_no_catalogue_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "catalogue.json").write_text(content)
    with pytest.raises(InputError):
        read_catalogue(tmp_path / "catalogue.json")


def test_a_minimal_model_is_read_with_what_is_unknown_left_empty(tmp_path: Path) -> None:
    (entry,) = read_catalogue(write(tmp_path, MODEL))
    assert isinstance(entry, CatalogueEntry)
    assert (entry.organs, entry.files, entry.size, entry.spacing, entry.orientation, entry.license.terms) == ([], (), None, None, "", "")


def test_sizes_add_up_only_when_all_are_published(tmp_path: Path) -> None:
    files = [{"url": "https://example.org/a.zip", "size": 3}, {"url": "https://example.org/b.zip", "size": 4}]
    assert read_catalogue(write(tmp_path, changed(files=files)))[0].size == 7
    files[1].pop("size")
    assert read_catalogue(write(tmp_path, changed(files=files)))[0].size is None
