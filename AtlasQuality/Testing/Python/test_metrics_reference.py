"""Metrics equal those of DeepMind's surface-distance (by element) and of medpy (by voxel) on 200 random and real masks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from AtlasQualityLib.metrics_boxes import label_boxes
from AtlasQualityLib.surface_metrics import Agreement, compare_masks, surface_distances
from AtlasSegmentLib.components import Mask, grow_box
from AtlasSegmentLib.labels import catalog, load_table
from AtlasSegmentLib.sparse import box_shape, union
from AtlasSegmentLib.volume_io import read_label_volume

RANDOM, REAL = 160, 40
SMALL_BOX = 60_000  # voxels: the reference's distance maps of larger ones take too long for a test
ALLOWED = 1e-6


@pytest.fixture(scope="module")
def deepmind() -> Iterator[Any]:
    """Return DeepMind's package; its last release calls names that NumPy 2 and SciPy have moved since."""
    package = pytest.importorskip("surface_distance", reason="needs the package surface-distance")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package.metrics, "ndimage", SimpleNamespace(filters=ndimage, morphology=ndimage))
        patch.setattr(package.metrics.np, "Inf", np.inf, raising=False)
        yield package


@pytest.fixture(scope="module")
def medpy() -> Any:
    return pytest.importorskip("medpy.metric.binary", reason="needs the package medpy, 0.5 or later")


def random_pair(seed: int) -> tuple[Mask, Mask, tuple[float, ...]]:
    """Return two masks of one of five kinds, and voxel sizes in mm, most of them far from cubes."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 16, 3))
    spacing = tuple(round(float(size), 3) for size in rng.uniform(0.4, 5.0, 3))
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2)
    a, b = field > np.quantile(field, 0.6), field + ndimage.gaussian_filter(rng.standard_normal(shape), 1.2) / 3 > np.quantile(field, 0.7)
    if seed % 5 == 1:  # noise: every neighborhood occurs
        a, b = rng.random(shape) < 0.3, rng.random(shape) < 0.5
    if seed % 5 == 2:  # far apart
        a, b = np.pad(a, ((0, 20), (0, 0), (0, 9))), np.pad(b, ((20, 0), (0, 0), (9, 0)))
    if seed % 5 == 3:  # a few voxels against many
        a = rng.random(shape) < 3 / a.size
    if seed % 5 == 4:  # plates and rods
        a, b = np.zeros(shape, bool), np.zeros(shape, bool)
        a[int(rng.integers(shape[0]))], b[:, int(rng.integers(shape[1])), :] = True, True
    for mask in (a, b):
        mask.flat[int(rng.integers(mask.size))] = True  # never empty: the packages differ there
    return a, b, spacing


@cache
def real_pairs(folder: Path) -> list[tuple[str, Mask, Mask, tuple[float, ...]]]:
    """Return organs of the torso as two networks see them, and organs of a thick-slice CT against damaged copies."""
    torso = folder / "torso-3mm"
    truth = read_label_volume(torso / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
    opinion = read_label_volume(torso / "second_opinion_label_v1.nii.gz", load_table("totalsegmentator_v1"))
    boxes, known = zip(
        *((label_boxes(v.array), {v.table.structure_of(i).name: i for i in v.table.labels}) for v in (opinion, truth)), strict=True
    )
    pairs = []
    for name in catalog():
        one, two = (boxes[i].get(known[i].get(name, 0)) for i in (0, 1))
        if one and two and np.prod(box_shape(union([one, two]))) <= SMALL_BOX:
            box = grow_box(union([one, two]), 1, truth.array.shape)
            pairs.append((name, opinion.array[box] == known[0][name], truth.array[box] == known[1][name], tuple(truth.spacing)))
    slab = read_label_volume(folder / "slab-dicom" / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
    for value, box in label_boxes(slab.array).items():
        if np.prod(box_shape(box)) <= SMALL_BOX:
            mask = np.pad(slab.array[box] == value, 3)
            damaged = ndimage.binary_dilation(np.roll(mask, (2, -1, 1), (0, 1, 2)))
            pairs.append((f"slab, label {value}", damaged, mask, tuple(slab.spacing)))
    return pairs[:: len(pairs) // REAL][:REAL]


def require_deepmind(deepmind: Any, a: Mask, b: Mask, spacing: Any, found: Agreement) -> None:
    theirs = deepmind.compute_surface_distances(b, a, spacing)
    distances = np.concatenate([theirs["distances_gt_to_pred"], theirs["distances_pred_to_gt"]])
    expected = {
        "dice": deepmind.compute_dice_coefficient(b, a),
        "hd_mm": distances.max(),  # its percentile 100 may stop before the last element, where a sum is rounded up
        "assd_mm": np.mean(deepmind.compute_average_surface_distance(theirs)),
    }
    # Where rounding decides, either answer is right: a distance that is the tolerance, an element at 95 % of the area.
    for tolerance in (1.0, 2.0):
        if np.abs(distances - tolerance).min() > 1e-9:
            expected[f"nsd_{tolerance:g}mm"] = deepmind.compute_surface_dice_at_tolerance(theirs, tolerance)
    surfaces = surface_distances(a, b, spacing)
    if all(np.abs(np.cumsum(areas) / areas.sum() - 0.95).min() > 1e-9 for areas in (surfaces.areas, surfaces.reference_areas)):
        expected["hd95_mm"] = deepmind.compute_robust_hausdorff(theirs, 95)
    assert {name: found.numbers()[name] for name in expected} == pytest.approx(expected, rel=0, abs=ALLOWED)


def require_medpy(medpy: Any, a: Mask, b: Mask, spacing: Any, found: Agreement) -> None:
    expected = {
        "dice": medpy.dc(a, b),
        "iou": medpy.jc(a, b),
        "hd_voxel_mm": medpy.hd(a, b, spacing),
        "hd95_voxel_mm": medpy.hd95(a, b, spacing),
        "assd_voxel_mm": (medpy.asd(a, b, spacing) + medpy.asd(b, a, spacing)) / 2,  # what medpy 0.4 called assd
        "assd_voxel_pooled_mm": medpy.assd(a, b, spacing),  # since 0.5
    }
    assert {name: found.numbers()[name] for name in expected} == pytest.approx(expected, rel=0, abs=ALLOWED)


@pytest.mark.parametrize("first", range(0, RANDOM, 20))
def test_random_masks_have_the_numbers_of_deepmind(deepmind: Any, first: int) -> None:
    for seed in range(first, first + 20):
        a, b, spacing = random_pair(seed)
        require_deepmind(deepmind, a, b, spacing, compare_masks(a, b, spacing))


@pytest.mark.parametrize("first", range(0, RANDOM, 20))
def test_random_masks_have_the_numbers_of_medpy(medpy: Any, first: int) -> None:
    for seed in range(first, first + 20):
        a, b, spacing = random_pair(seed)
        require_medpy(medpy, a, b, spacing, compare_masks(a, b, spacing))


def test_real_organs_have_the_numbers_of_deepmind(deepmind: Any, shared_data: Path) -> None:
    pairs = real_pairs(shared_data / "data")
    assert len(pairs) == REAL
    for _, a, b, spacing in pairs:
        require_deepmind(deepmind, a, b, spacing, compare_masks(a, b, spacing))


def test_real_organs_have_the_numbers_of_medpy(medpy: Any, shared_data: Path) -> None:
    pairs = real_pairs(shared_data / "data")
    assert len(pairs) == REAL
    for _, a, b, spacing in pairs:
        require_medpy(medpy, a, b, spacing, compare_masks(a, b, spacing))


def border(mask: Mask) -> Any:
    """Return the indices of voxels that share a face with the outside, from the definition."""
    padded = np.pad(mask, 1)
    steps = np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    return np.array([place for place in np.argwhere(padded) if not all(padded[tuple(place + step)] for step in steps)])


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_distances_by_voxel_are_those_of_their_definition_on_tilted_grids_too(first: int) -> None:
    for seed in range(first, first + 20):
        a, b, spacing = random_pair(seed)
        axes = np.diag(spacing)
        if seed % 2:
            axes[0, 2], axes[1, 2] = 0.7 * spacing[0], -0.4 * spacing[1]  # slices shifted against one another: a tilted gantry
        between = cdist(border(a) @ axes.T, border(b) @ axes.T)
        forth, back = between.min(axis=1), between.min(axis=0)
        pooled = np.concatenate([forth, back])
        found = compare_masks(a, b, axes)
        assert [found.hd_voxel_mm, found.hd95_voxel_mm, found.assd_voxel_mm, found.assd_voxel_pooled_mm] == pytest.approx(
            [pooled.max(), np.percentile(pooled, 95), (forth.mean() + back.mean()) / 2, pooled.mean()], abs=1e-9
        )
