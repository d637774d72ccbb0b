"""Benchmark of writing and reading .nii.gz: this software against plain nibabel, on a real CT and a label map of its size.

Usage: python Testing/Benchmarks/gzip_nifti.py [--rounds 5]

Needs chest-abdomen-1mm/ct.nii.gz in the data folder of ATLAS_SHARED (default ../shared). Both sides take turns in one process, the
medians count. Our time for writing includes fsync of file and folder and the atomic rename, nibabel's does not; reading with nibabel
is `np.asanyarray(img.dataobj)`. Exit code 1 when a bar is missed or the voxels differ.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "AtlasSegment"))

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402

from AtlasSegmentLib.nifti import read_nifti, write_nifti  # noqa: E402
from AtlasSegmentLib.volume import Volume  # noqa: E402

BARS = {("CT", "write"): 3.0, ("label map", "write"): 5.0, ("CT", "read"): 2.0, ("label map", "read"): 2.0}
THRESHOLDS_HU = (-900, -700, -300, -100, -50, 0, 40, 80, 150, 300)


def settle(memory: int) -> None:
    """Bring the machine to the same state before every timing, for both sides.

    The disk has nothing left to write, or an fsync would pay for what the other side wrote without one; and as much free memory as
    the work needs was touched a moment ago, as a virtual machine takes up to 0.4 s to get 150 MB that it has given back to its host.
    """
    if hasattr(os, "sync"):
        os.sync()
    np.ones(memory, np.uint8)


def seconds(work: Callable[[], Any], memory: int) -> float:
    """Return how long `work` takes; `memory` is what it needs in bytes."""
    settle(memory)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def read_with_nibabel(path: Path) -> Any:
    """Return the voxels as nibabel reads them."""
    return np.asanyarray(nib.load(path).dataobj)


def measure(volume: Volume, folder: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the medians (nibabel, ours) of writing and reading; leaves plain.nii.gz and ours.nii.gz in `folder`."""
    plain, ours = folder / "plain.nii.gz", folder / "ours.nii.gz"
    image = nib.Nifti1Image(volume.array, volume.affine)
    work: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "write": (lambda: nib.save(image, plain), lambda: write_nifti(ours, volume)),
        "read": (lambda: read_with_nibabel(plain), lambda: read_nifti(ours)),
    }
    memory = 3 * volume.array.nbytes
    result = {}
    for action, (theirs, own) in work.items():
        times = [(seconds(theirs, memory), seconds(own, memory)) for _ in range(rounds)]
        result[action] = (median(t for t, _ in times), median(t for _, t in times))
    return result


def holds(path: Path, volume: Volume) -> bool:
    """Tell whether both readers find exactly the voxels and the affine of `volume` in a file."""
    read = read_nifti(path)
    same = read.array.dtype == volume.array.dtype and np.array_equal(read.array, volume.array)
    return bool(same and np.array_equal(read_with_nibabel(path), volume.array) and np.allclose(read.affine, volume.affine, atol=1e-4))


def main() -> int:
    """Run the benchmark, print its table and return the exit code."""
    parser = argparse.ArgumentParser(description="Writing and reading .nii.gz against plain nibabel.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    source = Path(os.environ.get("ATLAS_SHARED", ROOT.parent / "shared")) / "data" / "chest-abdomen-1mm" / "ct.nii.gz"
    if not source.is_file():
        print(f"skipped: needs the real CT {source}; set ATLAS_SHARED to the folder of shared data")
        return 0
    ct = read_nifti(source)
    labels = Volume(np.asfortranarray(np.digitize(ct.array, THRESHOLDS_HU).astype(np.uint8)), ct.affine)
    print(f"{ct.shape}, {rounds} rounds taking turns, medians; our writing includes fsync and the atomic rename, nibabel's does not")
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5:
        print(f"note: other programs keep this machine busy (load {os.getloadavg()[0]:.1f}); our writing uses several cores, nibabel one")
    print(f"{'':10} {'':6} {'nibabel':>9} {'ours':>9} {'ratio':>7} {'bar':>6} {'nibabel':>10} {'ours':>10}")
    missed = False
    for name, volume in (("CT", ct), ("label map", labels)):
        with tempfile.TemporaryDirectory() as folder:
            result = measure(volume, Path(folder), rounds)
            plain, ours = Path(folder) / "plain.nii.gz", Path(folder) / "ours.nii.gz"
            sizes = [path.stat().st_size / 1e6 for path in (plain, ours)]
            same = holds(ours, volume) and holds(plain, volume)
        for action, (theirs, own) in result.items():
            bar = BARS[name, action]
            good = theirs / own >= bar
            missed |= not good
            columns = f"{theirs:7.3f} s {own:7.3f} s {theirs / own:6.1f}x {bar:5.0f}x {sizes[0]:7.1f} MB {sizes[1]:7.1f} MB"
            print(f"{name:10} {action:6} {columns}{'' if good else '  MISSED'}")
        print(f"{name:10} voxels {'equal' if same else 'DIFFER'} in both files and for both readers")
        missed |= not same
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
