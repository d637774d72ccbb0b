"""Rib numbers: what each kind of fault becomes, and that nothing sound is changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib import geometry
from AtlasSegmentLib.label_conversion import swap_sides
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.repair_report import Repaired
from AtlasSegmentLib.repair_ribs import repair_ribs
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.volume import Grid, LabelVolume
from AtlasSegmentLib.volume_io import read_label_volume
from thorax_phantom import RIBS, SPINE, TABLE, Build, ball, relabeled, rib_line, thorax, without

ORIENTATIONS = ("RAS", "LPS", "LAS", "RPI", "PIR", "SAL")
SHIFTED_UP = {f"rib_{side}_{n}": f"rib_{side}_{max(n - 1, 1)}" for side in ("left", "right") for n in range(1, 13)}
SHIFTED_DOWN = {f"rib_{side}_{n}": f"rib_{side}_{min(n + 1, 12)}" for side in ("left", "right") for n in range(1, 13)}
SWAPPED = {TABLE.name_of(a): TABLE.name_of(b) for a, b in swap_sides(TABLE).items()}


def shuffled(seed: int) -> dict[str, str]:
    return dict(zip(RIBS, np.random.default_rng(seed).permutation(RIBS).tolist(), strict=True))


def cropped(volume: LabelVolume, first: int, last: int) -> LabelVolume:
    """Return the slices first to last, as a scan of less of the body."""
    affine = volume.affine.copy()
    affine[2, 3] += first * affine[2, 2]
    return replace(volume, array=volume.array[:, :, first:last], affine=affine)


def wrong(found: Repaired, truth: LabelVolume) -> int:
    return int(np.count_nonzero(found.labels.array != truth.array))


@pytest.mark.parametrize("damage", [shuffled(0), SHIFTED_UP, SWAPPED], ids=["shuffled", "shifted", "swapped"])
@pytest.mark.parametrize(
    "build",
    [Build(), Build(bend_mm=35), Build(missing=("rib_left_12",)), Build(fat=7.0)],
    ids=["usual", "scoliosis", "eleven ribs", "thick ribs"],
)
def test_any_renaming_of_whole_ribs_is_undone(build: Build, damage: dict[str, str]) -> None:
    truth = thorax(build)
    found = repair_ribs(relabeled(truth, damage))
    assert wrong(found, truth) == 0
    assert found.report.remarks == ()


@pytest.mark.parametrize("slices", [(0, 70), (0, 50), (60, 130), (30, 80), (90, 130), (40, 50), (60, 67)])
@pytest.mark.parametrize("damage", [shuffled(2), SHIFTED_DOWN], ids=["shuffled", "shifted"])
def test_ribs_that_the_image_cuts_are_numbered_too(slices: tuple[int, int], damage: dict[str, str]) -> None:
    truth = cropped(thorax(), *slices)
    assert wrong(repair_ribs(relabeled(truth, damage)), truth) == 0


def test_the_parts_of_a_broken_rib_get_one_number() -> None:
    array, random = thorax().array.copy(), np.random.default_rng(1)
    for rib in RIBS[6:20]:
        line = rib_line(rib)
        array[ball(thorax(), line[random.integers(150, 330)], 9.0) & (array == TABLE.value_of(rib))] = 0
    truth = replace(thorax(), array=array)
    assert wrong(repair_ribs(relabeled(truth, shuffled(3))), truth) == 0


def test_a_rib_with_two_numbers_gets_one_of_them() -> None:
    truth, array = thorax(), thorax().array.copy()
    for rib, below in zip(RIBS[4:20], RIBS[6:22], strict=True):
        array[ball(truth, rib_line(rib)[-1], 70.0) & (array == TABLE.value_of(rib))] = TABLE.value_of(below)
    assert np.count_nonzero(array != truth.array) > 2000
    assert wrong(repair_ribs(replace(truth, array=array)), truth) == 0


def test_ribs_that_touch_stay_two() -> None:
    truth, array = thorax(), thorax().array.copy()
    upper, lower = (rib_line(rib)[250] for rib in ("rib_left_6", "rib_left_7"))
    bridge = ball(truth, (upper + lower) / 2, 16.0) & (array == 0)
    array[bridge] = TABLE.value_of("rib_left_7")
    touching = replace(truth, array=array)
    assert wrong(repair_ribs(relabeled(touching, SHIFTED_UP)), touching) == 0


def test_two_ribs_in_one_piece_with_one_name_are_left_with_the_reason() -> None:
    merged = relabeled(thorax(), {"rib_left_7": "rib_left_6"})
    array = merged.array.copy()
    for place in (150, 200, 250, 300, 350):
        upper, lower = (rib_line(rib)[place] for rib in ("rib_left_6", "rib_left_7"))
        array[ball(merged, (upper + lower) / 2, 16.0) & (array == 0)] = TABLE.value_of("rib_left_6")
    given_map = replace(merged, array=array)
    found = repair_ribs(given_map)
    assert wrong(found, given_map) == 0
    assert "two ribs grown together" in found.report.remarks[0]


def test_a_speck_is_removed_and_reported() -> None:
    truth, array = thorax(), thorax().array.copy()
    array[60:62, 60:62, 60:62] = TABLE.value_of("rib_left_3")
    found = repair_ribs(replace(truth, array=array))
    assert wrong(found, truth) == 0
    assert [(c.label, c.to, c.voxels, c.ml) for c in found.report.changes] == [("rib_left_3", None, 8, 0.216)]


def test_the_report_names_the_vertebra_of_each_rib() -> None:
    facts = repair_ribs(thorax()).report.facts["ribs"]
    assert {name: fact["vertebra"] for name, fact in facts.items()} == {rib: f"vertebrae_T{rib.rsplit('_', 1)[1]}" for rib in RIBS}


def test_without_vertebrae_an_odd_number_is_seen_but_a_shift_of_all_is_not() -> None:
    truth = without(cropped(thorax(), 0, 60), SPINE)  # pairs tell the midline
    exchanged = {"rib_left_10": "rib_left_11", "rib_left_11": "rib_left_10"}
    assert wrong(repair_ribs(relabeled(truth, exchanged)), truth) == 0
    shifted = relabeled(truth, SHIFTED_UP)
    assert wrong(repair_ribs(shifted), shifted) == 0


def test_what_cannot_be_decided_stays_with_the_reason() -> None:
    given_map = relabeled(without(cropped(thorax(), 0, 60), SPINE), shuffled(4))
    found = repair_ribs(given_map)
    assert wrong(found, given_map) == 0
    assert [remark[:37] for remark in found.report.remarks] == [
        "The left ribs are left as they are: n",
        "The right ribs are left as they are: ",
    ]


def test_a_map_without_anything_that_tells_the_midline_stays() -> None:
    one_side = without(thorax(), [*SPINE, *RIBS[1::2]])
    found = repair_ribs(relabeled(one_side, SHIFTED_UP))
    assert found.report.changes == ()
    assert "midline" in found.report.remarks[0]


def test_a_lumbar_rib_does_not_shift_the_others() -> None:
    truth = thorax()
    lower = {f"vertebrae_T{n}": f"vertebrae_T{n - 1}" for n in range(2, 13)} | {
        "vertebrae_T1": "vertebrae_C7",
        "vertebrae_L1": "vertebrae_T12",
    }
    moved = relabeled(truth, {**lower, "vertebrae_C7": ""})  # the same body, one vertebra higher: rib 1 hangs on C7
    found = repair_ribs(moved)
    assert any("vertebrae_C7" in remark for remark in found.report.remarks)
    expected = relabeled(moved, {f"rib_{s}_{n}": f"rib_{s}_{n - 1}" for s in ("left", "right") for n in range(2, 13)})
    assert wrong(found, expected) == 0


def test_a_table_without_ribs_is_left_alone() -> None:
    liver = LabelVolume(np.ones((3, 3, 3), np.uint8), np.eye(4), table=LabelTable("one", "", {1: "liver"}))
    found = repair_ribs(liver)
    assert found.report.to_json() == {"changes": [], "remarks": [], "facts": {}}


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(ORIENTATIONS), st.sampled_from("CF"), st.integers(0, 3), st.floats(-20, 20), st.integers(0, 2))
def test_orientation_memory_order_and_a_tilted_patient_do_not_matter(code: str, order: str, seed: int, degrees: float, axis: int) -> None:
    turn, angle = np.eye(4), np.radians(degrees)
    other = [i for i in range(3) if i != axis]
    turn[np.ix_(other, other)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    damaged = relabeled(thorax(), shuffled(seed))
    turned = replace(damaged, affine=turn @ damaged.affine).reoriented(code)
    found = repair_ribs(replace(turned, array=np.array(turned.array, order=order)))  # type: ignore[call-overload]
    assert np.array_equal(found.labels.reoriented("RAS").array, thorax().array)
    assert found.labels.orientation == code
    assert np.array_equal(found.labels.affine, turned.affine)


def test_on_an_oblique_grid_the_same_patient_gets_the_same_names() -> None:
    damaged, angle = relabeled(thorax(), shuffled(5)), np.radians(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[1:3, 1:3] = turn[1:3, 1:3] @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    q, _ = np.linalg.qr(turn[:3, :3])
    affine = np.eye(4)
    affine[:3, :3] = q * np.sign(np.diag(q)) * 3.0
    middle = np.array([56.0, 41.0, 65.0])
    affine[:3, 3] = geometry.apply_affine(damaged.affine, middle) - affine[:3, :3] @ np.array([70.0, 75.0, 80.0])
    grid = Grid((140, 150, 160), affine)
    oblique, truth = (resample(replace(volume, table=None), grid, "nearest").array for volume in (damaged, thorax()))
    found = repair_ribs(LabelVolume(oblique, affine, "oblique", None, TABLE))
    assert np.count_nonzero(oblique != truth) > 10000
    assert np.count_nonzero(found.labels.array != truth) == 0


@pytest.fixture(scope="module")
def torso(shared_data: object) -> LabelVolume:
    return read_label_volume(shared_data / "data/torso-3mm/reference_label.nii.gz", load_table("totalsegmentator_v2"))  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(3))
def test_on_a_real_torso_every_renumbering_of_the_ribs_is_undone(torso: LabelVolume, seed: int) -> None:
    ribs = [value for value, name in torso.table.labels.items() if name.startswith("rib_")]
    lookup = np.arange(256, dtype=np.uint8)
    lookup[ribs] = np.random.default_rng(seed).permutation(ribs) if seed else ribs[1:] + ribs[:1]
    damaged = replace(torso, array=lookup[torso.array])
    assert np.count_nonzero(damaged.array != torso.array) > 1000
    assert wrong(repair_ribs(damaged), torso) == 0


def test_real_ribs_that_are_right_stay(torso: LabelVolume, shared_data: object) -> None:
    slab = read_label_volume(shared_data / "data/slab-dicom/reference_label.nii.gz", torso.table)  # type: ignore[operator]
    for labels in (torso, slab):
        found = repair_ribs(labels)
        assert (wrong(found, labels), found.report.changes, found.report.remarks) == (0, (), ())
