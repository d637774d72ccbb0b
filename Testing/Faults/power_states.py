"""What a power loss leaves of a dataset, opened with the real program and held against what that had said before."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from AtlasReviewLib.commands_doctor import findings_of
from AtlasReviewLib.review_case import load_review_case
from AtlasReviewLib.revision_files import is_revision
from AtlasReviewLib.revision_unlisted import KIND as UNLISTED
from AtlasReviewLib.revisions import current_revision, history, save_revision
from AtlasReviewLib.task_session import TaskSession
from AtlasReviewLib.task_states import ACCEPTED, FINISHED
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import sha256_of
from Faults.file_recorder import Files, Mode, Trace, left_by_power_loss
from Faults.power_acts import CASE, DATABASE, ORGAN, Recorded, mask_of

LEFT = {"task of a dead program", "damaged log line", UNLISTED}
"""Kinds of findings that the repair may leave: they are for a person, and nothing is lost by them."""


@dataclass(frozen=True)
class Crash:
    """A power loss: the files, the worklist, and what the program had said until then.

    Attributes:
        files: On the disk.
        database: The worklist.
        older: Revisions from before, relative path to bytes.
        whole: Hashes of all masks that anybody ever saved.
        current: Hash of the current mask that was reported last, "" for the prediction; None where nothing was.
        coming: What it may have become by what was under way.
        saved: Hashes of the revisions that were reported.
        accepted: The task was reported to be accepted.
    """

    files: Files
    database: bytes
    older: dict[str, bytes]
    whole: frozenset[str]
    current: str | None
    coming: frozenset[str]
    saved: tuple[str, ...]
    accepted: bool


def crash(recorded: Recorded, moment: int, mode: Mode, dice: random.Random) -> Crash:
    """Return what a power loss after a number of steps may leave."""
    trace = recorded.trace
    told = [step.note for step in trace.steps[:moment] if step.kind == "note"]
    later = [step.note for step in trace.steps[moment:] if step.kind == "note"]
    commits = [note["database"] for note in told if note["kind"] == "committed"]
    database = commits[-1] if commits else recorded.database
    under_way = bool(told) and told[-1]["kind"] == "commit begins"
    if under_way and (mode == "all" or (mode != "synced" and dice.random() < 0.5)):
        database = next(note["database"] for note in later if note["kind"] == "committed")
    current = [note["sha256"] for note in told if note["kind"] == "current"]
    coming = [note["sha256"] for note in later if note["kind"] == "current"]
    older = {name: trace.contents[number] for name, number in trace.names.items() if number >= 0 and is_revision(Path(name))}
    return Crash(
        left_by_power_loss(trace, moment, mode, dice),
        database,
        older,
        _whole(trace),
        current[-1] if current else None,
        frozenset(coming[:1]),
        tuple(sha256 for sha256 in current if sha256),
        any(note["kind"] == "accepted" for note in told),
    )


def _whole(trace: Trace) -> frozenset[str]:
    final = {name: number for step in trace.steps if step.kind == "names" for name, number in step.names if number is not None}
    masks = {number for name, number in {**trace.names, **final}.items() if number >= 0 and name.endswith(".nii.gz")}
    last = {**trace.contents, **{step.file: step.content for step in trace.steps if step.kind == "data"}}
    return frozenset(hashlib.sha256(last[number]).hexdigest() for number in masks)


def lay_out(found: Crash, folder: Path) -> None:
    """Write what is left of a dataset."""
    folder.mkdir(parents=True)
    for name, content in found.files.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
    (folder / DATABASE).write_bytes(found.database)


@dataclass
class Examined:
    """Faults of the program, and the kinds of what its doctor found."""

    faults: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)


def examine_state(folder: Path, found: Crash, case_name: str = CASE) -> Examined:
    """Open what is left as people do, and hold it against what the program had said."""
    result, case = Examined(), CaseFolder(folder / case_name)
    try:
        result.faults += check_masks(case, found)
        before, untidy = findings_of(folder), _untidy(folder, case)
        result.kinds = [finding.kind for finding in before]
        if untidy and not before:
            result.faults.append(f"the doctor says nothing about: {untidy}")
        open_worklist(folder)[0].close()
        for finding in before:
            if finding.repair is not None:
                finding.repair()
        left = {finding.kind for finding in findings_of(folder)} - LEFT
        result.faults += [f"after the repair: {kind}" for kind in sorted(left)]
        result.faults += check_masks(case, found) + check_agreement(folder, case, found) + _goes_on(folder, case)
    except (AtlasError, OSError) as error:
        result.faults.append(f"{type(error).__name__}: {error}")
    return result


def check_masks(case: CaseFolder, found: Crash) -> list[str]:
    faults = []
    for name, content in found.older.items():
        file = case.folder.parent / name
        if not file.is_file() or file.read_bytes() != content:
            faults.append(f"an older revision is lost: {name}")
    files = [path for path in case.average.revisions(ORGAN).glob("*.nii.gz") if is_revision(path)]
    hashes = {sha256_of(path): path.name for path in files}
    faults += [f"a revision is not whole: {name}" for sha256, name in hashes.items() if sha256 not in found.whole]
    faults += [f"a revision that was reported is lost: {sha256[:12]}" for sha256 in found.saved if sha256 not in hashes]
    revised = case.average.revised_mask(ORGAN)
    if revised.is_file() and sha256_of(revised) not in found.whole:
        faults.append("the current mask is not whole")
    return faults


def _untidy(folder: Path, case: CaseFolder) -> str:
    """Return what is not clean, found without the doctor; "" when all is."""
    place, revised = case.average.revisions(ORGAN), case.average.revised_mask(ORGAN)
    files = sorted(path for path in place.glob("*.nii.gz") if is_revision(path))
    lines = (place / "log.csv").read_text(encoding="utf-8", errors="replace") if (place / "log.csv").is_file() else ""
    if any(path.name not in lines for path in files):
        return "a revision without a line in the log"
    if any(".tmp" in path.name for path in folder.rglob("*")):
        return "an unfinished file"
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        listed, state = connection.execute("SELECT sha256, state FROM task WHERE case_name = ?", (case.name,)).fetchone()
    last = lines.strip().rpartition("\n")[2].split(",")
    if len(last) > 4 and (sha256_of(revised) if revised.is_file() else "") != last[4]:
        return "the current mask is not that of the last event"
    if state in ("revised", "accepted") and revised.is_file() and sha256_of(revised) != listed and last[2] == "save":
        return "the list has another revision than the disk"
    return ""


def check_agreement(folder: Path, case: CaseFolder, found: Crash) -> list[str]:
    current = current_revision(case, ORGAN)
    digest = current.sha256 if current is not None else ""
    faults = []
    if found.current is not None and digest not in (found.current, *found.coming):
        faults.append(f"the current mask is {digest[:12] or 'the prediction'}, reported was {found.current[:12] or 'the prediction'}")
    with Worklist(folder, read_only=True).store.reading() as db:
        task = db.row(case.name, ORGAN)
    known = {revision.id: revision.sha256 for revision in history(case, ORGAN)}
    if task["revision"] and known.get(task["revision"]) != task["sha256"]:
        faults.append(f"the list names {task['revision']}, the disk has {known.get(task['revision'], 'no such revision')}")
    if found.accepted and (task["state"] != ACCEPTED or task["sha256"] != digest):
        faults.append(f"the task was accepted with {digest[:12]}, the list says {task['state']} with {task['sha256'][:12]}")
    return faults


def _goes_on(folder: Path, case: CaseFolder) -> list[str]:
    """Let the reader open the task again and accept what is there, and another one save a mask."""
    faults: list[str] = []
    worklist = Worklist(folder)
    if worklist.task(case.name, ORGAN).state not in FINISHED:
        task = worklist.take(case.name, ORGAN, "Ada")
        session = TaskSession(worklist, load_review_case(case.folder, ORGAN), task, "Ada", folder.parent / "fallback")
        session.decide(ACCEPTED, session.saved)
        with worklist.store.reading() as db:
            row = db.row(case.name, ORGAN)
        current = current_revision(case, ORGAN)
        if current is not None and (row["revision"], row["sha256"]) != (current.id, current.sha256):
            faults.append(f"accepted after the restart: the list names {row['revision'] or 'no revision'}, the disk {current.id}")
    before = {revision.id for revision in history(case, ORGAN)}
    saved = save_revision(case, ORGAN, mask_of(99), "Eve")
    after = history(case, ORGAN)
    faults += [] if after[-1].id == saved.id and after[-1].is_current else ["the next save does not become current"]
    return faults + ([] if before - {""} <= {revision.id for revision in after} else ["the next save loses a revision"])
