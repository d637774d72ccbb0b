"""The database behind a worklist: what it offers, and the errors that it raises. SQLAlchemy is imported when one is opened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from AtlasReviewLib.worklist_place import NAME, WorklistPlace
from AtlasSegmentLib.errors import AtlasError, DatasetError, StorageError

if TYPE_CHECKING:
    from AtlasReviewLib.worklist_transaction import Transaction

__all__ = ["NAME", "WorklistDamagedError", "WorklistStore", "damaged", "needed_packages", "newer", "open_store"]
_PACKAGES, _DRIVER = ("sqlalchemy>=2.0.28", "alembic>=1.13"), "psycopg[binary]>=3.2"


class WorklistDamagedError(DatasetError):
    """worklist.sqlite is there but cannot be read as one."""


class WorklistStore(Protocol):
    """Tasks and events of one dataset.

    Attributes:
        place: Where they are.
        read_only: Nothing is written to the disk or the server.
    """

    place: WorklistPlace
    read_only: bool

    def reading(self) -> AbstractContextManager[Transaction]:
        """Return a transaction that sees one state of the list during the block."""

    def writing(self) -> AbstractContextManager[Transaction]:
        """Return a transaction that is committed at the end of the block, and undone when that fails."""

    def close(self) -> None:
        """Give up what is held in memory, and connections."""


def needed_packages(place: WorklistPlace) -> list[str]:
    """Return what a worklist needs beside the program, as pip takes it."""
    return [*_PACKAGES, *([_DRIVER] if place.url else [])]


def open_store(place: WorklistPlace, read_only: bool, clock: Callable[[], str]) -> WorklistStore:
    """Open the database of a worklist; a file is made when there is none.

    Args:
        place: Where it is.
        read_only: Look only.
        clock: The time now as it is stored; a server has a clock of its own.

    Raises:
        AtlasError: A package is missing.
        WorklistDamagedError, DatasetError: The file is no worklist, a newer program made it, or the database has none.
        StorageError: It cannot be opened, made or reached.
    """
    try:
        import sqlalchemy  # noqa: F401
    except ImportError as error:
        message = "The worklist needs SQLAlchemy, which is not installed."
        raise AtlasError(message, f"Run: pip install {' '.join(repr(name) for name in needed_packages(place))}.") from error
    if place.url:
        from AtlasReviewLib.worklist_postgres import PostgresStore

        return PostgresStore(place, read_only)
    from AtlasReviewLib.worklist_sqlite import SqliteStore

    return SqliteStore(place, read_only, clock)


def damaged(shown: object, reason: str) -> WorklistDamagedError:
    """Return the error that says a worklist cannot be read."""
    message = f"{shown}: the worklist is damaged or is not one ({reason})."
    return WorklistDamagedError(message, "Restore it from a backup, or build a new one beside it; the masks themselves are safe.")


def newer(shown: object, version: int, known: int) -> DatasetError:
    """Return the error that says a newer program made a worklist."""
    message = f"{shown}: the worklist has version {version}; this program knows versions up to {known}."
    return DatasetError(message, "Update Atlas Annotator.")


def busy(shown: object, seconds: float) -> StorageError:
    """Return the error that says somebody else writes for too long."""
    message = f"{shown}: another program has been writing to the worklist for {seconds:.0f} s."
    return StorageError(message, "Wait a moment and try again; close programs that have it open.")
