"""Version 2: several datasets in one database; leases; tasks handed to a reader; imported lists; levels and rounds."""

from __future__ import annotations

from alembic import op
from sqlalchemy import REAL, CheckConstraint, Column, Double, Integer, Text, UniqueConstraint, text
from sqlalchemy.types import TypeEngine

revision = "2"
down_revision = "1"

_STATES = "'waiting', 'taken', 'revised', 'accepted', 'rejected', 'flagged', 'skipped'"
_WORDS = Text().with_variant(Text(collation="C"), "postgresql")
_NUMBER: TypeEngine[float] = REAL().with_variant(Double(), "postgresql")
_TIME = """to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""
_KEPT = (
    "id, case_name, organ, present, rank, priority, attention_mm3, expected_error_mm3, minutes, predicted_dice, reason, state, reader, "
    "session, previous_state, previous_reader, active_seconds, comment, revision, sha256, changed"
)


def _words(name: str, default: str = "") -> Column[str]:
    return Column(name, _WORDS, nullable=False, server_default=text(f"'{default}'"))


def _one(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("1"))


def upgrade() -> None:
    """Add the columns."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.drop_index("task_order", "task")
    op.drop_index("event_task", "event")
    if sqlite:
        _rebuild_task()
    else:
        for name in ("dataset", "ranked_by", "assignee", "lease_until"):
            op.add_column("task", _words(name))
        for name in ("level", "round"):
            op.add_column("task", _one(name))
        op.drop_constraint("task_case_name_organ_key", "task")
        op.create_unique_constraint("task_is_there_once", "task", ["dataset", "case_name", "organ"])
    op.add_column("event", _words("dataset"))
    op.add_column("event", _words("account"))
    if not sqlite:
        op.alter_column("event", "time", server_default=text(_TIME))
        op.alter_column("event", "account", server_default=text("session_user"))
    _index()


def _rebuild_task() -> None:
    """SQLite cannot exchange the constraint of a table that is there."""
    op.rename_table("task", "task_1")
    op.create_table(
        "task",
        Column("id", Integer, primary_key=True),
        _words("dataset"),
        Column("case_name", _WORDS, nullable=False),
        Column("organ", _WORDS, nullable=False),
        _one("present"),
        Column("rank", Integer),
        *(Column(name, _NUMBER) for name in ("priority", "attention_mm3", "expected_error_mm3", "minutes", "predicted_dice")),
        _words("reason"),
        _words("ranked_by"),
        _one("level"),
        _one("round"),
        _words("state", "waiting"),
        *(_words(name) for name in ("reader", "assignee", "session", "lease_until")),
        _words("previous_state", "waiting"),
        _words("previous_reader"),
        Column("active_seconds", _NUMBER, nullable=False, server_default=text("0")),
        *(_words(name) for name in ("comment", "revision", "sha256")),
        Column("changed", _WORDS, nullable=False),
        UniqueConstraint("dataset", "case_name", "organ", name="task_is_there_once"),
        CheckConstraint(f"state IN ({_STATES})", name="task_state"),
        CheckConstraint(f"previous_state IN ({_STATES})", name="task_previous_state"),
    )
    op.execute(f"INSERT INTO task ({_KEPT}) SELECT {_KEPT} FROM task_1")
    op.drop_table("task_1")


def _index() -> None:
    op.create_index("task_order", "task", ["dataset", "state", "present", "rank", "case_name", "organ"])
    op.create_index("task_of_organ", "task", ["dataset", "organ", "state", "present", "rank"])
    op.create_index("task_of_reader", "task", ["dataset", "reader", "present", "state"])
    for name, column, *more in (("task_of_assignee", "assignee", "present", "state"), ("task_lease", "lease_until")):
        some = text(f"{column} <> ''")
        op.create_index(name, "task", ["dataset", column, *more], sqlite_where=some, postgresql_where=some)
    op.create_index("event_task", "event", ["dataset", "case_name", "organ"])
    op.create_index("event_newest", "event", ["dataset", "id"])
