"""A Dask scheduler and workers as users start them: `dask scheduler`, `dask worker`, each a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import AtlasSegmentLib

SECONDS = 60
_LIBRARY, _TESTING = Path(AtlasSegmentLib.__file__).parent.parent, Path(__file__).resolve().parent


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class RealCluster:
    """Processes on the loopback address; all gone with `close`.

    Args:
        folder: For their logs.
        port: Of the scheduler.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self._folder = folder
        self.port = port or free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        self.scheduler = self._start("scheduler", options, {})

    def add_worker(self, *options: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a worker with a nanny, as by default."""
        common = [self.address, "--no-dashboard", "--death-timeout", "30", "--local-directory", str(self._folder)]
        return self._start("worker", [*common, *options], environment or {})

    def kill_scheduler(self) -> None:
        """Kill it as a machine does that goes down."""
        self.scheduler.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs, with the workers of nannies."""
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self.processes:
            process.wait(SECONDS)

    def _start(self, what: str, options: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        paths = [environment.get("PYTHONPATH", ""), str(_LIBRARY), str(_TESTING)]
        with (self._folder / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", "from dask.__main__ import main; main()", what, *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                cwd=self._folder,
                start_new_session=True,
            )
        self.processes.append(process)
        return process
