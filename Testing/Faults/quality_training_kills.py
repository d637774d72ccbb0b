"""A training of the label-quality network that is killed again and again at any moment: it must end with the weights of one that was not.

    python Testing/Faults/quality_training_kills.py [--rounds 3] [--kills 6]

Each round trains the whole way once, and once with SIGKILL after random times, examples included, going on each time with the same command.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from quality_toys import write_toy_case

PROGRAM = """
import sys
from AtlasQualityLib.quality_pairs import PairOptions
from AtlasQualityLib.quality_slices import SliceRule
from AtlasQualityLib.quality_training import TrainingOptions
from AtlasQualityLib.quality_training_run import RunOptions, train_quality
from pathlib import Path
data, out, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
training = TrainingOptions(width=2, epochs=6, batch=16, seed=seed, checkpoint_seconds=0.1)
options = RunOptions(PairOptions(SliceRule(size=64), 4, 3), training, "abdomenatlas", device="cpu", resume=True)
train_quality([data], out, options)
"""


def run(data: Path, out: Path, seed: int, kill_after: float | None = None) -> bool:
    """Start the training; kill it after a while, or wait. Return whether it came to its end."""
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", PROGRAM, str(data), str(out), str(seed)])
    try:
        code = process.wait(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    if code:
        sys.exit(f"the training failed with exit code {code}")
    return True


def weights(out: Path) -> str:
    """Return what two equal trainings share."""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "training/curves.csv", "training/masks.csv"):
        digest.update((out / name).read_bytes())
    return digest.hexdigest()


def main() -> int:
    """Run the rounds; exit 1 when one gives other weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=6)
    options = parser.parse_args()
    differed = 0
    for number in range(options.rounds):
        rng = random.Random(number)
        with tempfile.TemporaryDirectory(prefix="atlas-quality-kills-") as name:
            work = Path(name)
            for case in range(3):
                write_toy_case(work / "data" / f"case{case}", seed=10 * number + case)
            start = time.monotonic()
            run(work / "data", work / "whole", number)
            whole = time.monotonic() - start
            kills = 0
            while kills < options.kills and not run(work / "data", work / "killed", number, rng.uniform(0.15, 0.8) * whole):
                kills += 1
            if kills == options.kills:
                run(work / "data", work / "killed", number)
            same = weights(work / "whole") == weights(work / "killed")
            differed += not same
            print(f"round {number + 1}: {whole:.1f} s, killed {kills} times, same weights, curves and scores: {same}", flush=True)
    return 1 if differed else 0


if __name__ == "__main__":
    sys.exit(main())
