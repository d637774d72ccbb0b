"""The power fails while SQLite commits: its log is cut, zeroed or scrambled at a random place; the list is as before or as after."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from AtlasReviewLib.commands_doctor import findings_of
from AtlasReviewLib.task_states import FLAGGED, TAKEN
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.errors import AtlasError
from Faults.power_acts import CASE, DATABASE, ORGAN, make_dataset

_LOG = f"{DATABASE}-wal"


def tear_commits(points: int, seed: int, place: Path) -> Counter[str]:
    """Return how often the list was found "before" and "after" torn commits, or what was wrong with it."""
    folder = place / "commits"
    make_dataset(folder)
    worklist = Worklist(folder)
    task = worklist.take(CASE, ORGAN, "Ada")
    with closing(sqlite3.connect(folder / DATABASE)) as other:  # as long as somebody looks, the log is not merged
        other.execute("SELECT count(*) FROM sqlite_master").fetchone()
        worklist.add_seconds(task, "Ada", 1.0)
        old = (folder / _LOG).read_bytes()
        worklist.set_state(task, FLAGGED, "Ada", "torn")
        new = (folder / _LOG).read_bytes()
        shutil.copytree(folder, place / "torn")
    dice = random.Random(seed)
    found: Counter[str] = Counter()
    for _ in range(points):
        shutil.copy(place / "torn" / DATABASE, folder / DATABASE)
        (folder / f"{DATABASE}-shm").unlink(missing_ok=True)
        (folder / _LOG).write_bytes(_torn(old, new, dice))
        found[_state(folder)] += 1
        (folder / _LOG).unlink(missing_ok=True)
    return found


def _torn(old: bytes, new: bytes, dice: random.Random) -> bytes:
    """Return the log with some of what the commit added: cut off, or with zeros or noise in place of a part, and all of the rest."""
    cut = dice.randint(len(old), len(new))
    end = dice.randint(cut, len(new))
    filled = dice.choice((b"", bytes(end - cut), dice.randbytes(end - cut)))
    return new[:cut] + filled + (new[end:] if filled else b"")


def _state(folder: Path) -> str:
    """Open a list as people do; return "before" or "after", or what is wrong."""
    try:
        worklist = Worklist(folder)
        task, last = worklist.task(CASE, ORGAN), worklist.events()[-1]
        kinds = {finding.kind for finding in findings_of(folder)} - {"task of a dead program"}
        worklist.take(CASE, ORGAN, "Ada") if task.state == TAKEN else worklist.revisit(task, "Ada", "again")
    except AtlasError as error:
        return f"{type(error).__name__}: {error}"
    state = {(TAKEN, "seconds"): "before", (FLAGGED, "state"): "after"}.get((task.state, last.kind), f"{task.state} after {last.kind}")
    return f"{state}, {kinds}" if kinds else state
