"""Post-processing of every class, in any orientation of the case."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.errors import GeometryError, LabelError
from AtlasSegmentLib.postprocess import (
    RuleKind,
    postprocess_class,
    postprocess_lung_volume,
    postprocess_volume,
    rule_of,
)

VOXEL = 1.5**3
LARGEST = [*range(1, 10), 11, 12, 13, 14, *range(18, 26)]
CODES = ["".join(p) for axes in permutations(("LR", "PA", "IS")) for p in product(*axes)]


def box(shape, *sides):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def two_pieces():
    return box((20, 20, 20), (2, 9), (2, 9), (2, 9)) | box((20, 20, 20), (12, 18), (12, 18), (12, 18))


@pytest.mark.parametrize("value", LARGEST)
def test_organs_keep_their_largest_component(value):
    kept = postprocess_class(value, {value: two_pieces()}.get, VOXEL)
    assert kept.sum() == 7**3
    assert kept[2, 2, 2]
    assert rule_of(value).kind is RuleKind.LARGEST


def test_hepatic_vessels_stay_whole_and_are_a_copy():
    raw = two_pieces()
    kept = postprocess_class(15, {15: raw}.get, VOXEL)
    assert np.array_equal(kept, raw)
    assert not np.shares_memory(kept, raw)


@pytest.mark.parametrize("value", [None, 0, -3, 33, 117])
def test_structures_that_are_not_of_abdomenatlas_stay_unchanged(value):
    assert rule_of(value).kind is RuleKind.UNCHANGED
    if value is not None:
        assert np.array_equal(postprocess_class(value, {value: two_pieces()}.get, VOXEL), two_pieces())


@pytest.mark.parametrize("value", range(1, 33))
def test_every_class_survives_emptiness(value):
    empty = np.zeros((12, 11, 10), bool)
    for masks in (dict.fromkeys(range(1, 33), empty), {value: empty}):
        kept = postprocess_class(value, masks.get, VOXEL)
        assert kept.shape == empty.shape
        assert kept.dtype == np.bool_
        assert not kept.any()


@pytest.mark.parametrize("value", range(1, 33))
def test_only_the_announced_classes_are_asked_for(value):
    asked = set()

    def masks(v):
        asked.add(v)
        return two_pieces()

    postprocess_class(value, masks, VOXEL)
    assert asked == {value, *rule_of(value).needs}


def test_the_portal_vein_ends_at_the_lowest_slice_of_the_postprocessed_pancreas():
    shape = (20, 20, 30)
    vein = box(shape, (8, 10), (8, 10), (0, 28)) | box(shape, (15, 17), (2, 4), (20, 22))
    pancreas = box(shape, (4, 14), (4, 14), (12, 18)) | box(shape, (0, 2), (0, 2), (3, 5))  # the low crumb does not count
    kept = postprocess_class(10, {10: vein, 11: pancreas}.get, VOXEL)
    assert not kept[:, :, :12].any()
    assert np.array_equal(kept[:, :, 12:], vein[:, :, 12:])


def test_the_portal_vein_stays_when_the_pancreas_is_empty_or_missing():
    vein = two_pieces()
    for masks in ({10: vein}, {10: vein, 11: np.zeros_like(vein)}):
        assert np.array_equal(postprocess_class(10, masks.get, VOXEL), vein)


def test_a_model_with_only_one_lung_keeps_its_largest_component():
    assert postprocess_class(16, {16: two_pieces()}.get, VOXEL).sum() == 7**3


def test_a_class_without_a_mask_is_refused():
    with pytest.raises(LabelError, match="class 6: there is no mask"):
        postprocess_class(6, {}.get, VOXEL)


def test_masks_of_two_grids_are_refused():
    with pytest.raises(GeometryError, match=r"class 11 has shape \(2, 2, 2\), expected \(20, 20, 20\)"):
        postprocess_class(10, {10: two_pieces(), 11: np.ones((2, 2, 2), bool)}.get, VOXEL)


def phantom():
    """An asymmetric torso in RAS, 2x2x3 mm: lungs with swapped and mixed labels, pancreas, portal vein, liver and tumors."""
    shape = (44, 30, 36)
    rng = np.random.default_rng(7)
    left, right = box(shape, (4, 17), (6, 24), (20, 35)), box(shape, (24, 41), (5, 25), (18, 36))
    bridge = box(shape, (17, 24), (12, 14), (24, 30))
    masks = {
        16: left | bridge | box(shape, (24, 30), (5, 25), (18, 36)),
        17: right | box(shape, (1, 2), (1, 2), (1, 3)),
        11: box(shape, (14, 30), (12, 18), (9, 13)) | box(shape, (2, 4), (2, 4), (0, 2)),
        10: box(shape, (21, 24), (13, 16), (2, 17)),
        6: box(shape, (22, 42), (4, 26), (4, 17)),
        27: box(shape, (28, 32), (8, 12), (8, 12)) | box(shape, (3, 7), (8, 12), (8, 12)),
        1: rng.random(shape) > 0.9,
    }
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-40, -20, 100)
    return masks, affine


PHANTOM, PHANTOM_AFFINE = phantom()
EXPECTED = {v: postprocess_volume(PHANTOM.get, PHANTOM_AFFINE, v) for v in (1, 6, 10, 16, 17, 27)}


def turned(array, affine, code):
    """Reorient with nibabel, independently of the code under test; dataobj of an int8 image."""
    image = nib.Nifti1Image(array.astype(np.uint8), affine)
    transform = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(code))
    image = image.as_reoriented(transform)
    return np.asarray(image.dataobj), image.affine


def test_the_phantom_is_a_hard_case():
    assert (EXPECTED[16] | EXPECTED[17]).sum() > 0
    assert np.argwhere(EXPECTED[17])[:, 0].mean() < np.argwhere(EXPECTED[16])[:, 0].mean()
    assert not EXPECTED[10][:, :, :9].any()
    assert EXPECTED[10][:, :, 9:].sum() == PHANTOM[10][:, :, 9:].sum()
    assert EXPECTED[27].sum() == 4**3
    assert EXPECTED[27][28, 8, 8]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CODES), st.sampled_from(sorted(EXPECTED)), st.booleans())
def test_every_orientation_of_a_case_gives_the_same_result(code, value, fortran):
    masks = {v: turned(m, PHANTOM_AFFINE, code)[0] for v, m in PHANTOM.items()}
    affine = turned(PHANTOM[1], PHANTOM_AFFINE, code)[1]
    if fortran:
        masks = {v: np.asfortranarray(m) for v, m in masks.items()}
    before = {v: m.copy() for v, m in masks.items()}
    kept = postprocess_volume(masks.get, affine, value)
    assert np.array_equal(kept, turned(EXPECTED[value], PHANTOM_AFFINE, code)[0].astype(bool))
    assert all(np.array_equal(before[v], masks[v]) for v in masks)


def test_lps_and_ras_versions_have_identical_left_and_right_lungs():
    masks = {v: m[::-1, ::-1] for v, m in PHANTOM.items()}
    affine = turned(PHANTOM[1], PHANTOM_AFFINE, "LPS")[1]
    lungs = postprocess_lung_volume(masks.get, affine)
    assert np.array_equal(lungs.right, EXPECTED[16][::-1, ::-1])
    assert np.array_equal(lungs.left, EXPECTED[17][::-1, ::-1])
    assert lungs.right.sum() > 4000
    assert lungs.left.sum() > 3000


def test_an_oblique_case_is_treated_as_the_closest_orientation():
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for value, expected in EXPECTED.items():
        assert np.array_equal(postprocess_volume(PHANTOM.get, turn @ PHANTOM_AFFINE, value), expected)


def test_both_lungs_at_once_equal_one_at_a_time_and_both_are_needed():
    lungs = postprocess_lung_volume(PHANTOM.get, PHANTOM_AFFINE)
    assert np.array_equal(lungs.right, EXPECTED[16])
    assert np.array_equal(lungs.left, EXPECTED[17])
    with pytest.raises(LabelError, match="class 17"):
        postprocess_lung_volume({16: PHANTOM[16]}.get, PHANTOM_AFFINE)


@pytest.mark.parametrize("spacing", [0.75, 1.5, 3.0])
def test_volume_thresholds_hold_at_the_spacing_of_the_affine(spacing):
    length = round(337.5 / spacing**3)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    for extra, kept in ((0, False), (1, True)):
        tumor = box((length + 2, 3, 3), (0, length + extra), (1, 2), (1, 2))
        assert postprocess_volume({28: tumor}.get, affine, 28).any() == kept


@pytest.mark.parametrize(("spacing", "emptied"), [((1.5, 1.5, 5.0), True), ((0.4, 0.4, 5.0), False)])
def test_a_corrupt_lung_slice_is_judged_by_its_area_whatever_the_axis_order(spacing, emptied):
    shape = (44, 30, 36)
    raw = box(shape, (4, 17), (6, 24), (4, 35)) | box(shape, (24, 41), (5, 25), (4, 36)) | box(shape, (0, 1), (0, 1), (0, 1))
    raw[:, :, 20] = True  # 600 voxels more than its neighbors; 450 mm^2 are 200 and 2813 voxels
    masks = {16: raw.transpose(2, 0, 1), 17: np.zeros((36, 44, 30), bool)}
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = spacing[2], spacing[0], spacing[1], 1
    found = postprocess_lung_volume(masks.get, affine)
    assert found.slices == ((20,) if emptied else ())
    assert np.array_equal(postprocess_volume(masks.get, affine, 16), found.right)
    assert found.right[20].any() != emptied


@pytest.mark.parametrize("value", range(1, 33))
def test_no_class_changes_its_input(value):
    masks = {v: PHANTOM.get(v, two_pieces_like(v)) for v in range(1, 33)}
    before = {v: m.copy() for v, m in masks.items()}
    for mask in masks.values():
        mask.flags.writeable = False
    postprocess_volume(masks.get, PHANTOM_AFFINE, value)
    assert all(np.array_equal(before[v], masks[v]) for v in masks)


def two_pieces_like(value):
    return np.random.default_rng(value).random(PHANTOM[1].shape) > 0.97
