"""Many labels at once: boxes by runs, the numbers of each label by itself, any number of threads; and connected parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from AtlasQualityLib import metrics_boxes, metrics_pair, metrics_runs
from AtlasQualityLib.metrics_boxes import label_boxes
from AtlasQualityLib.metrics_detection import ComponentDetection, detect_components
from AtlasQualityLib.metrics_labels import compare_labels, side_by_side
from AtlasQualityLib.metrics_runs import components_of, runs_of, shared_voxels
from AtlasQualityLib.surface_metrics import EXTRA, MISSED, NEITHER, MetricOptions, compare_masks
from AtlasSegmentLib.errors import GeometryError, InputError

MANY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


def label_map(seed: int, shape: tuple[int, ...], labels: int = 4) -> Any:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < 0.5, 0, rng.integers(0, labels + 1, shape)).astype(np.uint8)


def blobs(seed: int, shape: tuple[int, ...], quantile: float = 0.6) -> Any:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.7)
    return field > np.quantile(field, quantile)


@MANY
@given(seed=st.integers(0, 10**6), shape=SHAPES, order=st.permutations([0, 1, 2]), flip=st.booleans(), slab=st.sampled_from([1, 30, 10**6]))
def test_boxes_are_those_of_scipy_in_any_memory_order(seed: int, shape: Any, order: list[int], flip: bool, slab: int) -> None:
    labels = label_map(seed, shape).transpose(order)[:: -1 if flip else 1]
    expected = {value: box for value, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1) if box is not None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics_boxes, "_SLAB_VOXELS", slab)
        assert label_boxes(labels) == expected


def test_boxes_of_an_empty_array_and_of_one_without_labels_are_none() -> None:
    assert label_boxes(np.zeros((0, 3, 3), np.uint8)) == label_boxes(np.zeros((3, 3, 3), np.int16)) == {}


@pytest.mark.parametrize("labels", [np.full((2, 2, 2), -1), np.full((2, 2, 2), 70000), np.ones((2, 2, 2)), np.ones((2, 2), int)])
def test_what_is_no_label_map_is_refused(labels: Any) -> None:
    with pytest.raises(InputError, match="label"):
        label_boxes(labels)


def numbers(found: Any) -> str:
    """Return agreements as text that is equal where every number is, NaN too."""
    return repr({value: agreement.numbers() for value, agreement in found.items()})


@pytest.mark.parametrize("order", ["C", "F"])
def test_each_label_has_the_numbers_of_its_mask_by_itself_with_any_number_of_threads(order: Any) -> None:
    ours, truth = (np.asarray(label_map(seed, (14, 13, 12)), order=order) for seed in (1, 2))
    axes = np.array([[0.0, 0.7, 0], [-1.3, 0, 0], [0, 0, 2.0]])
    expected = {value: compare_masks(ours == value, truth == value, axes) for value in (1, 2, 3, 4)}
    found = [compare_labels(ours, truth, axes, threads=threads) for threads in (1, 2, 3)]
    assert numbers(found[0]) == numbers(found[1]) == numbers(found[2]) == numbers(expected)


def test_labels_of_one_side_and_of_neither_get_a_row() -> None:
    ours, truth = np.zeros((5, 5, 5), np.uint8), np.zeros((5, 5, 5), np.uint8)
    ours[0, 0, 0], truth[4, 4, 4] = 1, 2
    found = compare_labels(ours, truth, (1, 1, 1), values=(1, 2, 9))
    assert [found[value].presence for value in (1, 2, 9)] == [EXTRA, MISSED, NEITHER]
    assert [found[value].dice for value in (1, 2)] == [0, 0]
    assert math.isnan(found[9].dice)
    assert set(compare_labels(ours, truth, (1, 1, 1))) == {1, 2}


def test_label_maps_of_two_shapes_and_voxels_without_volume_are_refused() -> None:
    one = np.zeros((3, 3, 3), np.uint8)
    with pytest.raises(GeometryError, match=r"\(3, 3, 3\).*\(3, 3, 2\)"):
        compare_labels(one, one[:, :, :2], (1, 1, 1))
    with pytest.raises(GeometryError, match="no volume"):
        compare_labels(one, one, (1, 0, 1))


def test_an_error_in_a_thread_is_raised_where_its_result_would_come() -> None:
    def inverse(number: int) -> float:
        return 1 / number

    results = side_by_side(inverse, [4, 2, 0], [1, 2, 3], threads=2)
    assert [next(results), next(results)] == [0.25, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


@MANY
@given(seed=st.integers(0, 10**6), shape=SHAPES, slab=st.sampled_from([1, 20, 10**6]))
def test_surfaces_do_not_depend_on_how_many_slices_are_worked_on_at_a_time(seed: int, shape: Any, slab: int) -> None:
    a, b = blobs(seed, shape), blobs(seed + 1, shape)
    expected = repr(compare_masks(a, b, (1, 2, 3)).numbers())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics_pair, "_SLAB_VOXELS", slab)
        patch.setattr(metrics_runs, "_SLAB_VOXELS", slab)
        assert repr(compare_masks(a, b, (1, 2, 3)).numbers()) == expected


@MANY
@given(seed=st.integers(0, 10**6), shape=SHAPES, density=st.floats(0.02, 0.5))
def test_runs_give_the_components_sizes_and_centroid_of_scipy(seed: int, shape: Any, density: float) -> None:
    rng = np.random.default_rng(seed)
    mask, other = rng.random(shape) < density, rng.random(shape) < density  # noise: parts that hold together at a corner only
    runs = runs_of(mask)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    number, component = components_of(runs)
    assert number == count
    assert sorted(np.bincount(component, runs.lengths, number)) == sorted(np.bincount(labels.ravel())[1:])
    if mask.any():
        assert runs.centroid() == pytest.approx(ndimage.center_of_mass(mask))
    assert shared_voxels(runs, runs_of(other))[2].sum() == np.count_nonzero(mask & other)


def parts(*boxes: tuple[int, int]) -> Any:
    """Return a mask of rods along the last axis, given as (row, length); rows two apart do not touch."""
    mask = np.zeros((3, 20, 12), bool)
    for row, length in boxes:
        mask[1, row, :length] = True
    return mask


def test_parts_are_found_missed_and_wrongly_added() -> None:
    found = detect_components(parts((0, 10), (4, 10), (12, 3)), parts((0, 9), (4, 1), (8, 5)), 0.5)
    assert found == ComponentDetection(found=1, missed=2, false_positives=2)
    assert (found.precision, found.recall, found.f1) == (pytest.approx(1 / 3), pytest.approx(1 / 3), pytest.approx(1 / 3))


@pytest.mark.parametrize(("overlap", "found"), [(0.1, 1), (0.4, 1), (0.41, 0), (1.0, 0)])
def test_a_part_counts_from_the_stated_overlap_on(overlap: float, found: int) -> None:
    assert detect_components(parts((0, 10)), parts((0, 4)), overlap).found == found


def test_a_part_predicted_in_two_pieces_is_found_once_and_the_other_piece_is_wrong() -> None:
    split = parts((0, 12))
    split[1, 0, 5:7] = False
    assert detect_components(split, parts((0, 12)), 0.1) == ComponentDetection(1, 0, 1)


def test_as_many_parts_as_possible_are_matched() -> None:
    # The first piece of the mask overlaps both parts, the second only one of them: greedily by IoU one would be lost.
    mask, truth = np.zeros((1, 1, 40), bool), np.zeros((1, 1, 40), bool)
    truth[..., 0:10] = truth[..., 11:21] = True
    mask[..., 4:18], mask[..., 19:21] = True, True
    assert detect_components(mask, truth, 0.1).found == 2


@MANY
@given(seed=st.integers(0, 10**6), shape=SHAPES, overlap=st.sampled_from([0.05, 0.3, 0.8]))
def test_detection_changes_sides_with_the_masks(seed: int, shape: Any, overlap: float) -> None:
    a, b = blobs(seed, shape, 0.8), blobs(seed // 2, shape, 0.8)
    one, other = detect_components(a, b, overlap), detect_components(b, a, overlap)
    assert (one.found, one.missed, one.false_positives) == (other.found, other.false_positives, other.missed)


@pytest.mark.parametrize("overlap", [0.0, -1.0, 1.1, math.nan])
def test_an_overlap_that_is_no_share_is_refused(overlap: float) -> None:
    with pytest.raises(InputError, match="overlap"):
        compare_masks(parts((0, 3)), parts((0, 3)), (1, 1, 1), MetricOptions(overlap=overlap))
