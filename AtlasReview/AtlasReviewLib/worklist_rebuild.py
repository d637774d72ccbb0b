"""When worklist.sqlite is damaged: keep it under another name, and build a new one with all that can still be read of it."""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from AtlasReviewLib.lease import lease_end
from AtlasReviewLib.task_states import OWNED, STAGES, STATES
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_replay import KEPT, replay
from AtlasReviewLib.worklist_rows import PROGRAM
from AtlasReviewLib.worklist_store import NAME
from AtlasSegmentLib.files import storage_errors, sync_folder
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

_log = logging.getLogger(__name__)
_OLD = {"level": 1, "reading": 1, **dict.fromkeys(("stage", "author", "readers", "measured", "assignee", "lease_until"), "")}
"""What files of earlier versions do not have."""
_EVENT = (
    "time",
    "reader",
    "session",
    "case_name",
    "organ",
    "reading",
    "kind",
    "state_before",
    "state_after",
    "seconds",
    "revision",
    "sha256",
    "comment",
)
_TASK = ("case_name", "organ", "reading", *KEPT)
_SIDE_FILES = ("", "-wal", "-shm", "-journal")


def rebuild_worklist(folder: Path, progress: ProgressCallback = ignore_progress) -> tuple[Worklist, Path]:
    """Set the damaged worklist of a dataset folder aside and build a new one.

    Tasks come from the cases, states and history from what can still be read of the damaged file. What a task is follows from its
    history where its row cannot be read; organs with a revised mask that neither mentions are "revised".

    Returns:
        The new worklist, and the name under which the damaged file is kept, byte for byte.

    Raises:
        StorageError: The folder cannot be written; nothing was changed.
        DatasetError: As `open_worklist`.
    """
    kept = keep_damaged(folder / NAME)
    worklist, _ = open_worklist(folder, progress)
    with worklist.store.writing() as db:
        events = [dict(zip(_EVENT, values, strict=True)) for values in _readable(kept, "event", _EVENT) if None not in values]
        db.restore_events(events)
        states = [dict(zip(_TASK, values, strict=True)) for values in _readable(kept, "task", _TASK)]
        whole = {_key(state): state for state in states if _is_whole(state)}
        told = replay(event for event in events if _is_told(event))
        for key, state in told.items():
            if state["state"] in OWNED and state["session"]:  # its program can go on; else the task goes back to the list
                state["lease_until"] = lease_end(db.time())
            if key in whole and not whole[key]["readers"]:  # a file of an earlier version
                whole[key] |= {name: state[name] for name in ("readers", "author")}
        found = [*whole.values(), *({**dict(zip(_TASK, key, strict=False)), **state} for key, state in told.items() if key not in whole)]
        db.add_many([{**{name: state[name] for name in _TASK[:3]}, "changed": ""} for state in found if state["reading"] == 2])
        db.set_many(found)
        told_alone = f", {len(found) - len(whole)} from its history" if len(found) > len(whole) else ""
        db.append(PROGRAM, "", "", "rebuild", comment=f"{len(whole)} states read from {kept.name}{told_alone}")
    return worklist, kept


def _key(state: dict[str, Any]) -> tuple[str, str, int]:
    return (state["case_name"], state["organ"], state["reading"])


def _is_told(event: dict[str, Any]) -> bool:
    """Tell whether an event can be used: a damaged page may hold values of any type."""
    texts = all(isinstance(value, str) for name, value in event.items() if name not in ("seconds", "reading"))
    number = isinstance(event["seconds"], (int, float)) and math.isfinite(event["seconds"])
    return texts and number and event["reading"] in (1, 2) and bool(event["organ"]) and event["state_after"] in ("", *STATES)


def keep_damaged(path: Path) -> Path:
    """Give a worklist and its side files another name in the same folder; return the new name.

    Raises:
        StorageError: The folder cannot be written.
    """
    time = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = path.with_name(f"{path.stem}-damaged-{time}{path.suffix}")
    with storage_errors(kept):
        for ending in reversed(_SIDE_FILES):  # the main file last: until then a second try finds everything again
            source = path.with_name(path.name + ending)
            if source.exists():
                source.rename(kept.with_name(kept.name + ending))
        sync_folder(path.parent)
    return kept


def _readable(path: Path, table: str, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a damaged file up to the first one that cannot be read."""
    from AtlasReviewLib.worklist_sqlite import connect_to_read

    try:
        with closing(connect_to_read(path)) as connection:
            there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            wanted = ", ".join(name if name in there else f"{_OLD[name]!r}" for name in columns)
            yield from connection.execute(f"SELECT {wanted} FROM {table} ORDER BY id")
    except sqlite3.Error as error:
        _log.warning("%s: the table %s cannot be read to its end: %s", path, table, error)


def _is_whole(values: dict[str, Any]) -> bool:
    """Tell whether a row can be used: a damaged page may hold values of any type."""
    seconds, numbers = values["active_seconds"], ("active_seconds", "reading", "level")
    texts = all(isinstance(value, str) for name, value in values.items() if name not in numbers)
    known = {values["state"], values["previous_state"]} <= set(STATES) and values["stage"] in STAGES if texts else False
    known = known and values["reading"] in (1, 2) and isinstance(values["level"], int)
    return texts and known and isinstance(seconds, (int, float)) and math.isfinite(seconds)
