"""Run every gate of this repository and say which ones failed.

    python Testing/check.py            all gates
    python Testing/check.py ruff mypy  some of them

Standard library only: it runs in the virtual environment that holds the `test` extra.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY_FOLDERS = ("AtlasSegment", "AtlasQuality", "AtlasReview")
SCRIPTS = Path(sysconfig.get_path("scripts"))

GATES: dict[str, list[str]] = {
    "ruff": [sys.executable, "-m", "ruff", "check", "."],
    "format": [sys.executable, "-m", "ruff", "format", "--check", "."],
    "mypy": [sys.executable, "-m", "mypy"],
    "imports": [str(SCRIPTS / "lint-imports")],
    # Last, so that its closing line with the number of tests closes the output. One process more than two cores have, since many tests
    # wait for a child process or a disk.
    "pytest": [sys.executable, "-m", "pytest", "-q", "--cache-clear", "-n", "3", "--durations", "15"],
}
FAILED_TESTS = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
MOST_AGAIN = 5
"""So many failed tests are run again alone. Real servers, children and clocks share the machine with two other processes of tests; what
fails beside them and holds alone is named in the output and does not fail the gate. More failures than that are no accident."""


def run_gate(name: str, environment: dict[str, str]) -> int:
    """Run one gate with its output shown; return its exit code."""
    print(f"== {name}: {' '.join(Path(part).name if Path(part).is_absolute() else part for part in GATES[name])}", flush=True)
    code = subprocess.run(GATES[name], cwd=ROOT, env=environment, check=False).returncode
    return run_again(failed_tests(), environment) if name == "pytest" and code == 1 else code


def failed_tests() -> list[str]:
    """Return the tests that failed in the last run of pytest."""
    try:
        return sorted(json.loads(FAILED_TESTS.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []


def run_again(tests: list[str], environment: dict[str, str]) -> int:
    """Run a few failed tests alone and say so; return pytest's exit code, or 1 where there are none or too many."""
    if not 0 < len(tests) <= MOST_AGAIN:
        return 1
    print(f"== pytest: {len(tests)} failed beside others and run again, alone", flush=True)
    code = subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, env=environment, check=False).returncode
    if not code:
        print("check.py: FLAKY: these failed beside others and passed alone. Find out why:", *tests, sep="\n  ", flush=True)
    return code


def main(names: list[str]) -> int:
    """Run the named gates (all without names); return 0 only when each of them passed."""
    unknown = [name for name in names if name not in GATES]
    if unknown:
        print(f"check.py: no gate {', '.join(unknown)}; there are {', '.join(GATES)}", file=sys.stderr)
        return 2
    folders = [str(ROOT / folder) for folder in LIBRARY_FOLDERS]
    # The environment need not be activated: tests find its programs (cmake, ninja, atlas) as an activated one does.
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", os.defpath)])
    # The tests run side by side, one on each core: threads within one would wait for those of the other.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(folders), "PATH": path}
    failed = [name for name in GATES if (not names or name in names) and run_gate(name, environment) != 0]
    if failed:
        print(f"check.py: failed: {', '.join(failed)}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
