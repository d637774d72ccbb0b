"""A worklist after a review: its rows, its history, the files and what the readers noted held against each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.revisions import current_revision
from AtlasReviewLib.task_states import ACCEPTED, FINISHED, OWNED, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Event
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.files import sha256_of

LEASE_SECONDS = 20.0
"""Shorter than in use, so that what a killed reader had comes back soon; a busy machine must still get its signs of life in."""


@dataclass
class Report:
    """What came of a run.

    Attributes:
        problems: What must not be; one sentence each.
        figures: Names to numbers.
    """

    problems: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


def check(worklist: Worklist, notes: Path, tasks: int, seconds: float = LEASE_SECONDS, team: bool = False) -> Report:
    """Hold list, history, files and notes against each other; a team may reject, and decides more than once (see worklist_team_checks)."""
    report = Report()
    with worklist.store.reading() as db:
        rows = {row["id"]: row for row in db.rows()}
    events = worklist.events()
    lines = noted(notes)
    problems = report.problems
    if len(rows) != tasks:
        problems.append(f"{tasks} tasks were made, {len(rows)} are there")
    ends = FINISHED if team else (ACCEPTED,)
    open_tasks = [f"{row['case_name']} {row['organ']} is {row['state']}" for row in rows.values() if row["state"] not in ends]
    problems += open_tasks
    problems += [problem for row in rows.values() if row["state"] == ACCEPTED for problem in _files(worklist, row)]
    problems += _history(events, {(row["case_name"], row["organ"], row["reading"]) for row in rows.values()}, team)
    problems += _told(lines, rows, events)
    problems += _held_twice(lines, seconds)
    taken = [float(line[3]) * 1000 for line in lines if line[1] == "take"]
    kinds = Counter(event.kind for event in events)
    report.figures |= {
        "take next p50 ms": float(np.percentile(taken, 50)),
        "take next p95 ms": float(np.percentile(taken, 95)),
        "events": len(events),
        "heartbeats": sum({"end": 1, "revised": 1}.get(line[1], 0) for line in lines),
        **{f"events {kind}": count for kind, count in kinds.items()},
        "lost leases": sum(line[1] == "lost" for line in lines),
        "waited too long": sum(line[1] == "refused" for line in lines),
    }
    return report


def noted(notes: Path) -> list[tuple[Any, ...]]:
    """Return the lines of all processes, each (time, kind, task, ...), by time; half a line of a killed one is left out."""
    lines = (line.split() for file in notes.glob("*.txt") for line in file.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return sorted((float(time_), *rest) for time_, *rest in lines)


def _files(worklist: Worklist, row: Any) -> Iterator[str]:
    """Yield what is wrong with the files of an accepted task."""
    where, case = f"{row['case_name']} {row['organ']}", reading_case(CaseFolder(worklist.folder / row["case_name"]), row["reading"])
    current = current_revision(case, row["organ"])
    if current is None:
        yield f"{where}: no revision is on the disk"
    elif (current.id, current.sha256) != (row["revision"], row["sha256"]):
        yield f"{where}: the list says {row['revision']}, the disk {current.id}"
    elif sha256_of(current.file) != row["sha256"] or sha256_of(case.average.revised_mask(row["organ"])) != row["sha256"]:
        yield f"{where}: the bytes on the disk are not those of the list"


def _history(events: list[Event], known: set[tuple[str, str, int]], team: bool) -> Iterator[str]:
    """Yield where the history is not in order, or does not lead from state to state."""
    for earlier, later in pairwise(events):
        if earlier.id >= later.id or earlier.time > later.time:
            yield f"event {later.id} of {later.time} comes after {earlier.id} of {earlier.time}"
    of_task: dict[tuple[str, str, int], list[Event]] = defaultdict(list)
    for event in events:
        of_task[event.case, event.organ, event.reading].append(event)
    yield from (f"{key} has no history" for key in known - {*of_task})
    for key, found in of_task.items():
        state, holder = WAITING, ""
        for event in found:
            if event.kind != "add" and event.state_before != state:
                yield f"{key}: event {event.id} comes from {event.state_before}, but it was {state}"
            if event.kind in ("take", "resume") and holder not in ("", event.session):
                yield f"{key}: event {event.id} takes it while {holder} had it"
            state = event.state_after
            holder = "" if event.kind == "expire" or state not in OWNED else event.session
        if not team and sum(event.state_after == ACCEPTED for event in found) != 1:
            yield f"{key}: was not accepted once"


def _told(lines: list[tuple[Any, ...]], rows: dict[int, Any], events: list[Event]) -> Iterator[str]:
    """Yield what a process was told that it was done and that is not in the list."""
    hashes = {event.sha256 for event in events}
    for _, kind, task, *rest in lines:
        if kind == "accepted" and rows[int(task)]["state"] != ACCEPTED:
            yield f"task {task} was accepted and is not"
        if kind == "revised" and rest[-1] not in hashes:
            yield f"task {task}: a revision that was told to the list is not in its history"


def _held_twice(lines: list[tuple[Any, ...]], seconds: float) -> Iterator[str]:
    """Yield tasks that a process was given while another one, which went on to accept it, had it."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    begun: dict[str, float] = {}
    for moment, kind, task, *_ in lines:
        if kind == "take":
            if task in begun and moment - begun[task] < seconds / 2:
                yield f"task {task} was given at {begun[task]} and at {moment}"
            begun[task] = moment
        elif kind in ("end", "lost"):
            spans[task].append((begun.pop(task, moment), moment))
    for task, found in spans.items():
        found.sort()
        yield from (f"task {task} was held twice at {b[0]}" for a, b in pairwise(found) if b[0] < a[1])
