"""Tumor and cyst rules: how many, how large, and near which organ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from AtlasSegmentLib.postprocess_tumors import TUMOR_RULES, TumorRule, postprocess_tumor

VOXEL = 1.5**3
SPEC = {26: (5, 80), 27: (20, 20), 28: (1, 100), 29: (10, 80), 30: (10, 30), 31: (3, 100), 32: (20, 20)}


def rods(*lengths):
    """One straight component of each length, none touching another."""
    mask = np.zeros((max(lengths), 2 * len(lengths), 3), bool)
    for i, length in enumerate(lengths):
        mask[:length, 2 * i, 1] = True
    return mask


@pytest.mark.parametrize("value", SPEC)
def test_every_rule_keeps_the_documented_number_above_the_documented_size(value):
    keep, area = SPEC[value]
    lengths = [area + 1 + i for i in range(keep + 1)]
    kept = postprocess_tumor(rods(*lengths), [], TUMOR_RULES[value], VOXEL)
    assert kept.sum() == sum(lengths[1:])
    assert not postprocess_tumor(rods(area), [], TUMOR_RULES[value], VOXEL).any()
    assert postprocess_tumor(rods(area + 1), [], TUMOR_RULES[value], VOXEL).sum() == area + 1


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (0.75, 0.75, 0.75), (3.0, 3.0, 3.0), (0.7, 0.7, 5.0), (1.0, 1.0, 1.0)])
def test_the_threshold_is_a_volume_and_means_the_same_at_every_spacing(spacing):
    volume = float(np.prod(spacing))
    for length in range(1, 900, 7):
        kept = postprocess_tumor(rods(length), [], TUMOR_RULES[28], volume).any()
        assert kept == (length * volume > 337.5 + 1e-3)


def test_a_component_of_exactly_the_threshold_goes_although_the_header_rounds_the_spacing():
    for volume in (VOXEL * (1 + 3e-7), VOXEL * (1 - 3e-7)):
        assert not postprocess_tumor(rods(100), [], TUMOR_RULES[28], volume).any()


def ball(shape, center, radius):
    grid = np.indices(shape)
    return sum((g - c) ** 2 for g, c in zip(grid, center, strict=True)) <= radius**2


def test_a_tumor_outside_its_organ_is_removed_and_one_inside_stays():
    shape = (60, 50, 40)
    liver = ball(shape, (18, 20, 20), 12)
    inside, outside = ball(shape, (18, 20, 20), 2), ball(shape, (48, 35, 20), 6)
    liver &= ~inside  # closing gives the small hole back
    kept = postprocess_tumor(inside | outside, [liver], TUMOR_RULES[27], VOXEL)
    assert np.array_equal(kept, inside)


def test_a_tumor_is_kept_near_both_kidneys_but_not_at_a_third_piece():
    shape = (90, 30, 30)
    right, left = ball(shape, (70, 15, 15), 9), ball(shape, (15, 15, 15), 9)
    crumb = ball(shape, (42, 15, 15), 5)
    tumor = ball(shape, (70, 15, 15), 4) | ball(shape, (15, 15, 15), 4) | ball(shape, (42, 15, 15), 4)
    kept = postprocess_tumor(tumor, [right | crumb, left], TUMOR_RULES[26], VOXEL)
    assert np.array_equal(kept, tumor & ~crumb)


def test_an_empty_organ_keeps_nothing_and_an_unknown_organ_does_not_limit():
    tumor = rods(300)
    assert not postprocess_tumor(tumor, [np.zeros_like(tumor)], TUMOR_RULES[27], VOXEL).any()
    assert np.array_equal(postprocess_tumor(tumor, [], TUMOR_RULES[27], VOXEL), tumor)


def test_an_organ_cut_by_the_image_border_keeps_its_tumor_there():
    shape = (20, 20, 12)
    liver, tumor = np.zeros(shape, bool), np.zeros(shape, bool)
    liver[4:16, 4:16, :2] = True  # only two slices of the liver are in the image
    tumor[8:12, 8:12, :2] = True
    assert np.array_equal(postprocess_tumor(tumor, [liver], TUMOR_RULES[27], VOXEL), tumor)


def naive_region(organ, keep):
    labels, n = ndimage.label(organ, np.ones((3, 3, 3)))
    sizes = sorted(range(1, n + 1), key=lambda i: (-int((labels == i).sum()), i))[:keep]
    box = np.ones((5, 5, 5), bool)
    padded = np.pad(np.isin(labels, sizes), 8)
    return ndimage.binary_dilation(ndimage.binary_closing(padded, box), box)[8:-8, 8:-8, 8:-8]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.003, 0.01, 0.03, 0.06, 0.1]), st.sampled_from([0, 1, 3]))
def test_looking_only_near_the_tumor_changes_nothing(seed, density, hull):
    rng = np.random.default_rng(seed)
    organ = ndimage.binary_dilation(rng.random((26, 22, 24)) < density, iterations=hull) if hull else rng.random((26, 22, 24)) < density
    tumor = np.zeros(organ.shape, bool)
    low = rng.integers(0, 16, 3)
    tumor[tuple(slice(a, a + n) for a, n in zip(low, rng.integers(1, 9, 3), strict=True))] = True
    rule = TumorRule(50, 0, (2, 3))
    kept = postprocess_tumor(tumor, [organ, np.zeros_like(organ)], rule, VOXEL)
    assert np.array_equal(kept, tumor & naive_region(organ, 2))


def test_inputs_stay_as_they_are():
    tumor, organ = rods(40, 30), rods(45, 10)[:40]
    copies = tumor.copy(), organ.copy()
    postprocess_tumor(tumor, [organ], TUMOR_RULES[27], VOXEL)
    assert np.array_equal(tumor, copies[0])
    assert np.array_equal(organ, copies[1])
