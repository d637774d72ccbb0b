"""A child process that runs Atlas functions: the caller never waits for it, and nothing of it stays when it is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from AtlasSegmentLib.child_pipes import ChildPipes, Ended
from AtlasSegmentLib.process_tree import MARK_VARIABLE, new_mark
from AtlasSegmentLib.worker import plain

LIBRARIES = ("AtlasSegmentLib", "AtlasQualityLib", "AtlasReviewLib")
_INSTALLED = ("site-packages", "dist-packages")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Event:
    """Something the child process tells.

    Attributes:
        kind: "progress", "log", "result" or "error". After a result or an error the child waits for the next call.
        fraction: Of progress: the finished share, 0..1.
        text: Stage of progress, line of the log, or message of the error.
        value: Of a result: what the function returned. Of an error: its name, such as "ModelError"; "Ended" when the process
            died and "NotStarted" when it could not be started.
        remedy: Of an error: the next step.
        details: Of an error: last lines of the process, or a traceback; several lines for those who want to know more.
    """

    kind: Literal["progress", "log", "result", "error"]
    fraction: float = 0.0
    text: str = ""
    value: Any = None
    remedy: str = ""
    details: str = ""


class ChildProcess:
    """Runs one call at a time in a process of its own, which starts with the first call and stays warm for the next.

    Args:
        python: The interpreter; by default that of `find_python()`.
        folders: What the child imports the Atlas libraries from; by default where they are here.
        threads: CPU threads of numerical libraries in the child; left alone when None.

    All methods are to be called from one thread; none of them but `kill` and `close` waits for anything.
    """

    def __init__(self, python: Path | str | None = None, *, folders: Sequence[Path] | None = None, threads: int | None = None) -> None:
        self._python = str(python or find_python())
        self._folders = folders
        self._threads = threads
        self._pipes: ChildPipes | None = None
        self._calls = 0
        self._busy = False
        self._failed_start: Event | None = None

    @property
    def busy(self) -> bool:
        """Whether a call runs: since `send`, until `events` has returned its result or error."""
        return self._busy

    @property
    def pid(self) -> int | None:
        """Number of the process, None when none runs. Where the interpreter is a launcher, the work is done by its child."""
        return None if self._pipes is None or self._pipes.has_ended else self._pipes.pid

    def send(self, call: str, arguments: Mapping[str, Any]) -> None:
        """Start a call; `events` tells what becomes of it, also when the process cannot be started.

        Args:
            call: "module:function" in one of the Atlas libraries; the function takes `progress` too.
            arguments: Keyword arguments, JSON or paths.

        Raises:
            RuntimeError: Another call runs.
            TypeError: The arguments cannot be JSON.
        """
        if self._busy:
            message = f"{call} cannot start while another call runs"
            raise RuntimeError(message)
        self._calls += 1
        request = {"id": self._calls, "call": call, "arguments": dict(arguments)}
        line = json.dumps(request, ensure_ascii=True, default=plain).encode("ascii") + b"\n"
        self._busy = True
        if self._pipes is not None and self._pipes.has_ended:
            self._pipes = None
        if self._pipes is None:
            self._start()
        if self._pipes is not None:
            self._pipes.write(line)

    def events(self) -> list[Event]:
        """Return what the child has told since the last time, in order; returns at once.

        A child that dies during a call gives exactly one error, with how it ended and its last lines.
        """
        found: list[Event] = []
        if self._failed_start is not None:
            found.append(self._failed_start)
            self._failed_start, self._busy = None, False
        if self._pipes is not None:
            for item in self._pipes.take():
                found.extend(self._understood(item))
        return found

    def kill(self) -> None:
        """Kill the child with everything it started and return when it is gone; the next `send` starts a new one."""
        pipes, self._pipes = self._pipes, None
        self._busy, self._failed_start = False, None
        if pipes is not None:
            pipes.kill()

    def close(self) -> None:
        """Let go of the child: it is asked to end by closing its stdin, and killed when it does not."""
        if self._pipes is not None:
            self._pipes.ask_to_end()
        self.kill()

    def _start(self) -> None:
        command = [self._python, "-m", "AtlasSegmentLib.worker"]
        mark = new_mark()
        folders = library_folders() if self._folders is None else self._folders
        try:
            self._pipes = ChildPipes(command, child_environment(os.environ, folders, mark, self._threads), mark)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            message = f"{self._python!r} cannot be started ({reason})."
            self._failed_start = Event("error", text=message, value="NotStarted", remedy="Check the installation of Slicer or Python.")

    def _understood(self, item: dict[str, Any] | Ended) -> list[Event]:
        if isinstance(item, Ended):
            return self._ended(item)
        kind = item.get("kind")
        text = str(item.get("text", ""))
        if kind == "log":
            return [Event("log", text=text)]
        if item.get("id") not in (None, self._calls) or not self._busy:
            return []
        if kind == "progress":
            return [Event("progress", float(item.get("fraction", 0.0)), text)]
        self._busy = False
        if kind == "result":
            return [Event("result", 1.0, value=item.get("value"))]
        remedy, details = str(item.get("remedy", "")), str(item.get("details", ""))
        return [Event("error", text=text, value=item.get("error"), remedy=remedy, details=details)]

    def _ended(self, item: Ended) -> list[Event]:
        self._pipes = None
        how = describe_exit(item.status)
        if not self._busy:
            return [Event("log", text=f"The worker process {how}.")]
        self._busy = False
        message = f"The worker process {how} before it had finished."
        remedy = "Look at the last lines of the log. When memory was short, close other programs or use a smaller region of interest."
        return [Event("error", text=message, value="Ended", remedy=remedy, details="\n".join(item.last_lines))]


def describe_exit(status: int) -> str:
    """Return how a process ended, such as "was killed by SIGKILL (signal 9)", from its return code."""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            return f"was killed by signal {-status}"
        return f"was killed by {name} (signal {-status})"
    return f"ended with exit code {status}" if status < 256 else f"ended with exit code {status:#010x}"


def find_python(slicer_home: Path | str | None = None) -> Path | str:
    """Return the interpreter for child processes: Slicer's PythonSlicer below `slicer_home`, else this interpreter.

    Args:
        slicer_home: Slicer's folder (`slicer.app.slicerHome`), None outside Slicer.
    """
    if slicer_home:
        for name in ("PythonSlicer", "PythonSlicer.exe"):
            path = Path(slicer_home) / "bin" / name
            if path.is_file():
                return path
        found = shutil.which("PythonSlicer")  # a build tree keeps it elsewhere, and Slicer puts that folder on its PATH
        if found:
            return found
    return sys.executable


def library_folders() -> list[Path]:
    """Return the folders that hold the Atlas libraries in this process, but for those that every Python looks at anyway."""
    specs = [importlib.util.find_spec(name) for name in LIBRARIES]
    folders = [Path(spec.origin).resolve().parent.parent for spec in specs if spec is not None and spec.origin]
    return [folder for folder in dict.fromkeys(folders) if folder.name not in _INSTALLED]


def child_environment(start: Mapping[str, str], folders: Sequence[Path], mark: str, threads: int | None = None) -> dict[str, str]:
    """Return the environment of a child process.

    Args:
        start: What it inherits.
        folders: Put before what PYTHONPATH names.
        mark: Added to MARK_VARIABLE, so that a process of the tree is recognized.
        threads: See `ChildProcess`.
    """
    path = [*map(str, folders), *filter(None, [start.get("PYTHONPATH")])]
    counts = {} if threads is None else dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return {
        **start,
        **counts,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONSAFEPATH": "1",  # else "-m" imports from the current folder first, whatever lies there
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        MARK_VARIABLE: " ".join(filter(None, [start.get(MARK_VARIABLE), mark])),
    }
