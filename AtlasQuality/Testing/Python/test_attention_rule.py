"""The attention rule: the bytes, counts and sums of AbdomenAtlas' own definition on whole volumes."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from AtlasQualityLib.attention_rule import AttentionMaps, attention_of, deviation_exceeds, mean_exceeds, opened
from AtlasSegmentLib.sparse import SparseVolume, from_dense
from AtlasSegmentLib.volume import Grid

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "Testing" / "Benchmarks"))
import naive_abdomenatlas as naive

FULL = np.ones((3, 3, 3))
SHAPE = (11, 9, 12)
# Two models 51 apart have a deviation of exactly 0.1; four entropies that sum to 51 have a mean of exactly 0.05.
NEAR = [0, 12, 13, 14, 25, 26, 50, 51, 52, 76, 77, 102, 127, 128, 204, 254, 255]


def sparse(array: np.ndarray) -> SparseVolume:
    return from_dense(np.asfortranarray(array), Grid(array.shape, np.eye(4)))


def rule(soft: list[np.ndarray], entropy: list[np.ndarray], overlap: np.ndarray | None = None) -> AttentionMaps:
    overlap = np.zeros(soft[0].shape, bool) if overlap is None else overlap
    return attention_of([sparse(s) for s in soft], [sparse(e) for e in entropy], sparse(overlap))


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), np.eye(4)), path)


def naive_rule(folder: Path, soft, entropy, masks: dict[str, np.ndarray]) -> tuple[np.ndarray, int, int]:
    """Run the whole-volume version on files; the attention is the liver's."""
    models = [f"m{i}" for i in range(len(soft))]
    for name, s, e in zip(models, soft, entropy, strict=True):
        write(folder / f"backbones/{name}/soft_pred/liver.nii.gz", s)
        write(folder / f"backbones/{name}/entropy/liver.nii.gz", e)
    for organ, mask in masks.items():
        write(folder / f"average/segmentations/{organ}.nii.gz", mask)
    scores = naive.attention(folder, models, ["liver"], folder / "out")
    return np.asarray(nib.load(folder / "out/liver.nii.gz").dataobj), *scores["liver"]


@st.composite
def maps(draw, models: int) -> list[np.ndarray]:
    """Bytes near the thresholds: blobs of one value for each model, some at the border, with holes and single voxels."""
    arrays = [np.zeros(SHAPE, np.uint8) for _ in range(models)]
    for _ in range(draw(st.integers(0, 3))):
        low = [draw(st.integers(0, n - 1)) for n in SHAPE]
        size = [draw(st.sampled_from([1, 4, 5, 6, 12])) for _ in SHAPE]
        box = tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))
        for array in arrays:
            array[box] = draw(st.sampled_from(NEAR))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for array in arrays:
        share = draw(st.sampled_from([0.0, 0.01, 0.2]))
        noisy = random.random(SHAPE) < share
        array[noisy] = random.choice(NEAR, int(noisy.sum()))
    return arrays


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.integers(1, 6))
def test_bytes_and_scores_equal_the_whole_volume_version(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, models: int
) -> None:
    soft, entropy = data.draw(maps(models)), data.draw(maps(models))
    masks = dict(zip(["liver", "spleen", "aorta"], data.draw(maps(3)), strict=True))
    masks = {organ: (mask > 0).astype(np.uint8) for organ, mask in masks.items()}
    expected, voxels, heat_sum = naive_rule(tmp_path_factory.mktemp("case"), soft, entropy, masks)
    found = rule(soft, entropy, (masks["liver"] > 0) & (masks["spleen"] > 0))
    np.testing.assert_array_equal(found.heat().dense(), expected)
    assert (found.voxels, int(found.heat().crop.sum(dtype=int))) == (voxels, heat_sum)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.one_of(st.sampled_from(NEAR), st.integers(0, 255)), min_size=1, max_size=6), min_size=1, max_size=8))
def test_thresholds_are_those_of_float64_numpy(rows: list[list[int]]) -> None:
    count = max(len(row) for row in rows)
    stack = np.array([row + [0] * (count - len(row)) for row in rows], np.uint8).T[:, :, None, None]
    np.testing.assert_array_equal(deviation_exceeds(list(stack)), np.std(stack / 255, axis=0) > 0.1)
    np.testing.assert_array_equal(mean_exceeds(list(stack)), np.mean(stack / 255, axis=0) > 0.05)


def test_exact_ties_are_decided_as_float64_numpy_decides_them() -> None:
    low = np.arange(205, dtype=np.uint8)[:, None, None]
    pair = [low, low + np.uint8(51)]
    expected = np.std(np.stack(pair) / 255, axis=0) > 0.1
    assert expected.any()
    assert not expected.all()  # rounding decides, and in both ways
    np.testing.assert_array_equal(deviation_exceeds(pair), expected)
    four = np.array([v for v in np.ndindex(30, 30, 30) if sum(v) <= 51], np.uint8)
    four = np.concatenate([four, 51 - four.sum(axis=1, keepdims=True, dtype=np.uint8)], axis=1).T[:, :, None, None]
    np.testing.assert_array_equal(mean_exceeds(list(four)), np.mean(four / 255, axis=0) > 0.05)
    rounded_up = list(np.array([35, 7, 3, 6], np.uint8).reshape(4, 1, 1, 1))
    assert mean_exceeds(rounded_up).all()


@pytest.mark.parametrize("models", [1, 2, 5, 89, 90, 201, 300])
def test_many_models_do_not_overflow(models: int) -> None:
    half = [np.full((2, 2, 2), 255 * (i % 2), np.uint8) for i in range(models)]
    full = [np.full((2, 2, 2), 255, np.uint8)] * models
    assert bool(deviation_exceeds(half).all()) == (models > 1)
    assert not deviation_exceeds(full).any()
    assert mean_exceeds(full).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 13)] * 3), st.sampled_from([0.5, 0.9, 0.97, 1.0]))
def test_opening_equals_two_erosions_and_two_dilations(seed: int, shape: tuple[int, int, int], share: float) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    expected = ndimage.binary_dilation(ndimage.binary_erosion(mask, FULL, 2), FULL, 2)
    np.testing.assert_array_equal(opened(mask, 2), expected)


@pytest.mark.parametrize(("side", "kept"), [(5, 125), (4, 0)])
@pytest.mark.parametrize("corner", [0, 3])
def test_a_blob_of_5_voxels_a_side_stays_and_one_of_4_goes(side: int, kept: int, corner: int) -> None:
    one, other = np.zeros((2, 12, 12, 12), np.uint8)
    box = (slice(corner, corner + side),) * 3
    one[box], other[box] = 255, int(0.7 * 255)  # 1 and 0.7: a deviation of 0.15
    found = rule([one, other], [np.zeros_like(one)] * 2)
    assert found.voxels == kept
    assert np.count_nonzero(found.heat().dense() == 255) == kept


def test_one_model_is_never_inconsistent() -> None:
    soft = np.random.default_rng(0).integers(0, 256, (12, 12, 12), dtype=np.uint8)
    found = rule([soft], [np.full(soft.shape, 93, np.uint8)])
    assert not found.inconsistency.any()
    assert found.voxels == soft.size
    assert (found.uncertainty == 93 / 255).all()


def test_a_single_overlap_voxel_gives_heat_255_and_dims_the_rest() -> None:
    entropy, overlap = np.zeros((9, 9, 9), np.uint8), np.zeros((9, 9, 9), bool)
    entropy[:5, :5, :5] = 93
    overlap[8, 8, 8] = True
    heat = rule([entropy], [entropy], overlap).heat().dense()
    assert heat[8, 8, 8] == 255
    assert heat[0, 0, 0] == 93
    assert np.count_nonzero(heat) == 126


def test_the_parts_are_truncated_not_rounded() -> None:
    one, other, overlap = np.zeros((7, 7, 7), np.uint8), np.zeros((7, 7, 7), np.uint8), np.zeros((7, 7, 7), bool)
    one[1:6, 1:6, 1:6], other[1:6, 1:6, 1:6] = 101, 24  # a deviation of 38.5 / 255
    overlap[0, 0, 0] = True
    found = rule([one, other], [one, other], overlap)
    assert set(np.unique(found.part(found.inconsistency).dense())) == {0, 38}
    assert set(np.unique(found.part(found.uncertainty).dense())) == {0, 62}  # mean 62.5
    assert found.overlap_mask().dense().sum() == 1


def test_no_attention_is_an_empty_map_without_a_division_by_zero() -> None:
    empty = np.zeros((6, 6, 6), np.uint8)
    found = rule([empty, empty], [empty, empty])
    assert found.voxels == 0
    assert not found.heat().dense().any()
    assert found.heat().dense().shape == (6, 6, 6)
