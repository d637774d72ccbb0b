"""Revisions: nothing that a person drew is ever lost, whatever is killed, damaged or done at the same time."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
import unicodedata
import warnings
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasReviewLib.revision_log import HEADER, LogEntry, append_entry, neutralized, read_log, restored
from AtlasReviewLib.revisions import current_revision, history, roll_back, save_revision, unfinished_revision
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, GeometryError, InputError, LabelError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume, reorient

SHAPE = (7, 6, 5)
AFFINE = np.array([[-2.0, 0, 0, 9], [0, -2.0, 0, 4], [0, 0, 3.0, -7], [0, 0, 0, 1]])  # LPS
ORGAN = "liver"
EXIT_AT_POINT = 77


def blob(size=3):
    array = np.zeros(SHAPE, np.uint8)
    array[1 : 1 + size, 2:5, 1:3] = 1
    return array


def volume(size=3, affine=AFFINE):
    return Volume(blob(size), affine, "drawn.nii.gz")


def clock(start=datetime(2026, 11, 21, 7, 5, 2, 123456, tzinfo=timezone.utc)):
    steps = count()
    return lambda: start + timedelta(seconds=next(steps))


@pytest.fixture
def case(tmp_path):
    folder = CaseFolder(tmp_path / "09_AMOS" / "amos 0001")
    write_nifti(folder.ct, Volume(np.arange(210, dtype=np.int16).reshape(SHAPE), AFFINE))
    write_nifti(folder.average.mask(ORGAN), volume(5))
    return folder


def files(case):
    return sorted(path.name for path in case.average.revisions(ORGAN).glob("[!.]*.nii.gz"))


def revised_array(case):
    return read_nifti(case.average.revised_mask(ORGAN)).array


# --- saving


def test_a_saved_mask_is_kept_logged_and_current(case):
    saved = save_revision(case, ORGAN, volume(), "ana", comment="dome was missing", now=clock())
    assert files(case) == ["20261121T070502.123456Z_ana.nii.gz"]
    assert saved.is_current
    assert (saved.reader, saved.voxels, saved.comment) == ("ana", 18, "dome was missing")
    assert saved.base_sha256 == hashlib.sha256(case.average.mask(ORGAN).read_bytes()).hexdigest()
    assert case.average.revised_mask(ORGAN).read_bytes() == saved.file.read_bytes()
    written = read_nifti(case.average.revised_mask(ORGAN))
    assert written.array.dtype == np.uint8
    np.testing.assert_array_equal(written.array, blob())
    np.testing.assert_allclose(written.affine, AFFINE)


def test_the_log_is_a_csv_with_a_header(case):
    save_revision(case, ORGAN, volume(), "ana", comment='a, "b"\nc', now=clock())
    save_revision(case, ORGAN, volume(2), "ben", now=clock())
    with (case.average.revisions(ORGAN) / "log.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == HEADER == ("time", "reader", "action", "file", "sha256", "voxels", "base_sha256", "comment")
    assert [row["reader"] for row in rows] == ["ana", "ben"]
    assert rows[0]["comment"] == 'a, "b" c'
    assert rows[1]["base_sha256"] == rows[0]["sha256"]


@pytest.mark.parametrize("order", ["RAS", "SRA", "PIL", "LPS"])
def test_another_array_order_is_brought_to_the_order_of_the_case_exactly(case, order):
    array, affine = reorient(blob(), AFFINE, order)
    save_revision(case, ORGAN, Volume(array, affine), "ana")
    np.testing.assert_array_equal(revised_array(case), blob())


@given(degrees=st.floats(0, 360), order=st.permutations(range(3)), flips=st.tuples(*[st.booleans()] * 3))
def test_every_flip_and_permutation_of_an_oblique_grid_is_undone(degrees, order, flips):
    from AtlasReviewLib.case_masks import on_grid
    from AtlasSegmentLib.geometry import reorient_affine

    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 1.0, 2.5])
    sign = [-1 if flip else 1 for flip in flips]
    array = blob().transpose(order)[tuple(slice(None, None, s) for s in sign)]
    mask = Volume(array, reorient_affine(affine, SHAPE, order, sign))
    np.testing.assert_array_equal(on_grid(mask, Volume(blob(), affine).grid).array, blob())


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32])
def test_zero_and_one_of_any_type_are_a_mask(case, dtype):
    save_revision(case, ORGAN, Volume(blob().astype(dtype), AFFINE), "ana")
    np.testing.assert_array_equal(revised_array(case), blob())


@pytest.mark.parametrize("value", [2, 255, -1, 0.5, np.nan])
def test_other_values_are_refused_by_name_and_nothing_is_written(case, value):
    array = blob().astype(np.float32)
    array[0, 0, 0] = value
    with pytest.raises(InputError, match=rf"drawn.nii.gz.*got {value:g}"):
        save_revision(case, ORGAN, Volume(array, AFFINE, "drawn.nii.gz"), "ana")
    assert not case.average.revisions(ORGAN).exists()


def test_a_mask_on_another_grid_is_refused(case):
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    for other in (Volume(blob()[:-1], AFFINE), Volume(blob(), moved)):
        with pytest.raises(GeometryError):
            save_revision(case, ORGAN, other, "ana")
    assert not case.average.revisions(ORGAN).exists()


def test_an_empty_mask_over_a_drawn_one_needs_to_be_meant(case):
    empty = Volume(np.zeros(SHAPE, np.uint8), AFFINE)
    with pytest.raises(InputError, match="is empty"):
        save_revision(case, ORGAN, empty, "ana")
    assert files(case) == []
    assert save_revision(case, ORGAN, empty, "ana", allow_empty=True).voxels == 0
    assert save_revision(case, ORGAN, empty, "ben").voxels == 0  # the current one is empty already


def test_without_a_ct_the_predictions_say_where_the_grid_is(case):
    write_nifti(case.average.pseudo_label, volume(5))
    case.ct.unlink()
    save_revision(case, ORGAN, volume(), "ana")
    np.testing.assert_array_equal(revised_array(case), blob())


# --- names


@pytest.mark.parametrize("organ", ["../x", "/etc/passwd", "a/b", "..", "", ".hidden", "liver\n"])
def test_an_organ_name_cannot_leave_the_case(case, organ):
    for action in (lambda: save_revision(case, organ, volume(), "ana"), lambda: history(case, organ), lambda: roll_back(case, organ, None)):
        with pytest.raises(DatasetError):
            action()


@pytest.mark.parametrize("reader", ["../ana", "a/b", "", " ana", "a\tb", "x" * 300])
def test_a_reader_name_cannot_leave_the_folder(case, reader):
    with pytest.raises(DatasetError, match="reader name"):
        save_revision(case, ORGAN, volume(), reader)
    with pytest.raises(DatasetError, match="reader name"):
        roll_back(case, ORGAN, None, reader)
    assert not case.average.revisions(ORGAN).exists()


@pytest.mark.parametrize("reader", ["José Ünal", "李 医生", "Zoë_van_der_B", "=cmd|x".replace("|", " "), "@ana", "🩺"])
def test_reader_names_of_any_script_come_back(case, reader):
    save_revision(case, ORGAN, volume(), reader)
    assert history(case, ORGAN)[0].reader == reader


def test_two_spellings_of_one_unicode_name_are_one_reader(case):
    save_revision(case, ORGAN, volume(), unicodedata.normalize("NFD", "José"))
    save_revision(case, ORGAN, volume(), "José")
    assert {revision.reader for revision in history(case, ORGAN)} == {"José"}


def test_an_unknown_organ_is_refused_with_close_names(case):
    with pytest.raises(LabelError, match="kidney_left"):
        save_revision(case, "kidny_left", volume(), "ana")


def test_an_alias_saves_under_the_name_of_the_case(case):
    save_revision(case, "celiac_trunk", volume(), "ana")
    assert case.average.revised_mask("celiac_truck").is_file()


def test_an_organ_outside_the_table_that_the_case_has_can_be_revised(case):
    write_nifti(case.average.mask("vertebrae_L1"), volume())
    assert save_revision(case, "vertebrae_L1", volume(2), "ana").is_current


@given(st.text())
def test_no_cell_of_the_log_begins_as_a_formula_and_all_come_back(text):
    assert neutralized(text)[:1] not in set("=+-@\uff1d\uff0b\uff0d\uff20")
    assert restored(neutralized(text)) == text


@pytest.mark.parametrize("comment", ['=HYPERLINK("http://x")', "+1", "-1", "@x", "'=1", "\t=1"])
def test_a_comment_that_is_a_formula_is_text_in_the_log(case, comment):
    save_revision(case, ORGAN, volume(), "ana", comment=comment)
    with (case.average.revisions(ORGAN) / "log.csv").open(newline="", encoding="utf-8") as file:
        assert next(iter(csv.DictReader(file)))["comment"].startswith("'")
    assert history(case, ORGAN)[0].comment == comment.strip()


# --- history and roll back


def test_rolling_back_makes_an_older_revision_current_and_removes_nothing(case):
    now = clock()
    first = save_revision(case, ORGAN, volume(2), "ana", now=now)
    second = save_revision(case, ORGAN, volume(3), "ben", now=now)
    before = files(case)
    assert roll_back(case, ORGAN, first.id, "chris", now=now).id == first.id
    np.testing.assert_array_equal(revised_array(case), blob(2))
    assert [revision.is_current for revision in history(case, ORGAN)] == [True, False]
    assert roll_back(case, ORGAN, second.id, "chris", now=now).id == second.id
    assert files(case) == before
    assert [entry.action for entry in read_log(case.average.revisions(ORGAN) / "log.csv")] == ["save", "save", "rollback", "rollback"]


def test_rolling_back_to_the_prediction_keeps_every_revision(case):
    save_revision(case, ORGAN, volume(2), "ana")
    assert roll_back(case, ORGAN, None, "ben") is None
    assert not case.average.revised_mask(ORGAN).exists()
    assert current_revision(case, ORGAN) is None
    assert len(history(case, ORGAN)) == 1
    save_revision(case, ORGAN, volume(3), "ben")
    assert history(case, ORGAN)[-1].is_current


def test_equal_masks_of_two_readers_stay_two_revisions_and_the_last_one_is_current(case):
    now = clock()
    first = save_revision(case, ORGAN, volume(2), "ana", now=now)
    save_revision(case, ORGAN, volume(2), "ben", now=now)
    assert [(r.reader, r.is_current) for r in history(case, ORGAN)] == [("ana", False), ("ben", True)]
    roll_back(case, ORGAN, first.id, now=now)
    assert [(r.reader, r.is_current) for r in history(case, ORGAN)] == [("ana", True), ("ben", False)]


def test_an_unknown_revision_is_refused(case):
    saved = save_revision(case, ORGAN, volume(2), "ana")
    with pytest.raises(InputError, match=saved.id):
        roll_back(case, ORGAN, "20200101T000000.000000Z_ana")


def test_a_damaged_revision_is_not_made_current(case):
    now = clock()
    first = save_revision(case, ORGAN, volume(2), "ana", now=now)
    save_revision(case, ORGAN, volume(3), "ana", now=now)
    first.file.write_bytes(first.file.read_bytes()[:-4])
    with pytest.raises(InputError, match="not those that were saved"):
        roll_back(case, ORGAN, first.id)
    np.testing.assert_array_equal(revised_array(case), blob(3))


def test_the_only_whole_copy_of_a_damaged_revision_is_kept_before_it_is_replaced(case):
    now = clock()
    first = save_revision(case, ORGAN, volume(2), "ana", now=now)
    whole = first.file.read_bytes()
    first.file.write_bytes(b"bit rot")
    save_revision(case, ORGAN, volume(3), "ben", now=now)
    assert whole in [revision.file.read_bytes() for revision in history(case, ORGAN)]


def test_a_clock_that_runs_back_or_stands_still_keeps_the_order(case):
    still = datetime(2026, 1, 1, tzinfo=timezone.utc)
    for reader, time in (("ana", still), ("ana", still), ("ben", still), ("ana", still - timedelta(days=30))):
        save_revision(case, ORGAN, volume(), reader, now=lambda time=time: time)
    assert [r.reader for r in history(case, ORGAN)] == ["ana", "ana", "ben", "ana"]
    assert history(case, ORGAN)[-1].is_current


def test_a_thousand_revisions_are_listed_without_reading_them(case, monkeypatch):
    saved = save_revision(case, ORGAN, volume(), "ana", now=clock())
    folder, data = case.average.revisions(ORGAN), saved.file.read_bytes()
    lines = []
    for number in range(1000):
        file = folder / f"20261122T000000.{number:06}Z_ben.nii.gz"
        file.write_bytes(data)
        lines.append(f"20261122T000000.{number:06}Z,ben,save,{file.name},{saved.sha256},18,,\n")
    with (folder / "log.csv").open("a") as log:
        log.writelines(lines)
    hashed = []
    monkeypatch.setattr("AtlasReviewLib.revision_history.sha256_of", lambda path: hashed.append(path) or saved.sha256)
    assert len(history(case, ORGAN)) == 1001
    assert hashed == [case.average.revised_mask(ORGAN)]


# --- masks of other programs


def test_a_mask_of_another_program_is_listed_and_kept_before_it_is_replaced(case):
    write_nifti(case.average.revised_mask(ORGAN), volume(4))
    outside = case.average.revised_mask(ORGAN).read_bytes()
    listed = current_revision(case, ORGAN)
    assert (listed.id, listed.reader) == ("", "unknown")
    assert not case.average.revisions(ORGAN).exists()  # looking writes nothing
    save_revision(case, ORGAN, volume(2), "ana")
    first, second = history(case, ORGAN)
    assert (first.action, first.reader, first.voxels) == ("import", "unknown", 24)
    assert first.file.read_bytes() == outside
    assert second.is_current
    assert second.base_sha256 == first.sha256


def test_a_mask_of_another_program_is_kept_before_rolling_back_to_the_prediction(case):
    save_revision(case, ORGAN, volume(2), "ana")
    write_nifti(case.average.revised_mask(ORGAN), volume(4))
    outside = case.average.revised_mask(ORGAN).read_bytes()
    roll_back(case, ORGAN, None)
    assert outside in [revision.file.read_bytes() for revision in history(case, ORGAN)]


def test_even_a_file_that_is_no_mask_is_kept(case):
    case.average.revised_mask(ORGAN).write_bytes(b"not a NIfTI file at all")
    save_revision(case, ORGAN, volume(2), "ana")
    kept = history(case, ORGAN)[0]
    assert kept.file.read_bytes() == b"not a NIfTI file at all"
    assert kept.voxels is None


# --- the log


def test_a_torn_last_line_is_passed_over_and_the_next_line_stands_alone(tmp_path):
    log = tmp_path / "log.csv"
    append_entry(log, LogEntry("t1", "ana", "save", "a.nii.gz"))
    whole = log.read_bytes()
    append_entry(log, LogEntry("t2", "ben", "save", "b.nii.gz", comment='"quoted, and long"'))
    line = log.read_bytes()[len(whole) :]
    for cut in range(len(line)):
        log.write_bytes(whole + line[:cut])
        assert [entry.file for entry in read_log(log)][:1] == ["a.nii.gz"]
        append_entry(log, LogEntry("t3", "cy", "save", "c.nii.gz"))
        entries = read_log(log)
        assert (entries[0].file, entries[-1].file) == ("a.nii.gz", "c.nii.gz")
        assert log.read_bytes().startswith(whole + line[:cut])


def test_losing_the_log_loses_no_revision(case):
    now = clock()
    for reader in ("ana", "ben"):
        save_revision(case, ORGAN, volume(2 if reader == "ana" else 3), reader, now=now)
    (case.average.revisions(ORGAN) / "log.csv").unlink()
    assert [(r.reader, r.is_current) for r in history(case, ORGAN)] == [("ana", False), ("ben", True)]
    save_revision(case, ORGAN, volume(4), "cy", now=now)
    assert [entry.action for entry in read_log(case.average.revisions(ORGAN) / "log.csv")] == ["recover", "import", "save"]


# --- kills and concurrency


def killed_at(point, action):
    """Run `action` in a child that dies just before (even) or after (odd) its point // 2-th change on the disk; return its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has no thread of its own
        child = os.fork()
    if child == 0:
        steps = count()

        def dying(real):
            def call(*args, **kwargs):
                number = next(steps)
                if number * 2 == point:
                    os._exit(EXIT_AT_POINT)
                result = real(*args, **kwargs)
                if number * 2 + 1 == point:
                    os._exit(EXIT_AT_POINT)
                return result

            return call

        for name in ("replace", "write", "link", "fsync", "unlink", "close"):
            setattr(os, name, dying(getattr(os, name)))
        Path.unlink = dying(Path.unlink)
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@needs_fork
@pytest.mark.parametrize("what", ["save", "save over another program's", "roll back", "roll back to the prediction"])
def test_a_kill_at_any_moment_loses_nothing_and_running_it_again_finishes(tmp_path, what):
    ends, point = [], 0
    while not ends or ends[-1] == EXIT_AT_POINT:
        folder = CaseFolder(tmp_path / f"{point}" / "case")
        write_nifti(folder.ct, Volume(np.zeros(SHAPE, np.int16), AFFINE))
        write_nifti(folder.average.mask(ORGAN), volume(5))
        now = clock()
        first = save_revision(folder, ORGAN, volume(1), "ana", now=now)
        save_revision(folder, ORGAN, volume(2), "ana", now=now)
        if "another" in what:
            write_nifti(folder.average.revised_mask(ORGAN), volume(4))
        revised = folder.average.revised_mask(ORGAN)
        kept = {path.read_bytes() for path in (revised, *folder.average.revisions(ORGAN).glob("*.nii.gz"))}
        originals = {path: path.read_bytes() for path in (folder.ct, folder.average.mask(ORGAN))}
        if what.startswith("save"):
            action = lambda: save_revision(folder, ORGAN, volume(3), "ben", now=now)  # noqa: B023, E731
            expected = blob(3)
        else:
            target = None if "prediction" in what else first.id
            action = lambda: roll_back(folder, ORGAN, target, now=now)  # noqa: B023, E731
            expected = None if "prediction" in what else blob(1)
        ends.append(killed_at(point, action))
        listed = history(folder, ORGAN)
        found = {path.read_bytes() for path in (*([revised] if revised.exists() else []), *(r.file for r in listed))}
        assert kept <= found
        for revision in listed:
            read_nifti(revision.file)
        assert (unfinished_revision(folder, ORGAN) is None) or ends[-1] == EXIT_AT_POINT
        action()
        assert revised.exists() == (expected is not None)
        if expected is not None:
            np.testing.assert_array_equal(revised_array(folder), expected)
        assert kept <= {r.file.read_bytes() for r in history(folder, ORGAN)}
        assert unfinished_revision(folder, ORGAN) is None
        assert all(path.read_bytes() == data for path, data in originals.items())
        assert not list(folder.folder.rglob(".atlas-*"))
        point += 1
    assert ends[-1] == 0
    assert point > 10


@needs_fork
def test_a_save_that_a_kill_left_half_done_is_reported(case):
    save_revision(case, ORGAN, volume(2), "ana")
    reported = set()
    for point in range(40):
        if killed_at(point, lambda: save_revision(case, ORGAN, volume(3), "ben")) != EXIT_AT_POINT:
            break
        reported.add(unfinished_revision(case, ORGAN) is not None)
    assert reported == {True, False}


def test_what_another_program_wrote_in_the_middle_of_a_save_is_kept(case, monkeypatch):
    from AtlasReviewLib import revisions

    real, now = revisions.append_entry, clock()

    def append_then_another_program_writes(log, entry):
        real(log, entry)
        monkeypatch.setattr(revisions, "append_entry", real)
        write_nifti(case.average.revised_mask(ORGAN), volume(4))

    monkeypatch.setattr(revisions, "append_entry", append_then_another_program_writes)
    save_revision(case, ORGAN, volume(2), "ana", now=now)
    kept = [read_nifti(revision.file).array for revision in history(case, ORGAN)]
    assert any((array == blob(4)).all() for array in kept)
    assert any((array == blob(2)).all() for array in kept)


WRITER = """
import sys
import numpy as np
from pathlib import Path
from AtlasReviewLib.revisions import save_revision
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.volume import Volume
affine = np.array(eval(sys.argv[3]))
sys.stdin.readline()
for number in range(12):
    array = np.zeros((7, 6, 5), np.uint8)
    array.ravel()[: number + 1] = 1
    save_revision(CaseFolder(Path(sys.argv[1])), "liver", Volume(array, affine), sys.argv[2])
"""


def test_two_processes_that_save_at_the_same_time_lose_nothing(case):
    command = [sys.executable, "-c", WRITER, str(case.folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen([*command, reader, str(AFFINE.tolist())], stdin=subprocess.PIPE, env=environment)
        for reader in ("ana", "ben", "ana")
    ]
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    entries = read_log(case.average.revisions(ORGAN) / "log.csv")
    saved = [entry.file for entry in entries if entry.action == "save"]
    assert len(files(case)) == 36
    assert sorted(saved) == files(case)
    revisions = history(case, ORGAN)
    assert [revision.voxels for revision in revisions].count(12) == 3
    assert sum(revision.is_current for revision in revisions) == 1
    assert unfinished_revision(case, ORGAN) is None
    assert (case.average.revisions(ORGAN) / "log.csv").read_text().count("time,reader") == 1
