"""Unsaved edits on the disk: whole after a kill, never overwritten by others, gone only when they are a revision."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from atlas_phantoms import files_below
from AtlasReviewLib.autosave import (
    Autosave,
    AutosaveFile,
    autosaves_of_task,
    discard_autosave,
    find_autosaves,
    read_autosave,
)
from AtlasReviewLib.autosave_age import newer_revision
from AtlasReviewLib.review_case import sparse_of
from AtlasReviewLib.revisions import history, save_revision
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError, StorageError
from AtlasSegmentLib.nifti import read_grid
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Volume
from review_data import make_review_case

_KILLED = """
import sys
from pathlib import Path
import numpy as np
from AtlasReviewLib.autosave import AutosaveFile
from AtlasReviewLib.review_case import sparse_of
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_grid
case = CaseFolder(Path(sys.argv[1]))
grid = read_grid(case.ct)
file = AutosaveFile(case, "liver", "Ada", Path(sys.argv[2]))
noise = np.random.default_rng(0)
number = 0
while True:
    number += 1
    mask = np.asfortranarray((noise.random(grid.shape) < 0.5).astype(np.uint8))
    mask[0, 0, 0], mask[-1, -1, -1] = 1, 1
    mask.reshape(-1, order="F")[10:30] = [number >> bit & 1 for bit in range(20)]
    file.write(sparse_of(mask, grid))
    print(number, flush=True)
"""


@pytest.fixture
def case(tmp_path: Path) -> CaseFolder:
    return make_review_case(tmp_path / "hospital" / "one", organs=("liver",))


@pytest.fixture
def fallback(tmp_path: Path) -> Path:
    return tmp_path / "user"


def ball(case: CaseFolder, size: int) -> SparseVolume:
    """Return a mask on the grid of a case that is as large as `size`."""
    grid = read_grid(case.ct)
    mask = np.zeros(grid.shape, np.uint8, order="F")
    mask[5 : 5 + size, 5:10, 5:9] = 1
    return sparse_of(mask, grid)


def voxels(case: CaseFolder, path: Path) -> int:
    """Return the size of the mask in a file."""
    found = autosaves_of_task(case, "liver", "Ada", path.parent)
    return int(read_autosave(next(a for a in found if a.file == path), read_grid(case.ct)).crop.sum())


def test_unsaved_edits_are_found_with_what_they_are(case: CaseFolder, fallback: Path) -> None:
    moment = datetime(2026, 11, 21, 7, 5, 2, tzinfo=timezone.utc)
    path = AutosaveFile(case, "liver", "Ada Löv", fallback, lambda: moment).write(ball(case, 3))
    assert path.name == ".autosave_Ada Löv.nii.gz"
    for found in (find_autosaves(case.folder.parent, "Ada Löv", fallback), autosaves_of_task(case, "liver", "Ada Löv", fallback)):
        assert [(a.case, a.organ, a.reader, a.voxels) for a in found] == [(case.folder, "liver", "Ada Löv", 60)]
        assert found[0].time == "2026-11-21T07:05:02+00:00"
    mask = read_autosave(found[0], read_grid(case.ct))
    assert np.array_equal(mask.dense(), ball(case, 3).dense())


def test_they_are_no_revision_and_belong_to_their_reader_alone(case: CaseFolder, fallback: Path) -> None:
    AutosaveFile(case, "liver", "Ada", fallback).write(ball(case, 3))
    assert history(case, "liver") == []
    assert find_autosaves(case.folder.parent, "Ad", fallback) == []
    assert find_autosaves(case.folder.parent, "Bob", fallback) == []
    assert not case.average.revised_mask("liver").exists()


def test_writing_again_replaces_what_this_program_wrote(case: CaseFolder, fallback: Path) -> None:
    file = AutosaveFile(case, "liver", "Ada", fallback)
    file.write(ball(case, 3))
    path = file.write(ball(case, 4))
    assert [a.file for a in autosaves_of_task(case, "liver", "Ada", fallback)] == [path]
    assert voxels(case, path) == 80


def test_edits_that_nobody_recovered_are_put_aside_and_not_overwritten(case: CaseFolder, fallback: Path) -> None:
    AutosaveFile(case, "liver", "Ada", fallback).write(ball(case, 3))
    later = AutosaveFile(case, "liver", "Ada", fallback)  # after a crash: the reader chose "later" and edits anew
    later.write(ball(case, 5))
    found = autosaves_of_task(case, "liver", "Ada", fallback)
    assert sorted(a.voxels or 0 for a in found) == [60, 100]
    later.remove()
    left = find_autosaves(case.folder.parent, "Ada", fallback)
    assert [a.voxels for a in left] == [60]
    discard_autosave(left[0])
    assert find_autosaves(case.folder.parent, "Ada", fallback) == []
    assert [name for name in files_below(case.average.folder / "revisions") if "autosave" in name] == []


def test_recovered_edits_are_replaced_by_later_ones_and_removed_with_them(case: CaseFolder, fallback: Path) -> None:
    AutosaveFile(case, "liver", "Ada", fallback).write(ball(case, 3))
    again = AutosaveFile(case, "liver", "Ada", fallback)
    again.adopt(autosaves_of_task(case, "liver", "Ada", fallback)[0])
    assert again.exists
    again.write(ball(case, 4))
    assert len(autosaves_of_task(case, "liver", "Ada", fallback)) == 1
    again.remove()
    assert not again.exists
    assert autosaves_of_task(case, "liver", "Ada", fallback) == []


def test_what_another_program_wrote_meanwhile_is_not_removed(case: CaseFolder, fallback: Path) -> None:
    mine = AutosaveFile(case, "liver", "Ada", fallback)
    mine.write(ball(case, 3))
    AutosaveFile(case, "liver", "Ada", fallback).write(ball(case, 6))
    mine.remove()
    assert sorted(a.voxels or 0 for a in autosaves_of_task(case, "liver", "Ada", fallback)) == [60, 120]


def test_a_dataset_that_cannot_be_written_sends_the_edits_to_the_user(case: CaseFolder, fallback: Path) -> None:
    revisions = case.average.folder / "revisions"
    revisions.write_text("in the way")
    file = AutosaveFile(case, "liver", "Ada", fallback)
    path = file.write(ball(case, 3))
    assert path.is_relative_to(fallback)
    found = find_autosaves(case.folder.parent, "Ada", fallback)
    assert [(a.file, a.case, a.organ) for a in found] == [(path, case.folder, "liver")]
    revisions.unlink()
    moved = file.write(ball(case, 4))  # there is space again
    assert moved.is_relative_to(case.folder)
    assert [a.file for a in find_autosaves(case.folder.parent, "Ada", fallback)] == [moved]


def test_when_nothing_can_be_written_both_places_are_named(case: CaseFolder, fallback: Path) -> None:
    (case.average.folder / "revisions").write_text("in the way")
    fallback.write_text("in the way")
    with pytest.raises(StorageError, match=r"revisions.*Nor could.*user"):
        AutosaveFile(case, "liver", "Ada", fallback).write(ball(case, 3))


def test_edits_without_their_note_or_with_an_earlier_one_are_offered_too(case: CaseFolder, fallback: Path) -> None:
    path = AutosaveFile(case, "liver", "Ada", fallback).write(ball(case, 3))
    note = path.with_name(".autosave_Ada.json")
    old = note.read_text()
    note.unlink()
    assert [a.voxels for a in find_autosaves(case.folder.parent, "Ada", fallback)] == [None]
    path.write_bytes(AutosaveFile(case, "liver", "Eve", fallback).write(ball(case, 9)).read_bytes())
    note.write_text(old)
    assert [a.voxels for a in find_autosaves(case.folder.parent, "Ada", fallback)] == [None]
    note.write_text("{half")
    assert voxels(case, path) == 180


def test_damaged_edits_are_refused_with_a_reason(case: CaseFolder, fallback: Path) -> None:
    path = AutosaveFile(case, "liver", "Ada", fallback).write(ball(case, 3))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_autosave(find_autosaves(case.folder.parent, "Ada", fallback)[0], read_grid(case.ct))


@pytest.mark.parametrize("reader", ["../../x", "", "a/b", ".x"])
def test_a_readers_name_that_leads_elsewhere_is_refused(case: CaseFolder, fallback: Path, reader: str) -> None:
    before = files_below(case.folder.parent.parent)
    with pytest.raises(DatasetError):
        AutosaveFile(case, "liver", reader, fallback)
    with pytest.raises(DatasetError):
        find_autosaves(case.folder.parent, reader, fallback)
    assert files_below(case.folder.parent.parent) == before


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_kill_while_it_is_written_leaves_the_old_edits_or_the_new_ones(case: CaseFolder, fallback: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    moments, grid, seen = random.Random(5), read_grid(case.ct), []
    for _ in range(4):
        command = [sys.executable, "-c", _KILLED, str(case.folder), str(fallback)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == "1\n"
            time.sleep(moments.uniform(0.0, 0.1))
            run.send_signal(signal.SIGKILL)
            told = [1, *map(int, run.stdout.read().split())]
        found = next(a for a in autosaves_of_task(case, "liver", "Ada", fallback) if "~" not in a.file.name)
        bits = read_autosave(found, grid).dense().reshape(-1, order="F")[10:30]
        number = sum(int(bit) << place for place, bit in enumerate(bits))
        assert number in (told[-1], told[-1] + 1)
        seen.append(number)
    assert max(seen) > 1


def test_a_case_that_vanished_is_an_error_and_not_a_folder_made_anew(case: CaseFolder, fallback: Path) -> None:
    file = AutosaveFile(case, "liver", "Ada", fallback)
    case.folder.rename(case.folder.with_name("away"))
    grid = read_grid(CaseFolder(case.folder.with_name("away")).ct)
    mask = np.zeros(grid.shape, np.uint8, order="F")
    mask[3:5, 3:5, 3:5] = 1
    path = file.write(sparse_of(mask, grid))
    assert path.is_relative_to(fallback)
    assert not case.folder.exists()
    assert [a.case for a in find_autosaves(case.folder.parent, "Ada", fallback)] == [case.folder]


def test_an_error_is_one_of_ours(case: CaseFolder, fallback: Path) -> None:
    (case.average.folder / "revisions").write_text("in the way")
    fallback.write_text("in the way")
    file = AutosaveFile(case, "liver", "Ada", fallback)
    with pytest.raises(AtlasError):
        file.write(ball(case, 1))
    assert not file.exists


def put_aside(case: CaseFolder, fallback: Path) -> tuple[AutosaveFile, Autosave]:
    """Return the file of a program that put earlier edits aside, with these edits."""
    AutosaveFile(case, "liver", "Ada", fallback).write(ball(case, 3))
    file = AutosaveFile(case, "liver", "Ada", fallback)
    file.write(ball(case, 5))
    return file, next(a for a in autosaves_of_task(case, "liver", "Ada", fallback) if "~" in a.file.name)


def save(case: CaseFolder, size: int) -> None:
    grid = read_grid(case.ct)
    save_revision(case, "liver", Volume(ball(case, size).dense(), grid.affine), "Ada")


def test_edits_that_were_put_aside_go_when_they_are_a_revision(case: CaseFolder, fallback: Path) -> None:
    file, aside = put_aside(case, fallback)
    file.adopt(aside)
    file.remove()
    assert [a.file for a in autosaves_of_task(case, "liver", "Ada", fallback)] == [aside.file]  # no revision yet
    save(case, 3)
    file.remove()
    assert autosaves_of_task(case, "liver", "Ada", fallback) == []
    assert [name for name in files_below(case.average.folder / "revisions") if "autosave" in name] == []


@pytest.mark.parametrize("recovered", [True, False])
def test_edits_that_were_put_aside_stay_when_another_mask_was_saved(case: CaseFolder, fallback: Path, recovered: bool) -> None:
    file, aside = put_aside(case, fallback)
    if recovered:
        file.adopt(aside)
    save(case, 4)
    file.remove()
    assert [a.file for a in autosaves_of_task(case, "liver", "Ada", fallback)] == [aside.file]
    assert voxels(case, aside.file) == 60


def test_a_revision_that_was_saved_after_the_edits_is_named(case: CaseFolder, fallback: Path) -> None:
    AutosaveFile(case, "liver", "Ada", fallback, lambda: datetime(2026, 1, 1, tzinfo=timezone.utc)).write(ball(case, 3))
    (found,) = autosaves_of_task(case, "liver", "Ada", fallback)
    assert newer_revision(found) is None
    grid = read_grid(case.ct)
    mask = Volume(ball(case, 4).dense(), grid.affine)
    save_revision(case, "liver", mask, "Eve", now=lambda: datetime(2025, 12, 31, tzinfo=timezone.utc))
    assert newer_revision(found) is None
    save_revision(case, "liver", mask, "Bob", now=lambda: datetime(2026, 1, 2, tzinfo=timezone.utc))
    assert newer_revision(found) == ("2026-01-02T00:00:00+00:00", "Bob")
    assert newer_revision(replace(found, time="yesterday")) is None
