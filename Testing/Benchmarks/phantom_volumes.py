"""Volumes of phantoms' labels against those of adults, pieces and sides, over many seeds.

    python Testing/Benchmarks/phantom_volumes.py --seeds 200 --spacing 3

Prints a table (median, least, most, range of adults, how many seeds lie outside it), the labels in more than one piece, and the
seeds whose sides are wrong; ends with 1 when anything is. The ranges are those of the test suite (`phantom_ranges.py`).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AtlasSegment"), str(ROOT / "Testing")]

from AtlasSegmentLib.phantom import phantom  # noqa: E402
from phantom_ranges import RANGES, labels_in_pieces, sides_wrong, volumes_ml  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--spacing", type=float, default=3.0)
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, int]]] = {}
    broken, started = [], time.perf_counter()
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        labels = phantom(seed, arguments.spacing).labels
        for organ, volume in volumes_ml(labels).items():
            found.setdefault(organ, []).append((volume, seed))
        print(f"seed {seed}", file=sys.stderr, flush=True)
        broken += [f"seed {seed}: {problem}" for problem in (*labels_in_pieces(labels), *sides_wrong(labels))]
    print(f"{arguments.seeds} phantoms at {arguments.spacing} mm in {time.perf_counter() - started:.0f} s")
    print(f"{'organ':32s}{'n':>4s}{'median':>9s}{'least':>9s}{'most':>9s}   adults      outside")
    outside = 0
    for organ, values in found.items():
        volumes = np.array([volume for volume, _ in values])
        low, high = RANGES.get(organ, (0.0, np.inf))
        wrong = [f"{seed} ({volume:.0f})" for volume, seed in values if not low <= volume <= high]
        outside += len(wrong)
        said = f"{low:.0f}-{high:.0f}" if organ in RANGES else "-"
        row = f"{organ:32s}{len(values):4d}{np.median(volumes):9.1f}{volumes.min():9.1f}{volumes.max():9.1f}   {said:12s}"
        print(row + (f"{len(wrong)}: {', '.join(wrong[:6])}" if wrong else ""))
    for problem in broken:
        print(problem)
    print(f"{outside} volumes outside, {len(broken)} pieces or sides wrong")
    return 1 if outside or broken else 0


if __name__ == "__main__":
    sys.exit(main())
