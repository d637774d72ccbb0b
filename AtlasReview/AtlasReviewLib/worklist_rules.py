"""What a team's rules allow a reader to do with a task, and what becomes of it then; steps within a transaction.

Enforced by this program, from readers.json and review.json in the dataset folder. On a server the rights of the role let nobody alter or
remove past events, and each one carries the account that wrote it: whoever changes a row by hand to get around a rule is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from AtlasReviewLib.assembly_levels import READERS_FILE, level_of, read_levels
from AtlasReviewLib.reader_name import key_of
from AtlasReviewLib.review_policy import SENIOR, ReviewPolicy, read_policy
from AtlasReviewLib.task_states import (
    ACCEPTED,
    ADJUDICATE,
    ADJUDICATED,
    ASIDE,
    CHECKED,
    FINISHED,
    OWNED,
    READ,
    VERIFIED,
    VERIFY,
    WAITING,
    State,
)
from AtlasReviewLib.worklist_rows import Changes, Row, has_read
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
        return level_of(self.levels or {}, reader)

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


def require_one_spelling(db: Transaction, reader: str, levels: Mapping[str, int] | None) -> None:
    """Check that a name is not another spelling of a reader who is known: one person would be two, and check their own work.

    A list of earlier versions may know two spellings; `has_read` takes them for one reader.

    Raises:
        InputError: It is; the message says which one counts.
    """
    key = key_of(reader)
    known = {name for name in levels or {} if key_of(name) == key}
    if not known and not db.knows(reader):
        known = {name for name in db.reader_names() if key_of(name) == key}
    if known and reader not in known:
        name = min(known)
        message = f"The reader {reader!r} is known as {name!r} here."
        raise InputError(message, f"Write the name as {name!r}, so that one reader is not taken for two.")


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
    if other is not None and (has_read(other, reader) or (not has_read(row, reader) and _is_theirs(other, reader))):
        message = f"{where}: {reader} has had the other reading of it; two readers do one each."
        raise InputError(message, "Leave it to another reader.")


def _is_theirs(row: Row, reader: str) -> bool:
    """Tell whether a reading waits for a reader whom it was handed to, or is in their hands, although they did not read it yet."""
    return reader in (row["assignee"], row["reader"] if row["state"] in OWNED and row["stage"] not in CHECKED else "")


def require_shown(db: Transaction, row: Row, reader: str) -> None:
    """Check that a reader may see who has a reading, and its mask, or say what becomes of it, before the two of the task are done.

    Where they disagree the task itself is shown, without who read it, and its second reading is not.

    Raises:
        InputError: It is another one's reading.
    """
    other = db.other(row)
    if other is None or has_read(row, reader):
        return
    first = row if row["reading"] == 1 else other
    if first["stage"] == ADJUDICATE:
        hidden = row["reading"] > 1 and not has_read(other, reader)
    else:
        free = row["state"] in (WAITING, *ASIDE) and row["assignee"] in ("", reader)
        hidden = not first["measured"] and (not free or has_read(other, reader))
    if hidden:
        message = f"{row['case_name']}, {row['organ']}: two readers do it, blind to each other, and this reading is another one's."
        raise InputError(message, "Both are shown when both are done.")


def require_begun(db: Transaction, row: Row, reader: str) -> bool:
    """Check that a reader has had a blind reading in hand before they are told something about its mask; return as `may_compare`.

    Raises:
        InputError: Somebody else began it, such as one who put it aside, and the reader did not take it.
    """
    other = db.other(row)
    if other is None or has_read(row, reader):
        return True
    if row["readers"] and is_open_pair(db, row):
        message = f"{row['case_name']}, {row['organ']}: another reader has begun this reading, one of two that are blind to each other."
        raise InputError(message, "Take it first: atlas worklist take.")
    return bool(row["stage"] != ADJUDICATE or has_read(other, reader))


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
    if row["stage"] == VERIFY and state in FINISHED:  # a rejection too: it is a senior's, who checked the work
        return VERIFIED_EVENT, {"stage": VERIFIED}, ""
    if state not in FINISHED or row["stage"] in CHECKED:
        return STATE, {}, ""
    author: Changes = {"author": reader}
    if state == ACCEPTED and needs_verifying(rules, reader) and not is_open_pair(db, row):
        return TO_VERIFY, {**author, **to_verify()}, _nobody(row, rules)
    return STATE, author, ""


def comment_of(db: Transaction, row: Row, reader: str, state: State, comment: str) -> Changes:
    """Return the column `comment` after a decision: what somebody else noted stays in the history, not beside another one's name."""
    if comment or not row["comment"] or state not in FINISHED:
        return {"comment": comment} if comment else {}
    events = (event for event in reversed(db.events(row["case_name"], row["organ"])) if event.reading == row["reading"])
    noted_by = next((event.reader for event in events if row["comment"] in event.comment), reader)
    return {} if key_of(noted_by) == key_of(reader) else {"comment": ""}


def needs_verifying(rules: Rules, reader: str) -> bool:
    """Tell whether what a reader accepts has to be verified."""
    return rules.policy.verify and rules.level_of(reader) < SENIOR


def to_verify() -> Changes:
    """Return the columns of a task that waits to be verified."""
    return {**FREE, "state": WAITING, "reader": "", "level": SENIOR, "stage": VERIFY, "previous_state": WAITING, "previous_reader": ""}


def _nobody(row: Row, rules: Rules) -> str:
    left = any(not has_read(row, senior) for senior in rules.seniors())
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
