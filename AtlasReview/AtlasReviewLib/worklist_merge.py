"""Bring what a scan of the dataset folder found into the worklist: new tasks and new scores, and never a state lost."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

from AtlasReviewLib.task_states import REVISED, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import NUMBERS, append_event
from AtlasReviewLib.worklist_scan import FoundTask, Scan, scan_dataset
from AtlasReviewLib.worklist_store import WorklistDamagedError
from AtlasSegmentLib.errors import StorageError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

PROGRAM = "atlas"
"""Who adds tasks, in the history: no reader."""
_SCORED = ("rank", *NUMBERS, "reason")


def open_worklist(folder: Path, progress: ProgressCallback = ignore_progress) -> tuple[Worklist, Scan]:
    """Open the worklist of a dataset folder and bring it up to date; made when there is none.

    A folder that cannot be written gives a worklist for looking only (`read_only`).

    Raises:
        DatasetError: The folder is no dataset folder, or holds no case.
        WorklistDamagedError: worklist.sqlite is damaged; nothing was changed.
        StorageError: It cannot be opened, even for reading.
    """
    scan = scan_dataset(folder, progress)
    try:
        worklist = Worklist(folder)
        merge(worklist, scan)
    except WorklistDamagedError:
        raise
    except StorageError as error:
        if not _cannot_be_written(error):
            raise
        worklist = Worklist(folder, read_only=True)
        merge(worklist, scan)
    return worklist, scan


def _cannot_be_written(error: StorageError) -> bool:
    return any(text in error.message for text in ("readonly", "unable to open", "disk I/O error", "disk is full"))


def merge(worklist: Worklist, scan: Scan) -> int:
    """Bring a scan into a worklist in one transaction; return the number of new tasks.

    Nothing is written when nothing changed, so that opening a list disturbs nobody. A task whose case is gone is hidden and
    comes back with its state when the case does; cases that could not be read stay as they are.
    """
    with worklist.store.reading() as db:
        if not _differences(db, scan):
            return 0
    with worklist.store.writing() as db:
        differences = _differences(db, scan)  # again: somebody may have merged meanwhile
        if differences is None:
            return 0
        new, changed, hidden = differences
        time = worklist.time_now()
        for task in new:
            _insert(db, task, time)
        columns = ", ".join(f"{name} = :{name}" for name in _SCORED)
        db.executemany(f"UPDATE task SET {columns}, present = 1 WHERE case_name = :case AND organ = :organ", map(_values, changed))
        db.executemany("UPDATE task SET present = 0 WHERE case_name = ? AND organ = ?", hidden)
        if changed:  # one line: a new case moves every rank behind it
            append_event(db, time, PROGRAM, "", "", "scores", comment=f"{len(changed)} tasks, order {scan.order}")
        for case, organ in hidden:
            append_event(db, time, PROGRAM, case, organ, "hide", comment="its case is not in the folder")
        return len(new)


_Differences = tuple[list[FoundTask], list[FoundTask], list[tuple[str, str]]]


def _differences(db: sqlite3.Connection, scan: Scan) -> _Differences | None:
    """Return (new tasks, tasks whose numbers changed, tasks whose case is gone), or None when there is nothing to do."""
    rows = {(row["case_name"], row["organ"]): row for row in db.execute("SELECT * FROM task")}
    new = [task for task in scan.tasks if (task.case, task.organ) not in rows]
    changed = [task for task in scan.tasks if (row := rows.get((task.case, task.organ))) is not None and _is_other(task, row)]
    found, unread = {(task.case, task.organ) for task in scan.tasks}, set(scan.unread)
    cases = {task.case for task in scan.tasks}
    hidden = [
        key for key, row in rows.items() if row["present"] and key not in found and key[0] not in unread and not _is_added(row, cases)
    ]
    return (new, changed, hidden) if new or changed or hidden else None


def _is_added(row: sqlite3.Row, cases: set[str]) -> bool:
    """Tell whether a reader added this task to a case that is still there: no file says that it exists."""
    return str(row["reason"]).startswith("added by ") and row["case_name"] in cases


def _is_other(task: FoundTask, row: sqlite3.Row) -> bool:
    values = _values(task)
    return not row["present"] or any(values[name] != row[name] for name in _SCORED)


def _values(task: FoundTask) -> dict[str, Any]:
    numbers = {name: None if math.isnan(getattr(task, name)) else float(getattr(task, name)) for name in NUMBERS}
    return {"case": task.case, "organ": task.organ, "rank": task.rank, **numbers, "reason": task.reason}


def _insert(db: sqlite3.Connection, task: FoundTask, time: str) -> None:
    values = {**_values(task), "state": REVISED if task.revised_by else WAITING, "reader": task.revised_by, "time": time}
    names = ", ".join(_SCORED)
    marks = ", ".join(f":{name}" for name in _SCORED)
    columns = f"case_name, organ, {names}, state, reader, changed"
    db.execute(f"INSERT INTO task ({columns}) VALUES (:case, :organ, {marks}, :state, :reader, :time)", values)
    append_event(db, time, PROGRAM, task.case, task.organ, "add", state_after=values["state"], comment=_told(task))


def _told(task: FoundTask) -> str:
    return task.reason if task.rank is None else f"rank {task.rank}, priority {task.priority:g}"
