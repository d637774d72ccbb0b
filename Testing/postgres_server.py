"""A real PostgreSQL for tests: Debian's binaries, a data folder of its own, on loopback, gone afterwards."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

OWNER, GUARDED = "owner", "guarded"
"""The superuser, who may connect without a password, and a role that has to give one."""
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
_SETTINGS = {"listen_addresses": "127.0.0.1", "shared_buffers": "64MB", "max_connections": "60", "jit": "off"}
_START_SECONDS = 30.0


def binaries() -> Path | None:
    """Return the folder of initdb and postgres, the newest version there is, or None."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    on_path = shutil.which("postgres")
    return max(found, key=lambda path: float(path.parent.name), default=Path(on_path).parent if on_path else None)


@dataclass
class Server:
    """A running server.

    Attributes:
        process: Its first process.
        folder: Data and sockets.
        port: On 127.0.0.1.
        authority: Certificate that its own one, for the name localhost, is signed with; None without TLS.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    authority: Path | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _made: str = ""

    @property
    def psql(self) -> str:
        """The client that belongs to the server."""
        place = binaries()
        assert place is not None
        return str(place / "psql")

    def url(self, database: str = "postgres", user: str = OWNER) -> str:
        """Return the address of a database."""
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres", user: str = OWNER) -> list[Any]:
        """Run statements, each by itself, and return the rows of the last one."""
        import psycopg

        rows: list[Any] = []
        with psycopg.connect(host="127.0.0.1", port=self.port, dbname=database, user=user, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[call-overload,unused-ignore]
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def new_database(self) -> str:
        """Make a database and return its address."""
        name = f"atlas{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def empty_worklist(self) -> str:
        """Return the address of a database with an empty worklist; it is the same one every time, as that takes a tenth of the time."""
        if not self._made:
            from AtlasReviewLib.worklist_postgres import initialize

            self._made = self.new_database()
            initialize(self._made)
        name = self._made.rpartition("/")[2]
        forced = "SET session_replication_role = replica"  # only a superuser can empty the history
        self.run(forced, "TRUNCATE task, event RESTART IDENTITY", database=name)
        return self._made

    def admit(self, *lines: str) -> None:
        """Add lines to pg_hba.conf, and let the server read it again."""
        with (self.folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        self.run("SELECT pg_reload_conf()")
        time.sleep(0.2)  # it answers before it has read the file

    def stop(self) -> None:
        """End the server and remove its data."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(_START_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)


def make_certificates(folder: Path) -> None:
    """Write an authority (ca.crt), a certificate that it signs for the name localhost (server.crt, server.key), and another authority."""
    short = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]

    def make(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        make("req", "-x509", *short, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN=Hospital {name}")
    make("req", *short, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copy"]
    make("x509", "-req", "-in", "server.csr", "-out", "server.crt", *signing)


def start(durable: bool = False, tls: bool = False) -> Server:
    """Start a server of its own.

    Args:
        durable: Flush to the disk as a server does that people rely on; otherwise fast.
        tls: Only the superuser is admitted; `admit` adds lines to pg_hba.conf. It has a certificate for the name localhost.
    """
    place = binaries()
    assert place is not None
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.name == "posix" and os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="atlas-postgres-"))
    if account:  # initdb refuses root
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    command = [place / "initdb", "-D", data, "-U", OWNER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, **account)  # type: ignore[call-overload,unused-ignore]
    everybody = f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
    (data / "pg_hba.conf").write_text(f"host all {OWNER} 127.0.0.1/32 trust\n" if tls else everybody)
    secured: dict[str, str] = {}
    if tls:
        make_certificates(folder)
        for name in ("server.key", "server.crt"):
            shutil.move(folder / name, data / name)
            (data / name).chmod(0o600)
            if account:
                shutil.chown(data / name, "postgres", "postgres")
        secured = {"ssl": "on"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**_SETTINGS, **({} if durable else _FAST), **secured}
    command = [place / "postgres", "-D", data, "-p", str(port), "-k", folder, *(f"--{name}={value}" for name, value in settings.items())]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **account)  # type: ignore[call-overload,unused-ignore]
    server = Server(process, folder, port, folder / "ca.crt" if tls else None)
    _wait(server)
    return server


def _wait(server: Server) -> None:
    import psycopg

    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            if server.process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


@functools.cache
def _shared() -> Server:
    server = start()
    atexit.register(server.stop)
    return server


def missing() -> str:
    """Return why no server can be started here, or ""."""
    if binaries() is None:
        return "needs PostgreSQL (Debian: apt-get install postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "needs psycopg (pip install 'psycopg[binary]')"
    return ""


@pytest.fixture(scope="session")
def postgres() -> Server:
    """Return the server of this test run, or skip the test."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    return _shared()
