"""A function in a fork of this process, which nothing of it outlives."""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Callable

_SECONDS = 120.0


def forked(function: Callable[[], object]) -> int:
    """Start a function in a fork; return the process id. It exits 0 when the function returns, 1 when it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn where threads run, which the fork does not need
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        function()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for a fork and return its exit code; one that hangs is killed."""
    end = time.monotonic() + _SECONDS
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, 9)
        time.sleep(0.002)
