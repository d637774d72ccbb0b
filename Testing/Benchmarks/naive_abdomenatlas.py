"""AbdomenAtlas' averaging and attention as its authors describe them: whole volumes, float64, one NumPy call after another.

Written from the published description, as the reference for the benchmarks and for the test of equal bytes. Nothing here is
optimized, and nothing is repaired except what would stop it.
"""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

FULL = np.ones((3, 3, 3))
OVERLAP = [
    "spleen",
    "kidney_right",
    "kidney_left",
    "gall_bladder",
    "esophagus",
    "liver",
    "stomach",
    "pancreas",
    "adrenal_gland_right",
    "adrenal_gland_left",
    "duodenum",
    "lung_right",
    "lung_left",
    "colon",
    "intestine",
    "rectum",
    "bladder",
    "prostate",
    "femur_left",
    "femur_right",
]


def load(path: Path) -> np.ndarray:
    """Read a map as float64, as nibabel's get_fdata does."""
    return nib.load(path).get_fdata()


def save(path: Path, array: np.ndarray, like: Path) -> None:
    """Write uint8 NIfTI with the affine of another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), nib.load(like).affine), path)


def opening(mask: np.ndarray) -> np.ndarray:
    """Erode twice, dilate twice."""
    return ndimage.binary_dilation(ndimage.binary_erosion(mask, FULL, iterations=2), FULL, iterations=2)


def attention(case: Path, models: list[str], organs: list[str], out: Path) -> dict[str, tuple[int, int]]:
    """Write the heat map of each organ to `out`; return organ to (binary voxels, heat sum)."""
    averages = {p.name.removesuffix(".nii.gz"): load(p) for p in sorted((case / "average/segmentations").glob("*.nii.gz"))}
    scores = {}
    for organ in organs:
        soft = np.stack([load(case / f"backbones/{m}/soft_pred/{organ}.nii.gz") / 255 for m in models])
        deviation = np.std(soft, axis=0) if len(models) > 1 else np.zeros(soft.shape[1:])
        inconsistent = opening(deviation > 0.1)
        entropy = np.mean(np.stack([load(case / f"backbones/{m}/entropy/{organ}.nii.gz") / 255 for m in models]), axis=0)
        uncertain = opening(entropy > 0.05)
        others = sum((mask for name, mask in averages.items() if name != organ and name in OVERLAP), np.zeros(entropy.shape))
        overlap = ((averages[organ] == 1) & (others > 0)).astype(np.float64)
        total = np.where(inconsistent, deviation, 0.0) + np.where(uncertain, entropy, 0.0) + overlap
        binary = inconsistent.astype(np.float64) + uncertain.astype(np.float64) + overlap > 0
        heat = total / total.max() if total.max() > 0 else total
        stored = (heat * 255).astype(np.uint8)
        save(out / f"{organ}.nii.gz", stored, case / f"backbones/{models[0]}/entropy/{organ}.nii.gz")
        scores[organ] = (int(binary.sum()), int(stored.astype(np.int64).sum()))
    return scores


def write_priority(path: Path, case: str, scores: dict[str, tuple[int, int]]) -> None:
    """Write the row of one case: organs by heat sum, without those that have none."""
    organs = sorted((o for o in scores if scores[o][1] > 0), key=lambda o: (-scores[o][1], o))
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow([case, *organs])


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Keep the largest 26-connected part."""
    labels, count = ndimage.label(mask, FULL)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count else mask


def average(case: Path, models: list[str], organs: list[str], out: Path, cleaned: set[str]) -> None:
    """Average soft predictions of all organs in one float64 stack (1, C, X, Y, Z), threshold, clean, write masks and combined map."""
    first = case / f"backbones/{models[0]}/soft_pred/{organs[0]}.nii.gz"
    stack = np.zeros((1, len(organs), *nib.load(first).shape))
    for index, organ in enumerate(organs):
        stack[0, index] = np.mean(np.stack([load(case / f"backbones/{m}/soft_pred/{organ}.nii.gz") / 255 for m in models]), axis=0)
    hard = (stack > 0.5).astype(np.float64)
    combined = np.zeros(stack.shape[2:])
    for index, organ in enumerate(organs):
        mask = largest_component(hard[0, index] > 0) if organ in cleaned else hard[0, index] > 0
        hard[0, index] = mask
        combined[mask] = index + 1
        save(out / f"{organ}.nii.gz", hard[0, index], first)
    save(out / "pseudo_label.nii.gz", combined, first)
