"""What a program does to the files of a folder, step by step, and what of it a disk may still hold after a power loss.

Recorded from inside the process: Python tells of every open, rename, link and removal before it happens, and `os.write` and `os.fsync`
are wrapped; before each of them the folder is compared with what it was, so that nothing is missed however it was written. Files are
known by their inodes. The database of the worklist is left out: SQLite commits it as a whole, which the caller notes as a step.

A power loss keeps what was flushed: the bytes of a file at its last fsync, the names in a folder at the folder's last fsync. Of all else
a disk keeps what it likes: new bytes, old bytes, a part, or zeros in their place; names in the order of the journal up to any moment
(ext4, XFS), or any of them (POSIX). A rename is there with both of its names or not at all.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Mode = Literal["all", "synced", "journal", "any"]
MODES: tuple[Mode, ...] = ("all", "synced", "journal", "any")
"""Everything reached the disk; only what was flushed; names in order up to some moment; any names. The last two draw lots."""
Files = dict[str, bytes | None]
"""Relative path to content; None for a folder."""
_EVENTS = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate"}


@dataclass(frozen=True)
class Step:
    """One thing that happened.

    Attributes:
        kind: "data" (a file has other bytes), "names" (entries of folders changed, at once), "sync", "sync folder", or "note".
        file: Number of the file, for "data" and "sync".
        content: Its bytes, for "data".
        names: Relative path to number of the file, -1 for a folder, None when it is gone; for "names".
        folder: Relative path, for "sync folder".
        note: What the caller said.
    """

    kind: Literal["data", "names", "sync", "sync folder", "note"]
    file: int = 0
    content: bytes = b""
    names: tuple[tuple[str, int | None], ...] = ()
    folder: str = ""
    note: Any = None


@dataclass
class Trace:
    """A folder before, and what happened to it.

    Attributes:
        names: Relative path to number of the file, -1 for a folder; all on the disk.
        contents: Number of a file to its bytes; all on the disk.
        steps: In the order of time.
    """

    names: dict[str, int]
    contents: dict[int, bytes]
    steps: list[Step] = field(default_factory=list)


class Recorder:
    """Compares a folder with what it was, again and again.

    Args:
        root: The folder.
        ignored: Beginning of the names of files in it that are left out.
    """

    def __init__(self, root: Path, ignored: str) -> None:
        self._root, self._ignored = root, ignored
        self._lock, self._looking = threading.RLock(), False
        self._open: dict[tuple[int, int], tuple[int, int]] = {}  # inode to number and a descriptor that keeps it from being used again
        names, contents = self._state()
        self._names, self._contents = dict(names), dict(contents)
        self.trace = Trace(names, contents)

    def note(self, what: Any) -> None:
        """Add what the program said or did beside the files, at this moment."""
        self.look()
        self.trace.steps.append(Step("note", note=what))

    def look(self) -> None:
        """Add what changed since the last look."""
        with self._lock:
            if self._looking:
                return
            self._looking = True
            try:
                self._compare()
            finally:
                self._looking = False

    def synced(self, descriptor: int) -> None:
        """Add that a file or folder was flushed."""
        with self._lock:
            status = os.fstat(descriptor)
            known = self._open.get((status.st_dev, status.st_ino))
            if known is not None:
                self.trace.steps.append(Step("sync", known[0]))
                return
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.is_relative_to(self._root):
                self.trace.steps.append(Step("sync folder", folder=path.relative_to(self._root).as_posix()))

    def _compare(self) -> None:
        names, contents = self._state()
        for number, content in contents.items():
            if self._contents.get(number) != content:
                self.trace.steps.append(Step("data", number, content))
        changed = [(name, number) for name, number in names.items() if self._names.get(name) != number]
        gone: list[tuple[str, int | None]] = [(name, None) for name in self._names if name not in names]
        if changed or gone:
            self.trace.steps.append(Step("names", names=(*gone, *changed)))
        self._names, self._contents = names, {**self._contents, **contents}

    def _state(self) -> tuple[dict[str, int], dict[int, bytes]]:
        names: dict[str, int] = {}
        contents: dict[int, bytes] = {}
        for folder, folders, files in os.walk(self._root):
            place = Path(folder).relative_to(self._root)
            names |= {(place / name).as_posix(): -1 for name in folders}
            for name in files:
                if folder == str(self._root) and name.startswith(self._ignored):
                    continue
                number, descriptor = self._number(Path(folder) / name)
                names[(place / name).as_posix()] = number
                contents[number] = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return names, contents

    def _number(self, path: Path) -> tuple[int, int]:
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in self._open:
            self._open[key] = (len(self._open), os.open(path, os.O_RDONLY))
        return self._open[key]


@contextmanager
def recording(root: Path, ignored: str) -> Iterator[Recorder]:
    """Record what this process does to a folder during the block. Once in a process: what Python tells cannot be switched off again."""
    recorder = Recorder(root, ignored)
    fsync, write = os.fsync, os.write
    active = True

    def told(event: str, _arguments: tuple[Any, ...]) -> None:
        if active and event in _EVENTS:
            recorder.look()

    def noted_fsync(descriptor: int) -> None:
        recorder.look()
        fsync(descriptor)
        recorder.synced(descriptor)

    def noted_write(descriptor: int, data: bytes) -> int:
        recorder.look()
        written = write(descriptor, data)
        recorder.look()
        return written

    sys.addaudithook(told)
    os.fsync, os.write = noted_fsync, noted_write  # type: ignore[assignment]
    try:
        yield recorder
        recorder.look()
    finally:
        active = False
        os.fsync, os.write = fsync, write


def left_by_power_loss(trace: Trace, moment: int, mode: Mode, dice: random.Random) -> Files:
    """Return what a disk may hold when the power fails after a number of steps."""
    steps = trace.steps[:moment]
    names = dict(trace.names)
    for step in _kept_names(steps, mode, dice):
        for name, number in step.names:
            if number is None:
                names.pop(name, None)
            else:
                names[name] = number
    contents = {number: _kept_bytes(trace, steps, number, mode, dice) for number in sorted({*names.values()} - {-1})}
    found: Files = {}
    for name in sorted(names):
        parent = name.rpartition("/")[0]
        if not parent or (parent in found and found[parent] is None):  # what is in a folder that is lost, is lost
            found[name] = None if names[name] == -1 else contents[names[name]]
    return found


def _kept_names(steps: list[Step], mode: Mode, dice: random.Random) -> list[Step]:
    changes = [(index, step) for index, step in enumerate(steps) if step.kind == "names"]
    if mode == "all":
        return [step for _, step in changes]
    if mode == "journal":
        last = max((index for index, step in enumerate(steps) if step.kind in ("sync", "sync folder")), default=-1)
        end = dice.randint(last, len(steps))
        return [step for index, step in changes if index <= end]
    chance = 0.0 if mode == "synced" else 0.5
    return [step for index, step in changes if _is_flushed(steps, index) or dice.random() < chance]


def _is_flushed(steps: list[Step], index: int) -> bool:
    folders = {name.rpartition("/")[0] or "." for name, _ in steps[index].names}
    return any(step.kind == "sync folder" and step.folder in folders for step in steps[index + 1 :])


def _kept_bytes(trace: Trace, steps: list[Step], number: int, mode: Mode, dice: random.Random) -> bytes:
    new = old = trace.contents.get(number, b"")
    for step in steps:
        if step.kind == "data" and step.file == number:
            new = step.content
        elif step.kind == "sync" and step.file == number:
            old = new
    if mode == "all" or new == old:
        return new
    return old if mode == "synced" else _mixed(old, new, dice)


def _mixed(old: bytes, new: bytes, dice: random.Random) -> bytes:
    """Return what may be on the disk of bytes that were not flushed: new, old, cut anywhere, or zeros in place of what is new."""
    same = next((index for index, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    return dice.choice((new, old, new[: dice.randint(same, len(new))], new[:same] + bytes(len(new) - same)))
