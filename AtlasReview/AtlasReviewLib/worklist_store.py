"""worklist.sqlite in a dataset folder: one row for each task, and an event for everything that ever happened to one.

Nothing but plain SQL types and statements that other databases have too, so that the same tables can move to a server.
A connection lives for one transaction: nothing stays open that another reader, a copy or an eject would trip over.
"""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from AtlasReviewLib.network_folders import is_local
from AtlasReviewLib.task_states import STATES
from AtlasSegmentLib.errors import DatasetError, StorageError

NAME = "worklist.sqlite"
APPLICATION_ID = 0x41544C53  # "ATLS", in the header of the file
WAIT_SECONDS = 10.0
_STATE_LIST = ", ".join(f"'{state}'" for state in STATES)
_MIGRATIONS = (
    f"""
    CREATE TABLE task (
        id INTEGER PRIMARY KEY,
        case_name TEXT NOT NULL,
        organ TEXT NOT NULL,
        present INTEGER NOT NULL DEFAULT 1,
        rank INTEGER,
        priority REAL,
        attention_mm3 REAL,
        expected_error_mm3 REAL,
        minutes REAL,
        predicted_dice REAL,
        reason TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ({_STATE_LIST})),
        reader TEXT NOT NULL DEFAULT '',
        session TEXT NOT NULL DEFAULT '',
        previous_state TEXT NOT NULL DEFAULT 'waiting' CHECK (previous_state IN ({_STATE_LIST})),
        previous_reader TEXT NOT NULL DEFAULT '',
        active_seconds REAL NOT NULL DEFAULT 0,
        comment TEXT NOT NULL DEFAULT '',
        revision TEXT NOT NULL DEFAULT '',
        sha256 TEXT NOT NULL DEFAULT '',
        changed TEXT NOT NULL,
        UNIQUE (case_name, organ)
    );
    CREATE INDEX task_order ON task (state, present, rank);
    CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time TEXT NOT NULL,
        reader TEXT NOT NULL,
        session TEXT NOT NULL,
        case_name TEXT NOT NULL,
        organ TEXT NOT NULL,
        kind TEXT NOT NULL,
        state_before TEXT NOT NULL DEFAULT '',
        state_after TEXT NOT NULL DEFAULT '',
        seconds REAL NOT NULL DEFAULT 0,
        revision TEXT NOT NULL DEFAULT '',
        sha256 TEXT NOT NULL DEFAULT '',
        comment TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX event_task ON event (case_name, organ);
    CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
        BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
    CREATE TRIGGER event_is_never_removed BEFORE DELETE ON event
        BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
    CREATE TRIGGER event_is_never_replaced BEFORE INSERT ON event
        WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'events are never replaced'); END;
    """,
)
VERSION = len(_MIGRATIONS)
"""Schema version, in PRAGMA user_version; version n is reached from n - 1 by `_MIGRATIONS[n - 1]`."""


class WorklistDamagedError(DatasetError):
    """worklist.sqlite is there but cannot be read as one."""


class WorklistStore:
    """The file with the tasks and events of one dataset.

    Args:
        path: The SQLite file.
        read_only: Work on a copy in memory: nothing is written to the disk.

    Raises:
        WorklistDamagedError: The file is no worklist, or a newer program wrote it.
        StorageError: It cannot be opened or made.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path, self.read_only = path, read_only
        self._memory: sqlite3.Connection | None = None
        with store_errors(path):
            if read_only:
                self._memory = _copy_of(path)
                _migrate(self._memory, path)
            else:
                _refuse_a_damaged_start(path)
                _require_writable(path)
                with closing(_connect(path)) as connection:
                    _migrate(connection, path)
                    _choose_journal(connection, path)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that sees one state of the list during the block."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that nobody else writes beside; commit at the end of the block, undo all when it fails."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with store_errors(self.path):
            connection = self._memory or _connect(self.path, must_exist=True)
            try:
                connection.execute(begin)
                try:
                    yield connection
                except BaseException:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            finally:
                if connection is not self._memory:
                    connection.close()

    def close(self) -> None:
        """Give up the copy in memory."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises in the block into our errors, which name the file and the next step."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if any(part in text for part in ("malformed", "no such table", "no such column")):
            raise damaged(path, text) from error
        if "locked" in text or "busy" in text:
            message = f"{path}: another program has been writing to the worklist for {WAIT_SECONDS:.0f} s."
            raise StorageError(message, "Wait a moment and try again; close programs that have the file open.") from error
        message = f"{path}: the worklist cannot be used ({text})."
        raise StorageError(message, "Free space and check the permissions of the dataset folder, then try again.") from error
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, reason: str) -> WorklistDamagedError:
    """Return the error that says a worklist cannot be read."""
    message = f"{path}: the worklist is damaged or is not one ({reason})."
    return WorklistDamagedError(message, "Restore it from a backup, or build a new one beside it; the masks themselves are safe.")


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


def _connect(path: Path, must_exist: bool = False) -> sqlite3.Connection:
    mode = "mode=rw" if must_exist else "mode=rwc"
    connection = sqlite3.connect(_uri(path, mode), uri=True, timeout=WAIT_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _uri(path: Path, mode: str) -> str:
    text = path.absolute().as_posix()
    return f"file://{'' if text.startswith('/') else '/'}{urllib.parse.quote(text)}?{mode}"


def _copy_of(path: Path) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    memory.row_factory = sqlite3.Row
    if path.is_file():
        _refuse_a_damaged_start(path)
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


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version == VERSION:
        _require_ours(connection, path)
        return
    if version > VERSION:
        message = f"{path}: the worklist has version {version}; this program knows versions up to {VERSION}."
        raise DatasetError(message, "Update Atlas Annotator.")
    connection.execute("BEGIN IMMEDIATE")  # a second program that opens the file waits here
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise damaged(path, "it holds other tables")
        for script in _MIGRATIONS[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    if int(connection.execute("PRAGMA application_id").fetchone()[0]) != APPLICATION_ID:
        raise damaged(path, "another program made it")


def _statements(script: str) -> Iterator[str]:
    """Split a script where SQLite says a statement is complete: `executescript` would commit the transaction around it."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


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
