"""Ten readers on one list who crash all the time: nothing is taken twice at one time, nothing is lost, everything accepted is on disk.

Run: python Testing/Faults/worklist_readers.py [--tasks 10000] [--readers 10] [--kills 300] [--only sqlite|postgres]

Each reader is a process that takes the next task, saves a real revision of a small mask, says so in the list and accepts. The parent
kills (SIGKILL) a reader at a random moment again and again and starts it anew under the same name. Each process notes on the
disk what it did, so that afterwards its notes, the list, the history and the files can be held against each other.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
_FOLDERS = [str(HERE.parents[1]), *(str(ROOT / name) for name in ("AtlasSegment", "AtlasQuality", "AtlasReview"))]
if __name__ == "__main__":
    sys.path[:0] = _FOLDERS

from AtlasReviewLib import lease  # noqa: E402
from AtlasReviewLib.revisions import current_revision, save_revision  # noqa: E402
from AtlasReviewLib.task_states import ACCEPTED, REVISED, WAITING  # noqa: E402
from AtlasReviewLib.worklist import Worklist  # noqa: E402
from AtlasReviewLib.worklist_rows import Event, Task, TaskTakenError  # noqa: E402
from AtlasSegmentLib.case_folder import CaseFolder  # noqa: E402
from AtlasSegmentLib.errors import StorageError  # noqa: E402
from AtlasSegmentLib.files import sha256_of  # noqa: E402
from AtlasSegmentLib.labels import load_table  # noqa: E402
from AtlasSegmentLib.nifti import write_nifti  # noqa: E402
from AtlasSegmentLib.volume import Volume  # noqa: E402

LEASE_SECONDS = 20.0
"""Shorter than in use, so that what a killed reader had comes back soon; a busy machine must still get its signs of life in."""
SHAPE = (4, 4, 4)
READER = "--reader"


def make_dataset(folder: Path, tasks: int) -> None:
    """Write cases of a tiny CT each, and nothing else: the list is filled by hand."""
    organs = load_table("abdomenatlas").names()[:25]
    ct = Volume(np.zeros(SHAPE, np.int16, order="F"), np.eye(4))
    for number in range(-(-tasks // len(organs))):
        write_nifti(CaseFolder(folder / f"case{number:05}").ct, ct)


def fill(worklist: Worklist, tasks: int) -> None:
    """Add tasks in a shuffled order of looking."""
    organs = load_table("abdomenatlas").names()[:25]
    ranks = random.Random(1).sample(range(1, tasks + 1), tasks)
    rows = [
        {"case_name": f"case{n // len(organs):05}", "organ": organs[n % len(organs)], "rank": ranks[n], "changed": ""} for n in range(tasks)
    ]
    with worklist.store.writing() as db:
        db.add_many(rows)


class Notes:
    """What one process did, line by line on the disk before or after it did it; a SIGKILL cannot take a written line back."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, *words: object) -> None:
        """Append a line that begins with the clock that all processes of the machine share."""
        os.write(self._file, (" ".join(map(str, (time.monotonic(), *words))) + "\n").encode())


def read(folder: Path, url: str, reader: str, notes: Notes, seconds: float = LEASE_SECONDS) -> None:
    """Take, edit and accept until nothing is left that anybody has; leases end after some seconds."""
    lease.LEASE_SECONDS = seconds
    worklist = Worklist(folder, url=url)
    dice = random.Random(os.getpid())
    while True:
        start = time.perf_counter()
        try:
            task = worklist.take_next(reader)
        except StorageError as error:  # waited too long for the others: a person tries again
            notes.add("refused", 0, type(error).__name__)
            continue
        spent = time.perf_counter() - start
        if task is None:
            if all(other.state == ACCEPTED for other in worklist.tasks()):
                break
            time.sleep(0.5)  # others still have some, or died with some
            continue
        notes.add("take", task.id, spent)
        try:
            review(worklist, task, reader, dice, notes)
        except TaskTakenError:  # the lease ran out on a busy machine
            notes.add("lost", task.id)
        except StorageError as error:
            notes.add("refused", task.id, type(error).__name__)
    worklist.close()


def review(worklist: Worklist, task: Task, reader: str, dice: random.Random, notes: Notes) -> None:
    """Save a revision of a task and accept it; one that was revised before the crash is accepted as it is, half of the time."""
    if task.state != REVISED or dice.random() < 0.5:
        mask = np.zeros(SHAPE, np.uint8, order="F")
        mask.flat[dice.sample(range(mask.size), 9)] = 1
        if not worklist.heartbeat(task, reader).is_mine(reader):  # as the panel does before it saves
            raise TaskTakenError(task.case)
        saved = save_revision(CaseFolder(worklist.folder / task.case), task.organ, Volume(mask, np.eye(4)), reader)
        task = worklist.set_state(task, REVISED, reader, revision=saved.id, sha256=saved.sha256)
        notes.add("revised", task.id, saved.id, saved.sha256)
    worklist.heartbeat(task, reader)
    notes.add("end", task.id)
    worklist.set_state(task, ACCEPTED, reader)
    notes.add("accepted", task.id)


@dataclass
class Report:
    """What came of a run.

    Attributes:
        problems: What must not be; one sentence each.
        figures: Names to numbers.
    """

    problems: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


def run(folder: Path, url: str, *, tasks: int, readers: int, kills: int, every: float, lease_seconds: float = LEASE_SECONDS) -> Report:
    """Let readers work through a list while one is killed `every` so many seconds, at most `kills` times; then check everything."""
    dataset, notes = folder / "dataset", folder / "notes"
    notes.mkdir(parents=True)
    make_dataset(dataset, tasks)
    worklist = Worklist(dataset, url=url)
    fill(worklist, tasks)
    start = time.perf_counter()
    killed = _let_read(worklist, notes, url, readers, (kills, every, lease_seconds))
    seconds = time.perf_counter() - start
    report = check(worklist, notes, tasks, lease_seconds)
    report.figures |= {"seconds": seconds, "tasks/s": tasks / seconds, "kills": killed}
    worklist.close()
    return report


def _let_read(worklist: Worklist, notes: Path, url: str, readers: int, deaths: tuple[int, float, float]) -> int:
    kills, every, seconds = deaths
    names = [f"Reader {number}" for number in range(readers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_FOLDERS), "OMP_NUM_THREADS": "1"}
    begun: Counter[str] = Counter()

    def start(name: str) -> subprocess.Popen[bytes]:
        begun[name] += 1
        file = notes / f"{name}-{begun[name]}.txt"
        return subprocess.Popen(
            [sys.executable, str(HERE), READER, str(worklist.folder), url, name, str(file), str(seconds)], env=environment
        )

    running = {name: start(name) for name in names}
    dice, killed = random.Random(7), 0
    try:
        while any(run.poll() is None for run in running.values()):
            time.sleep(dice.uniform(0.1, 2) * every)
            name = dice.choice(names)
            file = notes / f"{name}-{begun[name]}.txt"
            works = file.exists() and file.stat().st_size > 0  # killing one that still imports proves nothing
            if killed < kills and works and running[name].poll() is None:
                running[name].send_signal(signal.SIGKILL)
                running[name].wait()
                running[name], killed = start(name), killed + 1
    finally:
        for left in running.values():
            left.kill()
            left.wait()
    return killed


def check(worklist: Worklist, notes: Path, tasks: int, seconds: float = LEASE_SECONDS) -> Report:
    """Hold list, history, files and notes against each other."""
    report = Report()
    with worklist.store.reading() as db:
        rows = {row["id"]: row for row in db.rows()}
    events = worklist.events()
    lines = sorted(
        (float(time_), *rest) for file in notes.glob("*.txt") for time_, *rest in (line.split() for line in file.read_text().splitlines())
    )
    problems = report.problems
    if len(rows) != tasks:
        problems.append(f"{tasks} tasks were made, {len(rows)} are there")
    open_tasks = [f"{row['case_name']} {row['organ']} is {row['state']}" for row in rows.values() if row["state"] != ACCEPTED]
    problems += open_tasks
    problems += [problem for row in rows.values() for problem in _files(worklist, row)]
    problems += _history(events, {(row["case_name"], row["organ"]) for row in rows.values()})
    problems += _told(lines, rows, events)
    problems += _held_twice(lines, seconds)
    taken = [float(line[3]) * 1000 for line in lines if line[1] == "take"]
    kinds = Counter(event.kind for event in events)
    report.figures |= {
        "take next p50 ms": float(np.percentile(taken, 50)),
        "take next p95 ms": float(np.percentile(taken, 95)),
        "events": len(events),
        **{f"events {kind}": count for kind, count in kinds.items()},
        "lost leases": sum(line[1] == "lost" for line in lines),
        "waited too long": sum(line[1] == "refused" for line in lines),
    }
    return report


def _files(worklist: Worklist, row: Any) -> Iterator[str]:
    """Yield what is wrong with the files of an accepted task."""
    where, case = f"{row['case_name']} {row['organ']}", CaseFolder(worklist.folder / row["case_name"])
    current = current_revision(case, row["organ"])
    if current is None:
        yield f"{where}: no revision is on the disk"
    elif (current.id, current.sha256) != (row["revision"], row["sha256"]):
        yield f"{where}: the list says {row['revision']}, the disk {current.id}"
    elif sha256_of(current.file) != row["sha256"] or sha256_of(case.average.revised_mask(row["organ"])) != row["sha256"]:
        yield f"{where}: the bytes on the disk are not those of the list"


def _history(events: list[Event], known: set[tuple[str, str]]) -> Iterator[str]:
    """Yield where the history is not in order, or does not lead from state to state."""
    for earlier, later in pairwise(events):
        if earlier.id >= later.id or earlier.time > later.time:
            yield f"event {later.id} of {later.time} comes after {earlier.id} of {earlier.time}"
    of_task: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        of_task[event.case, event.organ].append(event)
    yield from (f"{key} has no history" for key in known - {*of_task})
    for key, found in of_task.items():
        state, holder = WAITING, ""
        for event in found:
            if event.state_before != state:
                yield f"{key}: event {event.id} comes from {event.state_before}, but it was {state}"
            if event.kind in ("take", "resume") and holder not in ("", event.session):
                yield f"{key}: event {event.id} takes it while {holder} had it"
            state = event.state_after
            holder = "" if event.kind == "expire" or state == ACCEPTED else event.session
        if sum(event.state_after == ACCEPTED for event in found) != 1:
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


@contextmanager
def _places(only: str) -> Iterator[list[tuple[str, str]]]:
    found = [("SQLite", "")] if only != "postgres" else []
    import postgres_server

    reason = postgres_server.missing()
    if only == "sqlite" or reason:
        print(f"PostgreSQL is left out. {reason}")
        yield found
        return
    server = postgres_server.start(durable=True)
    try:
        yield [*found, ("PostgreSQL", server.empty_worklist())]
    finally:
        server.stop()


def main() -> int:
    """Run against both databases and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two kills, on average")
    parser.add_argument("--only", choices=("both", "sqlite", "postgres"), default="both")
    chosen = parser.parse_args()
    failed = False
    with _places(chosen.only) as places:
        for name, url in places:
            with tempfile.TemporaryDirectory() as folder:
                report = run(Path(folder), url, tasks=chosen.tasks, readers=chosen.readers, kills=chosen.kills, every=chosen.every)
            print(f"{name}: {chosen.tasks} tasks, {chosen.readers} readers")
            for what, number in report.figures.items():
                print(f"  {what:<22}{number:12.2f}")
            print(f"  problems: {len(report.problems)}", *report.problems[:20], sep="\n    ")
            failed = failed or bool(report.problems)
    return int(failed)


if __name__ == "__main__":
    if sys.argv[1:2] == [READER]:
        read(Path(sys.argv[2]), sys.argv[3], sys.argv[4], Notes(Path(sys.argv[5])), float(sys.argv[6]))
        sys.exit(0)
    sys.exit(main())
