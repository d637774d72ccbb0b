"""The next task is read in the background: one at a time, given up when another is wanted, its errors kept for later."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from AtlasReviewLib.background import Cancelled, Work, resume_collection
from AtlasReviewLib.read_ahead import ReadAhead
from AtlasReviewLib.review_case import ReviewCase, View, load_review_case
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.progress import ProgressCallback
from AtlasSegmentLib.volume_io import read_volume
from review_data import make_review_case


def readers() -> int:
    return sum(thread.name == "AtlasReview reader" for thread in threading.enumerate())


@pytest.fixture
def case(tmp_path: Path) -> CaseFolder:
    return make_review_case(tmp_path / "hospital" / "one")


class Gate:
    """A loader that waits until the test lets it go on, and counts its calls."""

    def __init__(self) -> None:
        self.go, self.calls = threading.Event(), 0

    def __call__(self, folder: Path, organ: str, progress: ProgressCallback, known: ReviewCase | None, view: View) -> ReviewCase:
        self.calls += 1
        while not self.go.wait(0.001):
            progress(0.5, organ)
        return load_review_case(folder, organ, progress, known, view)


def test_a_task_that_was_read_ahead_is_given_without_reading_again(case: CaseFolder) -> None:
    gate = Gate()
    gate.go.set()
    ahead = ReadAhead(gate)
    ahead.request(case.folder, "liver").result()
    assert ahead.key is not None
    assert ahead.key[:2] == (case.folder, "liver")
    ahead.request(case.folder, "liver")
    assert ahead.take().organ == "liver"
    assert gate.calls == 1
    assert ahead.key is None
    with pytest.raises(LookupError):
        ahead.take()


def test_progress_is_told_while_it_reads(case: CaseFolder) -> None:
    gate = Gate()
    ahead = ReadAhead(gate)
    work = ahead.request(case.folder, "liver")
    while not work.text:
        time.sleep(0.001)
    assert (work.fraction, work.text, ahead.reading) == (0.5, "liver", True)
    gate.go.set()
    assert ahead.take().organ == "liver"
    assert not ahead.reading


def test_another_request_gives_up_the_first_one_and_its_thread_ends(case: CaseFolder) -> None:
    gate = Gate()
    ahead = ReadAhead(gate)
    first = ahead.request(case.folder, "liver")
    second = ahead.request(case.folder, "spleen")
    with pytest.raises(Cancelled):
        first.result()
    gate.go.set()
    assert ahead.take().organ == "spleen"
    second.result()
    assert readers() == 0


def test_what_was_given_up_can_be_asked_for_again(case: CaseFolder) -> None:
    gate = Gate()
    ahead = ReadAhead(gate)
    ahead.request(case.folder, "liver")
    ahead.cancel()
    gate.go.set()
    ahead.request(case.folder, "liver")
    assert ahead.take().organ == "liver"


def test_an_error_waits_until_the_task_is_really_opened(case: CaseFolder) -> None:
    case.average.mask("liver").write_bytes(b"junk")
    ahead = ReadAhead()
    work = ahead.request(case.folder, "liver")
    while not work.done:
        time.sleep(0.001)
    with pytest.raises(InputError, match="liver"):
        ahead.take()
    make_review_case(case.folder)
    ahead.request(case.folder, "liver")
    assert ahead.take().organ == "liver"


def test_a_case_that_vanishes_is_an_error_of_ours(case: CaseFolder) -> None:
    ahead = ReadAhead()
    ahead.request(case.folder.with_name("none"), "liver")
    with pytest.raises(DatasetError):
        ahead.take()


def test_nothing_is_kept_of_a_task_that_was_given_up(case: CaseFolder) -> None:
    ahead = ReadAhead()
    known = load_review_case(case.folder, "spleen")
    arrays = [weakref.ref(ahead.request(case.folder, "liver", known).result()), weakref.ref(known)]
    del known
    ahead.cancel()
    gc.collect()
    assert [reference() for reference in arrays] == [None, None]
    assert readers() == 0


def test_a_work_that_fails_gives_its_error_to_whoever_asks() -> None:
    def fail(work: Work[int]) -> int:
        work.progress(0.1, "begin")
        raise KeyError

    work = Work(fail)
    for _ in range(2):
        with pytest.raises(KeyError):
            work.result()
    assert work.done


class Thing:
    """Something that may only die on the main thread, such as a Qt object."""

    died_in: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Thing.died_in.append(threading.current_thread().name)


def test_garbage_of_the_main_thread_is_not_collected_by_the_reader() -> None:
    Thing.died_in.clear()

    def work(_work: Work[int]) -> int:
        return sum(len([[number]]) for number in range(20_000) for _ in range(3))

    gc.collect()
    running = Work(work)
    for _ in range(10):
        Thing()
    running.result()
    assert Thing.died_in == []
    assert gc.isenabled()
    gc.collect()
    assert {*Thing.died_in} == {threading.main_thread().name}
    assert len(Thing.died_in) == 10


def test_the_collector_is_on_again_after_works_that_overlapped_failed_or_were_given_up(case: CaseFolder) -> None:
    gate = Gate()
    ahead = ReadAhead(gate)
    ahead.request(case.folder, "liver")
    ahead.request(case.folder, "spleen")
    ahead.request(case.folder.with_name("none"), "liver")
    assert not gc.isenabled()
    ahead.close()
    for thread in [thread for thread in threading.enumerate() if thread.name == "AtlasReview reader"]:
        thread.join()
    resume_collection()
    assert gc.isenabled()


def test_the_time_and_memory_of_the_next_case_of_a_large_ct(shared_data: Path, tmp_path: Path) -> None:
    """Prints how long the main thread waits for a 512x512x275 case with eight organs that was read ahead."""
    volume = read_volume(shared_data / "data/chest-abdomen-1mm/ct.nii.gz")
    case = CaseFolder(tmp_path / "hospital" / "large")
    write_nifti(case.ct, volume)
    for number, organ in enumerate(("liver", "spleen", "pancreas", "stomach", "aorta", "postcava", "kidney_left", "kidney_right")):
        mask = (volume.array > 0) & (volume.array < 120)
        mask[: 40 * number] = False
        write_nifti(case.average.mask(organ), volume.with_array(mask.astype("uint8")))
    ahead = ReadAhead()
    before = psutil.Process(os.getpid()).memory_info().rss
    start = time.perf_counter()
    ahead.request(case.folder, "liver").result()
    read = time.perf_counter() - start
    start = time.perf_counter()
    loaded = ahead.take()
    taken = time.perf_counter() - start
    grown = (psutil.Process(os.getpid()).memory_info().rss - before) / 2**20
    start = time.perf_counter()
    ahead.request(case.folder, "spleen", loaded).result()
    again = time.perf_counter() - start
    print(
        f"\n{volume.shape}: read {read:.2f} s in the background, taken in {taken * 1000:.2f} ms, {grown:.0f} MB; next organ {again:.2f} s"
    )
    assert len(loaded.organs) == 8
