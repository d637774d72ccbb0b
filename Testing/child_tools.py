"""Children of tests: a launcher as PythonSlicer is one, waiting for events, and looking at processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from AtlasSegmentLib.child_process import ChildProcess, Event

# What PythonSlicer is: a program that starts the real interpreter, hands on the three streams, and waits.
LAUNCHER = """#!{python}
import subprocess, sys
sys.exit(1 if subprocess.run([{python!r}, *sys.argv[1:]]).returncode else 0)
"""


def make_launcher(folder: Path) -> Path:
    """Write a launcher as it lies below Slicer's folder and return it."""
    program = folder / "bin/PythonSlicer"
    program.parent.mkdir(parents=True)
    program.write_text(LAUNCHER.format(python=sys.executable))
    program.chmod(0o755)
    return program


def collect(child: ChildProcess, until: Callable[[Event], bool] | None = None, seconds: float = 60.0) -> list[Event]:
    """Return the events up to the end of the call, or up to one that is waited for."""
    found: list[Event] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found += child.events()
        if any(event.kind in ("result", "error") or (until is not None and until(event)) for event in found):
            return found
        time.sleep(0.01)
    message = f"nothing came within {seconds} s after {found}"
    raise AssertionError(message)


def running(pids: list[int]) -> list[int]:
    """Return those processes that still run (zombies do not)."""
    found = []
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX":
            found.append(pid)
    return found
