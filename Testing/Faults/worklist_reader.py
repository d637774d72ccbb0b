"""One reader of `worklist_readers.py`: takes a task, saves a real revision, says so in the list and accepts, until nothing is left."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numpy as np

from AtlasReviewLib import lease
from AtlasReviewLib.revisions import save_revision
from AtlasReviewLib.task_states import ACCEPTED, REVISED
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Task, TaskTakenError
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import StorageError
from AtlasSegmentLib.volume import Volume
from Faults.worklist_checks import LEASE_SECONDS

SHAPE = (4, 4, 4)


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


def be_a_reader(folder: str, url: str, name: str, notes: str, seconds: float) -> None:
    """Read in a process of its own."""
    read(Path(folder), url, name, Notes(Path(notes)), seconds)
