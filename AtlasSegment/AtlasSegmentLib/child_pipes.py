"""A running child process and the threads that read and write its pipes, so that the caller never waits."""

from __future__ import annotations

import codecs
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from AtlasSegmentLib import process_tree
from AtlasSegmentLib.worker import RECORD

_LAST_LINES = 20
_LONGEST_LINE = 2000
_CHUNK = 1 << 16
_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class Ended:
    """The process has ended by itself, with this return code, after these last lines of its log."""

    status: int
    last_lines: list[str] = field(default_factory=list)


class ChildPipes:
    """Starts a process in a group of its own, with three pipes.

    Args:
        command: Program and arguments.
        environment: Of the process; it holds `mark`.
        mark: See `process_tree.kill_tree`.

    Raises:
        OSError: The program cannot be started.
        ValueError: Its name or environment holds a NUL.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], mark: str) -> None:
        pipe = subprocess.PIPE
        group: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            quiet = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
            group = {"creationflags": quiet | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, bufsize=0, **group)
        self._mark = mark
        self._told: queue.SimpleQueue[dict[str, Any] | Ended] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._let_go = threading.Event()
        self._readers = [self._thread(self._read_answers), self._thread(self._read_errors)]
        self._writer = self._thread(self._write_requests)
        self._waiter = self._thread(self._wait)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def write(self, line: bytes) -> None:
        """Send a line, at some time soon."""
        self._requests.put(line)

    def take(self) -> list[dict[str, Any] | Ended]:
        """Return what has been read so far: messages in their order, `Ended` last."""
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self._told.get_nowait())
        return found

    def ask_to_end(self) -> None:
        """Close stdin and wait a moment for the process to end."""
        self._let_go.set()
        self._requests.put(None)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)

    def kill(self) -> None:
        """Kill the process and everything it started; return when they are gone and the pipes are closed."""
        self._let_go.set()
        process_tree.kill_tree(None if self.has_ended else self.pid, self._mark)
        self._requests.put(None)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        for thread in (*self._readers, self._writer, self._waiter):
            thread.join(_GRACE_SECONDS)

    @staticmethod
    def _thread(target: Any) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"child process: {target.__name__}", daemon=True)
        thread.start()
        return thread

    def _write_requests(self) -> None:
        pipe = _opened(self._process.stdin)
        with suppress(OSError), pipe:  # the process has died: its waiter tells
            while (line := self._requests.get()) is not None:
                view = memoryview(line)
                while view:
                    view = view[os.write(pipe.fileno(), view) :]

    def _read_answers(self) -> None:
        rest = b""
        with _opened(self._process.stdout) as pipe:
            while chunk := os.read(pipe.fileno(), _CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._read_line(line)
        self._read_line(rest)

    def _read_line(self, line: bytes) -> None:
        """Take a message; what stands before it, or a line that is none, is something a program printed."""
        stray, found, record = line.decode("utf-8", "replace").rpartition(RECORD)
        try:
            message = json.loads(record) if found else None
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._log_text(line.decode("utf-8", "replace"))
            return
        self._log_text(stray)
        if message.get("kind") == "log":
            self._last_lines.extend(str(message.get("text", "")).splitlines())
        self._told.put(message)

    def _read_errors(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        with _opened(self._process.stderr) as pipe:
            while chunk := os.read(pipe.fileno(), _CHUNK):
                *lines, rest = re.split(r"[\r\n]", rest + decoder.decode(chunk))
                for line in lines:
                    self._log_text(line)
                if len(rest) > _LONGEST_LINE:
                    self._log_text(rest)
                    rest = ""
        self._log_text(rest)

    def _log_text(self, line: str) -> None:
        if line.strip():
            self._last_lines.append(line[:_LONGEST_LINE])
            self._told.put({"kind": "log", "text": line[:_LONGEST_LINE]})

    def _wait(self) -> None:
        status = self._process.wait()
        if not self._let_go.is_set():
            process_tree.kill_tree(None, self._mark)  # what it started and left behind
            for thread in self._readers:
                thread.join(_GRACE_SECONDS)
            self._told.put(Ended(status, list(self._last_lines)))
        self._requests.put(None)


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        message = "a pipe of the child process is missing"
        raise RuntimeError(message)
    return pipe
