"""Hot spots: regions of the attention maps, their order and their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasQualityLib.error_map import STEPS
from AtlasQualityLib.hot_spots import HotSpot, find_hot_spots, organ_box, place_in_words
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.sparse import from_dense, write_sparse
from AtlasSegmentLib.volume import Grid, Volume, reorient

AFFINE = np.array([[2.0, 0, 0, -40], [0, 3.0, 0, -60], [0, 0, 5.0, 100], [0, 0, 0, 1]])
SHAPE = (40, 40, 40)
UNIT = 30.0  # mm3 a voxel
ORIENTATIONS = ["RAS", "LPS", "LAI", "SPR", "AIL"]


def put(case: CaseFolder, kind: str, organ: str, array: np.ndarray, orientation: str = "RAS", affine: np.ndarray = AFFINE) -> None:
    turned, turned_affine = reorient(array, affine, orientation)
    path = case.average.map(kind, organ)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "expected_error":
        stored = np.round(turned * STEPS).astype(np.uint16)
        write_sparse(path, from_dense(stored, Grid(turned.shape, turned_affine)), slope=1 / STEPS)
    else:
        write_nifti(path, Volume(np.asfortranarray(turned.astype(np.uint8)), turned_affine))


def two_blobs() -> np.ndarray:
    heat = np.zeros(SHAPE)
    heat[4:9, 30:35, 30:35] = 100  # left, front, top
    heat[30:34, 4:8, 4:8] = 200  # right, back, bottom: smaller and hotter
    return heat


def organ() -> np.ndarray:
    mask = np.zeros(SHAPE)
    mask[2:38, 2:38, 2:38] = 1
    return mask


def test_regions_are_ranked_by_the_sum_of_attention_times_volume(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path)
    put(case, "attention", "liver", two_blobs())
    spots = find_hot_spots(case)
    assert [spot.score for spot in spots] == pytest.approx([64 * 200 / 255 * UNIT, 125 * 100 / 255 * UNIT], abs=1e-3)
    assert [spot.volume_mm3 for spot in spots] == [64 * UNIT, 125 * UNIT]
    assert [spot.peak for spot in spots] == pytest.approx([200 / 255, 100 / 255])


def test_expected_error_decides_the_order_where_it_is_there(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path)
    put(case, "attention", "liver", two_blobs())
    error = np.where(two_blobs() == 100, 0.4, 0.0) + np.where(two_blobs() == 200, 0.1, 0.0)
    put(case, "expected_error", "liver", error)
    spots = find_hot_spots(case)
    assert [spot.volume_mm3 for spot in spots] == [125 * UNIT, 64 * UNIT]
    assert [spot.score for spot in spots] == pytest.approx([125 * 0.4 * UNIT, 64 * 0.1 * UNIT], rel=1e-4)


def test_voxels_that_touch_at_a_corner_are_one_region(tmp_path: Path) -> None:
    heat = np.zeros(SHAPE)
    heat[5:8, 5:8, 5:8] = 50
    heat[8:11, 8:11, 8:11] = 50
    put(CaseFolder(tmp_path), "attention", "liver", heat)
    assert [spot.volume_mm3 for spot in find_hot_spots(CaseFolder(tmp_path))] == [54 * UNIT]


def test_the_center_lies_inside_the_region_also_when_the_centroid_does_not(tmp_path: Path) -> None:
    heat = np.zeros(SHAPE)
    heat[10:30, 10:30, 20] = 90
    heat[13:27, 13:27, 20] = 0  # a ring
    put(CaseFolder(tmp_path), "attention", "liver", heat)
    (spot,) = find_hot_spots(CaseFolder(tmp_path))
    assert heat[spot.voxel] == 90
    assert spot.center == pytest.approx(tuple(AFFINE[:3, :3] @ spot.voxel + AFFINE[:3, 3]))


def test_the_center_is_at_a_high_voxel(tmp_path: Path) -> None:
    heat = np.zeros(SHAPE)
    heat[10:20, 10:20, 10:20] = 60
    heat[11, 12, 13] = 250
    put(CaseFolder(tmp_path), "attention", "liver", heat)
    (spot,) = find_hot_spots(CaseFolder(tmp_path))
    assert spot.voxel == (11, 12, 13)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_array_order_of_the_maps_changes_nothing_but_the_voxel_index(tmp_path: Path, orientation: str) -> None:
    found: list[list[HotSpot]] = []
    rng = np.random.default_rng(7)
    noise = (rng.random(SHAPE) > 0.93) * rng.integers(1, 255, SHAPE) + two_blobs()
    for code in ("RAS", orientation):
        case = CaseFolder(tmp_path / f"case {code}")
        put(case, "attention", "liver", np.minimum(noise, 255), code)
        put(case, "expected_error", "liver", np.minimum(noise / 600, 0.5), code)
        put(case, "segmentations", "liver", organ(), code)
        found.append(find_hot_spots(case))
    assert len(found[0]) > 1
    for a, b in zip(*found, strict=True):
        assert (a.center, a.volume_mm3, a.score, a.place) == (b.center, b.volume_mm3, b.score, b.place)


def test_places_are_in_the_directions_of_the_patient(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path)
    put(case, "attention", "spleen", two_blobs(), "LPS")
    put(case, "segmentations", "spleen", organ(), "LPS")
    assert [spot.place for spot in find_hot_spots(case)] == ["lower pole, right side, back", "upper pole, left side, front"]
    assert [spot.inside_share for spot in find_hot_spots(case)] == [1, 1]


def test_a_region_outside_of_the_mask_is_said_to_be_outside(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path)
    put(case, "attention", "liver", two_blobs())
    mask = np.zeros(SHAPE)
    mask[12:28, 12:28, 12:28] = 1
    put(case, "segmentations", "liver", mask)
    first = find_hot_spots(case)[0]
    assert first.inside_share == 0
    assert first.place == "below the organ, right of the organ, behind the organ"


def test_specks_are_left_out_unless_there_is_nothing_else(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path)
    speck = np.zeros(SHAPE)
    speck[1, 1, 1] = 255
    put(case, "attention", "spleen", speck)
    assert [spot.volume_mm3 for spot in find_hot_spots(case)] == [UNIT]
    put(case, "attention", "liver", two_blobs())
    assert {spot.organ for spot in find_hot_spots(case)} == {"liver"}


def test_no_more_than_the_limit_are_returned_and_they_are_the_first(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path)
    put(case, "attention", "liver", two_blobs())
    put(case, "attention", "spleen", two_blobs() / 2)
    everything = find_hot_spots(case)
    assert len(everything) == 4
    assert find_hot_spots(case, limit=3) == everything[:3]
    assert [spot.organ for spot in find_hot_spots(case, ["spleen"])] == ["spleen", "spleen"]


def test_a_case_without_attention_has_no_hot_spots(tmp_path: Path) -> None:
    assert find_hot_spots(CaseFolder(tmp_path)) == []
    put(CaseFolder(tmp_path), "attention", "liver", np.zeros(SHAPE))
    assert find_hot_spots(CaseFolder(tmp_path)) == []


def test_an_organ_without_a_map_and_maps_on_other_grids_are_refused(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path)
    with pytest.raises(InputError, match=r"spleen\.nii\.gz"):
        find_hot_spots(case, ["spleen"])
    put(case, "attention", "liver", two_blobs())
    put(case, "segmentations", "liver", organ(), affine=AFFINE + np.diag([0, 0, 1.0, 0]))
    with pytest.raises(GeometryError, match="does not lie on the grid"):
        find_hot_spots(case)


def test_the_box_of_an_organ_is_exact_on_oblique_grids() -> None:
    angle = np.deg2rad(25)
    affine = np.eye(4)
    affine[:2, :2] = [[2 * np.cos(angle), -np.sin(angle)], [2 * np.sin(angle), np.cos(angle)]]
    mask = np.random.default_rng(3).random((9, 11, 13)) > 0.95
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    found = organ_box(from_dense(mask, Grid(mask.shape, affine)))
    assert found is not None
    np.testing.assert_allclose(found, (points.min(axis=0), points.max(axis=0)), atol=1e-12)


def test_places_in_words() -> None:
    low, high = (0, 0, 0), (90, 90, 90)
    assert place_in_words((45, 45, 45), low, high) == "center"
    assert place_in_words((10, 80, 80), low, high, "kidney_left") == "upper pole, left side, front"
    assert place_in_words((80, 10, 10), low, high, "liver") == "lower part, right side, back"
    assert place_in_words((45, 120, 45), low, high) == "in front of the organ"


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-50, 150)] * 3))
def test_the_mirrored_place_has_the_mirrored_words(point: tuple[float, float, float]) -> None:
    words = place_in_words(point, (0, 0, 0), (100, 100, 100))
    mirrored = place_in_words((100 - point[0], point[1], point[2]), (0, 0, 0), (100, 100, 100))
    near_a_limit = any(abs(point[0] - limit) < 1e-3 for limit in (0, 100 / 3, 200 / 3, 100))
    assert near_a_limit or mirrored == words.replace("left", "?").replace("right", "left").replace("?", "right")
