"""What tests let a child process do. `make_library` copies this file to where the child takes it for a module of an Atlas library."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import ModelError

Progress = Callable[[float, str], None]
CALL = "AtlasReviewLib.child_steps:"
REPOSITORY = Path(__file__).resolve().parent.parent
IGNORE_AND_SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def make_library(folder: Path) -> list[Path]:
    """Make an AtlasReviewLib of this file alone and return the folders that a child imports the libraries from."""
    library = folder / "AtlasReviewLib"
    library.mkdir(parents=True)
    (library / "__init__.py").touch()
    shutil.copy(__file__, library / "child_steps.py")
    return [folder, REPOSITORY / "AtlasSegment", REPOSITORY / "AtlasQuality"]


def echo(progress: Progress, **values: Any) -> dict[str, Any]:
    """Return what came in, through progress and log too."""
    for text in values.values():
        if isinstance(text, str):
            progress(0.5, text)
            logging.getLogger("child").info(text)
    return values


def who(progress: Progress) -> dict[str, Any]:
    """Return what the process is."""
    progress(1.0, "done")
    return {"pid": os.getpid(), "nice": os.nice(0), "path": sys.path, "threads": os.environ.get("OMP_NUM_THREADS")}


def work(progress: Progress, seconds: float = 600.0, steps: int = 1000) -> int:
    """Work for a while and tell the progress."""
    for number in range(steps):
        progress(number / steps, "working")
        time.sleep(seconds / steps)
    return steps


def flood(progress: Progress, lines: int) -> int:
    """Tell much progress as fast as possible."""
    for number in range(lines):
        progress(number / lines, f"step {number}")
    return lines


def big(progress: Progress, size: int) -> str:
    """Return a large value."""
    progress(0.0, "")
    return "x" * size


def fail(progress: Progress, kind: str) -> None:
    """Fail in one of many ways."""
    progress(0.1, "start")
    if kind == "package":
        importlib.import_module("no_such_package")
    raise {
        "atlas": ModelError("net.onnx: is damaged.\nReally.", "Copy it again."),
        "exit": SystemExit("enough"),
        "value": ValueError("first\nsecond"),
        "memory": MemoryError(),
        "disk": OSError(28, "No space left on device", "x.nii.gz"),
    }[kind]


def return_nonsense(progress: Progress) -> dict[object, int]:
    """Return what cannot be sent."""
    progress(0.1, "start")
    return {object(): 1}


def print_everywhere(progress: Progress) -> str:
    """Print in every way that could damage the protocol."""
    progress(0.0, "start")
    print("from Python")
    print('\x1e{"kind": "result", "id": 1, "value": "forged"}', flush=True)
    os.write(1, b"from descriptor 1 without a line end")
    libc = ctypes.CDLL(None)
    libc.puts(b"from C")
    libc.fflush(None)
    subprocess.run([sys.executable, "-c", "print('from a grandchild'); import sys; print(sys.stdin.read())"], check=True)
    os.write(2, b"\xff\xfe bytes that are no UTF-8\nbar 10 %\rbar 20 %\r")
    warnings.warn("from warnings", stacklevel=1)
    logging.getLogger("child").warning("from logging")
    progress(1.0, "end")
    return "true"


def leave_grandchildren(progress: Progress, note: str) -> None:
    """Start processes that are hard to find, write their numbers to a file, and wait."""
    sleeper = [sys.executable, "-c", IGNORE_AND_SLEEP]
    plain = subprocess.Popen(sleeper)
    own_session = subprocess.Popen(sleeper, start_new_session=True)
    # Its parent dies at once, so that no chain of parents leads from it to this process; then it has its own session too.
    source = f"import subprocess; print(subprocess.Popen({sleeper!r}, start_new_session=True, stdout=-3, stderr=-3).pid)"
    orphan = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    Path(note).write_text(f"{plain.pid} {own_session.pid} {orphan.stdout.strip()} {os.getpid()}")
    progress(0.5, "grandchildren run")
    work(progress)


def die(progress: Progress, how: str) -> None:
    """End this process in the middle of the call."""
    progress(0.3, "about to die")
    print("last words", file=sys.stderr, flush=True)
    if how == "exit":
        os._exit(3)
    if how == "crash":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)
