"""The review panel with its worklist on a real PostgreSQL that hangs, dies and comes back while somebody edits."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import postgres_server
from AtlasReviewLib import worklist_deadline
from AtlasReviewLib.revisions import history
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.case_folder import CaseFolder
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")
NOTICE = "The worklist cannot be reached since"


class Machine:
    """A server that a test can hang and pull the plug of."""

    def __init__(self) -> None:
        self.server = postgres_server.start(durable=True)
        self.url = self.server.empty_worklist()

    def _processes(self) -> list[psutil.Process]:
        first = psutil.Process(self.server.process.pid)
        return [first, *first.children(recursive=True)]

    def hang(self) -> None:
        """Stop every process of the server: its connections stay open and say nothing."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def go_on(self) -> None:
        """Let it go on; a process that served a connection which was closed meanwhile may end while it is looked at."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def die(self) -> None:
        """Kill every process of the server."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self.server.process.wait(10)

    def come_back(self) -> None:
        """Start the server again with its data and port."""
        account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        command: Any = self.server.process.args
        with (self.server.folder / "log").open("ab") as log:
            self.server.process = subprocess.Popen(command, cwd=self.server.folder, stdout=log, stderr=log, **account)  # type: ignore[call-overload]
        postgres_server._wait(self.server)


@pytest.fixture(scope="module")
def server() -> Iterator[Machine]:
    reason = postgres_server.missing()
    if reason:
        pytest.skip(reason)
    server = Machine()
    yield server
    server.server.stop()


@pytest.fixture
def machine(server: Machine) -> Iterator[Machine]:
    """Return the server with an empty worklist; it runs again afterwards, whatever became of it."""
    server.server.empty_worklist()
    yield server
    if server.server.process.poll() is None:
        server.go_on()
    else:
        server.come_back()


@pytest.fixture
def desk(
    machine: Machine, tmp_path: Path, open_module: Callable[[str], Any], wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    from AtlasReviewLib import panel_sync

    monkeypatch.setenv("ATLAS_WORKLIST", machine.url)
    monkeypatch.setattr(worklist_deadline, "MAIN_SECONDS", 1.0)
    monkeypatch.setattr(worklist_deadline, "BACKGROUND_SECONDS", 1.5)
    monkeypatch.setattr(panel_sync, "_SLOW_SECONDS", 0.3)
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(make_dataset(tmp_path / "hospital"))
    desk.take_next()
    assert desk.name == "first liver taken"
    return desk


def look_again(desk: Desk) -> float:
    """Let the panel's clock strike; return how long that took."""
    desk.panel._nextRefresh = desk.panel._nextHeartbeat = 0.0
    start = time.perf_counter()
    desk.panel.tick()
    return time.perf_counter() - start


def look_through(desk: Desk) -> None:
    """Let the clock strike when no earlier look is under way, and wait until the list was looked at."""
    desk.wait(lambda: not desk.panel.sync.running)
    look_again(desk)
    desk.wait(lambda: not desk.panel.sync.running)


def shown(desk: Desk) -> str:
    """Return what the panel says about the worklist."""
    return "" if desk.ui.datasetNoticeLabel.isHidden() else str(desk.ui.datasetNoticeLabel.text)


def wait_for_trouble(desk: Desk) -> float:
    """Wait until the panel says that the server does not answer; return the longest turn of its event loop."""
    import slicer

    longest, end = look_again(desk), time.monotonic() + 20
    while NOTICE not in shown(desk):
        assert time.monotonic() < end, "nothing was said about the server"
        start = time.perf_counter()
        slicer.app.processEvents()
        longest = max(longest, time.perf_counter() - start)
        time.sleep(0.002)
    return longest


def wait_until_well(desk: Desk) -> None:
    """Wait until the panel says no more that the server does not answer."""

    def well() -> bool:
        if not desk.panel.sync.running:
            look_again(desk)
        return NOTICE not in shown(desk)

    desk.wait(well)


def test_a_server_that_hangs_stops_neither_clock_nor_editing_and_is_used_again_when_it_answers(
    desk: Desk, machine: Machine, answers: Any
) -> None:
    machine.hang()
    longest = wait_for_trouble(desk)
    print(f"\nlongest turn of the event loop while the server hangs: {longest * 1000:.0f} ms", end="")
    desk.stroke()
    mask = desk.mask()
    start = time.perf_counter()
    desk.ui.acceptButton.click()
    print(f"\nAccept gave up after {time.perf_counter() - start:.1f} s (bound {worklist_deadline.MAIN_SECONDS:.0f} s)")
    assert any("cannot be used" in text for _, text in answers.shown)
    assert np.array_equal(desk.mask(), mask)
    assert desk.ui.acceptButton.enabled
    machine.go_on()
    wait_until_well(desk)
    desk.click(desk.ui.acceptButton)
    assert Worklist(desk.panel.context.folder, url=machine.url).task("first", "liver").state == "accepted"
    assert len(history(CaseFolder(desk.panel.context.folder / "first"), "liver")) == 1


def test_a_server_that_is_killed_and_started_again_costs_no_edit_and_no_task(desk: Desk, machine: Machine, answers: Any) -> None:
    desk.stroke()
    mask = desk.mask()
    machine.die()
    wait_for_trouble(desk)
    desk.ui.takeNextButton.click()
    assert answers.shown, "the reader was not told why no task was taken"
    assert desk.name == "first liver taken"
    assert np.array_equal(desk.mask(), mask)
    machine.come_back()
    wait_until_well(desk)
    assert desk.rows[0] == ("1", "first", "liver", "taken", "Ada")
    desk.ui.goOnCheckBox.setChecked(False)
    desk.click(desk.ui.acceptButton)
    assert desk.name == "first liver accepted"


def test_while_the_server_is_known_to_hang_the_reader_is_told_at_once(desk: Desk, machine: Machine, answers: Any) -> None:
    machine.hang()
    wait_for_trouble(desk)
    desk.wait(lambda: not desk.panel.sync.running)  # the look in the background gave up
    desk.ui.takeNextButton.click()
    assert any("did not answer" in text for _, text in answers.shown)
    assert desk.name == "first liver taken"
    machine.go_on()
    wait_until_well(desk)
    desk.take_next()
    assert desk.name == "first kidney_left taken"


def test_what_another_reader_does_on_the_server_is_seen(desk: Desk, machine: Machine) -> None:
    other = Worklist(desk.panel.context.folder, url=machine.url)
    other.take("first", "spleen", "Bob")
    look_through(desk)
    assert ("first", "spleen", "taken", "Bob") in [row[1:] for row in desk.rows]
    other.take("first", "liver", "Bob", take_over=True)
    look_through(desk)
    assert "in the hands of Bob by now" in desk.status


def test_a_decision_whose_answer_was_lost_is_shown_as_decided(desk: Desk, machine: Machine) -> None:
    session, reader = desk.panel.task.session, Worklist(desk.panel.context.folder, url=machine.url)
    reader.set_state(session.task, "accepted", "Ada")  # it came through, but the connection broke before it was told
    look_through(desk)
    assert desk.name == "first liver accepted"
    assert "What you decided has arrived." in desk.status
    assert not desk.ui.acceptButton.enabled


def test_a_sign_of_life_from_before_a_decision_does_not_take_it_back(desk: Desk) -> None:
    from AtlasReviewLib.panel_sync import News

    asked = desk.panel.task.task
    desk.ui.goOnCheckBox.setChecked(False)
    desk.click(desk.ui.acceptButton)
    desk.panel._onNews(News(0, asked=asked, held=asked))
    assert desk.name == "first liver accepted"
    assert "in the hands of" not in desk.status


def test_a_server_that_hangs_while_the_dataset_is_opened_is_said(machine: Machine, desk: Desk, tmp_path: Path, answers: Any) -> None:
    machine.hang()
    desk.panel.sync.stop()
    desk.ui.folderPath.setCurrentPath(str(make_dataset(tmp_path / "other")))
    desk.ui.openButton.click()
    desk.wait(lambda: not desk.panel.dataset.opening)
    assert any("cannot be used" in text for _, text in answers.shown)
    machine.go_on()
