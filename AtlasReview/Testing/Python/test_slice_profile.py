"""Attention of each slice: areas from the stored maps, the same in every array order, with the slices of the hot spots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_phantoms import turn
from AtlasQualityLib.error_map import STEPS
from AtlasQualityLib.hot_spots import find_hot_spots
from AtlasQualityLib.slice_scores import SliceProfile
from AtlasReviewLib.slice_profile import AXIAL, CORONAL, SAGITTAL, AttentionWeights, read_weights, slice_profile
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.sparse import from_dense, write_sparse
from AtlasSegmentLib.volume import Volume
from review_data import make_review_case, scores

SHAPE, SPACING, ORIGIN = (12, 10, 8), (2.0, 2.5, 4.0), (-30.0, 12.0, 100.0)
ORIENTATIONS = ("RAS", "LPS", "SAL", "PIR")


def map_of(orientation: str = "RAS", degrees: float = 0.0, seed: int = 0) -> Volume:
    """Return a map with values 0..255 in a part of the grid."""
    array = np.zeros(SHAPE, np.uint8)
    array[3:9, 2:7, 1:6] = np.random.default_rng(seed).integers(0, 256, (6, 5, 5))
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ORIGIN
    return Volume(array, turn(degrees) @ affine).reoriented(orientation)


def weights_of(volume: Volume) -> AttentionWeights:
    return AttentionWeights("attention", from_dense(volume.array, volume.grid), 255)


def test_a_number_is_the_area_of_a_slice_that_is_marked() -> None:
    volume = map_of()
    found = slice_profile(weights_of(volume))
    for index, value in enumerate(found.values):
        z = round((found.offset_of(index) - ORIGIN[2]) / SPACING[2])
        assert value == pytest.approx(volume.array[:, :, z].sum() / 255 * 2.0 * 2.5)
    assert found.values.sum() * found.step == pytest.approx(volume.array.sum() / 255 * 2.0 * 2.5 * 4.0)


@pytest.mark.parametrize(("direction", "axis"), [(AXIAL, 2), (CORONAL, 1), (SAGITTAL, 0)])
def test_slices_along_the_array_are_those_of_the_array_also_seen_from_the_other_side(direction: tuple[float, ...], axis: int) -> None:
    volume = map_of()
    found = slice_profile(weights_of(volume), direction)
    assert found.step == SPACING[axis]
    index = found.index_at(ORIGIN[axis] + 4 * SPACING[axis])
    across = tuple(other for other in range(3) if other != axis)
    area = np.prod(SPACING) / SPACING[axis]
    assert found.values[index] == pytest.approx(volume.array.sum(axis=across)[4] / 255 * area)
    back = slice_profile(weights_of(volume), [-2 * x for x in direction])
    assert np.array_equal(back.values, found.values[::-1])
    assert back.offset_of(0) == pytest.approx(-found.offset_of(len(found.values) - 1))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(ORIENTATIONS[1:]), st.sampled_from([0.0, 8.0, 31.0]), st.sampled_from([AXIAL, CORONAL, SAGITTAL]), st.integers(0, 9))
def test_every_array_order_gives_the_same_numbers_at_the_same_places(
    orientation: str, degrees: float, direction: tuple[float, float, float], seed: int
) -> None:
    one = slice_profile(weights_of(map_of("RAS", degrees, seed)), direction)
    other = slice_profile(weights_of(map_of(orientation, degrees, seed)), direction)
    assert one.start == pytest.approx(other.start)
    assert np.allclose(one.values, other.values, rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(1, 40), st.sampled_from([(0, AXIAL), (1, CORONAL), (2, SAGITTAL)]))
def test_a_turned_case_seen_along_its_own_axes_gives_the_same_profile(degrees: float, chosen: tuple[int, tuple[float, ...]]) -> None:
    direction = turn(degrees)[:3, :3] @ chosen[1]
    plain, turned = slice_profile(weights_of(map_of()), chosen[1]), slice_profile(weights_of(map_of(degrees=degrees)), direction)
    assert np.allclose(plain.values, turned.values)
    assert plain.start == pytest.approx(turned.start)


def test_slabs_across_an_oblique_case_lose_nothing() -> None:
    volume = map_of(degrees=25.0)
    found = slice_profile(weights_of(volume), AXIAL)
    assert found.values.sum() * found.step == pytest.approx(volume.array.sum() / 255 * np.prod(SPACING))


def test_the_profile_reaches_over_the_organ_and_a_little_more_but_not_beyond_the_case() -> None:
    volume = map_of()
    organ = np.zeros(SHAPE, np.uint8)
    organ[5, 5, 6:8] = 1
    found = slice_profile(weights_of(volume), AXIAL, organ=from_dense(organ, volume.grid))
    assert (found.offset_of(0), found.offset_of(len(found.values) - 1)) == (100.0, 128.0)
    assert found.index_at(99.0) == 0
    assert (found.index_at(97.9), found.index_at(130.1)) == (-1, -1)


def test_nothing_to_look_at_gives_no_slices() -> None:
    volume = map_of()
    found = slice_profile(weights_of(volume.with_array(np.zeros(SHAPE, np.uint8))))
    assert (len(found.values), found.index_at(0.0)) == (0, -1)


def test_a_moved_case_is_summed_where_it_lies_now(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    weights, spots = read_weights(case, "liver"), find_hot_spots(case, ["liver"])
    assert weights is not None
    moved = np.eye(4)
    moved[2, 3] = 50.0
    here, there = (slice_profile(weights, AXIAL, spots, affine=affine) for affine in (None, moved @ weights.map.grid.affine))
    assert there.start == pytest.approx(here.start + 50)
    assert np.array_equal(there.values, here.values)
    assert there.hot == here.hot


@pytest.mark.parametrize("direction", [(0, 0, 0), (1, 0), (np.nan, 0, 1)])
def test_a_direction_without_length_is_refused(direction: tuple[float, ...]) -> None:
    with pytest.raises(GeometryError, match="direction"):
        slice_profile(weights_of(map_of()), direction)


def test_the_hot_spots_lie_in_slices_with_attention(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0), orientation="LPS")
    spots = find_hot_spots(case, ["liver"])
    weights = read_weights(case, "liver")
    assert spots
    assert weights is not None
    found = slice_profile(weights, AXIAL, spots)
    assert len(found.hot) == len(spots)
    for index, spot in zip(found.hot, spots, strict=True):
        assert found.values[index] > 0
        assert abs(found.offset_of(index) - spot.center[2]) < found.step / 2 + 1e-3


def test_expected_error_is_taken_where_there_is_such_a_map_and_attention_else(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    attention = read_weights(case, "liver")
    assert attention is not None
    assert (attention.kind, attention.steps, attention.map.crop.max()) == ("attention", 255, 200)
    error = np.zeros(attention.map.grid.shape, np.float32)
    error[20, 15, 12] = 0.25
    stored = from_dense(np.rint(error * STEPS).astype(np.uint16), attention.map.grid)
    write_sparse(case.average.map("expected_error", "liver"), stored, slope=1 / STEPS)
    found = read_weights(case, "liver")
    assert found is not None
    assert found.kind == "expected_error"
    profile: SliceProfile = slice_profile(found)
    assert profile.values.max() == pytest.approx(0.25 * 3.0 * 3.5, rel=1e-4)
    assert np.count_nonzero(profile.values) == 1


def test_without_a_map_there_are_no_weights_and_a_damaged_one_is_said(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    assert read_weights(case, "spleen") is None
    assert read_weights(CaseFolder(tmp_path / "none"), "liver") is None
    path = case.average.map("attention", "liver")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError):
        read_weights(case, "liver")


def test_values_that_are_no_numbers_count_as_nothing(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    weights = read_weights(case, "liver")
    assert weights is not None
    array = np.zeros(weights.map.grid.shape, np.float32)
    array[5, 5, 5], array[6, 6, 6] = np.nan, 0.5
    write_nifti(case.average.map("expected_error", "liver"), Volume(array, weights.map.grid.affine))
    found = read_weights(case, "liver")
    assert found is not None
    assert np.count_nonzero(slice_profile(found).values) == 1


def test_faint_ends_are_left_out_when_asked_for_but_nothing_of_the_organ() -> None:
    array = np.zeros((4, 4, 60), np.uint8)
    array[0, 0, :] = 1
    array[:, :, 28:33] = 255
    organ = np.zeros_like(array)
    organ[1, 1, 12:30] = 1
    volume = Volume(array, np.diag([1.0, 1.0, 4.0, 1.0]))
    whole = slice_profile(weights_of(volume), AXIAL)
    short = slice_profile(weights_of(volume), AXIAL, tails=0.01)
    kept = slice_profile(weights_of(volume), AXIAL, organ=from_dense(organ, volume.grid), tails=0.01)
    assert len(whole.values) == 60
    assert (short.offset_of(0), short.offset_of(len(short.values) - 1)) == ((28 - 3) * 4.0, (32 + 3) * 4.0)
    assert (kept.offset_of(0), kept.offset_of(len(kept.values) - 1)) == (40.0, (32 + 3) * 4.0)
    assert np.array_equal(short.values, whole.values[25:36])
