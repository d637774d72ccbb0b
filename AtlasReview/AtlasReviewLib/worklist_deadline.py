"""How long a worklist server may keep a program waiting: a panel has to answer its reader also when the server does not.

A server that hangs keeps its connections open and says nothing; no setting of the server helps then, so the program itself stops to
wait. The connection is closed before anything is committed, so that what was asked is undone when the server goes on (unless
the commit itself was on its way: reading the list again shows it).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import suppress
from functools import cache
from typing import Any

MAIN_SECONDS, BACKGROUND_SECONDS = 3.0, 15.0
"""For a server that says nothing: on the thread on which the reader waits, and on others."""
RETRY_SECONDS = 12.0
"""As long after a failure, only other threads try to connect: the reader is told at once."""
_lock = threading.Lock()
_users = 0
_silent: dict[tuple[Any, ...], float] = {}  # (host, port, database) to the time of the last failure


def _seconds() -> float:
    return MAIN_SECONDS if threading.current_thread() is threading.main_thread() else BACKGROUND_SECONDS


def bound_servers() -> None:
    """Let no connection that this program makes from now on wait without end; once more for each `release_servers`."""
    global _users  # noqa: PLW0603 - the listener is one for all engines
    from sqlalchemy import Engine, event

    with _lock:
        _users += 1
        if _users == 1:
            event.listen(Engine, "do_connect", _connect)


def release_servers() -> None:
    """End what `bound_servers` began."""
    global _users  # noqa: PLW0603
    from sqlalchemy import Engine, event

    with _lock:
        _users = max(0, _users - 1)
        if _users == 0 and event.contains(Engine, "do_connect", _connect):
            event.remove(Engine, "do_connect", _connect)
            _silent.clear()


def _connect(dialect: Any, _record: Any, arguments: list[Any], parameters: dict[str, Any]) -> Any:
    """Make a connection for SQLAlchemy; None leaves it to SQLAlchemy, as for other databases."""
    if dialect.driver != "psycopg":
        return None
    import psycopg

    server = tuple(parameters.get(name) for name in ("host", "port", "dbname"))
    seconds = _seconds()
    since = time.monotonic() - _silent.get(server, -RETRY_SECONDS)
    if seconds == MAIN_SECONDS and since < RETRY_SECONDS:
        message = f"it did not answer {since:.0f} s ago"
        raise psycopg.OperationalError(message)
    parameters = {**parameters, "connect_timeout": round(min(seconds, float(parameters.get("connect_timeout", seconds))))}
    try:
        connection = _bounded_class().connect(*arguments, **parameters)
    except psycopg.OperationalError:
        _silent[server] = time.monotonic()
        raise
    _silent.pop(server, None)
    connection.server = server
    return connection


@cache
def _bounded_class() -> Any:
    import psycopg

    class BoundedConnection(psycopg.Connection[Any]):
        """A connection that gives up when the server says nothing for a while."""

        server: tuple[Any, ...] = ()

        def wait(self, gen: Any, *arguments: Any, **keywords: Any) -> Any:
            return super().wait(_bounded(gen, self), *arguments, **keywords)

    return BoundedConnection


def _bounded(steps: Generator[Any, Any, Any], connection: Any) -> Generator[Any, Any, Any]:
    """Yield what psycopg waits for; each time nothing came, look at the clock."""
    import psycopg

    seconds = _seconds()
    end = time.monotonic() + seconds
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if ready:
                end = time.monotonic() + seconds
            elif time.monotonic() > end:
                _silent[connection.server] = time.monotonic()
                with suppress(psycopg.Error):
                    connection.pgconn.finish()
                message = f"it did not answer within {seconds:.0f} s"
                raise psycopg.OperationalError(message)
            wanted = steps.send(ready)
    except StopIteration as done:
        return done.value
