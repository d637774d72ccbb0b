"""All processes that a child process started, found and killed: also those whose parent has died or that left its session."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_log = logging.getLogger(__name__)
_PROC = Path("/proc")
_POLL_SECONDS = 0.01
MARK_VARIABLE = "ATLAS_CHILD_PROCESS"
"""Environment variable that every process of a tree inherits, so that it is found wherever it went; holds `new_mark()`."""


class ProcessRow(NamedTuple):
    """One running process; `marked` tells whether it inherited the mark of the tree that is looked for."""

    pid: int
    parent: int
    group: int
    marked: bool


def new_mark() -> str:
    """Return a text that no other process has in its environment."""
    return uuid.uuid4().hex


def kill_tree(root: int | None, mark: str, *, spare: Iterable[int] = (), timeout: float = 5.0) -> bool:
    """Kill a process with everything it started, and return when they are gone.

    Args:
        root: Leader of the process group; None when it has ended already, for then its number may be another process's.
        mark: What `new_mark` gave: a word of MARK_VARIABLE in every process of the tree; read on Linux alone. Nothing when empty.
        spare: Processes that stay alive.
        timeout: Seconds until what does not die (a process in an unfinished system call) is left alone and logged.

    Returns:
        Whether all are gone.
    """
    if os.name == "nt":
        return root is None or _taskkill(root)
    spared = {os.getpid(), *spare}
    deadline = time.monotonic() + timeout
    killed: set[int] = set()
    while True:
        rows = _processes(mark)
        found = tree_members(rows, root) - spared
        # One that is ending has lost its environment and its parent already, but not its files and its memory.
        ending = killed & {row.pid for row in rows}
        if not found | ending:
            return True
        if time.monotonic() > deadline:
            _log.warning("processes %s do not end.", sorted(found | ending))
            return False
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
        time.sleep(_POLL_SECONDS)


def tree_members(rows: Iterable[ProcessRow], root: int | None) -> set[int]:
    """Return the processes of a tree: `root` and its group, all marked ones, and the descendants of these."""
    rows = list(rows)
    members = {row.pid for row in rows if row.marked or (root is not None and root in (row.pid, row.group))}
    children: dict[int, list[int]] = {}
    for row in rows:
        children.setdefault(row.parent, []).append(row.pid)
    waiting = list(members)
    while waiting:
        for pid in children.get(waiting.pop(), []):
            if pid not in members:
                members.add(pid)
                waiting.append(pid)
    return members


def _processes(mark: str) -> list[ProcessRow]:
    """Return what is running now on a POSIX system, without processes that have ended (zombies)."""
    if (_PROC / "self/stat").is_file():
        rows = [_from_proc(int(entry.name), mark.encode()) for entry in _PROC.iterdir() if entry.name.isdecimal()]
        return [row for row in rows if row is not None]
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True, check=False)
    fields = [line.split() for line in done.stdout.splitlines()]
    return [ProcessRow(int(f[0]), int(f[1]), int(f[2]), False) for f in fields if len(f) == 4 and not f[3].startswith("Z")]


def _from_proc(pid: int, mark: bytes) -> ProcessRow | None:
    folder = _PROC / str(pid)
    try:
        stat = (folder / "stat").read_bytes()
    except OSError:  # it has ended meanwhile
        return None
    state, parent, group = stat[stat.rindex(b")") + 1 :].split()[:3]  # the name before may hold blanks and brackets
    if state in (b"Z", b"X"):
        return None
    try:
        marked = _is_marked((folder / "environ").read_bytes(), mark)
    except OSError:  # of another user
        marked = False
    return ProcessRow(pid, int(parent), int(group), marked)


def _is_marked(environment: bytes, mark: bytes) -> bool:
    name = MARK_VARIABLE.encode() + b"="
    return any(mark in entry.removeprefix(name).split() for entry in environment.split(b"\0") if entry.startswith(name))


def _taskkill(root: int) -> bool:
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows alone has it
    command = ["taskkill", "/PID", str(root), "/T", "/F"]
    return subprocess.run(command, capture_output=True, check=False, creationflags=hidden).returncode == 0
