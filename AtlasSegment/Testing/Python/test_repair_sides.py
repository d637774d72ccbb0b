"""Left and right: which pieces change sides, what is split, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.label_conversion import swap_sides
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.repair_midline import find_midline
from AtlasSegmentLib.repair_sides import repair_sides
from AtlasSegmentLib.repair_space import LabelSpace
from AtlasSegmentLib.volume import LabelVolume, Volume
from AtlasSegmentLib.volume_io import read_label_volume
from thorax_phantom import Build, relabeled, thorax

NAMES = ("sacrum", "hip_left", "hip_right", "femur_right", "femur_left", "iliac_vena_left", "iliac_vena_right", "tibia_left")
TABLE = LabelTable("pelvis", "", dict(enumerate(NAMES, 1)))
AFFINE = np.array([[4.0, 0, 0, -100.0], [0, 4.0, 0, 0], [0, 0, 4.0, 0], [0, 0, 0, 1]])
MIDDLE = 40  # RAS x is 60 mm there: the patient lies far from the middle of the image


def pelvis(**boxes: tuple[slice, slice, slice]) -> LabelVolume:
    """Return a sacrum at x = MIDDLE of 70 voxels and the given boxes, in RAS."""
    array = np.zeros((70, 20, 40), np.uint8)
    array[MIDDLE - 5 : MIDDLE + 5, 2:8, 25:38] = TABLE.value_of("sacrum")
    for name, box in boxes.items():
        array[box] = TABLE.value_of(name)
    return LabelVolume(array, AFFINE, "pelvis", None, TABLE)


def block(x: int, z: int = 10, wide: int = 6) -> tuple[slice, slice, slice]:
    return (slice(x, x + wide), slice(5, 15), slice(z, z + 8))


def test_a_piece_on_the_wrong_side_changes_its_name() -> None:
    found = repair_sides(pelvis(femur_left=block(50), femur_right=block(22)))
    expected = pelvis(femur_right=block(50), femur_left=block(22))
    assert np.array_equal(found.labels.array, expected.array)
    assert [(c.label, c.to, c.voxels, c.reason) for c in found.report.changes] == [
        ("femur_left", "femur_right", 480, "piece centered 52 mm to the right of the midline"),
        ("femur_right", "femur_left", 480, "piece centered 60 mm to the left of the midline"),
    ]
    assert found.report.facts == {"sides": {"midline": "spine"}}


def test_both_bones_under_one_name_become_two_names() -> None:
    both = pelvis(femur_left=block(22))
    both.array[block(50)] = TABLE.value_of("femur_left")
    assert np.array_equal(repair_sides(both).labels.array, pelvis(femur_left=block(22), femur_right=block(50)).array)


def test_a_piece_on_both_sides_is_split_at_the_midline() -> None:
    found = repair_sides(pelvis(hip_right=block(28, wide=20)))
    values = found.labels.array[28:48, 5, 10]
    hip_left, hip_right = TABLE.value_of("hip_left"), TABLE.value_of("hip_right")
    assert values.tolist() == [hip_left] * 12 + [hip_right] * 8
    assert "split" in found.report.changes[0].reason


def test_a_piece_that_hardly_crosses_stays_whole() -> None:
    given_map = pelvis(hip_left=block(26, wide=16))
    assert repair_sides(given_map).report.changes == ()


def test_a_vein_that_crosses_the_midline_by_nature_is_not_split() -> None:
    given_map = pelvis(iliac_vena_left=block(30, wide=16), iliac_vena_right=block(47))
    assert repair_sides(given_map).report.changes == ()
    exchanged = pelvis(iliac_vena_right=block(30, wide=16), iliac_vena_left=block(47))
    assert np.array_equal(repair_sides(exchanged).labels.array, given_map.array)


def test_a_structure_whose_twin_the_table_lacks_stays() -> None:
    assert repair_sides(pelvis(tibia_left=block(55))).report.changes == ()


def test_without_a_spine_the_midline_lies_between_pairs_and_else_comes_from_the_ct() -> None:
    pair = pelvis(femur_left=block(50), femur_right=block(22))
    pair.array[pair.array == TABLE.value_of("sacrum")] = 0
    found = repair_sides(pair)
    assert found.report.facts == {"sides": {"midline": "paired structures"}}
    assert np.count_nonzero(found.labels.array != pair.array) == 960
    alone = replace(pair, array=np.where(pair.array == TABLE.value_of("femur_left"), pair.array, 0))
    assert "nothing tells where the midline is" in repair_sides(alone).report.remarks[0]
    hu = np.full(pair.shape, -1000, np.int16)
    hu[15:65, 1:19] = 40
    found = repair_sides(alone, Volume(hu, AFFINE).reoriented("LPS"))
    assert found.report.facts == {"sides": {"midline": "body"}}
    assert [change.to for change in found.report.changes] == ["femur_right"]


def test_the_midline_follows_a_curved_spine_and_goes_on_beyond_it() -> None:
    space = LabelSpace(thorax(Build(bend_mm=35)))
    midline = find_midline(space)
    assert midline is not None
    heights = np.array([60.0, 150.0, 250.0, 320.0])
    assert midline.at(heights) == pytest.approx(35 * np.sin(heights / 110), abs=5)
    assert midline.at(-200.0) == pytest.approx(midline.at(midline.z[0]) - midline.slope * (midline.z[0] + 200))


def test_sides_of_ribs_follow_the_curved_spine() -> None:
    truth = thorax(Build(bend_mm=35))
    swapped = {truth.table.name_of(a): truth.table.name_of(b) for a, b in swap_sides(truth.table).items()}  # type: ignore[union-attr]
    assert np.array_equal(repair_sides(relabeled(truth, swapped)).labels.array, truth.array)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["LPS", "LAS", "RPI", "SAR", "PIL"]),
    st.sampled_from("CF"),
    st.tuples(st.integers(0, 2), st.floats(-25, 25)),
)
def test_orientation_memory_order_and_an_oblique_grid_do_not_matter(seed: int, code: str, order: str, tilt: tuple[int, float]) -> None:
    random = np.random.default_rng(seed)
    damaged = pelvis()
    for _ in range(8):
        low = random.integers(0, (60, 12, 30))
        box = tuple(slice(a, a + b) for a, b in zip(low.tolist(), random.integers(1, 9, 3).tolist(), strict=True))
        damaged.array[box] = random.integers(2, 9)
    axes = [axis for axis in range(3) if axis != tilt[0]]
    turn, angle = np.eye(4), np.radians(tilt[1])
    turn[np.ix_(axes, axes)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    damaged = replace(damaged, affine=turn @ damaged.affine)
    expected = repair_sides(damaged)
    turned = damaged.reoriented(code)
    found = repair_sides(replace(turned, array=np.array(turned.array, order=order)))  # type: ignore[call-overload]
    assert np.array_equal(found.labels.reoriented("RAS").array, expected.labels.array)
    assert found.report == expected.report


def test_on_a_real_torso_a_mirrored_naming_is_undone_and_a_right_one_stays(shared_data: Path) -> None:
    truth = read_label_volume(shared_data / "data/torso-3mm/reference_label.nii.gz", load_table("totalsegmentator_v2"))
    assert repair_sides(truth).report.changes == ()
    lookup = np.arange(256, dtype=np.uint8)
    for value, other in swap_sides(truth.table).items():  # type: ignore[arg-type]
        lookup[value] = other
    damaged = replace(truth, array=lookup[truth.array])
    assert np.count_nonzero(damaged.array != truth.array) == 156954
    assert np.array_equal(repair_sides(damaged).labels.array, truth.array)
