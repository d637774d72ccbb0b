"""The tables of a worklist, as they are now: one row for each task, and an event for everything that ever happened to one.

The same tables in SQLite and PostgreSQL. Older ones are brought to this state by `worklist_migrations`; a test holds both
together. Times are text in UTC (ISO 8601, microseconds), so that they sort as text in both.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

from AtlasReviewLib.task_states import STATES

_STATES = ", ".join(f"'{state}'" for state in STATES)
UTC_TIME = """to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""
"""The time of a PostgreSQL server now, in the form of this program."""

Words = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is sorted by its code points, as SQLite does, whatever the language of the server."""
Number: TypeEngine[float] = REAL().with_variant(Double(), "postgresql")
Key = Integer().with_variant(BigInteger(), "postgresql")

metadata = MetaData()


def _words(name: str, default: str = "") -> Column[str]:
    return Column(name, Words, nullable=False, server_default=text(f"'{default}'"))


task = Table(
    "task",
    metadata,
    Column("id", Key, Identity(), primary_key=True),
    _words("dataset"),
    Column("case_name", Words, nullable=False),
    Column("organ", Words, nullable=False),
    Column("reading", Integer, nullable=False, server_default=text("1")),  # 2 is the second reader's, blind to the first
    Column("present", Integer, nullable=False, server_default=text("1")),
    Column("rank", Integer),
    Column("priority", Number),
    Column("attention_mm3", Number),
    Column("expected_error_mm3", Number),
    Column("minutes", Number),
    Column("predicted_dice", Number),
    _words("reason"),
    _words("ranked_by"),  # name of the list that was imported, "" for the scores of the cases
    Column("bonus", Number, nullable=False, server_default=text("0")),  # what checks found: 0..1
    _words("finding"),
    Column("level", Integer, nullable=False, server_default=text("1")),
    Column("round", Integer, nullable=False, server_default=text("1")),
    _words("state", "waiting"),
    _words("reader"),
    _words("assignee"),  # the reader whom it was handed to, "" for anybody
    _words("session"),
    _words("lease_until"),  # "" where nobody has it open
    _words("stage"),  # see task_states.STAGES
    _words("author"),  # who decided it as a reader, before somebody verified or adjudicated
    _words("readers"),  # everybody who had it in hand as a reader; a line break before and after each name
    _words("others"),  # who had the other reading, so that it is quickly passed over; `readers` of that one decides
    _words("measured"),  # of a first reading: how far the second one agrees, JSON; "" before both are done
    _words("previous_state", "waiting"),
    _words("previous_reader"),
    Column("active_seconds", Number, nullable=False, server_default=text("0")),
    _words("comment"),
    _words("revision"),
    _words("sha256"),
    Column("changed", Words, nullable=False),
    UniqueConstraint("dataset", "case_name", "organ", "reading", name="task_is_there_once"),
    CheckConstraint(f"state IN ({_STATES})", name="task_state"),
    CheckConstraint(f"previous_state IN ({_STATES})", name="task_previous_state"),
    CheckConstraint("reading IN (1, 2)", name="task_reading"),
)
_order = (task.c.rank, task.c.case_name, task.c.organ, task.c.reading)
Index("task_order", task.c.dataset, task.c.state, task.c.present, task.c.stage, *_order)
Index("task_of_organ", task.c.dataset, task.c.organ, task.c.state, task.c.present, task.c.stage, task.c.rank)
Index("task_of_reader", task.c.dataset, task.c.reader, task.c.present, task.c.state)
handed, leased, second = text("assignee <> ''"), text("lease_until <> ''"), text("reading > 1")
Index("task_of_assignee", task.c.dataset, task.c.assignee, task.c.present, task.c.state, sqlite_where=handed, postgresql_where=handed)
Index("task_lease", task.c.dataset, task.c.lease_until, sqlite_where=leased, postgresql_where=leased)
Index("task_second", task.c.dataset, task.c.case_name, task.c.organ, sqlite_where=second, postgresql_where=second)

event = Table(
    "event",
    metadata,
    Column("id", Key, Identity(), primary_key=True),
    _words("dataset"),
    Column("time", Words, nullable=False),
    Column("reader", Words, nullable=False),
    _words("account"),  # who the database says it was; "" in SQLite, which has no accounts
    Column("session", Words, nullable=False),
    Column("case_name", Words, nullable=False),
    Column("organ", Words, nullable=False),
    Column("reading", Integer, nullable=False, server_default=text("1")),
    Column("kind", Words, nullable=False),
    _words("state_before"),
    _words("state_after"),
    Column("seconds", Number, nullable=False, server_default=text("0")),
    _words("revision"),
    _words("sha256"),
    _words("comment"),
    sqlite_autoincrement=True,
)
Index("event_task", event.c.dataset, event.c.case_name, event.c.organ)
Index("event_newest", event.c.dataset, event.c.id)
