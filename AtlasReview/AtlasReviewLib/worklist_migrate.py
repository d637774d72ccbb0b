"""Brings the tables of a worklist to the version that this program knows, by alembic, from code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION = 3
"""The version that this program reads and writes: the number of the newest file in `worklist_migrations`."""
VERSION_TABLE = "worklist_version"
_STEPS = Path(__file__).with_name("worklist_migrations")


def migrate(connection: Connection, version: int, to: int = VERSION) -> None:
    """Take the steps from one version to another within the open transaction.

    Args:
        connection: In a transaction, with nothing else in it.
        version: Of the tables that are there; 0 when there are none.
        to: The wanted one.
    """
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    steps = ScriptDirectory(str(_STEPS), version_locations=[str(_STEPS)])
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    if version and context.get_current_revision() is None:  # SQLite files of version 1 were made without alembic
        context.stamp(steps, str(version))
    wanted = list(steps.iterate_revisions(str(to), str(version) if version else "base"))
    with Operations.context(context):
        for step in reversed(wanted):
            step.module.upgrade()
            context.stamp(steps, step.revision)
