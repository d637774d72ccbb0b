"""dataset.json: output channels and painted values are those of nnU-Net itself; labels that break its rules are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.nnunet_labels import parse_dataset, read_dataset

REGIONS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing": 3}


def dataset(labels: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return a dataset.json."""
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 4, "file_ending": ".nii.gz", **others}


def refusal(content: Any) -> str:
    """Return what a dataset.json is refused with."""
    with pytest.raises(ModelError) as caught:
        parse_dataset(content)
    assert caught.value.remedy
    return caught.value.message


def test_without_regions_every_value_has_a_channel_and_background_is_channel_0() -> None:
    found = parse_dataset(dataset({"background": 0, "liver": 2, "spleen": 1}, name="Abdomen"))
    assert (found.heads, found.has_regions, found.regions, found.regions_class_order) == (3, False, None, ())
    assert (found.foreground, found.ignore_label) == ((1, 2), None)
    assert found.table.labels == {1: "spleen", 2: "liver"}
    assert (found.name, found.table.name, found.channel_names, found.file_ending) == ("Abdomen", "Abdomen", ("CT",), ".nii.gz")


def test_the_ignore_label_has_no_channel_and_no_name() -> None:
    found = parse_dataset(dataset({"background": 0, "spleen": 1, "liver": 2, "ignore": 3}))
    assert (found.heads, found.ignore_label, found.foreground) == (3, 3, (1, 2))
    assert found.table.names() == ["spleen", "liver"]


def test_regions_have_a_channel_each_and_the_painted_values_carry_their_names() -> None:
    found = parse_dataset(dataset(REGIONS, regions_class_order=[1, 3, 2]))
    assert (found.heads, found.regions) == (3, ((1, 2, 3), (2, 3), (3,)))
    assert found.regions_class_order == (1, 3, 2)
    assert dict(found.table.labels) == {1: "whole tumor", 2: "enhancing", 3: "tumor core"}
    assert found.foreground == (1, 2, 3)


def test_regions_and_the_ignore_label_go_together() -> None:
    found = parse_dataset(dataset({**REGIONS, "ignore": 4}, regions_class_order=[1, 2, 3]))
    assert (found.heads, found.ignore_label, found.foreground) == (3, 4, (1, 2, 3))


def test_a_list_of_one_value_alone_makes_no_region_as_in_nnunet() -> None:
    found = parse_dataset(dataset({"background": 0, "spleen": [1], "liver": 2}))
    assert (found.heads, found.has_regions) == (3, False)


def test_a_cascade_gets_one_more_input_channel_for_each_structure() -> None:
    found = parse_dataset(dataset({"background": 0, "spleen": 1, "liver": 2, "ignore": 3}, channel_names={"0": "CT", "1": "PET"}))
    assert (found.channels_in(cascade=False), found.channels_in(cascade=True)) == (2, 4)


def test_channels_are_ordered_by_number_and_the_old_key_is_read() -> None:
    names = {str(number): f"image {number}" for number in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9)}
    assert parse_dataset(dataset({"background": 0, "a": 1}, channel_names=names)).channel_names == tuple(f"image {n}" for n in range(11))
    old = dataset({"background": 0, "a": 1}, modality={"0": "CT"})
    del old["channel_names"]
    assert parse_dataset(old).channel_names == ("CT",)


def test_a_name_that_can_be_no_file_gets_one_that_can() -> None:
    found = parse_dataset(dataset({"background": 0, "edema/necrosis": 1}))
    assert found.table.names() == ["edema_necrosis"]
    assert found.labels["edema/necrosis"] == (1,)


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        ({"0": "background", "1": "spleen"}, "nnU-Net v1"),
        ({}, "background is missing"),
        ({"spleen": 1}, "background is missing"),
        ({"background": 1, "spleen": 0}, "background is 1"),
        ({"background": [0], "spleen": 1}, "background is [0]"),
        ({"background": 0}, "no structure"),
        ({"background": 0, "spleen": 1, "liver": 3}, "'liver' is 3, expected 2"),
        ({"background": 0, "spleen": 1, "liver": 1}, "expected 2"),
        ({"background": 0, "spleen": 2}, "'spleen' is 2, expected 1"),
        ({"background": 0, "spleen": 1, "liver": 3, "ignore": 2}, "ignore is 2"),
        ({"background": 0, "spleen": 1, "ignore": 5}, "ignore is 5, expected the value after the highest, 2"),
        ({"background": 0, "spleen": 1, "ignore": [2]}, "ignore is [2]"),
        ({"background": 0, "spleen": 1.0}, "spleen is 1.0"),
        ({"background": 0, "spleen": True}, "spleen is True"),
        ({"background": 0, "spleen": "1"}, "spleen is '1'"),
        ({"background": 0, "spleen": -1}, "spleen is -1"),
        ({"background": 0, "spleen": 70000}, "70000"),
        ({"background": 0, "spleen": []}, "spleen is []"),
        ({"background": 0, "spleen": [1, 1]}, "every value once"),
        ({"background": 0, "spleen": 1, "Spleen": 2}, "name one structure"),
        ({"background": 0, "": 1}, "file name"),
        (["spleen"], "labels is ['spleen']"),
        (None, "labels is None"),
    ],
)
def test_labels_that_break_a_rule_are_named(labels: Any, part: str) -> None:
    assert part in refusal(dataset(labels))


@pytest.mark.parametrize("order", [None, [1, 2], [1, 2, 2], [0, 1, 2], [1, 2, 3, 4], "123", [1, 2, "3"], 3])
def test_regions_need_one_value_each_to_be_painted_with(order: Any) -> None:
    assert "regions_class_order" in refusal(dataset(REGIONS, regions_class_order=order))


@pytest.mark.parametrize("channels", [None, {}, ["CT"], {"1": "CT"}, {"0": 3}, {"0": ""}])
def test_channels_must_be_numbered_names(channels: Any) -> None:
    assert "channel_names" in refusal(dataset({"background": 0, "a": 1}, channel_names=channels))


@st.composite
def good_labels(draw: st.DrawFn) -> tuple[dict[str, Any], list[int] | None]:
    """Return labels and regions_class_order that nnU-Net takes."""
    count = draw(st.integers(1, 6))
    values = list(range(1, count + 1))
    labels: dict[str, Any] = {"background": 0}
    if count == 1 or draw(st.booleans()):
        labels |= {f"s{value}": value for value in draw(st.permutations(values))}
        order = None
    else:
        regions = draw(st.lists(st.lists(st.sampled_from(values), min_size=1, unique=True), min_size=1, max_size=5))
        labels |= {f"r{number}": region[0] if len(region) == 1 else region for number, region in enumerate([values, *regions])}
        order = draw(st.permutations(range(1, len(regions) + 2)))
    if draw(st.booleans()):
        labels["ignore"] = count + 1
    return labels, order


@settings(max_examples=100, deadline=None)
@given(good_labels())
def test_heads_and_values_are_those_of_nnunets_own_label_manager(given_labels: tuple[dict[str, Any], list[int] | None]) -> None:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    labels, order = given_labels
    theirs = LabelManager(labels, order)
    ours = parse_dataset(dataset(labels, **({} if order is None else {"regions_class_order": order})))
    assert ours.heads == theirs.num_segmentation_heads
    assert ours.has_regions == theirs.has_regions
    assert list(ours.foreground) == theirs.foreground_labels
    assert ours.ignore_label == theirs.ignore_label
    if ours.regions is not None:
        assert list(ours.regions) == [region if isinstance(region, tuple) else (region,) for region in theirs.foreground_regions]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["labels", "channel_names", "regions_class_order", "file_ending", "name"]), JSON_VALUES, JSON_VALUES)
def test_odd_content_gives_a_model_error_or_a_dataset(key: str, value: Any, label: Any) -> None:
    for content in ({**dataset(REGIONS, regions_class_order=[1, 2, 3]), key: value}, dataset({"background": 0, "a": 1, "b": label})):
        try:
            parse_dataset(content)
        except ModelError as error:
            assert error.message  # noqa: PT017 - any other error fails the test


@pytest.mark.parametrize("content", ["[]", "{", ""])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ModelError, match=r"dataset\.json"):
        read_dataset(tmp_path)


def test_a_dataset_without_a_name_has_that_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(dataset({"background": 0, "a": 1})))
    assert read_dataset(tmp_path).table.name == tmp_path.name
