"""What a team's rules allow a reader to do with a task, and what becomes of it then; steps within a transaction.

Enforced by this program, from readers.json and review.json in the dataset folder. On a server the rights of the role let nobody alter or
remove past events, and each one carries the account that wrote it: whoever changes a row by hand to get around a rule is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from AtlasReviewLib.assembly_levels import READERS_FILE, read_levels
from AtlasReviewLib.review_policy import SENIOR, ReviewPolicy, read_policy
from AtlasReviewLib.task_states import (
    ACCEPTED,
    ADJUDICATE,
    ADJUDICATED,
    ASIDE,
    CHECKED,
    FINISHED,
    READ,
    VERIFIED,
    VERIFY,
    WAITING,
    State,
)
from AtlasReviewLib.worklist_rows import Changes, Row, has_read, names_of
from AtlasSegmentLib.errors import InputError

if TYPE_CHECKING:
    from AtlasReviewLib.worklist_transaction import Transaction

STATE, TO_VERIFY, VERIFIED_EVENT, SENT_BACK, ADJUDICATED_EVENT = "state", "to verify", "verified", "sent back", "adjudicated"
AGREE, DISAGREE = "agree", "disagree"
"""Kinds of events that are decisions."""
FREE: Changes = {"session": "", "lease_until": "", "assignee": ""}


@dataclass(frozen=True)
class Rules:
    """How a dataset is reviewed.

    Attributes:
        policy: From review.json.
        levels: Reader to level, from readers.json; None without it.
    """

    policy: ReviewPolicy = field(default_factory=ReviewPolicy)
    levels: Mapping[str, int] | None = None

    def level_of(self, reader: str) -> int:
        """Return the level of a reader, 0 for one who has none."""
        return (self.levels or {}).get(reader, 0)

    def may_up_to(self, reader: str) -> int:
        """Return the highest level of tasks that a reader may decide: everybody reads."""
        return max(1, self.level_of(reader))

    def seniors(self) -> set[str]:
        """Return the readers who verify and adjudicate."""
        return {name for name, level in (self.levels or {}).items() if level >= SENIOR}


def rules_of(folder: Path) -> Rules:
    """Return the rules of a dataset folder.

    Raises:
        InputError: review.json or readers.json is damaged.
    """
    return Rules(read_policy(folder), read_levels(folder))


def require_allowed(db: Transaction, row: Row, reader: str, rules: Rules) -> None:
    """Check that a reader may have a task in hand.

    Raises:
        InputError: Their level is too low, they would check their own work, or they have had the other reading of the task.
    """
    where = f"{row['case_name']}, {row['organ']}"
    if row["level"] > rules.may_up_to(reader):
        what = "adjudicated" if row["stage"] == ADJUDICATE else "verified"
        message = f"{where}: is to be {what} by a reader of level {row['level']}, and {reader} has level {rules.level_of(reader)}."
        raise InputError(message, f"Levels of readers are in {READERS_FILE} of the dataset folder.")
    if row["stage"] in CHECKED and has_read(row, reader):
        what = "adjudicate" if row["stage"] == ADJUDICATE else "verify"
        message = f"{where}: {reader} has worked on it, so somebody else has to {what} it."
        raise InputError(message, f"Leave it to another reader of level {row['level']}.")
    other = db.other(row)
    if other is not None and has_read(other, reader):
        message = f"{where}: {reader} has had the other reading of it; two readers do one each."
        raise InputError(message, "Leave it to another reader.")


def require_shown(db: Transaction, row: Row, reader: str) -> None:
    """Check that a reader may see who has a reading, and its mask, while the two readings of the task are not done.

    Raises:
        InputError: It is another one's reading.
    """
    free = row["state"] in (WAITING, *ASIDE) and row["assignee"] in ("", reader)
    if not free and not has_read(row, reader) and is_open_pair(db, row):
        message = f"{row['case_name']}, {row['organ']}: two readers do it, blind to each other, and this reading is another one's."
        raise InputError(message, "Both are shown when both are done.")


def is_open_pair(db: Transaction, row: Row) -> bool:
    """Tell whether a task is read twice and nobody has measured yet how far the readings agree."""
    other = db.other(row)
    return other is not None and not (row if row["reading"] == 1 else other)["measured"]


def require_open_reading(db: Transaction, row: Row) -> None:
    """Check that a reading that was decided can be opened again.

    Raises:
        InputError: It is a second reading that was compared with the first one, which counts.
    """
    if row["reading"] > 1 and not is_open_pair(db, row):
        message = f"{row['case_name']}, {row['organ']}: its two readings were compared already."
        raise InputError(message, "Reopen the first reading, which is the one that counts.")


def decided(db: Transaction, row: Row, reader: str, state: State, rules: Rules) -> tuple[str, Changes, str]:
    """Return the kind of the event of a reader's decision, the columns that follow from it, and words for the history.

    Args:
        db: The transaction.
        row: In the hands of the reader.
        reader: Who decides.
        state: What they say.
        rules: Of the dataset.
    """
    if row["stage"] == ADJUDICATE and state in FINISHED:
        return ADJUDICATED_EVENT, {"stage": ADJUDICATED}, ""
    if row["stage"] == VERIFY and state == ACCEPTED:
        return VERIFIED_EVENT, {"stage": VERIFIED}, ""
    if state not in FINISHED or row["stage"] in CHECKED:
        return STATE, {}, ""
    author: Changes = {"author": reader}
    if state == ACCEPTED and needs_verifying(rules, reader) and not is_open_pair(db, row):
        return TO_VERIFY, {**author, **to_verify()}, _nobody(row, rules)
    return STATE, author, ""


def needs_verifying(rules: Rules, reader: str) -> bool:
    """Tell whether what a reader accepts has to be verified."""
    return rules.policy.verify and rules.level_of(reader) < SENIOR


def to_verify() -> Changes:
    """Return the columns of a task that waits to be verified."""
    return {**FREE, "state": WAITING, "reader": "", "level": SENIOR, "stage": VERIFY, "previous_state": WAITING, "previous_reader": ""}


def _nobody(row: Row, rules: Rules) -> str:
    left = rules.seniors() - set(names_of(row))
    return "" if left else f"no reader of level {SENIOR} who has not worked on it is in {READERS_FILE}"


def sent_back(row: Row, comment: str) -> Changes:
    """Return the columns of a task that a senior sends back to the reader who did it.

    Raises:
        InputError: It is not being verified, or there is no comment.
    """
    where = f"{row['case_name']}, {row['organ']}"
    if row["stage"] != VERIFY:
        message = f"{where}: is not being verified, so it cannot be sent back."
        raise InputError(message, "Reject it, or hand it over to a reader.")
    if not comment:
        message = f"{where}: there is no comment for {row['author']}."
        raise InputError(message, "Say in a few words what has to be done.")
    hold: Changes = {"state": WAITING, "reader": "", "level": 1, "stage": READ, "previous_state": WAITING, "previous_reader": ""}
    return {**FREE, **hold, "assignee": row["author"], "comment": comment}
