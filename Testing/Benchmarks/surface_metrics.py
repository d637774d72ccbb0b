"""Benchmark of the surface metrics: this software against DeepMind's surface-distance, on the organs of a real CT.

Usage: python Testing/Benchmarks/surface_metrics.py [--rounds 3]

Needs `pip install surface-distance` and torso-3mm in the data folder of ATLAS_SHARED (default ../shared). Its reference label and
second opinion are compared organ by organ, as they are (3 mm) and with each voxel split into 4 x 4 x 4 (0.75 mm, as fine as a clinical
CT). Both sides take turns in one process, the medians count. Exit code 1 when a number differs or a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AtlasSegment"), str(ROOT / "AtlasQuality")]

import numpy as np  # noqa: E402
import surface_distance  # noqa: E402
from scipy import ndimage  # noqa: E402

from AtlasQualityLib.surface_metrics import compare_masks  # noqa: E402
from AtlasSegmentLib.labels import load_table  # noqa: E402
from AtlasSegmentLib.volume_io import read_label_volume  # noqa: E402

BARS = {1: 1.0, 4: 5.0}
ALLOWED = 1e-9
ORGANS = ("spleen", "kidney_right", "kidney_left", "liver", "stomach", "aorta", "pancreas", "colon")


def mend_reference() -> None:
    """Give the package the names that NumPy 2 and newer SciPy have moved since its last release."""
    surface_distance.metrics.ndimage = SimpleNamespace(filters=ndimage, morphology=ndimage)
    surface_distance.metrics.np.Inf = np.inf


def reference_metrics(mask: Any, truth: Any, spacing: Any) -> dict[str, float]:
    """Return the metrics of DeepMind's package."""
    found = surface_distance.compute_surface_distances(truth, mask, spacing)
    return {
        "dice": float(surface_distance.compute_dice_coefficient(truth, mask)),
        "nsd_1mm": float(surface_distance.compute_surface_dice_at_tolerance(found, 1.0)),
        "nsd_2mm": float(surface_distance.compute_surface_dice_at_tolerance(found, 2.0)),
        "hd95_mm": float(surface_distance.compute_robust_hausdorff(found, 95)),
        "assd_mm": float(np.mean(surface_distance.compute_average_surface_distance(found))),
    }


def timed(work: Any, rounds: int) -> tuple[float, Any]:
    """Return (median seconds, last result)."""
    seconds = []
    result = None
    for _ in range(rounds):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return median(seconds), result


def split(mask: Any, factor: int) -> Any:
    """Return a mask with each voxel split along every axis."""
    return mask if factor == 1 else np.kron(mask, np.ones((factor,) * 3, bool))


def compare(opinion: Any, truth: Any, rounds: int, factor: int) -> tuple[float, float, float]:
    """Print one line an organ; return (seconds of the reference, ours, largest relative difference)."""
    spacing = truth.spacing / factor
    total, largest = np.zeros(2), 0.0
    for organ in ORGANS:
        a, b = (split(volume.array == volume.table.value_of(organ), factor) for volume in (opinion, truth))
        theirs, expected = timed(lambda a=a, b=b: reference_metrics(a, b, spacing), rounds)
        ours, found = timed(lambda a=a, b=b: vars(compare_masks(a, b, spacing)), rounds)
        difference = max(abs(found[name] - number) / max(abs(number), 1e-12) for name, number in expected.items())
        largest = max(largest, difference)
        total += [theirs, ours]
        numbers = "  ".join(f"{name} {found[name]:.4f}" for name in expected)
        print(f"{organ:13s} {theirs:7.3f} s {ours:7.3f} s {theirs / ours:6.1f}x  difference {difference:.1e}  {numbers}")
    return float(total[0]), float(total[1]), largest


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    folder = Path(os.environ.get("ATLAS_SHARED", ROOT.parent / "shared")) / "data" / "torso-3mm"
    truth = read_label_volume(folder / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
    opinion = read_label_volume(folder / "second_opinion_label_v1.nii.gz", load_table("totalsegmentator_v1"))
    mend_reference()
    compare_masks(np.ones((2, 2, 2)), np.ones((2, 2, 1)).repeat(2, axis=2), (1, 1, 1))  # what is imported and made once
    good = True
    for factor in (1, 4):
        print(f"voxels of {truth.spacing[0] / factor:g} mm: surface-distance, ours, ratio")
        theirs, ours, difference = compare(opinion, truth, rounds, factor)
        print(
            f"all organs    {theirs:7.3f} s {ours:7.3f} s {theirs / ours:6.1f}x (bar {BARS[factor]}x)  largest difference {difference:.1e}"
        )
        good = good and theirs / ours >= BARS[factor] and difference <= ALLOWED
    print("ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
