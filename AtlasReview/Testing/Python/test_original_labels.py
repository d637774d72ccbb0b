"""Original labels: the dataset's values become AbdomenAtlas classes, left and right told by the body's midline."""

from __future__ import annotations

import numpy as np
import pytest

from AtlasReviewLib.midline import body_midline, case_midline
from AtlasReviewLib.original_labels import original_class_values, original_labels, split_sides
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.dataset_annotations import ORGAN_PARTS, dataset_keys, organ_parts
from AtlasSegmentLib.errors import GeometryError, InputError, LabelError
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume, reorient

SPACING = 5.0
SHAPE = (41, 30, 20)  # x, y, z of the RAS array; the body's middle is x index 19
KIDNEY = 2


def rotated(degrees):
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= SPACING
    affine[:3, 3] = [-90.0, -70.0, 12.0]
    return affine


def phantom():
    """A body that is not centered in the image, with a table below it."""
    ct = np.full(SHAPE, -1000, np.int16)
    ct[4:35, 6:26, :] = 40
    ct[2:39, 1:3, :] = 200
    return ct


def make_case(folder, label, *, ct=True, affine=None, order="RAS", label_order=None):
    case = CaseFolder(folder)
    affine = rotated(0) if affine is None else affine
    if ct:
        array, turned = reorient(phantom(), affine, order)
        write_nifti(case.ct, Volume(array, turned))
    else:
        array, turned = reorient(label, affine, order)
        write_nifti(case.average.pseudo_label, Volume(array, turned))
    array, turned = reorient(label, affine, label_order or order)
    write_nifti(case.original_label, Volume(array, turned))
    return case


def kidneys(value=KIDNEY):
    label = np.zeros(SHAPE, np.uint8)
    label[8:12, 10:15, 5:15] = value  # left: low x
    label[27:31, 10:15, 5:12] = value
    label[33, 20, 2] = value  # a fragment on the right
    label[5, 20, 18] = value  # and on the left
    return label


def test_the_midline_is_that_of_the_body_not_of_the_image(tmp_path):
    case = make_case(tmp_path, kidneys())
    assert body_midline(case.ct) == pytest.approx(-90 + 19 * SPACING)


@pytest.mark.parametrize("order", ["LPS", "RAI", "ASL"])
def test_the_coarse_look_at_a_fine_ct_takes_the_same_voxels_in_any_array_order(tmp_path, order):
    array = np.random.default_rng(1).choice(np.array([-1000, 40], np.int16), (30, 27, 25), p=[0.3, 0.7])
    affine = np.diag([1.3, 1.0, 2.0, 1.0])
    turned, turned_affine = reorient(array, affine, order)
    write_nifti(tmp_path / "a.nii.gz", Volume(array, affine))
    write_nifti(tmp_path / "b.nii.gz", Volume(turned, turned_affine))
    assert body_midline(tmp_path / "b.nii.gz") == body_midline(tmp_path / "a.nii.gz")


def test_vertebrae_tell_the_midline_when_there_are_any(tmp_path):
    case = make_case(tmp_path, kidneys())
    mask = np.zeros(SHAPE, np.uint8)
    mask[16:19, 8:10, 3:6] = 1
    write_nifti(case.average.mask("vertebrae_L1"), Volume(mask, rotated(0)))
    assert case_midline(case) == pytest.approx(-90 + 17 * SPACING)


def test_every_component_gets_a_side_and_lower_x_is_left(tmp_path):
    label = kidneys()
    classes = original_labels(make_case(tmp_path, label), "08").classes.array
    low = np.arange(SHAPE[0])[:, None, None] < 19
    np.testing.assert_array_equal(classes == 3, (label == KIDNEY) & low)
    np.testing.assert_array_equal(classes == 2, (label == KIDNEY) & ~low)


@pytest.mark.parametrize("affine", [rotated(0), rotated(20)], ids=["straight", "oblique"])
@pytest.mark.parametrize("order", ["LPS", "LAS", "SRA", "IPL"])
def test_any_array_order_gives_the_same_voxels_in_space(tmp_path, order, affine):
    label = kidneys()
    label[10:30, 16:18, 8] = KIDNEY  # a bar across the midline
    label[19, 5, 5] = KIDNEY  # a voxel on the midline itself
    plain = original_labels(make_case(tmp_path / "a", label, affine=affine), "08").classes
    turned = original_labels(make_case(tmp_path / "b", label, affine=affine, order=order), "08").classes
    assert {2, 3} <= set(np.unique(plain.array))
    np.testing.assert_array_equal(turned.reoriented("RAS").array, plain.reoriented("RAS").array)


def test_labels_in_another_array_order_than_the_ct_come_in_the_order_of_the_ct(tmp_path):
    label = kidneys()
    plain = original_labels(make_case(tmp_path / "a", label, order="LPS"), "08").classes
    turned = original_labels(make_case(tmp_path / "b", label, order="LPS", label_order="RAS"), "08").classes
    np.testing.assert_array_equal(turned.array, plain.array)
    np.testing.assert_allclose(turned.affine, plain.affine)


def test_two_organs_that_touch_are_cut_by_the_midline():
    mask = np.zeros(SHAPE, bool)
    mask[8:30, 10:15, 5:15] = True
    left, right = split_sides(mask, rotated(0), midline=-90 + 19 * SPACING)
    assert np.flatnonzero(left.any(axis=(1, 2))).tolist() == list(range(8, 19))
    np.testing.assert_array_equal(left ^ right, mask)


def test_an_organ_that_reaches_a_little_over_the_midline_stays_whole():
    mask = np.zeros(SHAPE, bool)
    mask[18:38, 10:15, 5:15] = True  # one of twenty columns beyond
    left, right = split_sides(mask, rotated(0), midline=-90 + 19 * SPACING)
    assert not left.any()
    np.testing.assert_array_equal(right, mask)


def test_without_a_ct_the_two_largest_components_tell_the_midline(tmp_path):
    label = kidneys()
    classes = original_labels(make_case(tmp_path, label, ct=False), "08").classes.array
    assert set(np.unique(classes[:19])) == {0, 3}
    assert set(np.unique(classes[25:])) == {0, 2}


def test_without_a_ct_a_single_kidney_is_not_cut_in_two(tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    label[8:12, 10:15, 5:15] = KIDNEY
    classes = original_labels(make_case(tmp_path, label, ct=False), "08").classes.array
    np.testing.assert_array_equal(classes == 3, label == KIDNEY)


def test_values_become_classes_and_dropped_values_background(tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    for value in range(1, 15):
        label[value, 0, 0] = value
    classes = original_labels(make_case(tmp_path, label), "02").classes.array
    assert classes[1:15, 0, 0].tolist() == [1, 0, 3, 4, 5, 6, 7, 0, 0, 0, 11, 0, 0, 14]


def test_float_files_with_whole_numbers_are_read(tmp_path):
    classes = original_labels(make_case(tmp_path, kidneys().astype(np.float32)), "08").classes.array
    assert set(np.unique(classes)) == {0, 2, 3}


def test_a_value_of_no_label_names_file_value_and_dataset(tmp_path):
    label = kidneys()
    label[0, 0, 0] = 9
    with pytest.raises(LabelError, match=r"original_label\.nii\.gz: value 9 .* dataset 08"):
        original_labels(make_case(tmp_path, label), "08")


@pytest.mark.parametrize("value", [-1, 200])
def test_values_far_outside_are_refused_too(tmp_path, value):
    label = kidneys().astype(np.int16)
    label[0, 0, 0] = value
    with pytest.raises(LabelError, match=f"value {value} "):
        original_labels(make_case(tmp_path, label), "08")


@pytest.mark.parametrize("value", [1.5, np.nan])
def test_fractions_are_refused(tmp_path, value):
    label = kidneys().astype(np.float32)
    label[0, 0, 0] = value
    with pytest.raises(InputError, match="whole numbers"):
        original_labels(make_case(tmp_path, label), "08")


def test_labels_on_another_grid_are_refused(tmp_path):
    case = make_case(tmp_path, kidneys())
    write_nifti(case.original_label, Volume(kidneys()[:-1], rotated(0)))
    with pytest.raises(GeometryError, match="original_label"):
        original_labels(case, "08")


def test_only_annotated_classes_that_the_file_can_hold_count_as_original():
    assert original_class_values("08") == {1, 2, 3, 6, 11}
    assert original_class_values("14") == {11, 28}  # its other organs are mapped but not listed as annotated


def test_a_dataset_whose_values_are_not_known_is_refused():
    with pytest.raises(LabelError, match="06"):
        original_class_values("06")


def test_the_parts_of_organs_are_those_that_abdomenatlas_merges_in_training():
    merged = {6: [15, 27, 29], 2: [26, 32], 3: [26, 32], 11: [28], 16: [30], 17: [30], 18: [31]}
    assert {organ: list(parts) for organs, parts in ORGAN_PARTS.items() for organ in organs} == merged


def test_only_organs_that_are_annotated_in_the_dataset_include_their_lesions():
    known = [key for key in dataset_keys() if key not in {"01_2", "06", "15"}]
    assert {key: organ_parts(key) for key in known if organ_parts(key)} == {
        "04": [((6,), (27,))],
        "05": [((2, 3), (26, 32))],
        "10_03": [((6,), (27,))],
        "10_07": [((11,), (28,))],
        "14": [((11,), (28,))],
    }


@pytest.mark.parametrize(("key", "organ", "lesion"), [("04", (1, 6), (2, 27)), ("10_03", (1, 6), (2, 27)), ("14", (13, 11), (14, 28))])
def test_the_mask_of_an_organ_includes_its_lesions_inside_and_at_the_border(tmp_path, key, organ, lesion):
    label = np.zeros(SHAPE, np.uint8)
    label[22:32, 8:18, 4:14] = organ[0]
    label[25:28, 11:14, 7:10] = lesion[0]  # inside
    label[31:34, 10:12, 5:8] = lesion[0]  # at the border, growing out
    labels = original_labels(make_case(tmp_path, label), key)
    np.testing.assert_array_equal(labels.mask(organ[1]), label > 0)
    np.testing.assert_array_equal(labels.mask(lesion[1]), label == lesion[0])


@pytest.mark.parametrize("ct", [True, False], ids=["with a CT", "without"])
@pytest.mark.parametrize("order", ["RAS", "LPS", "SRA"])
def test_a_lesion_goes_with_the_kidney_it_is_connected_to_else_with_its_side(tmp_path, order, ct):
    kidney, tumor, cyst = 1, 2, 3  # values of KiTS
    left, right = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    left[8:12, 10:15, 5:15] = kidney
    left[9:11, 11:14, 8:11] = cyst  # inside
    left[12:24, 10:14, 8:12] = tumor  # grows out of the left kidney far beyond the midline, 19
    left[24, 14, 12] = cyst  # touches the tumor with a corner only
    left[6, 20, 15:18] = cyst  # touches nothing
    right[27:31, 10:15, 5:15] = kidney
    right[29, 18, 8] = tumor
    labels = original_labels(make_case(tmp_path, left + right, ct=ct, order=order), "05")
    left, right = (reorient(side, rotated(0), order)[0] for side in (left, right))
    np.testing.assert_array_equal(labels.mask(3), left > 0)
    np.testing.assert_array_equal(labels.mask(2), right > 0)
    np.testing.assert_array_equal(labels.mask(26), (left + right) == tumor)


def test_a_lesion_between_both_kidneys_is_cut_by_the_midline(tmp_path):
    label = kidneys(1)
    label[12:27, 12, 8] = 2
    labels = original_labels(make_case(tmp_path, label), "05")
    assert np.flatnonzero(labels.mask(3)[:, 12, 8]).tolist() == list(range(8, 19))
    np.testing.assert_array_equal(labels.mask(2) ^ labels.mask(3), label > 0)


def test_vessels_and_their_tumors_are_no_liver_where_the_liver_is_not_annotated(tmp_path):
    label = kidneys(1)
    label[9, 12, 8] = 2
    labels = original_labels(make_case(tmp_path, label), "10_08")
    assert not labels.mask(6).any()
    np.testing.assert_array_equal(labels.mask(15), label == 1)
