"""What readers do to a dataset, recorded step by step: autosave, revisions, log, current mask, worklist, rolling back, finishing."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AtlasReviewLib.autosave import AutosaveFile
from AtlasReviewLib.review_case import load_review_case, sparse_of
from AtlasReviewLib.revisions import complete, history, roll_back, save_revision
from AtlasReviewLib.task_session import TaskSession
from AtlasReviewLib.task_states import ACCEPTED
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_sqlite import SqliteStore
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Grid, Volume
from Faults.file_recorder import Trace, recording
from Faults.forks import ended, forked

SHAPE, ORGAN, CASE, DATABASE = (9, 8, 7), "liver", "scan", "worklist.sqlite"
Note = Callable[..., None]


def mask_of(number: int) -> Volume:
    """Return a mask that no other number gives."""
    array = np.zeros(SHAPE, np.uint8, order="F")
    array.flat[np.random.default_rng(number).permutation(array.size)[:40]] = 1
    return Volume(array, np.eye(4))


def sparse_mask(number: int) -> SparseVolume:
    """Return the same as the editor has it."""
    return sparse_of(mask_of(number).array, Grid(SHAPE, np.eye(4)))


def make_dataset(folder: Path, cases: int = 1) -> None:
    """Write cases with a CT and a predicted mask each, and their worklist."""
    for number in range(cases):
        case = CaseFolder(folder / (CASE if cases == 1 else f"{CASE}{number:03}"))
        write_nifti(case.ct, Volume(np.zeros(SHAPE, np.int16, order="F"), np.eye(4)))
        write_nifti(case.average.mask(ORGAN), mask_of(0))
    open_worklist(folder)[0].close()


def review(folder: Path, note: Note, numbers: tuple[int, ...], case: str = CASE) -> None:
    """Open the task as the panel does, keep edits, save them as revisions, accept."""
    worklist = Worklist(folder)
    session = TaskSession(
        worklist, load_review_case(folder / case, ORGAN), worklist.take(case, ORGAN, "Ada"), "Ada", folder.parent / "fallback"
    )
    for number in numbers:
        session.autosave(sparse_mask(number + 500))
        session.autosave(sparse_mask(number))
        session.save(sparse_mask(number))
        note("current", sha256=sha256_of(CaseFolder(folder / case).average.revised_mask(ORGAN)))
    session.decide(ACCEPTED, sparse_mask(numbers[-1]))
    note("accepted")
    session.leave(None)


def save(case: CaseFolder, number: int, reader: str = "Bob") -> str:
    """Save a revision; return its hash."""
    return save_revision(case, ORGAN, mask_of(number), reader).sha256


def _undo_by_hand(case: CaseFolder) -> None:
    """Save twice, and leave the files as a kill just after the first one of the second save was written."""
    save(case, 1)
    save(case, 2)
    folder = case.average.revisions(ORGAN)
    lines = (folder / "log.csv").read_bytes().split(b"\n")
    (folder / "log.csv").write_bytes(b"\n".join(lines[:-2]) + b"\n")
    shutil.copy(min(folder.glob("*.nii.gz")), case.average.revised_mask(ORGAN))


def _finish(case: CaseFolder, note: Note) -> None:
    done = complete(case, ORGAN)
    note("current", sha256=done.sha256 if done else "")


def _go_back(case: CaseFolder, note: Note) -> None:
    for identifier in (history(case, ORGAN)[0].id, None):
        now = roll_back(case, ORGAN, identifier, "Ada")
        note("current", sha256=now.sha256 if now else "")


@dataclass(frozen=True)
class Act:
    """What is done before the recording, and what is recorded."""

    name: str
    before: Callable[[CaseFolder], object]
    play: Callable[[Path, Note], None]


def acts() -> list[Act]:
    """Return all that is recorded."""
    return [
        Act("first revision", lambda case: case, lambda folder, note: review(folder, note, (3,))),
        Act("later revisions", lambda case: (save(case, 1), save(case, 2)), lambda folder, note: review(folder, note, (3, 4))),
        Act(
            "mask of another program",
            lambda case: (save(case, 1), write_nifti(case.average.revised_mask(ORGAN), mask_of(7))),
            lambda folder, note: review(folder, note, (3,)),
        ),
        Act(
            "edits put aside",
            lambda case: AutosaveFile(case, ORGAN, "Ada", case.folder / "none").write(sparse_mask(9)),
            lambda folder, note: review(folder, note, (3,)),
        ),
        Act("rolling back", lambda case: (save(case, 1), save(case, 2)), lambda folder, note: _go_back(CaseFolder(folder / CASE), note)),
        Act(
            "finishing a killed save",
            lambda case: (save(case, 1), _undo_by_hand(case)),
            lambda f, note: _finish(CaseFolder(f / CASE), note),
        ),
    ]


@dataclass
class Recorded:
    """A trace of an act, and the worklist before it."""

    act: str
    trace: Trace
    database: bytes


def record(act: Act, place: Path) -> Recorded:
    """Play an act in a process of its own, which is gone afterwards as after a power loss, and return what it did."""
    folder = place / "data"
    make_dataset(folder)
    act.before(CaseFolder(folder / CASE))
    open_worklist(folder)[0].close()
    database = _database(folder)
    file = place / "trace"
    if ended(forked(lambda: file.write_bytes(pickle.dumps(_played(act, folder))))):
        message = f"{act.name}: could not be recorded"
        raise RuntimeError(message)
    return Recorded(act.name, pickle.loads(file.read_bytes()), database)


def _played(act: Act, folder: Path) -> Trace:
    with recording(folder, DATABASE) as recorder:

        def note(kind: str, **values: Any) -> None:
            recorder.note({"kind": kind, **values})

        writing = SqliteStore.writing

        @contextmanager
        def noted(store: SqliteStore) -> Any:
            with writing(store) as transaction:
                yield transaction
                note("commit begins")
            note("committed", database=_database(folder))

        SqliteStore.writing = noted  # type: ignore[method-assign,assignment]
        act.play(folder, note)
    return recorder.trace


def _database(folder: Path) -> bytes:
    """Return the worklist as one file; SQLite reads what its side files hold."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / DATABASE
        with closing(sqlite3.connect(folder / DATABASE)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return copy.read_bytes()
