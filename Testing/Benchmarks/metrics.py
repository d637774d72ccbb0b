"""Benchmark of many labels at once: this software against DeepMind's surface-distance, 25 organs at 512x512x275.

Usage: python Testing/Benchmarks/metrics.py [--rounds 1] [--threads 0]

Needs `pip install surface-distance` and torso-3mm in the data folder of ATLAS_SHARED (default ../shared). Its reference label and second
opinion, the 25 first organs of the catalog that both have, are brought onto 512x512x275 voxels with smooth surfaces. surface-distance
gives Dice, NSD at 1 and 2 mm, HD, HD95 and ASSD of one label after the other; ours gives these and everything else that
`compare_labels` gives (distances by voxel, centroids, connected parts). Each side runs in a fresh process with nothing but the two label
maps; seconds are wall time with reading them, the median of the rounds counts; peak memory is the kernel's (VmHWM). Ours runs with one
thread too, for comparison. CPU seconds are printed beside, since wall time means little on a machine that does other work. Exit code 1
when a number differs by more than 1e-6, or a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AtlasSegment"), str(ROOT / "AtlasQuality"), str(ROOT / "Testing" / "Benchmarks")]

import numpy as np  # noqa: E402
from measured import Measurement, measure  # noqa: E402

SHAPE = (512, 512, 275)
ORGANS = 25
FASTER, LESS_MEMORY, ALLOWED = 10.0, 3.0, 1e-6
Numbers = dict[int, dict[str, float]]


def enlarge(low: Any, values: list[int]) -> Any:
    """Return a label map (SHAPE, uint8) with label i + 1 where values[i] is in `low`: blurred masks, of which the largest wins."""
    from scipy import ndimage

    scale = np.array(SHAPE) / low.shape
    boxes = ndimage.find_objects(low.astype(np.int32))
    best, labels = np.full(SHAPE, 0.5, np.float32, order="F"), np.zeros(SHAPE, np.uint8, order="F")
    for label, value in enumerate(values, 1):
        around = tuple(slice(max(0, side.start - 3), min(n, side.stop + 3)) for side, n in zip(boxes[value - 1], low.shape, strict=True))
        part = ndimage.gaussian_filter((low[around] == value).astype(np.float32), 0.6)
        box = []
        for axis, side in enumerate(around):
            first, last = int(np.ceil(side.start * scale[axis])), int(np.floor(side.stop * scale[axis]))
            places = np.clip((np.arange(first, last) + 0.5) / scale[axis] - 0.5 - side.start, 0, part.shape[axis] - 1)
            before = np.minimum(places.astype(int), part.shape[axis] - 2)
            weight = (places - before).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
            part = np.take(part, before, axis) * (1 - weight) + np.take(part, before + 1, axis) * weight
            box.append(slice(first, last))
        better = part > best[tuple(box)]
        best[tuple(box)][better] = part[better]
        labels[tuple(box)][better] = label
    return labels


def make_maps(folder: Path) -> tuple[list[str], list[float]]:
    """Write ours.npy and truth.npy; return organs and spacing in mm."""
    from AtlasSegmentLib.labels import catalog, load_table
    from AtlasSegmentLib.volume_io import read_label_volume

    source = Path(os.environ.get("ATLAS_SHARED", ROOT.parent / "shared")) / "data" / "torso-3mm"
    truth = read_label_volume(source / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
    opinion = read_label_volume(source / "second_opinion_label_v1.nii.gz", load_table("totalsegmentator_v1"))
    known = [{v.table.structure_of(int(x)).name: int(x) for x in np.unique(v.array) if x} for v in (opinion, truth)]  # type: ignore[union-attr]
    organs = [name for name in catalog() if name in known[0] and name in known[1]][:ORGANS]
    for name, volume, values in (("ours", opinion, known[0]), ("truth", truth, known[1])):
        np.save(folder / f"{name}.npy", enlarge(volume.array, [values[organ] for organ in organs]))
    return organs, [float(s * n / m) for s, n, m in zip(truth.spacing, truth.array.shape, SHAPE, strict=True)]


def theirs(folder: Path, spacing: list[float]) -> tuple[float, Numbers]:
    """Return CPU seconds and the metrics of DeepMind's package, label by label."""
    import surface_distance as package
    from scipy import ndimage

    # The last release calls names that NumPy 2 and newer SciPy have moved since.
    package.metrics.ndimage = SimpleNamespace(filters=ndimage, morphology=ndimage)
    package.metrics.np.Inf = np.inf
    mask, truth = np.load(folder / "ours.npy"), np.load(folder / "truth.npy")
    numbers = {}
    for label in range(1, ORGANS + 1):
        a, b = mask == label, truth == label
        found = package.compute_surface_distances(b, a, spacing)
        numbers[label] = {
            "dice": float(package.compute_dice_coefficient(b, a)),
            "nsd_1mm": float(package.compute_surface_dice_at_tolerance(found, 1.0)),
            "nsd_2mm": float(package.compute_surface_dice_at_tolerance(found, 2.0)),
            # Its own percentile 100 can stop before the last element, where a cumulative sum is rounded up.
            "hd_mm": float(max(found["distances_gt_to_pred"][-1], found["distances_pred_to_gt"][-1])),
            "hd95_mm": float(package.compute_robust_hausdorff(found, 95)),
            "assd_mm": float(np.mean(package.compute_average_surface_distance(found))),
        }
    return time.process_time(), numbers


def ours(folder: Path, spacing: list[float], threads: int) -> tuple[float, Numbers]:
    """Return CPU seconds and all our metrics of all labels."""
    from AtlasQualityLib.metrics_labels import compare_labels

    mask, truth = np.load(folder / "ours.npy"), np.load(folder / "truth.npy")
    found = compare_labels(mask, truth, spacing, range(1, ORGANS + 1), threads=threads)
    return time.process_time(), {label: agreement.numbers() for label, agreement in found.items()}


def middle(runs: list[Measurement]) -> tuple[float, float, float]:
    """Return medians of (seconds, CPU seconds, peak in GB)."""
    return median(run.seconds for run in runs), median(run.result[0] for run in runs), median(run.peak_gb for run in runs)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core, at most four")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        organs, spacing = measure(make_maps, folder).result
        print(f"{len(organs)} organs, {'x'.join(map(str, SHAPE))}, {'x'.join(f'{s:.3f}' for s in spacing)} mm: {', '.join(organs)}")
        runs: dict[str, list[Measurement]] = {"surface-distance": [], "ours": [], "ours, 1 thread": []}
        for _ in range(chosen.rounds):
            runs["surface-distance"].append(measure(theirs, folder, spacing))
            runs["ours"].append(measure(ours, folder, spacing, chosen.threads))
            runs["ours, 1 thread"].append(measure(ours, folder, spacing, 1))
    expected, found, alone = (results[0].result[1] for results in runs.values())
    difference = max(abs(found[label][name] - value) for label, row in expected.items() for name, value in row.items())
    same = repr(found) == repr(alone)  # also where a number is NaN
    seconds, cpu, peak = middle(runs["surface-distance"])
    for name, results in runs.items():
        took, busy, memory = middle(results)
        print(
            f"{name:17s} {took:7.2f} s {seconds / took:5.1f}x faster   CPU {busy:7.2f} s {cpu / busy:5.1f}x less"
            f"   {memory:6.3f} GB, 1/{peak / memory:.1f} of the memory"
        )
    took, _, memory = middle(runs["ours"])
    good = seconds / took >= FASTER and peak / memory >= LESS_MEMORY and difference <= ALLOWED and same
    print(f"bars: {FASTER:g}x faster, 1/{LESS_MEMORY:g} of the memory; largest difference {difference:.1e} (allowed {ALLOWED:g})")
    print(f"one thread gives {'the same numbers' if same else 'OTHER NUMBERS'}; load of the machine {os.getloadavg()[0]:.1f}")
    print("ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
