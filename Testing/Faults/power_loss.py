"""The power fails at a random moment of a save, in every way that a disk can lose what was not flushed; then the program opens the rest.

    python Testing/Faults/power_loss.py [--points 2000] [--kills 300] [--seed 0] [--folder /dev/shm]

What saving does to the files is recorded once (`file_recorder.py`): autosave, revision file, log, current mask, worklist, clean-up; first
and later revisions, a mask of another program, edits put aside, rolling back, finishing what a kill left. Then, for moment after
moment, the files are laid out as a disk may hold them: all that was written; only what was flushed; names in the order of the journal up
to some moment; any names; bytes that were not flushed new, old, cut or zero. A commit of the worklist that was under way is there or not:
SQLite itself sees to that, with synchronous=FULL. Each state is opened: every revision that the program had reported is there with
its SHA-256, the current mask is the one it should be, list and files agree, the doctor explains what is not clean and mends what it says
it can mend, and work goes on. The kills are real: SIGKILL of a process that saves and accepts in a loop. Exit 1 on any fault. Needs Linux.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve()
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parents[1]), *(str(HERE.parents[2] / name) for name in ("AtlasSegment", "AtlasQuality", "AtlasReview"))]

from Faults.file_recorder import MODES  # noqa: E402
from Faults.power_acts import Act, acts, record  # noqa: E402
from Faults.power_kills import kill_often  # noqa: E402
from Faults.power_states import crash, examine_state, lay_out  # noqa: E402
from Faults.power_worklist import tear_commits  # noqa: E402


@dataclass
class Tally:
    """What came of a run."""

    points: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def fail_power(points: int, seed: int, place: Path, played: list[Act] | None = None) -> Tally:
    """Let the power fail at every moment of every act, in every way, again and again until there are `points` of them."""
    dice, tally = random.Random(seed), Tally()
    recordings = [record(act, place / f"act{number}") for number, act in enumerate(acts() if played is None else played)]
    everything = [(one, moment, mode) for one in recordings for moment in range(len(one.trace.steps) + 1) for mode in MODES]
    chosen = dice.sample(everything, min(points, len(everything)))
    lots = [point for point in everything if point[2] in ("journal", "any")]
    chosen += [dice.choice(lots) for _ in range(points - len(chosen))]
    for number, (one, moment, mode) in enumerate(chosen):
        folder = place / f"point{number}"
        found = crash(one, moment, mode, dice)
        lay_out(found, folder)
        result = examine_state(folder, found)
        shutil.rmtree(folder)
        tally.points[f"{one.act}, {mode}"] += 1
        tally.kinds.update(result.kinds or ["(clean)"])
        tally.faults += [f"{one.act}, {mode}, after step {moment} of {len(one.trace.steps)}: {fault}" for fault in result.faults]
    return tally


def main() -> int:
    """Let the power fail, kill, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        start = time.perf_counter()
        tally = fail_power(chosen.points, chosen.seed, Path(folder))
        print(f"{chosen.points} power losses, {time.perf_counter() - start:.0f} s")
        for name, count in sorted(tally.points.items()):
            print(f"  {name:<44}{count:6}")
        start = time.perf_counter()
        killed, found = kill_often(chosen.kills, chosen.seed, Path(folder) / "kills")
        print(f"{killed} kills of {chosen.kills} hit a process at work, {time.perf_counter() - start:.0f} s")
        torn = tear_commits(chosen.points // 4, chosen.seed, Path(folder) / "worklist")
        print("commits of the worklist torn by a power loss:", ", ".join(f"{count} {state}" for state, count in torn.most_common()))
        tally.faults += [f"torn commit: {state}" for state in torn if state not in ("before", "after")]
    for one in found:
        tally.kinds.update(one.kinds or ["(clean)"])
        tally.faults += one.faults
    print("found by the doctor, in so many states:")
    for kind, count in tally.kinds.most_common():
        print(f"  {kind:<44}{count:6}")
    print(f"faults: {len(tally.faults)}", *tally.faults[:40], sep="\n  ")
    return int(bool(tally.faults))


if __name__ == "__main__":
    sys.exit(main())
