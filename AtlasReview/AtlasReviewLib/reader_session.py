"""Which program of a reader holds a task: this one, another one on this machine, or one elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from contextlib import suppress
from functools import cache

_FORM = re.compile(r"^(?P<host>.{1,64})/(?P<space>[0-9a-f]{8})/(?P<pid>\d{1,10})$")


@cache
def _space() -> str:
    """Return a hash of where process ids are counted: containers may share a host name while each has its own numbers."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path; absent beside Linux
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def this_session() -> str:
    """Return the name of this process among all machines: `<host>/<hash>/<process id>`."""
    return f"{socket.gethostname()[:64] or 'host'}/{_space()}/{os.getpid()}"


def host_of(session: str) -> str:
    """Return the machine of a session, or "" when the text is none."""
    match = _FORM.match(session)
    return match["host"] if match else ""


def may_be_alive(session: str) -> bool:
    """Tell whether a session may still be running; False only when it surely ended (or the text is no session).

    Sessions of other machines cannot be asked, so they may be alive.
    """
    match = _FORM.match(session)
    if match is None:
        return False
    if match["space"] != _space() or os.name == "nt":  # os.kill(pid, 0) would end the process on Windows
        return True
    try:
        os.kill(int(match["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
