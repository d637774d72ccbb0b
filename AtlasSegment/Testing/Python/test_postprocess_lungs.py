"""Lungs: told apart by side, and repaired where one is missing, fused or corrupt."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib.postprocess_lungs import (
    corrupt_slices,
    missing_lung_slices,
    postprocess_lungs,
    rolling_mean_std,
)

SHAPE = (61, 40, 40)
LEFT_CENTER, RIGHT_CENTER = (16, 20, 20), (44, 20, 20)


def ellipsoid(center, radii, shape=SHAPE):
    grid = np.indices(shape)
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, radii, strict=True)) <= 1


LEFT = ellipsoid(LEFT_CENTER, (10, 13, 15))
RIGHT = ellipsoid(RIGHT_CENTER, (12, 14, 15))
EMPTY = np.zeros(SHAPE, bool)


def speck(at=(30, 2, 2)):
    mask = np.zeros(SHAPE, bool)
    mask[at] = True
    return mask


def test_the_lung_with_the_lower_x_is_left_whatever_the_model_said():
    for right, left in ((RIGHT, LEFT), (LEFT, RIGHT), (RIGHT | LEFT, EMPTY), (EMPTY, RIGHT | LEFT)):
        found = postprocess_lungs(right, left)
        assert np.array_equal(found.right, RIGHT)
        assert np.array_equal(found.left, LEFT)
        assert (found.anomaly, found.slices) == (False, ())


def test_holes_are_filled_and_small_pieces_dropped():
    hole = ellipsoid(RIGHT_CENTER, (3, 3, 3))
    found = postprocess_lungs((RIGHT & ~hole) | speck(), LEFT)
    assert np.array_equal(found.right, RIGHT)
    assert np.array_equal(found.left, LEFT)


@pytest.mark.parametrize("raw", [EMPTY, RIGHT], ids=["empty", "one component"])
def test_fewer_than_two_components_give_empty_lungs_and_an_anomaly(raw):
    found = postprocess_lungs(raw, EMPTY)
    assert found.anomaly
    assert not found.right.any()
    assert not found.left.any()


@pytest.mark.parametrize(("lung", "side"), [(RIGHT, "right"), (LEFT, "left")])
def test_a_single_lung_stays_on_its_side_and_the_other_is_empty(lung, side):
    found = postprocess_lungs(lung | speck(), EMPTY)
    other = "left" if side == "right" else "right"
    assert np.array_equal(getattr(found, side), lung)
    assert not getattr(found, other).any()
    assert not found.anomaly


def bridged():
    bridge = np.zeros(SHAPE, bool)
    bridge[20:40, 18:23, 10:30] = True
    return RIGHT | LEFT | bridge, bridge & ~RIGHT & ~LEFT


def test_fused_lungs_are_cut_apart_between_them():
    fused, bridge = bridged()
    found = postprocess_lungs(fused | speck(), fused)
    assert not found.anomaly
    assert not (found.right & found.left).any()
    assert not (found.right & LEFT).any()
    assert not (found.left & RIGHT).any()
    both = found.right | found.left
    assert (both & (RIGHT | LEFT)).sum() == (RIGHT | LEFT).sum()
    dropped = fused & ~both
    assert not (dropped & ~bridge).any()
    assert np.unique(np.argwhere(dropped)[:, 0]).size <= 2  # the voxels equally far from both cores, in the middle


def test_a_corrupt_slice_is_emptied_and_reported():
    raw = RIGHT | LEFT
    raw[:, :, 22] = True  # joins both lungs
    found = postprocess_lungs(raw | speck(), EMPTY)
    assert found.slices == (22,)
    assert not found.anomaly
    for lung, expected in ((found.right, RIGHT), (found.left, LEFT)):
        assert not lung[:, :, 22].any()
        # without the slice a lung is in two parts; the larger ones of each side are kept
        assert np.array_equal(lung[:, :, :22], expected[:, :, :22])


def test_a_corrupt_slice_exceeds_the_mean_of_seven_slices():
    mask = np.zeros((40, 40, 30), bool)
    mask[:10, :10] = True
    mask[:19, :19, 15] = True  # 261 voxels more than its neighbors: 224 more than the mean of 7 slices, 248 more than of 20
    assert corrupt_slices(mask, 200).tolist() == [15]
    assert corrupt_slices(mask, 240).tolist() == []


def test_two_neighboring_corrupt_slices_stand_out_of_twenty():
    mask = np.zeros((40, 40, 40), bool)
    mask[:10, :10] = True
    mask[:, :, 15:17] = True
    assert corrupt_slices(mask, 200).tolist() == [15, 16]


def test_the_excess_of_a_corrupt_slice_is_an_area_in_square_mm():
    raw = RIGHT | LEFT
    raw[:, :, 22] = True  # about 1300 voxels more than the mean of 7 slices
    for area, slices in ((2.25, (22,)), (0.5, (22,)), (0.25, ())):  # 200, 900 and 1800 voxels are 450 mm^2
        assert postprocess_lungs(raw | speck(), EMPTY, area).slices == slices


def test_one_slice_or_an_empty_mask_is_never_corrupt():
    assert corrupt_slices(speck(), 0).size == 0
    assert corrupt_slices(EMPTY, 0).size == 0


def test_a_lung_that_no_erosion_can_split_comes_back_as_it_was_with_an_anomaly():
    block = np.zeros(SHAPE, bool)
    block[15:46, 10:30, 10:30] = True
    found = postprocess_lungs(block | speck((30, 2, 2)), EMPTY)
    assert found.anomaly
    assert (found.right | found.left).sum() == block.sum() + 1


def test_the_raw_masks_are_not_changed():
    for raw in (bridged()[0] | speck(), RIGHT | speck(), EMPTY):
        corrupt = raw.copy()
        corrupt[:, :, 22] = True
        for right, left in ((raw, EMPTY), (corrupt, raw)):
            before = right.copy(), left.copy()
            postprocess_lungs(right, left)
            assert np.array_equal(right, before[0])
            assert np.array_equal(left, before[1])


def test_the_image_middle_decides_although_the_lungs_fill_only_a_part_of_it():
    wide = np.pad(RIGHT | speck(), ((0, 60), (0, 0), (0, 0)))  # the lung now lies left of the image's middle
    found = postprocess_lungs(wide, np.zeros_like(wide))
    assert found.left.sum() == RIGHT.sum()
    assert not found.right.any()


@given(st.lists(st.integers(0, 60_000), min_size=1, max_size=60), st.sampled_from([7, 20]))
def test_rolling_statistics_equal_a_plain_window(values, window):
    array = np.array(values, dtype=np.int64)
    mean, std = rolling_mean_std(array, window)
    for i in range(array.size):
        part = array[max(i - window // 2, 0) : i + (window + 1) // 2]
        assert mean[i] == pytest.approx(part.mean())
        assert np.isnan(std[i]) if part.size == 1 else std[i] == pytest.approx(part.std(ddof=1))


def test_rolling_statistics_follow_the_convention_of_pandas_for_even_windows():
    mean, std = rolling_mean_std(np.arange(25) ** 2, 20)
    # pandas.Series(np.arange(25) ** 2).rolling(20, center=True, min_periods=1), rows 0, 12 and 24
    assert mean[[0, 12, 24]] == pytest.approx(PANDAS_MEAN)
    assert std[[0, 12, 24]] == pytest.approx(PANDAS_STD)


PANDAS_MEAN = [28.5, 165.5, 371.0]
PANDAS_STD = [28.304888, 139.423814, 126.371674]


def test_slices_without_lung_between_lung_slices_are_found_where_the_ct_shows_something():
    lung = np.zeros((6, 6, 8), bool)
    lung[2, 2, [2, 3, 5]] = True
    ct = np.zeros((6, 6, 8), np.int16)
    ct[:, :, [0, 4, 6]] = np.arange(36).reshape(6, 6, 1)
    assert missing_lung_slices(lung, ct) == (4, 6)
    assert missing_lung_slices(np.zeros_like(lung), ct) == ()


def test_real_lung_bases_keep_their_sides(shared_data):
    import nibabel as nib

    image = nib.as_closest_canonical(nib.load(shared_data / "data/torso-3mm/reference_label.nii.gz"))
    names = json.loads((shared_data / "data/totalsegmentator_v2_labels.json").read_text())
    labels = np.asarray(image.dataobj)
    sides = {s: np.isin(labels, [int(v) for v, n in names.items() if n.startswith("lung_") and n.endswith(s)]) for s in ("right", "left")}
    found = postprocess_lungs(sides["right"], sides["left"], 9.0)
    assert not found.anomaly
    for side, lung in (("right", found.right), ("left", found.left)):
        assert (lung & sides[side]).sum() > 0.99 * sides[side].sum()
        assert (lung & ~sides[side]).sum() < 0.01 * sides[side].sum()
