"""Noise: which small pieces go, what takes their place, and what is never touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import LabelTable, catalog, load_table
from AtlasSegmentLib.repair_noise import IN_PIECES, NoiseOptions, comes_in_pieces, repair_noise
from AtlasSegmentLib.volume import LabelVolume
from AtlasSegmentLib.volume_io import read_label_volume

NAMES = ("liver", "spleen", "colon", "liver_tumor", "carpal_left", "rib", "phalanges_feet_right")
TABLE = LabelTable("organs", "", dict(enumerate(NAMES, 1)))
BODY = (slice(5, 25), slice(5, 25), slice(5, 25))
SPECK = (slice(30, 32), slice(30, 32), slice(30, 32))


def organ(name: str, spacing: float = 1.0, **others: tuple[slice, slice, slice]) -> LabelVolume:
    array = np.zeros((40, 40, 40), np.uint8)
    array[BODY] = TABLE.value_of(name)
    for other, box in others.items():
        array[box] = TABLE.value_of(other)
    return LabelVolume(array, np.diag([spacing, spacing, spacing, 1.0]), "organs", None, TABLE)


def test_a_small_piece_away_from_the_organ_is_removed() -> None:
    found = repair_noise(organ("liver", liver=SPECK))
    assert np.array_equal(found.labels.array, organ("liver").array)
    assert [(c.label, c.to, c.voxels, c.reason) for c in found.report.changes] == [("liver", None, 8, "noise: 0.1% of the largest piece")]


def test_the_threshold_is_a_volume_whatever_the_voxels() -> None:
    assert repair_noise(organ("liver", 5.0, liver=SPECK)).report.changes == ()  # 8 voxels are exactly 1000 mm3 here
    assert repair_noise(organ("liver", 4.9, liver=SPECK)).report.changes != ()
    assert repair_noise(organ("liver", 5.0, liver=SPECK), NoiseOptions(1001.0)).report.changes != ()


def test_a_large_share_of_the_organ_is_kept_with_a_remark() -> None:
    half = organ("liver", 0.3, liver=(slice(30, 39), slice(5, 25), slice(5, 25)))
    found = repair_noise(half)
    assert np.array_equal(found.labels.array, half.array)
    assert found.report.remarks == ("liver: 0.10 ml away from its largest piece (45% of it) is too much for noise and is kept.",)


@pytest.mark.parametrize("name", ["colon", "liver_tumor", "carpal_left", "rib", "phalanges_feet_right"])
def test_what_comes_in_pieces_is_left_alone(name: str) -> None:
    given_map = organ(name)
    given_map.array[SPECK] = TABLE.value_of(name)
    assert repair_noise(given_map).report.to_json() == {"changes": [], "remarks": [], "facts": {}}


def test_noise_inside_another_organ_becomes_that_organ() -> None:
    given_map = organ("liver", spleen=(slice(10, 12), slice(10, 12), slice(10, 12)))
    given_map.array[30:38, 30:38, 30:38] = TABLE.value_of("spleen")
    found = repair_noise(given_map)
    assert (found.labels.array[BODY] == TABLE.value_of("liver")).all()
    assert [(c.label, c.to) for c in found.report.changes] == [("spleen", "liver")]


def test_noise_inside_a_lesion_does_not_make_the_lesion_grow() -> None:
    given_map = organ("liver_tumor", spleen=(slice(10, 12), slice(10, 12), slice(10, 12)))
    given_map.array[30:38, 30:38, 30:38] = TABLE.value_of("spleen")
    assert [(c.label, c.to) for c in repair_noise(given_map).report.changes] == [("spleen", None)]


def test_two_pieces_at_the_same_end_of_the_image_may_be_one_outside() -> None:
    both = organ("liver", liver=(slice(30, 32), slice(30, 32), slice(5, 7)))
    cut = replace(both, array=both.array[:, :, 5:])
    assert repair_noise(cut).report.changes == ()
    assert repair_noise(both).report.changes != ()


def test_impossible_thresholds_are_refused() -> None:
    with pytest.raises(InputError, match="-1"):
        NoiseOptions(-1.0)
    with pytest.raises(InputError, match="nan"):
        NoiseOptions(max_share=float("nan"))


def test_every_exception_is_a_known_structure() -> None:
    names = {name.removesuffix("_left").removesuffix("_right") for name in catalog()}
    assert names >= IN_PIECES
    assert comes_in_pieces(catalog()["metatarsal_left"])
    assert not comes_in_pieces(catalog()["vertebrae_L1"])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["LPS", "LAS", "RPI", "SAR", "PIL"]), st.sampled_from("CF"))
def test_orientation_and_memory_order_do_not_matter_and_a_second_pass_finds_nothing(seed: int, code: str, order: str) -> None:
    random = np.random.default_rng(seed)
    damaged = organ("liver")
    for _ in range(12):
        low = random.integers(0, 35, 3)
        box = tuple(slice(a, a + b) for a, b in zip(low.tolist(), random.integers(1, 6, 3).tolist(), strict=True))
        damaged.array[box] = random.integers(0, 8)
    expected = repair_noise(damaged)
    turned = damaged.reoriented(code)
    found = repair_noise(replace(turned, array=np.array(turned.array, order=order)))  # type: ignore[call-overload]
    assert np.array_equal(found.labels.reoriented("RAS").array, expected.labels.array)
    assert found.report == expected.report


def test_on_a_real_torso_only_crumbs_go_and_added_ones_too(shared_data: Path) -> None:
    truth = read_label_volume(shared_data / "data/torso-3mm/reference_label.nii.gz", load_table("totalsegmentator_v2"))
    clean = repair_noise(truth)
    assert {(c.label, c.voxels) for c in clean.report.changes} == {("pancreas", 9), ("pancreas", 7), ("sacrum", 4), ("sacrum", 1)}
    assert clean.report.remarks[0].startswith("pancreas: 8.61 ml away from its largest piece (89% of it)")
    array, random = clean.labels.array.copy(), np.random.default_rng(0)
    empty = np.argwhere(array == 0)
    for x, y, z in empty[random.integers(len(empty), size=60)].tolist():
        array[x : x + 2, y : y + 2, z : z + 1] = np.where(
            array[x : x + 2, y : y + 2, z : z + 1] == 0, 1, array[x : x + 2, y : y + 2, z : z + 1]
        )
    damaged = replace(truth, array=array)
    left = np.count_nonzero(repair_noise(damaged).labels.array != clean.labels.array)
    assert left < np.count_nonzero(damaged.array != clean.labels.array) / 10  # only what touches the spleen itself
