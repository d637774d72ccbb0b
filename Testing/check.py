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
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 4 * 2**30
"""Bytes that must be free there; the folders of all tests together take less than one GB."""


def title(name: str) -> str:
    """Return the line above the output of a gate."""
    return f"== {name}: {' '.join(Path(part).name if Path(part).is_absolute() else part for part in GATES[name])}"


def run_side_by_side(names: list[str], environment: dict[str, str]) -> dict[str, int]:
    """Run gates at the same time and show the output of each whole, one after the other; return their exit codes.

    mypy keeps one core busy for longer than a minute, while tests often wait.
    """
    with tempfile.TemporaryDirectory(prefix="atlas-check-") as folder:
        started = {}
        for name in names:
            with (Path(folder) / name).open("wb") as output:
                started[name] = subprocess.Popen(GATES[name], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        codes = {}
        for name, process in started.items():
            print(title(name), flush=True)
            codes[name] = show(process, Path(folder) / name)
        return codes


def show(process: subprocess.Popen[bytes], output: Path) -> int:
    """Show what a process has written into a file, and what it goes on to write, until it ends; return its exit code."""
    with output.open("rb") as written:
        ended = False
        while not ended:
            ended = process.poll() is not None  # asked before the last look into the file
            sys.stdout.buffer.write(written.read())
            sys.stdout.flush()
            time.sleep(0 if ended else 0.2)
    return process.wait()


@contextmanager
def temporary_folder() -> Iterator[dict[str, str]]:
    """Yield the variable that lets pytest make the folders of the tests in memory, where there is room: most tests wait for the disk.

    Tests of kills, full disks and power losses use folders of tempfile, which stay on the disk.
    """
    if not _has_room(MEMORY):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="atlas-tests-", dir=MEMORY, ignore_cleanup_errors=True) as folder:
        yield {"PYTEST_DEBUG_TEMPROOT": folder}


def _has_room(folder: Path) -> bool:
    """Return whether a folder is a file system in memory that is large enough and lets programs run (tests build some)."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return not found.f_flag & os.ST_NOEXEC and min(found.f_bavail * found.f_frsize, memory) >= MEMORY_NEEDED


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
    wanted = [name for name in GATES if not names or name in names]
    with temporary_folder() as place:
        environment = {**environment, **place}
        codes = run_side_by_side(wanted, environment)
        if codes.get("pytest") == 1:
            codes["pytest"] = run_again(failed_tests(), environment)
    failed = [name for name, code in codes.items() if code]
    if failed:
        print(f"check.py: failed: {', '.join(failed)}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
