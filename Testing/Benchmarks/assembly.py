"""A dataset of growing size: priority, worklist, assembly with a worker that is killed; cost per case and memory.

    python Testing/Benchmarks/assembly.py [--cases 10 100 1000] [--jobs 2] [--no-kill] [--folder FOLDER]

Every case is the phantom of the tests with the names of AbdomenAtlas' nine targets: masks, CT and an average, on 48x40x36 voxels; each
case has a CT of its own, and every tenth a revision. For each size: milliseconds a case of the priority list, of building the worklist and
of building it again (which must change nothing), of the first assembly (with `--jobs` Dask workers, one of them killed when half of the
cases are done), of a second one (which must write nothing), of checking and of verifying; the peak memory of this process (scheduler
included) and of the largest worker, in the first and in the second half of the cases: it must not grow with their number.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from AtlasQualityLib.attention import attention_folder
from AtlasQualityLib.checks import check_plainly
from AtlasQualityLib.checks_rules import CheckOptions
from AtlasReviewLib.assembly_dataset import assembled_cases, finish_dataset
from AtlasReviewLib.assembly_options import AssemblyOptions
from AtlasReviewLib.assembly_verify import VerifyRequest, sample_of, verify_plainly
from AtlasReviewLib.commands_release import AssemblyRequest, assemble_briefly
from AtlasReviewLib.revisions import save_revision
from AtlasReviewLib.run_case import rank
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume

ORGANS = ("spleen", "kidney_right", "kidney_left", "gall_bladder", "liver", "stomach", "aorta", "postcava", "pancreas")
SHAPE, SIZE = (48, 40, 36), 8.0
SAMPLE = 10


def affine() -> np.ndarray:
    """Return the affine of all cases."""
    matrix = np.diag([SIZE, SIZE, SIZE, 1.0])
    matrix[:3, 3] = [-SIZE * n / 2 for n in SHAPE]
    return matrix


def make_dataset(folder: Path, cases: int) -> list[CaseFolder]:
    """Write a dataset: masks are copied from the first case, every case has its own CT, every tenth a revised liver."""
    first = _first_case(folder / "case00000")
    rng = np.random.default_rng(1)
    noise = rng.integers(-20, 20, SHAPE, dtype=np.int16)
    found = [first]
    for number in range(1, cases):
        case = CaseFolder(folder / f"case{number:05d}")
        shutil.copytree(first.folder, case.folder, ignore=shutil.ignore_patterns("ct.nii.gz"))
        write_nifti(case.ct, Volume(np.asfortranarray(np.roll(noise, number, axis=0) + 40), affine()))
        found.append(case)
        if number % 10 == 0:
            mask = np.zeros(SHAPE, np.uint8)
            mask[26:40, 10:30, 14 + number % 8 : 26] = 1
            save_revision(case, "liver", Volume(mask, affine()), "Ada", now=lambda: datetime(2026, 11, 1, tzinfo=timezone.utc))
    return found


def _first_case(folder: Path) -> CaseFolder:
    case = CaseFolder(folder)
    index = np.indices(SHAPE)
    write_nifti(case.ct, Volume(np.full(SHAPE, 40, np.int16, order="F"), affine()))
    for number, organ in enumerate(ORGANS):
        center = np.array([34 - 3 * number, 12 + 2 * number, 10 + 2 * number])
        ball = sum((axis - c) ** 2 for axis, c in zip(index, center, strict=True)) < (4 + number % 3) ** 2
        write_nifti(case.average.mask(organ), Volume(np.asfortranarray(ball.astype(np.uint8)), affine()))
    write_json(case.average.run_record, {"parameters": {"models": ["unet"]}, "finished": "2026"})
    numbers = {"attention_voxels": 9, "heat_sum": 99, "expected_error_mm3": 50.0, "minutes_to_correct": 0.5, "gain_mm3_per_minute": 100.0}
    scores = {organ: {**numbers, "attention_mm3": 100.0 + number} for number, organ in enumerate(ORGANS)}
    write_json(attention_folder(case).run_record, {"results": {"organs": scores}})
    return case


class Memory:
    """The peak resident memory of this process and of its largest worker while a block runs, in MB; workers in both halves of it."""

    def __init__(self) -> None:
        self.own, self.workers = 0.0, [0.0, 0.0]

    def look(self, half: int = 0) -> list[psutil.Process]:
        """Look once, in the first or second half of the cases; return the workers, largest first."""
        own = psutil.Process()
        children = []
        for child in own.children(recursive=True):
            try:
                children.append((child.memory_info().rss, child))
            except psutil.NoSuchProcess:
                continue
        self.own = max(self.own, own.memory_info().rss / 1e6)
        self.workers[half] = max([self.workers[half], *(rss / 1e6 for rss, _ in children)])
        return [child for _, child in sorted(children, key=lambda pair: -pair[0])]


@contextmanager
def watched(out: Path, half: int, kill: bool) -> Iterator[Memory]:
    """Watch memory; with `kill` kill the largest worker when half of the cases are finished."""
    memory, stop = Memory(), threading.Event()

    def watch() -> None:
        alive = kill
        while not stop.wait(0.1):
            done = sum(1 for _ in out.glob("*/manifest.json"))
            workers = memory.look(int(done > half))
            if alive and workers and done >= half:
                os.kill(workers[0].pid, signal.SIGKILL)
                print(f"   killed worker {workers[0].pid} after {done} cases", flush=True)
                alive = False

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return time of change and inode of every file and folder."""
    return {str(path): (state.st_mtime_ns, state.st_ino) for path in folder.rglob("*") if (state := path.lstat())}


def list_work(data: Path, count: int) -> list[float]:
    """Make the priority list, build the worklist, build it again; return the seconds of each."""
    seconds = []
    for step in (rank, open_worklist, open_worklist):
        start = time.perf_counter()
        made = step(data)
        seconds.append(time.perf_counter() - start)
        if isinstance(made, tuple):
            assert len(made[0].tasks()) == count * len(ORGANS)
            made[0].close()
    return seconds


def run_size(folder: Path, count: int, jobs: int, kill: bool) -> tuple[str, ...]:
    """Do all for one size and return a row of the table."""
    data, out = folder / f"data{count}" / "phantoms", folder / f"out{count}"
    cases = make_dataset(data, count)
    listed = list_work(data, count)
    requests = [AssemblyRequest(case, out, "1.0", None, False, AssemblyOptions(verdicts={})) for case in cases]
    name_of = partial(_name)
    start = time.perf_counter()
    with watched(out, count // 2, kill and count >= 100 and jobs > 1) as memory:
        outcomes = run_cases(requests, assemble_briefly, name_of, jobs=jobs)
    finish_dataset(out, cases)
    first = time.perf_counter() - start
    done = sum(outcome.state in {"done", "skipped"} for outcome in outcomes)  # a killed case may have been finished
    before = snapshot(out)
    start = time.perf_counter()
    again = run_cases(requests, assemble_briefly, name_of)
    finish_dataset(out, cases)
    second = time.perf_counter() - start
    untouched = snapshot(out) == before and all(outcome.state == "skipped" for outcome in again)
    start = time.perf_counter()
    run_cases(cases[: min(count, 100)], partial(check_plainly, options=CheckOptions()), _case_name)
    check = (time.perf_counter() - start) / min(count, 100)
    chosen = sample_of(assembled_cases(out), SAMPLE, 0)
    start = time.perf_counter()
    verified = run_cases([VerifyRequest(found, out) for found in chosen], verify_plainly, _folder_name)
    verify = (time.perf_counter() - start) / len(chosen)
    differences = sum(len(outcome.result.get("differences", [])) + (outcome.state == "failed") for outcome in verified)
    shutil.rmtree(data.parent)
    shutil.rmtree(out)
    lists = [f"{seconds / count * 1000:.1f}" for seconds in listed]
    speeds = (*lists, f"{first / count * 1000:.0f}", f"{second / count * 1000:.1f}", f"{check * 1000:.0f}", f"{verify * 1000:.0f}")
    states = (f"{done}/{count}", "nothing" if untouched else "SOMETHING", str(differences))
    return (str(count), *speeds, *states, f"{memory.own:.0f}", *(f"{size:.0f}" for size in memory.workers))


def _name(request: AssemblyRequest) -> str:
    return request.case.name


def _case_name(case: CaseFolder) -> str:
    return case.name


def _folder_name(request: VerifyRequest) -> str:
    return request.folder.folder.name


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--no-kill", action="store_true", help="kill no worker: its memory is that of all its cases")
    options = parser.parse_args()
    columns = (
        "cases",
        "priority ms",
        "list ms",
        "again ms",
        "first ms",
        "again ms",
        "check ms",
        "verify ms",
        "done",
        "again wrote",
        "differences",
        "own MB",
        "worker MB",
        "2nd half",
    )
    print(f"{options.jobs} workers, {len(ORGANS)} organs on {'x'.join(map(str, SHAPE))} voxels; milliseconds a case")
    print("  ".join(f"{column:>11}" for column in columns))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for count in options.cases:
            print("  ".join(f"{cell:>11}" for cell in run_size(Path(folder), count, options.jobs, not options.no_kill)), flush=True)


if __name__ == "__main__":
    main()
