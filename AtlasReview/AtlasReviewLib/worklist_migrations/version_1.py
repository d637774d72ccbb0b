"""Version 1: one dataset to a database, tasks without leases."""

from __future__ import annotations

from alembic import op
from sqlalchemy import REAL, BigInteger, CheckConstraint, Column, Double, Identity, Integer, Text, UniqueConstraint, text
from sqlalchemy.types import TypeEngine

revision = "1"
down_revision = None

_STATES = "'waiting', 'taken', 'revised', 'accepted', 'rejected', 'flagged', 'skipped'"
_WORDS = Text().with_variant(Text(collation="C"), "postgresql")
_NUMBER: TypeEngine[float] = REAL().with_variant(Double(), "postgresql")
_KEY = Integer().with_variant(BigInteger(), "postgresql")
_FORBIDDEN = (
    """CREATE FUNCTION event_is_never_changed() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'events are never changed or removed' USING ERRCODE = 'integrity_constraint_violation'; END $$""",
    "CREATE TRIGGER event_is_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON event EXECUTE FUNCTION event_is_never_changed()",
)
_FORBIDDEN_IN_SQLITE = (
    "CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'events are never changed'); END",
    "CREATE TRIGGER event_is_never_removed BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'events are never removed'); END",
    """CREATE TRIGGER event_is_never_replaced BEFORE INSERT ON event WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'events are never replaced'); END""",
)


def _words(name: str, default: str = "") -> Column[str]:
    return Column(name, _WORDS, nullable=False, server_default=text(f"'{default}'"))


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "task",
        Column("id", _KEY, Identity(), primary_key=True),
        Column("case_name", _WORDS, nullable=False),
        Column("organ", _WORDS, nullable=False),
        Column("present", Integer, nullable=False, server_default=text("1")),
        Column("rank", Integer),
        *(Column(name, _NUMBER) for name in ("priority", "attention_mm3", "expected_error_mm3", "minutes", "predicted_dice")),
        _words("reason"),
        _words("state", "waiting"),
        _words("reader"),
        _words("session"),
        _words("previous_state", "waiting"),
        _words("previous_reader"),
        Column("active_seconds", _NUMBER, nullable=False, server_default=text("0")),
        *(_words(name) for name in ("comment", "revision", "sha256")),
        Column("changed", _WORDS, nullable=False),
        UniqueConstraint("case_name", "organ", name="task_case_name_organ_key"),
        CheckConstraint(f"state IN ({_STATES})", name="task_state"),
        CheckConstraint(f"previous_state IN ({_STATES})", name="task_previous_state"),
    )
    op.create_index("task_order", "task", ["state", "present", "rank"])
    op.create_table(
        "event",
        Column("id", _KEY, Identity(), primary_key=True),
        *(Column(name, _WORDS, nullable=False) for name in ("time", "reader", "session", "case_name", "organ", "kind")),
        _words("state_before"),
        _words("state_after"),
        Column("seconds", _NUMBER, nullable=False, server_default=text("0")),
        *(_words(name) for name in ("revision", "sha256", "comment")),
        sqlite_autoincrement=True,
    )
    op.create_index("event_task", "event", ["case_name", "organ"])
    for statement in _FORBIDDEN_IN_SQLITE if op.get_bind().dialect.name == "sqlite" else _FORBIDDEN:
        op.execute(statement)
