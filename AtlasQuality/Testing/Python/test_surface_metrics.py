"""Surface metrics: equal to DeepMind's surface-distance, right on shapes whose answer is known, the same in any array order."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from AtlasQualityLib.surface_metrics import (
    BOTH,
    EXTRA,
    MISSED,
    NEITHER,
    MetricOptions,
    compare_masks,
    surface_dice,
    surface_distances,
)
from AtlasQualityLib.surface_table import CORNERS, surface_areas
from AtlasSegmentLib.errors import GeometryError, InputError

SPACINGS = st.tuples(*[st.floats(0.3, 5.0, allow_subnormal=False).map(lambda x: round(x, 3))] * 3)
MANY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHARES = ("dice", "iou", "nsd_1mm", "nsd_2mm")
DISTANCES = ("hd_mm", "hd95_mm", "assd_mm", "hd_voxel_mm", "hd95_voxel_mm", "assd_voxel_mm", "assd_voxel_pooled_mm")
SYMMETRIC = (*SHARES, *DISTANCES)
SHIFT = ("right_mm", "front_mm", "head_mm")


@pytest.fixture
def deepmind(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return DeepMind's package; its last release calls names that NumPy 2 and SciPy have moved since."""
    package = pytest.importorskip("surface_distance", reason="needs the package surface-distance")
    monkeypatch.setattr(package.metrics, "ndimage", SimpleNamespace(filters=ndimage, morphology=ndimage))
    monkeypatch.setattr(package.metrics.np, "Inf", np.inf, raising=False)
    return package


def two_masks(seed: int, shape: tuple[int, int, int] = (9, 8, 7), density: float = 0.4) -> tuple[Any, Any]:
    """Return two smooth random masks that overlap in part and touch the border of the image."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    other = field + 0.5 * ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    return field > np.quantile(field, 1 - density), other > np.quantile(other, 1 - density)


def ball(shape: tuple[int, int, int], center: tuple[float, float, float], radius: float, spacing: tuple[float, float, float]) -> Any:
    """Return a ball; center and radius in mm."""
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum((axis * s - c) ** 2 for axis, s, c in zip(axes, spacing, center, strict=True)) <= radius**2


def reference_numbers(deepmind: Any, a: Any, b: Any, spacing: Any) -> dict[str, float]:
    """Return what DeepMind's package says about mask `a` against the truth `b`."""
    found = deepmind.compute_surface_distances(b, a, spacing)
    return {
        "dice": float(deepmind.compute_dice_coefficient(b, a)),
        "nsd_1mm": float(deepmind.compute_surface_dice_at_tolerance(found, 1.0)),
        "nsd_2mm": float(deepmind.compute_surface_dice_at_tolerance(found, 2.0)),
        "hd95_mm": float(deepmind.compute_robust_hausdorff(found, 95)),
        "assd_mm": float(np.mean(deepmind.compute_average_surface_distance(found))),
    }


def on_the_edge(a: Any, b: Any, spacing: Any) -> bool:
    """Tell whether rounding decides: a distance that is a tolerance, or an element at exactly 95 % of the area."""
    s = surface_distances(a, b, spacing)
    shares = [np.cumsum(x) / x.sum() for x in (s.areas, s.reference_areas) if x.size]
    distances = np.concatenate([s.distances, s.reference_distances])
    return any(np.abs(x - 0.95).min() < 1e-7 for x in shares) or any(np.abs(distances - t).min() < 1e-7 for t in (1, 2))


def test_the_area_of_every_neighborhood_is_that_of_deepmind(deepmind: Any) -> None:
    kernel = deepmind.lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    for spacing in [(1.0, 1.0, 1.0), (0.7, 1.3, 2.9), (5.0, 0.5, 0.5)]:
        a, b, c = spacing
        ours = surface_areas(np.diag([b * c, a * c, a * b]))
        theirs = deepmind.lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
        codes = [sum(int(kernel[corner]) for bit, corner in enumerate(CORNERS) if code >> bit & 1) for code in range(256)]
        np.testing.assert_allclose(ours, theirs[codes], rtol=1e-12)


@MANY
@given(seed=st.integers(0, 10**6), spacing=SPACINGS, density=st.floats(0.02, 0.9))
def test_all_metrics_equal_those_of_deepmind(deepmind: Any, seed: int, spacing: tuple[float, float, float], density: float) -> None:
    a, b = two_masks(seed, density=density)
    assume(a.any() and b.any() and not on_the_edge(a, b, spacing))
    ours = compare_masks(a, b, spacing).numbers()
    for name, value in reference_numbers(deepmind, a, b, spacing).items():
        assert ours[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_a_ball_within_a_larger_one_is_as_far_away_everywhere() -> None:
    spacing, center = (0.8, 0.8, 2.0), (32.0, 32.0, 32.0)
    small, large = (ball((80, 80, 32), center, radius, spacing) for radius in (20.0, 26.0))
    found = compare_masks(small, large, spacing)
    assert (found.volume_ml, found.reference_ml) == (pytest.approx(4 / 3 * np.pi * 2.0**3, rel=0.01), pytest.approx(73.6, rel=0.01))
    # An element stands for the eight voxels around it, so that surfaces come up to a voxel nearer to each other.
    assert 6.0 - 0.8 < found.assd_mm < 6.0
    assert found.hd95_mm == pytest.approx(6.0, abs=0.5)
    assert (found.nsd_1mm, found.nsd_2mm) == (0, 0)
    # The surface of a binary mask has steps: about a tenth more area than the ball.
    assert 1.0 < surface_distances(small, large, spacing).areas.sum() / (4 * np.pi * 20**2) < 1.16


def test_a_box_that_grew_by_one_slice_has_the_known_numbers() -> None:
    a, b = np.zeros((20, 20, 20), np.uint8), np.zeros((20, 20, 20), np.uint8)
    b[5:15, 5:15, 5:15] = 1
    a[5:15, 5:15, 5:16] = 1
    found = compare_masks(a, b, (1, 1, 3))
    assert (found.dice, found.difference_percent) == (pytest.approx(2 * 1000 / 2100), pytest.approx(10))
    assert (found.volume_ml, found.reference_ml, found.difference_ml) == (pytest.approx(3.3), pytest.approx(3.0), pytest.approx(0.3))
    farther = surface_distances(a, b, (1, 1, 3)).distances
    assert set(farther.round(6)) == {0.0, 3.0}


@MANY
@given(seed=st.integers(0, 10**6), spacing=SPACINGS, order=st.permutations([0, 1, 2]), flips=st.tuples(*[st.booleans()] * 3))
def test_the_array_order_changes_nothing(seed: int, spacing: Any, order: list[int], flips: tuple[bool, bool, bool]) -> None:
    a, b = two_masks(seed)
    turn = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    axes = np.diag(spacing)
    turned = axes[:, order] * [-1 if flip else 1 for flip in flips]
    expected = compare_masks(a, b, axes).numbers()
    found = compare_masks(a.transpose(order)[turn], b.transpose(order)[turn], turned).numbers()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


@MANY
@given(seed=st.integers(0, 10**6), spacing=SPACINGS)
def test_mask_and_reference_can_change_places(seed: int, spacing: Any) -> None:
    a, b = two_masks(seed)
    one, other = compare_masks(a, b, spacing).numbers(), compare_masks(b, a, spacing).numbers()
    assert {k: one[k] for k in SYMMETRIC} == pytest.approx({k: other[k] for k in SYMMETRIC}, rel=1e-12, nan_ok=True)
    for name in ("difference_ml", *SHIFT):
        assert one[name] == pytest.approx(-other[name], abs=1e-12)
    assert (one["parts_precision"], one["parts_f1"]) == (other["parts_recall"], other["parts_f1"])


@MANY
@given(seed=st.integers(0, 10**6), shift=st.tuples(*[st.integers(0, 5)] * 3))
def test_moving_both_masks_changes_nothing(seed: int, shift: tuple[int, int, int]) -> None:
    a, b = two_masks(seed)
    moved = [np.pad(mask, [(n, 6 - n) for n in shift]) for mask in (a, b)]
    assert compare_masks(*moved, (1, 2, 3)).numbers() == pytest.approx(compare_masks(a, b, (1, 2, 3)).numbers(), abs=1e-9, nan_ok=True)


@MANY
@given(seed=st.integers(0, 10**6), density=st.floats(0.01, 1.0))
def test_a_mask_agrees_with_itself(seed: int, density: float) -> None:
    a, _ = two_masks(seed, density=density)
    assume(a.any())
    found = compare_masks(a, a.copy(order="F"), (0.7, 0.7, 5))
    assert [getattr(found, name) for name in SYMMETRIC] == [1] * len(SHARES) + [0] * len(DISTANCES)
    assert (found.difference_ml, found.difference_percent, found.shift_mm, found.presence) == (0, 0, (0, 0, 0), BOTH)
    assert (found.parts.precision, found.parts.recall, found.parts.f1) == (1, 1, 1)


def test_a_turned_grid_gives_the_same_distances_as_a_straight_one() -> None:
    a, b = two_masks(5)
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.8, -0.9, 2.5])
    straight, turned = (compare_masks(a, b, axes) for axes in (np.diag([0.8, -0.9, 2.5]), affine))
    assert turned.shift_mm == pytest.approx(turn @ straight.shift_mm)
    expected, found = ({k: v for k, v in x.numbers().items() if k not in SHIFT} for x in (straight, turned))
    assert found == pytest.approx(expected)


@MANY
@given(seed=st.integers(0, 10**6), move=st.tuples(*[st.integers(-4, 4)] * 3), spacing=SPACINGS)
def test_a_mask_that_was_moved_is_as_far_away_as_it_was_moved(seed: int, move: tuple[int, int, int], spacing: Any) -> None:
    a = np.pad(two_masks(seed, density=0.3)[0], 4)
    found = compare_masks(np.roll(a, move, (0, 1, 2)), a, np.diag(spacing))
    way = np.array(move) * spacing
    assert found.shift_mm == pytest.approx(way, abs=1e-9)
    assert found.centroid_mm == pytest.approx(np.linalg.norm(way), abs=1e-9)
    assert max(found.hd_mm, found.hd_voxel_mm) <= np.linalg.norm(way) + 1e-9
    assert found.difference_ml == 0


@pytest.mark.parametrize("far", [1, 2, 30])
def test_a_plate_that_was_moved_across_has_its_distance_in_both_conventions(far: int) -> None:
    a, b = np.zeros((40, 12, 12), bool), np.zeros((40, 12, 12), bool)
    a[4], b[4 + far] = True, True
    found = compare_masks(b, a, (1.5, 0.7, 0.7))
    assert [found.hd_voxel_mm, found.hd95_voxel_mm, found.assd_voxel_mm, found.assd_voxel_pooled_mm] == pytest.approx([1.5 * far] * 4)
    # Elements lie on both sides of a plate one voxel thick: one of them nearer to the other plate, at the same place for the next one.
    assert found.hd_mm == pytest.approx(1.5 * far)
    assert found.assd_mm == pytest.approx((1.5 * far + 1.5 * (far - 1)) / 2, rel=0.02)


def test_a_larger_surface_weighs_more_in_the_pooled_mean_only() -> None:
    a, b = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    a[4, 4, 4] = True
    b[4, 4, 4] = b[4, 4, 6] = b[4, 6, 4] = True
    found = compare_masks(a, b, (1, 1, 1))
    assert found.assd_voxel_mm == pytest.approx((0 + 4 / 3) / 2)
    assert found.assd_voxel_pooled_mm == pytest.approx(4 / 4)


def test_surface_dice_is_given_at_any_tolerance() -> None:
    a, b = two_masks(3)
    found = compare_masks(a, b, (1, 2, 3), MetricOptions(tolerances=(0.0, 1.0, 3.5)))
    surfaces = surface_distances(a, b, (1, 2, 3))
    assert found.numbers()["nsd_3.5mm"] == surface_dice(surfaces, 3.5) >= found.nsd_2mm >= found.nsd_1mm >= found.numbers()["nsd_0mm"]
    assert set(found.other_nsd) == {0.0, 3.5}


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, math.inf])
def test_a_tolerance_that_is_none_is_refused(tolerance: float) -> None:
    with pytest.raises(InputError, match="tolerance"):
        MetricOptions(tolerances=(tolerance,))


def test_a_tilted_grid_is_measured_in_patient_space() -> None:
    # Two balls on a grid whose slices are shifted against one another, as CT with a tilted gantry has them.
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (60, 70, 30)], indexing="ij"), axis=-1)
    sheared = np.array([[1.0, 0, 0], [0, 1.0, -0.7], [0, 0, 2.0]])
    from_center = np.linalg.norm(index @ sheared.T - np.array([30.0, 25.0, 30.0]), axis=-1)
    found = compare_masks(from_center <= 16, from_center <= 22, sheared)
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 1.6**3, rel=0.01)
    assert 6.0 - 1.0 < found.assd_mm < 6.0
    area = surface_distances(from_center <= 22, from_center <= 22, sheared).areas.sum()
    assert 1.0 < area / (4 * np.pi * 22**2) < 1.16


def test_two_empty_masks_give_no_number() -> None:
    empty = np.zeros((4, 4, 4), bool)
    found = compare_masks(empty, empty, (1, 1, 1))
    assert all(math.isnan(getattr(found, name)) for name in (*SYMMETRIC, "difference_percent", "centroid_mm"))
    assert (found.volume_ml, found.reference_ml, found.presence) == (0, 0, NEITHER)
    assert (found.parts.found, found.parts.missed, found.parts.false_positives) == (0, 0, 0)
    assert all(math.isnan(share) for share in (found.parts.precision, found.parts.recall, found.parts.f1))


@pytest.mark.parametrize("swap", [False, True])
def test_an_empty_mask_against_a_full_one_is_infinitely_far(swap: bool) -> None:
    masks = [np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)]
    found = compare_masks(*(masks[::-1] if swap else masks), (1, 1, 1))
    assert [getattr(found, name) for name in SYMMETRIC] == [0] * len(SHARES) + [math.inf] * len(DISTANCES)
    assert math.isnan(found.difference_percent) == swap
    assert math.isnan(found.centroid_mm)
    assert found.presence == (EXTRA if swap else MISSED)
    assert (found.parts.found, found.parts.missed, found.parts.false_positives) == ((0, 0, 1) if swap else (0, 1, 0))


@pytest.mark.parametrize("place", [(0, 0, 0), (2, 2, 2), (4, 4, 4)])
def test_one_voxel_has_the_same_surface_inside_the_image_and_at_its_border(place: tuple[int, int, int]) -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[place] = True
    found = surface_distances(mask, mask, (1, 1, 1))
    assert len(found.areas) == 8
    assert found.areas.sum() == pytest.approx(math.sqrt(3))  # eight corners cut off, an octahedron


def test_masks_of_two_shapes_are_refused_with_both_shapes() -> None:
    with pytest.raises(GeometryError, match=r"\(3, 3, 3\).*\(3, 3, 4\)"):
        compare_masks(np.ones((3, 3, 3)), np.ones((3, 3, 4)), (1, 1, 1))


@pytest.mark.parametrize("axes", [(1, 1, 0), (1, math.nan, 1), np.ones((3, 3))])
def test_voxels_without_volume_are_refused(axes: Any) -> None:
    with pytest.raises(GeometryError, match="no volume"):
        compare_masks(np.ones((3, 3, 3)), np.ones((3, 3, 3)), axes)
