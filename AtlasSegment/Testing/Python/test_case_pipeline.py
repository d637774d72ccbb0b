"""Cases overlap in one process: order, failures, memory and Ctrl-C."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from AtlasSegmentLib.case_pipeline import ALIVE, Turns, run_overlapped
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.progress import ProgressCallback
from scale_cluster import SECONDS

STAGES = ("prepare", "compute", "finish")
ITEMS = list(range(12))


class Volume:
    """Something large: counted while it is alive."""


class Watch:
    """A step of three stages that notes who is in which stage, and how many volumes are alive."""

    def __init__(self, seconds: float = 0.01, pieces: int = 1, fail: tuple[str, int] | None = None, slow: str = "") -> None:
        self.turns = Turns()
        self.seconds, self.pieces, self.fail, self.slow = seconds, pieces, fail, slow
        self.lock = threading.Lock()
        self.inside: dict[str, list[int]] = {stage: [] for stage in STAGES}
        self.begun: list[int] = []
        self.overlaps: set[tuple[str, ...]] = set()
        self.alive: weakref.WeakSet[Volume] = weakref.WeakSet()
        self.peak = 0
        self.waiting: set[int] = set()  # prepared, and the network has not taken them
        self.most_waiting = 0
        self.written: list[int] = []

    def __call__(self, item: int, progress: ProgressCallback) -> dict[str, Any] | None:
        """Take an item through its stages."""

        def prepare() -> Volume:
            return self._stage("prepare", item, progress)

        def compute(prepared: Volume) -> Any:
            return [partial(computed, prepared) for _ in range(self.pieces)]

        def computed(_prepared: Volume) -> Volume:
            return self._stage("compute", item, progress)

        def finish(computed: Volume) -> int:
            del computed
            self._stage("finish", item, progress)
            return item

        return {"finished": self.turns.run(prepare, compute, finish)}

    def _stage(self, stage: str, item: int, progress: ProgressCallback) -> Volume:
        progress(STAGES.index(stage) / 3, stage)
        volume = Volume()
        with self.lock:
            self.alive.add(volume)
            self.peak = max(self.peak, len(self.alive))
            self.inside[stage].append(item)
            assert len(self.inside[stage]) == 1, f"two in {stage}"
            if stage == "prepare":
                self.begun.append(item)
            if stage == "finish":
                self.written.append(item)
            self.waiting -= {item}
            self.overlaps.add(tuple(name for name in STAGES if self.inside[name]))
        try:
            time.sleep(self.seconds * (5 if stage == self.slow else 1))
            if self.fail == (stage, item):
                message = f"{item}: {stage} went wrong."
                raise InputError(message, "Mend it.")
        finally:
            with self.lock:
                self.inside[stage].remove(item)
                self.waiting |= {item} if stage == "prepare" else set()
                self.most_waiting = max(self.most_waiting, len(self.waiting))
        return volume


def name_of(item: object) -> str:
    """Name an item."""
    return str(item)


@pytest.mark.parametrize("pieces", [1, 3])
def test_all_three_stages_run_at_once_and_each_holds_one_case(pieces: int) -> None:
    watch = Watch(pieces=pieces)
    outcomes = run_cases(ITEMS, watch, name_of, overlap=True)
    assert [outcome.name for outcome in outcomes] == [str(item) for item in ITEMS]
    assert [outcome.result for outcome in outcomes] == [{"finished": [item] * pieces} for item in ITEMS]
    assert STAGES in watch.overlaps


def test_cases_begin_in_their_order() -> None:
    watch = Watch()
    run_cases(ITEMS, watch, name_of, overlap=True)
    assert all(abs(place - item) < ALIVE for place, item in enumerate(watch.begun))
    assert sorted(watch.begun) == ITEMS


def test_memory_holds_no_more_than_what_is_in_the_stages_however_many_cases_there_are() -> None:
    watch = Watch(seconds=0.002, pieces=2)
    run_cases(list(range(60)), watch, name_of, overlap=True)
    assert watch.peak <= 2 * ALIVE  # input and output of each
    gc.collect()
    assert not watch.alive


@pytest.mark.parametrize("threads", [ALIVE, 8])
def test_one_case_waits_for_the_network_and_not_more_whatever_the_number_of_threads(threads: int) -> None:
    watch = Watch(seconds=0.002, slow="compute")
    with closing(run_overlapped(ITEMS, watch, name_of, alive=threads)) as ended:
        assert len(list(ended)) == len(ITEMS)
    assert watch.most_waiting == 1


def test_a_worker_of_many_threads_holds_no_more_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(seconds=0.005, pieces=3)
    inside: set[int] = set()
    most: list[int] = []
    stage = watch._stage

    def counted(name: str, item: int, progress: ProgressCallback) -> Volume:
        inside.add(item)
        most.append(len(inside))
        try:
            return stage(name, item, progress)
        finally:
            if name == "finish" and watch.written.count(item) == 3:
                inside.discard(item)

    monkeypatch.setattr(watch, "_stage", counted)
    with closing(run_overlapped(ITEMS, watch, name_of, alive=8)) as ended:
        assert len(list(ended)) == len(ITEMS)
    assert max(most) <= ALIVE


@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_stays_with_its_case_whatever_stage_it_comes_from(stage: str) -> None:
    outcomes = run_cases(ITEMS, Watch(fail=(stage, 4)), name_of, overlap=True)
    assert [outcome.name for outcome in outcomes if outcome.state == "failed"] == ["4"]
    assert outcomes[4].error == f"4: {stage} went wrong."


def test_a_finished_case_does_not_wait_for_the_network() -> None:
    turns, running, skipped = Turns(), threading.Event(), threading.Event()

    def step(item: str, progress: ProgressCallback) -> dict[str, Any] | None:
        progress(0.0, item)

        def compute(_: str) -> Any:
            return [wait_for_the_other]

        def wait_for_the_other() -> str:
            running.set()
            assert skipped.wait(SECONDS)
            return item

        if item == "long":
            return {"found": turns.run(lambda: item, compute, lambda piece: piece)}
        assert running.wait(SECONDS)
        found = turns.run(lambda: None, compute, lambda piece: piece)
        skipped.set()
        return {"found": found} if found else None

    outcomes = run_cases(["long", "there"], step, name_of, overlap=True)
    assert [outcome.state for outcome in outcomes] == ["done", "skipped"]


def test_a_written_case_does_not_wait_for_the_network_once_more() -> None:
    turns, held, ended = Turns(), threading.Event(), threading.Event()

    def step(item: str, progress: ProgressCallback) -> dict[str, Any]:
        progress(0.0, item)

        def compute(_: str) -> Any:
            return [hold if item == "long" else lambda: item]

        def hold() -> str:
            held.set()
            assert ended.wait(SECONDS)
            return item

        def finish(piece: str) -> str:
            assert item == "long" or held.wait(SECONDS)
            return piece

        found = turns.run(lambda: item, compute, finish)
        if item == "short":
            ended.set()
        return {"found": found}

    outcomes = run_cases(["short", "long"], step, name_of, overlap=True)
    assert [outcome.state for outcome in outcomes] == ["done", "done"]


def test_progress_never_goes_back_and_ends_at_one() -> None:
    seen: list[float] = []
    run_cases(ITEMS, Watch(pieces=3), name_of, overlap=True, progress=lambda done, _: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_a_consumer_that_stops_ends_the_running_cases_and_begins_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, gate = Watch(), threading.Event()
    stage = watch._stage
    computed: list[int] = []  # which of the running cases comes first is the threads' affair

    def held_up(name: str, item: int, progress: ProgressCallback) -> Volume:
        volume = stage(name, item, progress)
        if name == "compute":
            computed.append(item)
            assert item == computed[0] or gate.wait(SECONDS)
        return volume

    monkeypatch.setattr(watch, "_stage", held_up)
    with closing(run_overlapped(ITEMS, watch, name_of)) as ended:
        next(ended)
        opened = threading.Timer(0.5, gate.set)  # when the stop has long been said
        opened.start()
    opened.join()
    assert watch.written == computed[:1]  # the one that was computed has not gone on
    assert len(watch.begun) <= ALIVE
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("atlas-case")]
    assert [outcome.state for outcome in run_cases(ITEMS[:3], watch, name_of, overlap=True)] == ["done"] * 3  # nobody kept a turn


PROGRAM = """
import sys
from AtlasSegmentLib.cases import run_cases
import scale_steps
if __name__ == "__main__":
    ways = {"one": {}, "overlap": {"overlap": True}, "jobs": {"jobs": 2}}[sys.argv[2]]
    items = [f"{sys.argv[1]}/case{number}" for number in range(40)]
    try:
        run_cases(items, scale_steps.write_slowly, scale_steps.name_of, progress=lambda _, text: print(text, flush=True), **ways)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def group_ends(group: int) -> bool:
    """Wait until no process of a group runs (zombies do not)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        stats = (path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat"))
        if not [stat for stat in stats if int(stat[2]) == group and stat[0] not in "ZX"]:
            return True
        time.sleep(0.05)
    return False


def started(folder: Path, way: str) -> subprocess.Popen[bytes]:
    """Return PROGRAM, in a process group of its own."""
    (folder / "main.py").write_text(PROGRAM, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    command = [sys.executable, str(folder / "main.py"), str(folder / "out"), way]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("way", ["one", "overlap", "jobs"])
def test_ctrl_c_leaves_whole_files_only_and_no_process(tmp_path: Path, way: str) -> None:
    process = started(tmp_path, way)
    assert process.stdout is not None
    for line in process.stdout:
        if b"done" in line:
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors
    found = sorted((tmp_path / "out").iterdir())
    assert 1 <= len(found) <= 8
    assert [path.name for path in found if path.name.startswith(".") or len(path.read_text(encoding="utf-8")) != 40] == []
    assert group_ends(process.pid)


def processes(group: int) -> int:
    """Return how many processes a group has."""
    stats = (path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat"))
    return sum(int(stat[2]) == group for stat in stats)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_ctrl_c_while_the_workers_start_is_no_page_of_tracebacks(tmp_path: Path) -> None:
    process = started(tmp_path, "jobs")
    deadline = time.monotonic() + SECONDS
    while processes(process.pid) < 3 and time.monotonic() < deadline:  # one of them is Python's own that tracks resources
        time.sleep(0.02)
    time.sleep(0.2)  # the workers import now
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors, errors.decode()
    assert group_ends(process.pid)
