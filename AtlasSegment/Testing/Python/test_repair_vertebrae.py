"""Fragments of vertebrae: who takes them, what is removed, what is left, and the real case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from AtlasSegmentLib.components import Mask, bounding_box
from AtlasSegmentLib.errors import InputError, LabelError
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.repair_vertebrae import FragmentRule, VertebraOptions, repair_vertebrae
from AtlasSegmentLib.volume import LabelVolume
from AtlasSegmentLib.volume_io import read_label_volume

TABLE = LabelTable("spine", "", {1: "vertebrae_T11", 2: "vertebrae_T12", 3: "vertebrae_L1", 4: "liver"})
UPPER, MIDDLE, LOWER, LIVER = 1, 2, 3, 4


def spine() -> LabelVolume:
    """Return three vertebrae in RAS, 2 mm voxels: T11 above T12 above L1, with a disc between."""
    array = np.zeros((30, 30, 40), np.uint8)
    for value, first in ((LOWER, 4), (MIDDLE, 15), (UPPER, 26)):
        array[10:20, 10:20, first : first + 10] = value
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    return LabelVolume(array, affine, "spine", None, TABLE)


def painted(labels: LabelVolume, box: tuple[slice, slice, slice], value: int) -> LabelVolume:
    array = labels.array.copy()
    array[box] = value
    return replace(labels, array=array)


def in_pieces(array: np.ndarray) -> int:
    """Return how many labels have more than one 26-connected piece."""
    boxes = enumerate(ndimage.find_objects(array), 1)
    return sum(ndimage.label(array[box] == value, np.ones((3, 3, 3)))[1] > 1 for value, box in boxes if box is not None)


EMBEDDED = (slice(12, 16), slice(12, 16), slice(30, 34))
ON_TOP = (slice(14, 16), slice(14, 16), slice(36, 38))
FAR = (slice(1, 3), slice(1, 3), slice(1, 3))


def test_a_part_inside_another_vertebra_becomes_that_vertebra() -> None:
    found = repair_vertebrae(painted(spine(), EMBEDDED, MIDDLE))
    assert np.array_equal(found.labels.array, spine().array)
    (change,) = found.report.changes
    assert (change.step, change.label, change.to, change.voxels, change.ml) == ("vertebrae", "vertebrae_T12", "vertebrae_T11", 64, 0.512)
    assert "100%" in change.reason


def test_also_when_that_vertebra_is_no_neighbor() -> None:
    assert np.array_equal(repair_vertebrae(painted(spine(), EMBEDDED, LOWER)).labels.array, spine().array)


@pytest.mark.parametrize("box", [ON_TOP, FAR])
def test_a_speck_that_sticks_out_or_lies_far_away_is_removed(box: tuple[slice, slice, slice]) -> None:
    found = repair_vertebrae(painted(spine(), box, MIDDLE))
    assert np.array_equal(found.labels.array, spine().array)
    assert [change.to for change in found.report.changes] == [None]


def test_the_documented_rule_gives_a_speck_to_what_it_touches() -> None:
    damaged = painted(spine(), ON_TOP, MIDDLE)
    found = repair_vertebrae(damaged, VertebraOptions(FragmentRule.DOCUMENTED))
    assert np.array_equal(found.labels.array, painted(spine(), ON_TOP, UPPER).array)


def test_a_piece_that_is_more_than_a_fragment_stays_with_a_remark() -> None:
    arch = (slice(12, 18), slice(2, 6), slice(26, 34))
    damaged = painted(spine(), arch, UPPER)
    found = repair_vertebrae(damaged)
    assert np.array_equal(found.labels.array, damaged.array)
    assert found.report.remarks == (
        "vertebrae_T11: a second piece of 1.54 ml is kept: 19% of the largest piece is more than a stray fragment.",
    )


def test_pieces_that_the_end_of_the_image_may_have_cut_apart_stay() -> None:
    damaged = painted(spine(), (slice(14, 16), slice(4, 6), slice(34, 36)), UPPER)
    cut = replace(damaged, array=damaged.array[:, :, :36])
    found = repair_vertebrae(cut)
    assert np.array_equal(found.labels.array, cut.array)
    assert "the image ends there" in found.report.remarks[0]


def test_a_fragment_may_come_back_through_another_one() -> None:
    damaged = painted(painted(spine(), EMBEDDED, MIDDLE), (slice(13, 15), slice(13, 15), slice(31, 33)), UPPER)
    assert np.array_equal(repair_vertebrae(damaged).labels.array, spine().array)


def test_other_organs_are_not_touched() -> None:
    organs = painted(painted(spine(), (slice(22, 28), slice(2, 28), slice(2, 8)), LIVER), FAR, LIVER)
    found = repair_vertebrae(organs)
    assert np.array_equal(found.labels.array, organs.array)
    assert found.report.changes == ()


def test_the_input_is_not_changed_and_an_empty_map_stays_empty() -> None:
    damaged = painted(spine(), FAR, MIDDLE)
    before = damaged.array.copy()
    repair_vertebrae(damaged)
    assert np.array_equal(damaged.array, before)
    assert not repair_vertebrae(replace(damaged, array=np.zeros_like(before))).labels.array.any()


def test_maps_without_a_meaning_are_refused() -> None:
    with pytest.raises(LabelError, match="no label table"):
        repair_vertebrae(replace(spine(), table=None))
    with pytest.raises(InputError, match="integers"):
        repair_vertebrae(replace(spine(), array=spine().array.astype(np.float32)))
    with pytest.raises(LabelError, match="label values 9"):
        repair_vertebrae(painted(spine(), FAR, 9))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["LPS", "LAS", "RPI", "SAR", "PIL"]), st.sampled_from("CF"), st.floats(-30, 30))
def test_orientation_memory_order_and_tilt_do_not_matter(seed: int, code: str, order: str, degrees: float) -> None:
    random = np.random.default_rng(seed)
    damaged = spine()
    for _ in range(6):
        low = random.integers(0, (26, 26, 36))
        box = tuple(slice(a, a + b) for a, b in zip(low.tolist(), random.integers(1, 5, 3).tolist(), strict=True))
        damaged = painted(damaged, (box[0], box[1], box[2]), int(random.integers(0, 5)))
    turn, angle = np.eye(4), np.radians(degrees)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    expected = repair_vertebrae(replace(damaged, affine=turn @ damaged.affine))
    turned = replace(damaged, affine=turn @ damaged.affine).reoriented(code)
    found = repair_vertebrae(replace(turned, array=np.array(turned.array, order=order)))  # type: ignore[call-overload]
    assert np.array_equal(found.labels.reoriented("RAS").array, expected.labels.array)
    assert found.report == expected.report


def damaged_torso(labels: LabelVolume, seed: int) -> LabelVolume:
    """Return a map with twenty balls of a neighbor's name inside vertebrae and twenty specks around them."""
    random, array = np.random.default_rng(seed), labels.array.copy()
    values = [labels.table.value_of(f"vertebrae_{name}") for name in ("T12", "L1", "L2", "L3", "L4", "L5")]  # type: ignore[union-attr]
    bone: Mask = np.isin(array, values)
    inside, around = np.argwhere(bone), np.argwhere(ndimage.binary_dilation(bone, iterations=2) & (array == 0))
    for places, radius, of_bone in ((inside, (3, 7), True), (around, (2, 5), False)):
        for _ in range(20):
            center, r = places[random.integers(len(places))], random.uniform(*radius) / 3
            low = np.maximum(center - 3, 0)
            box = tuple(slice(a, b) for a, b in zip(low, center + 4, strict=True))
            near = sum((axis + a - c) ** 2 for axis, a, c in zip(np.indices(array[box].shape), low, center, strict=True)) <= r * r
            own = int(np.bincount(labels.array[box][bone[box]]).argmax())
            other = values[min(max(values.index(own) + random.choice([-1, 1]), 0), 5)]
            target = near & (labels.array[box] == (own if of_bone else 0))
            array[box][target] = other
    return replace(labels, array=array)


def test_on_a_real_torso_less_than_a_sixth_of_the_damage_is_left_and_the_documented_rule_leaves_twice_that(shared_data: Path) -> None:
    truth = read_label_volume(shared_data / "data/torso-3mm/reference_label.nii.gz", load_table("totalsegmentator_v2"))
    left = dict.fromkeys(FragmentRule, 0.0)
    for seed in range(3):
        damaged = damaged_torso(truth, seed)
        for rule in FragmentRule:
            found = repair_vertebrae(damaged, VertebraOptions(rule)).labels.array
            left[rule] += np.count_nonzero(found != truth.array) / np.count_nonzero(damaged.array != truth.array) / 3
    assert left[FragmentRule.SURFACE] < 1 / 6
    assert left[FragmentRule.DOCUMENTED] > 2 * left[FragmentRule.SURFACE]
    assert left[FragmentRule.DELETE] > left[FragmentRule.DOCUMENTED]


def test_the_real_case_has_one_piece_for_each_vertebra_afterwards_and_is_nearer_to_its_cleaned_map(shared_data: Path) -> None:
    folder = shared_data / "data/abdomenatlas-labels/BDMAP_00000006"
    predicted, cleaned = (read_nifti(folder / f"{name}.nii.gz") for name in ("combined_labels", "combined_labels_refined"))
    names = [f"vertebrae_{region}{n}" for region, count in (("L", 5), ("T", 12), ("C", 7)) for n in range(count, 0, -1)]
    table = LabelTable("bdmap", "", dict(enumerate(names, 1)))
    box = bounding_box(predicted.array | cleaned.array)
    crops = [LabelVolume(volume.array[box], volume.affine, "", None, table) for volume in (predicted, cleaned)]
    found = repair_vertebrae(crops[0])
    assert [in_pieces(array) for array in (crops[0].array, found.labels.array)] == [10, 0]
    dice = [mean_dice(array, crops[1].array) for array in (crops[0].array, found.labels.array)]
    assert dice == pytest.approx([0.98449, 0.98604], abs=2e-5)
    documented = repair_vertebrae(crops[0], VertebraOptions(FragmentRule.DOCUMENTED)).labels.array
    assert mean_dice(documented, crops[1].array) < dice[1]


def mean_dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean Dice of 24 labels, all counted at once."""
    both = np.bincount((a * (a == b)).ravel(), minlength=25)[1:]
    return float(np.mean(2 * both / (np.bincount(a.ravel(), minlength=25) + np.bincount(b.ravel(), minlength=25))[1:]))
