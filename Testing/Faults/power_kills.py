"""Real kills: a process that opens tasks, saves twice and accepts is killed at a random moment; then its files are opened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import defaultdict
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.nifti import write_nifti
from Faults.forks import ended, forked
from Faults.power_acts import make_dataset, mask_of, review
from Faults.power_states import Crash, Examined, check_agreement, check_masks, examine_state

CASES, MARGIN = 6, 1.3
Told = dict[str, list[tuple[str, str]]]
"""Name of a case to (what was reported, hash)."""


@cache
def hash_of(number: int) -> str:
    """Return the hash of the file of a mask."""
    with TemporaryDirectory() as folder:
        write_nifti(Path(folder) / "mask.nii.gz", mask_of(number))
        return sha256_of(Path(folder) / "mask.nii.gz")


def masks_of(case: int) -> tuple[int, int]:
    """Return the masks that are saved of a case, in this order."""
    return (100 + 2 * case, 101 + 2 * case)


def work(folder: Path, notes: Path) -> None:
    """Go through all cases; every report is on the disk before the next step."""
    descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, case in enumerate(sorted(path.name for path in folder.iterdir() if path.is_dir())):

        def note(kind: str, case: str = case, **values: Any) -> None:
            os.write(descriptor, f"{case} {kind} {values.get('sha256', '')}\n".encode())

        note("opened")
        review(folder, note, masks_of(number), case)


def kill_often(kills: int, seed: int, place: Path) -> tuple[int, list[Examined]]:
    """Kill a worker so many times; return how many were still at work, and what was found after each of those."""
    template = place / "template"
    make_dataset(template, CASES)
    (place / "start").mkdir()
    shutil.copytree(template, place / "start" / "data")
    begun = time.monotonic()
    ended(forked(lambda: work(place / "start" / "data", place / "start" / "notes")))
    seconds = (time.monotonic() - begun) * MARGIN
    dice, found = random.Random(seed), []
    for number in range(kills):
        room = place / f"kill{number}"
        shutil.copytree(template, room / "data")
        pid = forked(partial(work, room / "data", room / "notes"))
        time.sleep(dice.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        if ended(pid) == -signal.SIGKILL:
            found.append(_examined(room / "data", _told(room / "notes")))
        shutil.rmtree(room)
    return len(found), found


def _told(notes: Path) -> Told:
    told: Told = defaultdict(list)
    for line in notes.read_text().splitlines() if notes.is_file() else []:
        case, kind, sha256 = line.split(" ")
        told[case].append((kind, sha256))
    return told


def _examined(folder: Path, told: Told) -> Examined:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    result = Examined()
    for name in sorted(told)[:-1]:
        state = _state(told[name], names.index(name))
        result.faults += check_masks(CaseFolder(folder / name), state) + check_agreement(folder, CaseFolder(folder / name), state)
    last = max(told, default=names[0])
    at_work = examine_state(folder, _state(told[last], names.index(last)), last)
    return Examined([f"{last}: {fault}" for fault in result.faults + at_work.faults], at_work.kinds)


def _state(told: list[tuple[str, str]], number: int) -> Crash:
    whole = [hash_of(mask) for mask in masks_of(number)]
    saved = tuple(sha256 for kind, sha256 in told if kind == "current")
    coming = frozenset(whole[len(saved) : len(saved) + 1])
    return Crash({}, b"", {}, frozenset({*whole, hash_of(99)}), saved[-1] if saved else None, coming, saved, ("accepted", "") in told)
