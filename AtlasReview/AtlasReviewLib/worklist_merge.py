"""Bring what a scan of the dataset folder found into the worklist: new tasks and new scores, and never a state lost."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasReviewLib.task_states import REVISED, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_findings import raised
from AtlasReviewLib.worklist_rows import NUMBERS, PROGRAM, Row
from AtlasReviewLib.worklist_scan import FoundTask, Scan, scan_dataset
from AtlasReviewLib.worklist_second import add_second_readings, second_readings, verify_single_readings
from AtlasReviewLib.worklist_store import WorklistDamagedError
from AtlasSegmentLib.errors import StorageError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

_log = logging.getLogger(__name__)
_SCORED = ("rank", *NUMBERS, "reason")


def open_worklist(folder: Path, progress: ProgressCallback = ignore_progress, url: str = "") -> tuple[Worklist, Scan]:
    """Open the worklist of a dataset folder and bring it up to date; made when there is none.

    A folder that cannot be written gives a worklist for looking only (`read_only`).

    Raises:
        DatasetError: The folder is no dataset folder, or holds no case.
        WorklistDamagedError: worklist.sqlite is damaged; nothing was changed.
        StorageError: It cannot be opened, even for reading.
    """
    scan = scan_dataset(folder, progress)
    try:
        worklist = Worklist(folder, url=url)
        merge(worklist, scan)
        _settle(worklist)
    except WorklistDamagedError:
        raise
    except StorageError as error:
        if not _cannot_be_written(error):
            raise
        worklist = Worklist(folder, read_only=True, url=url)
        if not worklist.store.place.url:  # a file was copied into memory, where it can be changed
            merge(worklist, scan)
    return worklist, scan


def _settle(worklist: Worklist) -> None:
    """Compare readings that both are done, as their programs may have been killed before they did."""
    from AtlasReviewLib.double_reading import settle

    for found in settle(worklist):
        if found.problem:
            _log.warning("%s %s: its two readings cannot be compared: %s", found.case, found.organ, found.problem)


def _cannot_be_written(error: StorageError) -> bool:
    return any(text in error.message for text in ("readonly", "unable to open", "disk I/O error", "disk is full", "permission denied"))


def merge(worklist: Worklist, scan: Scan) -> int:
    """Bring a scan into a worklist in one transaction; return the number of new tasks.

    Nothing is written when nothing changed, so that opening a list disturbs nobody. A task whose case is gone is hidden and
    comes back with its state when the case does; cases that could not be read stay as they are. The order of a list that was
    imported stays.
    """
    rules = worklist.rules()
    with worklist.store.reading() as db:
        known = db.rows()
        if _differences(known, scan) is None and not second_readings(known, rules.policy):
            return 0
    with worklist.store.writing() as db:
        db.alone()
        known = db.rows()  # again: somebody may have merged meanwhile
        found = _differences(known, scan) or _Differences([], [], [])
        time = db.time()
        db.add_many([_row_of(values, task, time) for task, values in found.new])
        db.set_many([{**values, "present": 1} for values in found.changed])
        db.set_many([{"case_name": case, "organ": organ, "present": 0} for case, organ in found.hidden])
        for task, values in found.new:
            state = REVISED if task.revised_by else WAITING
            db.append(PROGRAM, task.case, task.organ, "add", state_after=state, comment=_told(values))
        if found.changed:  # one line: a new case moves every rank behind it
            db.append(PROGRAM, "", "", "scores", comment=f"{len(found.changed)} tasks, order {scan.order}")
        for case, organ in found.hidden:
            db.append(PROGRAM, case, organ, "hide", comment="its case is not in the folder")
        known = db.rows()
        verify_single_readings(db, known, rules)  # locks first readings before second ones, as everywhere
        add_second_readings(db, known, rules.policy)
        return len(found.new)


_Values = dict[str, Any]


@dataclass
class _Differences:
    """New tasks with their values, values of tasks that changed, and tasks whose case is gone."""

    new: list[tuple[FoundTask, _Values]]
    changed: list[_Values]
    hidden: list[tuple[str, str]]


def _differences(known: Sequence[Row], scan: Scan) -> _Differences | None:
    """Return what differs between the list and the folder, or None when there is nothing to do."""
    rows = {(row["case_name"], row["organ"]): row for row in known if row["reading"] == 1}
    listed = next((str(row["ranked_by"]) for row in known if row["ranked_by"]), "")
    scan = raised(scan, known)
    new, changed = [], []
    for task in scan.tasks:
        row = rows.get((task.case, task.organ))
        values = _values(task, row, listed)
        if row is None:
            new.append((task, values))
        elif not row["present"] or any(values[name] != row[name] for name in _SCORED):
            changed.append(values)
    found, unread = {(task.case, task.organ) for task in scan.tasks}, set(scan.unread)
    cases = {task.case for task in scan.tasks}
    gone = [key for key, row in rows.items() if row["present"] and key not in found and key[0] not in unread]
    hidden = [key for key in gone if not _is_added(rows[key], cases)]
    return _Differences(new, changed, hidden) if new or changed or hidden else None


def _is_added(row: Row, cases: set[str]) -> bool:
    """Tell whether a reader added this task to a case that is still there: no file says that it exists."""
    return str(row["reason"]).startswith("added by ") and row["case_name"] in cases


def _values(task: FoundTask, row: Row | None, listed: str) -> _Values:
    """Return the columns that follow from the files; where a list was imported, the order is its own."""
    numbers = {name: None if math.isnan(getattr(task, name)) else float(getattr(task, name)) for name in NUMBERS}
    values = {"case_name": task.case, "organ": task.organ, "rank": task.rank, **numbers, "reason": task.reason}
    if not listed:
        return values
    kept = {"rank": None, "priority": None, "reason": f"is not in {listed}"} if row is None else row
    return {**values, **{name: kept[name] for name in ("rank", "priority", "reason")}, "ranked_by": listed}


def _row_of(values: _Values, task: FoundTask, time: str) -> _Values:
    state = REVISED if task.revised_by else WAITING
    readers = f"\n{task.revised_by}\n" if task.revised_by else ""
    return {**values, "state": state, "reader": task.revised_by, "readers": readers, "changed": time}


def _told(values: _Values) -> str:
    return str(values["reason"]) if values["rank"] is None else f"rank {values['rank']}, priority {values['priority']:g}"
