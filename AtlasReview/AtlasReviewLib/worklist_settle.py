"""What becomes of a task whose two readings were compared; one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from AtlasReviewLib.review_policy import SENIOR
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, FINISHED, WAITING
from AtlasReviewLib.worklist_rows import PROGRAM, Changes, Row, has_read
from AtlasReviewLib.worklist_rules import AGREE, DISAGREE, FREE, Rules, needs_verifying, to_verify

if TYPE_CHECKING:
    from AtlasReviewLib.disagreement import Measured
    from AtlasReviewLib.worklist_transaction import Transaction

_SAME = ("state", "revision", "changed")


def settle(db: Transaction, first: Row, second: Row, measured: Measured, rules: Rules) -> Row | None:
    """Write how far two readings agree, and what follows: the first one counts, or a third reader has to decide.

    Args:
        db: A transaction that writes.
        first, second: The rows as they were when the masks were read.
        measured: How far they agree.
        rules: Of the dataset.

    Returns:
        The row of the first reading; None when somebody changed one of them meanwhile or settled it: then nothing is written.
    """
    rows = [db.row(row["case_name"], row["organ"], row["reading"]) for row in (first, second)]  # in this order, as everywhere
    same = all(now[name] == before[name] for now, before in zip(rows, (first, second), strict=True) for name in _SAME)
    if rows[0]["measured"] or not same or any(row["state"] not in FINISHED for row in rows):
        return None
    changes: Changes = {"measured": measured.to_text()}
    told = measured.words()
    if not measured.agree:
        level, who = _adjudicators(rows, rules)
        again: Changes = {"state": WAITING, "reader": "", "level": level, "stage": ADJUDICATE}
        changes |= {**FREE, **again, "previous_state": WAITING, "previous_reader": ""}
        return db.change(rows[0], DISAGREE, PROGRAM, changes, comment=f"{told}; waits for {who}")
    if rows[0]["state"] == ACCEPTED and needs_verifying(rules, rows[0]["author"]):
        changes |= to_verify()
    return db.change(rows[0], AGREE, PROGRAM, changes, comment=f"{told}; the first reading counts")


def _adjudicators(rows: list[Row], rules: Rules) -> tuple[int, str]:
    """Return the level of readers who decide, and who that is in words: seniors, or anybody where none did neither reading."""
    if any(not has_read(rows[0], senior) and not has_read(rows[1], senior) for senior in rules.seniors()):
        return SENIOR, f"a reader of level {SENIOR} who did neither"
    return 1, f"any reader who did neither, as no such reader has level {SENIOR}"
