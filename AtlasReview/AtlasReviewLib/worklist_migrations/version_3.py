"""Version 3: two readings of a task, verification and adjudication, and what checks found."""

from __future__ import annotations

from alembic import op
from sqlalchemy import REAL, CheckConstraint, Column, Double, Integer, Text, UniqueConstraint, text
from sqlalchemy.types import TypeEngine

revision = "3"
down_revision = "2"

_STATES = "'waiting', 'taken', 'revised', 'accepted', 'rejected', 'flagged', 'skipped'"
_WORDS = Text().with_variant(Text(collation="C"), "postgresql")
_NUMBER: TypeEngine[float] = REAL().with_variant(Double(), "postgresql")
_KEPT = (
    "id, dataset, case_name, organ, present, rank, priority, attention_mm3, expected_error_mm3, minutes, predicted_dice, reason, "
    "ranked_by, level, round, state, reader, assignee, session, lease_until, previous_state, previous_reader, active_seconds, comment, "
    "revision, sha256, changed"
)
_NEW_WORDS = ("stage", "author", "readers", "others", "measured", "finding")
_HELD = "('take', 'take over', 'resume', 'reopen')"
_INDEXES = ("task_order", "task_of_organ", "task_of_reader", "task_of_assignee", "task_lease")


def _words(name: str, default: str = "") -> Column[str]:
    return Column(name, _WORDS, nullable=False, server_default=text(f"'{default}'"))


def _one(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("1"))


def _zero(name: str) -> Column[float]:
    return Column(name, _NUMBER, nullable=False, server_default=text("0"))


def upgrade() -> None:
    """Add the columns."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name in _INDEXES:
        op.drop_index(name, "task")
    if sqlite:
        _rebuild_task()
    else:
        op.add_column("task", _one("reading"))
        op.add_column("task", _zero("bonus"))
        for name in _NEW_WORDS:
            op.add_column("task", _words(name))
        op.drop_constraint("task_is_there_once", "task")
        op.create_unique_constraint("task_is_there_once", "task", ["dataset", "case_name", "organ", "reading"])
        op.create_check_constraint("task_reading", "task", "reading IN (1, 2)")
    op.add_column("event", _one("reading"))
    _index()
    _remember_readers("char(10)" if sqlite else "chr(10)", "group_concat" if sqlite else "string_agg")


def _rebuild_task() -> None:
    """SQLite cannot exchange the constraint of a table that is there."""
    op.rename_table("task", "task_2")
    op.create_table(
        "task",
        Column("id", Integer, primary_key=True),
        _words("dataset"),
        Column("case_name", _WORDS, nullable=False),
        Column("organ", _WORDS, nullable=False),
        _one("reading"),
        _one("present"),
        Column("rank", Integer),
        *(Column(name, _NUMBER) for name in ("priority", "attention_mm3", "expected_error_mm3", "minutes", "predicted_dice")),
        _words("reason"),
        _words("ranked_by"),
        _zero("bonus"),
        _words("finding"),
        _one("level"),
        _one("round"),
        _words("state", "waiting"),
        *(_words(name) for name in ("reader", "assignee", "session", "lease_until", "stage", "author", "readers", "others", "measured")),
        _words("previous_state", "waiting"),
        _words("previous_reader"),
        _zero("active_seconds"),
        *(_words(name) for name in ("comment", "revision", "sha256")),
        Column("changed", _WORDS, nullable=False),
        UniqueConstraint("dataset", "case_name", "organ", "reading", name="task_is_there_once"),
        CheckConstraint(f"state IN ({_STATES})", name="task_state"),
        CheckConstraint(f"previous_state IN ({_STATES})", name="task_previous_state"),
        CheckConstraint("reading IN (1, 2)", name="task_reading"),
    )
    op.execute(f"INSERT INTO task ({_KEPT}) SELECT {_KEPT} FROM task_2")
    op.drop_table("task_2")


def _index() -> None:
    op.create_index("task_order", "task", ["dataset", "state", "present", "stage", "rank", "case_name", "organ", "reading"])
    op.create_index("task_of_organ", "task", ["dataset", "organ", "state", "present", "stage", "rank"])
    op.create_index("task_of_reader", "task", ["dataset", "reader", "present", "state"])
    for name, column, *more in (("task_of_assignee", "assignee", "present", "state"), ("task_lease", "lease_until")):
        some = text(f"{column} <> ''")
        op.create_index(name, "task", ["dataset", column, *more], sqlite_where=some, postgresql_where=some)
    second = text("reading > 1")
    op.create_index("task_second", "task", ["dataset", "case_name", "organ"], sqlite_where=second, postgresql_where=second)


def _remember_readers(newline: str, joined: str) -> None:
    """Note who has had each task in hand, as far as the history tells."""
    same = "event.dataset = task.dataset AND event.case_name = task.case_name AND event.organ = task.organ"
    named = f"SELECT DISTINCT event.reader AS name FROM event WHERE {same} AND event.kind IN {_HELD}"
    found = f"SELECT {newline} || {joined}(name, {newline}) || {newline} FROM ({named}) AS named"
    op.execute(f"UPDATE task SET readers = coalesce(({found}), '')")
    op.execute(f"UPDATE task SET readers = {newline} || reader || {newline} WHERE readers = '' AND reader <> ''")
    missing = f"reader <> '' AND replace(readers, {newline} || reader || {newline}, '') = readers"
    op.execute(f"UPDATE task SET readers = readers || reader || {newline} WHERE state = 'revised' AND {missing}")  # handed over
    op.execute("UPDATE task SET author = reader WHERE state IN ('accepted', 'rejected')")
