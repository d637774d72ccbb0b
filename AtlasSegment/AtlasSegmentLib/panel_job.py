"""A job on a panel: runs a task in the child process and shows progress, log and errors, while Slicer stays responsive."""

from __future__ import annotations

import enum
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib.child_process import ChildProcess, Event, find_python
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.panel_errors import displayable
from AtlasSegmentLib.panel_threads import letThreadsRun
from AtlasSegmentLib.remaining_time import RemainingTime, rounded_seconds

_log = logging.getLogger(__name__)
_POLL_MILLISECONDS = 100
_LOG_LINES = 2000
_LOG_CHARACTERS = 2000
_STEPS = 1000


class JobState(enum.Enum):
    """What a job is doing. A cancelled job is idle again."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"
    FAILED = "failed"
    FINISHED = "finished"


class PanelJob:
    """One child process of a panel; it stays warm between jobs.

    Args:
        progressBar: QProgressBar, visible only while a job runs.
        statusLabel: QLabel with stage, share and remaining time, then the outcome.
        logText: QPlainTextEdit with what the child logs and prints, the last lines alone.
        onStateChanged: Called with each new JobState.
        child: The process; by default one of Slicer's Python.
    """

    def __init__(
        self,
        progressBar: Any,
        statusLabel: Any,
        logText: Any = None,
        onStateChanged: Callable[[JobState], None] | None = None,
        child: ChildProcess | None = None,
    ) -> None:
        self._bar, self._label, self._logText = progressBar, statusLabel, logText
        self._observers: list[Callable[[JobState], None]] = [] if onStateChanged is None else [onStateChanged]
        self._child = child or ChildProcess(find_python(slicer.app.slicerHome))
        self._state = JobState.IDLE
        self._remaining = RemainingTime()
        self._stage, self._share = "", math.nan
        self._onResult: Callable[[Any], None] | None = None
        self._onFailed: Callable[[Event], None] | None = None
        self._bar.setVisible(False)
        if logText is not None:
            logText.setMaximumBlockCount(_LOG_LINES)
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._poll)

    @property
    def state(self) -> JobState:
        """What the job is doing."""
        return self._state

    @property
    def running(self) -> bool:
        """Whether a job runs or is being cancelled."""
        return self._state in (JobState.RUNNING, JobState.CANCELLING)

    def observe(self, onStateChanged: Callable[[JobState], None]) -> None:
        """Call something with each new state too; `cleanup` forgets it."""
        self._observers.append(onStateChanged)

    def start(
        self,
        call: str,
        arguments: Mapping[str, Any],
        onResult: Callable[[Any], None],
        onFailed: Callable[[Event], None] | None = None,
    ) -> None:
        """Start a task and return at once.

        Args:
            call: "module:function", see `ChildProcess.send`.
            arguments: Its keyword arguments.
            onResult: Called with what the task returned; may start the next job. What it raises is shown as the job's error.
            onFailed: Called after an error has been shown, to clean up.

        Raises:
            RuntimeError: A job runs already.
        """
        if self.running:
            message = f"{call} cannot start while another job runs"
            raise RuntimeError(message)
        self._child.send(call, arguments)
        self._onResult, self._onFailed = onResult, onFailed
        self._remaining = RemainingTime()
        self._stage, self._share = "", math.nan
        self._bar.setRange(0, 0)  # busy: nothing is known yet
        self._bar.setVisible(True)
        self._label.setText(_("Starting..."))
        self._timer.start()
        self._enter(JobState.RUNNING)

    def cancel(self) -> None:
        """Kill the process with everything it started; nothing happens when no job runs."""
        if self._state is not JobState.RUNNING:
            return
        self._enter(JobState.CANCELLING)
        self._child.kill()
        self._stop(_("Cancelled"))
        self._enter(JobState.IDLE)

    def release(self) -> None:
        """Let go of the warm process, so that its files can be replaced; nothing happens while a job runs."""
        if not self.running:
            self._child.close()

    def cleanup(self) -> None:
        """Kill the process and forget everyone who is told of the job; for the end of the panel."""
        self._observers.clear()
        self._onResult = self._onFailed = None
        self._timer.stop()
        self._timer.disconnect("timeout()", self._poll)
        self._child.kill()
        self._state = JobState.IDLE

    def _poll(self) -> None:
        """Take in what the child has told; drawn once, however much it is."""
        letThreadsRun()  # those that read and write the child's pipes
        lines: list[str] = []
        last: Event | None = None
        for event in self._child.events():
            if event.kind == "log":
                lines += event.text.splitlines()
            elif event.kind == "progress":
                self._stage, self._share = event.text, event.fraction
                self._remaining.update(time.monotonic(), event.fraction)
            else:
                last = event
        self._write(lines)
        if last is None:
            self._showProgress()
        elif last.kind == "result":
            self._finish(last.value)
        else:
            self._fail(last)

    def _finish(self, value: Any) -> None:
        onResult = self._onResult
        self._stop(_("Finished"))
        self._enter(JobState.FINISHED)
        if onResult is None:
            return
        try:
            onResult(value)
        except AtlasError as error:
            self._fail(Event("error", text=error.message, value=type(error).__name__, remedy=error.remedy))
        except Exception as error:  # the edge of the panel: shown once, and the panel stays usable
            _log.exception("the result could not be shown")
            self._fail(Event("error", text=_("The result could not be shown: {error}").format(error=error), value=type(error).__name__))

    def _fail(self, error: Event) -> None:
        onFailed = self._onFailed
        self._stop(displayable(error.text))
        self._write(displayable(error.details).splitlines())
        self._enter(JobState.FAILED)
        message = "\n\n".join(displayable(text) for text in (error.text, error.remedy) if text)
        details = {"detailedText": displayable(error.details)} if error.details else {}
        slicer.util.errorDisplay(message, **details)
        if onFailed is not None:
            onFailed(error)

    def _stop(self, status: str) -> None:
        self._timer.stop()
        self._bar.setVisible(False)
        self._label.setText(status)

    def _enter(self, state: JobState) -> None:
        self._state = state
        for observer in tuple(self._observers):
            observer(state)

    def _write(self, lines: list[str]) -> None:
        if self._logText is not None and lines:
            shown = [displayable(line[:_LOG_CHARACTERS]) for line in lines[-_LOG_LINES:]]
            self._logText.appendPlainText("\n".join(shown))

    def _showProgress(self) -> None:
        if not math.isfinite(self._share):
            return
        share = min(max(self._share, 0.0), 1.0)
        self._bar.setRange(0, _STEPS)
        self._bar.setValue(round(share * _STEPS))
        self._label.setText(progressText(self._stage, share, self._remaining.seconds(time.monotonic())))


def progressText(stage: str, share: float, seconds: float | None) -> str:
    """Return such as "infer (fold2): 40 %, about 12 s left".

    Args:
        stage: What is done now; may be empty.
        share: Finished share, 0..1.
        seconds: Remaining time, None when unknown.
    """
    parts = [_("{percent} %").format(percent=math.floor(share * 100))]
    if seconds is not None and share < 1.0:
        whole = rounded_seconds(seconds)
        minutes = _("about {count} min left").format(count=round(whole / 60))
        parts.append(minutes if whole >= 90 else _("about {count} s left").format(count=whole))
    text = ", ".join(parts)
    return _("{stage}: {progress}").format(stage=displayable(stage), progress=text) if stage else text


class ApplyCancel:
    """Makes an Apply button a Cancel button while a job runs.

    Args:
        button: QPushButton; its text and tool tip are those of Apply.
        job: The job it starts and cancels.
        onApply: Called when Apply is pressed.
        reasonLabel: QLabel that shows why Apply is disabled; hidden while it is not.
    """

    def __init__(self, button: Any, job: PanelJob, onApply: Callable[[], None], reasonLabel: Any = None) -> None:
        self._button, self._job, self._onApply, self._reasonLabel = button, job, onApply, reasonLabel
        self._text, self._toolTip = button.text, button.toolTip
        self._reason = ""
        job.observe(self._update)
        button.connect("clicked(bool)", self._press)
        self._update(job.state)

    def setReason(self, reason: str = "") -> None:
        """Enable Apply, or disable it and say why; Cancel stays enabled."""
        self._reason = reason
        self._update(self._job.state)

    def cleanup(self) -> None:
        """Let go of the button."""
        self._button.disconnect("clicked(bool)", self._press)

    def _press(self, _checked: bool = False) -> None:
        if self._job.running:
            self._job.cancel()
        else:
            self._onApply()

    def _update(self, state: JobState) -> None:
        running = state in (JobState.RUNNING, JobState.CANCELLING)
        self._button.setText(_("Cancel") if running else self._text)
        self._button.setToolTip(_("Stop the running job") if running else self._reason or self._toolTip)
        self._button.setEnabled(state is JobState.RUNNING or (not running and not self._reason))
        if self._reasonLabel is not None:
            self._reasonLabel.setText("" if running else self._reason)
            self._reasonLabel.setVisible(bool(self._reason) and not running)
