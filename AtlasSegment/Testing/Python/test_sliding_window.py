"""Windows lie where MONAI puts them and merge as if all logits had been added up at once."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.sliding_window import WindowRules, gaussian_weights, sliding_window, window_starts

SIZES = st.tuples(*[st.integers(1, 13)] * 3)
OVERLAPS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9])


def network(patch: np.ndarray) -> np.ndarray:
    """Two channels that depend on the place within the window, so that a window at a wrong place shows."""
    place = np.arange(patch.size, dtype=np.float32).reshape(patch.shape) / patch.size
    return np.stack([patch * (1 + place), patch - 3 * place])


def naive(image: np.ndarray, window: tuple[int, ...], overlap: float) -> np.ndarray:
    """Add up weighted logits over the whole padded image, then divide; starts and weights written down anew."""
    before = [max(0, w - n) // 2 for n, w in zip(image.shape, window, strict=True)]
    padded = np.full([max(n, w) for n, w in zip(image.shape, window, strict=True)], image.min(), np.float64)
    inner = tuple(slice(b, b + n) for b, n in zip(before, image.shape, strict=True))
    padded[inner] = image
    bells = [np.exp(-((np.arange(w) - (w - 1) / 2) ** 2) / (2 * (0.125 * w) ** 2)) for w in window]
    weights = np.einsum("i,j,k->ijk", *bells)
    weights = np.maximum(weights / weights.max(), 1e-3)
    total, weight = np.zeros((2, *padded.shape)), np.zeros(padded.shape)
    for start in product(*[monai_starts(n, w, overlap) for n, w in zip(padded.shape, window, strict=True)]):
        place = tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))
        total[(slice(None), *place)] += network(padded[place].astype(np.float32)) * weights
        weight[place] += weights
    return (total / weight)[(slice(None), *inner)]


def monai_starts(size: int, window: int, overlap: float) -> list[int]:
    """Follow monai.data.utils.dense_patch_slices: steps of int(window * (1 - overlap)), the last window flush with the border."""
    interval = size if window == size else max(1, int(window * (1 - overlap)))
    starts, number = [], 0
    while True:
        starts.append(min(number * interval, size - window))
        if number * interval + window >= size:
            return starts
        number += 1


def collected(image: np.ndarray, window: tuple[int, ...], overlap: float) -> np.ndarray:
    parts, reached = [], 0
    for first, logits in sliding_window(image, window, overlap, network):
        assert first == reached
        reached += logits.shape[1]
        parts.append(logits)
    return np.concatenate(parts, axis=1)


@settings(max_examples=80, deadline=None)
@given(SIZES, SIZES, OVERLAPS, st.integers(0, 9))
def test_the_result_is_that_of_adding_up_all_windows(shape: tuple[int, ...], window: tuple[int, ...], overlap: float, seed: int) -> None:
    image = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    found = collected(image, window, overlap)
    assert found.shape == (2, *shape)
    np.testing.assert_allclose(found, naive(image, window, overlap), atol=1e-5)


@given(st.integers(1, 300), st.integers(1, 120), st.floats(0, 0.99))
def test_windows_start_where_monai_starts_them(size: int, window: int, overlap: float) -> None:
    size = max(size, window)
    assert window_starts(size, window, overlap) == sorted(set(monai_starts(size, window, overlap)))


@pytest.mark.parametrize(
    ("size", "window", "overlap", "expected"),
    [
        (96, 96, 0.5, [0]),
        (100, 96, 0.5, [0, 4]),
        (240, 96, 0.5, [0, 48, 96, 144]),
        (10, 4, 0.75, [0, 1, 2, 3, 4, 5, 6]),
        (9, 4, 0, [0, 4, 5]),
    ],
)
def test_starts_of_known_sizes(size: int, window: int, overlap: float, expected: list[int]) -> None:
    assert window_starts(size, window, overlap) == expected


@given(st.integers(1, 200), st.integers(1, 60), st.floats(0, 0.99))
def test_windows_cover_every_voxel_and_stay_inside(size: int, window: int, overlap: float) -> None:
    size = max(size, window)
    covered = np.zeros(size, bool)
    for start in window_starts(size, window, overlap):
        assert 0 <= start <= size - window
        covered[start : start + window] = True
    assert covered.all()


def test_a_network_that_says_one_thing_everywhere_says_it_after_merging() -> None:
    image = np.zeros((17, 11, 9), np.float32)
    logits = np.concatenate(
        [part for _, part in sliding_window(image, (6, 7, 5), 0.6, lambda p: np.full((1, *p.shape), 3.25, np.float32))], axis=1
    )
    np.testing.assert_allclose(logits, 3.25, rtol=1e-6)


def test_weights_are_largest_in_the_middle_symmetric_and_never_zero() -> None:
    weights = gaussian_weights((9, 6, 3))
    assert weights.dtype == np.float32
    assert weights.shape == (9, 6, 3)
    assert weights.max() == weights[4, 2, 1] == weights[4, 3, 1] == 1
    assert weights.min() >= 1e-3
    np.testing.assert_allclose(weights, weights[::-1, ::-1, ::-1])


def test_progress_ends_at_one_and_never_goes_back() -> None:
    seen: list[float] = []
    list(sliding_window(np.zeros((20, 10, 10), np.float32), (8, 8, 8), 0.5, network, seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_the_image_is_not_changed_and_patches_are_contiguous() -> None:
    image = np.random.default_rng(0).normal(0, 1, (12, 9, 7)).astype(np.float32)
    before = image.copy()

    def check(patch: np.ndarray) -> np.ndarray:
        assert patch.flags.c_contiguous
        assert patch.shape == (5, 5, 5)
        return patch[None].copy()

    list(sliding_window(image, (5, 5, 5), 0.5, check))
    np.testing.assert_array_equal(image, before)


NOTHING = np.array([80.0, -80.0], np.float32)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.tuples(*[st.integers(1, 6)] * 3), st.sampled_from([0.0, 0.25, 0.5]), st.integers(0, 99), st.floats(0, 1))
def test_windows_of_air_alone_are_not_predicted_and_what_none_covers_is_nothing(
    shape: tuple[int, ...], window: tuple[int, ...], overlap: float, seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, shape).astype(np.float32)
    air = rng.random(shape) < share
    ran: list[np.ndarray] = []

    def remember(patch: np.ndarray) -> np.ndarray:
        ran.append(patch)
        return network(patch)

    rules = WindowRules(air=air, nothing=NOTHING)
    found = np.concatenate([part for _, part in sliding_window(image, window, overlap, remember, rules=rules)], axis=1)
    assert found.shape == (2, *shape)
    windows = corners(shape, window, overlap)
    solid = [place for place in windows if not padded_air(air, window)[place].all()]
    assert len(ran) == len(solid)
    covered = np.zeros([max(n, w) for n, w in zip(shape, window, strict=True)], bool)
    for place in solid:
        covered[place] = True
    inner = tuple(slice(max(0, w - n) // 2, max(0, w - n) // 2 + n) for n, w in zip(shape, window, strict=True))
    nowhere = ~covered[inner]
    np.testing.assert_array_equal(found[:, nowhere], np.broadcast_to(NOTHING[:, None], (2, int(nowhere.sum()))))
    assert (np.abs(found[:, ~nowhere]) < 80).all()
    assert not (nowhere & ~air).any()


def padded_air(air: np.ndarray, window: tuple[int, ...]) -> np.ndarray:
    before = [max(0, w - n) // 2 for n, w in zip(air.shape, window, strict=True)]
    padded = np.ones([max(n, w) for n, w in zip(air.shape, window, strict=True)], bool)
    padded[tuple(slice(b, b + n) for b, n in zip(before, air.shape, strict=True))] = air
    return padded


def corners(shape: tuple[int, ...], window: tuple[int, ...], overlap: float) -> list[tuple[slice, ...]]:
    sizes = [max(n, w) for n, w in zip(shape, window, strict=True)]
    starts = product(*[monai_starts(n, w, overlap) for n, w in zip(sizes, window, strict=True)])
    return [tuple(slice(s, s + w) for s, w in zip(start, window, strict=True)) for start in dict.fromkeys(starts)]


def test_without_air_every_window_is_predicted_and_nothing_changes() -> None:
    image = np.random.default_rng(0).normal(0, 1, (12, 9, 7)).astype(np.float32)
    rules = WindowRules(air=np.zeros(image.shape, bool), nothing=NOTHING)
    parts = [part for _, part in sliding_window(image, (5, 5, 5), 0.5, network, rules=rules)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), collected(image, (5, 5, 5), 0.5))
