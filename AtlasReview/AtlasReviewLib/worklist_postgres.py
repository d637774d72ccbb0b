"""A worklist in a PostgreSQL database that several people share over a network; datasets are kept apart by their names."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from AtlasReviewLib.server_remedies import remedy_of
from AtlasReviewLib.worklist_migrate import VERSION, VERSION_TABLE, migrate
from AtlasReviewLib.worklist_place import WorklistPlace, without_password
from AtlasReviewLib.worklist_store import busy, newer
from AtlasReviewLib.worklist_tls import warn_once
from AtlasReviewLib.worklist_transaction import Transaction
from AtlasSegmentLib.errors import AtlasError, DatasetError, StorageError

CONNECT_SECONDS, WAIT_SECONDS, IDLE_SECONDS = 5, 10, 60
"""For a server that does not answer; for a row that another program writes; after which a program that hangs lets go of its rows."""
_TWICE = "23505"
# A reader gives neither the number of a task nor number, time and account of an event.
_EVENT_COLUMNS = "dataset, reader, session, case_name, organ, reading, kind, state_before, state_after, seconds, revision, sha256, comment"
_TASK_COLUMNS = (
    "present, rank, priority, attention_mm3, expected_error_mm3, minutes, predicted_dice, reason, ranked_by, bonus, finding, level, round, "
    "state, reader, assignee, session, lease_until, stage, author, readers, others, measured, previous_state, previous_reader, "
    "active_seconds, comment, revision, sha256, changed"
)


class PostgresStore:
    """The tasks and events of one dataset in a database.

    Args:
        place: Address of the database and name of the dataset.
        read_only: Refuse every change.

    Raises:
        AtlasError: The driver is not installed.
        DatasetError: There is no worklist in the database, or one of another version.
        StorageError: The server cannot be reached, or refuses.
    """

    def __init__(self, place: WorklistPlace, read_only: bool) -> None:
        self.place, self.read_only = place, read_only
        warn_once(place.url)
        self._engine = _engine(place.url)
        weakref.finalize(self, self._engine.dispose)  # nobody has to think of closing it
        with server_errors(place.shown):
            with self._engine.connect() as connection, connection.begin():
                version = _version(connection, place.shown)
            if version > VERSION:
                raise newer(place.shown, version, VERSION)
            if version < VERSION:
                had = f"has version {version}, and this program needs version {VERSION}" if version else "is none"
                message = f"{place.shown}: there {had}." if version == 0 else f"{place.shown}: the worklist {had}."
                raise DatasetError(message, "Whoever owns the database runs: atlas worklist init URL.")

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Yield a transaction that sees one state of the list during the block."""
        with self._transaction("REPEATABLE READ") as transaction:
            yield transaction

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Yield a transaction in which rows that are read stay as they are; commit at the end of the block, undo all when it fails."""
        if self.read_only:
            message = f"{self.place.shown}: the worklist was opened for looking only."
            raise StorageError(message, "Open it for writing.")
        with self._transaction("READ COMMITTED") as transaction:
            yield transaction
            transaction.flush()

    @contextmanager
    def _transaction(self, isolation: Any) -> Iterator[Transaction]:
        with server_errors(self.place.shown), self._engine.connect() as plain:
            connection = plain.execution_options(isolation_level=isolation, postgresql_readonly=isolation == "REPEATABLE READ")
            with connection.begin():
                yield Transaction(connection, self.place.dataset, None)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def initialize(url: str) -> int:
    """Make the tables of a worklist in a database, or bring them to the version of this program; return the version before.

    Raises:
        DatasetError: The database holds other tables of these names, or those of a newer program.
        StorageError: The server cannot be reached, or refuses.
    """
    warn_once(url)
    shown, engine = without_password(url), _engine(url)
    try:
        with server_errors(shown), engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(1096043603)"))  # two that do it at once
            version = _version(connection, shown)
            if version > VERSION:
                raise newer(shown, version, VERSION)
            if version == 0 and {"task", "event"} & {*inspect(connection).get_table_names()}:
                message = f"{shown}: the database holds other tables named task or event."
                raise DatasetError(message, "Make a database of its own for the worklist.")
            if version < VERSION:
                migrate(connection, version)
            return version
    finally:
        engine.dispose()


def grants(url: str, role: str) -> list[str]:
    """Return the statements that let a role review: it reads all, changes tasks, appends events, and can do nothing else.

    Args:
        url: Address of the database.
        role: Name of the role, quoted here.
    """
    engine = _engine(url)
    quote = engine.dialect.identifier_preparer.quote_identifier
    try:
        with server_errors(without_password(url)), engine.connect() as connection, connection.begin():
            database, schema = (quote(str(name)) for name in connection.execute(text("SELECT current_database(), current_schema()")).one())
    finally:
        engine.dispose()
    name = quote(role)
    return [
        f"GRANT CONNECT ON DATABASE {database} TO {name};",
        f"GRANT USAGE ON SCHEMA {schema} TO {name};",
        f"GRANT SELECT ON {schema}.task, {schema}.event, {schema}.{VERSION_TABLE} TO {name};",
        f"GRANT INSERT (dataset, case_name, organ, reading, {_TASK_COLUMNS}) ON {schema}.task TO {name};",
        f"GRANT UPDATE ({_TASK_COLUMNS}) ON {schema}.task TO {name};",
        f"GRANT INSERT ({_EVENT_COLUMNS}) ON {schema}.event TO {name};",
    ]


@contextmanager
def server_errors(shown: str) -> Iterator[None]:
    """Turn what the server or its driver says in the block into our errors, without addresses that hold a password."""
    try:
        yield
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", "") != _TWICE:
            raise
        raise _told(shown, error.orig or error) from None
    except DBAPIError as error:
        raise _told(shown, error.orig or error) from None  # the chain would show the address


def _told(shown: str, error: BaseException) -> AtlasError:
    code = str(getattr(error, "sqlstate", "") or "")
    text = " ".join(str(error).split())
    if code == "55P03":
        return busy(shown, WAIT_SECONDS)
    if code in ("42501", "25006"):
        message = f"{shown}: the server does not allow that ({text})."
        return StorageError(message, "Whoever owns the database gives your role the rights that `atlas worklist init` prints.")
    if code in ("42P01", "42703"):
        message = f"{shown}: the tables are not those of this program ({text})."
        return DatasetError(message, "Whoever owns the database runs: atlas worklist init URL.")
    if code == _TWICE:
        message = f"{shown}: a number that the server gives was taken by hand ({text})."
        return StorageError(message, "Try again: the next number is free. Tell whoever owns the database.")
    if code in ("40001", "40P01"):
        message = f"{shown}: two changes met."
        return StorageError(message, "Try again.")
    message = f"{shown}: the worklist server cannot be used ({_cause(text)})."
    return StorageError(message, remedy_of(text))


def _cause(text: str) -> str:
    return text[:300]


def _version(connection: Any, shown: str) -> int:
    """Return the version of the tables, 0 without any."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return 0
    found = str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() or "0")
    if not found.isdecimal():
        message = f"{shown}: the table {VERSION_TABLE} is of another program."
        raise DatasetError(message, "Make a database of its own for the worklist.")
    return int(found)


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(
            url,
            connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "atlas"},
            pool_size=1,
            max_overflow=4,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ImportError as error:
        message = "A worklist on a server needs psycopg, which is not installed."
        raise AtlasError(message, "Run: pip install 'psycopg[binary]>=3.2'.") from error

    @event.listens_for(engine, "connect")
    def limit(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{WAIT_SECONDS}s'")
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
        connection.commit()

    return engine
