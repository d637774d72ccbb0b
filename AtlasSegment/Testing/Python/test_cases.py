"""One failing case, or one dying worker, costs that case alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.progress import ProgressCallback
from scale_steps import fail_unforeseen
from worker_steps import act, die_or_mark, name_of

ITEMS = ["a1", "bad one", "skip", "disk", "b2", "memory", "c3"]
STATES = ["done", "failed", "skipped", "failed", "done", "failed", "done"]


def test_a_failed_case_does_not_stop_the_others_and_the_order_is_kept() -> None:
    outcomes = run_cases(ITEMS, act, name_of)
    assert [outcome.name for outcome in outcomes] == ITEMS
    assert [outcome.state for outcome in outcomes] == STATES
    assert outcomes[1].error == "bad one: cannot be used."
    assert outcomes[1].remedy == "Mend it."
    assert "No space left" in outcomes[3].error
    assert "not enough memory" in outcomes[5].error
    assert outcomes[4].result == {"item": "b2", "process": os.getpid()}


def test_progress_covers_all_cases_and_never_goes_back() -> None:
    seen: list[tuple[float, str]] = []
    run_cases(ITEMS, act, name_of, progress=lambda done, text: seen.append((done, text)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert seen[-1][1] == "c3: done"


def test_no_items_are_no_work() -> None:
    assert run_cases([], act, name_of, jobs=4) == []


def test_one_item_runs_in_this_process_whatever_the_number_of_jobs() -> None:
    assert run_cases(["a1"], act, name_of, jobs=8)[0].result["process"] == os.getpid()


def test_workers_give_the_same_outcomes_in_the_same_order() -> None:
    pytest.importorskip("distributed")
    seen: list[float] = []
    outcomes = run_cases(ITEMS, act, name_of, jobs=2, progress=lambda done, _: seen.append(done))
    assert [outcome.name for outcome in outcomes] == ITEMS
    assert [outcome.state for outcome in outcomes] == STATES
    assert outcomes[1].remedy == "Mend it."
    assert os.getpid() not in {outcome.result["process"] for outcome in outcomes if outcome.state == "done"}
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_worker_that_is_killed_costs_only_the_case_that_killed_it(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    items = [str(tmp_path / name) for name in ("one", "killer", "two", "three")]
    outcomes = run_cases(items, die_or_mark, name_of, jobs=2)
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done", "done"]
    assert "its worker process was killed" in outcomes[1].error
    assert "fewer --jobs" in outcomes[1].remedy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"nonsense://nowhere: no Dask scheduler answers there"):
        run_cases(["a1", "b2"], act, name_of, scheduler="nonsense://nowhere")


def test_without_dask_workers_are_refused_with_the_way_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="pip install") as caught:
        run_cases(["a1", "b2"], act, name_of, jobs=2)
    assert "--jobs 1" in caught.value.remedy


@pytest.mark.parametrize("overlap", [False, True])
def test_what_nobody_has_foreseen_stays_with_its_case_and_its_traceback_is_logged_once(
    caplog: pytest.LogCaptureFixture, overlap: bool
) -> None:
    outcomes = run_cases(["x", "a", "xx", "b"], fail_unforeseen, str, overlap=overlap)
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done", "failed"]
    assert outcomes[3].error == "b: the work failed unexpectedly (ZeroDivisionError: division by zero)."
    (logged,) = caplog.messages
    assert "in fail_unforeseen" in logged
    assert "ZeroDivisionError" in outcomes[1].details


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_no_failure_of_a_case(stop: type[BaseException]) -> None:
    def step(item: str, progress: ProgressCallback) -> None:
        progress(0.0, item)
        raise stop

    for overlap in (False, True):
        with pytest.raises(stop):
            run_cases(["a", "b"], step, str, overlap=overlap)
