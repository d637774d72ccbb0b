"""A job on a panel: what is shown while it runs, after it, and when it is cancelled or fails; Slicer stays responsive."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import child_steps
from child_tools import running

CALL = child_steps.CALL


@pytest.fixture
def panel(slicer_app: Any, tmp_path: Path) -> Iterator[SimpleNamespace]:  # noqa: ARG001
    """Return widgets with a job whose child knows the steps of child_steps, and the states that it went through."""
    import qt

    from AtlasSegmentLib.child_process import ChildProcess
    from AtlasSegmentLib.panel_job import ApplyCancel, PanelJob

    widgets = SimpleNamespace(bar=qt.QProgressBar(), label=qt.QLabel(), log=qt.QPlainTextEdit(), button=qt.QPushButton("Apply"))
    widgets.button.toolTip = "Segment the CT"
    widgets.reason = qt.QLabel()
    widgets.states, widgets.results, widgets.failures = [], [], []
    widgets.child = ChildProcess(folders=child_steps.make_library(tmp_path / "library"))
    widgets.job = PanelJob(widgets.bar, widgets.label, widgets.log, widgets.states.append, widgets.child)
    widgets.task = ("echo", {"a": 1})

    def apply() -> None:
        name, arguments = widgets.task
        widgets.job.start(CALL + name, arguments, widgets.results.append, widgets.failures.append)

    widgets.apply = ApplyCancel(widgets.button, widgets.job, apply, widgets.reason)
    yield widgets
    widgets.apply.cleanup()
    widgets.job.cleanup()
    for name in ("bar", "label", "log", "button", "reason"):
        getattr(widgets, name).deleteLater()


def state_names(panel: SimpleNamespace) -> list[str]:
    return [state.name for state in panel.states]


def test_a_job_runs_and_hands_over_its_result(panel: SimpleNamespace, wait_until: Callable[..., None]) -> None:
    panel.task = ("echo", {"text": "hello", "number": 3})
    panel.button.click()
    assert panel.job.running
    assert panel.bar.isVisibleTo(None)
    wait_until(lambda: not panel.job.running)
    assert panel.results == [{"text": "hello", "number": 3}]
    assert state_names(panel) == ["RUNNING", "FINISHED"]
    assert panel.label.text == "Finished"
    assert not panel.bar.isVisibleTo(None)
    assert "INFO: hello" in panel.log.plainText
    assert panel.failures == []


def test_the_stage_and_the_share_are_shown_while_it_runs(panel: SimpleNamespace, wait_until: Callable[..., None]) -> None:
    panel.task = ("work", {"seconds": 60, "steps": 600})
    panel.button.click()
    assert panel.label.text == "Starting..."
    assert (panel.bar.minimum, panel.bar.maximum) == (0, 0)  # busy
    wait_until(lambda: "2 %" in panel.label.text)
    assert panel.label.text.startswith("working: ")
    assert panel.bar.maximum > 0
    wait_until(lambda: "left" in panel.label.text)
    assert "min left" in panel.label.text or "s left" in panel.label.text


def test_the_timer_runs_only_while_a_job_does(panel: SimpleNamespace, wait_until: Callable[..., None]) -> None:
    assert not panel.job._timer.active
    panel.button.click()
    assert panel.job._timer.active
    wait_until(lambda: panel.results)
    assert not panel.job._timer.active


def test_apply_becomes_cancel_and_back(panel: SimpleNamespace, wait_until: Callable[..., None]) -> None:
    panel.task = ("work", {})
    panel.button.click()
    assert (panel.button.text, panel.button.enabled) == ("Cancel", True)
    assert panel.button.toolTip == "Stop the running job"
    wait_until(lambda: "working" in panel.label.text)
    panel.button.click()
    assert (panel.button.text, panel.button.enabled, panel.button.toolTip) == ("Apply", True, "Segment the CT")
    assert panel.label.text == "Cancelled"
    assert state_names(panel) == ["RUNNING", "CANCELLING", "IDLE"]
    assert panel.results == panel.failures == []


def test_a_disabled_apply_says_why_and_cancel_stays_enabled(panel: SimpleNamespace) -> None:
    panel.apply.setReason("Choose a CT.")
    assert (panel.button.enabled, panel.button.toolTip, panel.reason.text) == (False, "Choose a CT.", "Choose a CT.")
    assert panel.reason.isVisibleTo(None)
    panel.apply.setReason()
    panel.task = ("work", {})
    panel.button.click()
    panel.apply.setReason("The CT is gone.")
    assert (panel.button.enabled, panel.button.text) == (True, "Cancel")
    assert not panel.reason.isVisibleTo(None)
    panel.button.click()
    assert (panel.button.enabled, panel.button.toolTip) == (False, "The CT is gone.")
    panel.apply.setReason("")
    assert (panel.button.enabled, panel.button.toolTip) == (True, "Segment the CT")


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks at /proc")
def test_cancel_leaves_no_process(panel: SimpleNamespace, wait_until: Callable[..., None], tmp_path: Path) -> None:
    note = tmp_path / "numbers"
    panel.task = ("leave_grandchildren", {"note": str(note)})
    panel.button.click()
    wait_until(lambda: "working" in panel.label.text)
    started = [int(number) for number in note.read_text().split()]
    assert len(running(started)) == 4
    panel.button.click()
    assert running(started) == []


def test_a_cancelled_job_can_be_started_again(panel: SimpleNamespace, wait_until: Callable[..., None]) -> None:
    panel.task = ("work", {})
    panel.button.click()
    wait_until(lambda: "working" in panel.label.text)
    panel.button.click()
    panel.task = ("echo", {"a": 2})
    panel.button.click()
    wait_until(lambda: panel.results)
    assert panel.results == [{"a": 2}]


def test_an_error_is_shown_once_with_its_remedy(panel: SimpleNamespace, wait_until: Callable[..., None], answers: Any) -> None:
    panel.task = ("fail", {"kind": "atlas"})
    panel.button.click()
    wait_until(lambda: panel.failures)
    assert answers.shown == [("error", "net.onnx: is damaged.\nReally.\n\nCopy it again.")]
    assert state_names(panel) == ["RUNNING", "FAILED"]
    assert panel.label.text.startswith("net.onnx: is damaged.")
    assert panel.button.text == "Apply"
    panel.task = ("echo", {"a": 1})
    panel.button.click()
    wait_until(lambda: panel.results)


@pytest.mark.skipif(os.name == "nt", reason="ends by a signal")
def test_a_child_that_dies_shows_how_and_its_last_lines(panel: SimpleNamespace, wait_until: Callable[..., None], answers: Any) -> None:
    panel.task = ("die", {"how": "kill"})
    panel.button.click()
    wait_until(lambda: panel.failures)
    ((kind, text),) = answers.shown
    assert kind == "error"
    assert "was killed by SIGKILL" in text
    assert "last words" in panel.log.plainText
    assert any("last words" in details for details in answers.details)


def test_a_child_killed_from_outside_is_an_error_too(panel: SimpleNamespace, wait_until: Callable[..., None], answers: Any) -> None:
    panel.task = ("work", {})
    panel.button.click()
    wait_until(lambda: "working" in panel.label.text)
    os.kill(panel.child.pid, signal.SIGTERM)
    wait_until(lambda: panel.failures)
    assert "SIGTERM" in answers.shown[0][1]


def test_a_program_that_cannot_be_started_is_told(panel: SimpleNamespace, wait_until: Callable[..., None], answers: Any) -> None:
    panel.child._python = "/no/such/PythonSlicer"
    panel.button.click()
    wait_until(lambda: panel.failures)
    assert "'/no/such/PythonSlicer' cannot be started" in answers.shown[0][1]
    assert panel.button.text == "Apply"


@pytest.mark.parametrize("atlas", [True, False])
def test_a_result_that_cannot_be_shown_is_told_and_the_panel_stays_usable(
    panel: SimpleNamespace, wait_until: Callable[..., None], answers: Any, atlas: bool
) -> None:
    from AtlasSegmentLib.errors import GeometryError

    def show(_value: Any) -> None:
        raise GeometryError("no grid", "harden it") if atlas else ValueError("odd")

    panel.job.start(CALL + "echo", {"a": 1}, show)
    wait_until(lambda: not panel.job.running and answers.shown)
    assert answers.shown == [("error", "no grid\n\nharden it" if atlas else "The result could not be shown: odd")]
    assert state_names(panel) == ["RUNNING", "FINISHED", "FAILED"]
    panel.button.click()
    wait_until(lambda: panel.results)


def test_a_result_may_start_the_next_job(panel: SimpleNamespace, wait_until: Callable[..., None]) -> None:
    seen: list[Any] = []

    def chain(value: Any) -> None:
        seen.append(value)
        panel.job.start(CALL + "echo", {"b": 2}, seen.append)

    panel.job.start(CALL + "echo", {"a": 1}, chain)
    wait_until(lambda: len(seen) == 2)
    assert seen == [{"a": 1}, {"b": 2}]
    assert panel.job.state.name == "FINISHED"


def test_only_one_job_runs_at_a_time(panel: SimpleNamespace) -> None:
    panel.task = ("work", {})
    panel.button.click()
    with pytest.raises(RuntimeError, match="another job runs"):
        panel.job.start(CALL + "echo", {}, print)


def test_a_flood_of_progress_and_log_is_drawn_and_the_log_keeps_its_last_lines(
    panel: SimpleNamespace, wait_until: Callable[..., None]
) -> None:
    panel.task = ("flood", {"lines": 10_000})
    panel.button.click()
    wait_until(lambda: panel.results)
    panel.job._write([f"line {number}" for number in range(5000)])
    assert panel.log.blockCount <= 2000
    assert "line 4999" in panel.log.plainText
    assert "line 10\n" not in panel.log.plainText


@pytest.mark.parametrize("text", ["half \udcff a pair", "a\0b", "two\nlines", "<b>bold</b>", "x" * 100_000])
def test_hostile_text_is_shown(panel: SimpleNamespace, wait_until: Callable[..., None], text: str) -> None:
    panel.task = ("echo", {"text": text})
    panel.button.click()
    wait_until(lambda: panel.results)
    assert panel.results == [{"text": text}]
    assert "INFO: " in panel.log.plainText


def test_cleanup_in_the_middle_of_a_job_leaves_nothing(panel: SimpleNamespace, wait_until: Callable[..., None]) -> None:
    panel.task = ("work", {})
    panel.button.click()
    wait_until(lambda: "working" in panel.label.text)
    pid = panel.child.pid
    panel.job.cleanup()
    assert running([pid]) == []
    assert not panel.job._timer.active
    assert state_names(panel) == ["RUNNING"]
    panel.job.cleanup()  # a second time does no harm


def test_release_lets_go_of_the_warm_process_but_not_of_a_running_job(panel: SimpleNamespace, wait_until: Callable[..., None]) -> None:
    panel.button.click()
    pid = panel.child.pid
    panel.job.release()
    assert panel.child.pid == pid
    wait_until(lambda: panel.results)
    panel.job.release()
    assert panel.child.pid is None


def test_the_progress_text_is_short_and_never_nonsense(slicer_app: Any) -> None:  # noqa: ARG001
    from AtlasSegmentLib.panel_job import progressText

    assert progressText("infer (fold2)", 0.4, 12.3) == "infer (fold2): 40 %, about 10 s left"
    assert progressText("infer", 0.999, None) == "infer: 99 %"
    assert progressText("", 0.5, 250.0) == "50 %, about 4 min left"
    assert progressText("write", 1.0, 0.0) == "write: 100 %"


def test_progress_that_is_no_number_keeps_the_bar_busy(panel: SimpleNamespace) -> None:
    panel.job._stage, panel.job._share = "x", math.nan
    panel.label.text = "before"
    panel.job._showProgress()
    assert panel.label.text == "before"


def test_the_job_takes_the_python_of_slicer(slicer_app: Any, panel: SimpleNamespace) -> None:
    from AtlasSegmentLib.child_process import find_python
    from AtlasSegmentLib.panel_job import PanelJob

    job = PanelJob(panel.bar, panel.label)
    assert job._child._python == str(find_python(slicer_app.slicerHome))
    job.cleanup()
