"""Ctrl-C is raised where it does no harm, and is never lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from AtlasSegmentLib.interrupts import HeldInterrupts, held_interrupts

pytestmark = pytest.mark.skipif(
    os.name == "nt" or signal.getsignal(signal.SIGINT) is not signal.default_int_handler, reason="needs Python's own handling of SIGINT"
)


def run(*acts: Callable[[HeldInterrupts], object]) -> list[str]:
    """Do acts one after another while Ctrl-C is held, and return the names of those that ended and of the error."""
    ended: list[str] = []
    try:
        with held_interrupts() as interrupts:
            for act in acts:
                act(interrupts)
                ended.append(act.__name__)
    except BaseException as error:
        ended.append(type(error).__name__)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return ended


def press(_: HeldInterrupts | None = None) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def check(interrupts: HeldInterrupts) -> None:
    interrupts.check()


def work(_: HeldInterrupts) -> None:
    pass


def fail(_: HeldInterrupts) -> None:
    raise ValueError


def test_ctrl_c_waits_for_the_next_check() -> None:
    assert run(check, press, work, check, work) == ["check", "press", "work", "KeyboardInterrupt"]


def test_ctrl_c_without_a_check_comes_at_the_end() -> None:
    assert run(press, work) == ["press", "work", "KeyboardInterrupt"]


def test_the_second_ctrl_c_comes_at_once() -> None:
    assert run(press, press, work) == ["press", "KeyboardInterrupt"]


def test_an_error_of_the_block_is_not_replaced_by_ctrl_c() -> None:
    assert run(press, fail) == ["press", "ValueError"]


def test_other_threads_and_programs_with_handlers_of_their_own_are_left_alone() -> None:
    seen: list[object] = []

    def elsewhere() -> None:
        with held_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("theirs"))
    try:
        with held_interrupts():
            press()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.default_int_handler, "theirs"]
