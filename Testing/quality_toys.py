"""Toy examples of label quality: ellipses in noise, and masks that miss them by a known Dice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from AtlasQualityLib.quality_damage import dice_of
from AtlasQualityLib.quality_pairs import as_bytes
from AtlasQualityLib.quality_pairs_find import Part
from AtlasQualityLib.quality_pairs_store import MaskRecord, PairSet
from AtlasQualityLib.quality_slices import SliceRule, mask_box, slice_input
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume

ORGANS = ("liver", "spleen")


def ellipse(rows: float, columns: float, radii: tuple[float, float], shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    """Return a filled ellipse."""
    i, j = np.indices(shape)
    return ((i - rows) / radii[0]) ** 2 + ((j - columns) / radii[1]) ** 2 < 1


def toy_pairs(count: int = 192, size: int = 64, seed: int = 0) -> PairSet:
    """Return masks of one slice each, the last quarter of them for validation: bright ellipses, and shifted or grown copies as masks."""
    rng = np.random.default_rng(seed)
    rule = SliceRule(size=size, margin=10)
    images, targets, records = [], [], []
    for number in range(count):
        radii = tuple(rng.uniform(8, 14, 2))
        truth = ellipse(32, 32, radii)
        moved = rng.uniform(-1, 1, 2) * radii * rng.uniform(0, 1.2)
        grown = rng.uniform(0.6, 1.5)
        mask = ellipse(32 + moved[0], 32 + moved[1], (radii[0] * grown, radii[1] * grown))
        ct = np.where(truth, 120.0, -20.0) + rng.normal(0, 15, truth.shape)
        seen, reference = (slice_input(ct, shown, (1.0, 1.0), rule, mask_box(mask)) for shown in (mask, truth))
        images.append(as_bytes(np.concatenate([seen, reference[1:]])))
        targets.append(dice_of(mask, truth))
        part: Part = "val" if number >= count * 3 // 4 else "train"
        records.append(MaskRecord(f"case {number % 6}", ORGANS[number % 2], "shifted", part, targets[-1], targets[-1], number, 1))
    one = np.arange(count)
    columns = {
        "mask": one,
        "index": np.zeros(count, int),
        "nearest": np.zeros(count, int),
        "weight": np.ones(count),
        "area": np.full(count, 100),
        "target": np.asarray(targets, np.float32),
    }
    return PairSet(tuple(records), columns, (np.stack(images),), size)


def write_toy_case(folder: Path, seed: int = 0, shape: tuple[int, int, int] = (48, 44, 24), spacing: float = 4.0) -> Path:
    """Write a case with a CT and a reference label map (AbdomenAtlas' values): a liver, a spleen and two kidneys as ellipsoids."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices(shape)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    ct = np.where(((x - 24) / 23) ** 2 + ((y - 22) / 21) ** 2 < 1, 20.0, -1000.0)
    labels = np.zeros(shape, np.uint8)
    # In LPS order the first index grows to the left: the liver lies at small x.
    for value, center, radii, hu in (
        (6, (13, 18, 14), (8, 9, 7), 110),
        (1, (38, 26, 15), (5, 6, 5), 130),
        (3, (33, 32, 9), (4, 4, 6), 170),
        (2, (15, 32, 8), (4, 4, 6), 170),
    ):
        c = np.array(center) + rng.uniform(-1.5, 1.5, 3)
        inside = ((x - c[0]) / radii[0]) ** 2 + ((y - c[1]) / radii[1]) ** 2 + ((z - c[2]) / radii[2]) ** 2 < 1
        labels[inside], ct[inside] = value, hu
    ct += rng.normal(0, 10, shape)
    folder.mkdir(parents=True)
    write_nifti(folder / "ct.nii.gz", Volume(np.asfortranarray(ct.astype(np.int16)), affine))
    write_nifti(folder / "reference_label.nii.gz", Volume(np.asfortranarray(labels), affine))
    return folder
