"""One reader of `worklist_readers.py --team`: reads, verifies, adjudicates, and dies in the moments that matter, again and again.

Beside the parent's kills at any moment a process ends itself (SIGKILL) inside the transaction that settles two readings, and between the
adjudicator's revision and the list's word of it.
"""

from __future__ import annotations

import os
import random
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from AtlasReviewLib import double_reading, lease
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.revisions import current_revision, save_revision
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, FINISHED, REJECTED, REVISED, VERIFY
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Task, TaskTakenError
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError, StorageError
from AtlasSegmentLib.volume import Volume
from Faults.worklist_reader import SHAPE, Notes

DEATHS = 0.15
"""Chance to die whenever two readings are settled, and whenever an adjudicator chose one."""


class TeamReader:
    """A reader who does whatever the list gives.

    Args:
        worklist: The list.
        name: Of the reader.
        notes: What was done.
        deaths: See `DEATHS`.
    """

    def __init__(self, worklist: Worklist, name: str, notes: Notes, deaths: float = DEATHS) -> None:
        self.worklist, self.name, self.notes, self.deaths = worklist, name, notes, deaths
        self.dice = random.Random(os.getpid())

    def read(self) -> None:
        """Take and decide until every reading is decided and compared."""
        while True:
            start = time.perf_counter()
            try:
                task = self.worklist.take_next(self.name)
                if task is None and self._is_done():
                    return
            except StorageError as error:
                self._refused(0, error)
                continue
            if task is None:
                time.sleep(0.3)  # others still have some, or died with some
                continue
            self.notes.add("take", task.id, time.perf_counter() - start)
            try:
                self._do(task)
            except TaskTakenError:  # the lease ran out on a busy machine
                self.notes.add("lost", task.id)
            except StorageError as error:
                self._refused(task.id, error)

    def _refused(self, task: int, error: StorageError) -> None:
        self.notes.add("refused", task, "deadlock" if "two changes met" in error.message else type(error).__name__)

    def _is_done(self) -> bool:
        self._settle()
        rows = self.worklist.every_task()
        return all(task.state in FINISHED for task in rows) and all(first["measured"] for first, _ in self.worklist.pairs())

    def _settle(self) -> None:
        for found in double_reading.settle(self.worklist):
            if found.measured is None:  # a mask was being written; told and tried again
                self.notes.add("unsettled", 0, found.case, found.organ)

    def _do(self, task: Task) -> None:
        if task.stage == ADJUDICATE:
            self._adjudicate(task)
        elif task.stage == VERIFY and self.dice.random() < 0.2:
            self.notes.add("end", task.id)
            self.worklist.send_back(task, self.name, "once more")
            self.notes.add("sent_back", task.id)
        elif task.stage != VERIFY and self.dice.random() < 0.05:
            self._say(task, REJECTED)
        else:
            draws = self.dice.random() < (0.2 if task.stage == VERIFY else 0.5 if task.state == REVISED else 1.0)
            self._accept(self._draw(task) if draws else task)
        self._settle()

    def _adjudicate(self, task: Task) -> None:
        if self.dice.random() < 0.3:
            self._accept(self._draw(task))
            return
        self.notes.add("end", task.id)
        double_reading.use(self.worklist, task, self.dice.choice(double_reading.NAMES), self.name)
        self.notes.add("decided", task.id)

    def _draw(self, task: Task) -> Task:
        """Save a mask: as often as not the one that everybody would draw, so that some readings agree and some do not."""
        if not self.worklist.heartbeat(task, self.name).is_mine(self.name):  # as the panel does before it saves
            raise TaskTakenError(task.case)
        mask = np.zeros(SHAPE, np.uint8, order="F")
        same = self.dice.random() < 0.7
        seed = random.Random(zlib.crc32(f"{task.case} {task.organ}".encode())) if same else self.dice
        mask.flat[seed.sample(range(mask.size), 9)] = 1
        saved = save_revision(self._case(task), task.organ, Volume(mask, np.eye(4)), self.name)
        task = self.worklist.set_state(task, REVISED, self.name, revision=saved.id, sha256=saved.sha256)
        self.notes.add("revised", task.id, saved.id, saved.sha256)
        return task

    def _accept(self, task: Task) -> None:
        """Accept what is on the disk, and name it where a program died before it could: as the panel does."""
        current = current_revision(self._case(task), task.organ)
        if current is not None and current.id != task.revision:
            task = self.worklist.set_state(task, REVISED, self.name, revision=current.id, sha256=current.sha256)
        self._say(task, ACCEPTED)

    def _say(self, task: Task, state: Any) -> None:
        self.worklist.heartbeat(task, self.name)
        self.notes.add("end", task.id)
        self.worklist.set_state(task, state, self.name, "cannot be used" if state == REJECTED else "")
        self.notes.add("decided", task.id)

    def _case(self, task: Task) -> CaseFolder:
        return reading_case(CaseFolder(self.worklist.folder / task.case), task.reading)

    def dying(self, call: Callable[..., Any], where: str) -> Callable[..., Any]:
        """Return a function after whose work the process may end at once."""

        def run(*given: Any, **named: Any) -> Any:
            result = call(*given, **named)
            if self.dice.random() < self.deaths:
                self.notes.add("died", 0, where)
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run


def be_in_a_team(folder: str, url: str, name: str, notes: str, seconds: float, deaths: float = DEATHS) -> None:
    """Read in a process of its own."""
    lease.LEASE_SECONDS = seconds
    reader = TeamReader(Worklist(Path(folder), url=url), name, Notes(Path(notes)), deaths)
    double_reading.settle_rows = reader.dying(double_reading.settle_rows, "settle")  # before the commit
    double_reading.save_revision = reader.dying(double_reading.save_revision, "use")  # before the list knows the revision
    try:
        reader.read()
    except InputError as error:  # what nobody expects: it ends the run, and says why
        reader.notes.add("error", 0, *error.message.split())
        raise
    reader.worklist.close()
