"""Second readings: which tasks have one follows from the policy and their names alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from AtlasReviewLib.review_policy import ReviewPolicy
from AtlasReviewLib.task_states import ACCEPTED, READ, REJECTED, WAITING
from AtlasReviewLib.worklist_rows import NUMBERS, PROGRAM, Row
from AtlasReviewLib.worklist_rules import TO_VERIFY, Rules, needs_verifying, to_verify

if TYPE_CHECKING:
    from AtlasReviewLib.worklist_transaction import Transaction

_SHARED = ("case_name", "organ", "present", "rank", *NUMBERS, "reason", "ranked_by", "bonus", "finding", "round")
Key = tuple[str, str]


@dataclass(frozen=True)
class SecondReadings:
    """What has to change.

    Attributes:
        new: Rows of first readings that get a second one.
        back: Tasks whose second reading was taken away and is wanted again.
        gone: Tasks whose second reading nobody has begun, and that the policy does not ask for any more.
    """

    new: list[Row]
    back: list[Key]
    gone: list[Key]

    def __bool__(self) -> bool:
        return bool(self.new or self.back or self.gone)


def second_readings(known: Sequence[Row], policy: ReviewPolicy) -> SecondReadings:
    """Return which second readings have to come and go. One that somebody has begun stays."""
    rows: dict[tuple[str, str, int], Row] = {(row["case_name"], row["organ"], row["reading"]): row for row in known}
    found = SecondReadings([], [], [])
    for (case, organ, reading), first in rows.items():
        if reading != 1 or not first["present"]:
            continue
        second = rows.get((case, organ, 2))
        wanted = policy.is_doubled(case, organ)
        if second is None:
            if wanted and first["state"] != REJECTED and not first["stage"]:
                found.new.append(first)
        elif wanted and not second["present"] and first["state"] != REJECTED and not first["stage"]:
            found.back.append((case, organ))
        elif not wanted and second["present"] and second["state"] == WAITING and not second["readers"]:
            found.gone.append((case, organ))
    return found


def add_second_readings(db: Transaction, known: Sequence[Row], policy: ReviewPolicy) -> None:
    """Let second readings come and go as the policy says; a second reading of a case that is away is hidden with the first one."""
    found = second_readings(known, policy)
    time = db.time() if found else ""
    db.add_many([{**{name: row[name] for name in _SHARED}, "reading": 2, "others": row["readers"], "changed": time} for row in found.new])
    for row in found.new:
        db.append(PROGRAM, row["case_name"], row["organ"], "add", reading=2, state_after=WAITING, comment="second reading")
    for keys, present, kind in ((found.back, 1, "add"), (found.gone, 0, "hide")):
        db.set_many([{"case_name": case, "organ": organ, "reading": 2, "present": present} for case, organ in keys])
        for case, organ in keys:
            comment = "second reading" if present else "the policy asks for no second reading"
            db.append(PROGRAM, case, organ, kind, reading=2, comment=comment)


def verify_single_readings(db: Transaction, known: Sequence[Row], rules: Rules) -> None:
    """Let accepted tasks be verified whose second reading is about to go, if the policy asks for that; nobody would look at them else."""
    for case, organ in second_readings(known, rules.policy).gone:
        row = db.row(case, organ)
        if row["state"] == ACCEPTED and row["stage"] == READ and needs_verifying(rules, row["author"] or row["reader"]):
            db.change(row, TO_VERIFY, PROGRAM, to_verify(), comment="is read once from now on")
