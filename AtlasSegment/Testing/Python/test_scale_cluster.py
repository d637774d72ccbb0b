"""A scheduler with workers: who gets what, how much is submitted, and who is refused; then what kills do to a dataset."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas_phantoms import files_below, make_case, make_model
from AtlasSegmentLib import case_cluster
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.segment_request import SegmentRequest, segment
from AtlasSegmentLib.worker_setup import ClusterError
from Faults import disk_checks
from scale_cluster import RealCluster, free_port
from scale_steps import KILLER, eat_memory, name_of, run_out_of_memory, segment_until_killed, where, which_model, write_slowly

pytest.importorskip("distributed")


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealCluster]:
    """Yield a scheduler without workers."""
    (tmp_path / "dask").mkdir()
    cluster = RealCluster(tmp_path / "dask")
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def mixed() -> Iterator[Any]:
    """Yield a cluster of two worker processes, one with three threads and a GPU (as far as it says), one without."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    quiet = {"silence_logs": logging.CRITICAL, "dashboard": False}
    workers = {
        "with": {"cls": Nanny, "options": {"nthreads": 3, "resources": {"GPU": 1}, "memory_limit": "1500MB", **quiet}},
        "without": {"cls": Nanny, "options": {"nthreads": 1, "memory_limit": "1500MB", **quiet}},
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard": False, "dashboard_address": "127.0.0.1:0", "allowed_failures": 0}}
    with dask.config.set({"distributed.worker.memory.pause": False}), SpecCluster(workers, scheduler, silence_logs=False) as cluster:
        yield cluster


def test_cases_that_run_networks_go_to_the_workers_that_offer_a_gpu(mixed: Any) -> None:
    items = [f"c{number}" for number in range(12)]
    outcomes = run_cases(items, where, name_of, scheduler=mixed.scheduler_address, gpu=True)
    assert [outcome.name for outcome in outcomes] == items
    assert len({outcome.result["process"] for outcome in outcomes}) == 1
    assert {outcome.result["threads"] for outcome in outcomes} == {3}
    assert {outcome.result["openmp"] for outcome in outcomes} == {"3"}


def test_other_cases_go_to_all_workers(mixed: Any) -> None:
    outcomes = run_cases([f"c{number}" for number in range(12)], where, name_of, scheduler=mixed.scheduler_address)
    assert {outcome.result["threads"] for outcome in outcomes} == {1, 3}


def test_a_worker_keeps_one_model_for_all_its_cases(mixed: Any, tmp_path: Path) -> None:
    items = [f"{make_model(tmp_path / 'm', 'tiny')}?{number}" for number in range(10)]
    outcomes = run_cases(items, which_model, name_of, scheduler=mixed.scheduler_address)
    models = {(outcome.result["process"], *outcome.result["models"]) for outcome in outcomes}
    assert len(models) == len({process for process, *_ in models}) <= 2


def test_the_scheduler_holds_a_window_of_the_cases_and_nothing_at_the_end(mixed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_cluster, "_LEAST_WINDOW", 8)
    held: list[int] = []
    tasks = mixed.scheduler.tasks
    items = [f"c{number}" for number in range(60)]
    run_cases(items, where, name_of, scheduler=mixed.scheduler_address, progress=lambda *_: held.append(len(tasks)))
    assert max(held) <= 2 * 8  # what has ended is forgotten a moment later
    assert len(held) == len(items) + 1


def test_ctrl_c_stops_what_runs_on_a_cluster_of_others_and_leaves_the_cluster(mixed: Any, tmp_path: Path) -> None:
    items = [str(tmp_path / f"case{number:02d}") for number in range(16)]

    def interrupt(_: float, text: str) -> None:
        if "done" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cases(items, write_slowly, name_of, scheduler=mixed.scheduler_address, progress=interrupt)
    time.sleep(1.2)  # longer than a case takes
    found = sorted(path.name for path in tmp_path.iterdir())
    assert 1 <= len(found) <= 4  # there are four threads
    assert all(name.startswith("case") for name in found)
    again = run_cases(items[:5], write_slowly, name_of, scheduler=mixed.scheduler_address)
    assert {outcome.state for outcome in again} == {"done", "skipped"}


def test_memory_that_a_worker_is_refused_is_a_failure_of_that_case(mixed: Any) -> None:
    (outcome,) = run_cases(["a"], run_out_of_memory, name_of, scheduler=mixed.scheduler_address)
    assert outcome.state == "failed"
    assert "not enough memory" in outcome.error


def test_a_worker_killed_for_its_memory_costs_the_case_that_took_it(mixed: Any) -> None:
    items = ["a", "b", KILLER, "c"]
    outcomes = run_cases(items, eat_memory, name_of, scheduler=mixed.scheduler_address)
    assert [outcome.state for outcome in outcomes] == ["done", "done", "failed", "done"]
    assert "killed" in outcomes[2].error
    assert "memory" in outcomes[2].error


def requests(folder: Path, model: Path, names: list[str]) -> list[SegmentRequest]:
    """Return requests for cases that exist."""
    cases = [CaseFolder(folder / name) for name in names]
    return [SegmentRequest(case, case.ct, (model,)) for case in cases]


def test_a_worker_killed_while_it_writes_leaves_whole_files_and_the_next_run_finishes(mixed: Any, tmp_path: Path) -> None:
    names = ["a", KILLER, "z"]
    for name in names:
        make_case(tmp_path / "set" / name)
    todo = requests(tmp_path / "set", make_model(tmp_path / "m", "tiny"), names)
    outcomes = run_cases(todo, segment_until_killed, name_of, scheduler=mixed.scheduler_address)
    # One that had just finished on the worker that died is found finished when it runs again.
    assert [outcome.state.replace("skipped", "done") for outcome in outcomes] == ["done", "failed", "done"]
    half = tmp_path / "set" / KILLER / "backbones/tiny"
    assert list(half.rglob("*.nii.gz"))
    assert not (half / "run.json").exists()
    assert disk_checks.unreadable(tmp_path / "set") == []
    again = run_cases(todo, segment, name_of)
    assert [outcome.state for outcome in again] == ["skipped", "done", "skipped"]
    whole = [{path.split("/", 1)[1] for path in files_below(tmp_path / "set") if path.startswith(name)} for name in names]
    assert whole[0] == whole[1] == whole[2]


def test_a_scheduler_killed_in_the_middle_is_told_and_another_one_finishes_the_rest(real: RealCluster, tmp_path: Path) -> None:
    real.add_worker("--nthreads", "2")
    out = tmp_path / "out"
    items = [str(out / f"case{number}") for number in range(9)]

    def kill(_: float, text: str) -> None:
        if "done" in text:
            real.kill_scheduler()

    with pytest.raises(ClusterError, match=r"scheduler was lost after \d of 9 cases.*finished cases are skipped"):
        run_cases(items, write_slowly, name_of, scheduler=real.address, progress=kill)
    assert all(len(path.read_text(encoding="utf-8")) == 40 for path in out.glob("case*"))
    before = files_below(out)
    outcomes = run_cases(items, write_slowly, name_of, overlap=True)
    assert {outcome.state for outcome in outcomes} == {"done", "skipped"}
    after = files_below(out)
    assert {name: after[name] for name in before if name in after}.items() <= after.items()
    real.close()  # a worker that was about to end is gone too
    assert sorted(files_below(out)) == [Path(item).name for item in items]  # and no temporary file is left


class WhenLogged(logging.Handler):
    """Does something once when a text is logged."""

    def __init__(self, text: str, do: Callable[[], object]) -> None:
        super().__init__()
        self._text, self._do = text, do

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a record."""
        if self._text in record.getMessage():
            self._do()


def test_cases_wait_for_workers_and_one_with_another_version_of_the_program_is_refused(real: RealCluster, tmp_path: Path) -> None:
    info = tmp_path / "other/slicer_atlas_annotator-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slicer-atlas-annotator\nVersion: 9.9\n", encoding="utf-8")
    other = {"PYTHONPATH": str(info.parent)}
    told = f"The scheduler has no workers; waiting for some. Start one with: dask worker {real.address}"
    handler = WhenLogged(told, lambda: real.add_worker("--nthreads", "1", environment=other))
    logging.getLogger(case_cluster.__name__).addHandler(handler)
    try:
        with pytest.raises(ClusterError, match=r"this worker has Atlas Annotator 9\.9, and this program is"):
            run_cases(["a", "b"], where, name_of, scheduler=real.address)
    finally:
        logging.getLogger(case_cluster.__name__).removeHandler(handler)


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_cluster, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (free_port(), silent.getsockname()[1]):
            with pytest.raises(InputError, match=rf"tcp://127\.0\.0\.1:{port}: no Dask scheduler answers there.*dask scheduler"):
                run_cases(["a"], where, name_of, scheduler=f"tcp://127.0.0.1:{port}")
