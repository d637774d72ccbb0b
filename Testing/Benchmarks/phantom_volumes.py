"""Volumes of phantoms' labels against those of adults, pieces and sides, over many seeds.

    python Testing/Benchmarks/phantom_volumes.py --seeds 200 --spacing 3 --jobs 2

Prints a table (median, least, most, range of adults, how many seeds lie outside it), the labels in more than one piece, and the seeds
whose sides are wrong; ends with 1 when anything is. The ranges are those of the test suite (`phantom_ranges.py`); who published them
stands below the table. Stopped with Ctrl-C it prints what it has so far.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AtlasSegment"), str(ROOT / "Testing")]

from AtlasSegmentLib.phantom import phantom_labels  # noqa: E402
from phantom_ranges import RANGES, labels_in_pieces, sides_wrong, volumes_ml  # noqa: E402

Measured = tuple[int, dict[str, float], list[str]]


def measure(seed: int, spacing: float) -> Measured:
    """Return seed, volumes in ml, and what is wrong."""
    labels = phantom_labels(seed, spacing)
    return seed, volumes_ml(labels), [f"seed {seed}: {problem}" for problem in (*labels_in_pieces(labels), *sides_wrong(labels))]


def measured(seeds: range, spacing: float, jobs: int) -> Iterator[Measured]:
    """Yield what `measure` gives for each seed, in order."""
    step = partial(measure, spacing=spacing)
    if jobs == 1:
        yield from map(step, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(step, seeds)


def print_table(found: dict[str, list[tuple[float, int]]]) -> int:
    """Print a row for each structure and return how many volumes lie outside their range."""
    print(f"{'organ':32s}{'n':>4s}{'median':>9s}{'least':>9s}{'most':>9s}   adults      outside")
    outside = 0
    for organ, values in found.items():
        volumes = np.array([volume for volume, _ in values])
        low, high, _ = RANGES.get(organ, (0.0, np.inf, ""))
        wrong = [f"{seed} ({volume:.0f})" for volume, seed in values if not low <= volume <= high]
        outside += len(wrong)
        said = f"{low:g}-{high:g}" if organ in RANGES else "-"
        row = f"{organ:32s}{len(values):4d}{np.median(volumes):9.1f}{volumes.min():9.1f}{volumes.max():9.1f}   {said:12s}"
        print(row + (f"{len(wrong)}: {', '.join(wrong[:6])}" if wrong else ""))
    return outside


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--spacing", type=float, default=3.0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, int]]] = {}
    broken, done, started = [], 0, time.perf_counter()
    try:
        for seed, volumes, problems in measured(
            range(arguments.first, arguments.first + arguments.seeds), arguments.spacing, arguments.jobs
        ):
            for organ, volume in volumes.items():
                found.setdefault(organ, []).append((volume, seed))
            broken, done = [*broken, *problems], done + 1
            print(f"seed {seed}", *problems, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    print(f"{done} phantoms at {arguments.spacing:g} mm in {time.perf_counter() - started:.0f} s")
    outside = print_table(found)
    for problem in broken:
        print(problem)
    for organ, (_, _, source) in RANGES.items():
        print(f"{organ}: {source}")
    print(f"{outside} volumes outside, {len(broken)} pieces or sides wrong, {done} of {arguments.seeds} phantoms")
    return 1 if outside or broken or done < arguments.seeds else 0


if __name__ == "__main__":
    sys.exit(main())
