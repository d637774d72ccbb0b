"""Patches of `atlas train`: where they lie, how they are varied, and that labels stay on what they name."""

from __future__ import annotations

import numpy as np
import pytest

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.train_cases import find_train_cases
from AtlasSegmentLib.train_cubes import AIR, Cube, CubeRule, make_cubes
from AtlasSegmentLib.train_organs import Targets, require_flips
from AtlasSegmentLib.train_patches import NONE, PatchRule, Variation, _crop, _moved, chosen_cases, draw
from train_toys import SPACING, write_toy

pytest.importorskip("torch", reason="Torch is not installed")
SIDED = Targets(("kidney_right", "kidney_left", "liver"))
MOVED = Variation(1, 20, 0.1, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> list[Cube]:
    """Return the cubes of three toys; the second one's reference knows the liver alone."""
    work = tmp_path_factory.mktemp("cubes")
    for seed in range(3):
        write_toy(work / "data" / f"case{seed}", seed, {1: "liver"} if seed == 1 else None)
    found, failed = make_cubes(find_train_cases([work / "data"]), CubeRule(SIDED, SPACING), work / "cubes")
    assert not failed
    return list(found.values())


def test_each_case_is_seen_once_before_one_is_seen_again() -> None:
    seen = [chosen_cases(5, 2, seed=1, step=step) for step in range(10)]
    turns = np.concatenate(seen).reshape(4, 5)
    assert np.array_equal(np.sort(turns, axis=1), np.tile(np.arange(5), (4, 1)))
    assert len({tuple(turn) for turn in turns.tolist()}) > 1


def test_patches_follow_from_seed_and_step(cubes: list[Cube]) -> None:
    rule = PatchRule(16)
    first, again = (draw(cubes, rule, SIDED, 3, 7, 4) for _ in range(2))
    other = draw(cubes, rule, SIDED, 3, 7, 5)
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.hu, other.hu)
    assert (first.hu.shape, first.hu.dtype, first.labels.dtype) == ((3, 16, 16, 16), np.float32, np.uint8)
    assert sorted(known.sum() for known in first.known) == [2, 4, 4]


def test_a_patch_that_is_neither_turned_nor_zoomed_is_the_crop(cubes: list[Cube]) -> None:
    center = np.array([13.0, 11.0, 12.0])
    for one, other in zip(_crop(cubes[0], center, 16), _moved(cubes[0], center, 16, np.eye(3)), strict=True):
        assert np.allclose(one, other, atol=0.05)


def test_turned_labels_stay_on_their_organs(cubes: list[Cube]) -> None:
    for step in range(8):
        found = draw(cubes[:1], PatchRule(20, 1.0, MOVED), SIDED, 1, 0, step)
        for channel, gray in ((1, 180), (2, 180), (3, 60)):
            inside = found.hu[found.labels == channel]
            if len(inside) > 20:
                assert abs(float(np.median(inside)) - gray) < 50, "beside the organs are 20 HU"


def test_what_lies_beyond_the_scan_is_air_and_background(cubes: list[Cube]) -> None:
    found = draw(cubes[:1], PatchRule(64, 0.0, NONE), SIDED, 1, 0, 0)
    assert (found.hu[0, 0] == AIR).all()
    assert (found.labels[0, 0] == 0).all()
    assert {1, 2, 3} <= set(np.unique(found.labels).tolist())


def test_organs_are_looked_at_alike_whatever_their_size(cubes: list[Cube]) -> None:
    counts = np.zeros(4, int)
    for step in range(40):
        labels = draw(cubes[:1], PatchRule(8, 1.0, NONE), SIDED, 1, 0, step).labels
        counts += [bool((labels == channel).any()) for channel in range(4)]
    assert min(counts[1:]) >= 8


def test_a_mirror_image_exchanges_left_and_right(cubes: list[Cube]) -> None:
    flips = Variation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, flips=True)
    mirrored = 0
    for step in range(12):
        (plain, flipped) = (draw(cubes[:1], PatchRule(32, 0.0, how), SIDED, 1, 0, step) for how in (NONE, flips))
        right, left = (np.argwhere(flipped.labels[0] == channel)[:, 0].mean() for channel in (1, 2))
        assert left < right, "the right kidney lies on the right in mirror images too"
        liver = np.argwhere(flipped.labels[0] == 3)[:, 0].mean()
        mirrored += liver < 16
        assert np.array_equal(np.sort(plain.hu.ravel()), np.sort(flipped.hu.ravel()))
    assert 2 <= mirrored <= 10
    with pytest.raises(InputError, match="partner kidney_left"):
        require_flips(Targets(("kidney_right",)))


def test_gray_values_vary_and_labels_do_not(cubes: list[Cube]) -> None:
    shaded = Variation(moved=0, cut=0)
    for step in range(6):
        plain, varied = (draw(cubes[:1], PatchRule(16, 0.7, how), SIDED, 1, 0, step) for how in (NONE, shaded))
        assert np.array_equal(plain.labels, varied.labels)
        assert np.isfinite(varied.hu).all()
        assert not np.array_equal(plain.hu, varied.hu)
        assert varied.hu.dtype == np.float32


def test_a_cut_leaves_a_slab(cubes: list[Cube]) -> None:
    cut = Variation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, cut=1)
    heights = set()
    for step in range(12):
        found = draw(cubes[:1], PatchRule(24, 0.0, cut), SIDED, 1, 0, step)
        inside = np.flatnonzero((found.hu[0] > AIR).any(axis=(0, 1)))
        heights.add(len(inside))
        assert len(inside) == inside[-1] - inside[0] + 1
        assert not found.labels[0][:, :, : inside[0]].any()
    assert len(heights) > 3
