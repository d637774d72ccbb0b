"""A worklist in `worklist.sqlite`, in the dataset folder.

A connection lives for one transaction: nothing stays open that another reader, a copy or an eject would trip over.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool, StaticPool

from AtlasReviewLib.network_folders import is_local
from AtlasReviewLib.worklist_migrate import VERSION, migrate
from AtlasReviewLib.worklist_place import WorklistPlace
from AtlasReviewLib.worklist_store import busy, damaged, newer
from AtlasReviewLib.worklist_transaction import Transaction
from AtlasSegmentLib.errors import StorageError

APPLICATION_ID = 0x41544C53  # "ATLS", in the header of the file
WAIT_SECONDS = 30.0
"""For others who write. Ten programs that do nothing else on a busy disk let one wait for more than ten seconds now and then."""


class SqliteStore:
    """The file with the tasks and events of one dataset.

    Args:
        place: Its folder.
        read_only: Work on a copy in memory: nothing is written to the disk.
        clock: The time now as it is stored.

    Raises:
        WorklistDamagedError: The file is no worklist.
        DatasetError: A newer program wrote it.
        StorageError: It cannot be opened or made.
    """

    def __init__(self, place: WorklistPlace, read_only: bool, clock: Callable[[], str]) -> None:
        self.place, self.read_only, self.path, self._clock = place, read_only, place.file, clock
        with store_errors(self.path):
            _refuse_a_damaged_start(self.path)
            if read_only:
                memory = _copy_of(self.path)
                self._engine = _engine(lambda: memory, keep=True)
            else:
                _require_writable(self.path)
                self._engine = _engine(lambda: _connect(self.path, must_exist=False))
            with self._engine.connect() as connection:
                _migrate(connection, self.path)
            if not read_only:
                self._engine = _engine(lambda: _connect(self.path, must_exist=True))
                with closing(_connect(self.path, must_exist=True)) as raw:
                    _choose_journal(raw, self.path)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Yield a transaction that sees one state of the list during the block."""
        with self._transaction("BEGIN") as transaction:
            yield transaction

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Yield a transaction that nobody else writes beside; commit at the end of the block, undo all when it fails."""
        with self._transaction("BEGIN IMMEDIATE") as transaction:
            yield transaction
            transaction.flush()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Transaction]:
        with store_errors(self.path), self._engine.connect() as plain:
            connection = plain.execution_options(begin=begin)
            with connection.begin():
                yield Transaction(connection, self.place.dataset, self._clock)

    def close(self) -> None:
        """Give up the copy in memory."""
        self._engine.dispose()


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises in the block into our errors, which name the file and the next step."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise _told(path, error.orig or error) from error
    except sqlite3.DatabaseError as error:
        raise _told(path, error) from error


def _told(path: Path, error: BaseException) -> Exception:
    text = str(error)
    if not isinstance(error, sqlite3.OperationalError) or any(part in text for part in ("malformed", "no such table", "no such column")):
        return damaged(path, text)
    if "locked" in text or "busy" in text:
        return busy(path, WAIT_SECONDS)
    message = f"{path}: the worklist cannot be used ({text})."
    return StorageError(message, "Free space and check the permissions of the dataset folder, then try again.")


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open an existing file without ever changing it, also in a folder that cannot be written."""
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        connection = sqlite3.connect(_uri(path, mode), uri=True, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            connection.close()
            if "immutable" in mode or not path.is_file():
                raise
            if "open" not in str(error) and "readonly" not in str(error):
                raise
        else:
            return connection
    raise AssertionError  # pragma: no cover - the loop returns or raises


def _engine(connect: Callable[[], sqlite3.Connection], keep: bool = False) -> Engine:
    # Names of patients can be parts of case names: errors show no parameters.
    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool if keep else NullPool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        if connection.get_execution_options().get("begin") == "BEGIN":
            raw.execute("BEGIN")
        else:
            _begin_writing(raw)

    return engine


def _begin_writing(connection: sqlite3.Connection) -> None:
    """Wait for the writers before, asking often: SQLite itself asks ten times a second, too seldom to get in among ten readers."""
    end, pause = time.monotonic() + WAIT_SECONDS, 0.002
    connection.execute("PRAGMA busy_timeout=0")
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(random.uniform(0.5, 1.5) * pause)
            pause = min(pause * 1.3, 0.025)
        else:
            break
    connection.execute(f"PRAGMA busy_timeout={round(WAIT_SECONDS * 1000)}")


def _connect(path: Path, must_exist: bool) -> sqlite3.Connection:
    mode = "mode=rw" if must_exist else "mode=rwc"
    connection = sqlite3.connect(_uri(path, mode), uri=True, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _uri(path: Path, mode: str) -> str:
    text = path.absolute().as_posix()
    return f"file://{'' if text.startswith('/') else '/'}{urllib.parse.quote(text)}?{mode}"


def _copy_of(path: Path) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    if path.is_file():
        with closing(connect_to_read(path)) as connection:
            connection.backup(memory)
        memory.execute("PRAGMA journal_mode=MEMORY")
    return memory


def _refuse_a_damaged_start(path: Path) -> None:
    """Refuse a file that SQLite would take for an empty database and write over."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        start = file.read(16)
        if start and start != b"SQLite format 3\0":
            raise damaged(path, "it does not begin as an SQLite file")


def _require_writable(path: Path) -> None:
    """Refuse a folder where SQLite could open the file, and fail with the first change."""
    if path.parent.is_dir() and not (os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))):
        message = f"{path}: the worklist cannot be used (readonly folder or file)."
        raise StorageError(message, "Ask for write permission, or copy the dataset to a folder of your own.")


def _number(connection: Connection, sql: str) -> int:
    return int(connection.exec_driver_sql(sql).scalar_one())


def _migrate(connection: Connection, path: Path) -> None:
    with connection.execution_options(begin="BEGIN").begin():
        version = _number(connection, "PRAGMA user_version")
        if version > VERSION:
            raise newer(path, version, VERSION)
        if version == VERSION:
            _require_ours(connection, path)
            return
    with connection.execution_options(begin="BEGIN IMMEDIATE").begin():  # a second program that opens the file waits here
        version = _number(connection, "PRAGMA user_version")
        if version == 0 and _number(connection, "SELECT count(*) FROM sqlite_master"):
            raise damaged(path, "it holds other tables")
        if version:
            _require_ours(connection, path)
        if version < VERSION:
            migrate(connection, version)
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version={VERSION}")


def _require_ours(connection: Connection, path: Path) -> None:
    if _number(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise damaged(path, "another program made it")


def _choose_journal(connection: sqlite3.Connection, path: Path) -> None:
    """Use WAL where it works, which is on disks of this machine alone; readers over a network need the rollback journal."""
    wanted = "wal" if is_local(path.parent) else "delete"
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == wanted:
        return
    try:
        connection.execute(f"PRAGMA journal_mode={wanted}")
    except sqlite3.OperationalError as error:
        if wanted == "wal":  # somebody reads right now; the other journal does as well
            return
        message = f"{path}: the worklist is open on the machine that holds the folder, which a reader over the network cannot share."
        raise StorageError(message, "Close it there, then open it here: from then on both can use it.") from error
